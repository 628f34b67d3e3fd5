use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use container_cgroup::{Group, GroupPath, Hierarchy};

use crate::containers::{Phase, container_id};
use crate::database::ContainerRow;
use crate::networks::{NetworkDriver, driver};
use crate::stop::KILL_TIMEOUT;
use crate::{Engine, Error};

/// Something that is inconsistent, half done or left over.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Finding {
    /// The image store.
    Image(container_image::Finding),
    /// Half-unpacked layers of a process that was killed.
    Snapshot(PathBuf),
    /// What a build that was killed has left.
    Build(PathBuf),
    /// A container whose removal was interrupted.
    HalfRemoved {
        /// Its id.
        id: String,
        /// Its name.
        name: String,
    },
    /// A container whose monitor was killed: what it held was not given back.
    MonitorLost {
        /// Its id.
        id: String,
        /// Its name.
        name: String,
    },
    /// A directory or file of a container that is not there.
    Stray(PathBuf),
    /// A record of the runtime for a container that does not run.
    Runtime(String),
    /// A control group of a container that does not run.
    Cgroup(String),
    /// Networks: interfaces, rules, addresses, names.
    Network(container_net::Finding),
    /// Volumes.
    Volume(container_volume::Finding),
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Image(finding) => write!(f, "image store: {finding}"),
            Self::Snapshot(path) => write!(f, "half-unpacked layers in {}", path.display()),
            Self::Build(path) => write!(f, "a build was killed, and left {}", path.display()),
            Self::HalfRemoved { name, .. } => write!(f, "the removal of container {name} was interrupted"),
            Self::MonitorLost { name, .. } => write!(f, "the monitor of container {name} was killed"),
            Self::Stray(path) => write!(f, "{} belongs to no container", path.display()),
            Self::Runtime(id) => write!(f, "the runtime knows container {id}, which does not run"),
            Self::Cgroup(path) => write!(f, "control group {path} belongs to no running container"),
            Self::Network(finding) => write!(f, "network: {finding}"),
            Self::Volume(finding) => write!(f, "volume: {finding}"),
        }
    }
}

impl Engine {
    /// Looks for everything that is inconsistent, half done or left over, and with `repair` mends it.
    /// What is being made or removed at this moment by a living process is left alone. Only what belongs to this
    /// engine's directories is looked at.
    pub async fn check(&self, repair: bool) -> Result<Vec<Finding>, Error> {
        let mut findings = Vec::new();
        findings.extend(self.abandoned_builds(repair)?.into_iter().map(Finding::Build));
        self.check_containers(repair, &mut findings)?;
        self.check_strays(repair, &mut findings)?;
        self.check_cgroups(repair, &mut findings)?;
        self.check_networks(repair, &mut findings)?;
        self.check_volumes(repair, &mut findings)?;
        let mut images = self.images.check(false)?;
        images.retain(|finding| !self.is_cached(finding));
        findings.extend(images.into_iter().map(Finding::Image));
        findings.extend(self.snapshots.abandoned()?.into_iter().map(Finding::Snapshot));
        if repair {
            self.sweep_images()?;
        }
        Ok(findings)
    }

    fn check_containers(&self, repair: bool, findings: &mut Vec<Finding>) -> Result<(), Error> {
        let rows = self.database().containers()?;
        for row in rows {
            // somebody works on it
            let Some(_lock) = self.try_lock_container(&row.id)? else { continue };
            let Ok(row) = self.find_row(&row.id) else { continue };
            let (id, name) = (row.id.clone(), row.name.clone());
            match self.phase(&row)? {
                Phase::Removing => {
                    findings.push(Finding::HalfRemoved { id, name });
                    if repair {
                        self.finish_removal(&row, row.auto_remove)?;
                    }
                }
                Phase::Exited(exit) if exit.error.is_some() && self.has_leftovers(&row) => {
                    findings.push(Finding::MonitorLost { id, name });
                    if repair {
                        self.settle(&row)?;
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// True if a container that does not run still has something of its last run.
    fn has_leftovers(&self, row: &ContainerRow) -> bool {
        self.runtime.root().join(&row.id).exists() || self.container_run(&row.id).join("attach.sock").exists()
    }

    fn check_strays(&self, repair: bool, findings: &mut Vec<Finding>) -> Result<(), Error> {
        let known: Vec<String> = self.database().containers()?.into_iter().map(|row| row.id).collect();
        let (root, run) = (&self.config.root, &self.config.run_root);
        for directory in [root.join("containers"), run.join("containers"), run.join("locks")] {
            for (name, path) in list(&directory)? {
                // the record is written first and goes last: what has none belongs to nobody
                if known.contains(&name) || self.is_running(&name)? {
                    continue;
                }
                let Some(_lock) = self.try_lock_container(&name)? else { continue };
                if self.find_row(&name).is_ok() {
                    continue;
                }
                if directory.ends_with("locks") {
                    // the look itself may have made the file
                    remove_file(&path)?;
                    continue;
                }
                findings.push(Finding::Stray(path.clone()));
                if repair {
                    container_image::remove_tree(&path).map_err(Error::io("remove", &path))?;
                }
                remove_file(&run.join("locks").join(&name))?;
            }
        }
        for (name, path) in list(self.runtime.root())? {
            // a record on its way out has a mark before its id
            let id = name.trim_start_matches('~');
            if self.is_running(id)? {
                continue;
            }
            let Some(_lock) = self.try_lock_container(id)? else { continue };
            if !self.is_running(id)? && path.exists() {
                findings.push(Finding::Runtime(id.to_owned()));
                if repair {
                    self.runtime.delete(&container_id(id)?, true)?;
                }
            }
        }
        Ok(())
    }

    fn check_cgroups(&self, repair: bool, findings: &mut Vec<Finding>) -> Result<(), Error> {
        let failed = |error: container_cgroup::Error| Error::from(container_runtime::Error::from(error));
        let parent = GroupPath::new(format!("/{}", self.tables.name())).map_err(failed)?;
        let hierarchy = Hierarchy::of_host().map_err(failed)?;
        let Ok(group) = Group::open(&hierarchy, &parent) else { return Ok(()) };
        for path in group.children().map_err(failed)? {
            let Some(id) = path.as_str().rsplit('/').next() else { continue };
            if self.is_running(id)? {
                continue;
            }
            let Some(_lock) = self.try_lock_container(id)? else { continue };
            let Ok(group) = Group::open(&hierarchy, &path) else { continue };
            if self.is_running(id)? {
                continue;
            }
            findings.push(Finding::Cgroup(path.as_str().to_owned()));
            if repair {
                group.kill(KILL_TIMEOUT).map_err(failed)?;
                group.remove(KILL_TIMEOUT).map_err(failed)?;
            }
        }
        if repair {
            self.remove_empty_cgroup()?;
        }
        Ok(())
    }

    /// Removes the control group above the containers' when the last one has gone. Idempotent.
    pub(crate) fn remove_empty_cgroup(&self) -> Result<(), Error> {
        let failed = |error: container_cgroup::Error| Error::from(container_runtime::Error::from(error));
        let parent = GroupPath::new(format!("/{}", self.tables.name())).map_err(failed)?;
        let hierarchy = Hierarchy::of_host().map_err(failed)?;
        if let Ok(group) = Group::open(&hierarchy, &parent)
            && group.children().is_ok_and(|children| children.is_empty())
        {
            // a container that starts at this moment has its own group in it: then it stays
            let _ = group.remove(KILL_TIMEOUT);
        }
        Ok(())
    }

    fn check_networks(&self, repair: bool, findings: &mut Vec<Finding>) -> Result<(), Error> {
        let mut configs = Vec::new();
        let rows = self.database().networks()?;
        for row in rows {
            if row.removing {
                if repair {
                    self.finish_network_removal(&row)?;
                }
                continue;
            }
            if let NetworkDriver::Bridge(config) = driver(&row)? {
                configs.push((config, self.network_run(&row.id)));
            }
        }
        let mut live = self.living_builds()?;
        let mut locks = Vec::new();
        let rows = self.database().containers()?;
        for row in rows {
            // a start that is under way has addresses before it has a monitor
            match self.try_lock_container(&row.id)? {
                Some(lock) => {
                    if self.is_running(&row.id)? {
                        live.push(row.id);
                    }
                    locks.push(lock);
                }
                None => live.push(row.id),
            }
        }
        let networks: Vec<_> =
            configs.iter().map(|(config, directory)| (&**config, directory.as_path())).collect();
        let owners: Vec<&str> = live.iter().map(String::as_str).collect();
        for finding in container_net::check(&networks, &owners)? {
            if repair {
                container_net::repair(&finding)?;
            }
            findings.push(Finding::Network(finding));
        }
        drop(locks);
        Ok(())
    }
}

fn list(directory: &Path) -> Result<Vec<(String, PathBuf)>, Error> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Error::io("list", directory)(error)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.map_err(Error::io("list", directory))?;
        if let Ok(name) = entry.file_name().into_string() {
            found.push((name, entry.path()));
        }
    }
    Ok(found)
}

fn remove_file(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::io("remove", path)(error)),
        _ => Ok(()),
    }
}
