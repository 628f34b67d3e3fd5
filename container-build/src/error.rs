use std::io;
use std::path::PathBuf;

use dockerfile_parser::{ExpandError, MountError};

/// What can go wrong in a build.
///
/// A variant holds the object of the operation; the cause, where there is one, is its [`source`].
///
/// [`source`]: std::error::Error::source
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The Dockerfile cannot be understood. The text shows each fault with its line.
    #[error("the Dockerfile cannot be built from:\n{report}")]
    Dockerfile {
        /// Every fault, with its line and column.
        report: String,
    },
    /// The Dockerfile is larger than what is read.
    #[error("{name} has more than {limit} bytes")]
    DockerfileTooLarge {
        /// Its name.
        name: String,
        /// The limit in bytes.
        limit: u64,
    },
    /// There is no such stage.
    #[error("target stage {0:?} is not in the Dockerfile")]
    TargetMissing(String),
    /// A stage waits for itself, by an `ONBUILD` instruction of an image.
    #[error("stage {0} needs itself")]
    Circle(usize),
    /// A stage that is needed has failed.
    #[error("stage {0} was not built")]
    StageFailed(usize),
    /// A step failed. The cause is the source.
    #[error("{excerpt}step {step} failed")]
    Step {
        /// The instruction, as it was to be carried out.
        step: String,
        /// The lines around it in the Dockerfile, its own marked.
        excerpt: String,
        /// Why.
        #[source]
        cause: Box<Error>,
    },
    /// The command of a `RUN` ended with another code than 0.
    #[error("process {command:?} did not complete successfully: exit code: {code}")]
    Exit {
        /// What was run.
        command: String,
        /// Its exit code; 128 and the signal's number if a signal ended it.
        code: i32,
    },
    /// Somebody asked to stop.
    #[error("the build was stopped")]
    Stopped,
    /// A word cannot be expanded.
    #[error("cannot expand {word:?}")]
    Expand {
        /// The word.
        word: String,
        /// Why.
        source: ExpandError,
    },
    /// A mount of `RUN` says something wrong.
    #[error("invalid mount")]
    Mount {
        /// What is wrong with it.
        #[from]
        source: MountError,
    },
    /// An instruction or an option of the build says something wrong.
    #[error("invalid {what} {value:?}: {reason}")]
    Value {
        /// Which.
        what: &'static str,
        /// As it was given.
        value: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Something that is known and not done.
    #[error("{what} is not supported: {reason}")]
    Unsupported {
        /// What.
        what: String,
        /// Why, or what to do instead.
        reason: &'static str,
    },
    /// A file to copy is not there.
    #[error("{path:?} is not in {place}")]
    SourceMissing {
        /// The path as given.
        path: String,
        /// The context, a stage or an image.
        place: String,
    },
    /// A file of the context cannot be used.
    #[error("{place}: {path:?} {reason}")]
    Source {
        /// The context, a stage or an image.
        place: String,
        /// The path.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A file of a stage cannot be read or written.
    #[error("cannot {action} {path:?}")]
    Root {
        /// What was tried.
        action: &'static str,
        /// The path in the root, or in the context.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// A name is not in the image's database of users or groups.
    #[error("unable to find {what} {name:?}: no matching entry in the image's {file}")]
    UserMissing {
        /// `user` or `group`.
        what: &'static str,
        /// The name.
        name: String,
        /// The database.
        file: &'static str,
    },
    /// A secret that a step needs was not given.
    #[error("secret {0:?} was not given, and the step requires it")]
    SecretMissing(String),
    /// An image cannot be had.
    #[error("cannot get image {name}")]
    Image {
        /// Its name.
        name: String,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Something cannot be fetched from the network.
    #[error("cannot fetch {url}")]
    Fetch {
        /// Where from.
        url: String,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// What was fetched is not what was promised.
    #[error("{url} has the digest {found}, not {expected}")]
    Checksum {
        /// Where from.
        url: String,
        /// What was promised.
        expected: String,
        /// What came.
        found: String,
    },
    /// The process of a step could not be made.
    #[error("cannot run {command:?}")]
    Run {
        /// What was to be run.
        command: String,
        /// Why.
        source: container_ns::Error,
    },
    /// The caller's part of running a step failed.
    #[error("cannot {action} for a step")]
    Surroundings {
        /// What was tried.
        action: &'static str,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The kernel does not mount the root of a step.
    #[error("cannot mount {what}")]
    Overlay {
        /// What.
        what: &'static str,
        /// Why.
        source: io::Error,
    },
    /// A file or directory of the cache, or the context, cannot be used.
    #[error("cannot {action} {path}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// The path.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Images and layers.
    #[error(transparent)]
    Store(#[from] container_image::Error),
}

impl Error {
    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }

    pub(crate) fn root(
        action: &'static str,
        path: impl Into<String>,
    ) -> impl FnOnce(rustix::io::Errno) -> Self {
        let path = path.into();
        move |errno| Self::Root { action, path, source: errno.into() }
    }

    pub(crate) fn value(what: &'static str, value: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Value { what, value: value.into(), reason: reason.into() }
    }

    /// The exit code of the command that made the build fail, if one did.
    pub fn exit_code(&self) -> Option<i32> {
        match self {
            Self::Exit { code, .. } => Some(*code),
            Self::Step { cause, .. } => cause.exit_code(),
            _ => None,
        }
    }
}
