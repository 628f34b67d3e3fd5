//! The root of a sandbox.

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use crate::mount::Filesystem;

/// Where the root file system comes from. Every kind but [`Root::Inherit`] needs a new mount namespace, is attached
/// in that namespace only, and is entered by `pivot_root(2)`; the old root is detached.
#[derive(Debug, Default)]
pub enum Root {
    /// The caller's root, or that of the joined mount namespace.
    #[default]
    Inherit,
    /// A directory of the host, absolute. It need not be a mount, and may lie on a shared one.
    Path(PathBuf),
    /// A directory by descriptor (`O_PATH` or `O_RDONLY`). Needs `CAP_SYS_ADMIN` of the caller when compiled.
    Directory(OwnedFd),
    /// A detached mount, from `fsmount(2)` or `open_tree(2)` with `OPEN_TREE_CLONE`.
    Detached(OwnedFd),
    /// A file system made in the new mount namespace, for example an overlay; no mount ever exists on the host.
    Filesystem(Filesystem),
}

/// Where mount events go, `mount_namespaces(7)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Propagation {
    /// Neither receives nor sends.
    Private,
    /// Receives.
    Slave,
    /// Receives and sends.
    Shared,
    /// Private, and cannot be bound elsewhere.
    Unbindable,
}

impl Propagation {
    pub(crate) const fn flag(self) -> u64 {
        match self {
            Self::Private => libc::MS_PRIVATE,
            Self::Slave => libc::MS_SLAVE,
            Self::Shared => libc::MS_SHARED,
            Self::Unbindable => libc::MS_UNBINDABLE,
        }
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Private => "private",
            Self::Slave => "slave",
            Self::Shared => "shared",
            Self::Unbindable => "unbindable",
        }
    }
}
