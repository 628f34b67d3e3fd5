use std::{collections::BTreeMap, path::PathBuf};

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// What a volume is to have beside its name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewVolume {
    /// The owner's labels; not interpreted here.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Options of the `local` driver: none, or `type=none`, `o=bind` and `device=/path`.
    #[serde(default)]
    pub options: BTreeMap<String, String>,
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
    /// Options of the `local` driver.
    #[serde(default)]
    pub options: BTreeMap<String, String>,
    /// Where its files are.
    #[serde(skip)]
    pub mountpoint: PathBuf,
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

/// The device of a bind volume; none for a plain one.
pub(crate) fn bind_device(name: &str, options: &BTreeMap<String, String>) -> Result<Option<PathBuf>> {
    let unsupported = |option: &str, value: &str, reason| {
        Err(Error::DriverOption { name: name.into(), option: option.into(), value: value.into(), reason })
    };
    for (option, value) in options {
        match (option.as_str(), value.as_str()) {
            ("type", "none" | "" | "bind") | ("o", "bind" | "rbind") => {}
            ("type", _) => return unsupported(option, value, "of types only `none` with `o=bind` is"),
            ("o", _) => return unsupported(option, value, "of mount options only `bind` is"),
            ("device", path) if path.starts_with('/') => {}
            ("device", _) => return unsupported(option, value, "a bind mount needs an absolute path"),
            _ => return unsupported(option, value, "the local driver has no such option"),
        }
    }
    match (options.get("device"), options.get("o")) {
        (None, None) => Ok(None),
        (Some(device), Some(_)) => Ok(Some(device.into())),
        (Some(device), None) => unsupported("device", device, "it needs `o=bind`"),
        (None, Some(o)) => unsupported("o", o, "it needs a `device`"),
    }
}
