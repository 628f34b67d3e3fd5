use std::{
    collections::BTreeMap,
    fmt,
    path::{Component, Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// How mounts below a bind mount are shared with the host (`mount_namespaces(7)`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Propagation {
    /// Both ways, with everything below.
    RShared,
    /// Both ways.
    Shared,
    /// From the host to the container, with everything below.
    RSlave,
    /// From the host to the container.
    Slave,
    /// Not at all, with everything below.
    #[default]
    RPrivate,
    /// Not at all.
    Private,
}

impl Propagation {
    /// By the word for it: `rprivate`, `shared`, …
    pub fn of_word(word: &str) -> Option<Self> {
        Some(match word {
            "rshared" => Self::RShared,
            "shared" => Self::Shared,
            "rslave" => Self::RSlave,
            "slave" => Self::Slave,
            "rprivate" => Self::RPrivate,
            "private" => Self::Private,
            _ => return None,
        })
    }
}

impl fmt::Display for Propagation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::RShared => "rshared",
            Self::Shared => "shared",
            Self::RSlave => "rslave",
            Self::Slave => "slave",
            Self::RPrivate => "rprivate",
            Self::Private => "private",
        })
    }
}

/// What becomes of mounts below the source of a bind mount (`bind-recursive`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Recursion {
    /// They come along, and are read-only if the mount is, where the kernel can.
    #[default]
    Enabled,
    /// They stay away.
    Disabled,
    /// They come along and stay as they are.
    Writable,
    /// They come along, and are read-only or it is an error.
    ReadOnly,
}

/// Whether a source is to be labelled for SELinux (`:z`, `:Z`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Relabel {
    /// For all containers.
    Shared,
    /// For this one.
    Private,
}

/// What is mounted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "type")]
#[non_exhaustive]
pub enum Mount {
    /// A volume.
    Volume {
        /// Its name; an anonymous one if there is none.
        #[serde(default)]
        name: Option<String>,
        /// Do not fill it from the image.
        #[serde(default)]
        nocopy: bool,
        /// A path inside it, without `..`.
        #[serde(default)]
        subpath: Option<PathBuf>,
        /// Driver to make it by.
        #[serde(default)]
        driver: Option<String>,
        /// The driver's options.
        #[serde(default)]
        options: BTreeMap<String, String>,
        /// Labels it gets if it is made.
        #[serde(default)]
        labels: BTreeMap<String, String>,
    },
    /// A file or directory of the host.
    Bind {
        /// Absolute path on the host.
        source: PathBuf,
        /// How mounts below are shared.
        #[serde(default)]
        propagation: Propagation,
        /// What becomes of mounts below.
        #[serde(default)]
        recursive: Recursion,
        /// Whether a directory is made where nothing is (`-v` does, `--mount` does not).
        #[serde(default)]
        create: bool,
        /// Whether it is to be labelled.
        #[serde(default)]
        relabel: Option<Relabel>,
    },
    /// Memory.
    Tmpfs {
        /// Largest size in bytes.
        #[serde(default)]
        size: Option<u64>,
        /// Permission bits of its root; 1777 if unset.
        #[serde(default)]
        mode: Option<u32>,
    },
}

/// One mount of a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountSpec {
    /// What is mounted.
    #[serde(flatten)]
    pub mount: Mount,
    /// Where, an absolute path inside the container, without `.` and `..`, and not `/`.
    pub target: PathBuf,
    /// Whether it cannot be written.
    #[serde(default)]
    pub read_only: bool,
}

/// A part of a flag that is wrong.
pub(crate) fn wrong(
    spec: &str,
    option: &'static str,
    value: impl Into<String>,
    reason: &'static str,
) -> Error {
    Error::Spec {
        spec: spec.chars().take(200).collect(),
        option,
        value: value.into().chars().take(200).collect(),
        reason,
    }
}

/// A path inside the container, made plain.
pub(crate) fn target(spec: &str, text: &str) -> Result<PathBuf> {
    let reason = if text.is_empty() {
        "it is missing"
    } else if !text.starts_with('/') {
        "it is not absolute"
    } else if text.contains('\0') {
        "it has a zero byte in it"
    } else {
        let mut plain = PathBuf::from("/");
        for part in Path::new(text).components() {
            match part {
                Component::Normal(name) => plain.push(name),
                Component::ParentDir => drop(plain.pop()),
                _ => {}
            }
        }
        if plain != Path::new("/") {
            return Ok(plain);
        }
        "a mount cannot take the place of the root"
    };
    Err(wrong(spec, "target", text, reason))
}

/// A path inside a volume: relative, without `..`.
pub(crate) fn subpath(spec: &str, text: &str) -> Result<PathBuf> {
    let path = Path::new(text);
    let plain = path.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    if text.is_empty() || !plain || text.contains('\0') {
        return Err(wrong(spec, "volume-subpath", text, "a relative path without `..` is needed"));
    }
    Ok(path.to_path_buf())
}
