//! Staying with a process: signals, terminal, exit code.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};

use container_runtime::{Running, Signals, WindowSize, reap_orphans_except};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr, tcsetwinsize};

use super::Failure;

pub(crate) struct Foreground {
    signals: Signals,
}

/// Orphans of the container come to this program instead of the host's first process.
pub(crate) fn become_subreaper() -> Result<(), Failure> {
    rustix::process::set_child_subreaper(rustix::process::Pid::from_raw(std::process::id().cast_signed()))
        .map_err(|errno| Failure::io("become a subreaper")(errno.into()))
}

/// Raw mode of the person's terminal, undone when dropped.
struct Raw {
    before: Termios,
}

impl Raw {
    fn enter() -> Option<Self> {
        let stdin = io::stdin();
        let before = tcgetattr(&stdin).ok()?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(&stdin, OptionalActions::Now, &raw).ok()?;
        Some(Self { before })
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // a terminal that is gone needs no restoring
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.before);
    }
}

impl Foreground {
    /// From here on signals are kept for [`Foreground::attend`].
    pub(crate) fn prepare() -> Result<Self, Failure> {
        Ok(Self { signals: Signals::block().map_err(Failure::io("receive signals"))? })
    }

    /// Forwards signals and terminal until the process ends; gives its exit code, 128 + n for signal n.
    pub(crate) fn attend(self, child: &mut Running, terminal: Option<&OwnedFd>) -> Result<i32, Failure> {
        let failed = |errno: Errno| Failure::io("attend to the process")(errno.into());
        let _raw = terminal.and_then(|_| Raw::enter());
        let stdin = io::stdin();
        let mut from_person = terminal.is_some();
        let mut from_process = terminal.is_some();
        if let Some(master) = terminal {
            // it has its size; but for a change since
            resize(master);
        }
        let mut buffer = vec![0; if terminal.is_some() { 16 << 10 } else { 0 }];
        loop {
            let mut polled = vec![PollFd::new(&self.signals, PollFlags::IN)];
            let pidfd = child.as_fd();
            polled.push(PollFd::new(&pidfd, PollFlags::IN));
            if let Some(master) = terminal {
                let interest = if from_process { PollFlags::IN } else { PollFlags::empty() };
                polled.push(PollFd::new(master, interest));
            }
            if from_person {
                polled.push(PollFd::new(&stdin, PollFlags::IN));
            }
            match poll(&mut polled, None) {
                Err(Errno::INTR) => continue,
                done => done.map_err(failed)?,
            };
            let ready: Vec<bool> = polled.iter().map(|fd| !fd.revents().is_empty()).collect();
            let ready = |index: usize| ready.get(index).copied().unwrap_or(false);
            if let Some(master) = terminal {
                if ready(2) && from_process {
                    from_process = copy(master, io::stdout(), &mut buffer);
                }
                if ready(3) && from_person {
                    from_person = copy(&stdin, master, &mut buffer);
                }
            }
            while let Some(signal) = self.signals.next() {
                match signal.number() {
                    libc::SIGWINCH if terminal.is_some() => terminal.into_iter().for_each(resize),
                    // about this program's own children and its place in its terminal
                    libc::SIGCHLD | libc::SIGTTIN | libc::SIGTTOU => {}
                    _ => drop(child.signal(signal)?),
                }
            }
            if ready(1) {
                let code = child.wait()?;
                if let Some(master) = terminal {
                    // what it still said before it ended
                    let _ = rustix::io::ioctl_fionbio(master, true);
                    while from_process && copy(master, io::stdout(), &mut buffer) {}
                }
                reap_orphans_except(&[]);
                return Ok(code);
            }
            // the process itself is waited for by its descriptor; orphans have none
            reap_orphans_except(&[child.pid()]);
        }
    }
}

/// The size of the person's terminal, if stdin is one: the process's terminal has it before its program starts.
pub(crate) fn window() -> Option<WindowSize> {
    let size = tcgetwinsize(io::stdin()).ok()?;
    Some(WindowSize { columns: size.ws_col, rows: size.ws_row })
}

fn resize(master: &OwnedFd) {
    if let Ok(size) = tcgetwinsize(io::stdin()) {
        let _ = tcsetwinsize(master, size);
    }
}

/// Copies what is there; false when the source has ended or the target is gone.
fn copy(from: impl std::os::fd::AsFd, to: impl std::os::fd::AsFd, buffer: &mut [u8]) -> bool {
    let length = match rustix::io::read(&from, &mut *buffer) {
        Ok(0) => return false,
        Ok(length) => length,
        Err(Errno::INTR) => return true,
        Err(_) => return false,
    };
    let mut rest = buffer.get(..length).unwrap_or_default();
    while !rest.is_empty() {
        match rustix::io::write(&to, rest) {
            Ok(written) => rest = rest.get(written..).unwrap_or_default(),
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => {
                let _ = poll(&mut [PollFd::new(&to, PollFlags::OUT)], None);
            }
            Err(_) => return false,
        }
    }
    true
}
