//! The name service, asked from inside containers.

mod world;

use std::{
    io::{Read, Write},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    path::PathBuf,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use container_net::{attach, detach, names::Server};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use world::{Namespace, PATIENCE, World};

/// Drives a server as its owner's poll loop would.
struct Driven {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Server>>,
}

impl Driven {
    fn new(mut server: Server) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let flag = stop.clone();
        let thread = std::thread::spawn(move || {
            while !flag.load(Ordering::Relaxed) {
                let most =
                    server.timeout().unwrap_or(Duration::from_millis(50)).min(Duration::from_millis(50));
                let limit = Timespec { tv_sec: 0, tv_nsec: i64::from(most.subsec_nanos()) };
                let descriptors = server.descriptors();
                let mut polled: Vec<PollFd<'_>> = descriptors
                    .iter()
                    .map(|(fd, interest)| {
                        let mut flags = PollFlags::empty();
                        flags.set(PollFlags::IN, interest.read);
                        flags.set(PollFlags::OUT, interest.write);
                        PollFd::from_borrowed_fd(*fd, flags)
                    })
                    .collect();
                let _ = poll(&mut polled, Some(&limit));
                drop(polled);
                drop(descriptors);
                server.turn();
            }
            server
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Driven {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Town {
    world: World,
    asker: world::Container,
    dirs: Vec<PathBuf>,
}

impl Town {
    /// A network with containers `asker`, `redis` (v4 and v6) and two called `web`.
    fn new() -> Self {
        let world = World::new();
        let network = world.network_up("a", &["10.97.0.0/24", "fd97::/64"]);
        let dirs = vec![world.state_dir(&network)];
        let asker = world.container(&network, "asker", vec![]);
        for (id, names) in [("redis", vec!["Cache"]), ("web1", vec!["web"]), ("web2", vec!["web"])] {
            let mut attachment = world.attachment(&network, id, vec![]);
            attachment.endpoint.aliases = names.into_iter().map(str::to_owned).collect();
            attachment.endpoint.hostname = Some(format!("{id}-host"));
            attach(Namespace::new().fd(), &attachment).unwrap();
        }
        Self { world, asker, dirs }
    }

    fn serve(&self, upstream: &[SocketAddr]) -> Driven {
        Driven::new(Server::bind(self.asker.namespace.fd(), &self.dirs, upstream.to_vec()).unwrap())
    }

    fn exchange(&self, packet: Vec<u8>, wait: Duration) -> Option<Vec<u8>> {
        self.asker.namespace.run(move || {
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            // connected: an answer from another address or port than 127.0.0.11:53 does not arrive
            socket.connect("127.0.0.11:53").unwrap();
            socket.set_read_timeout(Some(wait)).unwrap();
            socket.send(&packet).unwrap();
            let mut buffer = vec![0; 65_536];
            let length = socket.recv(&mut buffer).ok()?;
            buffer.truncate(length);
            Some(buffer)
        })
    }

    fn ask(&self, name: &str, kind: u16) -> Reply {
        Reply::read(&self.exchange(question(name, kind), PATIENCE).expect("an answer"))
    }
}

fn question(name: &str, kind: u16) -> Vec<u8> {
    let mut bytes = vec![0xab, 0xcd, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        bytes.push(label.len() as u8);
        bytes.extend_from_slice(label.as_bytes());
    }
    bytes.extend_from_slice(&[0]);
    bytes.extend_from_slice(&kind.to_be_bytes());
    bytes.extend_from_slice(&[0, 1]);
    bytes
}

#[derive(Debug, PartialEq)]
struct Reply {
    code: simple_dns::RCODE,
    addresses: Vec<IpAddr>,
    name: Option<String>,
    cut: bool,
}

impl Reply {
    fn read(bytes: &[u8]) -> Self {
        use simple_dns::{Packet, PacketFlag, rdata::RData};
        let packet = Packet::parse(bytes).unwrap();
        assert_eq!(packet.id(), 0xabcd);
        let mut reply = Self {
            code: packet.rcode(),
            addresses: vec![],
            name: None,
            cut: packet.has_flags(PacketFlag::TRUNCATION),
        };
        for answer in &packet.answers {
            match &answer.rdata {
                RData::A(a) => reply.addresses.push(IpAddr::V4(a.address.into())),
                RData::AAAA(a) => reply.addresses.push(IpAddr::V6(a.address.into())),
                RData::PTR(name) => reply.name = Some(name.0.to_string()),
                _ => {}
            }
        }
        reply
    }
}

/// An upstream server in the host's namespace: answers A questions with 192.0.2.1, by UDP and TCP. `behave` changes the
/// answer, or takes it away.
struct Upstream {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
    asked: Arc<AtomicU64>,
}

impl Upstream {
    fn new(behave: impl Fn(Vec<u8>, bool) -> Vec<Vec<u8>> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let socket = UdpSocket::bind(address).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        listener.set_nonblocking(true).unwrap();
        let (stop, asked, behave) =
            (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)), Arc::new(behave));
        let (stop_udp, asked_udp, behave_udp) = (stop.clone(), asked.clone(), behave.clone());
        let (stop_tcp, asked_tcp) = (stop.clone(), asked.clone());
        let threads = vec![
            std::thread::spawn(move || {
                let mut buffer = vec![0; 65_536];
                while !stop_udp.load(Ordering::Relaxed) {
                    let Ok((length, from)) = socket.recv_from(&mut buffer) else { continue };
                    asked_udp.fetch_add(1, Ordering::Relaxed);
                    for reply in behave_udp(buffer[..length].to_vec(), false) {
                        let _ = socket.send_to(&reply, from);
                    }
                }
            }),
            std::thread::spawn(move || {
                while !stop_tcp.load(Ordering::Relaxed) {
                    let mut polled = [PollFd::new(&listener, PollFlags::IN)];
                    let _ = poll(&mut polled, Some(&Timespec { tv_sec: 0, tv_nsec: 20_000_000 }));
                    let Ok((mut stream, _)) = listener.accept() else { continue };
                    stream.set_read_timeout(Some(PATIENCE)).unwrap();
                    let mut length = [0; 2];
                    if stream.read_exact(&mut length).is_err() {
                        continue;
                    }
                    let mut packet = vec![0; usize::from(u16::from_be_bytes(length))];
                    if stream.read_exact(&mut packet).is_err() {
                        continue;
                    }
                    asked_tcp.fetch_add(1, Ordering::Relaxed);
                    for reply in behave(packet, true) {
                        let _ = stream.write_all(&(reply.len() as u16).to_be_bytes());
                        let _ = stream.write_all(&reply);
                    }
                }
            }),
        ];
        Self { address, stop, threads, asked }
    }

    fn honest() -> Self {
        Self::new(|packet, _| vec![answer(&packet, 1)])
    }

    /// Takes questions and never answers.
    fn silent() -> Self {
        Self::new(|_, _| vec![])
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// An answer of `count` addresses to a question.
fn answer(packet: &[u8], count: u8) -> Vec<u8> {
    let end = 12 + packet[12..].iter().position(|b| *b == 0).unwrap() + 5;
    let mut reply = packet[..end].to_vec();
    reply[2] |= 0x80;
    reply[6..12].copy_from_slice(&[0, count, 0, 0, 0, 0]);
    for n in 1..=count {
        reply.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, n]);
    }
    reply
}

const A: u16 = 1;
const AAAA: u16 = 28;
const PTR: u16 = 12;

#[test]
fn containers_are_found_by_name_alias_host_name_and_short_id() {
    let town = Town::new();
    let _server = town.serve(&[]);
    for name in ["redis", "REDIS", "cache", "redis-host", "redis.a", "web1"] {
        let reply = town.ask(name, A);
        assert_eq!((reply.code, reply.addresses.len()), (simple_dns::RCODE::NoError, 1), "{name}");
        assert!(reply.addresses[0].is_ipv4());
        assert!(town.ask(name, AAAA).addresses[0].is_ipv6());
    }
    assert_eq!(town.ask("nobody", A).code, simple_dns::RCODE::NameError);
    // no other types, but the name is there
    let mail = town.ask("redis", 15);
    assert_eq!((mail.code, mail.addresses.len()), (simple_dns::RCODE::NoError, 0));
    assert_eq!(town.ask("3.0.97.10.in-addr.arpa", PTR).name.as_deref(), Some("redis.a"));
    let v6 = "3.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.7.9.d.f.ip6.arpa";
    assert_eq!(town.ask(v6, PTR).name.as_deref(), Some("redis.a"));
}

#[test]
fn a_name_of_several_containers_goes_round() {
    let town = Town::new();
    let _server = town.serve(&[]);
    let first: Vec<IpAddr> = (0..2).map(|_| town.ask("web", A).addresses[0]).collect();
    assert_ne!(first[0], first[1]);
    assert_eq!(town.ask("web", A).addresses.len(), 2);
}

#[test]
fn names_come_and_go_with_their_containers() {
    let town = Town::new();
    let _server = town.serve(&[]);
    assert_eq!(town.ask("late", A).code, simple_dns::RCODE::NameError);
    let network = town.asker.attachment.network.clone();
    let late = town.world.container(&network, "late", vec![]);
    assert_eq!(town.ask("late", A).addresses, [late.v4()]);
    detach(&late.attachment).unwrap();
    assert_eq!(town.ask("late", A).code, simple_dns::RCODE::NameError);
}

#[test]
fn a_name_without_ipv6_has_no_aaaa_and_is_not_asked_upstream() {
    let world = World::new();
    let network = world.network_up("a", &["10.97.0.0/24"]);
    let asker = world.container(&network, "asker", vec![]);
    let dirs = vec![world.state_dir(&network)];
    let town = Town { world, asker, dirs };
    let upstream = Upstream::honest();
    let _server = town.serve(&[upstream.address]);
    let reply = town.ask("asker", AAAA);
    assert_eq!((reply.code, reply.addresses.len()), (simple_dns::RCODE::NoError, 0));
    assert_eq!(upstream.asked.load(Ordering::Relaxed), 0);
}

#[test]
fn the_container_may_itself_bind_port_53_everywhere() {
    let town = Town::new();
    let _server = town.serve(&[]);
    let (udp, tcp) = town
        .asker
        .namespace
        .run(|| (UdpSocket::bind("0.0.0.0:53").unwrap(), TcpListener::bind("0.0.0.0:53").unwrap()));
    assert_eq!(town.ask("redis", A).addresses.len(), 1);
    udp.set_nonblocking(true).unwrap();
    assert!(udp.recv(&mut [0; 512]).is_err(), "the container's own server got the question");
    drop(tcp);
}

#[test]
fn dig_is_content_with_udp_and_tcp() {
    let town = Town::new();
    let upstream = Upstream::honest();
    let _server = town.serve(&[upstream.address]);
    if Command::new("dig").arg("-v").output().is_err() {
        eprintln!("skipped: no dig");
        return;
    }
    for flags in ["", "+tcp", "+noedns", "+bufsize=4096"] {
        let text = town.asker.namespace.sh(&format!("dig @127.0.0.11 {flags} +tries=1 +short redis A"));
        assert_eq!(text.trim(), "10.97.0.3", "{flags}");
        let text = town.asker.namespace.sh(&format!("dig @127.0.0.11 {flags} +tries=1 +short example.com A"));
        assert_eq!(text.trim(), "192.0.2.1", "{flags}");
    }
    let text = town.asker.namespace.sh("dig @127.0.0.11 +tries=1 rEdIs A");
    assert!(
        text.contains("rEdIs.") && text.contains("EDNS: version: 0") && !text.contains("WARNING"),
        "{text}"
    );
}

#[test]
fn other_names_go_to_an_upstream_on_the_hosts_loopback_and_keep_their_case() {
    let town = Town::new();
    let upstream = Upstream::new(|packet, _| {
        // one that forgets the case
        let mut reply = answer(&packet, 1);
        let end = 12 + reply[12..].iter().position(|b| *b == 0).unwrap();
        reply[12..end].make_ascii_lowercase();
        vec![reply]
    });
    let _server = town.serve(&[upstream.address]);
    let packet = town.exchange(question("ExAmple.COM", A), PATIENCE).unwrap();
    assert_eq!(&packet[12..25], b"\x07ExAmple\x03COM\x00");
    assert_eq!(Reply::read(&packet).addresses, ["192.0.2.1".parse::<IpAddr>().unwrap()]);
    // a name that is a container's and the world's is the container's
    assert_ne!(town.ask("redis", A).addresses, ["192.0.2.1".parse::<IpAddr>().unwrap()]);
}

#[test]
fn a_dead_upstream_delays_nothing_local_and_the_next_one_answers() {
    let town = Town::new();
    let (silent, honest) = (Upstream::silent(), Upstream::honest());
    let _server = town.serve(&[silent.address, honest.address]);
    let start = Instant::now();
    town.asker.namespace.run(|| {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        for n in 0..40_u16 {
            socket.send_to(&question(&format!("host{n}.example"), A), "127.0.0.11:53").unwrap();
        }
    });
    for _ in 0..20 {
        assert_eq!(town.ask("redis", A).addresses.len(), 1);
    }
    assert!(start.elapsed() < Duration::from_millis(1900), "{:?}", start.elapsed());
    assert_eq!(town.ask("example.com", A).addresses.len(), 1);
    // a refused connection is known at once
    drop(silent);
    let start = Instant::now();
    assert_eq!(town.ask("example.com", A).addresses.len(), 1);
    assert!(start.elapsed() < Duration::from_millis(1900), "{:?}", start.elapsed());
}

#[test]
fn without_any_answer_the_failure_is_told() {
    let town = Town::new();
    let gone = Upstream::honest();
    let address = gone.address;
    drop(gone);
    let _server = town.serve(&[address]);
    assert_eq!(town.ask("example.com", A).code, simple_dns::RCODE::ServerFailure);
}

#[test]
fn a_long_answer_is_cut_by_udp_and_whole_by_tcp() {
    let town = Town::new();
    let upstream = Upstream::new(|packet, _| vec![answer(&packet, 200)]);
    let _server = town.serve(&[upstream.address]);
    let cut = town.ask("example.com", A);
    assert!(cut.cut && cut.addresses.is_empty());
    let whole = town.asker.namespace.run(|| {
        let mut stream = TcpStream::connect("127.0.0.11:53").unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let packet = question("example.com", A);
        stream.write_all(&(packet.len() as u16).to_be_bytes()).unwrap();
        stream.write_all(&packet).unwrap();
        let mut length = [0; 2];
        stream.read_exact(&mut length).unwrap();
        let mut reply = vec![0; usize::from(u16::from_be_bytes(length))];
        stream.read_exact(&mut reply).unwrap();
        reply
    });
    assert_eq!(Reply::read(&whole).addresses.len(), 200);
}

#[test]
fn false_answers_are_passed_over_until_the_right_one_comes() {
    let town = Town::new();
    let upstream = Upstream::new(|packet, _| {
        let right = answer(&packet, 1);
        let mut wrong_id = answer(&packet, 2);
        wrong_id[0] ^= 0x55;
        let mut wrong_name = answer(&packet, 2);
        wrong_name[13] ^= 0x01;
        let mut a_question = answer(&packet, 2);
        a_question[2] &= 0x7f;
        vec![vec![], vec![0; 3], packet.clone(), wrong_id, wrong_name, a_question, right]
    });
    let _server = town.serve(&[upstream.address]);
    assert_eq!(town.ask("example.com", A).addresses, ["192.0.2.1".parse::<IpAddr>().unwrap()]);
}

#[test]
fn every_truncation_and_thousands_of_mutations_leave_the_server_answering() {
    let town = Town::new();
    let upstream = Upstream::honest();
    let _server = town.serve(&[upstream.address]);
    let mut whole = question("redis", A);
    // with an OPT record
    whole[11] = 1;
    whole.extend_from_slice(&[0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 8, 0, 10, 0, 4, 1, 2, 3, 4]);
    let mut hostile: Vec<Vec<u8>> = (0..whole.len()).map(|n| whole[..n].to_vec()).collect();
    let header = [0xab, 0xcd, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    // a name that points to itself, two that point to each other, pointers out of the packet, endless labels
    for name in
        [&[0xc0, 12][..], &[0xc0, 14, 0xc0, 12], &[0xff, 0xff], &[0xc0], &[63; 400], &[1, b'a', 0xc0, 12]]
    {
        let mut packet = header.to_vec();
        packet.extend_from_slice(name);
        packet.extend_from_slice(&[0, 1, 0, 1]);
        hostile.push(packet);
    }
    // counts that promise more than there is
    for place in [5, 7, 9, 11] {
        let mut packet = whole.clone();
        packet[place] = 255;
        packet[place - 1] = 255;
        hostile.push(packet);
    }
    let mut labels = header.to_vec();
    labels.extend(std::iter::repeat_n([1, b'x'], 30_000).flatten());
    hostile.push(labels);
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    for _ in 0..3000 {
        let mut packet = whole.clone();
        for _ in 0..=random() % 4 {
            let place = (random() as usize) % packet.len();
            packet[place] = random() as u8;
        }
        hostile.push(packet);
    }
    let namespace = town.asker.namespace.clone();
    namespace.run(move || {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        for packet in &hostile {
            let _ = socket.send_to(packet, "127.0.0.11:53");
        }
        // and by TCP, whole and with lengths that lie
        for packet in hostile.iter().take(60) {
            let Ok(mut stream) = TcpStream::connect("127.0.0.11:53") else { continue };
            let _ = stream.write_all(&(packet.len() as u16).to_be_bytes());
            let _ = stream.write_all(packet);
            let Ok(mut stream) = TcpStream::connect("127.0.0.11:53") else { continue };
            let _ = stream.write_all(&[0xff, 0xff]);
            let _ = stream.write_all(packet);
        }
    });
    assert_eq!(town.ask("redis", A).addresses.len(), 1);
}

#[test]
fn a_flood_of_connections_does_not_keep_others_out() {
    let town = Town::new();
    let _server = town.serve(&[]);
    let open = town
        .asker
        .namespace
        .run(|| (0..200).map(|_| TcpStream::connect("127.0.0.11:53")).collect::<Vec<_>>());
    assert_eq!(town.ask("redis", A).addresses.len(), 1);
    let reply = town.asker.namespace.run(|| {
        let mut stream = TcpStream::connect("127.0.0.11:53").unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let packet = question("redis", A);
        stream.write_all(&(packet.len() as u16).to_be_bytes()).unwrap();
        stream.write_all(&packet).unwrap();
        let mut length = [0; 2];
        stream.read_exact(&mut length).map(|()| u16::from_be_bytes(length))
    });
    assert!(reply.unwrap() > 12);
    drop(open);
}

#[test]
fn a_link_is_known_to_one_container() {
    let town = Town::new();
    let mut server = Server::bind(town.asker.namespace.fd(), &town.dirs, vec![]).unwrap();
    server.set_links([("db", "redis")], &town.dirs);
    let _server = Driven::new(server);
    assert_eq!(town.ask("DB", A).addresses, town.ask("redis", A).addresses);
}

#[test]
fn a_server_bound_again_takes_the_place_of_the_earlier_one() {
    let town = Town::new();
    drop(town.serve(&[]));
    let _server = town.serve(&[]);
    assert_eq!(town.ask("redis", A).addresses.len(), 1);
}

/// Sends questions with so many under way at once, checks each answer against what it was asked, and returns the seconds it took.
fn at_full_speed(town: &Town, count: usize) -> f64 {
    const UNDER_WAY: usize = 64;
    let redis = town.ask("redis", A).addresses;
    let web = town.ask("web", A).addresses;
    assert!(redis.len() == 1 && web.len() == 2);
    town.asker.namespace.run(move || {
        let kinds: Vec<(Vec<u8>, Vec<IpAddr>)> =
            [("redis", redis.clone()), ("web", web), ("cache", redis.clone()), ("redis.a", redis)]
                .into_iter()
                .map(|(name, addresses)| (question(name, A), addresses))
                .collect();
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect("127.0.0.11:53").unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut waiting = vec![false; 65_536];
        let (mut asked, mut answered) = (0, 0);
        let mut buffer = [0; 1500];
        let begin = Instant::now();
        while answered < count {
            while asked < count && asked - answered < UNDER_WAY {
                let mut packet = kinds[asked % kinds.len()].0.clone();
                packet[..2].copy_from_slice(&(asked as u16).to_be_bytes());
                waiting[asked % 65_536] = true;
                socket.send(&packet).unwrap();
                asked += 1;
            }
            let length = socket.recv(&mut buffer).expect("an answer was lost");
            let id = usize::from(u16::from_be_bytes([buffer[0], buffer[1]]));
            assert!(std::mem::take(&mut waiting[id]), "an answer to nothing: {id}");
            let packet = simple_dns::Packet::parse(&buffer[..length]).unwrap();
            let mut got: Vec<IpAddr> = packet
                .answers
                .iter()
                .filter_map(|record| match &record.rdata {
                    simple_dns::rdata::RData::A(a) => Some(IpAddr::from(a.address.to_be_bytes())),
                    _ => None,
                })
                .collect();
            // 65,536 is a multiple of the number of names
            let mut expected = kinds[id % kinds.len()].1.clone();
            got.sort();
            expected.sort();
            assert_eq!(got, expected, "the answer to {id}");
            answered += 1;
        }
        begin.elapsed().as_secs_f64()
    })
}

#[test]
fn a_hundred_thousand_questions_at_full_speed_have_no_wrong_and_no_lost_answer() {
    let town = Town::new();
    let _server = town.serve(&[]);
    let seconds = at_full_speed(&town, 100_000);
    println!("{:.0} questions a second, asker and server on one machine", 100_000.0 / seconds);
}

#[test]
fn a_dead_upstream_delays_nothing_that_is_local_at_full_speed() {
    let town = Town::new();
    // a socket that nobody reads
    let silent = town.world.host.run(|| UdpSocket::bind("127.0.0.1:0").unwrap());
    let _server = town.serve(&[silent.local_addr().unwrap()]);
    town.asker.namespace.run(|| {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        for _ in 0..50 {
            socket.send_to(&question("example.com", A), "127.0.0.11:53").unwrap();
        }
    });
    let seconds = at_full_speed(&town, 5_000);
    // the upstream has seconds for each of its questions: one wait would be seen
    assert!(seconds < 4.0, "{seconds} s");
}
