//! Where files come from: the loader reads nothing but through [`Files`].
use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::{Component, Path, PathBuf};

use crate::error::Error;

/// A place that files are read from.
pub trait Files {
    /// The bytes of a file, at most `limit` of them.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is none; the loader goes on without it where the file may be missing.
    /// [`Error::TooLarge`] when it has more bytes; any other error is reported at the place that names the file.
    fn read(&self, path: &Path, limit: usize) -> Result<Vec<u8>, Error>;
}

/// No files at all.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoFiles;

impl Files for NoFiles {
    fn read(&self, path: &Path, _limit: usize) -> Result<Vec<u8>, Error> {
        Err(Error::NotFound(path.to_owned()))
    }
}

/// Files in memory, by their lexically cleaned path.
#[derive(Debug, Clone, Default)]
pub struct MemoryFiles {
    files: BTreeMap<PathBuf, Vec<u8>>,
}

impl MemoryFiles {
    /// No files yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The same with a file more.
    #[must_use]
    pub fn with(mut self, path: impl AsRef<Path>, bytes: impl Into<Vec<u8>>) -> Self {
        self.files.insert(clean(path.as_ref()), bytes.into());
        self
    }
}

impl Files for MemoryFiles {
    fn read(&self, path: &Path, limit: usize) -> Result<Vec<u8>, Error> {
        let bytes = self.files.get(&clean(path)).ok_or_else(|| Error::NotFound(path.to_owned()))?;
        if bytes.len() > limit {
            return Err(Error::TooLarge { path: path.to_owned(), limit });
        }
        Ok(bytes.clone())
    }
}

/// Files of the system, below a directory or anywhere.
///
/// Only regular files are read, so a pipe or `/dev/zero` is refused and nothing waits. Confinement is decided on the path
/// with its links followed; a caller whose directories may be changed by others at the same time must give an
/// implementation of [`Files`] that opens beneath a descriptor.
#[derive(Debug, Clone)]
pub struct SystemFiles {
    root: Option<PathBuf>,
}

impl SystemFiles {
    /// Files below `root` only, links followed.
    pub fn below(root: impl Into<PathBuf>) -> Self {
        Self { root: Some(root.into()) }
    }

    /// Any file.
    pub fn anywhere() -> Self {
        Self { root: None }
    }
}

impl Files for SystemFiles {
    fn read(&self, path: &Path, limit: usize) -> Result<Vec<u8>, Error> {
        let fault = |source: std::io::Error| match source.kind() {
            std::io::ErrorKind::NotFound => Error::NotFound(path.to_owned()),
            _ => Error::Read { path: path.to_owned(), source },
        };
        let real = if let Some(root) = &self.root {
            let outside = || Error::Outside { path: path.to_owned(), root: root.clone() };
            let base = fs::canonicalize(root).map_err(fault)?;
            let real = match fs::canonicalize(path) {
                Ok(real) => real,
                // whether a file outside exists is not said
                Err(_) if !clean(path).starts_with(clean(root)) => return Err(outside()),
                Err(source) => return Err(fault(source)),
            };
            if !real.starts_with(&base) {
                return Err(outside());
            }
            real
        } else {
            path.to_owned()
        };
        if !fs::metadata(&real).map_err(fault)?.is_file() {
            return Err(Error::NotAFile(path.to_owned()));
        }
        let mut bytes = Vec::new();
        let file = fs::File::open(&real).map_err(fault)?;
        file.take(limit as u64 + 1).read_to_end(&mut bytes).map_err(fault)?;
        if bytes.len() > limit {
            return Err(Error::TooLarge { path: path.to_owned(), limit });
        }
        Ok(bytes)
    }
}

/// The path without `.` and with `..` taken back, as text decides it. `..` above the start is kept for relative paths.
pub(crate) fn clean(path: &Path) -> PathBuf {
    let mut cleaned = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => match cleaned.components().next_back() {
                Some(Component::Normal(_)) => {
                    cleaned.pop();
                }
                Some(Component::RootDir | Component::Prefix(_)) => {}
                _ => cleaned.push(".."),
            },
            part => cleaned.push(part),
        }
    }
    if cleaned.as_os_str().is_empty() { PathBuf::from(".") } else { cleaned }
}

/// `path` from `base` when it is relative, cleaned. A leading `/` is absolute on every system.
pub(crate) fn join(base: &Path, path: &str) -> PathBuf {
    if path.starts_with('/') { clean(Path::new(path)) } else { clean(&base.join(path)) }
}
