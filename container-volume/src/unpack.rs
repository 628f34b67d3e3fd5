//! A tar stream unpacked into a directory: paths are resolved beneath it and through no link.

use std::{
    collections::HashSet,
    ffi::{CString, OsStr},
    io::{self, Read, Write},
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::{Path, PathBuf},
};

use rustix::{
    fs::{
        AtFlags, FileType, Gid, Mode, OFlags, RawMode, ResolveFlags, Timespec, Timestamps, Uid, XattrFlags,
        chmodat, chownat, fchmod, fchown, fsetxattr, futimens, linkat, mkdirat, mknodat, openat, statat,
        symlinkat, unlinkat, utimensat,
    },
    io::Errno,
};

use crate::{
    Error, Result, fill,
    tar::{Entry, Kind, Reader},
};

/// What an archive brought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Restored {
    /// Entries of the archive.
    pub entries: u64,
    /// Bytes of its files.
    pub bytes: u64,
}

/// Deepest directory of an archive.
pub(crate) const DEEPEST: usize = 1000;

/// Attributes that mean the same wherever the file is. The others steer overlayfs or a security module.
pub(crate) fn may_set(name: &[u8]) -> bool {
    (name.starts_with(b"user.") && !name.starts_with(b"user.overlay."))
        || name == b"security.capability"
        || name.starts_with(b"system.posix_acl_")
}

/// Unpacks a tar stream into a directory. Paths are resolved beneath it and through no link; a file that is there is replaced, a directory
/// stays with what is in it. With `owner` everything belongs to that user and group, whatever the archive says. `of` says for messages
/// whose files these are. Not atomic.
///
/// # Errors
///
/// [`Error::Archive`] for what no honest archive has (absolute names and `..`, a path through a link, a hard link to what is not there) and for a
/// directory that would take a file's place, or a file a directory's.
pub fn unpack(
    of: &str,
    top: BorrowedFd<'_>,
    input: impl Read,
    owner: Option<(u32, u32)>,
) -> Result<Restored> {
    let mut reader = Reader::new(io::BufReader::with_capacity(1 << 17, input), of);
    let mut restored = Restored::default();
    let mut times: Vec<(Vec<Vec<u8>>, Entry)> = Vec::new();
    let mut seen = HashSet::new();
    while let Some(mut entry) = reader.next_entry()? {
        if let Some((uid, gid)) = owner {
            (entry.uid, entry.gid) = (uid, gid);
        }
        restored.entries += 1;
        restored.bytes += entry.size;
        let parts = parts(&entry, &entry.path)?;
        let failed = |source: io::Error| Error::Backup {
            operation: "restore",
            path: PathBuf::from(OsStr::from_bytes(&entry.path)),
            of: of.into(),
            source,
        };
        let Some((last, above)) = parts.split_last() else {
            if entry.kind != Kind::Directory {
                return Err(entry.refuse("it is to be the top itself, and is no directory"));
            }
            times.push((parts, entry));
            continue;
        };
        let dir = walk(top, above, true).map_err(|e| match e {
            Errno::LOOP | Errno::NOTDIR => entry.refuse("its path leads through what is no directory"),
            e => failed(e.into()),
        })?;
        let last =
            CString::new(last.as_slice()).map_err(|_| entry.refuse("its name has a zero byte in it"))?;
        if entry.kind == Kind::Directory {
            match mkdirat(&dir, last.as_c_str(), Mode::RWXU) {
                Err(Errno::EXIST) => {
                    let there = statat(&dir, last.as_c_str(), AtFlags::SYMLINK_NOFOLLOW);
                    let there = there.map_err(|e| failed(e.into()))?;
                    if FileType::from_raw_mode(there.st_mode) != FileType::Directory {
                        return Err(entry.refuse("a file of this name came before"));
                    }
                }
                other => other.map_err(|e| failed(e.into()))?,
            }
            if seen.insert(parts.clone()) {
                times.push((parts, entry));
            }
            continue;
        }
        // a later entry of the same name wins
        match unlinkat(&dir, last.as_c_str(), AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(Errno::ISDIR) => return Err(entry.refuse("a directory of this name came before")),
            Err(e) => return Err(failed(e.into())),
        }
        if entry.kind == Kind::HardLink {
            let target = self::parts(&entry, &entry.link)?;
            let Some((name, above)) = target.split_last() else {
                return Err(entry.refuse("it links to the top itself"));
            };
            let missing = |_| entry.refuse("it links to what is not there");
            let from = walk(top, above, false).map_err(missing)?;
            linkat(&from, OsStr::from_bytes(name), &dir, last.as_c_str(), AtFlags::empty()).map_err(|e| {
                match e {
                    Errno::NOENT => entry.refuse("it links to what is not there"),
                    e => failed(e.into()),
                }
            })?;
            continue;
        }
        match entry.kind {
            Kind::File => {
                let flags =
                    OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let file = openat(&dir, last.as_c_str(), flags, Mode::RUSR | Mode::WUSR)
                    .map_err(|e| failed(e.into()))?;
                let mut file = std::fs::File::from(file);
                let mut buffer = vec![0_u8; 1 << 17];
                loop {
                    let read = reader.data(&mut buffer)?;
                    if read == 0 {
                        break;
                    }
                    file.write_all(buffer.get(..read).unwrap_or_default()).map_err(failed)?;
                }
                finish(file.as_fd(), &entry).map_err(failed)?;
            }
            Kind::Symlink => {
                symlinkat(OsStr::from_bytes(&entry.link), &dir, last.as_c_str())
                    .and_then(|()| own(dir.as_fd(), &last, &entry))
                    .map_err(|e| failed(e.into()))?;
            }
            kind => {
                let (kind, number) = match kind {
                    Kind::Character => {
                        (FileType::CharacterDevice, rustix::fs::makedev(entry.device.0, entry.device.1))
                    }
                    Kind::Block => {
                        (FileType::BlockDevice, rustix::fs::makedev(entry.device.0, entry.device.1))
                    }
                    _ => (FileType::Fifo, 0),
                };
                let mode = Mode::from_raw_mode(entry.mode as RawMode);
                mknodat(&dir, last.as_c_str(), kind, mode, number)
                    .and_then(|()| own(dir.as_fd(), &last, &entry))
                    .and_then(|()| chmodat(&dir, last.as_c_str(), mode, AtFlags::empty()))
                    .map_err(|e| failed(e.into()))?;
            }
        }
    }
    // children change their directory's times, and a mode may lock us out: from the inside out, at the end
    times.sort_by_key(|(parts, _)| std::cmp::Reverse(parts.len()));
    for (parts, entry) in times {
        let failed = |source: io::Error| Error::Backup {
            operation: "restore",
            path: PathBuf::from(OsStr::from_bytes(&entry.path)),
            of: of.into(),
            source,
        };
        let dir = walk(top, &parts, false).map_err(|e| failed(e.into()))?;
        finish(dir.as_fd(), &entry).map_err(failed)?;
    }
    Ok(restored)
}

/// The parts of a path of an archive: relative, without `..`.
fn parts(entry: &Entry, path: &[u8]) -> Result<Vec<Vec<u8>>> {
    if path.is_empty() {
        return Err(entry.refuse("a name of it is empty"));
    }
    if path.starts_with(b"/") {
        return Err(entry.refuse("a name of it is absolute"));
    }
    if path.contains(&0) {
        return Err(entry.refuse("a name of it has a zero byte in it"));
    }
    let parts: Vec<Vec<u8>> = path
        .split(|byte| *byte == b'/')
        .filter(|part| !part.is_empty() && *part != b".")
        .map(<[u8]>::to_vec)
        .collect();
    if parts.iter().any(|part| part == b"..") {
        return Err(entry.refuse("a name of it has `..` in it"));
    }
    if parts.len() > DEEPEST {
        return Err(entry.refuse("it is too deep"));
    }
    Ok(parts)
}

/// The directory of these parts, beneath the top and through no link.
fn walk(top: BorrowedFd<'_>, parts: &[Vec<u8>], make: bool) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    if parts.is_empty() {
        return openat(top, ".", flags, Mode::empty());
    }
    let whole = parts.join(&b'/');
    let how = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    if whole.len() < 4000 {
        match fill::resolve(top, Path::new(OsStr::from_bytes(&whole)), flags, how) {
            Err(Errno::NOENT) if make => {}
            other => return other,
        }
    }
    let mut dir = openat(top, ".", flags, Mode::empty())?;
    for part in parts {
        let part = OsStr::from_bytes(part);
        if make {
            match mkdirat(&dir, part, Mode::from_raw_mode(0o755)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(e) => return Err(e),
            }
        }
        dir = openat(&dir, part, flags, Mode::empty())?;
    }
    Ok(dir)
}

fn moment(entry: &Entry) -> Timestamps {
    let time = Timespec { tv_sec: entry.seconds, tv_nsec: entry.nanoseconds.into() };
    Timestamps { last_access: time, last_modification: time }
}

fn own(dir: BorrowedFd<'_>, name: &std::ffi::CStr, entry: &Entry) -> Result<(), Errno> {
    let (uid, gid) = (Uid::from_raw(entry.uid), Gid::from_raw(entry.gid));
    chownat(dir, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
    utimensat(dir, name, &moment(entry), AtFlags::SYMLINK_NOFOLLOW)
}

/// Owner, mode, attributes and times, in the order in which none undoes another.
fn finish(file: BorrowedFd<'_>, entry: &Entry) -> io::Result<()> {
    fchown(file, Some(Uid::from_raw(entry.uid)), Some(Gid::from_raw(entry.gid)))?;
    fchmod(file, Mode::from_raw_mode(entry.mode as RawMode))?;
    for (name, value) in entry.attributes.iter().filter(|(name, _)| may_set(name)) {
        match fsetxattr(file, CString::new(name.as_slice())?.as_c_str(), value, XattrFlags::empty()) {
            Ok(()) | Err(Errno::OPNOTSUPP) => {}
            Err(e) => return Err(e.into()),
        }
    }
    Ok(futimens(file, &moment(entry))?)
}
