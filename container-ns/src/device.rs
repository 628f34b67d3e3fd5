//! Device nodes and links below `/dev`.

use std::path::PathBuf;

/// What kind of node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceKind {
    /// A character device.
    Character,
    /// A block device.
    Block,
    /// A named pipe; major and minor are ignored.
    Fifo,
}

/// A device node in the root.
///
/// Made by `mknodat(2)`; where that is not permitted (in a user namespace) the host's node of the same path is bound
/// instead, after its number was compared. A node that exists already is checked and kept if it is the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Absolute path in the root, and on the host where it must be bound.
    pub path: PathBuf,
    /// Kind.
    pub kind: DeviceKind,
    /// Major number.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
    /// Permission bits.
    pub mode: u32,
    /// Owner, as seen in the container.
    pub uid: u32,
    /// Group, as seen in the container.
    pub gid: u32,
}

impl Device {
    /// A character device of mode 0666, owned by root.
    pub fn character(path: impl Into<PathBuf>, major: u32, minor: u32) -> Self {
        Self { path: path.into(), kind: DeviceKind::Character, major, minor, mode: 0o666, uid: 0, gid: 0 }
    }
}

/// The six devices of every container (OCI runtime specification, "Default Devices"; ptmx and console are made apart).
pub fn default_devices() -> Vec<Device> {
    [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)]
        .into_iter()
        .map(|(name, major, minor)| Device::character(format!("/dev/{name}"), major, minor))
        .collect()
}

/// A symbolic link in the root: where it is, and what it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Symlink {
    /// Absolute path in the root.
    pub path: PathBuf,
    /// What the link says.
    pub target: PathBuf,
}

/// `/dev/fd`, `/dev/stdin`, `/dev/stdout`, `/dev/stderr`, `/dev/core` and `/dev/ptmx`.
pub fn default_symlinks() -> Vec<Symlink> {
    [
        ("/dev/fd", "/proc/self/fd"),
        ("/dev/stdin", "/proc/self/fd/0"),
        ("/dev/stdout", "/proc/self/fd/1"),
        ("/dev/stderr", "/proc/self/fd/2"),
        ("/dev/core", "/proc/kcore"),
        ("/dev/ptmx", "pts/ptmx"),
    ]
    .into_iter()
    .map(|(path, target)| Symlink { path: path.into(), target: target.into() })
    .collect()
}
