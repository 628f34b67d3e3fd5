//! Files put into the root of a step.

use std::ffi::OsStr;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Mode, OFlags, Timespec, Timestamps, XattrFlags};
use rustix::io::Errno;

use crate::mode::ModeChange;
use crate::select::{Item, ItemKind, Tree, capability, shown};
use crate::{Error, view};

/// Who owns what is put there, and who may do what with it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Looks {
    /// `--chown`; the files' own otherwise.
    pub(crate) owner: Option<(u32, u32)>,
    /// `--chmod`
    pub(crate) mode: Option<ModeChange>,
}

impl Looks {
    pub(crate) fn owner(&self, item: &Item) -> (u32, u32) {
        self.owner.unwrap_or((item.uid, item.gid))
    }

    pub(crate) fn mode(&self, item: &Item) -> u32 {
        let is_directory = item.kind == ItemKind::Directory;
        match &self.mode {
            Some(change) if !matches!(item.kind, ItemKind::Link(_)) => change.apply(item.mode, is_directory),
            _ => item.mode,
        }
    }
}

/// Puts files under one root.
pub(crate) struct Placer<'a> {
    root: BorrowedFd<'a>,
    looks: &'a Looks,
    /// The directory that was used last: neighbours come together.
    last: Option<(PathBuf, OwnedFd)>,
    /// Directories that were made, with the times they are to have in the end.
    made: Vec<(PathBuf, (i64, i64))>,
}

impl<'a> Placer<'a> {
    pub(crate) fn new(root: BorrowedFd<'a>, looks: &'a Looks) -> Self {
        Self { root, looks, last: None, made: Vec::new() }
    }

    /// Puts everything at or under `destination`, an absolute path.
    pub(crate) fn place(&mut self, tree: &Tree, items: &[Item], destination: &str) -> Result<(), Error> {
        for item in items {
            let path = if item.to.as_os_str().is_empty() {
                PathBuf::from(destination)
            } else {
                Path::new(destination).join(&item.to)
            };
            self.one(tree, item, &path)?;
        }
        Ok(())
    }

    /// Puts a file there whose content is given.
    pub(crate) fn file(
        &mut self,
        content: &mut dyn io::Read,
        path: &Path,
        mode: u32,
        modified: Option<(i64, i64)>,
    ) -> Result<(), Error> {
        let (parent, name) = self.parent(path)?;
        let file = create(parent.as_fd(), &name).map_err(Error::root("create", shown(path)))?;
        let mut file = std::fs::File::from(file);
        io::copy(content, &mut file).and_then(|_| file.flush()).map_err(|source| Error::Root {
            action: "write",
            path: shown(path),
            source,
        })?;
        let (uid, gid) = self.looks.owner.unwrap_or((0, 0));
        let mode = self.looks.mode.as_ref().map_or(mode, |change| change.apply(mode, false));
        finish(&file, (uid, gid), mode, modified, None)
            .map_err(Error::root("set the mode of", shown(path)))?;
        self.last = Some((path.parent().map(Path::to_owned).unwrap_or_default(), parent));
        Ok(())
    }

    /// Sets the times of directories, once nothing is put into them any more.
    pub(crate) fn finish(self) -> Result<(), Error> {
        for (path, modified) in self.made.iter().rev() {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY;
            let directory = view::open(self.root, path, flags).map_err(Error::root("open", shown(path)))?;
            rustix::fs::futimens(&directory, &times(*modified))
                .map_err(Error::root("set the times of", shown(path)))?;
        }
        Ok(())
    }

    fn one(&mut self, tree: &Tree, item: &Item, path: &Path) -> Result<(), Error> {
        if path.parent().is_none() {
            // the root itself is there
            return Ok(());
        }
        let failed = |action| Error::root(action, shown(path));
        let owner = self.looks.owner(item);
        let mode = self.looks.mode(item);
        let (parent, name) = self.parent(path)?;
        match &item.kind {
            ItemKind::Directory => match view::make_directory(parent.as_fd(), &name, Some(owner), mode) {
                Ok(()) => self.made.push((path.to_owned(), item.modified)),
                // one that is there stays as it is; a link to one is followed
                Err(Errno::EXIST)
                    if view::open(self.root, path, OFlags::PATH | OFlags::DIRECTORY).is_ok() => {}
                Err(Errno::EXIST) => {
                    return Err(failed("put a directory in the place of the file")(Errno::NOTDIR));
                }
                Err(errno) => return Err(failed("create")(errno)),
            },
            ItemKind::Link(target) => {
                let made = match rustix::fs::symlinkat(target, &parent, &name) {
                    Err(Errno::EXIST) => clear(parent.as_fd(), &name)
                        .and_then(|()| rustix::fs::symlinkat(target, &parent, &name)),
                    made => made,
                };
                made.and_then(|()| view::own(parent.as_fd(), &name, owner.0, owner.1))
                    .and_then(|()| {
                        let flags = AtFlags::SYMLINK_NOFOLLOW;
                        rustix::fs::utimensat(&parent, &name, &times(item.modified), flags)
                    })
                    .map_err(failed("create"))?;
            }
            ItemKind::File => {
                let mut source = tree.open(item)?;
                let file = create(parent.as_fd(), &name).map_err(failed("create"))?;
                let mut file = std::fs::File::from(file);
                io::copy(&mut source, &mut file).map_err(|source| Error::Root {
                    action: "write",
                    path: shown(path),
                    source,
                })?;
                let capability = if tree.is_context { None } else { capability(source.as_fd()) };
                finish(&file, owner, mode, Some(item.modified), capability.as_deref())
                    .map_err(failed("set the mode of"))?;
            }
        }
        self.last = Some((path.parent().map(Path::to_owned).unwrap_or_default(), parent));
        Ok(())
    }

    /// The directory that a path lies in, made where it is missing, and the path's last part.
    fn parent(&mut self, path: &Path) -> Result<(OwnedFd, std::ffi::OsString), Error> {
        let name = path.file_name().map(OsStr::to_owned).unwrap_or_default();
        let above = path.parent().unwrap_or(Path::new("/"));
        if let Some((last, directory)) = self.last.take()
            && last == above
        {
            return Ok((directory, name));
        }
        let directory = match view::open(self.root, above, OFlags::PATH | OFlags::DIRECTORY) {
            Ok(directory) => directory,
            Err(_) => view::make_directories(self.root, &shown(above), self.looks.owner, 0o755)?,
        };
        Ok((directory, name))
    }
}

/// A new file in the place of whatever was there, unless that was a directory.
fn create(parent: BorrowedFd<'_>, name: &OsStr) -> Result<OwnedFd, Errno> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mode = Mode::RUSR | Mode::WUSR;
    match rustix::fs::openat(parent, name, flags, mode) {
        Err(Errno::EXIST) => {
            clear(parent, name)?;
            rustix::fs::openat(parent, name, flags, mode)
        }
        made => made,
    }
}

fn clear(parent: BorrowedFd<'_>, name: &OsStr) -> Result<(), Errno> {
    rustix::fs::unlinkat(parent, name, AtFlags::empty())
}

fn finish(
    file: &std::fs::File,
    (uid, gid): (u32, u32),
    mode: u32,
    modified: Option<(i64, i64)>,
    capability: Option<&[u8]>,
) -> Result<(), Errno> {
    if (uid, gid) != (0, 0) {
        let (uid, gid) = (rustix::fs::Uid::from_raw(uid), rustix::fs::Gid::from_raw(gid));
        rustix::fs::fchown(file, Some(uid), Some(gid))?;
    }
    rustix::fs::fchmod(file, Mode::from_raw_mode(mode))?;
    if let Some(value) = capability {
        rustix::fs::fsetxattr(file, "security.capability", value, XattrFlags::empty())?;
    }
    if let Some(modified) = modified {
        rustix::fs::futimens(file, &times(modified))?;
    }
    Ok(())
}

fn times((seconds, nanoseconds): (i64, i64)) -> Timestamps {
    let time = Timespec { tv_sec: seconds, tv_nsec: nanoseconds as _ };
    Timestamps { last_access: time, last_modification: time }
}
