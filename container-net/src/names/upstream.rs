//! Questions under way to the upstream servers. Each has a socket of its own: a port the kernel chose, and only the
//! server asked can answer.

use std::{
    io::{self, Read, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket},
    os::fd::{AsFd, BorrowedFd},
    time::{Duration, Instant},
};

use rustix::net::{AddressFamily, SocketFlags, SocketType};

use super::{
    message::{self, Query},
    server::{Client, Interest},
    stream::Framed,
};

/// How long one server may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// How many servers are asked for one question, over all rounds.
const ATTEMPTS: usize = 4;

enum Way {
    Udp(UdpSocket),
    Tcp(Framed),
}

/// A question that waits for its answer.
pub(super) struct Pending {
    pub(super) client: Client,
    pub(super) query: Query,
    raw: Vec<u8>,
    id: u16,
    way: Way,
    attempt: usize,
    pub(super) deadline: Instant,
}

pub(super) enum Progress {
    Waiting,
    Answer(Vec<u8>),
    Failed,
}

impl Pending {
    /// Sends a question to the first server that can be sent to.
    pub(super) fn start(client: Client, query: Query, raw: &[u8], upstream: &[SocketAddr]) -> Option<Self> {
        for attempt in 0..ATTEMPTS {
            if let Some((way, id)) = open(client, raw, upstream, attempt) {
                let deadline = Instant::now() + PATIENCE;
                return Some(Self { client, query, raw: raw.to_vec(), id, way, attempt, deadline });
            }
        }
        None
    }

    /// Asks the next server; false if there is none left.
    pub(super) fn next(&mut self, upstream: &[SocketAddr]) -> bool {
        while self.attempt + 1 < ATTEMPTS {
            self.attempt += 1;
            if let Some((way, id)) = open(self.client, &self.raw, upstream, self.attempt) {
                (self.way, self.id) = (way, id);
                self.deadline = Instant::now() + PATIENCE;
                return true;
            }
        }
        false
    }

    pub(super) fn descriptor(&self) -> (BorrowedFd<'_>, Interest) {
        match &self.way {
            Way::Udp(socket) => (socket.as_fd(), Interest { read: true, write: false }),
            Way::Tcp(stream) => stream.descriptor(),
        }
    }

    /// Reads what has come. `buffer` is scratch space.
    pub(super) fn progress(&mut self, buffer: &mut [u8]) -> Progress {
        match &mut self.way {
            // strangers' packets do not arrive at a connected socket; a few false ones from the server are passed over
            Way::Udp(socket) => {
                for _ in 0..16 {
                    match socket.recv(buffer) {
                        Ok(length) => {
                            let packet = buffer.get(..length).unwrap_or_default();
                            if let Some(answer) = message::accept(packet, self.id, &self.query) {
                                return Progress::Answer(answer);
                            }
                        }
                        Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Progress::Waiting,
                        Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                        Err(_) => return Progress::Failed,
                    }
                }
                Progress::Waiting
            }
            Way::Tcp(stream) => {
                if stream.turn(buffer).is_err() {
                    return Progress::Failed;
                }
                match stream.take() {
                    Some(packet) => message::accept(&packet, self.id, &self.query)
                        .map_or(Progress::Failed, Progress::Answer),
                    None if stream.ended() => Progress::Failed,
                    None => Progress::Waiting,
                }
            }
        }
    }

    pub(super) fn is_tcp(&self) -> bool {
        matches!(self.way, Way::Tcp(_))
    }
}

fn open(client: Client, raw: &[u8], upstream: &[SocketAddr], attempt: usize) -> Option<(Way, u16)> {
    let server = *upstream.get(attempt.checked_rem(upstream.len())?)?;
    let mut id = [0; 2];
    rustix::rand::getrandom(&mut id, rustix::rand::GetRandomFlags::empty()).ok()?;
    let id = u16::from_be_bytes(id);
    let packet = message::with_id(raw, id);
    let way = match client {
        Client::Udp(_) => {
            let any: IpAddr =
                if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
            let socket = UdpSocket::bind((any, 0)).ok()?;
            socket.set_nonblocking(true).ok()?;
            socket.connect(server).ok()?;
            socket.send(&packet).ok()?;
            Way::Udp(socket)
        }
        Client::Tcp(_) => {
            let family = if server.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None).ok()?;
            match rustix::net::connect(&socket, &server) {
                Ok(()) | Err(rustix::io::Errno::INPROGRESS) => {}
                Err(_) => return None,
            }
            let mut stream = Framed::new(TcpStream::from(socket), usize::from(u16::MAX));
            stream.push(&packet);
            Way::Tcp(stream)
        }
    };
    Some((way, id))
}

/// Reads without blocking until nothing is left, the other side ended, or `most` bytes are there.
pub(super) fn read_some(
    stream: &mut TcpStream,
    into: &mut Vec<u8>,
    most: usize,
    buffer: &mut [u8],
) -> io::Result<bool> {
    while into.len() < most {
        let room = buffer.len().min(most - into.len());
        match stream.read(buffer.get_mut(..room).unwrap_or_default()) {
            Ok(0) => return Ok(true),
            Ok(length) => into.extend_from_slice(buffer.get(..length).unwrap_or_default()),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            // a connection that is still being made
            Err(e) if e.kind() == io::ErrorKind::NotConnected => return Ok(false),
            Err(e) => return Err(e),
        }
    }
    Ok(false)
}

/// Writes without blocking what can be written.
pub(super) fn write_some(stream: &mut TcpStream, from: &mut Vec<u8>) -> io::Result<()> {
    while !from.is_empty() {
        match stream.write(from) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(length) => drop(from.drain(..length.min(from.len()))),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::NotConnected) => break,
            Err(e) => return Err(e),
        }
    }
    Ok(())
}
