//! A volume's files as a tar stream, and back. Paths of an archive are resolved beneath the new directory and through no link.

use std::{
    collections::{HashMap, HashSet},
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
        AtFlags, Dir, FileType, Gid, Mode, OFlags, RawMode, ResolveFlags, Stat, Timespec, Timestamps, Uid,
        XattrFlags, chmodat, chownat, fchmod, fchown, fgetxattr, flistxattr, fsetxattr, fstat, futimens,
        linkat, mkdirat, mknodat, openat, readlinkat, statat, symlinkat, unlinkat, utimensat,
    },
    io::Errno,
};

use crate::{
    Error, Result, Volumes, fill,
    local::Local,
    tar::{Entry, Kind, Reader, Writer},
};

/// What [`restore`](Volumes::restore) brought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Restored {
    /// Entries of the archive.
    pub entries: u64,
    /// Bytes of its files.
    pub bytes: u64,
}

/// Deepest directory of an archive.
const DEEPEST: usize = 1000;
const READ: OFlags = OFlags::RDONLY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC).union(OFlags::NONBLOCK);

impl Volumes {
    /// Writes a volume's files as a tar stream (POSIX pax) with owners, modes, times to the nanosecond, hard links, devices and
    /// extended attributes. Holes are written as zeros; sockets are left out. Names are as `./a/b`.
    ///
    /// Files that change meanwhile are written as they are found, each with the size it had at first.
    pub fn backup(&self, name: &str, output: impl Write) -> Result<()> {
        let top = self.files(name)?;
        let mut walk = Backup {
            name,
            writer: Writer::new(io::BufWriter::with_capacity(1 << 18, output)),
            links: HashMap::new(),
        };
        let failed = |path: &Path, source: io::Error| Error::Backup {
            operation: "write",
            path: path.into(),
            name: name.into(),
            source,
        };
        let stat = fstat(&top).map_err(|e| failed(Path::new("."), e.into()))?;
        walk.directory(&top, &stat, Path::new(".")).map_err(|e| failed(Path::new("."), e))?;
        let read = |dir: &OwnedFd, path: &Path| Dir::read_from(dir).map_err(|e| failed(path, e.into()));
        let mut levels = vec![(read(&top, Path::new("."))?, top, PathBuf::from("."))];
        while let Some((entries, dir, above)) = levels.last_mut() {
            let Some(entry) = entries.next() else {
                levels.pop();
                continue;
            };
            let entry = entry.map_err(|e| failed(above, e.into()))?;
            if matches!(entry.file_name().to_bytes(), b"." | b"..") {
                continue;
            }
            let path = above.join(OsStr::from_bytes(entry.file_name().to_bytes()));
            match walk.entry(dir.as_fd(), entry.file_name(), &path) {
                // gone meanwhile
                Ok(None) => {}
                Err(e) if e.raw_os_error() == Some(Errno::NOENT.raw_os_error()) => {}
                Ok(Some(below)) => {
                    if levels.len() >= DEEPEST {
                        return Err(failed(&path, Errno::NAMETOOLONG.into()));
                    }
                    levels.push((read(&below, &path)?, below, path));
                }
                Err(e) => return Err(failed(&path, e)),
            }
        }
        walk.writer.finish().map_err(|e| failed(Path::new(""), e))
    }

    /// Fills an empty volume that no container has from a tar stream. Atomic for a plain volume: all files come at once, or none.
    ///
    /// # Errors
    ///
    /// [`Error::NotEmpty`], [`Error::InUse`], and [`Error::Archive`] for what no honest archive has: absolute names and `..`, a
    /// path through a link, a hard link to what is not there. Attributes `trusted.*`, `user.overlay.*` and labels of security
    /// modules are left out; capabilities of files are kept.
    pub fn restore(&self, name: &str, input: impl Read) -> Result<Restored> {
        let _lock = self.lock()?;
        let volume = self.inspect(name)?;
        let users = self.users(name)?;
        if !users.is_empty() {
            return Err(Error::InUse { name: name.into(), users });
        }
        let top = self.files(name)?;
        let is_empty = Dir::read_from(&top)
            .map_err(|e| Error::file("read", &volume.mountpoint, e))?
            .all(|entry| entry.is_ok_and(|entry| matches!(entry.file_name().to_bytes(), b"." | b"..")));
        if !is_empty {
            return Err(Error::NotEmpty { name: name.into() });
        }
        if matches!(Local::of(name, &volume.options)?, Local::Plain { .. }) {
            self.replace(&volume, |target| extract(name, target, input))
        } else {
            extract(name, top.as_fd(), input)
        }
    }
}

struct Backup<'a, W> {
    name: &'a str,
    writer: Writer<W>,
    links: HashMap<(u64, u64), PathBuf>,
}

impl<W: Write> Backup<'_, W> {
    fn header(stat: &Stat, kind: Kind, path: &Path) -> Entry {
        let device = match kind {
            Kind::Character | Kind::Block => {
                (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev))
            }
            _ => (0, 0),
        };
        Entry {
            path: path.as_os_str().as_bytes().to_vec(),
            kind,
            mode: stat.st_mode & 0o7777,
            uid: stat.st_uid,
            gid: stat.st_gid,
            size: 0,
            seconds: stat.st_mtime,
            nanoseconds: stat.st_mtime_nsec as u32,
            link: Vec::new(),
            device,
            attributes: Vec::new(),
        }
    }

    fn directory(&mut self, dir: &OwnedFd, stat: &Stat, path: &Path) -> io::Result<()> {
        let mut header = Self::header(stat, Kind::Directory, path);
        header.path.push(b'/');
        header.attributes = attributes(dir.as_fd())?;
        self.writer.entry(&header)
    }

    fn entry(
        &mut self,
        from: BorrowedFd<'_>,
        name: &std::ffi::CStr,
        path: &Path,
    ) -> io::Result<Option<OwnedFd>> {
        let stat = statat(from, name, AtFlags::SYMLINK_NOFOLLOW)?;
        let kind = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => {
                let dir = openat(from, name, READ | OFlags::DIRECTORY, Mode::empty())?;
                self.directory(&dir, &fstat(&dir)?, path)?;
                return Ok(Some(dir));
            }
            FileType::RegularFile => Kind::File,
            FileType::Symlink => Kind::Symlink,
            FileType::CharacterDevice => Kind::Character,
            FileType::BlockDevice => Kind::Block,
            FileType::Fifo => Kind::Fifo,
            _ => return Ok(None),
        };
        if stat.st_nlink > 1 {
            if let Some(first) = self.links.get(&(stat.st_dev, stat.st_ino)) {
                let mut header = Self::header(&stat, Kind::HardLink, path);
                header.link = first.as_os_str().as_bytes().to_vec();
                self.writer.entry(&header)?;
                return Ok(None);
            }
            self.links.insert((stat.st_dev, stat.st_ino), path.to_path_buf());
        }
        let mut header = Self::header(&stat, kind, path);
        match kind {
            Kind::File => {
                let file = openat(from, name, READ, Mode::empty())?;
                let opened = fstat(&file)?;
                if FileType::from_raw_mode(opened.st_mode) != FileType::RegularFile {
                    return Err(io::Error::other(format!("it was replaced while {} was read", self.name)));
                }
                header = Self::header(&opened, kind, path);
                header.size = opened.st_size as u64;
                header.attributes = attributes(file.as_fd())?;
                self.writer.entry(&header)?;
                let mut buffer = vec![0_u8; 1 << 17];
                let mut left = header.size;
                while left > 0 {
                    let most = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
                    let room = buffer.get_mut(..most).unwrap_or_default();
                    let read = match rustix::io::read(&file, &mut *room) {
                        Err(Errno::INTR) => continue,
                        // it became shorter: its header is out already
                        Ok(0) => {
                            room.fill(0);
                            room.len()
                        }
                        other => other?,
                    };
                    self.writer.data(room.get(..read).unwrap_or_default())?;
                    left -= read as u64;
                }
                self.writer.pad(header.size)?;
            }
            Kind::Symlink => {
                header.link = readlinkat(from, name, Vec::new())?.into_bytes();
                self.writer.entry(&header)?;
            }
            _ => self.writer.entry(&header)?,
        }
        Ok(None)
    }
}

fn attributes(file: BorrowedFd<'_>) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut names = vec![0_u8; 65_536];
    let length = match flistxattr(file, &mut names) {
        Ok(length) => length,
        Err(Errno::OPNOTSUPP) => return Ok(Vec::new()),
        Err(e) => return Err(e.into()),
    };
    let mut found = Vec::new();
    let mut value = vec![0_u8; 65_536];
    for name in names.get(..length).unwrap_or_default().split(|b| *b == 0).filter(|name| may_set(name)) {
        match fgetxattr(file, CString::new(name)?.as_c_str(), &mut value) {
            Ok(length) => found.push((name.to_vec(), value.get(..length).unwrap_or_default().to_vec())),
            Err(Errno::NODATA) => {}
            Err(e) => return Err(e.into()),
        }
    }
    Ok(found)
}

/// Attributes that mean the same wherever the file is. The others steer overlayfs or a security module.
fn may_set(name: &[u8]) -> bool {
    (name.starts_with(b"user.") && !name.starts_with(b"user.overlay."))
        || name == b"security.capability"
        || name.starts_with(b"system.posix_acl_")
}

fn extract(name: &str, top: BorrowedFd<'_>, input: impl Read) -> Result<Restored> {
    let mut reader = Reader::new(io::BufReader::with_capacity(1 << 17, input), name);
    let mut restored = Restored::default();
    let mut times: Vec<(Vec<Vec<u8>>, Entry)> = Vec::new();
    let mut seen = HashSet::new();
    while let Some(entry) = reader.next_entry()? {
        restored.entries += 1;
        restored.bytes += entry.size;
        let parts = parts(&entry, &entry.path)?;
        let failed = |source: io::Error| Error::Backup {
            operation: "restore",
            path: PathBuf::from(OsStr::from_bytes(&entry.path)),
            name: name.into(),
            source,
        };
        let Some((last, above)) = parts.split_last() else {
            if entry.kind != Kind::Directory {
                return Err(entry.refuse("it is to be the volume itself, and is no directory"));
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
                return Err(entry.refuse("it links to the volume itself"));
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
            name: name.into(),
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
