//! Copying a directory of an image by descriptors: no path of the image is ever walked by the host.

use std::{
    collections::HashMap,
    ffi::{CStr, CString, OsStr},
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use rustix::{
    fs::{
        AtFlags, Dir, FileType, Gid, Mode, OFlags, RawMode, ResolveFlags, SeekFrom, Stat, Timespec,
        Timestamps, Uid, XattrFlags, chownat, copy_file_range, fchmod, fchown, fgetxattr, flistxattr,
        fsetxattr, fstat, ftruncate, futimens, linkat, mkdirat, mknodat, openat, openat2, readlinkat, seek,
        symlinkat, utimensat,
    },
    io::Errno,
};

use crate::{Error, Result};

/// Deepest directory that is copied; each level takes three descriptors.
const DEEPEST: usize = 1000;
/// Largest value of an extended attribute (XATTR_SIZE_MAX).
const LARGEST_VALUE: usize = 65_536;

/// The directory inside the image; none if there is no such directory.
pub(crate) fn open_source(name: &str, root: BorrowedFd<'_>, path: &Path) -> Result<Option<OwnedFd>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let inside = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    match resolve(root, path, flags, inside) {
        Ok(dir) => Ok(Some(dir)),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
        Err(e) => {
            Err(Error::Fill { name: name.into(), operation: "open", path: path.into(), source: e.into() })
        }
    }
}

/// `openat2`, again when the kernel asks for it: a rename or mount anywhere during a `..` makes it give up.
pub(crate) fn resolve(
    root: BorrowedFd<'_>,
    path: &Path,
    flags: OFlags,
    how: ResolveFlags,
) -> std::result::Result<OwnedFd, Errno> {
    loop {
        match openat2(root, path, flags, Mode::empty(), how) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            other => return other,
        }
    }
}

struct Level {
    source: OwnedFd,
    target: OwnedFd,
    entries: Dir,
    path: PathBuf,
}

/// Copies everything in `source`, and its own owner, mode and so on, to the empty directory `target`.
pub(crate) fn copy(name: &str, path: &Path, source: OwnedFd, target: BorrowedFd<'_>) -> Result<()> {
    let mut copy = Copy { target, links: HashMap::new() };
    copy.tree(source).map_err(|(operation, inside, source)| Error::Fill {
        name: name.into(),
        operation,
        path: path.join(inside),
        source,
    })
}

type Failure = (&'static str, PathBuf, io::Error);

struct Copy<'a> {
    target: BorrowedFd<'a>,
    /// Where the first of several names of a file went.
    links: HashMap<(u64, u64), PathBuf>,
}

impl Copy<'_> {
    fn tree(&mut self, source: OwnedFd) -> Result<(), Failure> {
        let target = self.target.try_clone_to_owned().map_err(|e| ("open", PathBuf::new(), e))?;
        let mut levels = vec![level(source, target, PathBuf::new())?];
        while let Some(current) = levels.last_mut() {
            let Some(entry) = current.entries.next() else {
                finish(current.source.as_fd(), current.target.as_fd())
                    .map_err(|e| ("copy the attributes of", current.path.clone(), e))?;
                levels.pop();
                continue;
            };
            let entry = entry.map_err(|e| ("read", current.path.clone(), e.into()))?;
            let file_name = entry.file_name();
            if matches!(file_name.to_bytes(), b"." | b"..") {
                continue;
            }
            let path = current.path.join(OsStr::from_bytes(file_name.to_bytes()));
            let below = self
                .entry(current.source.as_fd(), current.target.as_fd(), file_name, &path)
                .map_err(|e| ("copy", path.clone(), e))?;
            if let Some((source, target)) = below {
                if levels.len() >= DEEPEST {
                    return Err(("copy", path, Errno::NAMETOOLONG.into()));
                }
                levels.push(level(source, target, path)?);
            }
        }
        Ok(())
    }

    /// Copies one entry; a directory is only made, and comes back to be gone through.
    fn entry(
        &mut self,
        from: BorrowedFd<'_>,
        to: BorrowedFd<'_>,
        name: &CStr,
        path: &Path,
    ) -> io::Result<Option<(OwnedFd, OwnedFd)>> {
        let stat = rustix::fs::statat(from, name, AtFlags::SYMLINK_NOFOLLOW)?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        if kind != FileType::Directory && stat.st_nlink > 1 {
            if let Some(first) = self.links.get(&(stat.st_dev, stat.st_ino)) {
                linkat(self.target, first, to, name, AtFlags::empty())?;
                return Ok(None);
            }
            self.links.insert((stat.st_dev, stat.st_ino), path.to_path_buf());
        }
        let read = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        match kind {
            FileType::Directory => {
                let source = openat(from, name, read | OFlags::DIRECTORY, Mode::empty())?;
                mkdirat(to, name, Mode::RWXU)?;
                let target = openat(to, name, read | OFlags::DIRECTORY, Mode::empty())?;
                return Ok(Some((source, target)));
            }
            FileType::RegularFile => {
                let source = openat(from, name, read, Mode::empty())?;
                let opened = fstat(&source)?;
                if FileType::from_raw_mode(opened.st_mode) != FileType::RegularFile {
                    return Err(io::Error::other("it was replaced while it was copied"));
                }
                let flags =
                    OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let target = openat(to, name, flags, Mode::RUSR | Mode::WUSR)?;
                contents(&source, &target, opened.st_size as u64)?;
                finish(source.as_fd(), target.as_fd())?;
            }
            FileType::Symlink => {
                let text = readlinkat(from, name, Vec::new())?;
                symlinkat(&text, to, name)?;
                own(to, name, &stat)?;
            }
            _ => {
                let mode = Mode::from_raw_mode(stat.st_mode as RawMode & 0o7777);
                mknodat(to, name, kind, mode, stat.st_rdev)?;
                own(to, name, &stat)?;
                // the umask took part in the mode, and the owner's change may have cleared bits
                rustix::fs::chmodat(to, name, mode, AtFlags::empty())?;
                utimensat(to, name, &times(&stat), AtFlags::SYMLINK_NOFOLLOW)?;
            }
        }
        Ok(None)
    }
}

fn level(source: OwnedFd, target: OwnedFd, path: PathBuf) -> Result<Level, Failure> {
    match Dir::read_from(&source) {
        Ok(entries) => Ok(Level { source, target, entries, path }),
        Err(e) => Err(("read", path, e.into())),
    }
}

/// Owner and times of what cannot be opened.
fn own(dir: BorrowedFd<'_>, name: &CStr, stat: &Stat) -> io::Result<()> {
    let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
    chownat(dir, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(utimensat(dir, name, &times(stat), AtFlags::SYMLINK_NOFOLLOW)?)
}

fn times(stat: &Stat) -> Timestamps {
    let time = |seconds, nanoseconds| Timespec { tv_sec: seconds, tv_nsec: nanoseconds as i64 };
    Timestamps {
        last_access: time(stat.st_atime, stat.st_atime_nsec),
        last_modification: time(stat.st_mtime, stat.st_mtime_nsec),
    }
}

/// Owner, mode, extended attributes and times, in the order in which none undoes another.
fn finish(source: BorrowedFd<'_>, target: BorrowedFd<'_>) -> io::Result<()> {
    let stat = fstat(source)?;
    fchown(target, Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)))?;
    fchmod(target, Mode::from_raw_mode(stat.st_mode as RawMode & 0o7777))?;
    attributes(source, target)?;
    Ok(futimens(target, &times(&stat))?)
}

/// Extended attributes but those of overlayfs, which would mean something else to a mount over the volume, and the label
/// of the image's place.
fn attributes(source: BorrowedFd<'_>, target: BorrowedFd<'_>) -> io::Result<()> {
    let mut names = vec![0_u8; LARGEST_VALUE];
    let length = match flistxattr(source, &mut names) {
        Ok(length) => length,
        Err(Errno::OPNOTSUPP) => return Ok(()),
        Err(e) => return Err(e.into()),
    };
    let mut value = Vec::new();
    for name in names.get(..length).unwrap_or_default().split(|b| *b == 0).filter(|name| !name.is_empty()) {
        let skipped: [&[u8]; 3] = [b"trusted.overlay.", b"user.overlay.", b"security.selinux"];
        if skipped.iter().any(|prefix| name.starts_with(prefix)) {
            continue;
        }
        let name = CString::new(name).map_err(io::Error::from)?;
        value.resize(LARGEST_VALUE, 0);
        let length = fgetxattr(source, name.as_c_str(), &mut value)?;
        match fsetxattr(target, name.as_c_str(), value.get(..length).unwrap_or_default(), XattrFlags::empty())
        {
            Ok(()) | Err(Errno::OPNOTSUPP) => {}
            Err(e) => return Err(e.into()),
        }
    }
    Ok(())
}

/// Copies a file's data, by reference where the file system can, and leaves its holes holes.
fn contents(source: &OwnedFd, target: &OwnedFd, size: u64) -> io::Result<()> {
    if size == 0 || rustix::fs::ioctl_ficlone(target, source).is_ok() {
        return Ok(());
    }
    ftruncate(target, size)?;
    let mut place = 0;
    while place < size {
        let start = match seek(source, SeekFrom::Data(place)) {
            Ok(start) => start,
            // nothing but a hole up to the end
            Err(Errno::NXIO) => break,
            Err(e) => return Err(e.into()),
        };
        let end = seek(source, SeekFrom::Hole(start))?.min(size);
        place = range(source, target, start, end)?;
        if place < end {
            break;
        }
    }
    Ok(())
}

/// Copies a range; returns how far it came, which is less than `end` if the file was cut meanwhile.
fn range(source: &OwnedFd, target: &OwnedFd, start: u64, end: u64) -> io::Result<u64> {
    let mut place = start;
    let mut buffer: Vec<u8> = Vec::new();
    while place < end {
        let most = (end - place).min(1 << 30) as usize;
        if buffer.is_empty() {
            let (mut from, mut to) = (place, place);
            match copy_file_range(source, Some(&mut from), target, Some(&mut to), most) {
                Ok(0) => return Ok(place),
                Ok(length) => place += length as u64,
                Err(Errno::INTR) => {}
                Err(Errno::XDEV | Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS) => buffer.resize(65_536, 0),
                Err(e) => return Err(e.into()),
            }
            continue;
        }
        let room = most.min(buffer.len());
        let length = rustix::io::pread(source, buffer.get_mut(..room).unwrap_or_default(), place)?;
        if length == 0 {
            return Ok(place);
        }
        let mut written = 0;
        while written < length {
            let rest = buffer.get(written..length).unwrap_or_default();
            written += rustix::io::pwrite(target, rest, place + written as u64)?;
        }
        place += length as u64;
    }
    Ok(place)
}
