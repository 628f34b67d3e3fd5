use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use container_image::Image;
use container_volume::{Mount, MountSpec, NewVolume, Recursion, Volume, open_bind};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_string, fsmount, fsopen,
};
use serde_json::{Value, json};

use crate::options::ContainerOptions;
use crate::{Engine, Error, Finding};

impl Engine {
    /// Makes a volume, or gives the one of this name. Without a name it is an anonymous one.
    pub async fn create_volume(
        &self,
        name: Option<&str>,
        labels: BTreeMap<String, String>,
        options: BTreeMap<String, String>,
    ) -> Result<Volume, Error> {
        let known = name.is_some_and(|name| self.volumes.inspect(name).is_ok());
        let new = NewVolume { labels, options };
        let volume = match name {
            Some(name) => self.volumes.create(name, new)?,
            None => self.volumes.create_anonymous(new)?,
        };
        if !known {
            self.events.record("volume", "create", &volume.name, &[("driver", "local")])?;
        }
        Ok(volume)
    }

    /// All volumes, by name.
    pub async fn volumes(&self) -> Result<Vec<Volume>, Error> {
        Ok(self.volumes.list()?)
    }

    /// One volume.
    pub async fn volume(&self, name: &str) -> Result<Volume, Error> {
        Ok(self.volumes.inspect(name)?)
    }

    /// Removes a volume with its files.
    ///
    /// # Errors
    ///
    /// [`container_volume::Error::InUse`] while a container has it.
    pub async fn remove_volume(&self, name: &str) -> Result<(), Error> {
        self.volumes.remove(name)?;
        self.events.record("volume", "destroy", name, &[("driver", "local")])
    }

    /// Removes the volumes that no container has: the anonymous ones, or all. Returns their names and bytes.
    pub async fn prune_volumes(&self, all: bool) -> Result<(Vec<String>, u64), Error> {
        let pruned = self.volumes.prune(all)?;
        for name in &pruned.volumes {
            self.events.record("volume", "destroy", name, &[("driver", "local")])?;
        }
        Ok((pruned.volumes, pruned.bytes))
    }

    /// Adds the volumes and bind mounts of the containers that `volumes_from` names, where there is no mount of this one's own.
    pub(crate) fn volumes_of_others(&self, options: &mut ContainerOptions) -> Result<(), Error> {
        for text in options.volumes_from.clone() {
            let (name, read_only) = match text.rsplit_once(':') {
                Some((name, "ro")) => (name, true),
                Some((name, "rw" | "z" | "Z")) => (name, false),
                Some((_, mode)) => {
                    return Err(Error::setting("volumes-from", &text, format!("{mode:?} is not ro or rw")));
                }
                None => (text.as_str(), false),
            };
            let other = crate::containers::decode(&self.find_row(name)?)?;
            for mut spec in other.mounts {
                let shared = matches!(spec.mount, Mount::Volume { .. } | Mount::Bind { .. });
                if shared && options.mounts.iter().all(|own| own.target != spec.target) {
                    spec.read_only |= read_only;
                    options.mounts.push(spec);
                }
            }
        }
        Ok(())
    }

    /// Makes the volumes of a new container and notes that it has them; anonymous ones get their names in `options`.
    /// If one cannot be had, none is kept.
    pub(crate) fn prepare_volumes(
        &self,
        container: &str,
        options: &mut ContainerOptions,
        image: &Image,
    ) -> Result<(), Error> {
        for path in image.config.config.volumes.keys() {
            let spec = MountSpec::from_volume_flag(path, Path::new("/"))?;
            if options.mounts.iter().all(|mount| mount.target != spec.target) {
                options.mounts.push(spec);
            }
        }
        let mut targets: Vec<&PathBuf> = options.mounts.iter().map(|mount| &mount.target).collect();
        targets.sort();
        if let Some(pair) = targets.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(Error::setting(
                "mount",
                pair[0].display().to_string(),
                "two mounts have the same target",
            ));
        }
        let prepared = options.mounts.iter_mut().try_for_each(|spec| self.take_volume(container, spec));
        if prepared.is_err() {
            // the first error is the one to report
            let _ = self.release_volumes(container, true);
        }
        prepared
    }

    fn take_volume(&self, container: &str, spec: &mut MountSpec) -> Result<(), Error> {
        let Mount::Volume { name, driver, options, labels, subpath, .. } = &mut spec.mount else {
            return Ok(());
        };
        if let Some(driver) = driver.as_deref().filter(|driver| *driver != "local") {
            return Err(Error::setting(
                "volume driver",
                driver,
                "there is none of this name; local is there",
            ));
        }
        if let Some(subpath) = subpath {
            let text = subpath.display().to_string();
            return Err(Error::setting("volume-subpath", text, "a part of a volume cannot be mounted yet"));
        }
        let new = NewVolume { labels: labels.clone(), options: options.clone() };
        let volume = match name {
            Some(name) => self.volumes.create(name, new)?,
            None => self.volumes.create_anonymous(new)?,
        };
        self.volumes.take(&volume.name, container)?;
        *name = Some(volume.name);
        Ok(())
    }

    /// Notes that a container has no volumes any more; its anonymous ones go too if asked. Idempotent.
    pub(crate) fn release_volumes(&self, container: &str, anonymous: bool) -> Result<(), Error> {
        for volume in self.volumes.list()? {
            let users = self.volumes.users(&volume.name)?;
            if users.iter().all(|user| user != container) {
                continue;
            }
            self.volumes.release(&volume.name, container)?;
            if anonymous && volume.anonymous && users.len() == 1 {
                self.volumes.remove(&volume.name)?;
                self.events.record("volume", "destroy", &volume.name, &[("driver", "local")])?;
            }
        }
        Ok(())
    }

    /// The mounts for a bundle, those further up in the tree first. Volumes are filled at their first use.
    pub(crate) fn volume_mounts(
        &self,
        options: &ContainerOptions,
        layers: &[PathBuf],
    ) -> Result<Vec<Value>, Error> {
        let mut specs: Vec<&MountSpec> = options.mounts.iter().collect();
        specs.sort_by_key(|spec| spec.target.components().count());
        let mut root = None;
        let mut mounts = Vec::new();
        for spec in specs {
            let mut flags: Vec<String> = Vec::new();
            let (kind, source) = match &spec.mount {
                Mount::Volume { name, nocopy, .. } => {
                    let name = name.as_deref().unwrap_or_default();
                    let volume = self.volumes.inspect(name)?;
                    if !nocopy {
                        let root = match &root {
                            Some(root) => root,
                            None => root.insert(image_root(layers)?),
                        };
                        self.volumes.fill(name, root.as_fd(), &spec.target)?;
                    }
                    flags.extend(["rbind".to_owned(), "rprivate".to_owned()]);
                    ("bind", volume.mountpoint)
                }
                Mount::Bind { source, propagation, recursive, create, .. } => {
                    let protected: Vec<&Path> = vec![&self.config.root, &self.config.run_root];
                    let bound = open_bind(source, *create, &protected)?;
                    let recurses = *recursive != Recursion::Disabled;
                    flags.extend([
                        if recurses { "rbind" } else { "bind" }.to_owned(),
                        propagation.to_string(),
                    ]);
                    if spec.read_only && *recursive == Recursion::ReadOnly {
                        flags.push("rro".to_owned());
                    }
                    ("bind", bound.path)
                }
                Mount::Tmpfs { size, mode } => {
                    flags.extend(["nosuid", "nodev", "noexec"].map(str::to_owned));
                    flags.push(format!("mode={:o}", mode.unwrap_or(0o1777)));
                    flags.extend(size.map(|size| format!("size={size}")));
                    ("tmpfs", PathBuf::from("tmpfs"))
                }
                other => {
                    return Err(Error::setting("mount", format!("{other:?}"), "this kind is not known here"));
                }
            };
            if spec.read_only {
                flags.push("ro".to_owned());
            }
            mounts.push(
                json!({ "destination": spec.target, "type": kind, "source": source, "options": flags }),
            );
        }
        Ok(mounts)
    }

    pub(crate) fn check_volumes(&self, repair: bool, findings: &mut Vec<Finding>) -> Result<(), Error> {
        let known: Vec<String> = self.database().containers()?.into_iter().map(|row| row.id).collect();
        let known: Vec<&str> = known.iter().map(String::as_str).collect();
        for finding in self.volumes.check(&known)? {
            if repair {
                self.volumes.repair(&finding)?;
            }
            findings.push(Finding::Volume(finding));
        }
        Ok(())
    }
}

/// The root of an image as one tree: a mount that is in no namespace and goes with its descriptor.
fn image_root(layers: &[PathBuf]) -> Result<OwnedFd, Error> {
    let top = layers.last().map_or(Path::new("/"), PathBuf::as_path);
    let failed = |errno: rustix::io::Errno| Error::io("look into", top)(errno.into());
    if layers.len() == 1 {
        // overlayfs wants two
        return rustix::fs::open(
            top,
            rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::CLOEXEC,
            rustix::fs::Mode::empty(),
        )
        .map_err(failed);
    }
    let filesystem = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).map_err(failed)?;
    for layer in layers.iter().rev() {
        fsconfig_set_string(filesystem.as_fd(), "lowerdir+", layer).map_err(failed)?;
    }
    fsconfig_create(filesystem.as_fd()).map_err(failed)?;
    let flags = MountAttrFlags::MOUNT_ATTR_RDONLY | MountAttrFlags::MOUNT_ATTR_NODEV;
    fsmount(filesystem.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, flags).map_err(failed)
}
