//! Which files `COPY` and `ADD` mean.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use dockerfile_parser::Ignore;
use rustix::fs::{AtFlags, FileType, OFlags, Stat};
use rustix::io::Errno;

use crate::facts::{self, Fact, Facts};
use crate::{Error, view};

/// A path of the kernel is at most so long.
const LONGEST: usize = 4095;

/// A tree that files are taken from.
#[derive(Debug)]
pub(crate) struct Tree {
    pub(crate) root: OwnedFd,
    /// What is left out.
    pub(crate) ignore: Ignore,
    /// What it is called in messages.
    pub(crate) place: String,
    /// Owners are not the files' own, but root.
    pub(crate) is_context: bool,
}

/// A file, directory or link to be made.
#[derive(Debug, Clone)]
pub(crate) struct Item {
    /// Where it is in the tree.
    pub(crate) from: PathBuf,
    /// Where it is to be, from the destination on; empty for the destination itself.
    pub(crate) to: PathBuf,
    pub(crate) kind: ItemKind,
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Seconds and nanoseconds.
    pub(crate) modified: (i64, i64),
    pub(crate) fact: Fact,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ItemKind {
    File,
    Directory,
    Link(OsString),
}

/// What one source turned out to be.
#[derive(Debug, Default)]
pub(crate) struct Selected {
    pub(crate) items: Vec<Item>,
    /// How many files or directories the source names.
    pub(crate) matches: usize,
    /// One of them is a file, which goes into a directory by its own name.
    pub(crate) has_file: bool,
}

/// How sources are read.
pub(crate) struct Selection<'a> {
    pub(crate) exclude: &'a Ignore,
    pub(crate) parents: bool,
    /// The destination is a directory: files go in by their names.
    pub(crate) into_directory: bool,
}

impl Tree {
    fn problem(&self, path: &Path, reason: impl Into<String>) -> Error {
        Error::Source { place: self.place.clone(), path: shown(path), reason: reason.into() }
    }

    fn failed(&self, action: &'static str, path: &Path) -> impl FnOnce(Errno) -> Error + use<> {
        let path = format!("{} of {}", shown(path), self.place);
        move |errno| Error::Root { action, path, source: errno.into() }
    }

    fn missing(&self, path: &str) -> Error {
        Error::SourceMissing { path: path.to_owned(), place: self.place.clone() }
    }

    /// The paths that a source with wildcards means, or the one without.
    pub(crate) fn matches(&self, source: &str) -> Result<Vec<PathBuf>, Error> {
        let path = view::absolute("/", source);
        let is_wild = path.contains(['*', '?', '[', '\\']);
        let mut found = vec![PathBuf::new()];
        for part in path.split('/').filter(|part| !part.is_empty()) {
            if !part.contains(['*', '?', '[', '\\']) {
                for path in &mut found {
                    path.push(part);
                }
                continue;
            }
            // a name that begins like an exception is none
            let escaped = if part.starts_with('!') { format!("\\{part}") } else { part.to_owned() };
            let pattern = Ignore::from_patterns([escaped.as_str()])
                .map_err(|fault| Error::value("source", source, fault.to_string()))?;
            let mut next = Vec::new();
            for path in found {
                let names = match view::names(self.root.as_fd(), &path) {
                    Ok(names) => names,
                    Err(Errno::NOENT | Errno::NOTDIR) => continue,
                    Err(errno) => return Err(self.failed("list", &path)(errno)),
                };
                for name in names {
                    if pattern.matches(&name.to_string_lossy()) {
                        next.push(path.join(name));
                    }
                }
            }
            found = next;
        }
        if is_wild {
            found.retain(|path| {
                view::stat(self.root.as_fd(), path, false).is_ok() && !self.ignore.matches(&shown(path))
            });
        }
        Ok(found)
    }

    /// All that a source means.
    pub(crate) fn select(&self, source: &str, selection: &Selection<'_>) -> Result<Selected, Error> {
        let mut selected = Selected::default();
        // with --parents what comes after /./ is kept of the path
        let pivot = source.find("/./").filter(|_| selection.parents);
        let kept_from = pivot.map_or(PathBuf::new(), |at| {
            PathBuf::from(view::absolute("/", &source[..at]).trim_start_matches('/'))
        });
        let found = self.matches(source)?;
        if found.is_empty() {
            return Err(self.missing(source));
        }
        for path in found {
            let stat = match view::stat(self.root.as_fd(), &path, true) {
                Ok(stat) => stat,
                Err(Errno::NOENT | Errno::NOTDIR) => {
                    if let Ok(link) = view::stat(self.root.as_fd(), &path, false)
                        && view::kind(&link) == FileType::Symlink
                    {
                        return Err(self.problem(&path, "is a link that leads out or to nothing"));
                    }
                    return Err(self.missing(source));
                }
                Err(Errno::LOOP) => return Err(self.problem(&path, "is a link that leads round in circles")),
                Err(errno) => return Err(self.failed("look at", &path)(errno)),
            };
            let is_directory = view::kind(&stat) == FileType::Directory;
            // a directory may be left out and a file in it not
            if self.ignore.matches(&shown(&path)) && !(is_directory && self.ignore.negates()) {
                return Err(Error::SourceMissing {
                    path: source.to_owned(),
                    place: format!("{} (.dockerignore leaves it out)", self.place),
                });
            }
            selected.matches += 1;
            let to = if selection.parents {
                path.strip_prefix(&kept_from).unwrap_or(&path).to_owned()
            } else if is_directory || !selection.into_directory {
                PathBuf::new()
            } else {
                path.file_name().map(PathBuf::from).unwrap_or_default()
            };
            if selection.parents {
                self.parents(&path, &to, &mut selected.items)?;
            }
            if !is_directory {
                let excluded = |path: &Path| selection.exclude.matches(&shown(path));
                if !excluded(&path) && !path.file_name().is_some_and(|name| excluded(Path::new(name))) {
                    selected.has_file = true;
                    selected.items.push(self.item(path, to, &stat)?);
                }
                continue;
            }
            self.walk(&path, to, &stat, selection.exclude, &mut selected.items)?;
        }
        Ok(selected)
    }

    /// The directories above what `--parents` takes along.
    fn parents(&self, path: &Path, to: &Path, items: &mut Vec<Item>) -> Result<(), Error> {
        let mut above: Vec<(&Path, &Path)> = path
            .ancestors()
            .zip(to.ancestors())
            .skip(1)
            .take_while(|(_, to)| !to.as_os_str().is_empty())
            .collect();
        above.reverse();
        for (from, to) in above {
            if items.iter().any(|item| item.to == to) {
                continue;
            }
            let stat = view::stat(self.root.as_fd(), from, true).map_err(self.failed("look at", from))?;
            items.push(self.item(from.to_owned(), to.to_owned(), &stat)?);
        }
        Ok(())
    }

    fn item(&self, from: PathBuf, to: PathBuf, stat: &Stat) -> Result<Item, Error> {
        let kind = match view::kind(stat) {
            FileType::RegularFile => ItemKind::File,
            FileType::Directory => ItemKind::Directory,
            other => return Err(self.problem(&from, format!("is {}, which cannot be copied", name(other)))),
        };
        Ok(self.make(from, to, kind, stat))
    }

    #[allow(
        clippy::useless_conversion,
        clippy::unnecessary_cast,
        reason = "the widths differ between processors"
    )]
    fn make(&self, from: PathBuf, to: PathBuf, kind: ItemKind, stat: &Stat) -> Item {
        // who owns a file of the context is a matter of the machine it is on, and so is how its root looks
        let (uid, gid) = if self.is_context { (0, 0) } else { (stat.st_uid, stat.st_gid) };
        let is_root = self.is_context && from.as_os_str().is_empty();
        Item {
            mode: if is_root { 0o755 } else { stat.st_mode & 0o7777 },
            uid,
            gid,
            modified: (stat.st_mtime.into(), stat.st_mtime_nsec as i64),
            fact: Fact::of(stat),
            from,
            to,
            kind,
        }
    }

    fn walk(
        &self,
        top: &Path,
        to: PathBuf,
        stat: &Stat,
        exclude: &Ignore,
        items: &mut Vec<Item>,
    ) -> Result<(), Error> {
        items.push(self.item(top.to_owned(), to.clone(), stat)?);
        let mut open = vec![(top.to_owned(), to, PathBuf::new())];
        // directories that are left out themselves appear only with something in them
        let mut waiting: Vec<Item> = Vec::new();
        while let Some((from, to, below)) = open.pop() {
            if from.as_os_str().len() > LONGEST {
                let start: String = shown(&from).chars().take(100).collect();
                return Err(self.problem(Path::new(&start), "and so on is a path of more than 4095 bytes"));
            }
            let flags = OFlags::RDONLY | OFlags::DIRECTORY;
            let directory = view::open(self.root.as_fd(), &from, flags)
                .map_err(self.failed("open the directory", &from))?;
            let mut entries = Vec::new();
            let listing = rustix::fs::Dir::read_from(&directory).map_err(self.failed("list", &from))?;
            for entry in listing {
                let entry = entry.map_err(self.failed("list", &from))?;
                let name = entry.file_name().to_bytes();
                if name != b"." && name != b".." {
                    entries.push((OsStr::from_bytes(name).to_owned(), entry.file_type()));
                }
            }
            entries.sort_unstable_by(|a, b| a.0.cmp(&b.0));
            let mut inner = Vec::new();
            for (name, listed) in entries {
                let (path, target, deeper) = (from.join(&name), to.join(&name), below.join(&name));
                let text = shown(&path);
                if !exclude.is_empty() && (exclude.matches(&text) || exclude.matches(&shown(&deeper))) {
                    continue;
                }
                let ignored = !self.ignore.is_empty() && self.ignore.matches(&text);
                let may_descend = listed != FileType::RegularFile && listed != FileType::Symlink;
                if ignored && (!self.ignore.negates() || !may_descend) {
                    continue;
                }
                let stat = rustix::fs::statat(&directory, &name, AtFlags::SYMLINK_NOFOLLOW)
                    .map_err(self.failed("look at", &path))?;
                let item = match view::kind(&stat) {
                    FileType::Symlink => {
                        let link = rustix::fs::readlinkat(&directory, &name, Vec::new())
                            .map_err(self.failed("read the link", &path))?;
                        let link = OsStr::from_bytes(link.as_bytes()).to_owned();
                        self.make(path, target, ItemKind::Link(link), &stat)
                    }
                    FileType::Directory => {
                        inner.push((path.clone(), target.clone(), deeper));
                        self.make(path, target, ItemKind::Directory, &stat)
                    }
                    _ if ignored => continue,
                    _ => self.item(path, target, &stat)?,
                };
                if ignored {
                    waiting.push(item);
                    continue;
                }
                if !waiting.is_empty() {
                    waiting.retain(|above| {
                        let needed = item.from.starts_with(&above.from);
                        if needed {
                            items.push(above.clone());
                        }
                        !needed
                    });
                }
                items.push(item);
            }
            // the first one next
            open.extend(inner.into_iter().rev());
        }
        Ok(())
    }

    /// Opens a file that was chosen, if it is still the one that was looked at.
    pub(crate) fn open(&self, item: &Item) -> Result<File, Error> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file =
            view::open(self.root.as_fd(), &item.from, flags).map_err(self.failed("read", &item.from))?;
        let stat = rustix::fs::fstat(&file).map_err(self.failed("look at", &item.from))?;
        if view::kind(&stat) != FileType::RegularFile || Fact::of(&stat) != item.fact {
            return Err(self.problem(&item.from, "changed while it was being copied"));
        }
        Ok(file.into())
    }

    /// A digest for every item: of a file its content's, of a link what it says.
    pub(crate) fn digests(&self, items: &[Item], facts: Option<&Facts>) -> Result<Vec<[u8; 32]>, Error> {
        let mut digests: Vec<Option<[u8; 32]>> = vec![None; items.len()];
        let mut unknown = Vec::new();
        for (at, (item, digest)) in items.iter().zip(&mut digests).enumerate() {
            if item.kind != ItemKind::File {
                *digest = Some([0; 32]);
                continue;
            }
            *digest = facts.and_then(|facts| facts.find(&item.fact));
            if digest.is_none() {
                unknown.push(at);
            }
        }
        let work = |part: &[usize]| -> Result<Vec<(usize, [u8; 32])>, Error> {
            let mut buffer = Vec::new();
            let mut found = Vec::with_capacity(part.len());
            for &at in part {
                let Some(item) = items.get(at) else { continue };
                let file = self.open(item)?;
                let digest = facts::digest(&file, &mut buffer).map_err(|source| Error::Root {
                    action: "read",
                    path: format!("{} of {}", shown(&item.from), self.place),
                    source,
                })?;
                if let Some(facts) = facts {
                    facts.remember(item.fact, digest);
                }
                found.push((at, digest));
            }
            Ok(found)
        };
        let (first, second) =
            unknown.split_at(if unknown.len() < 64 { unknown.len() } else { unknown.len() / 2 });
        let (first, second) = std::thread::scope(|scope| {
            let other = (!second.is_empty()).then(|| scope.spawn(|| work(second)));
            let own = work(first);
            let other = other.map_or(Ok(Vec::new()), |other| {
                other.join().unwrap_or_else(|_| Err(self.problem(Path::new(""), "cannot be read")))
            });
            (own, other)
        });
        for (at, digest) in first?.into_iter().chain(second?) {
            if let Some(slot) = digests.get_mut(at) {
                *slot = Some(digest);
            }
        }
        Ok(digests.into_iter().map(Option::unwrap_or_default).collect())
    }
}

pub(crate) fn shown(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

fn name(kind: FileType) -> &'static str {
    match kind {
        FileType::Fifo => "a FIFO",
        FileType::Socket => "a socket",
        FileType::CharacterDevice | FileType::BlockDevice => "a device",
        _ => "no file, directory or link",
    }
}

/// The extended attributes that go along with a copy of a stage's file.
pub(crate) fn capability(file: BorrowedFd<'_>) -> Option<Vec<u8>> {
    let mut value = vec![0; 64];
    let length = rustix::fs::fgetxattr(file, "security.capability", value.as_mut_slice()).ok()?;
    value.truncate(length);
    Some(value)
}
