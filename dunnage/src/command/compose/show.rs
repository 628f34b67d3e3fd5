//! What a plan is doing: a line that changes for each thing on a terminal, a line for each change elsewhere.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal as _, Write as _};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use compose_model::plan::{Action, Condition};
use container_engine::ComposeEvent;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::human::plain;
use crate::steps::Shown;

pub(super) struct Show {
    /// None for lines.
    bars: Option<MultiProgress>,
    quiet: bool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    bars: BTreeMap<usize, ProgressBar>,
    /// Builds show their own steps.
    builds: BTreeMap<usize, Shown>,
}

impl Show {
    pub(super) fn new(quiet: bool) -> Self {
        let bars = io::stderr().is_terminal().then(MultiProgress::new);
        Self { bars: bars.filter(|_| !quiet), quiet, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn event(&self, event: &ComposeEvent<'_>) {
        match event {
            ComposeEvent::Begin { step, action } => {
                let Some((what, doing, _)) = words(action) else { return };
                if let Some(bars) = &self.bars {
                    let bar = bars.add(ProgressBar::new_spinner());
                    let style = ProgressStyle::with_template(" {spinner} {prefix}  {msg}  {elapsed}");
                    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
                    bar.set_prefix(what);
                    bar.set_message(doing);
                    bar.enable_steady_tick(Duration::from_millis(120));
                    self.state().bars.insert(*step, bar);
                } else {
                    self.line(&what, doing);
                }
            }
            ComposeEvent::Done { step, action } => {
                self.state().builds.remove(step);
                if let Some((what, _, done)) = words(action) {
                    self.end(*step, &what, '✔', done);
                }
            }
            ComposeEvent::Failed { step, action, .. } => {
                self.state().builds.remove(step);
                if let Some((what, _, _)) = words(action) {
                    self.end(*step, &what, '✘', "Error");
                }
            }
            ComposeEvent::Build { step, event } => {
                let mut state = self.state();
                let quiet = self.quiet;
                state.builds.entry(*step).or_insert_with(|| Shown::new(quiet, false)).event(*event);
            }
            // how far a pull is, its line does not say
            _ => {}
        }
    }

    fn end(&self, step: usize, what: &str, mark: char, word: &str) {
        match (&self.bars, self.state().bars.remove(&step)) {
            (Some(bars), Some(bar)) => {
                bar.finish_and_clear();
                bars.remove(&bar);
                // a terminal that went away does not stop what is going on
                let _ = bars.println(format!(" {mark} {what}  {word}"));
            }
            _ => self.line(what, word),
        }
    }

    fn line(&self, what: &str, word: &str) {
        if !self.quiet {
            let _ = writeln!(io::stderr(), " {what}  {word}");
        }
    }
}

/// What a step is about, and Docker Compose's words for its beginning and its end. Nothing is said of what is at once.
fn words(action: &Action) -> Option<(String, &'static str, &'static str)> {
    let (kind, name, doing, done) = match action {
        Action::CreateNetwork { name, .. } => ("Network", name, "Creating", "Created"),
        Action::CreateVolume { name, .. } => ("Volume", name, "Creating", "Created"),
        Action::Pull { image } => ("Image", image, "Pulling", "Pulled"),
        Action::Build { service, .. } => ("Service", service, "Building", "Built"),
        Action::Create { name, .. } => ("Container", name, "Creating", "Created"),
        Action::Recreate { name, .. } => ("Container", name, "Recreate", "Recreated"),
        Action::Start { name, .. } => ("Container", name, "Starting", "Started"),
        Action::WaitFor { service, condition } => match condition {
            Condition::Started => ("Service", service, "Waiting", "Running"),
            Condition::Healthy => ("Service", service, "Waiting", "Healthy"),
            Condition::Completed => ("Service", service, "Waiting", "Exited"),
        },
        Action::Restart { name, .. } => ("Container", name, "Restarting", "Started"),
        Action::Stop { name, .. } => ("Container", name, "Stopping", "Stopped"),
        Action::Remove { name, .. } => ("Container", name, "Removing", "Removed"),
        Action::RemoveNetwork { name } => ("Network", name, "Removing", "Removed"),
        Action::RemoveVolume { name } => ("Volume", name, "Removing", "Removed"),
        Action::RemoveImage { image } => ("Image", image, "Removing", "Removed"),
        _ => return None,
    };
    Some((format!("{kind} {}", plain(name)), doing, done))
}
