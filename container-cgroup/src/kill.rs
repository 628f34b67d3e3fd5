use std::fs;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::group::{children, collect};
use crate::watch::Notice;
use crate::{Controller, Error, Group, file};

impl Group {
    /// Kills every process of the group and of groups below it, and returns when none is left. Idempotent.
    ///
    /// With version 2 mounted, the kernel does it at once (`cgroup.kill`), so a fork storm has no way out; with
    /// version 1 alone, the group is frozen, killed by process descriptors and thawed, until it is empty. A frozen group is thawed.
    pub fn kill(&self, patience: Duration) -> Result<(), Error> {
        let end = Instant::now() + patience;
        let done = match self.unified_directory() {
            Some(directory) => match file::write(&directory.join("cgroup.kill"), "1") {
                Err(Error::Write { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                    return Err(Error::Missing { path: directory });
                }
                written => {
                    written?;
                    // a process that the controller of version 1 holds frozen does not die before it is thawed
                    self.thaw()?;
                    wait_empty(&directory, patience)?
                }
            },
            None => self.kill_version_1(end)?,
        };
        if done {
            return Ok(());
        }
        Err(Error::Timeout { path: self.main_directory(), what: "empty", after: patience })
    }

    /// Sends a signal to every process of the group, by process descriptors. A process born while it runs may be missed;
    /// [`Group::kill`] misses none.
    pub fn signal(&self, signal: i32) -> Result<(), Error> {
        let signal = Signal::from_named_raw(signal).ok_or_else(|| Error::Value {
            limit: "signal",
            value: signal.to_string(),
            reason: "is not a signal",
        })?;
        let directory = self.main_directory();
        for pid in self.processes()? {
            self.signal_one(&directory, pid, signal)?;
        }
        Ok(())
    }

    /// Removes the group and the groups below it from every hierarchy. Idempotent: a group that is gone is success.
    ///
    /// It kills nobody: a group with processes is [`Error::Remove`] with `EBUSY` after `patience`. Parents stay.
    pub fn remove(&self, patience: Duration) -> Result<(), Error> {
        let end = Instant::now() + patience;
        for mount in &self.hierarchy.mounts {
            let directory = self.directory(mount);
            let mut pause = Duration::from_micros(200);
            while let Err(source) = remove_tree(&directory) {
                let left = end.saturating_duration_since(Instant::now());
                if source.raw_os_error() != Some(libc::EBUSY) || left.is_zero() {
                    return Err(Error::Remove { path: directory, source });
                }
                if !self.wait_for_exits(left)? {
                    // empty already: the kernel lets go of the last process's group a moment later, without an event
                    std::thread::sleep(pause.min(left));
                    pause = (pause * 2).min(Duration::from_millis(20));
                }
            }
        }
        Ok(())
    }

    fn kill_version_1(&self, end: Instant) -> Result<bool, Error> {
        let directory = self.main_directory();
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let frozen = self.version_1(&Controller::Freezer).is_some();
            if frozen {
                // not all of them need to have stopped: those that run are killed as well
                self.freeze_version_1(left.min(Duration::from_millis(500)))?;
            }
            let pids = self.processes()?;
            let killed = pids.iter().try_for_each(|&pid| self.signal_one(&directory, pid, Signal::KILL));
            if frozen {
                self.thaw()?;
            }
            killed?;
            if pids.is_empty() {
                return Ok(true);
            }
            if left.is_zero() {
                return Ok(false);
            }
            self.wait_for_exits(left.min(Duration::from_millis(500)))?;
        }
    }

    /// Signals a process that is in the group: the descriptor is opened first, then the membership is read again, so
    /// that a number taken over by a foreign process is never signalled.
    fn signal_one(&self, directory: &Path, pid: i32, signal: Signal) -> Result<(), Error> {
        let Some(number) = Pid::from_raw(pid) else { return Ok(()) };
        let error = |source: io::Error| Error::Write {
            path: directory.join("cgroup.procs"),
            value: format!("signal to {pid}"),
            source,
        };
        let pidfd = match pidfd_open(number, PidfdFlags::empty()) {
            Ok(pidfd) => pidfd,
            Err(rustix::io::Errno::SRCH) => return Ok(()),
            Err(errno) => return Err(error(errno.into())),
        };
        if !self.processes()?.contains(&pid) {
            return Ok(());
        }
        match pidfd_send_signal(&pidfd, signal) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(errno) => Err(error(errno.into())),
        }
    }

    /// Waits until one of the group's processes has exited; false if there is none to wait for.
    fn wait_for_exits(&self, patience: Duration) -> Result<bool, Error> {
        let mut pids = Vec::new();
        for mount in &self.hierarchy.mounts {
            collect(&self.directory(mount), &mut pids)?;
        }
        let pidfds: Vec<_> = pids
            .into_iter()
            .filter_map(Pid::from_raw)
            .filter_map(|pid| pidfd_open(pid, PidfdFlags::empty()).ok())
            .collect();
        if pidfds.is_empty() {
            return Ok(false);
        }
        let mut polled: Vec<_> = pidfds.iter().map(|fd| PollFd::new(fd, PollFlags::IN)).collect();
        crate::watch::poll(&mut polled, patience)
            .map_err(|source| Error::Watch { path: self.main_directory(), source })?;
        Ok(true)
    }
}

fn wait_empty(directory: &Path, patience: Duration) -> Result<bool, Error> {
    let events = directory.join("cgroup.events");
    let mut notice = Notice::of(&events)?;
    notice.wait_until(patience, || match file::read_if_there(&events)? {
        Some(text) => Ok(file::field(&text, "populated") == Some(0)),
        None => Ok(true),
    })
}

/// Removes a directory of groups, deepest first. One that is gone is success.
pub(crate) fn remove_tree(directory: &Path) -> io::Result<()> {
    match fs::remove_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {
            let below = children(directory);
            if below.is_empty() {
                return Err(error);
            }
            below.iter().try_for_each(|child| remove_tree(child))?;
            match fs::remove_dir(directory) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                done => done,
            }
        }
        done => done,
    }
}
