//! Places for mounts: made where the root has none, and taken away when the step is done.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use rustix::fs::{AtFlags, Mode, OFlags, Stat, Timespec, Timestamps};
use rustix::io::Errno;

use crate::{Error, view};

/// What was made, and what the directories above it looked like before.
#[derive(Default)]
pub(crate) struct Stubs {
    /// Paths without links, in the order in which they were made.
    made: Vec<(String, bool)>,
    /// Directories above, the outer ones first.
    above: Vec<(String, Stat)>,
}

impl Stubs {
    /// Makes a place at a path if there is none.
    pub(crate) fn need(&mut self, root: BorrowedFd<'_>, path: &str, is_file: bool) -> Result<(), Error> {
        let failed = |action| Error::root(action, path);
        if view::open(root, path, OFlags::PATH).is_ok() {
            return Ok(());
        }
        let directory = OFlags::PATH | OFlags::DIRECTORY;
        let mut parent = view::open(root, "", directory).map_err(failed("open"))?;
        let mut at = String::new();
        let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        for (number, part) in parts.iter().enumerate() {
            at.push('/');
            at.push_str(part);
            let is_last = number + 1 == parts.len();
            match view::open(root, &at, directory) {
                Ok(next) => {
                    parent = next;
                    continue;
                }
                Err(Errno::NOENT) => {}
                // what is in the way is found when it is mounted
                Err(_) => return Ok(()),
            }
            let real = view::real_path(root, parent.as_fd()).map_err(|source| Error::Root {
                action: "find",
                path: at.clone(),
                source,
            })?;
            self.remember(root, &real)?;
            let made = if is_last && is_file {
                let flags =
                    OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                rustix::fs::openat(&parent, *part, flags, Mode::from_raw_mode(0o644)).map(drop)
            } else {
                view::make_directory(parent.as_fd(), part, None, 0o755)
            };
            match made {
                Ok(()) => {}
                // a link that leads to nothing: the mount will say so
                Err(Errno::EXIST) => return Ok(()),
                Err(errno) => return Err(failed("create")(errno)),
            }
            self.made.push((format!("{}/{part}", real.trim_end_matches('/')), is_last && is_file));
            if !(is_last && is_file) {
                parent = view::open(root, &at, directory).map_err(failed("open"))?;
            }
        }
        Ok(())
    }

    fn remember(&mut self, root: BorrowedFd<'_>, real: &str) -> Result<(), Error> {
        let ancestors: Vec<&Path> = Path::new(real).ancestors().collect();
        for path in ancestors.into_iter().rev() {
            let text = path.to_string_lossy();
            let known = self.above.iter().any(|(known, _)| *known == text)
                || self.made.iter().any(|(made, _)| *made == text);
            if !known {
                let stat = view::stat(root, path, false).map_err(Error::root("look at", &*text))?;
                self.above.push((text.into_owned(), stat));
            }
        }
        Ok(())
    }

    /// Takes away, in the upper directory, what nobody has put anything into.
    pub(crate) fn clean(&self, upper: &Path) -> Result<(), Error> {
        if self.made.is_empty() {
            return Ok(());
        }
        let root = File::open(upper).map_err(Error::io("open", upper))?;
        let inside = |path: &str| {
            // nothing here was reached through a link, so a link means that the step has put it there
            let parent = Path::new(path).parent()?.strip_prefix("/").ok()?;
            let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
            let resolve = rustix::fs::ResolveFlags::BENEATH | rustix::fs::ResolveFlags::NO_SYMLINKS;
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let parent = rustix::fs::openat2(&root, parent, flags, Mode::empty(), resolve).ok()?;
            Some((parent, Path::new(path).file_name()?.to_owned()))
        };
        for (path, is_file) in self.made.iter().rev() {
            let Some((parent, name)) = inside(path) else { continue };
            if *is_file {
                let stat = rustix::fs::statat(&parent, &name, AtFlags::SYMLINK_NOFOLLOW);
                if stat.is_ok_and(|stat| {
                    view::kind(&stat) == rustix::fs::FileType::RegularFile && stat.st_size == 0
                }) {
                    let _ = rustix::fs::unlinkat(&parent, &name, AtFlags::empty());
                }
            } else {
                // one with something in it stays
                let _ = rustix::fs::unlinkat(&parent, &name, AtFlags::REMOVEDIR);
            }
        }
        for (path, before) in self.above.iter().rev() {
            if path == "/" {
                continue;
            }
            let Some((parent, name)) = inside(path) else { continue };
            let resolve = rustix::fs::ResolveFlags::BENEATH | rustix::fs::ResolveFlags::NO_SYMLINKS;
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let Ok(directory) = rustix::fs::openat2(&parent, &name, flags, Mode::empty(), resolve) else {
                continue;
            };
            let directory = File::from(directory);
            let Ok(now) = directory.metadata() else { continue };
            let same = now.permissions().mode() == before.st_mode
                && now.uid() == before.st_uid
                && now.gid() == before.st_gid;
            // it was copied up for our places alone: an empty one adds nothing
            if same
                && is_plain(&directory)
                && rustix::fs::unlinkat(&parent, &name, AtFlags::REMOVEDIR).is_ok()
            {
                continue;
            }
            let _ = rustix::fs::futimens(&directory, &modified(before));
        }
        if let Some((_, before)) = self.above.iter().find(|(path, _)| path == "/") {
            let _ = rustix::fs::futimens(&root, &modified(before));
        }
        Ok(())
    }
}

/// It does not hide what is below it.
fn is_plain(directory: &File) -> bool {
    let mut value = [0; 8];
    rustix::fs::fgetxattr(directory, "trusted.overlay.opaque", &mut value[..]).is_err()
}

#[allow(
    clippy::useless_conversion,
    clippy::unnecessary_cast,
    reason = "the widths differ between processors"
)]
fn modified(stat: &Stat) -> Timestamps {
    let time = Timespec { tv_sec: stat.st_mtime.into(), tv_nsec: stat.st_mtime_nsec as _ };
    Timestamps { last_access: time, last_modification: time }
}
