//! Files of a container as archives, in and out.
//!
//! No path of a container is resolved by the host: each is opened beneath the container's root, by descriptors, and what is read or
//! written is reached from there through no link. Nothing of a container is executed or loaded.

use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use container_image::make_upper;
use container_volume::{Mount, open_beneath, pack, unpack};
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Stat, fstat, openat, readlinkat, statat};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_string, fsmount, fsopen,
};

use crate::containers::{Phase, decode};
use crate::database::ContainerRow;
use crate::engine::create_private;
use crate::volumes::image_root;
use crate::{Engine, Error};

/// A file of a container, as lstat(2) tells of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileStat {
    /// The last part of its path; `.` or `/` where the path ends so.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// Type and permission bits, as in `st_mode`.
    pub mode: u32,
    /// When it was changed last.
    pub modified: SystemTime,
    /// Where a link leads, absolute in the container; empty for anything else.
    pub link_target: String,
}

impl FileStat {
    /// Whether it is a directory.
    pub fn is_directory(&self) -> bool {
        FileType::from_raw_mode(self.mode) == FileType::Directory
    }
}

/// Where a container's files are to be found, and the path from there.
struct Files {
    root: OwnedFd,
    path: PathBuf,
    /// It may not be written, whatever the kernel says.
    read_only: bool,
    /// Nobody starts it meanwhile.
    _lock: Option<File>,
}

impl Engine {
    /// What a path of a container is. A link at its end is not followed.
    ///
    /// # Errors
    ///
    /// [`Error::FileMissing`].
    pub async fn stat_file(&self, text: &str, path: &str) -> Result<FileStat, Error> {
        let row = self.find_row(text)?;
        let (parent, last) = locate(&row, path, &self.files(&row, path, false)?)?;
        describe(&row, path, &parent, &last)
    }

    /// Writes what is at a path, with all below it, as a tar stream, in which it is called `name`: as [`FileStat::name`] says if none is
    /// given. A link at the path's end is not followed. Volumes are in it: of a container that runs all that its processes see, of
    /// another one those that the path leads into.
    ///
    /// # Errors
    ///
    /// [`Error::FileMissing`].
    pub async fn read_files(
        &self,
        text: &str,
        path: &str,
        name: Option<&str>,
        output: impl Write,
    ) -> Result<FileStat, Error> {
        let row = self.find_row(text)?;
        let files = self.files(&row, path, false)?;
        let (parent, last) = locate(&row, path, &files)?;
        let stat = describe(&row, path, &parent, &last)?;
        let name = name.unwrap_or(if stat.name == "/" { "." } else { &stat.name });
        pack(&format!("container {}", row.name), parent.as_fd(), &last, Path::new(name), output)?;
        Ok(stat)
    }

    /// Unpacks a tar stream into a directory of a container. Links in the directory's own path are followed inside the container, those on the
    /// way of an entry are not. With `owner` everything belongs to that user and group.
    ///
    /// # Errors
    ///
    /// [`Error::FileMissing`], [`Error::FileNotDirectory`], [`Error::FilesReadOnly`], and what [`container_volume::unpack`] refuses.
    pub async fn write_files(
        &self,
        text: &str,
        directory: &str,
        input: impl Read,
        owner: Option<(u32, u32)>,
    ) -> Result<(), Error> {
        let row = self.find_row(text)?;
        let files = self.files(&row, directory, true)?;
        if files.read_only {
            return Err(Error::FilesReadOnly { container: row.name, path: directory.to_owned() });
        }
        let of = format!("container {}", row.name);
        let found = open_beneath(&of, files.root.as_fd(), &files.path).map_err(missing(&row, directory))?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let target = openat(&found, c".", flags, Mode::empty()).map_err(|errno| match errno {
            Errno::NOTDIR => {
                Error::FileNotDirectory { container: row.name.clone(), path: directory.to_owned() }
            }
            errno => Error::io("open", directory)(errno.into()),
        })?;
        unpack(&of, target.as_fd(), input, owner)?;
        self.events.record(
            "container",
            "extract-to-dir",
            &row.id,
            &[("name", &row.name), ("image", &row.image)],
        )
    }

    /// Where the files of a container are: in the mount namespace of one that runs, else in its layers and volumes.
    fn files(&self, row: &ContainerRow, path: &str, to_write: bool) -> Result<Files, Error> {
        let absolute = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        if let Some(root) = self.running_root(row)? {
            return Ok(Files { root, path: absolute.into(), read_only: false, _lock: None });
        }
        let lock = self.lock_container(&row.id)?;
        if let Some(root) = self.running_root(row)? {
            return Ok(Files { root, path: absolute.into(), read_only: false, _lock: None });
        }
        let options = decode(row)?;
        // by the words of the path, not by where it leads: a link into a volume is not seen
        let mut mounts: Vec<_> =
            options.mounts.iter().filter(|spec| Path::new(&absolute).starts_with(&spec.target)).collect();
        mounts.sort_by_key(|spec| spec.target.components().count());
        if let Some(spec) = mounts.last() {
            let inside = absolute.get(spec.target.to_string_lossy().len()..).unwrap_or_default();
            let inside = PathBuf::from(if inside.is_empty() { "/" } else { inside });
            let root = match &spec.mount {
                Mount::Volume { name: Some(name), subpath, .. } => {
                    Some(self.volumes.source(name, subpath.as_deref())?)
                }
                Mount::Bind { source, .. } => {
                    let bound = self.open_bind(source, false)?;
                    Some(
                        openat(CWD, &bound.path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
                            .map_err(|errno| Error::io("open", &bound.path)(errno.into()))?,
                    )
                }
                // memory that is gone with its container
                _ => None,
            };
            if let Some(root) = root {
                return Ok(Files { root, path: inside, read_only: spec.read_only, _lock: Some(lock) });
            }
        }
        let (upper, layers) = self.container_layers(row)?;
        let root = if to_write {
            self.writable_root(row, &layers)?
        } else {
            // the topmost first, as they are here; the other way about there
            let all: Vec<PathBuf> = upper.into_iter().chain(layers).rev().collect();
            image_root(&all)?
        };
        Ok(Files { root, path: absolute.into(), read_only: options.read_only, _lock: Some(lock) })
    }

    /// The root that a container's processes see; none if it does not run.
    fn running_root(&self, row: &ContainerRow) -> Result<Option<OwnedFd>, Error> {
        let Phase::Running { pid, .. } = self.phase(row)? else { return Ok(None) };
        let path = format!("/proc/{pid}/root");
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = match openat(CWD, path.as_str(), flags, Mode::empty()) {
            Ok(root) => root,
            Err(Errno::NOENT | Errno::SRCH) => return Ok(None),
            Err(errno) => return Err(Error::io("open", path)(errno.into())),
        };
        // the number may have become another's before it was opened, not after: its process still holds it
        let same = matches!(self.phase(row)?, Phase::Running { pid: now, .. } if now == pid);
        Ok(same.then_some(root))
    }

    /// The root of a container that does not run, as its processes would see it: a mount that is in no namespace.
    fn writable_root(&self, row: &ContainerRow, layers: &[PathBuf]) -> Result<OwnedFd, Error> {
        let own = self.container_root(&row.id);
        let (upper, work) = (own.join("upper"), own.join("work"));
        let top = layers.first().map_or(Path::new("/"), PathBuf::as_path);
        create_private(&own)?;
        make_upper(&upper, &work, top)?;
        let failed = |errno: Errno| Error::io("look into", &own)(errno.into());
        let overlay = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).map_err(failed)?;
        for layer in layers {
            fsconfig_set_string(overlay.as_fd(), "lowerdir+", layer).map_err(failed)?;
        }
        fsconfig_set_string(overlay.as_fd(), "upperdir", &upper).map_err(failed)?;
        fsconfig_set_string(overlay.as_fd(), "workdir", &work).map_err(failed)?;
        fsconfig_create(overlay.as_fd()).map_err(failed)?;
        fsmount(overlay.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::MOUNT_ATTR_NODEV)
            .map_err(failed)
    }
}

/// The directory that an absolute path's last part stands in, and that part.
fn locate(row: &ContainerRow, path: &str, files: &Files) -> Result<(OwnedFd, CString), Error> {
    let of = format!("container {}", row.name);
    let whole = files.path.to_string_lossy().into_owned();
    let bare = whole.trim_end_matches('/');
    // a slash or a dot at the end means the directory itself, through a link too
    let itself = bare.is_empty()
        || bare.len() < whole.len()
        || bare.ends_with("/.")
        || bare.ends_with("/..")
        || bare == ".";
    if itself {
        let found = open_beneath(&of, files.root.as_fd(), Path::new(&whole)).map_err(missing(row, path))?;
        let stat = fstat(&found).map_err(|errno| Error::io("look at", path)(errno.into()))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
            return Err(Error::FileNotDirectory { container: row.name.clone(), path: path.to_owned() });
        }
        return Ok((found, c".".to_owned()));
    }
    let (above, last) = bare.rsplit_once('/').unwrap_or(("", bare));
    let above = if above.is_empty() { "/" } else { above };
    let parent = open_beneath(&of, files.root.as_fd(), Path::new(above)).map_err(missing(row, path))?;
    let last = CString::new(last).map_err(|_| Error::setting("path", path, "it has a zero byte in it"))?;
    Ok((parent, last))
}

fn missing<'a>(row: &'a ContainerRow, path: &'a str) -> impl FnOnce(container_volume::Error) -> Error + 'a {
    move |error| {
        let io = match &error {
            container_volume::Error::Subpath { source, .. } => source.kind(),
            _ => io::ErrorKind::Other,
        };
        match io {
            io::ErrorKind::NotFound => {
                Error::FileMissing { container: row.name.clone(), path: path.to_owned() }
            }
            io::ErrorKind::NotADirectory => {
                Error::FileNotDirectory { container: row.name.clone(), path: path.to_owned() }
            }
            _ => error.into(),
        }
    }
}

fn describe(row: &ContainerRow, path: &str, parent: &OwnedFd, last: &CString) -> Result<FileStat, Error> {
    let stat: Stat =
        statat(parent, last.as_c_str(), AtFlags::SYMLINK_NOFOLLOW).map_err(|errno| match errno {
            Errno::NOENT => Error::FileMissing { container: row.name.clone(), path: path.to_owned() },
            errno => Error::io("look at", path)(errno.into()),
        })?;
    let bare = path.trim_end_matches('/');
    let name = match bare.rsplit('/').next() {
        None | Some("") => "/",
        Some(name) => name,
    };
    let mut link_target = String::new();
    if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink {
        let target = readlinkat(parent, last.as_c_str(), Vec::new())
            .map_err(|errno| Error::io("read the link", path)(errno.into()))?;
        let target = String::from_utf8_lossy(target.as_bytes()).into_owned();
        let above = bare.rsplit_once('/').map_or("", |(above, _)| above);
        link_target = if target.starts_with('/') { target } else { format!("{above}/{target}") };
    }
    let since = Duration::new(u64::try_from(stat.st_mtime).unwrap_or(0), stat.st_mtime_nsec as u32);
    Ok(FileStat {
        name: name.to_owned(),
        size: stat.st_size as u64,
        mode: stat.st_mode,
        modified: SystemTime::UNIX_EPOCH + since,
        link_target,
    })
}
