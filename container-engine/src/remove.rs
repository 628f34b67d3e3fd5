use std::fs;
use std::io;

use container_image::remove_tree;
use container_runtime::monitor::MonitorSpec;

use crate::containers::{Phase, container_id};
use crate::database::ContainerRow;
use crate::{Engine, Error};

/// How a container is removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RemoveOptions {
    /// A container that runs is killed first.
    pub force: bool,
    /// Its anonymous volumes go too.
    pub volumes: bool,
}

impl Engine {
    /// Removes a container with all it has written outside volumes. What is interrupted in the middle, the next
    /// command finishes.
    ///
    /// # Errors
    ///
    /// [`Error::ContainerRunning`] unless forced.
    pub async fn remove_container(&self, text: &str, options: RemoveOptions) -> Result<(), Error> {
        let row = self.find_row(text)?;
        if self.phase(&row)?.is_running() {
            if !options.force {
                let hint = "stop the container before removing it, or force the removal";
                return Err(Error::ContainerRunning { name: row.name, hint });
            }
            self.kill_hard(&row).await?;
        }
        let _lock = loop {
            let lock = self.lock_container(&row.id)?;
            if !self.is_running(&row.id)? {
                break lock;
            }
            drop(lock);
            if self.phase(&row)?.is_running() {
                let hint = "it was started meanwhile";
                return Err(Error::ContainerRunning { name: row.name, hint });
            }
            // its monitor has told how it ended, and is on its way out
            self.ended(&row.id).await?;
        };
        self.database().mark_removing(&row.id)?;
        self.finish_removal(&row, options.volumes || row.auto_remove)
    }

    /// The rest of a removal, whatever part of it was done before. The caller holds the container's lock.
    pub(crate) fn finish_removal(&self, row: &ContainerRow, volumes: bool) -> Result<(), Error> {
        self.settle(row)?;
        for directory in [self.container_run(&row.id), self.container_root(&row.id)] {
            remove_tree(&directory).map_err(Error::io("remove", &directory))?;
        }
        self.secrets().remove(&row.id)?;
        self.release_volumes(&row.id, volumes)?;
        self.database().remove_container(&row.id)?;
        if self.database().containers()?.is_empty() {
            self.remove_empty_cgroup()?;
        }
        let lock = self.config.run_root.join("locks").join(&row.id);
        match fs::remove_file(&lock) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(Error::io("remove", lock)(error));
            }
            _ => {}
        }
        self.events.record("container", "destroy", &row.id, &[("name", &row.name), ("image", &row.image)])
    }

    /// Clears away what a container that does not run may still have: processes, its cgroup, interfaces,
    /// addresses, published ports and names. The caller holds the container's lock. Idempotent.
    pub(crate) fn settle(&self, row: &ContainerRow) -> Result<(), Error> {
        let run = self.container_run(&row.id);
        if !run.exists() {
            // after a restart of the machine the notes of mounts are left
            return self.unmount_volumes(row);
        }
        self.runtime.delete(&container_id(&row.id)?, true)?;
        self.unmount_volumes(row)?;
        match fs::read(run.join("monitor.json")) {
            Ok(bytes) => {
                if let Ok(spec) = serde_json::from_slice::<MonitorSpec>(&bytes) {
                    for attachment in &spec.networks {
                        container_net::detach(attachment)?;
                    }
                }
            }
            // killed before the monitor's orders were written: only addresses can be leased
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(Error::io("read", run)(error)),
        }
        self.release_leases(&row.id)?;
        for name in ["stop-requested", "attach.sock"] {
            let path = run.join(name);
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(Error::io("remove", path)(error));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Finishes the removals that somebody began, and removes containers that ended and were to go by themselves.
    pub(crate) fn finish_removals(&self) -> Result<(), Error> {
        let rows = self.database().containers()?;
        for row in rows.iter().filter(|row| row.removing || row.auto_remove) {
            if !row.removing && !matches!(self.phase(row)?, Phase::Exited(_)) {
                continue;
            }
            let Some(_lock) = self.try_lock_container(&row.id)? else { continue };
            if self.is_running(&row.id)? || self.find_row(&row.id).is_err() {
                continue;
            }
            self.database().mark_removing(&row.id)?;
            self.finish_removal(row, row.auto_remove)?;
        }
        let networks = self.database().networks()?;
        for row in networks.iter().filter(|row| row.removing) {
            self.finish_network_removal(row)?;
        }
        Ok(())
    }
}
