use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Uid, XattrFlags};
use rustix::io::Errno;

use crate::below::{Below, Seen};
use crate::tar::{self, Entry, Kind, MAX_PATH};
use crate::{Error, tree};

const WHITEOUT: &[u8] = b".wh.";
const OPAQUE_MARKER: &[u8] = b".wh..wh..opq";

/// Bounds on what a layer may hold. The defaults fit every image that people make, and stop bombs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Entries in one layer.
    pub entries: u64,
    /// Bytes of all files of one layer together, holes included.
    pub bytes: u64,
    /// Directories above an entry.
    pub depth: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { entries: 5_000_000, bytes: 1 << 40, depth: 512 }
    }
}

/// What one application of a layer did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Applied {
    /// Entries made, whiteouts among them.
    pub entries: u64,
    /// Bytes of all files together, holes included.
    pub bytes: u64,
    /// Extended attributes left out, because an archive may not set them: `trusted.*`, `user.overlay.*`
    /// and everything of `security.*` but `security.capability`.
    pub attributes_left_out: u64,
}

/// Unpacks one uncompressed layer into the empty directory `target`, with overlayfs's own marks for
/// what it deletes, so that `target` can be a lower directory of an overlay.
///
/// `below` are the layers under it, the topmost first: a directory that the archive does not mention takes
/// its owner and mode from there, and a link there is followed as the running container would see it.
///
/// Nothing outside `target` is touched, whatever the archive holds: paths are resolved by descriptors
/// inside it. Not atomic: unpack beside the final place and rename. OCI image specification, *Layer*.
///
/// # Errors
///
/// [`Error::Archive`] and [`Error::Limit`] name the entry; the directory is then half filled.
pub fn apply(
    archive: impl Read,
    target: &Path,
    below: &[impl AsRef<Path>],
    limits: &Limits,
) -> Result<Applied, Error> {
    let root = tree::open_root(target).map_err(Error::io("open", target))?;
    let below = Below::open(below)?;
    let mut applier =
        Applier { root, below, limits, parent: None, directories: Vec::new(), applied: Applied::default() };
    let mut reader = tar::Reader::new(archive);
    while let Some(entry) = reader.next_entry()? {
        applier.entry(&entry, &mut reader)?;
    }
    applier.finish()?;
    // what follows the end marker belongs to the digest too
    std::io::copy(&mut reader.into_inner(), &mut std::io::sink())
        .map_err(|source| Error::Read { object: "the archive".to_owned(), source })?;
    Ok(applier.applied)
}

struct Applier<'a> {
    root: OwnedFd,
    below: Below,
    limits: &'a Limits,
    /// The directory of the last entry: archives keep neighbours together.
    parent: Option<(Vec<u8>, OwnedFd)>,
    /// Directories with the times they are to have in the end.
    directories: Vec<(Vec<u8>, (i64, u32))>,
    applied: Applied,
}

impl Applier<'_> {
    fn entry<R: Read>(&mut self, entry: &Entry, reader: &mut tar::Reader<R>) -> Result<(), Error> {
        self.count(entry)?;
        let path = clean(entry, &entry.path)?;
        let Some(name) = path.rsplit(|&b| b == b'/').next().filter(|name| !name.is_empty()) else {
            return self.root_entry(entry);
        };
        let above = &path[..path.len() - name.len()];
        let above = above.strip_suffix(b"/").unwrap_or(above);
        if above.split(|&b| b == b'/').count() as u64 > self.limits.depth {
            return Err(Error::Limit {
                entry: entry.shown(),
                what: "directories of depth",
                limit: self.limits.depth,
            });
        }
        let parent = match self.parent.take() {
            Some((known, parent)) if known == above => parent,
            _ => self.open_parent(entry, above)?,
        };
        self.place(entry, &path, name, parent.as_fd(), reader)?;
        self.parent = Some((above.to_vec(), parent));
        Ok(())
    }

    fn count(&mut self, entry: &Entry) -> Result<(), Error> {
        let over = |what, limit| Err(Error::Limit { entry: entry.shown(), what, limit });
        self.applied.entries += 1;
        self.applied.bytes = self.applied.bytes.saturating_add(entry.size);
        if self.applied.entries > self.limits.entries {
            return over("entries", self.limits.entries);
        }
        if self.applied.bytes > self.limits.bytes {
            return over("bytes", self.limits.bytes);
        }
        Ok(())
    }

    /// The archive's `./`: owner, mode and times of the root itself.
    fn root_entry(&mut self, entry: &Entry) -> Result<(), Error> {
        if entry.kind != Kind::Directory {
            return Err(entry.refuse("the root can only be a directory"));
        }
        let root = self.root.try_clone().map_err(failed("open", entry))?;
        tree::set_owner_and_mode(root.as_fd(), entry.uid, entry.gid, entry.mode)
            .map_err(failed("set the owner of", entry))?;
        self.set_attributes(entry, root.as_fd())?;
        self.directories.push((Vec::new(), entry.mtime));
        Ok(())
    }

    fn place<R: Read>(
        &mut self,
        entry: &Entry,
        path: &[u8],
        name: &[u8],
        parent: BorrowedFd<'_>,
        reader: &mut tar::Reader<R>,
    ) -> Result<(), Error> {
        if name == OPAQUE_MARKER {
            let directory =
                tree::open_child(parent, b".").map_err(|errno| failed("open", entry)(errno.into()))?;
            return tree::make_opaque(directory.as_fd()).map_err(failed("make opaque", entry));
        }
        if let Some(hidden) = name.strip_prefix(WHITEOUT) {
            return whiteout(entry, hidden, parent);
        }
        let existing = tree::stat(parent, name).map_err(failed("look at", entry))?;
        // a name deleted from below and made anew in the same layer hides all that was below
        let anew = existing.as_ref().is_some_and(tree::is_whiteout);
        if entry.kind == Kind::Directory
            && existing.as_ref().is_some_and(|stat| tree::file_type(stat) == FileType::Directory)
        {
            return self.directory(entry, path, name, parent, false);
        }
        if entry.kind == Kind::HardLink {
            return self.hard_link(entry, name, parent);
        }
        if existing.is_some() {
            tree::remove(parent, name).map_err(failed("replace", entry))?;
        }
        match entry.kind {
            Kind::Directory => {
                rustix::fs::mkdirat(parent, name, Mode::RWXU)
                    .map_err(|e| failed("create", entry)(e.into()))?;
                self.directory(entry, path, name, parent, anew)
            }
            Kind::File => self.file(entry, name, parent, reader),
            Kind::SymbolicLink => {
                if entry.link.is_empty() || entry.link.contains(&0) {
                    return Err(entry.refuse("the target of a symbolic link is empty or has a NUL"));
                }
                rustix::fs::symlinkat(entry.link.as_slice(), parent, name)
                    .map_err(|e| failed("create", entry)(e.into()))?;
                set_by_name(entry, name, parent, false)
            }
            Kind::CharacterDevice | Kind::BlockDevice | Kind::Fifo => {
                let (kind, device) = match entry.kind {
                    Kind::Fifo => (FileType::Fifo, 0),
                    Kind::BlockDevice => {
                        (FileType::BlockDevice, rustix::fs::makedev(entry.device.0, entry.device.1))
                    }
                    _ if entry.device == (0, 0) => {
                        return Err(entry.refuse("the device 0:0 is overlayfs's own mark for a deleted file"));
                    }
                    _ => (FileType::CharacterDevice, rustix::fs::makedev(entry.device.0, entry.device.1)),
                };
                rustix::fs::mknodat(parent, name, kind, Mode::from_raw_mode(entry.mode), device)
                    .map_err(|e| failed("create", entry)(e.into()))?;
                set_by_name(entry, name, parent, true)
            }
            Kind::HardLink => Ok(()),
        }
    }

    fn directory(
        &mut self,
        entry: &Entry,
        path: &[u8],
        name: &[u8],
        parent: BorrowedFd<'_>,
        opaque: bool,
    ) -> Result<(), Error> {
        let directory = tree::open_child(parent, name).map_err(|e| failed("open", entry)(e.into()))?;
        tree::set_owner_and_mode(directory.as_fd(), entry.uid, entry.gid, entry.mode)
            .map_err(failed("set the owner of", entry))?;
        self.set_attributes(entry, directory.as_fd())?;
        if opaque {
            tree::make_opaque(directory.as_fd()).map_err(failed("make opaque", entry))?;
        }
        self.directories.push((path.to_vec(), entry.mtime));
        Ok(())
    }

    fn file<R: Read>(
        &mut self,
        entry: &Entry,
        name: &[u8],
        parent: BorrowedFd<'_>,
        reader: &mut tar::Reader<R>,
    ) -> Result<(), Error> {
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(parent, name, flags, Mode::RUSR | Mode::WUSR)
            .map_err(|e| failed("create", entry)(e.into()))?;
        let mut file = File::from(file);
        let mut buffer = vec![0; 64 << 10];
        let whole = [(0, entry.size)];
        for &(offset, length) in entry.segments.as_deref().unwrap_or(&whole) {
            if entry.segments.is_some() {
                file.seek(SeekFrom::Start(offset)).map_err(failed("write", entry))?;
            }
            let mut left = length;
            while left > 0 {
                let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
                let count = reader.read_data(&mut buffer[..wanted])?;
                file.write_all(&buffer[..count]).map_err(failed("write", entry))?;
                left -= count as u64;
            }
        }
        if entry.segments.is_some() {
            file.set_len(entry.size).map_err(failed("write", entry))?;
        }
        tree::set_owner_and_mode(file.as_fd(), entry.uid, entry.gid, entry.mode)
            .map_err(failed("set the owner of", entry))?;
        self.set_attributes(entry, file.as_fd())?;
        rustix::fs::futimens(&file, &tree::times(entry.mtime.0, entry.mtime.1))
            .map_err(|e| failed("set the times of", entry)(e.into()))
    }

    /// A link to something of this layer. Its target's directory is resolved like every other, and the target
    /// itself is linked, not what it may point to.
    fn hard_link(&mut self, entry: &Entry, name: &[u8], parent: BorrowedFd<'_>) -> Result<(), Error> {
        let target = clean(entry, &entry.link)?;
        let (above, last) = match target.iter().rposition(|&b| b == b'/') {
            Some(slash) => (&target[..slash], &target[slash + 1..]),
            None => (&target[..0], target.as_slice()),
        };
        if last.is_empty() {
            return Err(entry.refuse("the target of a hard link is empty"));
        }
        let directory = tree::open_directory(self.root.as_fd(), above)
            .map_err(|e| failed("find the target of the hard link", entry)(e.into()))?;
        let stat =
            tree::stat(directory.as_fd(), last).map_err(failed("find the target of the hard link", entry))?;
        let Some(stat) = stat.filter(|stat| !tree::is_whiteout(stat)) else {
            return Err(entry.refuse("the target of the hard link is not in this layer"));
        };
        if tree::file_type(&stat) == FileType::Directory {
            return Err(entry.refuse("the target of the hard link is a directory"));
        }
        match tree::stat(parent, name).map_err(failed("look at", entry))? {
            Some(own) if (own.st_dev, own.st_ino) == (stat.st_dev, stat.st_ino) => return Ok(()),
            Some(_) => tree::remove(parent, name).map_err(failed("replace", entry))?,
            None => {}
        }
        rustix::fs::linkat(&directory, last, parent, name, AtFlags::empty())
            .map_err(|e| failed("create", entry)(e.into()))
    }

    /// Opens the directory of an entry, making what the archive left out.
    fn open_parent(&mut self, entry: &Entry, path: &[u8]) -> Result<OwnedFd, Error> {
        match tree::open_directory(self.root.as_fd(), path) {
            Ok(directory) => return Ok(directory),
            Err(Errno::NOENT | Errno::NOTDIR) => {}
            Err(errno) => return Err(failed("open the directory of", entry)(errno.into())),
        }
        let mut steps = 0;
        let mut rest: Vec<Vec<u8>> = path.split(|&b| b == b'/').rev().map(<[u8]>::to_vec).collect();
        let mut above: Vec<u8> = Vec::new();
        while let Some(name) = rest.pop() {
            steps += 1;
            if steps > 4 * self.limits.depth {
                return Err(failed("open the directory of", entry)(Errno::LOOP.into()));
            }
            match name.as_slice() {
                b"" | b"." => continue,
                b".." => {
                    let end = above.iter().rposition(|&b| b == b'/').unwrap_or(0);
                    above.truncate(end);
                    continue;
                }
                _ => {}
            }
            let link = self.step(entry, &above, &name)?;
            match link {
                None => {
                    if !above.is_empty() {
                        above.push(b'/');
                    }
                    above.extend_from_slice(&name);
                }
                Some(target) => {
                    if target.first() == Some(&b'/') {
                        above.clear();
                    }
                    rest.extend(target.split(|&b| b == b'/').rev().map(<[u8]>::to_vec));
                }
            }
        }
        tree::open_directory(self.root.as_fd(), &above)
            .map_err(|errno| failed("open the directory of", entry)(errno.into()))
    }

    /// Makes sure that `name` in `above` is a directory of this layer, or tells the link that it is, here or below.
    fn step(&mut self, entry: &Entry, above: &[u8], name: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        let parent = tree::open_directory(self.root.as_fd(), above)
            .map_err(|errno| failed("open the directory of", entry)(errno.into()))?;
        let path = if above.is_empty() { name.to_vec() } else { [above, b"/", name].concat() };
        let here = tree::stat(parent.as_fd(), name).map_err(failed("look at", entry))?;
        let mut anew = false;
        match here {
            Some(stat) if tree::is_whiteout(&stat) => {
                tree::remove(parent.as_fd(), name).map_err(failed("replace", entry))?;
                anew = true;
            }
            Some(stat) => {
                return match tree::file_type(&stat) {
                    FileType::Directory => Ok(None),
                    FileType::Symlink => {
                        read_link(parent.as_fd(), name).map(Some).map_err(failed("read", entry))
                    }
                    _ => Err(failed("open the directory of", entry)(Errno::NOTDIR.into())),
                };
            }
            None => {}
        }
        let seen =
            if anew { Seen::Nothing } else { self.below.look(&path).map_err(failed("look at", entry))? };
        if let Seen::Link(target) = seen {
            return Ok(Some(target));
        }
        rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(0o755))
            .map_err(|e| failed("create", entry)(e.into()))?;
        let made = tree::open_child(parent.as_fd(), name).map_err(|e| failed("open", entry)(e.into()))?;
        let (uid, gid, mode, mtime) = match seen {
            Seen::Directory { uid, gid, mode, mtime } => (uid, gid, mode, mtime),
            _ => (0, 0, 0o755, entry.mtime),
        };
        tree::set_owner_and_mode(made.as_fd(), uid, gid, mode).map_err(failed("set the owner of", entry))?;
        if anew {
            tree::make_opaque(made.as_fd()).map_err(failed("make opaque", entry))?;
        }
        self.directories.push((path, mtime));
        Ok(None)
    }

    fn set_attributes(&mut self, entry: &Entry, file: BorrowedFd<'_>) -> Result<(), Error> {
        for (name, value) in &entry.xattrs {
            if !may_set(name) {
                self.applied.attributes_left_out += 1;
                continue;
            }
            let text = std::ffi::OsStr::from_bytes(name);
            rustix::fs::fsetxattr(file, text, value, XattrFlags::empty())
                .map_err(|e| failed("set an attribute of", entry)(e.into()))?;
        }
        Ok(())
    }

    /// Times of directories, the deepest last made first, when nothing is put into them any more.
    fn finish(&mut self) -> Result<(), Error> {
        for (path, (seconds, nanoseconds)) in self.directories.drain(..).rev() {
            let object = || Error::Entry {
                action: "set the times of",
                entry: tar::shown(&path),
                source: Errno::NOENT.into(),
            };
            // a later entry may have replaced the directory
            let Ok(directory) =
                tree::open_as_is(self.root.as_fd(), if path.is_empty() { b"." } else { &path })
            else {
                continue;
            };
            let directory = match tree::open_child(directory.as_fd(), b".") {
                Ok(directory) => directory,
                Err(Errno::NOTDIR) => continue,
                Err(_) => return Err(object()),
            };
            rustix::fs::futimens(&directory, &tree::times(seconds, nanoseconds)).map_err(|_| object())?;
        }
        Ok(())
    }
}

/// The path of an entry or link target without empty and `.` parts.
fn clean(entry: &Entry, path: &[u8]) -> Result<Vec<u8>, Error> {
    if path.is_empty() {
        return Err(entry.refuse("the name is empty"));
    }
    if path.contains(&0) {
        return Err(entry.refuse("the name has a NUL"));
    }
    if path.len() as u64 > MAX_PATH {
        return Err(Error::Limit { entry: entry.shown(), what: "bytes of name", limit: MAX_PATH });
    }
    let mut cleaned = Vec::with_capacity(path.len());
    for part in path.split(|&b| b == b'/') {
        match part {
            b"" | b"." => {}
            b".." => return Err(entry.refuse("the name climbs out with ..")),
            part => {
                if !cleaned.is_empty() {
                    cleaned.push(b'/');
                }
                cleaned.extend_from_slice(part);
            }
        }
    }
    Ok(cleaned)
}

fn whiteout(entry: &Entry, hidden: &[u8], parent: BorrowedFd<'_>) -> Result<(), Error> {
    if matches!(hidden, b"" | b"." | b"..") || hidden.starts_with(WHITEOUT) {
        return Err(entry.refuse("the whiteout names no file"));
    }
    match tree::stat(parent, hidden).map_err(failed("look at", entry))? {
        // a whiteout hides what is below; what this layer has by the same name stays
        Some(stat) if tree::file_type(&stat) == FileType::Directory => {
            let directory = tree::open_child(parent, hidden).map_err(|e| failed("open", entry)(e.into()))?;
            tree::make_opaque(directory.as_fd()).map_err(failed("make opaque", entry))
        }
        Some(_) => Ok(()),
        None => tree::make_whiteout(parent, hidden).map_err(failed("create", entry)),
    }
}

/// Owner, times, and mode where it has one, of what cannot be opened.
fn set_by_name(entry: &Entry, name: &[u8], parent: BorrowedFd<'_>, has_mode: bool) -> Result<(), Error> {
    let (uid, gid) = (Some(Uid::from_raw(entry.uid)), Some(Gid::from_raw(entry.gid)));
    rustix::fs::chownat(parent, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)
        .map_err(|e| failed("set the owner of", entry)(e.into()))?;
    if has_mode {
        // made a moment ago in a tree that is ours alone: not a link
        rustix::fs::chmodat(parent, name, Mode::from_raw_mode(entry.mode), AtFlags::empty())
            .map_err(|e| failed("set the mode of", entry)(e.into()))?;
    }
    rustix::fs::utimensat(parent, name, &tree::times(entry.mtime.0, entry.mtime.1), AtFlags::SYMLINK_NOFOLLOW)
        .map_err(|e| failed("set the times of", entry)(e.into()))
}

/// True for an extended attribute that a layer may hold.
pub(crate) fn may_set(name: &[u8]) -> bool {
    !name.starts_with(b"trusted.")
        && !name.starts_with(b"user.overlay.")
        && (!name.starts_with(b"security.") || name == b"security.capability")
}

fn read_link(parent: BorrowedFd<'_>, name: &[u8]) -> std::io::Result<Vec<u8>> {
    Ok(rustix::fs::readlinkat(parent, name, Vec::new())?.into_bytes())
}

fn failed(action: &'static str, entry: &Entry) -> impl FnOnce(std::io::Error) -> Error + use<> {
    let entry = entry.shown();
    move |source| Error::Entry { action, entry, source }
}
