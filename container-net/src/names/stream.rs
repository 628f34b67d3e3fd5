//! DNS over a stream: each message behind its length in two bytes (RFC 1035 section 4.2.2).

use std::{
    io,
    net::TcpStream,
    os::fd::{AsFd, BorrowedFd},
};

use super::{
    server::Interest,
    upstream::{read_some, write_some},
};

/// A non-blocking connection with what was read and what is still to be written.
pub(super) struct Framed {
    stream: TcpStream,
    incoming: Vec<u8>,
    outgoing: Vec<u8>,
    largest: usize,
    ended: bool,
}

impl Framed {
    /// Takes a non-blocking stream; messages longer than `largest` bytes end it.
    pub(super) fn new(stream: TcpStream, largest: usize) -> Self {
        Self { stream, incoming: Vec::new(), outgoing: Vec::new(), largest, ended: false }
    }

    pub(super) fn descriptor(&self) -> (BorrowedFd<'_>, Interest) {
        let interest = Interest { read: !self.ended && !self.full(), write: !self.outgoing.is_empty() };
        (self.stream.as_fd(), interest)
    }

    /// Whether whoever asks does not read the answers: no more is read from him.
    fn full(&self) -> bool {
        self.outgoing.len() > usize::from(u16::MAX)
    }

    /// Queues a message.
    pub(super) fn push(&mut self, packet: &[u8]) {
        let length = packet.len().min(usize::from(u16::MAX));
        self.outgoing.extend_from_slice(&(length as u16).to_be_bytes());
        self.outgoing.extend_from_slice(packet.get(..length).unwrap_or_default());
    }

    /// Writes and reads what can be at once.
    pub(super) fn turn(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        write_some(&mut self.stream, &mut self.outgoing)?;
        if !self.ended && !self.full() {
            self.ended = read_some(&mut self.stream, &mut self.incoming, self.largest + 2, buffer)?;
        }
        if self.announced().is_some_and(|length| length > self.largest) {
            return Err(io::ErrorKind::InvalidData.into());
        }
        Ok(())
    }

    fn announced(&self) -> Option<usize> {
        let [high, low] = *self.incoming.first_chunk()?;
        Some(usize::from(u16::from_be_bytes([high, low])))
    }

    /// The next whole message.
    pub(super) fn take(&mut self) -> Option<Vec<u8>> {
        let length = self.announced()?;
        let packet = self.incoming.get(2..2 + length)?.to_vec();
        self.incoming.drain(..2 + length);
        Some(packet)
    }

    /// Whether the other side sends no more.
    pub(super) fn ended(&self) -> bool {
        self.ended
    }

    /// Whether everything that was queued is sent.
    pub(super) fn flushed(&self) -> bool {
        self.outgoing.is_empty()
    }
}
