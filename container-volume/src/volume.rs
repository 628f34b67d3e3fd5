use std::{collections::BTreeMap, path::PathBuf};

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// What a volume is to have beside its name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewVolume {
    /// The owner's labels; not interpreted here.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Options of the driver. The `local` one takes `type`, `o` and `device`, which are mounted at the first
    /// [`mount`](crate::Volumes::mount), as `mount(8)` has them.
    #[serde(default)]
    pub options: BTreeMap<String, String>,
    /// The driver; none is `local`. A volume of another one is recorded here with its users, and its options are
    /// the driver's to judge.
    #[serde(default)]
    pub driver: Option<String>,
}

/// A volume as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    /// Its name.
    pub name: String,
    /// When it was made, in seconds since 1970.
    pub created: u64,
    /// Whether nobody named it.
    #[serde(default)]
    pub anonymous: bool,
    /// The owner's labels.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Options of the driver.
    #[serde(default)]
    pub options: BTreeMap<String, String>,
    /// The driver, if it is not `local`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub driver: Option<String>,
    /// Where its files are.
    #[serde(skip)]
    pub mountpoint: PathBuf,
}

/// What a volume takes, by [`usage`](crate::Volumes::usage).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bytes on disk; a file of several names counts once.
    pub bytes: u64,
    /// Files, directories and everything else, without the volume itself.
    pub files: u64,
}

/// What [`prune`](crate::Volumes::prune) removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Names of the volumes.
    pub volumes: Vec<String>,
    /// What their files took on disk, in bytes.
    pub bytes: u64,
}

/// Docker's rule: `[a-zA-Z0-9][a-zA-Z0-9_.-]+`, at most 255 characters as it is a file's name.
pub(crate) fn check_name(name: &str) -> Result<()> {
    let reason = if name.len() < 2 {
        "it is shorter than two characters"
    } else if name.len() > 255 {
        "it is longer than 255 characters"
    } else if !name.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        "it does not begin with a letter or digit"
    } else if !name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-')) {
        "only letters, digits, `_`, `.` and `-` are allowed"
    } else {
        return Ok(());
    };
    Err(Error::Name { name: name.chars().take(64).collect(), reason })
}
