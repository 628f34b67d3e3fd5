use std::io;
use std::path::PathBuf;

/// What can go wrong in the engine.
///
/// A variant holds the object of the operation; the cause, where there is one, is its [`source`].
///
/// [`source`]: std::error::Error::source
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No container has this name or id.
    #[error("no such container: {0}")]
    ContainerMissing(String),
    /// The name belongs to another container.
    #[error("the container name {name:?} is already in use by container {by}")]
    ContainerNameTaken {
        /// The name.
        name: String,
        /// The container's id.
        by: String,
    },
    /// The first digits of an id fit several containers.
    #[error("container id {0:?} is ambiguous")]
    ContainerAmbiguous(String),
    /// The container runs where it must not.
    #[error("container {name} is running: {hint}")]
    ContainerRunning {
        /// Its name.
        name: String,
        /// What to do about it.
        hint: &'static str,
    },
    /// The container does not run where it must.
    #[error("container {0} is not running")]
    ContainerNotRunning(String),
    /// A network is missing.
    #[error("network {0} not found")]
    NetworkMissing(String),
    /// A network of this name is there already.
    #[error("network with name {0} already exists")]
    NetworkNameTaken(String),
    /// A network cannot be removed or changed.
    #[error("network {name}: {reason}")]
    NetworkInUse {
        /// Its name.
        name: String,
        /// Why not.
        reason: String,
    },
    /// A container has nothing at a path.
    #[error("could not find the file {path} in container {container}")]
    FileMissing {
        /// The container's name.
        container: String,
        /// The path.
        path: String,
    },
    /// A path of a container leads to or through what is no directory.
    #[error("{path} of container {container} is not a directory")]
    FileNotDirectory {
        /// The container's name.
        container: String,
        /// The path.
        path: String,
    },
    /// A path of a container cannot be written.
    #[error("{path} of container {container} is read-only")]
    FilesReadOnly {
        /// The container's name.
        container: String,
        /// The path.
        path: String,
    },
    /// A key of a Compose file that cannot be done here, or whose value is wrong.
    #[error("{key}: {reason}")]
    ComposeKey {
        /// The key with the way to it: `services.web.ports[0].published`.
        key: String,
        /// Why not.
        reason: String,
    },
    /// A network or volume that a project expects is not there.
    #[error("{kind} {name} is declared as external, but it is not there: make it, or correct its name")]
    ExternalMissing {
        /// `network` or `volume`.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// Somebody asked to stop before all was done.
    #[error("stopped before all was done")]
    Stopped,
    /// There is no client for the registry of an image.
    #[error("no way to the registry of {name}")]
    RegistryClient {
        /// The image.
        name: String,
        /// Why not.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A setting of a container or network is wrong.
    #[error("invalid {what} {value:?}: {reason}")]
    Setting {
        /// Which setting.
        what: &'static str,
        /// The value as given.
        value: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The image says nothing of what to run, and neither does the caller.
    #[error("no command specified: image {0} has none, and none was given")]
    NoCommand(String),
    /// The image needs a user or group that its databases do not have.
    #[error("unable to find {what} {name:?}: no matching entry in {file} of the image")]
    UserMissing {
        /// `user` or `group`.
        what: &'static str,
        /// The name.
        name: String,
        /// The database.
        file: &'static str,
    },
    /// The container could not be started.
    #[error("cannot start container {name}: {message}")]
    Start {
        /// Its name.
        name: String,
        /// What the monitor reported.
        message: String,
        /// What kind of failure it was.
        kind: StartFailure,
    },
    /// The monitor beside a container died before it could report.
    #[error("the monitor of container {0} ended without a report")]
    MonitorGone(String),
    /// A record of the engine's database cannot be read back.
    #[error("the record of {what} {id} is damaged")]
    Record {
        /// Which kind of object.
        what: &'static str,
        /// Its id.
        id: String,
        /// Where it goes wrong.
        source: serde_json::Error,
    },
    /// The state directory was written by a newer version.
    #[error("{path} has the format {found}, and this version knows formats up to {known}")]
    Format {
        /// The database.
        path: PathBuf,
        /// Its format.
        found: i64,
        /// The newest format known here.
        known: i64,
    },
    /// The caller may not write the engine's state.
    #[error("no right to write in {path}: the engine needs root, or directories of its caller's own")]
    Right {
        /// The directory.
        path: PathBuf,
    },
    /// A file or directory cannot be used.
    #[error("cannot {action} {path}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// The path.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The database failed.
    #[error("database {action}")]
    Database {
        /// What was tried.
        action: &'static str,
        /// Why.
        source: rusqlite::Error,
    },
    /// Builds.
    #[error(transparent)]
    Build(#[from] container_build::Error),
    /// Images.
    #[error(transparent)]
    Image(#[from] container_image::Error),
    /// Networks.
    #[error(transparent)]
    Network(#[from] container_net::Error),
    /// Volumes.
    #[error(transparent)]
    Volume(#[from] container_volume::Error),
    /// Running containers.
    #[error(transparent)]
    Runtime(#[from] container_runtime::Error),
}

/// Why a container could not be started, as far as it decides an exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartFailure {
    /// The command is not there.
    CommandMissing,
    /// The command is there and cannot be executed.
    CommandNotExecutable,
    /// Everything else: a taken port, an empty address pool, a mount that fails.
    Other,
}

impl Error {
    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }

    pub(crate) fn database(action: &'static str) -> impl FnOnce(rusqlite::Error) -> Self {
        move |source| Self::Database { action, source }
    }

    pub(crate) fn setting(what: &'static str, value: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Setting { what, value: value.into(), reason: reason.into() }
    }

    /// The exit code that `docker run` gives for this failure: 127 for a command that is missing, 126 for one
    /// that cannot be executed, 125 for everything else.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Start { kind: StartFailure::CommandMissing, .. } => 127,
            Self::Start { kind: StartFailure::CommandNotExecutable, .. } => 126,
            Self::Runtime(error) => u8::try_from(error.exit_code()).unwrap_or(125),
            _ => 125,
        }
    }
}
