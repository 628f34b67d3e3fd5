use std::{
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use rustix::{
    fs::{AtFlags, CWD, FileType, Mode, OFlags, fstat, mkdirat, openat, readlinkat, statat},
    io::Errno,
};

use crate::{Error, Result};

/// What a bind source is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceKind {
    /// A directory: the target must be one.
    Directory,
    /// Anything else: a file, socket, device or FIFO. The target must be a file.
    File,
}

/// A bind source that is held open: whatever becomes of its path, this is what is mounted.
#[derive(Debug)]
pub struct BindSource {
    /// The descriptor (`O_PATH`): a FIFO does not block it, a device is not opened by it.
    pub fd: OwnedFd,
    /// What it is.
    pub kind: SourceKind,
    /// The path it has now, without links.
    pub path: PathBuf,
}

/// Opens the source of a bind mount. Links of the host are followed, as the person who gave the path may follow them.
///
/// With `create`, a directory is made where there is nothing. `protected` are directories, such as the engine's own
/// state, of which no part is given to a container by itself ([`Error::BindForbidden`]); a directory above them, `/` for
/// one, may be given, as with Docker.
pub fn open_bind(source: &Path, create: bool, protected: &[&Path]) -> Result<BindSource> {
    if !source.is_absolute() {
        return Err(Error::BindForbidden { path: source.into(), reason: "it is not absolute" });
    }
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let fd = match openat(CWD, source, flags, Mode::empty()) {
        Err(Errno::NOENT) if create && protected.iter().any(|guarded| source.starts_with(guarded)) => {
            let reason = "it is of the engine's own state";
            return Err(Error::BindForbidden { path: source.into(), reason });
        }
        Err(Errno::NOENT) if create => {
            make(source)?;
            openat(CWD, source, flags, Mode::empty()).map_err(|e| Error::file("open", source, e))?
        }
        Err(Errno::NOENT) => return Err(Error::BindMissing { path: source.into() }),
        other => other.map_err(|e| Error::file("open", source, e))?,
    };
    let stat = fstat(&fd).map_err(|e| Error::file("open", source, e))?;
    if stat.st_nlink == 0 {
        return Err(Error::BindMissing { path: source.into() });
    }
    let kind = match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => SourceKind::Directory,
        _ => SourceKind::File,
    };
    let path = path_of(&fd).map_err(|e| Error::file("open", source, e))?;
    for guarded in protected {
        let Ok(own) = openat(CWD, *guarded, flags, Mode::empty()) else { continue };
        let own_path = path_of(&own).map_err(|e| Error::file("open", *guarded, e))?;
        if path.starts_with(&own_path) || inside(&path, &own) {
            return Err(Error::BindForbidden {
                path: source.into(),
                reason: "it is of the engine's own state",
            });
        }
    }
    Ok(BindSource { fd, kind, path })
}

/// The path a descriptor has, by procfs.
fn path_of(fd: &OwnedFd) -> Result<PathBuf, Errno> {
    use std::os::{fd::AsRawFd, unix::ffi::OsStringExt};
    let text = readlinkat(CWD, format!("/proc/self/fd/{}", fd.as_raw_fd()), Vec::new())?;
    Ok(PathBuf::from(std::ffi::OsString::from_vec(text.into_bytes())))
}

/// Whether a directory on the way to `path` is `own` by another mount.
fn inside(path: &Path, own: &OwnedFd) -> bool {
    let Ok(wanted) = fstat(own) else { return false };
    path.ancestors().any(|dir| {
        statat(CWD, dir, AtFlags::SYMLINK_NOFOLLOW)
            .is_ok_and(|stat| (stat.st_dev, stat.st_ino) == (wanted.st_dev, wanted.st_ino))
    })
}

/// Makes a directory with those above it, as Docker does for `-v`.
fn make(path: &Path) -> Result<()> {
    let mut above: Vec<&Path> = path.ancestors().collect();
    above.reverse();
    for dir in above {
        match mkdirat(CWD, dir, Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(e) => return Err(Error::file("create", dir, e)),
        }
    }
    Ok(())
}
