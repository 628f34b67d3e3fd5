use std::{
    collections::HashMap,
    fmt, io,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket},
    os::fd::{AsFd, BorrowedFd},
    path::Path,
    time::{Duration, Instant},
};

use super::{
    Directory,
    message::{self, A, AAAA, ANY, Answer, Incoming, PTR_TYPE, Query},
    stream::Framed,
    upstream::{Pending, Progress},
};
use crate::{
    Error, Result, namespace,
    nft::{self, Netfilter},
};

/// Questions under way to upstream servers, at most.
const PENDING: usize = 64;
/// Of these, by TCP: each may hold an answer of 64 KiB.
const PENDING_TCP: usize = 8;
/// Open connections of clients, at most; a further one takes the place of the one that was silent for longest.
const CONNECTIONS: usize = 16;
/// How long a client may be silent.
const IDLE: Duration = Duration::from_secs(10);
/// Longest question, in bytes.
const LONGEST_QUESTION: usize = 4096;
/// Packets taken in one turn, so that a flood does not keep the owner's loop.
const PER_TURN: usize = 64;

/// What a descriptor is to be polled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interest {
    /// Until it can be read.
    pub read: bool,
    /// Until it can be written.
    pub write: bool,
}

/// Whom an answer goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Client {
    Udp(SocketAddr),
    Tcp(u64),
}

struct Connection {
    number: u64,
    stream: Framed,
    last: Instant,
}

/// The name server of one container, at 127.0.0.11 port 53 inside its namespace.
///
/// It listens on high ports, to which rules inside the namespace redirect port 53: the container may itself bind
/// port 53 on all its addresses. Questions for names of the container's networks are answered at once; others go to the upstream servers
/// by sockets of the namespace that calls [`turn`](Server::turn), while everything else goes on. Without an upstream
/// such names do not exist.
///
/// Bounded in every respect: 64 questions under way, 16 connections, messages of 4 KiB from the container.
/// Dropping it closes the sockets; the rules stay with the namespace and are replaced by the next `bind`.
pub struct Server {
    udp: UdpSocket,
    tcp: TcpListener,
    /// That of the rules inside; kept open because closing it waits.
    _netfilter: Netfilter,
    directory: Directory,
    links: HashMap<String, String>,
    linked: Directory,
    upstream: Vec<SocketAddr>,
    pending: Vec<Pending>,
    connections: Vec<Connection>,
    numbers: u64,
    buffer: Vec<u8>,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("udp", &self.udp)
            .field("tcp", &self.tcp)
            .field("upstream", &self.upstream)
            .field("pending", &self.pending.len())
            .field("connections", &self.connections.len())
            .finish_non_exhaustive()
    }
}

impl Server {
    /// Where a container's `resolv.conf` points to.
    pub const ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 11);

    /// Opens the sockets inside the namespace and sets the rules there. `state_dirs` are those of the container's
    /// networks, the most important first. The loopback interface inside must be up to be of use.
    pub fn bind<P: AsRef<Path>>(
        netns: BorrowedFd<'_>,
        state_dirs: impl IntoIterator<Item = P>,
        upstream: Vec<SocketAddr>,
    ) -> Result<Self> {
        let (udp, tcp, netfilter) = namespace::within(netns, || {
            let failed = |e: io::Error| Error::kernel("bind 127.0.0.11 inside the namespace", e);
            let udp = UdpSocket::bind((Self::ADDRESS, 0)).map_err(failed)?;
            let tcp = TcpListener::bind((Self::ADDRESS, 0)).map_err(failed)?;
            udp.set_nonblocking(true).map_err(failed)?;
            tcp.set_nonblocking(true).map_err(failed)?;
            let ports = (udp.local_addr().map_err(failed)?.port(), tcp.local_addr().map_err(failed)?.port());
            let mut netfilter = Netfilter::open()?;
            netfilter.commit(vec![nft::names_batch("dunnage", Self::ADDRESS, ports.0, ports.1)])?;
            Ok((udp, tcp, netfilter))
        })?;
        Ok(Self {
            udp,
            tcp,
            _netfilter: netfilter,
            directory: Directory::new(state_dirs),
            links: HashMap::new(),
            linked: Directory::new(std::iter::empty::<&Path>()),
            upstream,
            pending: Vec::new(),
            connections: Vec::new(),
            numbers: 0,
            buffer: vec![0; 65_536],
        })
    }

    /// Makes aliases stand for other names, for this container alone (`--link name:alias`), instead of those before. The names
    /// are looked up in the networks of `state_dirs`, which need not be among those whose every name is known.
    pub fn set_links<'a, P: AsRef<Path>>(
        &mut self,
        links: impl IntoIterator<Item = (&'a str, &'a str)>,
        state_dirs: impl IntoIterator<Item = P>,
    ) {
        self.links = links.into_iter().map(|(alias, name)| (alias.to_lowercase(), name.to_owned())).collect();
        self.linked = Directory::new(state_dirs);
    }

    /// Takes other networks, as the container joins or leaves one.
    pub fn set_networks<P: AsRef<Path>>(&mut self, state_dirs: impl IntoIterator<Item = P>) {
        self.directory = Directory::new(state_dirs);
    }

    /// What to poll for. It changes with every turn.
    pub fn descriptors(&self) -> Vec<(BorrowedFd<'_>, Interest)> {
        let read = Interest { read: true, write: false };
        let mut all = vec![(self.udp.as_fd(), read), (self.tcp.as_fd(), read)];
        all.extend(self.connections.iter().map(|c| c.stream.descriptor()));
        all.extend(self.pending.iter().map(Pending::descriptor));
        all
    }

    /// How long may be polled at most until the next [`turn`](Server::turn) is due; none for ever.
    pub fn timeout(&self) -> Option<Duration> {
        let pending = self.pending.iter().map(|p| p.deadline);
        let idle = self.connections.iter().map(|c| c.last + IDLE);
        let next = pending.chain(idle).min()?;
        Some(next.saturating_duration_since(Instant::now()))
    }

    /// Does whatever can be done now, and never blocks. Faults of clients and upstream servers are no errors.
    pub fn turn(&mut self) {
        self.take_packets();
        self.take_connections();
        self.serve_connections();
        self.serve_pending();
        // answers that were just made
        self.flush_connections();
    }

    fn take_packets(&mut self) {
        for _ in 0..PER_TURN {
            match self.udp.recv_from(&mut self.buffer) {
                Ok((length, from)) => {
                    let packet = self.buffer.get(..length).unwrap_or_default().to_vec();
                    self.handle(&packet, Client::Udp(from));
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                // a client that was gone when the answer came
                Err(_) => {}
            }
        }
    }

    fn take_connections(&mut self) {
        for _ in 0..PER_TURN {
            let Ok((stream, _)) = self.tcp.accept() else { break };
            if stream.set_nonblocking(true).is_err() {
                continue;
            }
            if self.connections.len() >= CONNECTIONS {
                let oldest = self.connections.iter().enumerate().min_by_key(|(_, c)| c.last).map(|(n, _)| n);
                if let Some(position) = oldest {
                    self.close(position);
                }
            }
            self.numbers += 1;
            let stream = Framed::new(stream, LONGEST_QUESTION);
            self.connections.push(Connection { number: self.numbers, stream, last: Instant::now() });
        }
    }

    fn close(&mut self, position: usize) {
        let gone = self.connections.swap_remove(position);
        self.pending.retain(|p| p.client != Client::Tcp(gone.number));
    }

    fn serve_connections(&mut self) {
        let mut position = 0;
        while let Some(connection) = self.connections.get_mut(position) {
            let (number, failed) = (connection.number, connection.stream.turn(&mut self.buffer).is_err());
            let mut packets = Vec::new();
            while let Some(packet) = connection.stream.take() {
                connection.last = Instant::now();
                packets.push(packet);
            }
            let (ended, flushed) = (connection.stream.ended(), connection.stream.flushed());
            let idle = connection.last.elapsed() >= IDLE;
            for packet in packets {
                self.handle(&packet, Client::Tcp(number));
            }
            let waiting = self.pending.iter().any(|p| p.client == Client::Tcp(number));
            let answered = self.connections.get(position).is_some_and(|c| c.stream.flushed());
            if failed || idle || (ended && flushed && answered && !waiting) {
                self.close(position);
            } else {
                position += 1;
            }
        }
    }

    fn flush_connections(&mut self) {
        let mut position = 0;
        while let Some(connection) = self.connections.get_mut(position) {
            if !connection.stream.flushed() && connection.stream.turn(&mut self.buffer).is_err() {
                self.close(position);
            } else {
                position += 1;
            }
        }
    }

    fn serve_pending(&mut self) {
        let now = Instant::now();
        let mut position = 0;
        while let Some(pending) = self.pending.get_mut(position) {
            match pending.progress(&mut self.buffer) {
                Progress::Waiting if now < pending.deadline => position += 1,
                Progress::Waiting | Progress::Failed => {
                    if pending.next(&self.upstream) {
                        position += 1;
                    } else {
                        let gone = self.pending.swap_remove(position);
                        self.answer(gone.client, &gone.query, &Answer::Failure);
                    }
                }
                Progress::Answer(packet) => {
                    let done = self.pending.swap_remove(position);
                    let long = matches!(done.client, Client::Udp(_)) && packet.len() > done.query.limit;
                    let packet = if long { message::cut(&packet, &done.query) } else { packet };
                    self.send(done.client, &packet);
                }
            }
        }
    }

    fn handle(&mut self, packet: &[u8], client: Client) {
        let query = match message::read(packet) {
            Incoming::Ignore => return,
            Incoming::Refuse(reply) => return self.send(client, &reply),
            Incoming::Query(query) => query,
        };
        if let Some(answer) = self.local(&query) {
            return self.answer(client, &query, &answer);
        }
        if self.upstream.is_empty() {
            return self.answer(client, &query, &Answer::NoSuchName);
        }
        // a client that asks again while its question is under way waits for the same answer
        if self.pending.iter().any(|p| p.client == client && p.query == query) {
            return;
        }
        let tcp = self.pending.iter().filter(|p| p.is_tcp()).count();
        let full = self.pending.len() >= PENDING || (matches!(client, Client::Tcp(_)) && tcp >= PENDING_TCP);
        let started = if full || packet.len() > LONGEST_QUESTION {
            None
        } else {
            Pending::start(client, query.clone(), packet, &self.upstream)
        };
        match started {
            Some(pending) => self.pending.push(pending),
            None => self.answer(client, &query, &Answer::Failure),
        }
    }

    /// What is answered from here; none for what is the world's. A name that is both is ours.
    fn local(&mut self, query: &Query) -> Option<Answer> {
        let name = query.name.as_deref().unwrap_or_default().to_lowercase();
        let linked = self.links.get(&name).and_then(|target| self.linked.lookup(target));
        known(&mut self.directory, query, linked)
    }

    fn answer(&mut self, client: Client, query: &Query, answer: &Answer) {
        let limit = match client {
            Client::Udp(_) => query.limit,
            Client::Tcp(_) => usize::from(u16::MAX),
        };
        if let Some(packet) = message::reply(query, answer, limit) {
            self.send(client, &packet);
        }
    }

    fn send(&mut self, client: Client, packet: &[u8]) {
        match client {
            // a client that is gone, or does not read, has lost its answer as UDP may
            Client::Udp(to) => drop(self.udp.send_to(packet, to)),
            Client::Tcp(number) => {
                if let Some(connection) = self.connections.iter_mut().find(|c| c.number == number) {
                    connection.stream.push(packet);
                }
            }
        }
    }
}

/// What a server that knows nothing but a directory answers to a packet over UDP (RFC 1035); None where nothing is said, as to what is
/// no question. Pure, but for the directory's files.
pub fn answer(packet: &[u8], directory: &mut Directory) -> Option<Vec<u8>> {
    match message::read(packet) {
        Incoming::Ignore => None,
        Incoming::Refuse(reply) => Some(reply),
        Incoming::Query(query) => {
            let answer = known(directory, &query, None).unwrap_or(Answer::NoSuchName);
            message::reply(&query, &answer, query.limit)
        }
    }
}

/// What a directory says to a question; `linked` are addresses that the name has for the asking container alone.
fn known(directory: &mut Directory, query: &Query, linked: Option<Vec<IpAddr>>) -> Option<Answer> {
    if query.class != 1 && query.class != ANY {
        return None;
    }
    let name = query.name.as_deref()?;
    if query.kind == PTR_TYPE
        && let Some(address) = message::reverse_address(name)
    {
        return directory.reverse(address).map(Answer::Name);
    }
    let mut addresses = match linked {
        Some(addresses) => addresses,
        None => directory.lookup(name)?,
    };
    addresses.retain(|address| match query.kind {
        A => address.is_ipv4(),
        AAAA => address.is_ipv6(),
        kind => kind == ANY,
    });
    Some(Answer::Addresses(addresses))
}
