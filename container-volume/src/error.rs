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
