//! The layers under one that is being unpacked or compared, as a container would see them.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};

use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::{Error, tree};

/// So many directories of a path are kept open in every layer.
const KEPT: usize = 16;

/// Waits until the layers below are there, and tells their directories, the topmost first.
type Waiting<'a> = Box<dyn FnOnce() -> io::Result<Vec<PathBuf>> + Send + 'a>;
/// A directory's path, and the directory in every layer that shows something of it, the topmost first.
type Open = (Vec<u8>, Vec<OwnedFd>);

pub(crate) struct Below<'a> {
    waiting: Mutex<Option<Waiting<'a>>>,
    /// The topmost first.
    layers: OnceLock<Vec<OwnedFd>>,
    /// Directories of the last path that was looked at, outer ones first.
    open: Mutex<Vec<Open>>,
}

/// What a path is in the layers below.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    Nothing,
    Directory { uid: u32, gid: u32, mode: u32, mtime: (i64, u32) },
    Link(Vec<u8>),
    Other,
}

impl<'a> Below<'a> {
    pub(crate) fn open(layers: &[impl AsRef<Path>]) -> Result<Self, Error> {
        let open = |path: &Path| tree::open_root(path).map_err(Error::io("open", path));
        let layers = layers.iter().map(|path| open(path.as_ref())).collect::<Result<Vec<_>, _>>()?;
        Ok(Self { waiting: Mutex::default(), layers: OnceLock::from(layers), open: Mutex::default() })
    }

    /// Layers that may not be there yet: `waiting` is called when they are needed, and at most once.
    pub(crate) fn later(waiting: impl FnOnce() -> io::Result<Vec<PathBuf>> + Send + 'a) -> Self {
        let waiting = Mutex::new(Some(Box::new(waiting) as Waiting<'a>));
        Self { waiting, layers: OnceLock::new(), open: Mutex::default() }
    }

    /// The layers that are there, the topmost first.
    pub(crate) fn directories(&self) -> impl Iterator<Item = &OwnedFd> {
        self.layers.get().into_iter().flatten()
    }

    /// Looks from the topmost layer down; `path` has no link before its last part.
    pub(crate) fn look(&self, path: &[u8]) -> io::Result<Seen> {
        if let Some(waiting) = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).take() {
            let layers =
                waiting()?.iter().map(|path| tree::open_root(path)).collect::<io::Result<Vec<_>>>()?;
            // nobody else has taken the waiting
            let _ = self.layers.set(layers);
        }
        let layers = self.layers.get().map_or(&[][..], Vec::as_slice);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let (above, name) = match path.iter().rposition(|&byte| byte == b'/') {
            Some(slash) => (&path[..slash], &path[slash + 1..]),
            None => (&path[..0], path),
        };
        for directory in directory(layers, &mut open, above)? {
            let Some(stat) = tree::stat(directory.as_fd(), name)? else { continue };
            if tree::is_whiteout(&stat) {
                return Ok(Seen::Nothing);
            }
            return Ok(match tree::file_type(&stat) {
                FileType::Directory => Seen::Directory {
                    uid: stat.st_uid,
                    gid: stat.st_gid,
                    mode: stat.st_mode & 0o7777,
                    mtime: (stat.st_mtime, stat.st_mtime_nsec as u32),
                },
                FileType::Symlink => {
                    Seen::Link(rustix::fs::readlinkat(directory, name, Vec::new())?.into_bytes())
                }
                _ => Seen::Other,
            });
        }
        Ok(Seen::Nothing)
    }
}

/// A directory in all layers that show something of it, the topmost first.
fn directory<'a>(layers: &[OwnedFd], open: &'a mut Vec<Open>, path: &[u8]) -> io::Result<&'a [OwnedFd]> {
    let above = |known: &[u8]| {
        known.is_empty()
            || path.strip_prefix(known).is_some_and(|rest| matches!(rest.first(), None | Some(b'/')))
    };
    while open.last().is_some_and(|(known, _)| !above(known)) {
        open.pop();
    }
    if open.is_empty() {
        open.push((Vec::new(), shown(layers.iter().map(|layer| inner(layer.as_fd(), b".")))?));
    }
    while let Some((known, outer)) = open.last()
        && known.len() < path.len()
    {
        let begin = if known.is_empty() { 0 } else { known.len() + 1 };
        let end = path[begin..].iter().position(|&byte| byte == b'/').map_or(path.len(), |at| begin + at);
        let layers = shown(outer.iter().map(|directory| inner(directory.as_fd(), &path[begin..end])))?;
        open.push((path[..end].to_vec(), layers));
        if open.len() > KEPT {
            open.remove(0);
        }
    }
    Ok(open.last().map_or(&[], |(_, layers)| layers.as_slice()))
}

/// Those of the directories that show, from the topmost down to the first that hides what is under it.
fn shown(directories: impl Iterator<Item = Result<OwnedFd, Errno>>) -> io::Result<Vec<OwnedFd>> {
    let mut layers = Vec::new();
    for directory in directories {
        match directory {
            Ok(directory) => {
                let opaque = tree::is_opaque(directory.as_fd());
                layers.push(directory);
                if opaque {
                    break;
                }
            }
            // a file, link or whiteout in the way hides all that is under it
            Err(Errno::NOTDIR | Errno::LOOP) => break,
            Err(Errno::NOENT) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(layers)
}

/// One part of a path, not followed: it has no slash and is no `..`.
fn inner(directory: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(directory, name, flags, Mode::empty())
}
