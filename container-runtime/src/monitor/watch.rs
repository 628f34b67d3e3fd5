//! The monitor's loop.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio as StdStdio};
use std::time::{Duration, Instant};

use container_net::Attachment;
use rustix::event::{PollFd, PollFlags};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::client::Client;
use super::frame::FrameKind;
use super::health::Checker;
use super::log::{Log, Stream};
use super::network::Networks;
use super::serve::{MOST_CLIENTS, Token, wait_for};
use super::stdio::Stdio;
use super::{FromMonitor, MonitorSpec, MonitorStatus, Report};
use crate::record::write_atomic;
use crate::running::exit_code;
use crate::{Console, ContainerId, Create, Error, Running, Runtime, Signal, Signals, Timestamp, describe};

/// The first pause before a restart; it doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// A process that ran as long as this starts again after the first pause.
const LONG_RUN: Duration = Duration::from_secs(10);
/// How long clients have to read the last frames; the one of `--attach-fd` is waited for.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// A process at work.
pub(super) struct Process {
    pub(super) running: Running,
    pub(super) stdio: Stdio,
    pub(super) networks: Networks,
    pub(super) started: Instant,
    pub(super) started_at: String,
    pub(super) checker: Option<Checker>,
}

/// How a process ended.
struct Outcome {
    code: i32,
    signal: Option<i32>,
    oom_killed: bool,
    ran: Duration,
    started_at: String,
    error: Option<String>,
}

enum Phase {
    Running(Box<Process>),
    Waiting { until: Instant, last: Outcome },
    Over(Outcome),
}

pub(super) struct Monitor {
    pub(super) directory: PathBuf,
    pub(super) spec: MonitorSpec,
    pub(super) id: ContainerId,
    pub(super) runtime: Runtime,
    pub(super) stop_signal: Signal,
    pub(super) signals: Signals,
    pub(super) lock: File,
    /// The networks of the last process, which has ended.
    left: Networks,
    pub(super) listener: UnixListener,
    pub(super) log: Option<Log>,
    pub(super) clients: Vec<Client>,
    /// Asked for at the next start: as specified, later with the addresses given before.
    pub(super) attachments: Vec<Attachment>,
    pub(super) restarts: u32,
    pub(super) pause: Duration,
    pub(super) stopping: Option<Instant>,
    pub(super) killed: bool,
    pub(super) size: Option<(u16, u16)>,
    pub(super) buffer: Vec<u8>,
}

pub(super) fn read_spec(directory: &Path) -> Result<MonitorSpec, Error> {
    let path = directory.join("monitor.json");
    let bytes = fs::read(&path).map_err(Error::file("read", &path))?;
    serde_json::from_slice(&bytes).map_err(|source| Error::Json {
        kind: "monitor's specification",
        path,
        source,
    })
}

/// How long a lock that is held is tried again.
const LOCK_PATIENCE: Duration = Duration::from_millis(300);

/// Takes the lock by which everyone knows that this monitor lives.
fn take_lock(directory: &Path, id: &str) -> Result<File, Error> {
    let path = directory.join("lock");
    let file = File::options().write(true).create(true).truncate(false).mode(0o600).open(&path);
    let file = file.map_err(Error::file("open", &path))?;
    let end = Instant::now() + LOCK_PATIENCE;
    loop {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(file),
            // somebody who only looks whether a monitor lives holds it for a moment; another monitor stays
            Err(Errno::AGAIN) if Instant::now() < end => std::thread::sleep(Duration::from_millis(1)),
            Err(Errno::AGAIN) => return Err(Error::Exists { id: id.to_owned() }),
            Err(errno) => return Err(Error::file("lock", path)(errno.into())),
        }
    }
}

/// Listens at `attach.sock`, through a descriptor, as the directory's path may be too long for a socket's address.
fn listen(directory: &Path) -> Result<UnixListener, Error> {
    let path = directory.join("attach.sock");
    let open = || {
        let parent = File::open(directory)?;
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(format!("/proc/self/fd/{}/attach.sock", parent.as_raw_fd()))?;
        listener.set_nonblocking(true)?;
        Ok(listener)
    };
    open().map_err(Error::file("listen at", &path))
}

impl Monitor {
    pub(super) fn new(directory: &Path, signals: Signals, attach: Option<OwnedFd>) -> Result<Self, Error> {
        let spec = read_spec(directory)?;
        let id = ContainerId::new(spec.container_id.as_str())?;
        let stop_signal = spec.stop_signal.parse()?;
        let lock = take_lock(directory, id.as_str())?;
        let log = spec.log.as_ref().map(Log::open).transpose()?;
        let listener = listen(directory)?;
        let pid = directory.join("monitor.pid");
        write_atomic(&pid, std::process::id().to_string().as_bytes()).map_err(Error::file("write", pid))?;
        let client = attach.map(|socket| Client::new(socket, true)).transpose();
        let client = client.map_err(|errno| Error::file("use", "--attach-fd")(errno.into()))?;
        Ok(Self {
            directory: directory.to_owned(),
            runtime: Runtime::new(&spec.oci_root),
            attachments: spec.networks.clone(),
            clients: client.into_iter().collect(),
            spec,
            id,
            stop_signal,
            signals,
            lock,
            left: Networks::default(),
            listener,
            log,
            restarts: 0,
            pause: FIRST_PAUSE,
            stopping: None,
            killed: false,
            size: None,
            buffer: vec![0; 32 << 10],
        })
    }

    /// Starts the container for the first time, reports, and stays with it until it is down for good.
    pub(super) fn watch(mut self, sync: Option<OwnedFd>) -> Result<i32, Error> {
        // we hold the lock: what is left of this container is of a monitor that was killed
        let first = self.runtime.delete(&self.id, true).and_then(|_| self.start());
        let process = match first {
            Ok(process) => process,
            Err(error) => {
                self.tidy();
                report(sync, &Report::of(&error));
                self.left.finish();
                return Err(error);
            }
        };
        self.say_running(&process)?;
        report(sync, &Report::Started(process.running.pid()));
        super::null_stdio(true).map_err(Error::file("open", "/dev/null"))?;
        crate::sys::forget_code();
        let mut phase = Phase::Running(Box::new(process));
        let outcome = loop {
            phase = match phase {
                Phase::Running(process) => self.attend(*process),
                Phase::Waiting { until, last } => self.wait(until, last),
                Phase::Over(outcome) => break outcome,
            };
        };
        self.end(outcome)
    }

    fn start(&mut self) -> Result<Process, Error> {
        self.left.finish();
        let mut networks = Networks::default();
        let mut create = Create::new(&self.directory);
        create.gate = false;
        // a killed monitor leaves no container
        create.parent_death_signal = Some(libc::SIGKILL);
        let mut stdio = None;
        if self.spec.tty {
            create.console = Console::Keep;
        } else {
            let (own, ends) = Stdio::pipes(self.spec.stdin_open).map_err(Error::file("make", "pipes"))?;
            create.stdin = ends.stdin;
            create.stdout = ends.stdout;
            create.stderr = ends.stderr;
            stdio = Some(own);
        }
        let (spec, wanted, slot) = (&self.spec, &self.attachments, &mut networks);
        if !wanted.is_empty() {
            create.network = Some(Box::new(move |netns| {
                *slot = Networks::attach(netns, spec, wanted)?;
                Ok(())
            }));
        }
        let runtime = &self.runtime;
        let started = runtime.create(&self.id, create).and_then(|mut created| {
            let terminal = created.take_terminal();
            Ok((terminal, created.start()?))
        });
        let done = started.and_then(|(terminal, running)| {
            let stdio = match (stdio, terminal) {
                (Some(stdio), _) => stdio,
                (None, Some(master)) => Stdio::terminal(master, self.spec.stdin_open)
                    .map_err(Error::file("use", "the terminal"))?,
                (None, None) => return Err(Error::Terminal { reason: "no terminal came back" }),
            };
            Ok((stdio, running))
        });
        match done {
            Ok((stdio, running)) => {
                if let Some((columns, rows)) = self.size {
                    stdio.resize(columns, rows);
                }
                let started_at = Timestamp::now().to_string();
                let checker = self.spec.health.as_ref().map(Checker::new);
                Ok(Process { running, stdio, networks, started: Instant::now(), started_at, checker })
            }
            Err(error) => {
                networks.detach();
                self.left = networks;
                Err(error)
            }
        }
    }

    fn say(&self, status: &MonitorStatus) -> Result<(), Error> {
        let path = self.directory.join("status.json");
        let bytes = serde_json::to_vec(status).unwrap_or_default();
        write_atomic(&path, &bytes).map_err(Error::file("write", path))
    }

    pub(super) fn say_running(&self, process: &Process) -> Result<(), Error> {
        self.say(&MonitorStatus::Running {
            pid: process.running.pid(),
            started_at: process.started_at.clone(),
            restart_count: self.restarts,
            networks: process.networks.status(),
            health: process.checker.as_ref().map(|checker| checker.health().clone()),
        })
    }

    /// Serves a process until it has ended.
    fn attend(&mut self, mut process: Process) -> Phase {
        loop {
            let deadline = self.stopping.filter(|_| !self.killed);
            let names = process.networks.names.as_ref().and_then(container_net::names::Server::timeout);
            let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
            let check = process.checker.as_ref().map(Checker::timeout);
            let patience = [left, names, check].into_iter().flatten().min();
            let ready = self.poll(Some(&mut process), patience);
            let mut ended = false;
            for (token, flags) in ready {
                match token {
                    Token::Ended => ended = true,
                    Token::Output(stream) => drop(self.relay(&mut process.stdio, stream)),
                    Token::Input => process.stdio.write(),
                    Token::Signals => self.take_signals(Some(&process)),
                    Token::Listener => self.accept(),
                    Token::Client(index) => self.serve(index, flags, Some(&mut process)),
                    Token::Names | Token::Health => {}
                }
            }
            if let Some(server) = &mut process.networks.names {
                server.turn();
            }
            self.check_health(&mut process);
            self.dismiss(Some(&mut process));
            if deadline.is_some_and(|at| Instant::now() >= at) {
                self.killed = true;
                // if a process does not die of it, its end is waited for like any other
                let _ = process.running.signal(Signal::KILL);
                let _ = self.runtime.kill_all(&self.id, Signal::KILL);
            }
            if ended {
                let outcome = self.finish(process);
                return self.decide(outcome);
            }
        }
    }

    /// Goes on with the health check, and tells what it has learnt.
    fn check_health(&self, process: &mut Process) {
        let Some(checker) = &mut process.checker else { return };
        let before = checker.health().status;
        if !checker.turn(&self.runtime, &self.id) {
            return;
        }
        let now = checker.health().status;
        // the container goes on whether or not that can be written down
        let _ = self.say_running(process);
        if now != before {
            self.event(&format!("health_status: {}", now.name()), None);
        }
    }

    /// Serves clients until it is time to start again.
    fn wait(&mut self, until: Instant, last: Outcome) -> Phase {
        loop {
            let left = until.saturating_duration_since(Instant::now());
            for (token, flags) in self.poll(None, Some(left)) {
                match token {
                    Token::Signals => self.take_signals(None),
                    Token::Listener => self.accept(),
                    Token::Client(index) => self.serve(index, flags, None),
                    _ => {}
                }
            }
            self.dismiss(None);
            if self.stopping.is_some() || self.stop_requested() {
                return Phase::Over(last);
            }
            if Instant::now() < until {
                continue;
            }
            self.restarts += 1;
            return match self.start() {
                Ok(process) => {
                    // the process runs whether or not that can be written down
                    let _ = self.say_running(&process);
                    self.event("restart", None);
                    crate::sys::forget_code();
                    Phase::Running(Box::new(process))
                }
                Err(error) => {
                    let now = Timestamp::now().to_string();
                    let outcome = Outcome {
                        code: error.exit_code(),
                        signal: None,
                        oom_killed: false,
                        ran: Duration::ZERO,
                        started_at: now,
                        error: Some(describe(&error)),
                    };
                    // addresses that were given before may be gone
                    self.attachments.clone_from(&self.spec.networks);
                    self.decide(outcome)
                }
            };
        }
    }

    fn stop_requested(&self) -> bool {
        self.directory.join("stop-requested").exists()
    }

    fn decide(&mut self, outcome: Outcome) -> Phase {
        let again = self.stopping.is_none()
            && !self.stop_requested()
            && self.spec.restart.again(outcome.code, self.restarts);
        if !again {
            return Phase::Over(outcome);
        }
        if outcome.ran >= LONG_RUN {
            self.pause = FIRST_PAUSE;
        }
        let until = Instant::now() + self.pause;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        // a status that cannot be written does not keep the container down
        let _ = self.say(&MonitorStatus::Restarting {
            exit_code: outcome.code,
            started_at: outcome.started_at.clone(),
            finished_at: Timestamp::now().to_string(),
            restart_count: self.restarts,
            error: outcome.error.clone(),
        });
        Phase::Waiting { until, last: outcome }
    }

    /// The process has ended: takes its last words, and everything apart that was made for it.
    fn finish(&mut self, mut process: Process) -> Outcome {
        let status = process.running.wait_status();
        let (code, signal) = status.map_or((255, None), exit_code);
        let oom = self.runtime.cgroup(&self.id).ok().and_then(|group| group.oom_kills().ok().flatten());
        let mut error = self.runtime.delete(&self.id, true).err().map(|error| describe(&error));
        // nobody is left to write: what is in the pipes is all
        for stream in [Stream::Stdout, Stream::Stderr] {
            while self.relay(&mut process.stdio, stream) {}
        }
        if let Some(log) = &mut self.log
            && let Err(failed) = log.finish()
        {
            error.get_or_insert_with(|| format!("the log could not be written: {failed}"));
        }
        self.attachments = process.networks.same_again();
        process.networks.detach();
        self.left = process.networks;
        if oom.unwrap_or(0) > 0 {
            self.event("oom", None);
        }
        self.event("die", Some(code));
        Outcome {
            code,
            signal,
            oom_killed: oom.unwrap_or(0) > 0,
            ran: process.started.elapsed(),
            started_at: process.started_at,
            error,
        }
    }

    /// Removes what the monitor itself has made, save the lock's file, which others may be waiting on, and the log.
    fn tidy(&self) {
        for name in ["attach.sock", "monitor.pid"] {
            let _ = fs::remove_file(self.directory.join(name));
        }
    }

    fn end(mut self, outcome: Outcome) -> Result<i32, Error> {
        let said = self.say(&MonitorStatus::Exited {
            exit_code: outcome.code,
            signal: outcome.signal,
            oom_killed: outcome.oom_killed,
            started_at: outcome.started_at,
            finished_at: Timestamp::now().to_string(),
            restart_count: self.restarts,
            error: outcome.error,
        });
        let last = serde_json::to_vec(&FromMonitor::Exited { code: outcome.code }).unwrap_or_default();
        // those that knocked while the process was ending hear it too
        while self.clients.len() < MOST_CLIENTS {
            let before = self.clients.len();
            self.accept();
            if self.clients.len() == before {
                break;
            }
        }
        let attached = !self.clients.is_empty();
        for client in &mut self.clients {
            client.send(FrameKind::Control, &last);
        }
        self.last_words();
        self.tidy();
        // the lock goes before the command runs, which will want to see the container down
        drop(self.lock);
        // nobody waits for this
        self.left.finish();
        if !attached
            && let Some((program, rest)) = self.spec.exit_command.as_deref().and_then(<[String]>::split_first)
        {
            crate::sys::unblock_signals().map_err(Error::file("unblock", "signals"))?;
            let mut command = Command::new(program);
            command.args(rest).stdin(StdStdio::null()).stdout(StdStdio::null()).stderr(StdStdio::null());
            command.spawn().map(drop).map_err(Error::file("run", program))?;
        }
        said.map(|()| 0)
    }

    /// Sends what clients have not read yet.
    fn last_words(&mut self) {
        let end = Instant::now() + LAST_WORDS;
        loop {
            self.clients.retain(|client| client.has_queue() && !client.gone);
            let left = end.saturating_duration_since(Instant::now());
            let patient = self.clients.iter().any(|client| client.patient);
            if self.clients.is_empty() || (left.is_zero() && !patient) {
                return;
            }
            let mut fds: Vec<_> =
                self.clients.iter().map(|client| PollFd::new(client, PollFlags::OUT)).collect();
            let tokens: Vec<_> = (0..fds.len()).map(Token::Client).collect();
            let ready = wait_for(&mut fds, &tokens, if left.is_zero() { None } else { Some(left) });
            drop(fds);
            for (token, flags) in ready {
                if let Token::Client(index) = token {
                    self.serve(index, flags & !PollFlags::IN, None);
                }
            }
        }
    }
}

/// Tells whoever started the monitor how it went; one who does not listen any more is no reason to stop.
fn report(sync: Option<OwnedFd>, report: &Report) {
    if let (Some(sync), Ok(mut line)) = (sync, serde_json::to_vec(report)) {
        line.push(b'\n');
        let _ = File::from(sync).write_all(&line);
    }
}
