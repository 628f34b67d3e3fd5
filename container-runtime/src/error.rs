use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// What can go wrong with a container.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An id that is not `[A-Za-z0-9_+.-]{1,255}`, or is `.` or `..`.
    #[error("container id {id:?} is not made of letters, digits, `_`, `+`, `-` and `.`")]
    Id {
        /// The id as given.
        id: String,
    },
    /// A container of this id exists.
    #[error("container {id} exists already")]
    Exists {
        /// The id.
        id: String,
    },
    /// No container of this id exists.
    #[error("container {id} does not exist")]
    NotFound {
        /// The id.
        id: String,
    },
    /// The container is in a state in which the operation makes no sense.
    #[error("cannot {operation} container {id}: it is {status}")]
    Status {
        /// The operation, e.g. `start`.
        operation: &'static str,
        /// The id.
        id: String,
        /// The state it is in.
        status: crate::Status,
    },
    /// A file or directory could not be worked with.
    #[error("{operation} {}", path.display())]
    File {
        /// What was tried.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// A JSON document is not what it must be.
    #[error("{} is not a valid {kind}", path.display())]
    Json {
        /// What it must be, e.g. `configuration`.
        kind: &'static str,
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: serde_json::Error,
    },
    /// A value of the configuration that cannot be followed.
    #[error("{pointer}: {reason}: {value:?}")]
    Config {
        /// JSON pointer into `config.json`.
        pointer: String,
        /// The value there.
        value: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A program of the configuration's hooks failed.
    #[error("hook {kind}[{index}] {}: {failure}", path.display())]
    Hook {
        /// `prestart`, `createRuntime`, `poststart` or `poststop`.
        kind: &'static str,
        /// Its position in the list.
        index: usize,
        /// The program.
        path: PathBuf,
        /// How it failed.
        failure: HookFailure,
    },
    /// The process could not be put into its container.
    #[error(transparent)]
    Sandbox(#[from] container_ns::Error),
    /// The control group could not be worked with.
    #[error(transparent)]
    Cgroup(#[from] container_cgroup::Error),
    /// A network could not be attached.
    #[error(transparent)]
    Network(#[from] container_net::Error),
    /// A network device of the host could not be moved into the container.
    #[error("cannot {operation} network device {name}")]
    NetDevice {
        /// The device's name on the host.
        name: String,
        /// What was tried.
        operation: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// A text that names no signal.
    #[error("{text:?} is not a signal")]
    Signal {
        /// The text as given.
        text: String,
    },
    /// The container's process could not be signalled or waited for.
    #[error("cannot {operation} process {pid}")]
    Process {
        /// What was tried.
        operation: &'static str,
        /// Its number.
        pid: i32,
        /// Why it failed.
        source: io::Error,
    },
    /// The container did not end in the time allowed.
    #[error("container {id} has processes left after {after:?}")]
    Stubborn {
        /// The id.
        id: String,
        /// The time allowed.
        after: Duration,
    },
    /// The receiver of the terminal could not be reached.
    #[error("console socket {}", path.display())]
    Console {
        /// The socket.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// The configuration and the options disagree about a terminal.
    #[error("{reason}")]
    Terminal {
        /// What is missing or too much.
        reason: &'static str,
    },
}

/// How a hook failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HookFailure {
    /// It could not be run.
    #[error("cannot be run: {0}")]
    Run(io::Error),
    /// It ended with a status other than zero.
    #[error("ended with {status}{}{stderr}", if stderr.is_empty() { "" } else { ": " })]
    Status {
        /// Exit status or signal.
        status: std::process::ExitStatus,
        /// The last of what it wrote to stderr, control characters removed.
        stderr: String,
    },
    /// It did not end in its time and was killed.
    #[error("did not end within {0:?}")]
    Timeout(Duration),
}

impl Error {
    /// The exit status that `docker run` would give: 127 if the program was not found, 126 if it cannot be executed,
    /// 125 if something else is to blame.
    pub fn exit_code(&self) -> i32 {
        match self {
            Self::Sandbox(error) => error.exit_status().unwrap_or(125),
            _ => 125,
        }
    }

    pub(crate) fn file(operation: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { operation, path, source }
    }
}

/// An error with its chain of sources, `: ` between, control characters replaced: for logs and terminals.
pub fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        let mut more = source.to_string();
        // the kernel's words as C and Go programs print them: engines look for `no such file or directory`, `permission denied`
        if source.downcast_ref::<io::Error>().is_some_and(|error| error.raw_os_error().is_some())
            && let Some(first) = more.get_mut(..1)
        {
            first.make_ascii_lowercase();
        }
        if !text.ends_with(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        next = source.source();
    }
    printable(&text)
}

/// Replaces control characters, so that a name from a container cannot steer the person's terminal.
pub(crate) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' { '\u{fffd}' } else { c }).collect()
}
