use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::{Mode, OFlags, ResolveFlags};

use crate::below::{Below, Seen};
use crate::{Error, tree};

/// Unpacked layers, looked at together as a container would see them, without mounting anything.
///
/// Links are resolved inside; a whiteout or opaque directory hides what is below it.
pub struct Layers {
    below: Below<'static>,
}

impl Layers {
    /// Opens the directories, the topmost first: perhaps a container's upper directory, then the image's layers
    /// from the last to the first.
    pub fn open(directories: &[impl AsRef<Path>]) -> Result<Self, Error> {
        Ok(Self { below: Below::open(directories)? })
    }

    /// Reads a regular file of at most `limit` bytes; none if there is none at `path`.
    ///
    /// # Errors
    ///
    /// [`Error::Entry`] if it is something else than a regular file, is larger, or a link leads round in circles.
    pub fn read(&self, path: &str, limit: u64) -> Result<Option<Vec<u8>>, Error> {
        let failed = |source: io::Error| Error::Entry { action: "read", entry: path.to_owned(), source };
        let Some(real) = self.resolve(path).map_err(failed)? else {
            return Ok(None);
        };
        for layer in self.below.directories() {
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
            let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
            let Ok(file) = rustix::fs::openat2(layer, &real[..], flags, Mode::empty(), resolve) else {
                continue;
            };
            let file = File::from(file);
            let metadata = file.metadata().map_err(failed)?;
            if !metadata.is_file() {
                return Err(failed(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file")));
            }
            if metadata.len() > limit {
                return Err(failed(io::Error::new(
                    io::ErrorKind::FileTooLarge,
                    format!("it has more than {limit} bytes"),
                )));
            }
            let mut bytes = Vec::new();
            file.take(limit).read_to_end(&mut bytes).map_err(failed)?;
            return Ok(Some(bytes));
        }
        Ok(None)
    }

    /// The path without links, relative; none if nothing is there.
    fn resolve(&self, path: &str) -> io::Result<Option<Vec<u8>>> {
        let mut rest: Vec<Vec<u8>> =
            path.as_bytes().split(|&b| b == b'/').rev().map(<[u8]>::to_vec).collect();
        let mut real: Vec<u8> = Vec::new();
        let mut steps = 0;
        while let Some(name) = rest.pop() {
            steps += 1;
            if steps > 256 {
                return Err(rustix::io::Errno::LOOP.into());
            }
            match name.as_slice() {
                b"" | b"." => continue,
                b".." => {
                    real.truncate(real.iter().rposition(|&b| b == b'/').unwrap_or(0));
                    continue;
                }
                _ => {}
            }
            let next = if real.is_empty() { name } else { [real.as_slice(), b"/", &name].concat() };
            match self.below.look(&next)? {
                Seen::Nothing => return Ok(None),
                Seen::Link(target) => {
                    if target.first() == Some(&b'/') {
                        real.clear();
                    }
                    rest.extend(target.split(|&b| b == b'/').rev().map(<[u8]>::to_vec));
                }
                Seen::Directory { .. } | Seen::Other => real = next,
            }
        }
        Ok(Some(real))
    }

    /// True if something is at `path`, links followed.
    pub fn contains(&self, path: &str) -> bool {
        self.resolve(path).is_ok_and(|real| real.is_some())
    }
}

impl std::fmt::Debug for Layers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Layers").field("count", &self.below.directories().count()).finish()
    }
}

/// Makes what overlayfs needs above layers: an empty upper directory that looks like the root of the topmost layer,
/// and a work directory. Idempotent: an upper directory that is there stays as it is.
pub fn make_upper(upper: &Path, work: &Path, top: &Path) -> Result<(), Error> {
    use std::os::unix::fs::MetadataExt;
    if !upper.exists() {
        let like = std::fs::metadata(top).map_err(Error::io("look at", top))?;
        let new = upper.with_extension("new");
        tree::remove_tree(&new).map_err(Error::io("remove", &new))?;
        std::fs::create_dir(&new).map_err(Error::io("create", &new))?;
        let directory = tree::open_root(&new).map_err(Error::io("open", &new))?;
        tree::set_owner_and_mode(directory.as_fd(), like.uid(), like.gid(), like.mode() & 0o7777)
            .map_err(Error::io("set the owner of", &new))?;
        std::fs::rename(&new, upper).map_err(Error::io("create", upper))?;
    }
    match std::fs::create_dir(work) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(Error::io("create", work)(error)),
        _ => Ok(()),
    }
}
