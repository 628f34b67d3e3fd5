//! A tree of files written as a tar stream, by descriptors and through no link.

use std::{
    collections::HashMap,
    ffi::{CStr, CString, OsStr},
    io::{self, Write},
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::{Path, PathBuf},
};

use rustix::{
    fs::{
        AtFlags, Dir, FileType, Mode, OFlags, Stat, fgetxattr, flistxattr, fstat, openat, readlinkat, statat,
    },
    io::Errno,
};

use crate::{
    Error, Result,
    tar::{Entry, Kind, Writer},
    unpack::{DEEPEST, may_set},
};

const READ: OFlags = OFlags::RDONLY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC).union(OFlags::NONBLOCK);

/// Writes what stands in a directory under one name, with all below it if it is a directory, as a tar stream (POSIX pax): owners, modes,
/// times to the nanosecond, hard links, devices, extended attributes. In the archive it is called `name`. Holes are written as zeros; sockets are left out; no
/// link is followed. `of` says for messages whose files these are, as in `volume data`.
///
/// Files that change meanwhile are written as they are found, each with the size it had at first.
pub fn pack(of: &str, parent: BorrowedFd<'_>, entry: &CStr, name: &Path, output: impl Write) -> Result<()> {
    let mut walk = Walk {
        of,
        writer: Writer::new(io::BufWriter::with_capacity(1 << 18, output)),
        links: HashMap::new(),
    };
    let failed = |path: &Path, source: io::Error| Error::Backup {
        operation: "write",
        path: path.into(),
        of: of.into(),
        source,
    };
    let read = |dir: &OwnedFd, path: &Path| Dir::read_from(dir).map_err(|e| failed(path, e.into()));
    let mut levels = Vec::new();
    if let Some(top) = walk.entry(parent, entry, name).map_err(|e| failed(name, e))? {
        levels.push((read(&top, name)?, top, name.to_owned()));
    }
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

struct Walk<'a, W> {
    of: &'a str,
    writer: Writer<W>,
    links: HashMap<(u64, u64), PathBuf>,
}

impl<W: Write> Walk<'_, W> {
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

    fn entry(&mut self, from: BorrowedFd<'_>, name: &CStr, path: &Path) -> io::Result<Option<OwnedFd>> {
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
                    return Err(io::Error::other(format!("it was replaced while {} was read", self.of)));
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
