use std::io;
use std::os::fd::BorrowedFd;

use rustix::fs::{Gid, Mode, OFlags, Stat, Uid};

use crate::tar::Entry;

/// Owner and mode that a new file has before anything is set: most files of a layer need nothing else, and a
/// call that changes nothing costs a third of what making a small file does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Made {
    /// Unknown where the file system has no files without a name; then everything is set always.
    own: Option<Own>,
    /// Owners are not set, and no set-id bits.
    callers: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Own {
    uid: u32,
    gid: u32,
    /// Permission bits that the process's umask takes away.
    masked: u32,
}

const SET_GROUP: u32 = 0o2000;

impl Made {
    /// Looks at a file without a name in `directory`.
    pub(super) fn probe(directory: BorrowedFd<'_>) -> Self {
        let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
        let all = Mode::from_raw_mode(0o777);
        let probed = rustix::fs::openat(directory, ".", flags, all).and_then(rustix::fs::fstat);
        let own =
            probed.ok().map(|stat| Own { uid: stat.st_uid, gid: stat.st_gid, masked: 0o777 & !stat.st_mode });
        Self { own, callers: false }
    }

    /// True if a new probe finds the same umask.
    pub(super) fn is_still(self, directory: BorrowedFd<'_>) -> bool {
        let masked = |made: Self| made.own.map(|own| own.masked);
        self.own.is_none() || masked(self) == masked(Self::probe(directory))
    }

    /// True if what is made in the directory has our group: it hands on none of its own, by its set-group bit or by the
    /// way the file system was mounted (`grpid`).
    pub(super) fn is_plain_in(self, directory: &Stat) -> bool {
        self.own.is_some_and(|own| directory.st_mode & SET_GROUP == 0 && directory.st_gid == own.gid)
    }

    /// Everything belongs to the caller, whatever the archive says.
    pub(super) fn callers() -> Self {
        Self { own: None, callers: true }
    }

    /// True if the entry's owner is another than what it was made with, in a directory that is plain or not.
    pub(super) fn needs_owner(self, entry: &Entry, plain: bool) -> bool {
        !self.callers && (!plain || self.own.is_none_or(|own| (own.uid, own.gid) != (entry.uid, entry.gid)))
    }

    /// Gives a file that was made a moment ago with the entry's permission bits its owner and mode.
    pub(super) fn set(self, file: BorrowedFd<'_>, entry: &Entry, plain: bool) -> io::Result<()> {
        let owner = self.needs_owner(entry, plain);
        if owner {
            rustix::fs::fchown(file, Some(Uid::from_raw(entry.uid)), Some(Gid::from_raw(entry.gid)))?;
        }
        let masked = self.own.map_or(0o777, |own| own.masked);
        if !plain || entry.mode & (0o7000 | masked) != 0 {
            // after the owner: a change of owner clears the set-id bits
            let mode = if self.callers { entry.mode & 0o1777 } else { entry.mode };
            rustix::fs::fchmod(file, Mode::from_raw_mode(mode))?;
        }
        Ok(())
    }
}
