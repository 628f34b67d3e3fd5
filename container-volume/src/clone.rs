use std::{
    collections::HashSet,
    fs,
    os::{fd::AsFd, unix::fs::MetadataExt},
    path::Path,
};

use rustix::fs::{CWD, Mode, OFlags, openat};

use crate::{Error, NewVolume, Result, Usage, Volume, Volumes, fill, local::Local};

impl Volumes {
    /// Makes a volume with the files of another one, by reference where the file system can. The new volume is there whole or not
    /// at all. The labels are `new`'s, the driver and its options the `local` one's own.
    ///
    /// Files that change meanwhile are copied as they are found: for a copy of one moment, let nothing write.
    ///
    /// # Errors
    ///
    /// [`Error::Exists`] if there is a volume of the new name, [`Error::DriverOption`] if the source has to be
    /// mounted and is not.
    pub fn duplicate(&self, from: &str, to: &str, new: NewVolume) -> Result<Volume> {
        crate::volume::check_name(to)?;
        let options = &new.options;
        if !matches!(Local::of(to, options)?, Local::Plain { .. }) || new.driver.is_some() {
            let (option, value) =
                options.iter().next().map_or((String::new(), String::new()), |(k, v)| (k.clone(), v.clone()));
            return Err(Error::DriverOption {
                name: to.into(),
                option,
                value,
                reason: "a copy is a plain volume",
            });
        }
        let source = self.files(from)?;
        let _lock = self.lock()?;
        match self.inspect(to) {
            Ok(_) => return Err(Error::Exists { name: to.into() }),
            Err(Error::NotFound { .. }) => {}
            Err(e) => return Err(e),
        }
        self.make(to, new, false, |target| fill::copy(to, Path::new(""), source, target.as_fd()))
    }

    /// What the volume's files take. None for one that has to be mounted and is not, or is another driver's.
    pub fn usage(&self, name: &str) -> Result<Option<Usage>> {
        let volume = self.inspect(name)?;
        if volume.driver.is_some() || Self::is_asleep(&volume)? {
            return Ok(None);
        }
        let mut usage = Usage::default();
        let mut names_of_one = HashSet::new();
        let top = match fs::symlink_metadata(&volume.mountpoint) {
            Ok(meta) => meta.dev(),
            Err(e) => return Err(Error::file("examine", &volume.mountpoint, e)),
        };
        let mut waiting = vec![volume.mountpoint];
        while let Some(dir) = waiting.pop() {
            // what goes away meanwhile takes nothing
            for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
                let Ok(meta) = entry.metadata() else { continue };
                usage.files += 1;
                if meta.is_dir() {
                    // what is mounted inside is not the volume's
                    if meta.dev() == top {
                        usage.bytes += meta.blocks() * 512;
                        waiting.push(entry.path());
                    }
                } else if meta.nlink() < 2 || names_of_one.insert((meta.dev(), meta.ino())) {
                    usage.bytes += meta.blocks() * 512;
                }
            }
        }
        Ok(Some(usage))
    }

    /// The top of a volume's files, to be read.
    pub(crate) fn files(&self, name: &str) -> Result<std::os::fd::OwnedFd> {
        let volume = self.inspect(name)?;
        if volume.driver.is_some() || Self::is_asleep(&volume)? {
            let (option, value) = match (&volume.driver, volume.options.get("type")) {
                (Some(driver), _) => ("driver", driver.clone()),
                (None, kind) => ("type", kind.cloned().unwrap_or_default()),
            };
            return Err(Error::DriverOption {
                name: name.into(),
                option: option.into(),
                value,
                reason: "its files are there only while it is mounted",
            });
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        openat(CWD, &volume.mountpoint, flags, Mode::empty())
            .map_err(|e| Error::file("open", &volume.mountpoint, e))
    }

    /// Whether a volume has to be mounted and is not.
    fn is_asleep(volume: &Volume) -> Result<bool> {
        let plain = matches!(Local::of(&volume.name, &volume.options)?, Local::Plain { .. });
        Ok(!plain && !crate::place::is_mounted(&volume.mountpoint)?)
    }
}
