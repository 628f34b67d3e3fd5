mod make;
mod owner;
mod parent;
mod plain;

use std::collections::HashSet;
use std::io::{BufRead, BufReader, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{AtFlags, Mode, XattrFlags};
use rustix::io::Errno;

use crate::below::Below;
use crate::tar::{self, Entry, Kind, MAX_PATH};
use crate::{Error, tree};
use owner::Made;

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
    /// Device nodes left out, because the caller's own tree cannot have them.
    pub devices_left_out: u64,
}

/// Whose the files of an unpacked tree are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owners {
    /// Those that the archive names, which only root can set.
    Archive,
    /// The caller. There are no devices then, no set-id bits, and no attributes that the caller may not set.
    Caller,
}

/// What a layer's deletions become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// Overlayfs's marks, in a directory that was empty.
    Overlay,
    /// Deletions, in a directory that holds the layers below.
    Plain(Owners),
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
    let archive = BufReader::with_capacity(256 << 10, archive);
    apply_buffered(archive, target, Form::Overlay, Below::open(below)?, limits)
}

/// The same of an archive that lies in a buffer, from which files are written as they lie there.
pub(crate) fn apply_buffered<'a>(
    archive: impl BufRead,
    target: &Path,
    form: Form,
    below: Below<'a>,
    limits: &'a Limits,
) -> Result<Applied, Error> {
    let root = tree::open_root(target).map_err(Error::io("open", target))?;
    let made = if form == Form::Plain(Owners::Caller) { Made::callers() } else { Made::probe(root.as_fd()) };
    let mut applier = Applier {
        root,
        below,
        limits,
        form,
        made,
        here: HashSet::new(),
        parent: None,
        directories: Vec::new(),
        closed: Vec::new(),
        applied: Applied::default(),
    };
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
    below: Below<'a>,
    limits: &'a Limits,
    form: Form,
    /// In a plain tree: what this layer has made, and the directories above it.
    here: HashSet<Vec<u8>>,
    /// What new files have before anything is set.
    made: Made,
    /// The directory of the last entry: archives keep neighbours together.
    parent: Option<Parent>,
    /// Directories with the times they are to have in the end.
    directories: Vec<(Vec<u8>, (i64, u32))>,
    /// Directories that their owner may not write to once they are done, with their modes.
    closed: Vec<(Vec<u8>, u32)>,
    applied: Applied,
}

/// A directory that entries are put into.
struct Parent {
    path: Vec<u8>,
    directory: OwnedFd,
    /// What is made in it has the owner and mode that [`Made`] knows.
    plain: bool,
}

impl Applier<'_> {
    fn entry<R: BufRead>(&mut self, entry: &Entry, reader: &mut tar::Reader<R>) -> Result<(), Error> {
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
            Some(parent) if parent.path == above => parent,
            _ => {
                let directory = self.open_parent(entry, above)?;
                let stat = rustix::fs::statat(&directory, "", AtFlags::EMPTY_PATH)
                    .map_err(|e| failed("look at", entry)(e.into()))?;
                if self.form != Form::Overlay && !self.here.contains(above) {
                    // what is changed in a directory of a layer below does not change its time
                    self.directories.push((above.to_vec(), (stat.st_mtime, stat.st_mtime_nsec as u32)));
                }
                let plain = self.made.is_plain_in(&stat);
                Parent { path: above.to_vec(), directory, plain }
            }
        };
        if self.form != Form::Overlay && !name.starts_with(WHITEOUT) {
            let mut part = path.as_slice();
            while self.here.insert(part.to_vec())
                && let Some(slash) = part.iter().rposition(|&byte| byte == b'/')
            {
                part = &part[..slash];
            }
            self.here.insert(Vec::new());
        }
        let inside = self.place(entry, &path, name, &parent, reader)?;
        // what comes next is most often in the directory that was just made
        self.parent = Some(inside.unwrap_or(parent));
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
        // the root's owner and mode decide what is made in it
        self.parent = None;
        self.here.insert(Vec::new());
        self.made.set(root.as_fd(), entry, false).map_err(failed("set the owner of", entry))?;
        self.set_attributes(entry, root.as_fd())?;
        self.directories.push((Vec::new(), entry.mtime));
        Ok(())
    }

    fn set_attributes(&mut self, entry: &Entry, file: BorrowedFd<'_>) -> Result<(), Error> {
        for (name, value) in &entry.xattrs {
            if !may_set(name) {
                self.applied.attributes_left_out += 1;
                continue;
            }
            if name == b"system.posix_acl_default" {
                // from here on the kernel gives new files other modes than asked for
                self.made = Made::default();
            }
            let text = std::ffi::OsStr::from_bytes(name);
            match rustix::fs::fsetxattr(file, text, value, XattrFlags::empty()) {
                Err(Errno::PERM | Errno::ACCESS) if self.form == Form::Plain(Owners::Caller) => {
                    self.applied.attributes_left_out += 1;
                }
                set => set.map_err(|e| failed("set an attribute of", entry)(e.into()))?,
            }
        }
        Ok(())
    }

    /// Times of directories, the deepest last made first, when nothing is put into them any more.
    fn finish(&mut self) -> Result<(), Error> {
        if !self.made.is_still(self.root.as_fd()) {
            let source = std::io::Error::other("the process's umask was changed meanwhile");
            return Err(Error::Entry { action: "set the modes of", entry: "/".to_owned(), source });
        }
        let directories = std::mem::take(&mut self.directories);
        let mut done = HashSet::new();
        for (path, (seconds, nanoseconds)) in directories.iter().rev() {
            // of two entries for one directory the later one counts
            if !done.insert(path) {
                continue;
            }
            let object = |errno: Errno| Error::Entry {
                action: "set the times of",
                entry: tar::shown(path),
                source: errno.into(),
            };
            let directory =
                match tree::open_child(self.root.as_fd(), if path.is_empty() { b"." } else { path }) {
                    Ok(directory) => directory,
                    // a later entry may have replaced the directory
                    Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => continue,
                    Err(errno) => return Err(object(errno)),
                };
            rustix::fs::futimens(&directory, &tree::times(*seconds, *nanoseconds)).map_err(object)?;
        }
        // inner ones first, for an outer one may close the way to them
        for (path, mode) in self.closed.iter().rev() {
            if let Ok(directory) = tree::open_child(self.root.as_fd(), path) {
                rustix::fs::fchmod(&directory, Mode::from_raw_mode(*mode)).map_err(|errno| Error::Entry {
                    action: "set the mode of",
                    entry: tar::shown(path),
                    source: errno.into(),
                })?;
            }
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

/// True for an extended attribute that a layer may hold.
pub(crate) fn may_set(name: &[u8]) -> bool {
    !name.starts_with(b"trusted.")
        && !name.starts_with(b"user.overlay.")
        && (!name.starts_with(b"security.") || name == b"security.capability")
}

fn failed(action: &'static str, entry: &Entry) -> impl FnOnce(std::io::Error) -> Error + use<> {
    let entry = entry.shown();
    move |source| Error::Entry { action, entry, source }
}
