//! Volumes of other drivers, by Docker's plugin protocol, and whatever a volume needs while containers run with it.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};

use container_volume::{
    BindSource, Mount, NewVolume, PLUGIN_DIRECTORIES, Places, Plugin, Volume, open_beneath, open_bind,
};
use rustix::mount::MountFlags;

use crate::containers::decode;
use crate::database::ContainerRow;
use crate::engine::API_SOCKET;
use crate::options::ContainerOptions;
use crate::{Engine, Error};

impl Engine {
    /// A volume driver by its name: a socket or spec file in `plugins` of the run root, or where Docker looks.
    fn plugin(&self, name: &str) -> Result<Plugin, Error> {
        let own = self.config.run_root.join("plugins");
        let docker = PLUGIN_DIRECTORIES.iter().map(PathBuf::from);
        let directories: Vec<PathBuf> = std::iter::once(own).chain(docker).collect();
        Ok(Plugin::find(name, &directories)?)
    }

    /// Makes a volume by a driver; none, or `local`, is our own. Idempotent for a name with the same driver and options.
    pub async fn create_volume_by(
        &self,
        driver: Option<&str>,
        name: Option<&str>,
        labels: BTreeMap<String, String>,
        options: BTreeMap<String, String>,
    ) -> Result<Volume, Error> {
        let driver = driver.filter(|driver| !matches!(*driver, "" | "local")).map(str::to_owned);
        let known = name.is_some_and(|name| self.volumes.inspect(name).is_ok());
        let volume = self.make_volume(name, NewVolume { labels, options, driver })?;
        if !known {
            let driver = volume.driver.as_deref().unwrap_or("local");
            self.events.record("volume", "create", &volume.name, &[("driver", driver)])?;
        }
        Ok(volume)
    }

    pub(crate) fn make_volume(&self, name: Option<&str>, new: NewVolume) -> Result<Volume, Error> {
        let Some(driver) = new.driver.clone() else {
            return Ok(match name {
                Some(name) => self.volumes.create(name, new)?,
                None => self.volumes.create_anonymous(new)?,
            });
        };
        let plugin = self.plugin(&driver)?;
        plugin.activate()?;
        let options = new.options.clone();
        let known = name.is_some_and(|name| self.volumes.inspect(name).is_ok());
        let volume = match name {
            Some(name) => self.volumes.create(name, new)?,
            None => self.volumes.create_anonymous(new)?,
        };
        // asked again for a known one too: after a crash the driver may not have heard of it
        if let Err(error) = plugin.create(&volume.name, &options) {
            if !known {
                self.volumes.remove(&volume.name)?;
            }
            return Err(error.into());
        }
        Ok(volume)
    }

    /// Removes a volume where it is: at its driver first, which may refuse.
    pub(crate) fn drop_volume(&self, volume: &Volume) -> Result<(), Error> {
        let name = &volume.name;
        let users = self.volumes.users(name)?;
        if let Some(driver) = &volume.driver
            && users.is_empty()
        {
            self.plugin(driver)?.remove(name)?;
        }
        self.volumes.remove(name)?;
        let driver = volume.driver.as_deref().unwrap_or("local");
        self.events.record("volume", "destroy", name, &[("driver", driver)])
    }

    /// Mounts a volume for a container, at the kernel or at its driver, and returns where its files are.
    pub(crate) fn mount_volume(&self, volume: &Volume, container: &str) -> Result<PathBuf, Error> {
        let path = self.volumes.mount(&volume.name, container)?;
        let Some(driver) = &volume.driver else { return Ok(path) };
        match self.plugin(driver).and_then(|plugin| Ok(plugin.mount(&volume.name, container)?)) {
            Ok(path) => Ok(path),
            Err(error) => {
                self.volumes.unmount(&volume.name, container)?;
                Err(error)
            }
        }
    }

    /// The reverse of [`mount_volume`](Self::mount_volume). A driver that is gone has nothing mounted that we could free.
    pub(crate) fn unmount_volume(&self, name: &str, container: &str) -> Result<(), Error> {
        if self.volumes.mounted_by(name)?.iter().any(|noted| noted == container)
            && let Ok(Volume { driver: Some(driver), .. }) = self.volumes.inspect(name)
            && let Ok(plugin) = self.plugin(&driver)
        {
            let _ = plugin.unmount(name, container);
        }
        Ok(self.volumes.unmount(name, container)?)
    }

    /// Where descriptors get paths for a container's start.
    pub(crate) fn places(&self, container: &str) -> Places {
        Places::new(self.config.run_root.join("mounts").join(container))
    }

    /// The source of a volume's mount, as a path that nobody else can change.
    pub(crate) fn volume_source(
        &self,
        volume: &Volume,
        files: &Path,
        subpath: Option<&Path>,
        container: &str,
    ) -> Result<PathBuf, Error> {
        if volume.driver.is_none() && subpath.is_none() {
            // in our own directory
            return Ok(files.to_owned());
        }
        let top: OwnedFd = match &volume.driver {
            Some(_) => open_bind(files, false, &self.protected())?.fd,
            None => self.volumes.source(&volume.name, None)?,
        };
        let source = match subpath {
            Some(subpath) => open_beneath(&volume.name, top.as_fd(), subpath)?,
            None => top,
        };
        Ok(self.places(container).bind(source.as_fd(), true, MountFlags::empty())?)
    }

    /// The source of a bind mount that is private to the container, as a path that nobody else can change.
    pub(crate) fn bind_source(
        &self,
        source: &BindSource,
        recursive: bool,
        container: &str,
    ) -> Result<PathBuf, Error> {
        Ok(self.places(container).bind(source.fd.as_fd(), recursive, MountFlags::empty())?)
    }

    /// What no container gets by itself.
    pub(crate) fn protected(&self) -> [&Path; 2] {
        [&self.config.root, &self.config.run_root]
    }

    /// What is behind a bind mount of the person's: nothing of the engine's own, but for the socket of its API, which gives all rights to
    /// whoever has it, and is asked for by its name alone.
    pub(crate) fn open_bind(&self, source: &Path, create: bool) -> Result<BindSource, Error> {
        let is_socket = source == self.config.run_root.join(API_SOCKET)
            && std::fs::symlink_metadata(source).is_ok_and(|meta| meta.file_type().is_socket());
        let protected = if is_socket { &self.protected()[..1] } else { &self.protected()[..] };
        Ok(open_bind(source, create && !is_socket, protected)?)
    }

    /// Ends every mount that a container's start made on the host. Idempotent; the container must not run.
    pub(crate) fn unmount_volumes(&self, row: &ContainerRow) -> Result<(), Error> {
        self.places(&row.id).clear()?;
        for spec in decode(row)?.mounts {
            if let Mount::Volume { name: Some(name), .. } = &spec.mount {
                self.unmount_volume(name, &row.id)?;
            }
        }
        Ok(())
    }

    /// True if a container's start makes mounts on the host, which somebody has to end after it.
    pub(crate) fn needs_unmounting(&self, options: &ContainerOptions) -> bool {
        options.mounts.iter().any(|spec| match &spec.mount {
            Mount::Bind { .. } | Mount::Volume { subpath: Some(_), .. } => true,
            Mount::Volume { name: Some(name), .. } => self
                .volumes
                .inspect(name)
                .is_ok_and(|volume| volume.driver.is_some() || !volume.options.is_empty()),
            _ => false,
        })
    }

    /// Ends what a container that ended still has mounted on the host. Its monitor has this called; a container that runs again is left
    /// alone. Idempotent.
    pub async fn tidy_container(&self, text: &str) -> Result<(), Error> {
        let row = self.find_row(text)?;
        let _lock = self.lock_container(&row.id)?;
        if self.is_running(&row.id)? { Ok(()) } else { self.unmount_volumes(&row) }
    }
}
