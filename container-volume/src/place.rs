use std::{
    fs, io,
    os::fd::{AsFd, BorrowedFd},
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use rustix::{
    fs::{AtFlags, CWD, FileType, Mode, OFlags, StatxAttributes, StatxFlags, fstat, openat, statx},
    io::Errno,
    mount::{
        MountFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags, mount_change,
        mount_remount, move_mount, open_tree, unmount,
    },
};

use crate::{Error, Result};

/// A directory of mount points, where what a descriptor holds gets a path that nobody else can change.
///
/// A runtime takes paths as sources of mounts; between the check of a path and its use, a container that can write in it may swap
/// it. What is bound here was opened before, by descriptor, and its path leads through no directory of anybody else's.
///
/// Nothing below is ever removed but empty mount points: whatever a mount shows is safe. There is one directory for each
/// container, and one caller at a time.
#[derive(Debug, Clone)]
pub struct Places {
    dir: PathBuf,
}

impl Places {
    /// The places of one container below a directory; nothing is made yet.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    /// Their directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Binds what a descriptor holds, with the mounts below it if `recursive`, and returns its path. The mount is private: nothing
    /// that happens to it reaches the source. `flags` are those of `MS_BIND|MS_REMOUNT`, `ro` for one.
    pub fn bind(&self, source: BorrowedFd<'_>, recursive: bool, flags: MountFlags) -> Result<PathBuf> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.dir)
            .map_err(|e| Error::file("create", &self.dir, e))?;
        let stat = fstat(source).map_err(|e| Error::file("examine", &self.dir, e))?;
        let is_dir = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        let mut number = 0_u32;
        let path = loop {
            let path = self.dir.join(number.to_string());
            let made = if is_dir {
                fs::DirBuilder::new().mode(0o700).create(&path)
            } else {
                fs::File::create_new(&path).map(drop)
            };
            match made {
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => number += 1,
                other => break other.map(|()| path.clone()).map_err(|e| Error::file("create", &path, e))?,
            }
        };
        let bound = bind_at(source, &path, recursive, flags);
        if bound.is_err() {
            // what matters is the first error; clear() has the rest
            let _ = free(&path);
        }
        bound.map(|()| path)
    }

    /// Unmounts and removes all places. Idempotent; a place that cannot be unmounted stays, with an error.
    pub fn clear(&self) -> Result<()> {
        let entries = match fs::read_dir(&self.dir) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other.map_err(|e| Error::file("read", &self.dir, e))?,
        };
        for entry in entries {
            free(&entry.map_err(|e| Error::file("read", &self.dir, e))?.path())?;
        }
        match fs::remove_dir(&self.dir) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Error::file("remove", &self.dir, e)),
            _ => Ok(()),
        }
    }
}

/// Binds what a descriptor holds at a path of ours.
pub(crate) fn bind_at(source: BorrowedFd<'_>, path: &Path, recursive: bool, flags: MountFlags) -> Result<()> {
    let failed = |operation| move |e: Errno| Error::Place { operation, path: path.into(), source: e.into() };
    let mut how =
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    if recursive {
        how |= OpenTreeFlags::AT_RECURSIVE;
    }
    let tree = open_tree(source, "", how).map_err(failed("copy the mount"))?;
    // the mount point is opened, not followed: nobody but us writes in its directory
    let target = openat(CWD, path, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
        .map_err(failed("open the mount point"))?;
    let empty = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(tree.as_fd(), "", target.as_fd(), "", empty).map_err(failed("mount"))?;
    private(path)?;
    if !flags.is_empty() {
        mount_remount(path, MountFlags::BIND | flags, "").map_err(failed("change the mount"))?;
    }
    Ok(())
}

/// Cuts a mount and those below from their peers, without which unmounting would reach the source's own mounts below.
fn private(path: &Path) -> Result<()> {
    mount_change(path, MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
        .map_err(|e| Error::Place { operation: "separate the mount", path: path.into(), source: e.into() })
}

/// Unmounts whatever is at a path, and removes the empty mount point.
fn free(path: &Path) -> Result<()> {
    unmount_all(path)?;
    let gone = fs::symlink_metadata(path)
        .and_then(|meta| if meta.is_dir() { fs::remove_dir(path) } else { fs::remove_file(path) });
    match gone {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Error::file("remove", path, e)),
        _ => Ok(()),
    }
}

/// Unmounts whatever is at a path, layer by layer. Idempotent, never waits for a file system.
pub(crate) fn unmount_all(path: &Path) -> Result<()> {
    while is_mounted(path)? {
        private(path)?;
        match unmount(path, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
            // somebody else did it
            Ok(()) | Err(Errno::INVAL) => {}
            Err(e) => {
                return Err(Error::Place { operation: "unmount", path: path.into(), source: e.into() });
            }
        }
    }
    Ok(())
}

/// Whether something is mounted at a path: the kernel's word, not a record. Asks no server.
pub(crate) fn is_mounted(path: &Path) -> Result<bool> {
    let how = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT | AtFlags::STATX_DONT_SYNC;
    match statx(CWD, path, how, StatxFlags::empty()) {
        Ok(found) => Ok(found.stx_attributes.contains(StatxAttributes::MOUNT_ROOT)),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(false),
        // a mount whose server is gone is a mount
        Err(Errno::STALE | Errno::IO | Errno::TIMEDOUT | Errno::HOSTDOWN | Errno::NOTCONN) => Ok(true),
        Err(e) => Err(Error::file("examine", path, e)),
    }
}
