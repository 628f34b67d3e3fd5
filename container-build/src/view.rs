//! Layers as one tree, in a mount that is attached nowhere: it goes with its descriptor.

use std::ffi::{OsStr, OsString};
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_flag, fsconfig_set_string,
    fsmount, fsopen,
};

use crate::Error;

/// The layers, the lowest first, as one tree. With an upper and a work directory it can be written to.
pub(crate) fn overlay(
    lowers: &[PathBuf],
    empty: &Path,
    upper: Option<(&Path, &Path)>,
) -> Result<OwnedFd, Error> {
    let failed = |errno: Errno| Error::Overlay { what: "the root of a step", source: errno.into() };
    if lowers.is_empty() && upper.is_none() {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        return rustix::fs::open(empty, flags, Mode::empty()).map_err(failed);
    }
    let fs = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).map_err(failed)?;
    let mut below: Vec<&Path> = lowers.iter().rev().map(PathBuf::as_path).collect();
    // overlayfs wants one, and two without an upper directory
    if below.len() < 2 - usize::from(upper.is_some()) {
        below.push(empty);
    }
    let mut joined = Vec::new();
    for path in below {
        if joined.is_empty() && fsconfig_set_string(&fs, "lowerdir+", path).is_ok() {
            continue;
        }
        // before Linux 6.7 there is one option of at most 255 bytes: by their descriptors many fit
        joined.push(std::fs::File::open(path).map_err(Error::io("open", path))?);
    }
    if !joined.is_empty() {
        let names: Vec<String> =
            joined.iter().map(|file| format!("/proc/self/fd/{}", file.as_raw_fd())).collect();
        fsconfig_set_string(&fs, "lowerdir", names.join(":")).map_err(failed)?;
    }
    if let Some((upper, work)) = upper {
        fsconfig_set_string(&fs, "upperdir", upper).map_err(failed)?;
        fsconfig_set_string(&fs, "workdir", work).map_err(failed)?;
        // nothing waits for the disk when it is unmounted: a step that is cut off is made anew
        fsconfig_set_flag(&fs, "volatile").map_err(failed)?;
        // either would leave content in the layers below
        for option in ["redirect_dir", "metacopy"] {
            fsconfig_set_string(&fs, option, "off").map_err(failed)?;
        }
    }
    fsconfig_create(&fs).map_err(failed)?;
    let attributes =
        if upper.is_none() { MountAttrFlags::MOUNT_ATTR_RDONLY } else { MountAttrFlags::empty() };
    fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, attributes).map_err(failed)
}

/// A tmpfs for files that must not touch the disk.
pub(crate) fn memory() -> io::Result<OwnedFd> {
    let fs = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(&fs, "mode", "0700")?;
    fsconfig_create(&fs)?;
    Ok(fsmount(
        &fs,
        FsMountFlags::FSMOUNT_CLOEXEC,
        MountAttrFlags::MOUNT_ATTR_NODEV | MountAttrFlags::MOUNT_ATTR_NOSUID,
    )?)
}

/// Opens a path inside a root, links followed inside.
pub(crate) fn open(root: BorrowedFd<'_>, path: impl AsRef<OsStr>, flags: OFlags) -> Result<OwnedFd, Errno> {
    let path = path.as_ref().as_bytes();
    let slashes = path.iter().take_while(|&&byte| byte == b'/').count();
    let path = path.get(slashes..).filter(|path| !path.is_empty()).unwrap_or(b".");
    loop {
        match rustix::fs::openat2(root, path, flags | OFlags::CLOEXEC, Mode::empty(), ResolveFlags::IN_ROOT) {
            // a rename somewhere else on the machine came between
            Err(Errno::AGAIN | Errno::INTR) => {}
            outcome => return outcome,
        }
    }
}

pub(crate) fn stat(root: BorrowedFd<'_>, path: impl AsRef<OsStr>, follow: bool) -> Result<Stat, Errno> {
    let flags = if follow { OFlags::PATH } else { OFlags::PATH | OFlags::NOFOLLOW };
    rustix::fs::statat(open(root, path, flags)?, "", AtFlags::EMPTY_PATH)
}

pub(crate) fn is_directory(root: BorrowedFd<'_>, path: &str) -> bool {
    open(root, path, OFlags::PATH | OFlags::DIRECTORY).is_ok()
}

/// A regular file of at most `limit` bytes; none if there is none.
pub(crate) fn read(root: BorrowedFd<'_>, path: &str, limit: u64) -> Result<Option<Vec<u8>>, Error> {
    let failed = |source: io::Error| Error::Root { action: "read", path: path.to_owned(), source };
    let file = match open(root, path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY) {
        Ok(file) => std::fs::File::from(file),
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
        Err(errno) => return Err(failed(errno.into())),
    };
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() {
        return Err(failed(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file")));
    }
    if metadata.len() > limit {
        let reason = format!("it has more than {limit} bytes");
        return Err(failed(io::Error::new(io::ErrorKind::FileTooLarge, reason)));
    }
    let mut bytes = Vec::new();
    file.take(limit).read_to_end(&mut bytes).map_err(failed)?;
    Ok(Some(bytes))
}

/// Opens a directory inside a root, and makes it and those above it where they are missing.
pub(crate) fn make_directories(
    root: BorrowedFd<'_>,
    path: &str,
    owner: Option<(u32, u32)>,
    mode: u32,
) -> Result<OwnedFd, Error> {
    let flags = OFlags::PATH | OFlags::DIRECTORY;
    match open(root, path, flags) {
        Ok(directory) => return Ok(directory),
        Err(Errno::NOENT) => {}
        Err(errno) => return Err(Error::root("open the directory", path)(errno)),
    }
    let mut at = String::new();
    let mut directory = open(root, "", flags).map_err(Error::root("open", "/"))?;
    for name in path.split('/').filter(|name| !name.is_empty()) {
        at.push('/');
        at.push_str(name);
        directory = match open(root, &at, flags) {
            Ok(next) => next,
            Err(Errno::NOENT) => {
                make_directory(directory.as_fd(), name, owner, mode).map_err(Error::root("create", &at))?;
                open(root, &at, flags).map_err(Error::root("open", &at))?
            }
            Err(errno) => return Err(Error::root("open the directory", at)(errno)),
        };
    }
    Ok(directory)
}

pub(crate) fn make_directory(
    parent: BorrowedFd<'_>,
    name: impl AsRef<OsStr>,
    owner: Option<(u32, u32)>,
    mode: u32,
) -> Result<(), Errno> {
    let name = name.as_ref();
    rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(mode & 0o777))?;
    if let Some((uid, gid)) = owner.filter(|owner| *owner != (0, 0)) {
        own(parent, name, uid, gid)?;
    }
    // not what the caller's umask leaves
    rustix::fs::chmodat(parent, name, Mode::from_raw_mode(mode), AtFlags::empty())
}

pub(crate) fn own(parent: BorrowedFd<'_>, name: impl AsRef<OsStr>, uid: u32, gid: u32) -> Result<(), Errno> {
    let (uid, gid) = (rustix::fs::Uid::from_raw(uid), rustix::fs::Gid::from_raw(gid));
    rustix::fs::chownat(parent, name.as_ref(), Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
}

/// The names in a directory, sorted.
pub(crate) fn names(root: BorrowedFd<'_>, path: impl AsRef<OsStr>) -> Result<Vec<OsString>, Errno> {
    let directory = open(root, path, OFlags::RDONLY | OFlags::DIRECTORY)?;
    let mut names = Vec::new();
    for entry in rustix::fs::Dir::new(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(OsStr::from_bytes(name).to_owned());
        }
    }
    names.sort_unstable();
    Ok(names)
}

pub(crate) fn kind(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

/// The path of what a descriptor of `root` leads to, from the root on.
pub(crate) fn real_path(root: BorrowedFd<'_>, inside: BorrowedFd<'_>) -> io::Result<String> {
    let name = |fd: BorrowedFd<'_>| {
        let link = rustix::fs::readlink(format!("/proc/self/fd/{}", fd.as_raw_fd()), Vec::new())?;
        Ok::<_, io::Error>(PathBuf::from(OsStr::from_bytes(link.as_bytes())))
    };
    let (above, path) = (name(root)?, name(inside)?);
    let rest = path.strip_prefix(&above).map_err(|_| io::Error::other("it moved meanwhile"))?;
    Ok(format!("/{}", rest.to_string_lossy()))
}

/// The absolute path that a path means at a working directory, without `.` and `..`.
pub(crate) fn absolute(working_dir: &str, path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    let base = if path.starts_with('/') { "" } else { working_dir };
    for part in base.split('/').chain(path.split('/')) {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_absolute_and_stay_below_the_root() {
        assert_eq!(absolute("/app", "x/../y"), "/app/y");
        assert_eq!(absolute("/app", "/x//./y/"), "/x/y");
        assert_eq!(absolute("", "a"), "/a");
        assert_eq!(absolute("/a", "../../../b"), "/b");
        assert_eq!(absolute("/a", "."), "/a");
    }
}
