//! What an entry becomes in the directory that it is in.

use std::fs::File;
use std::io::{BufRead, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;

use super::{Applier, Form, OPAQUE_MARKER, Owners, Parent, WHITEOUT, clean, failed, plain};
use crate::tar::{self, Entry, Kind};
use crate::{Error, tree};

impl Applier<'_> {
    /// Makes what the entry says. Returns the directory, if it is one: the next entry is most often inside.
    pub(super) fn place<R: BufRead>(
        &mut self,
        entry: &Entry,
        path: &[u8],
        name: &[u8],
        parent: &Parent,
        reader: &mut tar::Reader<R>,
    ) -> Result<Option<Parent>, Error> {
        let above = parent.directory.as_fd();
        if name == OPAQUE_MARKER {
            if self.form != Form::Overlay {
                return plain::clear(above, &parent.path, &self.here)
                    .map(|()| None)
                    .map_err(failed("empty", entry));
            }
            let directory =
                tree::open_child(above, b".").map_err(|errno| failed("open", entry)(errno.into()))?;
            return tree::make_opaque(directory.as_fd()).map(|()| None).map_err(failed("make opaque", entry));
        }
        if let Some(hidden) = name.strip_prefix(WHITEOUT) {
            if matches!(hidden, b"" | b"." | b"..") || hidden.starts_with(WHITEOUT) {
                return Err(entry.refuse("the whiteout names no file"));
            }
            if self.form != Form::Overlay {
                return plain::delete(above, &parent.path, hidden, &self.here)
                    .map(|()| None)
                    .map_err(failed("delete", entry));
            }
            return whiteout(entry, hidden, above).map(|()| None);
        }
        match entry.kind {
            Kind::Directory => return self.directory(entry, path, name, parent).map(Some),
            Kind::HardLink => self.hard_link(entry, name, parent)?,
            Kind::File => self.file(entry, name, parent, reader)?,
            Kind::SymbolicLink => {
                if entry.link.is_empty() || entry.link.contains(&0) {
                    return Err(entry.refuse("the target of a symbolic link is empty or has a NUL"));
                }
                create(entry, name, above, || rustix::fs::symlinkat(entry.link.as_slice(), above, name))?;
                if self.made.needs_owner(entry, parent.plain) {
                    set_owner_by_name(entry, name, above)?;
                }
                set_times_by_name(entry, name, above)?;
            }
            Kind::CharacterDevice | Kind::BlockDevice if self.form == Form::Plain(Owners::Caller) => {
                self.applied.devices_left_out += 1;
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
                create(entry, name, above, || {
                    rustix::fs::mknodat(above, name, kind, Mode::from_raw_mode(entry.mode), device)
                })?;
                if self.made.needs_owner(entry, parent.plain) {
                    set_owner_by_name(entry, name, above)?;
                }
                // made a moment ago in a tree that is ours alone: not a link
                rustix::fs::chmodat(above, name, Mode::from_raw_mode(entry.mode), AtFlags::empty())
                    .map_err(|e| failed("set the mode of", entry)(e.into()))?;
                set_times_by_name(entry, name, above)?;
            }
        }
        Ok(None)
    }

    fn directory(
        &mut self,
        entry: &Entry,
        path: &[u8],
        name: &[u8],
        parent: &Parent,
    ) -> Result<Parent, Error> {
        let above = parent.directory.as_fd();
        let mode = Mode::from_raw_mode(entry.mode & 0o777);
        let (mut is_new, mut opaque) = (true, false);
        match rustix::fs::mkdirat(above, name, mode) {
            Ok(()) => {}
            Err(Errno::EXIST) => {
                let there = tree::stat(above, name).map_err(failed("look at", entry))?;
                if there.as_ref().is_some_and(|stat| tree::file_type(stat) == FileType::Directory) {
                    is_new = false;
                } else {
                    // a name deleted from below and made anew in the same layer hides all that was below
                    opaque = there.as_ref().is_some_and(tree::is_whiteout);
                    tree::remove(above, name).map_err(failed("replace", entry))?;
                    rustix::fs::mkdirat(above, name, mode).map_err(|e| failed("create", entry)(e.into()))?;
                }
            }
            Err(errno) => return Err(failed("create", entry)(errno.into())),
        }
        let directory = tree::open_child(above, name).map_err(|e| failed("open", entry)(e.into()))?;
        let plain = is_new && parent.plain;
        self.made.set(directory.as_fd(), entry, plain).map_err(failed("set the owner of", entry))?;
        self.set_attributes(entry, directory.as_fd())?;
        if opaque {
            tree::make_opaque(directory.as_fd()).map_err(failed("make opaque", entry))?;
        }
        self.directories.push((path.to_vec(), entry.mtime));
        if self.form == Form::Plain(Owners::Caller) && entry.mode & 0o700 != 0o700 {
            // an owner who is not root could put nothing into it
            let open = Mode::from_raw_mode(entry.mode & 0o777 | 0o700);
            rustix::fs::fchmod(&directory, open).map_err(|e| failed("set the mode of", entry)(e.into()))?;
            self.closed.push((path.to_vec(), entry.mode & 0o777));
        }
        let stat = rustix::fs::fstat(&directory).map_err(|e| failed("look at", entry)(e.into()))?;
        let plain = self.made.is_plain_in(&stat);
        Ok(Parent { path: path.to_vec(), directory, plain })
    }

    fn file<R: BufRead>(
        &mut self,
        entry: &Entry,
        name: &[u8],
        parent: &Parent,
        reader: &mut tar::Reader<R>,
    ) -> Result<(), Error> {
        let above = parent.directory.as_fd();
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(entry.mode & 0o777);
        let file = create(entry, name, above, || rustix::fs::openat(above, name, flags, mode))?;
        let mut file = File::from(file);
        let whole = [(0, entry.size)];
        for &(offset, length) in entry.segments.as_deref().unwrap_or(&whole) {
            if entry.segments.is_some() {
                file.seek(SeekFrom::Start(offset)).map_err(failed("write", entry))?;
            }
            let mut left = length;
            while left > 0 {
                let piece = reader.data()?;
                let count = usize::try_from(left).unwrap_or(usize::MAX).min(piece.len());
                if count == 0 {
                    return Err(entry.refuse("it has less data than its map of segments says"));
                }
                file.write_all(&piece[..count]).map_err(failed("write", entry))?;
                reader.consume(count);
                left -= count as u64;
            }
        }
        if entry.segments.is_some() {
            file.set_len(entry.size).map_err(failed("write", entry))?;
        }
        self.made.set(file.as_fd(), entry, parent.plain).map_err(failed("set the owner of", entry))?;
        self.set_attributes(entry, file.as_fd())?;
        rustix::fs::futimens(&file, &tree::times(entry.mtime.0, entry.mtime.1))
            .map_err(|e| failed("set the times of", entry)(e.into()))
    }

    /// A link to something of this layer. Its target's directory is resolved like every other, and the target
    /// itself is linked, not what it may point to.
    fn hard_link(&mut self, entry: &Entry, name: &[u8], parent: &Parent) -> Result<(), Error> {
        let target = clean(entry, &entry.link)?;
        let (above, last) = match target.iter().rposition(|&b| b == b'/') {
            Some(slash) => (&target[..slash], &target[slash + 1..]),
            None => (&target[..0], target.as_slice()),
        };
        if last.is_empty() {
            return Err(entry.refuse("the target of a hard link is empty"));
        }
        let own = parent.directory.as_fd();
        let opened;
        let directory = if above == parent.path {
            own
        } else {
            opened = tree::open_directory(self.root.as_fd(), above)
                .map_err(|e| failed("find the target of the hard link", entry)(e.into()))?;
            opened.as_fd()
        };
        let stat = tree::stat(directory, last).map_err(failed("find the target of the hard link", entry))?;
        let Some(stat) = stat.filter(|stat| !tree::is_whiteout(stat)) else {
            return Err(entry.refuse("the target of the hard link is not in this layer"));
        };
        if tree::file_type(&stat) == FileType::Directory {
            return Err(entry.refuse("the target of the hard link is a directory"));
        }
        let link = || rustix::fs::linkat(directory, last, own, name, AtFlags::empty());
        match link() {
            Err(Errno::EXIST) => {
                let there = tree::stat(own, name).map_err(failed("look at", entry))?;
                if there.is_some_and(|it| (it.st_dev, it.st_ino) == (stat.st_dev, stat.st_ino)) {
                    return Ok(());
                }
                tree::remove(own, name).map_err(failed("replace", entry))?;
                link().map_err(|e| failed("create", entry)(e.into()))
            }
            made => made.map_err(|e| failed("create", entry)(e.into())),
        }
    }
}

/// Makes something by a call that fails where something is; then that goes first.
fn create<T>(
    entry: &Entry,
    name: &[u8],
    parent: BorrowedFd<'_>,
    mut make: impl FnMut() -> Result<T, Errno>,
) -> Result<T, Error> {
    match make() {
        Err(Errno::EXIST) => {
            tree::remove(parent, name).map_err(failed("replace", entry))?;
            make().map_err(|errno| failed("create", entry)(errno.into()))
        }
        made => made.map_err(|errno| failed("create", entry)(errno.into())),
    }
}

fn whiteout(entry: &Entry, hidden: &[u8], parent: BorrowedFd<'_>) -> Result<(), Error> {
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

/// The owner of what cannot be opened.
fn set_owner_by_name(entry: &Entry, name: &[u8], parent: BorrowedFd<'_>) -> Result<(), Error> {
    let (uid, gid) = (Some(Uid::from_raw(entry.uid)), Some(Gid::from_raw(entry.gid)));
    rustix::fs::chownat(parent, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)
        .map_err(|e| failed("set the owner of", entry)(e.into()))
}

/// The times of what cannot be opened.
fn set_times_by_name(entry: &Entry, name: &[u8], parent: BorrowedFd<'_>) -> Result<(), Error> {
    rustix::fs::utimensat(parent, name, &tree::times(entry.mtime.0, entry.mtime.1), AtFlags::SYMLINK_NOFOLLOW)
        .map_err(|e| failed("set the times of", entry)(e.into()))
}
