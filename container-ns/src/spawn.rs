//! The parent's side of making a process.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::execute::{self, Context, GateWait};
use crate::plan::{Parts, Plan};
use crate::report::{Message, SIZE, kind};
use crate::step::Entry;
use crate::{Error, IdMap, IdMaps, MapWriter, NamespaceKind, Setgroups, gate, sys};

/// How far the process is let go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Until {
    Meeting,
    Gate,
    Program,
}

/// A process under way.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) pid: u32,
    pub(crate) pidfd: OwnedFd,
    pub(crate) control: OwnedFd,
    pub(crate) entries: Vec<Entry>,
    pub(crate) gate: Option<PathBuf>,
    pub(crate) hook_input: Option<OwnedFd>,
    pub(crate) terminal: Option<OwnedFd>,
    pub(crate) listener: Option<OwnedFd>,
    /// Whether it must not outlive this value.
    pub(crate) ours: bool,
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.ours {
            self.end();
            self.forget_gate();
        }
    }
}

/// `work` is done as soon as the process exists; if it gives false, the process is ended.
pub(crate) fn launch(
    plan: Plan,
    until: Until,
    work: Option<&mut dyn FnMut() -> bool>,
) -> Result<Running, Error> {
    let Parts {
        entries,
        mut fds,
        proc,
        hook_input,
        floor,
        flags,
        namespaces,
        cgroup,
        second,
        id_maps,
        oom_score_adj,
        gate: gate_path,
        ..
    } = plan.0;
    let prepare =
        |what: &'static str| move |errno| Error::Prepare { what: what.to_owned(), source: sys::error(errno) };
    let (ours, theirs) = sys::socket_pair().map_err(prepare("the socket pair"))?;
    let theirs = sys::raise(theirs, floor).map_err(prepare("the socket pair"))?;
    let gate_path = if until == Until::Program { None } else { gate_path };
    let listener = gate_path.as_deref().map(|path| gate::listen(path, floor)).transpose()?;
    let guard = gate_path.map(GateFile);

    let mut keep: Vec<i32> = fds.iter().map(AsRawFd::as_raw_fd).collect();
    keep.push(theirs.as_raw_fd());
    keep.extend(listener.as_ref().map(AsRawFd::as_raw_fd));
    let gaps = gaps(keep);
    let context = Context {
        entries: &entries,
        control: theirs.as_raw_fd(),
        meeting: until == Until::Meeting,
        gate: match (&listener, until) {
            (_, Until::Program) => GateWait::Open,
            (Some(listener), _) => GateWait::Listener(listener.as_raw_fd()),
            (None, _) => GateWait::Parent,
        },
        ignored: sys::ignored_signals(),
        gaps: &gaps,
        proc: proc.unwrap_or(-1),
    };
    let mut pidfd: i32 = -1;
    // no exit signal: a process that fails before its program disturbs no SIGCHLD handler and no wait for any child.
    // execve gives it SIGCHLD, as the kernel always does
    let args = sys::CloneArgs {
        flags,
        pidfd: &raw mut pidfd as u64,
        cgroup: cgroup.map_or(0, |fd| fd as u64),
        ..sys::CloneArgs::default()
    };
    let mask = sys::signal_mask(u64::MAX);
    let cloned = sys::fork(&args, || execute::child(&context));
    sys::signal_mask(mask);
    let pid = cloned.map_err(|errno| Error::Clone {
        namespaces: if namespaces.is_empty() { "no new namespace".to_owned() } else { namespaces },
        source: sys::error(errno),
    })?;
    drop(theirs);
    drop(listener);
    let hook_input = hook_input.and_then(|input| {
        let at = fds.iter().position(|fd| fd.as_raw_fd() == input)?;
        Some(fds.swap_remove(at))
    });
    drop(fds);
    let mut running = Running {
        pid: pid as u32,
        pidfd: sys::own(pidfd),
        control: ours,
        entries,
        gate: None,
        hook_input,
        terminal: None,
        listener: None,
        ours: true,
    };
    let mut early = Vec::new();
    if second {
        running.second(&mut early)?;
    }
    if let Some(maps) = &id_maps {
        if let Some(score) = oom_score_adj {
            running.write_oom(score)?;
        }
        write_maps(running.pid, maps)?;
        running.word();
    }
    let worked = work.is_none_or(|work| work());
    if !worked {
        return Err(running.died());
    }
    if running.entries.iter().any(|entry| entry.kind == crate::StepKind::AwaitGroups) {
        running.word();
    }
    let wanted = match until {
        Until::Meeting => Some(kind::MEETING),
        Until::Gate => Some(kind::READY),
        Until::Program => None,
    };
    let mut early = early.into_iter();
    running.follow(&mut early, wanted)?;
    running.gate = guard.map(GateFile::keep);
    if until == Until::Program {
        running.ours = false;
    }
    Ok(running)
}

/// The gate's socket file, removed unless the process came as far as it was meant to.
struct GateFile(PathBuf);

impl GateFile {
    fn keep(mut self) -> PathBuf {
        std::mem::take(&mut self.0)
    }
}

impl Drop for GateFile {
    fn drop(&mut self) {
        if !self.0.as_os_str().is_empty() {
            let _ = std::fs::remove_file(&self.0);
        }
    }
}

/// Ranges of descriptors from 3 on that are none of `keep`.
fn gaps(mut keep: Vec<i32>) -> Vec<(u32, u32)> {
    keep.sort_unstable();
    keep.dedup();
    let mut gaps = Vec::with_capacity(keep.len() + 1);
    let mut next = 3u32;
    for fd in keep.into_iter().map(|fd| fd as u32).filter(|&fd| fd >= 3) {
        if fd > next {
            gaps.push((next, fd - 1));
        }
        next = fd + 1;
    }
    gaps.push((next, u32::MAX));
    gaps
}

impl Running {
    /// Says go on.
    pub(crate) fn word(&self) {
        // if it has died meanwhile, what follows will notice
        let _ = sys::send(self.control.as_raw_fd(), &[1], &[]);
    }

    fn receive(&self) -> Result<Option<(Message, Option<OwnedFd>)>, Error> {
        let mut bytes = [0; SIZE];
        let mut fds = [None, None];
        match sys::receive(self.control.as_raw_fd(), &mut bytes, &mut fds) {
            Ok(0) => Ok(None),
            // it was killed with a word of ours unread
            Err(libc::ECONNRESET) => Err(Error::Died { pid: self.pid }),
            Ok(_) => {
                let [fd, _] = fds;
                Ok(Some((Message::from_bytes(&bytes), fd)))
            }
            Err(errno) => {
                Err(Error::Process { action: "hear from", pid: self.pid, source: sys::error(errno) })
            }
        }
    }

    /// Waits for the process that the first one makes in the joined namespaces.
    fn second(&mut self, early: &mut Vec<(Message, Option<OwnedFd>)>) -> Result<(), Error> {
        loop {
            match self.receive()? {
                None => return Err(self.died()),
                Some((message, Some(pidfd))) if message.kind == kind::PROCESS => {
                    let first = std::mem::replace(&mut self.pidfd, pidfd);
                    let _ = sys::wait_pidfd(first.as_raw_fd(), true);
                    self.pid = message.step;
                    return Ok(());
                }
                // the second process may be quicker than the first
                Some((message, fd)) if message.kind != kind::FAILED => early.push((message, fd)),
                Some((message, fd)) => {
                    // a failure of the first is the end; one of the second is followed by news of it
                    let from_second = self
                        .entries
                        .iter()
                        .position(|entry| entry.kind == crate::StepKind::SecondClone)
                        .is_some_and(|at| message.step as usize > at);
                    if !from_second {
                        return Err(self.failed(&message));
                    }
                    early.push((message, fd));
                }
            }
        }
    }

    /// Follows the process until it says `wanted`, or, if that is nothing, until its program runs.
    pub(crate) fn follow(
        &mut self,
        early: &mut dyn Iterator<Item = (Message, Option<OwnedFd>)>,
        wanted: Option<u32>,
    ) -> Result<(), Error> {
        loop {
            let next = match early.next() {
                Some(next) => Some(next),
                None => self.receive()?,
            };
            let Some((message, fd)) = next else {
                // the socket is closed by execve, or by death
                return if wanted.is_none() { Ok(()) } else { Err(self.died()) };
            };
            match message.kind {
                kind::FAILED => return Err(self.failed(&message)),
                kind::TERMINAL => self.terminal = fd,
                kind::LISTENER => self.listener = fd,
                other if Some(other) == wanted => return Ok(()),
                _ => {}
            }
        }
    }

    fn failed(&mut self, message: &Message) -> Error {
        self.end();
        self.forget_gate();
        self.ours = false;
        let step = message.step as usize;
        let (kind, mut object) = self
            .entries
            .get(step)
            .map_or((crate::StepKind::Execute, String::new()), |entry| (entry.kind, entry.object.clone()));
        if message.detail > 0 {
            let word = if kind == crate::StepKind::Hook { "status" } else { "option" };
            object = format!("{object} ({word} {})", message.detail);
        }
        Error::Step {
            step,
            kind,
            object,
            call: execute::NAMES.get(message.call as usize).copied().unwrap_or("system call"),
            message: message.text(),
            source: sys::error(message.errno),
        }
    }

    fn died(&mut self) -> Error {
        self.end();
        self.forget_gate();
        self.ours = false;
        Error::Died { pid: self.pid }
    }

    /// Removes the gate's socket file.
    pub(crate) fn forget_gate(&mut self) {
        if let Some(path) = self.gate.take() {
            let _ = std::fs::remove_file(path);
        }
    }

    /// Kills and reaps.
    pub(crate) fn end(&self) {
        let _ = sys::signal_pidfd(self.pidfd.as_raw_fd(), libc::SIGKILL);
        let _ = sys::wait_pidfd(self.pidfd.as_raw_fd(), true);
    }

    fn write_oom(&self, score: i32) -> Result<(), Error> {
        write_proc_file(self.pid, "oom_score_adj", score.to_string().as_bytes()).map_err(|source| {
            Error::Prepare { what: format!("oom_score_adj {score} of process {}", self.pid), source }
        })
    }
}

/// Writes to a file of a child's directory in a verified procfs. The child is not reaped, so its number is its own.
fn write_proc_file(pid: u32, name: &str, value: &[u8]) -> io::Result<()> {
    let proc = sys::procfs().map_err(|error| match error {
        Error::Procfs { source } => source,
        other => io::Error::other(other),
    })?;
    let path = std::ffi::CString::new(format!("{pid}/{name}"))?;
    let file = sys::procfs_file(proc.as_fd(), &path, libc::O_WRONLY).map_err(sys::error)?;
    sys::write(file.as_raw_fd(), value).map_err(sys::error)?;
    Ok(())
}

/// Writes the id maps of a process in a new user namespace.
pub(crate) fn write_maps(pid: u32, maps: &IdMaps) -> Result<(), Error> {
    let error = |map: &str, source| Error::IdMap { map: map.to_owned(), pid, source };
    if maps.setgroups == Setgroups::Deny {
        write_proc_file(pid, "setgroups", b"deny").map_err(|source| error("setgroups", source))?;
    }
    match &maps.writer {
        MapWriter::Direct => {
            for (name, list) in [("uid_map", &maps.users), ("gid_map", &maps.groups)] {
                let lines: Vec<String> = list
                    .iter()
                    .map(|IdMap { inside, outside, count }| format!("{inside} {outside} {count}\n"))
                    .collect();
                let text = lines.concat();
                write_proc_file(pid, name, text.as_bytes()).map_err(|source| error(name, source))?;
            }
        }
        MapWriter::Helpers { newuidmap, newgidmap } => {
            for (helper, list) in [(newuidmap, &maps.users), (newgidmap, &maps.groups)] {
                help(helper, pid, list).map_err(|source| error(&helper.display().to_string(), source))?;
            }
        }
    }
    Ok(())
}

fn help(helper: &Path, pid: u32, list: &[IdMap]) -> io::Result<()> {
    let numbers =
        list.iter().flat_map(|map| [map.inside, map.outside, map.count]).map(|number| number.to_string());
    let output = Command::new(helper).arg(pid.to_string()).args(numbers).env_clear().output()?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(io::Error::other(format!("{}: {said}", output.status)))
}

/// The namespace of a child, for a caller that has work to do in it.
pub(crate) fn namespace_of(running: &Running, kind: NamespaceKind) -> Result<OwnedFd, Error> {
    let proc = sys::procfs()?;
    let pid = running.pid;
    sys::namespace_file(proc.as_fd(), Some(pid), kind).map_err(|source| Error::Namespace {
        kind,
        pid,
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::gaps;

    #[test]
    fn gaps_lie_between_what_is_kept() {
        assert_eq!(gaps(vec![]), [(3, u32::MAX)]);
        assert_eq!(gaps(vec![7, 3, 1, 8, 8]), [(4, 6), (9, u32::MAX)]);
        assert_eq!(gaps(vec![3, 4]), [(5, u32::MAX)]);
    }
}
