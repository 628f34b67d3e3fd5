//! Mounts of a sandbox, in the order in which they are made.

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use crate::{IdMap, Propagation};

bitflags::bitflags! {
    /// Attributes of a mount (not of its file system), `mount_setattr(2)`.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct MountFlags: u64 {
        /// `ro`
        const READ_ONLY = 0x01;
        /// `nosuid`
        const NO_SUID = 0x02;
        /// `nodev`
        const NO_DEV = 0x04;
        /// `noexec`
        const NO_EXEC = 0x08;
        /// `noatime`
        const NO_ATIME = 0x10;
        /// `strictatime`
        const STRICT_ATIME = 0x20;
        /// `relatime`, the kernel's default; to ask for it takes the two above away
        const RELATIME = 1 << 62;
        /// `nodiratime`
        const NO_DIR_ATIME = 0x80;
        /// `nosymfollow`
        const NO_SYMLINK_FOLLOW = 0x0020_0000;
    }
}

/// Attributes to set and to clear.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    /// Set on the mount itself.
    pub set: MountFlags,
    /// Cleared on the mount itself.
    pub clear: MountFlags,
    /// Set on the mount and everything below it (`rro`, `rnosuid`, …).
    pub set_recursive: MountFlags,
    /// Cleared on the mount and everything below it (`rrw`, `rsuid`, …).
    pub clear_recursive: MountFlags,
}

/// An option of a file system, `fsconfig(2)`.
#[derive(Debug)]
pub enum FsOption {
    /// A word: `FSCONFIG_SET_FLAG`.
    Flag(String),
    /// A key and a value of at most 255 bytes: `FSCONFIG_SET_STRING`.
    Value(String, String),
    /// A key and an open descriptor: `FSCONFIG_SET_FD`.
    Descriptor(String, OwnedFd),
}

/// A file system to be made by `fsopen(2)`, `fsconfig(2)` and `fsmount(2)`.
#[derive(Debug, Default)]
pub struct Filesystem {
    /// Type: `proc`, `tmpfs`, `overlay`, …
    pub kind: String,
    /// The `source` that `mountinfo` shows.
    pub source: Option<String>,
    /// Options, in this order. A key may come many times (`lowerdir+`).
    pub options: Vec<FsOption>,
}

impl Filesystem {
    /// A file system of `kind` without options, its kind as source.
    pub fn new(kind: impl Into<String>) -> Self {
        let kind = kind.into();
        Self { source: Some(kind.clone()), kind, options: Vec::new() }
    }

    /// With a flag.
    #[must_use]
    pub fn flag(mut self, key: impl Into<String>) -> Self {
        self.options.push(FsOption::Flag(key.into()));
        self
    }

    /// With a key and a value.
    #[must_use]
    pub fn option(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.options.push(FsOption::Value(key.into(), value.into()));
        self
    }

    /// An overlay of `lower` (uppermost first) and, if it is to be writable, an upper and a work directory. Each lower
    /// directory is an option of its own (`lowerdir+`, Linux 6.7), so neither number nor length of paths is limited
    /// by the option page; on older kernels they are joined into one `lowerdir` of at most 255 bytes.
    pub fn overlay<P: Into<PathBuf>>(
        lower: impl IntoIterator<Item = P>,
        upper: Option<(PathBuf, PathBuf)>,
    ) -> Self {
        let mut fs = Self::new("overlay");
        let lower: Vec<String> = lower.into_iter().map(|path| text(path.into())).collect();
        if crate::sys::kernel_at_least(6, 7) {
            for path in lower {
                fs = fs.option("lowerdir+", path);
            }
        } else {
            let joined: Vec<String> =
                lower.iter().map(|path| path.replace('\\', "\\\\").replace(':', "\\:")).collect();
            fs = fs.option("lowerdir", joined.join(":"));
        }
        if let Some((upper, work)) = upper {
            fs = fs.option("upperdir", text(upper)).option("workdir", text(work));
        }
        fs
    }
}

fn text(path: PathBuf) -> String {
    // fsconfig takes bytes; a path that is not UTF-8 is refused later as not found rather than mangled here
    path.into_os_string().into_string().unwrap_or_else(|path| path.to_string_lossy().into_owned())
}

/// What is bound.
#[derive(Debug)]
pub enum BindSource {
    /// An absolute path of the host, resolved in the new mount namespace before the root is changed.
    Path(PathBuf),
    /// An open file or directory (`O_PATH` will do), the way to bind what was verified. Needs `CAP_SYS_ADMIN` of the
    /// caller when compiled.
    Descriptor(OwnedFd),
    /// A detached mount.
    Detached(OwnedFd),
}

/// What a [`Mount`] mounts.
#[derive(Debug)]
pub enum MountKind {
    /// A new instance of a file system.
    Filesystem(Filesystem),
    /// A tmpfs that starts as a copy of what the target holds (`tmpcopyup`).
    TmpCopyUp(Filesystem),
    /// A part of the host's tree.
    Bind {
        /// What.
        source: BindSource,
        /// With the mounts below it.
        recursive: bool,
    },
    /// The cgroup hierarchies as a container sees them: one `cgroup2`, or on a v1 or hybrid host a tmpfs with a
    /// directory for each hierarchy.
    Cgroup,
    /// Changes attributes, and with options the file system, of what is mounted at the target.
    Remount(Vec<FsOption>),
}

/// Where an id-mapped mount has its ids from, `mount_setattr(2)`.
#[derive(Debug)]
pub enum MountIdMap {
    /// A user namespace.
    UserNamespace(OwnedFd),
    /// Maps, for which a user namespace is made at compile time; `inside` is what is on disk, `outside` what is seen.
    Maps {
        /// Extents of users.
        users: Vec<IdMap>,
        /// Extents of groups.
        groups: Vec<IdMap>,
    },
}

/// A mount inside the root.
///
/// The target is resolved by `openat2(2)` with `RESOLVE_IN_ROOT`, so no link leads out; a missing one is made, as a file
/// if a file is bound, else as a directory of mode 0755. For `proc` and `sysfs` the target must not contain a link at
/// all. A missing target below a read-only mount is an error.
#[derive(Debug)]
pub struct Mount {
    /// Absolute path in the root.
    pub target: PathBuf,
    /// What.
    pub kind: MountKind,
    /// Attributes.
    pub attributes: Attributes,
    /// Propagation, and whether it is set recursively. Empty leaves a mount private. To be shared with the host takes
    /// `CAP_SYS_ADMIN` of the caller when compiled.
    pub propagation: Vec<(Propagation, bool)>,
    /// Id-mapping of a bind, and whether it is recursive.
    pub idmap: Option<(MountIdMap, bool)>,
}

impl Mount {
    /// A file system at `target`.
    pub fn filesystem(target: impl Into<PathBuf>, filesystem: Filesystem, flags: MountFlags) -> Self {
        Self::new(target, MountKind::Filesystem(filesystem), flags)
    }

    /// A recursive bind of the host's `source` at `target`.
    pub fn bind(source: impl Into<PathBuf>, target: impl Into<PathBuf>, flags: MountFlags) -> Self {
        Self::new(target, MountKind::Bind { source: BindSource::Path(source.into()), recursive: true }, flags)
    }

    /// Any kind, with flags to set.
    pub fn new(target: impl Into<PathBuf>, kind: MountKind, flags: MountFlags) -> Self {
        Self {
            target: target.into(),
            kind,
            attributes: Attributes { set: flags, ..Attributes::default() },
            propagation: Vec::new(),
            idmap: None,
        }
    }
}

/// The mounts of an ordinary container: `/proc`, `/dev`, `/dev/pts`, `/dev/shm` (64 MiB), `/dev/mqueue`, `/sys` and
/// `/sys/fs/cgroup`, the last two read-only.
pub fn default_mounts() -> Vec<Mount> {
    use MountFlags as F;
    let strict = F::NO_SUID | F::NO_DEV | F::NO_EXEC;
    vec![
        Mount::filesystem("/proc", Filesystem::new("proc"), strict),
        Mount::filesystem(
            "/dev",
            Filesystem::new("tmpfs").option("mode", "755").option("size", "65536k"),
            F::NO_SUID | F::STRICT_ATIME,
        ),
        Mount::filesystem(
            "/dev/pts",
            Filesystem::new("devpts")
                .flag("newinstance")
                .option("ptmxmode", "0666")
                .option("mode", "0620")
                .option("gid", "5"),
            F::NO_SUID | F::NO_EXEC,
        ),
        Mount::filesystem(
            "/dev/shm",
            Filesystem::new("tmpfs").option("mode", "1777").option("size", "65536k"),
            strict,
        ),
        Mount::filesystem("/dev/mqueue", Filesystem::new("mqueue"), strict),
        Mount::filesystem("/sys", Filesystem::new("sysfs"), strict | F::READ_ONLY),
        Mount::new("/sys/fs/cgroup", MountKind::Cgroup, strict | F::READ_ONLY),
    ]
}
