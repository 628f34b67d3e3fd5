//! The layers under one that is being unpacked, as a container would see them.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, FileType};
use rustix::io::Errno;

use crate::{Error, tree};

pub(crate) struct Below {
    /// The topmost first.
    layers: Vec<OwnedFd>,
}

/// What a path is in the layers below.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    Nothing,
    Directory { uid: u32, gid: u32, mode: u32, mtime: (i64, u32) },
    Link(Vec<u8>),
    Other,
}

impl Below {
    pub(crate) fn open(layers: &[impl AsRef<Path>]) -> Result<Self, Error> {
        let open = |path: &Path| tree::open_root(path).map_err(Error::io("open", path));
        Ok(Self { layers: layers.iter().map(|path| open(path.as_ref())).collect::<Result<_, _>>()? })
    }

    pub(crate) fn directories(&self) -> impl Iterator<Item = &OwnedFd> {
        self.layers.iter()
    }

    /// Looks from the topmost layer down; `path` has no link before its last part.
    pub(crate) fn look(&self, path: &[u8]) -> io::Result<Seen> {
        for layer in &self.layers {
            match tree::open_as_is(layer.as_fd(), path) {
                Ok(found) => {
                    let stat = rustix::fs::statat(&found, "", AtFlags::EMPTY_PATH)?;
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
                            Seen::Link(rustix::fs::readlinkat(&found, "", Vec::new())?.into_bytes())
                        }
                        _ => Seen::Other,
                    });
                }
                // a file or whiteout in the way hides all that is under it
                Err(Errno::NOTDIR | Errno::LOOP) => return Ok(Seen::Nothing),
                Err(Errno::NOENT) if self::hidden(layer, path) => return Ok(Seen::Nothing),
                Err(Errno::NOENT) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(Seen::Nothing)
    }
}

/// True if a directory above `path` is opaque in this layer.
fn hidden(layer: &OwnedFd, path: &[u8]) -> bool {
    let mut ends: Vec<usize> =
        path.iter().enumerate().filter(|(_, b)| **b == b'/').map(|(at, _)| at).collect();
    ends.reverse();
    ends.into_iter().any(|end| {
        tree::open_child(layer.as_fd(), &path[..end])
            .is_ok_and(|directory| tree::is_opaque(directory.as_fd()))
    })
}
