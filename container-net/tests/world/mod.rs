//! A host of its own for a test: a fresh network and mount namespace on the test's thread, containers and an
//! outside as further namespaces. Everything ends with the last descriptor and thread.

#![allow(dead_code, unreachable_pub, missing_docs, reason = "each test file uses a part of it")]

use std::{
    fs::File,
    io::{Read, Write},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    os::fd::{AsFd, AsRawFd, BorrowedFd},
    path::PathBuf,
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use container_net::{
    Attached, Attachment, Endpoint, InterfaceName, NetworkConfig, Protocol, PublishedPort, SubnetConfig,
    attach, ensure_network, nft::Tables,
};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space};

/// How long something may take that is to come.
pub const PATIENCE: Duration = Duration::from_secs(5);
/// How long is waited for something that is not to come.
pub const SHORT: Duration = Duration::from_millis(150);

#[allow(
    deprecated,
    reason = "NEWNET and NEWNS do not touch the descriptor table, which is what the unsafe variant is about"
)]
fn unshare(flags: UnshareFlags) {
    rustix::thread::unshare(flags).expect("root is needed to make namespaces");
}

#[derive(Clone)]
pub struct Namespace(Arc<File>);

impl Namespace {
    /// A new, empty network namespace.
    pub fn new() -> Self {
        let file = thread::spawn(|| {
            unshare(UnshareFlags::NEWNET);
            File::open("/proc/thread-self/ns/net").unwrap()
        });
        Self(Arc::new(file.join().unwrap()))
    }

    pub fn current() -> Self {
        Self(Arc::new(File::open("/proc/thread-self/ns/net").unwrap()))
    }

    pub fn fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// A path by which `ip` finds it.
    pub fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd())
    }

    pub fn spawn<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
        let own = self.clone();
        thread::spawn(move || {
            move_into_link_name_space(own.fd(), Some(LinkNameSpaceType::Network)).unwrap();
            work()
        })
    }

    pub fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        self.spawn(work).join().unwrap()
    }

    pub fn sh(&self, line: &str) -> String {
        let line = line.to_owned();
        self.run(move || sh(&line))
    }
}

/// Runs a line in the calling thread's namespaces and gives its output.
pub fn sh(line: &str) -> String {
    let output = Command::new("sh").args(["-c", line]).stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub struct World {
    pub state: tempfile::TempDir,
    pub host: Namespace,
    pub tables: Tables,
}

impl World {
    pub fn new() -> Self {
        unshare(UnshareFlags::NEWNET | UnshareFlags::NEWNS);
        rustix::mount::mount_change(
            "/",
            rustix::mount::MountPropagationFlags::PRIVATE | rustix::mount::MountPropagationFlags::REC,
        )
        .unwrap();
        let host = Namespace::current();
        container_net::loopback_up(host.fd()).unwrap();
        Self { state: tempfile::tempdir().unwrap(), host, tables: Tables::named("dnt_x").unwrap() }
    }

    pub fn network(&self, id: &str, subnets: &[&str]) -> NetworkConfig {
        let bridge = InterfaceName::new(format!("dnt{id}")).unwrap();
        let subnets = subnets.iter().map(|s| SubnetConfig::new(s.parse().unwrap()).unwrap()).collect();
        let mut network = NetworkConfig::bridge(id, id, bridge, subnets);
        network.tables = self.tables.clone();
        network
    }

    pub fn network_up(&self, id: &str, subnets: &[&str]) -> NetworkConfig {
        let network = self.network(id, subnets);
        ensure_network(&network).unwrap();
        network
    }

    pub fn state_dir(&self, network: &NetworkConfig) -> PathBuf {
        self.state.path().join(&network.id)
    }

    pub fn attachment(&self, network: &NetworkConfig, id: &str, ports: Vec<PublishedPort>) -> Attachment {
        let mut endpoint = Endpoint::new(id, id).unwrap();
        endpoint.ports = ports;
        Attachment { network: network.clone(), endpoint, state_dir: self.state_dir(network) }
    }

    pub fn container(&self, network: &NetworkConfig, id: &str, ports: Vec<PublishedPort>) -> Container {
        let attachment = self.attachment(network, id, ports);
        let namespace = Namespace::new();
        let attached = attach(namespace.fd(), &attachment).unwrap();
        Container { namespace, attachment, attached }
    }

    /// A namespace with a cable to the host: 198.51.100.1 here, 198.51.100.2 there, and routes that know the containers.
    pub fn outside(&self) -> Namespace {
        assert_eq!(
            std::fs::read_link("/proc/thread-self/ns/net").unwrap(),
            std::fs::read_link(self.host.path()).unwrap()
        );
        let outside = Namespace::new();
        sh(&format!("ip link add dntout type veth peer name eth0 netns {}", outside.path()));
        sh(
            "ip addr add 198.51.100.1/24 dev dntout; ip addr add 2001:db8::1/64 dev dntout nodad; ip link set dntout up",
        );
        outside.sh("ip link set lo up; ip addr add 198.51.100.2/24 dev eth0; ip addr add 2001:db8::2/64 dev eth0 nodad; ip link set eth0 up");
        outside
    }
}

pub struct Container {
    pub namespace: Namespace,
    pub attachment: Attachment,
    pub attached: Attached,
}

impl Container {
    pub fn v4(&self) -> IpAddr {
        *self.attached.addresses.iter().find(|a| a.is_ipv4()).unwrap()
    }

    pub fn v6(&self) -> IpAddr {
        *self.attached.addresses.iter().find(|a| a.is_ipv6()).unwrap()
    }
}

pub fn tcp(host_ip: Option<&str>, host_port: u16, container_port: u16) -> PublishedPort {
    let host_ip = host_ip.map(|text| text.parse().unwrap());
    PublishedPort { host_ip, host_port, container_port, protocol: Protocol::Tcp }
}

pub fn udp(host_ip: Option<&str>, host_port: u16, container_port: u16) -> PublishedPort {
    PublishedPort { protocol: Protocol::Udp, ..tcp(host_ip, host_port, container_port) }
}

/// A server that tells each client, by TCP and UDP, which address it came from. Ends when dropped.
pub struct Telling {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Telling {
    pub fn at(namespace: &Namespace, port: u16) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (listener, socket) = namespace.run(move || {
            let any: IpAddr = "::".parse().unwrap();
            (TcpListener::bind((any, port)).unwrap(), UdpSocket::bind((any, port)).unwrap())
        });
        socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        listener.set_nonblocking(true).unwrap();
        let (stop_tcp, stop_udp) = (stop.clone(), stop.clone());
        let threads = vec![
            thread::spawn(move || {
                while !stop_tcp.load(Ordering::Relaxed) {
                    let mut poll = [rustix::event::PollFd::new(&listener, rustix::event::PollFlags::IN)];
                    let limit = rustix::event::Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
                    let _ = rustix::event::poll(&mut poll, Some(&limit));
                    if let Ok((mut stream, from)) = listener.accept() {
                        let _ = stream.write_all(from.ip().to_canonical().to_string().as_bytes());
                    }
                }
            }),
            thread::spawn(move || {
                let mut buffer = [0; 64];
                while !stop_udp.load(Ordering::Relaxed) {
                    if let Ok((_, from)) = socket.recv_from(&mut buffer) {
                        let _ = socket.send_to(from.ip().to_canonical().to_string().as_bytes(), from);
                    }
                }
            }),
        ];
        Self { stop, threads }
    }
}

impl Drop for Telling {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// Connects by TCP from a namespace and gives what the server says; none if it is not reached in time.
pub fn ask_tcp(from: &Namespace, to: &str, wait: Duration) -> Option<String> {
    let to: SocketAddr = to.parse().unwrap();
    from.run(move || {
        let mut stream = TcpStream::connect_timeout(&to, wait).ok()?;
        stream.set_read_timeout(Some(wait)).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        Some(text)
    })
}

/// The same by UDP.
pub fn ask_udp(from: &Namespace, to: &str, wait: Duration) -> Option<String> {
    let to: SocketAddr = to.parse().unwrap();
    from.run(move || {
        let any: IpAddr = if to.is_ipv4() { "0.0.0.0" } else { "::" }.parse().unwrap();
        let socket = UdpSocket::bind((any, 0)).unwrap();
        socket.set_read_timeout(Some(wait)).unwrap();
        socket.connect(to).ok()?;
        socket.send(b"who am I?").ok()?;
        let mut buffer = [0; 64];
        let length = socket.recv(&mut buffer).ok()?;
        Some(String::from_utf8_lossy(&buffer[..length]).into_owned())
    })
}
