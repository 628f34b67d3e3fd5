use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use container_image::{Limits, apply, inflate};
use dockerfile_parser::Ignore;
use rustix::fs::{Mode, OFlags};

use crate::cache::{BuildCache, Work};
use crate::select::Tree;
use crate::{Error, view};

/// A Dockerfile is at most so long: 16 MiB.
pub const MAX_DOCKERFILE: u64 = 16 << 20;
/// An ignore file is at most so long.
const MAX_IGNORE: u64 = 4 << 20;

/// The files that `COPY` and `ADD` take from.
///
/// They are reached by the directory's descriptor only; a link that leads out of it leads to nothing.
#[derive(Debug)]
pub struct Context {
    root: OwnedFd,
    path: Option<PathBuf>,
    _unpacked: Option<Work>,
}

impl Context {
    /// A directory.
    pub fn directory(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref();
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(path, flags, Mode::empty())
            .map_err(|errno| Error::io("use the context", path)(errno.into()))?;
        Ok(Self { root, path: Some(path.to_owned()), _unpacked: None })
    }

    /// A tar archive, plain or packed by gzip or zstd. It is unpacked into scratch space, which goes with the context.
    pub fn archive(archive: impl Read + Send, cache: &BuildCache) -> Result<Self, Error> {
        let work = cache.work()?;
        let path = work.path("context");
        std::fs::create_dir(&path).map_err(Error::io("create", &path))?;
        let none: [&Path; 0] = [];
        apply(inflate(BufReader::new(archive))?, &path, &none, &Limits::default())?;
        let context = Self::directory(&path)?;
        Ok(Self { path: None, _unpacked: Some(work), ..context })
    }

    /// Nothing at all: what a Dockerfile from standard input has.
    pub fn empty(cache: &BuildCache) -> Result<Self, Error> {
        let context = Self::directory(cache.empty())?;
        Ok(Self { path: None, ..context })
    }

    /// The directory as it was given.
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// Reads a Dockerfile of the context. `name` is relative to it.
    ///
    /// # Errors
    ///
    /// [`Error::DockerfileTooLarge`] beyond [`MAX_DOCKERFILE`].
    pub fn dockerfile(&self, name: &str) -> Result<Vec<u8>, Error> {
        match view::read(self.root.as_fd(), name, MAX_DOCKERFILE) {
            Ok(Some(bytes)) => Ok(bytes),
            Ok(None) => {
                Err(Error::SourceMissing { path: name.to_owned(), place: "the build context".to_owned() })
            }
            Err(Error::Root { source, .. }) if source.kind() == io::ErrorKind::FileTooLarge => {
                Err(Error::DockerfileTooLarge { name: name.to_owned(), limit: MAX_DOCKERFILE })
            }
            Err(error) => Err(error),
        }
    }

    /// The tree, without what the ignore file leaves out: `NAME.dockerignore` beside the Dockerfile, or `.dockerignore`.
    pub(crate) fn tree(&self, dockerfile: Option<&str>) -> Result<Tree, Error> {
        let mut bytes = None;
        if let Some(name) = dockerfile {
            bytes = view::read(self.root.as_fd(), &format!("{name}.dockerignore"), MAX_IGNORE)?;
        }
        if bytes.is_none() {
            bytes = view::read(self.root.as_fd(), ".dockerignore", MAX_IGNORE)?;
        }
        let (ignore, faults) = Ignore::parse(&bytes.unwrap_or_default());
        if let Some(fault) = faults.first() {
            return Err(Error::value("pattern", ".dockerignore", fault.message.to_string()));
        }
        let root = self.root.try_clone().map_err(|source| Error::Root {
            action: "use",
            path: "the build context".to_owned(),
            source,
        })?;
        Ok(Tree { root, ignore, place: "the build context".to_owned(), is_context: true })
    }
}

/// Reads a Dockerfile from anywhere: a file outside of the context, or standard input.
///
/// # Errors
///
/// [`Error::DockerfileTooLarge`] beyond [`MAX_DOCKERFILE`].
pub fn read_dockerfile(name: &str, input: impl Read) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    input.take(MAX_DOCKERFILE + 1).read_to_end(&mut bytes).map_err(Error::io("read", name))?;
    if bytes.len() as u64 > MAX_DOCKERFILE {
        return Err(Error::DockerfileTooLarge { name: name.to_owned(), limit: MAX_DOCKERFILE });
    }
    Ok(bytes)
}

/// The same of a regular file.
///
/// # Errors
///
/// As [`read_dockerfile`], and [`Error::Io`] if it is not a regular file.
pub fn open_dockerfile(path: &Path) -> Result<Vec<u8>, Error> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = rustix::fs::open(path, flags, Mode::empty())
        .map_err(|errno| Error::io("read", path)(errno.into()))?;
    let file = File::from(file);
    if !file.metadata().map_err(Error::io("look at", path))?.is_file() {
        let reason = io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file");
        return Err(Error::io("read", path)(reason));
    }
    read_dockerfile(&path.display().to_string(), file)
}
