//! One container that takes another's place.

use std::path::PathBuf;

use container_volume::{Mount, MountSpec};

use crate::containers::Container;
use crate::options::ContainerOptions;
use crate::{Engine, Error, short_id};

impl Engine {
    /// A container that is made anew is called `ID_NAME` until the new one is there. If the new one is there, the old one goes; else it
    /// gets its name back.
    pub(super) async fn finish_recreation(&self, project: &str) -> Result<(), Error> {
        let there = self.project_containers(project).await?;
        for container in &there {
            let Some(name) = container.name.strip_prefix(&old_name(&container.id, "")) else { continue };
            if there.iter().any(|other| other.name == name) {
                let options = crate::RemoveOptions { force: true, volumes: true };
                self.remove_container(&container.id, options).await?;
            } else {
                self.rename_container(&container.id, name).await?;
            }
        }
        Ok(())
    }

    /// The anonymous volumes of a container, by where they are mounted.
    pub(super) async fn anonymous(&self, container: &Container) -> Vec<(PathBuf, String)> {
        let mut found = Vec::new();
        for spec in &container.options.mounts {
            let Mount::Volume { name: Some(name), .. } = &spec.mount else { continue };
            if self.volume(name).await.is_ok_and(|volume| volume.anonymous) {
                found.push((spec.target.clone(), name.clone()));
            }
        }
        found
    }
}

/// What a container is called while another takes its name.
pub(super) fn old_name(id: &str, name: &str) -> String {
    format!("{}_{name}", short_id(id))
}

/// Volumes that nobody named go on from one container to the next, where the new one has none of its own.
pub(super) fn take_over(options: &mut ContainerOptions, keep: &[(PathBuf, String)]) {
    for (target, volume) in keep {
        match options.mounts.iter_mut().find(|spec| spec.target == *target) {
            Some(spec) => {
                if let Mount::Volume { name: name @ None, .. } = &mut spec.mount {
                    *name = Some(volume.clone());
                }
            }
            // a volume of the image
            None => options.mounts.push(MountSpec {
                mount: Mount::Volume {
                    name: Some(volume.clone()),
                    nocopy: true,
                    subpath: None,
                    driver: None,
                    options: std::collections::BTreeMap::new(),
                    labels: std::collections::BTreeMap::new(),
                },
                target: target.clone(),
                read_only: false,
            }),
        }
    }
}
