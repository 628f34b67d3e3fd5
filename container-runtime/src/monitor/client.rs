//! Attached clients: framed streams with bounded queues.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags, recv, sendmsg};

use super::frame::{Broken, FrameKind, Heard, Parser};

/// How much a client may leave unread before it is dropped, or, if it is waited for, before the process is held up.
const LARGEST_QUEUE: usize = 256 << 10;

#[derive(Debug)]
pub(crate) struct Client {
    socket: OwnedFd,
    parser: Parser,
    queue: VecDeque<u8>,
    /// Whether the process is held up for it rather than it being dropped.
    pub(crate) patient: bool,
    /// Whether the client has ended its side: it may still listen.
    pub(crate) silent: bool,
    pub(crate) gone: bool,
}

impl Client {
    pub(crate) fn new(socket: OwnedFd, patient: bool) -> Result<Self, Errno> {
        rustix::io::ioctl_fionbio(&socket, true)?;
        Ok(Self {
            socket,
            parser: Parser::default(),
            queue: VecDeque::new(),
            patient,
            silent: false,
            gone: false,
        })
    }

    pub(crate) fn has_queue(&self) -> bool {
        !self.queue.is_empty()
    }

    /// Whether the process must wait for this client.
    pub(crate) fn holds_up(&self) -> bool {
        self.patient && !self.gone && self.queue.len() >= LARGEST_QUEUE
    }

    /// Sends a frame, at once as far as the socket takes it. A client that is too far behind is dropped.
    pub(crate) fn send(&mut self, kind: FrameKind, content: &[u8]) {
        if self.gone {
            return;
        }
        let header = kind.header(content.len() as u32);
        let mut sent = 0;
        if self.queue.is_empty() {
            let parts = [IoSlice::new(&header), IoSlice::new(content)];
            match sendmsg(&self.socket, &parts, &mut SendAncillaryBuffer::default(), SendFlags::NOSIGNAL) {
                Ok(length) => sent = length,
                Err(Errno::AGAIN | Errno::INTR) => {}
                Err(_) => {
                    self.gone = true;
                    return;
                }
            }
        }
        let rest = header.iter().chain(content).skip(sent);
        self.queue.extend(rest);
        if !self.patient && self.queue.len() > LARGEST_QUEUE {
            self.gone = true;
        }
    }

    /// Sends on from the queue.
    pub(crate) fn flush(&mut self) {
        while !self.queue.is_empty() && !self.gone {
            let (front, _) = self.queue.as_slices();
            match rustix::net::send(&self.socket, front, SendFlags::NOSIGNAL) {
                Ok(sent) => drop(self.queue.drain(..sent)),
                Err(Errno::AGAIN) => return,
                Err(Errno::INTR) => {}
                Err(_) => self.gone = true,
            }
        }
        // a queue that was long once does not stay long
        self.queue = VecDeque::new();
    }

    /// Reads once and tells what was said.
    pub(crate) fn receive(&mut self, buffer: &mut [u8], hear: impl FnMut(Heard<'_>)) {
        match recv(&self.socket, &mut *buffer, RecvFlags::empty()) {
            Ok((0, _)) => self.silent = true,
            Ok((length, _)) => {
                let read = buffer.get(..length).unwrap_or_default();
                if self.parser.feed(read, hear) == Err(Broken) {
                    self.gone = true;
                }
            }
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(_) => self.gone = true,
        }
    }
}

impl AsFd for Client {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
