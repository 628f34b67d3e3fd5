use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use container_cgroup::{Group, GroupPath, Hierarchy, Limits, Stats};
use oci_spec::runtime::{Hook, Hooks, LinuxResources};
use rustix::fs::{FlockOperation, flock};

use crate::record::Record;
use crate::running::Made;
use crate::{ContainerId, Error, Signal, State, Status, hooks};

/// How long an operation waits for processes that were killed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// The containers below one directory. Several runtimes, also in several processes, may work on one directory; two
/// directories never touch each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Runtime {
    pub(crate) root: PathBuf,
}

/// The lock of one container, held until dropped.
#[derive(Debug)]
pub(crate) struct Locked {
    pub(crate) directory: PathBuf,
    _file: File,
}

impl Runtime {
    /// The containers below `root`, which is made by the first `create`.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The directory given to [`Runtime::new`].
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// What is known of a container. Takes no lock, so that hooks may ask.
    pub fn state(&self, id: &ContainerId) -> Result<State, Error> {
        let record = self.record(id)?;
        let status = self.status(id, &record);
        Ok(record.state(status))
    }

    /// All containers, by id. One that cannot be read, as it is just being made or deleted, is passed over.
    pub fn list(&self) -> Result<Vec<State>, Error> {
        let entries = match fs::read_dir(&self.root) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(Error::file("list", &self.root))?,
        };
        let ids = entries
            .filter_map(Result::ok)
            .filter_map(|entry| ContainerId::new(entry.file_name().into_string().ok()?).ok());
        let mut states: Vec<State> = ids.filter_map(|id| self.state(&id).ok()).collect();
        states.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(states)
    }

    /// Signals the container's process, created or running. A process that has ended is [`Error::Status`].
    pub fn kill(&self, id: &ContainerId, signal: Signal) -> Result<(), Error> {
        let record = self.record(id)?;
        let stopped = || Error::Status { operation: "kill", id: id.to_string(), status: Status::Stopped };
        let held = record.identity().hold()?.ok_or_else(stopped)?;
        if !held.signal(signal)? {
            return Err(stopped());
        }
        // a process frozen by version 1 dies of SIGKILL only when thawed; the group may be gone with the process by now
        if signal == Signal::KILL
            && let Ok(group) = self.group(&record)
            && group.is_frozen().unwrap_or(false)
        {
            group.thaw()?;
        }
        Ok(())
    }

    /// Signals every process of the container's group. SIGKILL misses none, and returns when all have ended. Idempotent.
    pub fn kill_all(&self, id: &ContainerId, signal: Signal) -> Result<(), Error> {
        let record = self.record(id)?;
        let group = match self.group(&record) {
            Err(Error::Cgroup(container_cgroup::Error::Missing { .. })) => return Ok(()),
            group => group?,
        };
        if signal == Signal::KILL {
            return Ok(group.kill(PATIENCE)?);
        }
        Ok(group.signal(signal.number())?)
    }

    /// The numbers of the container's processes on the host.
    pub fn processes(&self, id: &ContainerId) -> Result<Vec<i32>, Error> {
        Ok(self.group(&self.record(id)?)?.processes()?)
    }

    /// Freezes every process. Idempotent.
    pub fn pause(&self, id: &ContainerId) -> Result<(), Error> {
        let locked = self.lock(id)?;
        let record = Record::read(&locked.directory)?;
        match self.status(id, &record) {
            Status::Running | Status::Created | Status::Paused => {
                Ok(self.group(&record)?.freeze(PATIENCE)?)
            }
            status => Err(Error::Status { operation: "pause", id: id.to_string(), status }),
        }
    }

    /// Lets a paused container go on; one that is not paused is [`Error::Status`].
    pub fn resume(&self, id: &ContainerId) -> Result<(), Error> {
        let locked = self.lock(id)?;
        let record = Record::read(&locked.directory)?;
        let group = self.group(&record);
        match self.status(id, &record) {
            Status::Paused => Ok(group?.thaw()?),
            Status::Created if group.as_ref().is_ok_and(|g| g.is_frozen().unwrap_or(false)) => {
                Ok(group?.thaw()?)
            }
            status => Err(Error::Status { operation: "resume", id: id.to_string(), status }),
        }
    }

    /// Changes limits; fields that are absent stay as they are.
    pub fn update(&self, id: &ContainerId, resources: &LinuxResources) -> Result<(), Error> {
        let locked = self.lock(id)?;
        let record = Record::read(&locked.directory)?;
        match self.status(id, &record) {
            status @ (Status::Stopped | Status::Creating) => {
                Err(Error::Status { operation: "update", id: id.to_string(), status })
            }
            _ => Ok(self.group(&record)?.update(&Limits::from_oci(resources)?)?),
        }
    }

    /// What the container uses.
    pub fn stats(&self, id: &ContainerId) -> Result<Stats, Error> {
        Ok(self.group(&self.record(id)?)?.stats()?)
    }

    /// The container's control group, to watch it.
    pub fn cgroup(&self, id: &ContainerId) -> Result<Group, Error> {
        self.group(&self.record(id)?)
    }

    /// Removes what is left of a container: processes, control group, files; then runs its `poststop` hooks.
    ///
    /// One that runs is [`Error::Status`] unless forced. With `force`, one that does not exist is success, and so it is idempotent, and a half-made
    /// one is cleared away. A failing hook does not stop the deletion (`runtime.md`, "Lifecycle"); its error is in the list that is returned.
    pub fn delete(&self, id: &ContainerId, force: bool) -> Result<Vec<Error>, Error> {
        let gone = self.root.join(format!("~{id}"));
        if force {
            // what a deletion that was itself cut short has left
            let _ = fs::remove_dir_all(&gone);
        }
        let locked = match self.lock(id) {
            Err(Error::NotFound { .. }) if force => return Ok(Vec::new()),
            locked => locked?,
        };
        let record = match Record::read(&locked.directory) {
            Ok(record) => Some(record),
            Err(_) if force => None,
            Err(error) => return Err(error),
        };
        let mut warnings = Vec::new();
        if let Some(record) = &record {
            let status = self.status_locked(record);
            if !force && !matches!(status, Status::Stopped | Status::Created) {
                return Err(Error::Status { operation: "delete", id: id.to_string(), status });
            }
            self.end(id, record)?;
        }
        let state = record.as_ref().map(|record| record.state(Status::Stopped));
        let hooks = record
            .as_ref()
            .and_then(|_| crate::config::load_kept(&locked.directory).ok())
            .and_then(|s| s.hooks().clone());
        clear(&locked, &gone)?;
        if let (Some(state), Some(hooks)) = (state, hooks) {
            warnings = poststop(&state, &hooks);
        }
        Ok(warnings)
    }

    /// [`Runtime::delete`] by force of a container that this program has made, and whose process it has waited for.
    pub(crate) fn delete_ended(&self, made: &Made) -> Result<Vec<Error>, Error> {
        let locked = match self.lock(&made.id) {
            Err(Error::NotFound { .. }) => return Ok(Vec::new()),
            locked => locked?,
        };
        if Record::read(&locked.directory).ok().as_ref() != Some(&made.record) {
            // deleted, and perhaps made anew, by another
            drop(locked);
            return self.delete(&made.id, true);
        }
        end_group(&made.group)?;
        let gone = self.root.join(format!("~{}", made.id));
        let _ = fs::remove_dir_all(&gone);
        clear(&locked, &gone)?;
        let state = made.record.state(Status::Stopped);
        Ok(made.hooks.as_ref().map(|hooks| poststop(&state, hooks)).unwrap_or_default())
    }

    /// Kills what runs and removes the control group.
    pub(crate) fn end(&self, id: &ContainerId, record: &Record) -> Result<(), Error> {
        let held = record.identity().hold()?;
        if let Some(held) = &held {
            held.signal(Signal::KILL)?;
        }
        match self.group(record) {
            // as a rule nothing is left in it, and it goes at once
            Ok(group) if held.is_some() => {
                group.kill(PATIENCE)?;
                group.remove(PATIENCE)?;
            }
            Ok(group) => end_group(&group)?,
            Err(Error::Cgroup(
                container_cgroup::Error::Missing { .. } | container_cgroup::Error::NoHierarchy,
            )) => {}
            Err(error) => return Err(error),
        }
        match held {
            Some(held) if !held.wait_end(PATIENCE)? => {
                Err(Error::Stubborn { id: id.to_string(), after: PATIENCE })
            }
            _ => Ok(()),
        }
    }

    pub(crate) fn directory(&self, id: &ContainerId) -> PathBuf {
        self.root.join(id.as_str())
    }

    pub(crate) fn record(&self, id: &ContainerId) -> Result<Record, Error> {
        match Record::read(&self.directory(id)) {
            Err(Error::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                Err(Error::NotFound { id: id.to_string() })
            }
            record => record,
        }
    }

    #[expect(clippy::unused_self, reason = "a runtime's groups are its own matter, whatever it keeps later")]
    pub(crate) fn group(&self, record: &Record) -> Result<Group, Error> {
        let path = GroupPath::new(record.cgroup.as_str())?;
        Ok(Group::open(&Hierarchy::of_host()?, &path)?)
    }

    pub(crate) fn status(&self, id: &ContainerId, record: &Record) -> Status {
        if record.pid == 0 {
            // `create` holds the lock from the first file on
            let path = self.directory(id).join("lock");
            let busy = File::open(&path)
                .is_ok_and(|file| flock(&file, FlockOperation::NonBlockingLockExclusive).is_err());
            return if busy { Status::Creating } else { Status::Stopped };
        }
        self.status_locked(record)
    }

    pub(crate) fn status_locked(&self, record: &Record) -> Status {
        if record.pid == 0 || !record.identity().lives() {
            return Status::Stopped;
        }
        if !record.started {
            return Status::Created;
        }
        let frozen = match self.group(record) {
            Ok(group) => group.is_frozen().unwrap_or(false),
            Err(_) => false,
        };
        if frozen { Status::Paused } else { Status::Running }
    }

    /// Makes a container's directory and takes its lock.
    pub(crate) fn claim(&self, id: &ContainerId) -> Result<Locked, Error> {
        let directory = self.directory(id);
        let mut builder = DirBuilder::new();
        builder.mode(0o700);
        match builder.create(&directory) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Err(Error::Exists { id: id.to_string() });
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                builder.recursive(true).create(&self.root).map_err(Error::file("create", &self.root))?;
                builder.recursive(false).create(&directory).map_err(Error::file("create", &directory))?;
            }
            made => made.map_err(Error::file("create", &directory))?,
        }
        let path = directory.join("lock");
        let file = File::options().write(true).create(true).truncate(false).mode(0o600).open(&path);
        let file = file.map_err(Error::file("create", &path))?;
        flock(&file, FlockOperation::LockExclusive).map_err(|e| Error::file("lock", &path)(e.into()))?;
        Ok(Locked { directory, _file: file })
    }

    /// Takes the lock of a container that exists, waiting for whoever has it.
    pub(crate) fn lock(&self, id: &ContainerId) -> Result<Locked, Error> {
        let directory = self.directory(id);
        let path = directory.join("lock");
        let missing = || Error::NotFound { id: id.to_string() };
        if !directory.is_dir() {
            return Err(missing());
        }
        loop {
            let file = File::options().write(true).create(true).truncate(false).mode(0o600).open(&path);
            let file = match file {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(missing()),
                file => file.map_err(Error::file("open", &path))?,
            };
            match flock(&file, FlockOperation::LockExclusive) {
                Err(rustix::io::Errno::INTR) => continue,
                done => done.map_err(|e| Error::file("lock", &path)(e.into()))?,
            }
            let mine = file.metadata().map_err(Error::file("stat", &path))?.ino();
            match fs::metadata(&path) {
                Ok(now) if now.ino() == mine => return Ok(Locked { directory, _file: file }),
                // deleted, and perhaps made anew, while we waited
                Ok(_) => {}
                Err(_) => return Err(missing()),
            }
        }
    }
}

/// Removes the group of a container whose process has ended; what is left in it is killed.
fn end_group(group: &Group) -> Result<(), Error> {
    if group.remove(Duration::ZERO).is_err() {
        group.kill(PATIENCE)?;
        group.remove(PATIENCE)?;
    }
    Ok(())
}

/// Removes a container's directory, by way of a name that no container has.
fn clear(locked: &Locked, gone: &Path) -> Result<(), Error> {
    fs::rename(&locked.directory, gone).map_err(Error::file("rename", &locked.directory))?;
    fs::remove_dir_all(gone).map_err(Error::file("remove", gone))
}

fn poststop(state: &State, hooks: &Hooks) -> Vec<Error> {
    let json = serde_json::to_vec(state).unwrap_or_default();
    let one = |hook: &Hook| hooks::run("poststop", Some(&vec![hook.clone()]), &json, &state.bundle).err();
    hooks.poststop().iter().flatten().filter_map(one).collect()
}

impl Record {
    pub(crate) fn state(&self, status: Status) -> State {
        State {
            oci_version: self.oci_version.clone(),
            id: self.id.clone(),
            pid: if status == Status::Stopped { 0 } else { self.pid },
            status,
            bundle: self.bundle.clone(),
            rootfs: self.rootfs.clone(),
            created: self.created.clone(),
            annotations: self.annotations.clone(),
            owner: String::new(),
            cgroup: self.cgroup.clone(),
        }
    }
}
