use std::time::Duration;

/// What happens in a build, as it happens. Calls come from several threads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A step begins.
    Begin {
        /// Its number, from 1, in the order in which steps begin.
        step: usize,
        /// What it does: `[stage 2/4] RUN make`.
        name: &'a str,
    },
    /// The cache has what the step would make. It is the step's last event.
    Cached {
        /// Which step.
        step: usize,
    },
    /// A step's command has written something.
    Output {
        /// Which step.
        step: usize,
        /// What it wrote, as it came: anything.
        bytes: &'a [u8],
    },
    /// A step is done. It is the step's last event.
    Done {
        /// Which step.
        step: usize,
        /// How long it took.
        elapsed: Duration,
    },
    /// A step failed. It is the step's last event.
    Failed {
        /// Which step.
        step: usize,
        /// Why.
        reason: &'a str,
    },
    /// Something in the Dockerfile is probably not as meant.
    Warning {
        /// The check that it fails, and where and why.
        text: &'a str,
    },
}

/// Hears what happens in a build.
pub trait Output: Sync {
    /// Something happened.
    fn event(&self, event: Event<'_>);
}

/// Hears nothing.
impl Output for () {
    fn event(&self, _: Event<'_>) {}
}

impl<F: Fn(Event<'_>) + Sync> Output for F {
    fn event(&self, event: Event<'_>) {
        self(event);
    }
}
