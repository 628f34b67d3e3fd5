use std::{os::fd::AsFd, os::unix::fs::MetadataExt, path::Path};

use rustix::{
    fs::{CWD, Mode, OFlags, openat},
    io::Errno,
};

use crate::{Error, Result, sys};

/// Limits what is in a directory of a volume. Its project number is the inode's of the volume's own directory, which is nobody
/// else's on the file system. Idempotent.
pub(crate) fn limit(name: &str, dir: &Path, bytes: u64) -> Result<()> {
    let refuse = |reason, source| Error::Quota { name: name.into(), bytes, reason, source };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened = openat(CWD, dir, flags, Mode::empty()).map_err(|e| Error::file("open", dir, e))?;
    let above = dir.parent().unwrap_or(dir);
    let inode = std::fs::metadata(above).map_err(|e| Error::file("examine", above, e))?.ino();
    let project = u32::try_from(inode).map_err(|_| {
        refuse("its inode number is larger than a project number can be", Errno::OVERFLOW.into())
    })?;
    sys::limit_project(opened.as_fd(), project, bytes).map_err(|e| {
        refuse("its file system has no project quotas switched on (mount option prjquota)", e)
    })?;
    sys::set_project(opened.as_fd(), project)
        .map_err(|e| refuse("its file system gives directories no project numbers", e))
}
