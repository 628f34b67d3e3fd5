//! What the monitor does for its clients: one turn of the loop.

use std::fs::File;
use std::io::Write as _;
use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::FromMonitor;
use super::client::Client;
use super::frame::{FrameKind, Heard, ToMonitor};
use super::health::Checker;
use super::log::Stream;
use super::stdio::Stdio;
use super::watch::{Monitor, Process, read_spec};
use crate::{Error, Signal, Timestamp, describe, reap_orphans_except};

/// How many clients may be attached at once.
pub(super) const MOST_CLIENTS: usize = 32;
#[derive(Clone, Copy)]
pub(super) enum Token {
    Signals,
    Listener,
    Ended,
    Output(Stream),
    Input,
    Client(usize),
    Names,
    Health,
}

impl Monitor {
    /// Takes one piece of output to the log, then to clients; false if there is none.
    pub(super) fn relay(&mut self, stdio: &mut Stdio, stream: Stream) -> bool {
        let Some(piece) = stdio.read(stream, &mut self.buffer) else { return false };
        if let Some(log) = &mut self.log {
            // a full disk must stop neither the process nor the people who watch it
            let _ = log.write(stream, piece);
        }
        let kind = match stream {
            Stream::Stdout => FrameKind::Stdout,
            Stream::Stderr => FrameKind::Stderr,
        };
        for client in &mut self.clients {
            client.send(kind, piece);
        }
        true
    }

    pub(super) fn poll(
        &self,
        process: Option<&mut Process>,
        patience: Option<Duration>,
    ) -> Vec<(Token, PollFlags)> {
        let pidfd;
        let mut fds = Vec::with_capacity(8 + self.clients.len());
        let mut tokens = Vec::with_capacity(8 + self.clients.len());
        let mut add = |fd, token| {
            fds.push(fd);
            tokens.push(token);
        };
        add(PollFd::new(&self.signals, PollFlags::IN), Token::Signals);
        if self.clients.len() < MOST_CLIENTS {
            add(PollFd::new(&self.listener, PollFlags::IN), Token::Listener);
        }
        let takes_input = process.as_ref().is_none_or(|process| process.stdio.takes_input());
        for (index, client) in self.clients.iter().enumerate() {
            let mut flags = PollFlags::empty();
            if !client.silent && takes_input {
                flags |= PollFlags::IN;
            }
            if client.has_queue() {
                flags |= PollFlags::OUT;
            }
            add(PollFd::new(client, flags), Token::Client(index));
        }
        if let Some(process) = process {
            let process = &*process;
            pidfd = process.running.as_fd();
            add(PollFd::from_borrowed_fd(pidfd, PollFlags::IN), Token::Ended);
            if !self.clients.iter().any(Client::holds_up) {
                for (stream, fd) in process.stdio.outputs() {
                    add(PollFd::from_borrowed_fd(fd, PollFlags::IN), Token::Output(stream));
                }
            }
            if let Some(fd) = process.stdio.input() {
                add(PollFd::from_borrowed_fd(fd, PollFlags::OUT), Token::Input);
            }
            for (fd, interest) in
                process.networks.names.iter().flat_map(container_net::names::Server::descriptors)
            {
                let mut flags = PollFlags::empty();
                flags.set(PollFlags::IN, interest.read);
                flags.set(PollFlags::OUT, interest.write);
                add(PollFd::from_borrowed_fd(fd, flags), Token::Names);
            }
            for fd in process.checker.iter().flat_map(Checker::descriptors) {
                add(PollFd::from_borrowed_fd(fd, PollFlags::IN), Token::Health);
            }
            return wait_for(&mut fds, &tokens, patience);
        }
        wait_for(&mut fds, &tokens, patience)
    }

    pub(super) fn take_signals(&mut self, process: Option<&Process>) {
        while let Some(signal) = self.signals.next() {
            match signal.number() {
                libc::SIGTERM => {
                    if self.stopping.is_none() {
                        let patience = Duration::from_millis(self.spec.stop_timeout_ms);
                        self.stopping = Some(Instant::now() + patience);
                    }
                    if let Some(process) = process {
                        // one that has just ended needs no signal
                        let _ = process.running.signal(self.stop_signal);
                    }
                }
                libc::SIGCHLD => {
                    let probe = process.and_then(|process| process.checker.as_ref()).map_or(0, Checker::pid);
                    reap_orphans_except(&[process.map_or(0, |process| process.running.pid()), probe]);
                }
                // the monitor is nobody's foreground job
                _ => {}
            }
        }
    }

    pub(super) fn accept(&mut self) {
        // one that is gone before it is accepted is no loss
        if let Ok((stream, _)) = self.listener.accept()
            && let Ok(client) = Client::new(stream.into(), false)
        {
            self.clients.push(client);
        }
    }

    pub(super) fn serve(&mut self, index: usize, flags: PollFlags, process: Option<&mut Process>) {
        let Some(client) = self.clients.get_mut(index) else { return };
        if flags.contains(PollFlags::OUT) {
            client.flush();
        }
        if flags.contains(PollFlags::IN) {
            let mut reload = false;
            let mut process = process;
            let mut input = process.as_deref_mut().map(|process| (&mut process.stdio, &process.running));
            let size = &mut self.size;
            client.receive(&mut self.buffer, |heard| match (heard, &mut input) {
                (Heard::Control(ToMonitor::Reload), _) => reload = true,
                (Heard::Stdin(bytes), Some((stdio, _))) => stdio.push(bytes),
                (Heard::EndOfStdin, Some((stdio, _))) => stdio.end_input(),
                (Heard::Control(ToMonitor::Resize(columns, rows)), input) => {
                    *size = Some((columns, rows));
                    if let Some((stdio, _)) = input {
                        stdio.resize(columns, rows);
                    }
                }
                (Heard::Control(ToMonitor::Signal(number)), Some((_, running))) => {
                    if let Ok(signal) = Signal::new(number) {
                        // one that has just ended needs no signal
                        let _ = running.signal(signal);
                    }
                }
                // nobody is there to hear it
                (_, None) => {}
            });
            if reload {
                let error = self.reload(process).err().map(|error| describe(&error));
                let answer = serde_json::to_vec(&FromMonitor::Reloaded { error }).unwrap_or_default();
                if let Some(client) = self.clients.get_mut(index) {
                    client.send(FrameKind::Control, &answer);
                }
            }
        } else if flags.intersects(PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL) {
            client.gone = true;
        }
    }

    /// Takes networks, names, restarts and patience from `monitor.json` as it is now; the rest is for the next monitor.
    pub(super) fn reload(&mut self, process: Option<&mut Process>) -> Result<(), Error> {
        let new = read_spec(&self.directory)?;
        if let Some(process) = process {
            let netns = process.running.network_namespace()?;
            process.networks.follow(netns.as_fd(), &new)?;
            self.say_running(process)?;
        }
        self.attachments.clone_from(&new.networks);
        self.spec.networks = new.networks;
        self.spec.resolv = new.resolv;
        self.spec.restart = new.restart;
        self.spec.stop_timeout_ms = new.stop_timeout_ms;
        Ok(())
    }

    /// Adds a line to the engine's journal, which is no reason to fail.
    pub(super) fn event(&self, action: &str, exit_code: Option<i32>) {
        let Some(path) = &self.spec.events else { return };
        let mut attributes = self.spec.event_attributes.clone();
        if let Some(code) = exit_code {
            attributes.insert("exitCode".to_owned(), code.to_string());
        }
        let line = serde_json::json!({
            "time": Timestamp::now().to_string(), "type": "container", "action": action,
            "id": self.id.as_str(), "attributes": attributes,
        });
        let file = File::options().create(true).append(true).open(path);
        let _ = file.and_then(|mut file| file.write_all(format!("{line}\n").as_bytes()));
    }

    /// Lets go of clients that are gone.
    pub(super) fn dismiss(&mut self, process: Option<&mut Process>) {
        let before = self.clients.iter().any(|client| client.patient);
        self.clients.retain(|client| !client.gone);
        let patient_left = before && !self.clients.iter().any(|client| client.patient);
        if patient_left
            && self.spec.stdin_once
            && let Some(process) = process
        {
            process.stdio.end_input();
        }
    }
}

pub(super) fn wait_for(
    fds: &mut [PollFd<'_>],
    tokens: &[Token],
    patience: Option<Duration>,
) -> Vec<(Token, PollFlags)> {
    // rounded up, so that a deadline is over when the wait is
    let timeout = patience.map(|patience| patience + Duration::from_micros(100)).map(|patience| Timespec {
        tv_sec: patience.as_secs().cast_signed(),
        tv_nsec: i64::from(patience.subsec_nanos()),
    });
    match poll(fds, timeout.as_ref()) {
        Ok(_) => {
            let ready = fds.iter().zip(tokens).filter(|(fd, _)| !fd.revents().is_empty());
            ready.map(|(fd, token)| (*token, fd.revents())).collect()
        }
        // a signal that is not blocked, or no memory for the moment
        Err(_) => Vec::new(),
    }
}
