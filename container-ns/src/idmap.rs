//! Id maps of a new user namespace.

use std::path::PathBuf;

/// One extent of a map: `count` ids from `inside` (in the new namespace) are those from `outside` (in the caller's).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdMap {
    /// First id as seen in the namespace.
    pub inside: u32,
    /// First id as seen by the caller.
    pub outside: u32,
    /// How many.
    pub count: u32,
}

impl IdMap {
    /// An extent.
    pub const fn new(inside: u32, outside: u32, count: u32) -> Self {
        Self { inside, outside, count }
    }
}

/// Whether `setgroups(2)` works in the new user namespace (`/proc/PID/setgroups`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Setgroups {
    /// Leave the kernel's `allow`.
    #[default]
    Allow,
    /// Write `deny`, which an unprivileged caller must before it maps its own group.
    Deny,
}

/// Who writes the maps.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum MapWriter {
    /// The calling process, straight into `/proc/PID/uid_map` and `gid_map`.
    #[default]
    Direct,
    /// The set-uid helpers of shadow, by absolute path, so that an ordinary user may use its `/etc/subuid` ranges.
    Helpers {
        /// Path of `newuidmap`.
        newuidmap: PathBuf,
        /// Path of `newgidmap`.
        newgidmap: PathBuf,
    },
}

/// Both id maps of a new user namespace, `user_namespaces(7)`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IdMaps {
    /// Extents of users, at most 340.
    pub users: Vec<IdMap>,
    /// Extents of groups, at most 340.
    pub groups: Vec<IdMap>,
    /// Whether `setgroups` stays allowed.
    pub setgroups: Setgroups,
    /// Who writes them.
    pub writer: MapWriter,
}

impl IdMaps {
    /// The same single extent for users and groups.
    pub fn both(map: IdMap) -> Self {
        Self { users: vec![map], groups: vec![map], ..Self::default() }
    }
}
