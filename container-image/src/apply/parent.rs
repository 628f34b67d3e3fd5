//! The directories above an entry: found as the running container would see them, or made.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{FileType, Mode};
use rustix::io::Errno;

use super::{Applier, failed};
use crate::below::Seen;
use crate::tar::Entry;
use crate::{Error, tree};

impl Applier<'_> {
    /// Opens the directory of an entry, making what the archive left out.
    pub(super) fn open_parent(&mut self, entry: &Entry, path: &[u8]) -> Result<OwnedFd, Error> {
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
        let like = Entry { uid, gid, mode, xattrs: std::collections::BTreeMap::new(), ..entry.clone() };
        self.made.set(made.as_fd(), &like, false).map_err(failed("set the owner of", entry))?;
        if anew {
            tree::make_opaque(made.as_fd()).map_err(failed("make opaque", entry))?;
        }
        self.directories.push((path, mtime));
        Ok(None)
    }
}

fn read_link(parent: BorrowedFd<'_>, name: &[u8]) -> std::io::Result<Vec<u8>> {
    Ok(rustix::fs::readlinkat(parent, name, Vec::new())?.into_bytes())
}
