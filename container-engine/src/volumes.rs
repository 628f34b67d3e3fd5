use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use container_image::Image;
use container_volume::{Mount, MountSpec, NewVolume, Propagation, Recursion, Volume, check_relabel};
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
        self.create_volume_by(None, name, labels, options).await
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
        self.drop_volume(&self.volumes.inspect(name)?)
    }

    /// Removes the volumes that no container has: the anonymous ones, or all. Returns their names and bytes.
    pub async fn prune_volumes(&self, all: bool) -> Result<(Vec<String>, u64), Error> {
        let pruned = self.volumes.prune(all)?;
        for name in &pruned.volumes {
            self.events.record("volume", "destroy", name, &[("driver", "local")])?;
        }
        let mut names = pruned.volumes;
        for volume in self.volumes.list()? {
            let unused = volume.driver.is_some() && (all || volume.anonymous);
            if unused && self.volumes.users(&volume.name)?.is_empty() {
                self.drop_volume(&volume)?;
                names.push(volume.name);
            }
        }
        Ok((names, pruned.bytes))
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
        check_relabel(spec)?;
        let Mount::Volume { name, driver, options, labels, .. } = &mut spec.mount else {
            return Ok(());
        };
        let driver = driver.clone().filter(|driver| driver != "local");
        let there = name.as_deref().filter(|_| driver.is_none() && options.is_empty());
        // a volume is what it was made as
        let volume = if let Some(Ok(volume)) = there.map(|name| self.volumes.inspect(name)) {
            volume
        } else {
            let new = NewVolume { labels: labels.clone(), options: options.clone(), driver };
            self.make_volume(name.as_deref(), new)?
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
                self.drop_volume(&volume)?;
            }
        }
        Ok(())
    }

    /// The mounts for a bundle, those further up in the tree first. Volumes are filled at their first use.
    pub(crate) fn volume_mounts(
        &self,
        container: &str,
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
                Mount::Volume { name, nocopy, subpath, .. } => {
                    let name = name.as_deref().unwrap_or_default();
                    let volume = self.volumes.inspect(name)?;
                    let files = self.mount_volume(&volume, container)?;
                    if !nocopy && volume.driver.is_none() {
                        let root = match &root {
                            Some(root) => root,
                            None => root.insert(image_root(layers)?),
                        };
                        self.volumes.fill(name, root.as_fd(), &spec.target)?;
                    }
                    flags.extend(["rbind".to_owned(), "rprivate".to_owned()]);
                    ("bind", self.volume_source(&volume, &files, subpath.as_deref(), container)?)
                }
                Mount::Bind { source, propagation, recursive, create, .. } => {
                    let bound = self.open_bind(source, *create)?;
                    let recurses = *recursive != Recursion::Disabled;
                    flags.extend([
                        if recurses { "rbind" } else { "bind" }.to_owned(),
                        propagation.to_string(),
                    ]);
                    if spec.read_only && *recursive == Recursion::ReadOnly {
                        flags.push("rro".to_owned());
                    }
                    let private = matches!(propagation, Propagation::Private | Propagation::RPrivate);
                    // what is shared with the host has to be the host's own mount
                    let path =
                        if private { self.bind_source(&bound, recurses, container)? } else { bound.path };
                    ("bind", path)
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
                if let container_volume::Finding::StaleMount { volume, container } = &finding {
                    self.unmount_volume(volume, container)?;
                }
                self.volumes.repair(&finding)?;
            }
            findings.push(Finding::Volume(finding));
        }
        let secrets = self.secrets().containers()?;
        let mounts = std::fs::read_dir(self.config.run_root.join("mounts")).into_iter().flatten().flatten();
        let mounts = mounts.filter_map(|entry| entry.file_name().into_string().ok());
        let with_mounts = secrets.into_iter().chain(mounts).filter(|id| !known.contains(&id.as_str()));
        for id in with_mounts.collect::<std::collections::BTreeSet<String>>() {
            if self.is_running(&id)? {
                continue;
            }
            findings.push(Finding::Stray(self.places(&id).dir().to_owned()));
            if repair {
                self.places(&id).clear()?;
                self.secrets().remove(&id)?;
            }
        }
        Ok(())
    }
}

/// The root of an image as one tree: a mount that is in no namespace and goes with its descriptor.
pub(crate) fn image_root(layers: &[PathBuf]) -> Result<OwnedFd, Error> {
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
