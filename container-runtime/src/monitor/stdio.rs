//! The process's three descriptors, or its terminal, seen from the monitor.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use container_ns::Stdio as ChildStdio;
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::termios::{Winsize, tcsetwinsize};

use super::log::Stream;

/// How much of stdin is kept for a process that does not read it.
const LARGEST_STDIN: usize = 64 << 10;

#[derive(Debug, Default)]
pub(super) struct Stdio {
    stdin: Option<OwnedFd>,
    stdout: Option<OwnedFd>,
    stderr: Option<OwnedFd>,
    terminal: Option<OwnedFd>,
    /// Stdin that the process has not taken yet.
    waiting: VecDeque<u8>,
    ending: bool,
}

/// What the process gets.
pub(super) struct Ends {
    pub(super) stdin: ChildStdio,
    pub(super) stdout: ChildStdio,
    pub(super) stderr: ChildStdio,
}

impl Stdio {
    pub(super) fn pipes(stdin_open: bool) -> io::Result<(Self, Ends)> {
        let mut own = Self::default();
        let pipe = || pipe_with(PipeFlags::CLOEXEC);
        let stdin = if stdin_open {
            let (theirs, ours) = pipe()?;
            own.stdin = Some(nonblocking(ours)?);
            ChildStdio::Descriptor(theirs)
        } else {
            ChildStdio::Null
        };
        let (ours, stdout) = pipe()?;
        own.stdout = Some(nonblocking(ours)?);
        let (ours, stderr) = pipe()?;
        own.stderr = Some(nonblocking(ours)?);
        let (stdout, stderr) = (ChildStdio::Descriptor(stdout), ChildStdio::Descriptor(stderr));
        Ok((own, Ends { stdin, stdout, stderr }))
    }

    pub(super) fn terminal(master: OwnedFd, stdin_open: bool) -> io::Result<Self> {
        let master = nonblocking(master)?;
        let stdin = if stdin_open { Some(master.try_clone()?) } else { None };
        Ok(Self { stdin, terminal: Some(master), ..Self::default() })
    }

    /// Where output comes from.
    pub(super) fn outputs(&self) -> impl Iterator<Item = (Stream, BorrowedFd<'_>)> {
        let stdout = self.terminal.as_ref().or(self.stdout.as_ref()).map(|fd| (Stream::Stdout, fd.as_fd()));
        let stderr = self.stderr.as_ref().map(|fd| (Stream::Stderr, fd.as_fd()));
        stdout.into_iter().chain(stderr)
    }

    /// Reads output; none if there is none now. At its end the descriptor is closed.
    pub(super) fn read<'b>(&mut self, stream: Stream, buffer: &'b mut [u8]) -> Option<&'b [u8]> {
        let slot = match stream {
            Stream::Stdout if self.terminal.is_some() => &mut self.terminal,
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
        };
        match rustix::io::read(slot.as_ref()?, &mut *buffer) {
            Ok(length @ 1..) => buffer.get(..length),
            Err(Errno::AGAIN | Errno::INTR) => None,
            // the end, which a terminal tells by EIO
            _ => {
                *slot = None;
                None
            }
        }
    }

    /// Where stdin goes to, if something waits to go there.
    pub(super) fn input(&self) -> Option<BorrowedFd<'_>> {
        self.stdin.as_ref().filter(|_| !self.waiting.is_empty()).map(|fd| fd.as_fd())
    }

    /// Whether clients may say more.
    pub(super) fn takes_input(&self) -> bool {
        self.waiting.len() < LARGEST_STDIN
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        if self.stdin.is_some() && !self.ending {
            self.waiting.extend(bytes);
            self.write();
        }
    }

    /// Closes a pipe once everything has gone through; a terminal stays, as in Docker.
    pub(super) fn end_input(&mut self) {
        if self.terminal.is_none() {
            self.ending = true;
            self.write();
        }
    }

    pub(super) fn write(&mut self) {
        while let Some(stdin) = self.stdin.as_ref().filter(|_| !self.waiting.is_empty()) {
            let (front, _) = self.waiting.as_slices();
            match rustix::io::write(stdin, front) {
                Ok(written) => drop(self.waiting.drain(..written)),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return,
                Err(_) => {
                    self.stdin = None;
                    self.waiting.clear();
                }
            }
        }
        if self.ending {
            self.stdin = None;
        }
    }

    pub(super) fn resize(&self, columns: u16, rows: u16) {
        if let Some(terminal) = &self.terminal {
            let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
            // the process may just have closed it
            let _ = tcsetwinsize(terminal, size);
        }
    }
}

fn nonblocking(fd: OwnedFd) -> io::Result<OwnedFd> {
    rustix::io::ioctl_fionbio(&fd, true)?;
    Ok(fd)
}
