//! Whether a container is well: a command in it, again and again.

use std::collections::VecDeque;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use container_ns::Stdio;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use serde::{Deserialize, Serialize};

use crate::{ContainerId, Exec, Running, Runtime, Signal, Timestamp, describe};

/// How many probes are remembered, and how many bytes of what each said: as with Docker.
const REMEMBERED: usize = 5;
const MOST_OUTPUT: usize = 4096;

/// A command that tells by its exit code whether the container is well.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthSpec {
    /// The command and its arguments, run as the container's own user.
    pub test: Vec<String>,
    /// From the end of one to the start of the next, milliseconds.
    pub interval_ms: u64,
    /// One that takes longer has failed, and is killed, milliseconds.
    pub timeout_ms: u64,
    /// Failures in this time after the start do not count, milliseconds.
    pub start_period_ms: u64,
    /// In place of the interval within that time, until the first success, milliseconds.
    pub start_interval_ms: u64,
    /// So many failures in a row make the container unhealthy, at least 1.
    pub retries: u32,
}

/// What is known of a container's health.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// The verdict.
    pub status: HealthStatus,
    /// Failures since the last success.
    pub failing_streak: u32,
    /// The last probes, the newest last.
    pub log: VecDeque<HealthProbe>,
}

/// Verdict of a health check.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HealthStatus {
    /// Nothing has succeeded yet, and not enough has failed.
    #[default]
    Starting,
    /// The last probe succeeded.
    Healthy,
    /// Too many failed in a row.
    Unhealthy,
}

impl HealthStatus {
    /// Docker's word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
        }
    }
}

/// One probe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthProbe {
    /// RFC 3339.
    pub started_at: String,
    /// RFC 3339.
    pub ended_at: String,
    /// The command's; -1 if it took too long or could not be run.
    pub exit_code: i32,
    /// What it said, the first 4 KiB.
    pub output: String,
}

/// A probe under way.
struct Probe {
    running: Running,
    output: OwnedFd,
    said: Vec<u8>,
    deadline: Instant,
    started_at: String,
}

/// The checks of one process, from its start to its end.
pub(super) struct Checker {
    spec: HealthSpec,
    health: Health,
    started: Instant,
    next: Instant,
    probe: Option<Probe>,
}

impl Checker {
    pub(super) fn new(spec: &HealthSpec) -> Self {
        let now = Instant::now();
        let mut checker =
            Self { spec: spec.clone(), health: Health::default(), started: now, next: now, probe: None };
        checker.next = now + checker.pause();
        checker
    }

    pub(super) fn health(&self) -> &Health {
        &self.health
    }

    /// The number of the probe's process, which only this waits for.
    pub(super) fn pid(&self) -> i32 {
        self.probe.as_ref().map_or(0, |probe| probe.running.pid())
    }

    /// What to poll for reading.
    pub(super) fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.probe.iter().flat_map(|probe| [probe.running.as_fd(), probe.output.as_fd()])
    }

    /// How long may be polled at most.
    pub(super) fn timeout(&self) -> Duration {
        let due = self.probe.as_ref().map_or(self.next, |probe| probe.deadline);
        due.saturating_duration_since(Instant::now())
    }

    fn starting(&self) -> bool {
        self.started.elapsed() < Duration::from_millis(self.spec.start_period_ms)
    }

    fn pause(&self) -> Duration {
        let early = self.starting() && self.health.status == HealthStatus::Starting;
        Duration::from_millis(if early { self.spec.start_interval_ms } else { self.spec.interval_ms })
    }

    /// Does what is due, without waiting; true if something was learnt.
    pub(super) fn turn(&mut self, runtime: &Runtime, id: &ContainerId) -> bool {
        match self.probe.take() {
            Some(probe) => self.attend(probe),
            None if Instant::now() >= self.next => self.begin(runtime, id),
            None => false,
        }
    }

    fn begin(&mut self, runtime: &Runtime, id: &ContainerId) -> bool {
        let started_at = Timestamp::now().to_string();
        let begun = (|| {
            let (output, theirs) =
                pipe_with(PipeFlags::CLOEXEC).map_err(|errno| std::io::Error::from(errno).to_string())?;
            rustix::io::ioctl_fionbio(&output, true)
                .map_err(|errno| std::io::Error::from(errno).to_string())?;
            let error = theirs.try_clone().map_err(|error| error.to_string())?;
            let mut exec = Exec::new(self.spec.test.iter().cloned());
            exec.stdout = Stdio::Descriptor(theirs);
            exec.stderr = Stdio::Descriptor(error);
            exec.parent_death_signal = Some(libc::SIGKILL);
            let running = runtime.exec(id, exec).map_err(|error| describe(&error))?;
            Ok::<_, String>((running, output))
        })();
        match begun {
            Ok((running, output)) => {
                let deadline = Instant::now() + Duration::from_millis(self.spec.timeout_ms);
                self.probe = Some(Probe { running, output, said: Vec::new(), deadline, started_at });
                false
            }
            Err(error) => {
                self.judge(started_at, -1, error);
                true
            }
        }
    }

    fn attend(&mut self, mut probe: Probe) -> bool {
        // what is said beyond what is kept is read all the same, or the command would stop
        let mut buffer = [0; 1024];
        while let Ok(length @ 1..) = rustix::io::read(&probe.output, &mut buffer) {
            let left = MOST_OUTPUT.saturating_sub(probe.said.len()).min(length);
            probe.said.extend_from_slice(buffer.get(..left).unwrap_or_default());
        }
        if ended(&probe.running) {
            let code = probe.running.wait().unwrap_or(-1);
            let said = String::from_utf8_lossy(&probe.said).into_owned();
            self.judge(probe.started_at, code, said);
            return true;
        }
        if Instant::now() < probe.deadline {
            self.probe = Some(probe);
            return false;
        }
        // whoever has ended meanwhile needs no signal; a killed process is waited for, as its end is certain
        let _ = probe.running.signal(Signal::KILL);
        let _ = probe.running.wait();
        let patience = Duration::from_millis(self.spec.timeout_ms);
        let said =
            format!("Health check exceeded timeout ({patience:?}): {}", String::from_utf8_lossy(&probe.said));
        self.judge(probe.started_at, -1, said);
        true
    }

    fn judge(&mut self, started_at: String, exit_code: i32, output: String) {
        if exit_code == 0 {
            self.health.failing_streak = 0;
            self.health.status = HealthStatus::Healthy;
        } else if !(self.starting() && self.health.status == HealthStatus::Starting) {
            self.health.failing_streak = self.health.failing_streak.saturating_add(1);
            if self.health.failing_streak >= self.spec.retries.max(1) {
                self.health.status = HealthStatus::Unhealthy;
            }
        }
        let ended_at = Timestamp::now().to_string();
        self.health.log.push_back(HealthProbe { started_at, ended_at, exit_code, output });
        while self.health.log.len() > REMEMBERED {
            self.health.log.pop_front();
        }
        self.next = Instant::now() + self.pause();
    }
}

/// Whether a process has ended: its pidfd can be read.
fn ended(running: &Running) -> bool {
    let mut fds = [PollFd::new(running, PollFlags::IN)];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    loop {
        match poll(&mut fds, Some(&now)) {
            Err(Errno::INTR) => {}
            other => return other.is_ok_and(|count| count > 0),
        }
    }
}
