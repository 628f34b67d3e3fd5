use std::{io, path::PathBuf};

/// What can go wrong. Each variant names the object; the system's own words are the
/// [source](std::error::Error::source).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A name that is no volume's.
    #[error("{name:?} is no volume name: {reason}")]
    Name {
        /// The name as given, cut to 64 characters.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// No such volume.
    #[error("there is no volume {name}")]
    NotFound {
        /// The name.
        name: String,
    },
    /// A volume of this name has other options.
    #[error("volume {name} exists with other driver options")]
    Exists {
        /// The name.
        name: String,
    },
    /// Containers use the volume.
    #[error("volume {name} is in use by {}", users.join(", "))]
    InUse {
        /// The volume.
        name: String,
        /// The containers' identifiers.
        users: Vec<String>,
    },
    /// A driver or driver option that is not known here.
    #[error("volume {name}: driver option {option}={value} is not supported: {reason}")]
    DriverOption {
        /// The volume.
        name: String,
        /// The option.
        option: String,
        /// Its value.
        value: String,
        /// Why.
        reason: &'static str,
    },
    /// A `-v` or `--mount` flag that cannot be read.
    #[error("mount {spec:?}: {option} {value:?}: {reason}")]
    Spec {
        /// The whole flag, cut to 200 characters.
        spec: String,
        /// The option, or the part of the flag.
        option: &'static str,
        /// Its value.
        value: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A `--mount` flag with an option that there is not.
    #[error("mount {spec:?}: there is no option {option:?}")]
    UnknownOption {
        /// The whole flag, cut to 200 characters.
        spec: String,
        /// The option.
        option: String,
    },
    /// The source of a bind mount does not exist.
    #[error("bind source {} does not exist", path.display())]
    BindMissing {
        /// The path.
        path: PathBuf,
    },
    /// The source of a bind mount must not be given to a container.
    #[error("bind source {} is not allowed: {reason}", path.display())]
    BindForbidden {
        /// The path.
        path: PathBuf,
        /// Why.
        reason: &'static str,
    },
    /// A path inside a volume that is not there, or leads outside.
    #[error("volume {name} has no {}", subpath.display())]
    Subpath {
        /// The volume.
        name: String,
        /// The path inside.
        subpath: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The directory that is to fill a volume cannot be copied.
    #[error("cannot {operation} {} for volume {name}", path.display())]
    Fill {
        /// The volume.
        name: String,
        /// The verb.
        operation: &'static str,
        /// The path inside the image.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// Metadata that cannot be read.
    #[error("{} is damaged", path.display())]
    Metadata {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: serde_json::Error,
    },
    /// What a volume's options name cannot be mounted.
    #[error("cannot {operation} volume {name} (type={kind}, device={device}, o={options})")]
    Mount {
        /// `mount` or `unmount`.
        operation: &'static str,
        /// The volume.
        name: String,
        /// The file system.
        kind: String,
        /// The device.
        device: String,
        /// The options, as they were given.
        options: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// Something is mounted on a directory that was to be removed, or cannot be unmounted.
    #[error("cannot {operation} at {}", path.display())]
    Place {
        /// The verb, with its object.
        operation: &'static str,
        /// The mount point.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The volume has files where it must have none.
    #[error("volume {name} is not empty")]
    NotEmpty {
        /// The volume.
        name: String,
    },
    /// An archive that cannot be restored.
    #[error("archive entry {entry:?}: {reason}")]
    Archive {
        /// The entry's name, cut to 200 characters; empty if it is the archive as a whole.
        entry: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Reading or writing files for an archive failed.
    #[error("cannot {operation} {path:?} of {of}")]
    Backup {
        /// The verb.
        operation: &'static str,
        /// The path inside.
        path: PathBuf,
        /// Whose files they are, as `volume data`.
        of: String,
        /// What the system said.
        source: io::Error,
    },
    /// A limit of a volume's size cannot be set.
    #[error("volume {name} cannot be limited to {bytes} bytes: {reason}")]
    Quota {
        /// The volume.
        name: String,
        /// The limit.
        bytes: u64,
        /// What is missing.
        reason: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// A secret or config that cannot be kept.
    #[error("secret {name:?}: {reason}")]
    Secret {
        /// Its name, cut to 200 characters.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// There is no volume driver of this name.
    #[error(
        "there is no volume driver {driver}: neither a socket nor a spec file is in the plugin directories"
    )]
    DriverMissing {
        /// The driver.
        driver: String,
    },
    /// A driver's spec file that is none.
    #[error("the spec of volume driver {driver}, {}, is wrong: {reason}", path.display())]
    DriverSpec {
        /// The driver.
        driver: String,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A driver said that it could not do a thing.
    #[error("volume driver {driver} refused {call}: {message}")]
    Driver {
        /// The driver.
        driver: String,
        /// The call, as `VolumeDriver.Mount`.
        call: &'static str,
        /// Its words, on one line, cut to 500 characters.
        message: String,
    },
    /// A driver answered what no driver may answer.
    #[error("volume driver {driver} answered {call} wrongly: {reason}")]
    DriverAnswer {
        /// The driver.
        driver: String,
        /// The call.
        call: &'static str,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A driver did not answer in time.
    #[error("volume driver {driver} did not answer {call} within {} ms", limit.as_millis())]
    DriverTimeout {
        /// The driver.
        driver: String,
        /// The call.
        call: &'static str,
        /// The time it had.
        limit: std::time::Duration,
    },
    /// A driver cannot be reached, or went away in the middle.
    #[error("volume driver {driver} cannot be asked for {call}")]
    DriverGone {
        /// The driver.
        driver: String,
        /// The call.
        call: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// A file or directory of the store cannot be used.
    #[error("cannot {operation} {}", path.display())]
    File {
        /// The verb.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl Error {
    pub(crate) fn file(
        operation: &'static str,
        path: impl Into<PathBuf>,
        source: impl Into<io::Error>,
    ) -> Self {
        Self::File { operation, path: path.into(), source: source.into() }
    }
}

/// The crate's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;
