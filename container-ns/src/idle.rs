//! A process that does nothing, to hold a user namespace for as long as it takes to open it.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use crate::{Error, IdMaps, NamespaceKind, spawn, sys};

/// A user namespace with the given maps, held by nothing but the descriptor. Nothing is left of the process that was in it.
///
/// # Errors
/// [`Error::Clone`], [`Error::IdMap`], [`Error::Namespace`].
pub(crate) fn user_namespace(maps: &IdMaps) -> Result<OwnedFd, Error> {
    let mut pidfd: i32 = -1;
    let args = sys::CloneArgs {
        flags: NamespaceKind::User.flag() | libc::CLONE_PIDFD as u64,
        pidfd: &raw mut pidfd as u64,
        ..sys::CloneArgs::default()
    };
    let caller = std::process::id() as usize;
    let mask = sys::signal_mask(u64::MAX);
    let cloned = sys::fork(&args, || {
        // ends with the caller even if that is killed before it can end this
        let _ = sys::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as usize, 0);
        let _ = sys::close_range(0, u32::MAX, false);
        if sys::getppid() != caller {
            sys::exit(1);
        }
        loop {
            let _ = sys::pause();
        }
    });
    sys::signal_mask(mask);
    let pid = cloned.map_err(|errno| Error::Clone {
        namespaces: "user, for an id-mapped mount".into(),
        source: sys::error(errno),
    })? as u32;
    let pidfd = sys::own(pidfd);
    let result = spawn::write_maps(pid, maps).and_then(|()| {
        let kind = NamespaceKind::User;
        let proc = sys::procfs()?;
        sys::namespace_file(proc.as_fd(), Some(pid), kind).map_err(|source| Error::Namespace {
            kind,
            pid,
            source,
        })
    });
    let _ = sys::signal_pidfd(pidfd.as_raw_fd(), libc::SIGKILL);
    let _ = sys::wait_pidfd(pidfd.as_raw_fd(), true);
    result
}
