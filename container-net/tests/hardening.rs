//! Attacks 26, 27 and 28.

mod world;

use std::net::{IpAddr, TcpListener, UdpSocket};

use container_net::{
    Attachment, Endpoint, Error, InterfaceName, NetworkConfig, attach, ensure_network, names::Directory,
};
use rustix::net::{AddressFamily, Protocol, SendFlags, SocketType, netdevice};
use world::{Container, Namespace, PATIENCE, SHORT, Telling, World, ask_tcp, ask_udp, sh, tcp, udp};

/// Sends a frame as it is out of a container's eth0.
fn send_frame(container: &Container, frame: Vec<u8>) {
    container.namespace.run(move || {
        let protocol = Protocol::from_raw(std::num::NonZeroU32::new(u32::from(3_u16.to_be())).unwrap());
        let socket = rustix::net::socket(AddressFamily::PACKET, SocketType::RAW, Some(protocol)).unwrap();
        let index = netdevice::name_to_index(&socket, "eth0").unwrap();
        rustix::net::bind(&socket, &packet::Address(index)).unwrap();
        assert_eq!(rustix::net::send(&socket, &frame, SendFlags::empty()).unwrap(), frame.len());
    });
}

/// `struct sockaddr_ll`, which rustix has not.
mod packet {
    #![allow(unsafe_code)]
    use rustix::net::addr::{SocketAddrArg, SocketAddrLen, SocketAddrOpaque};

    pub(super) struct Address(pub(super) u32);

    // SAFETY: the pointer is to 20 initialized bytes that live as long as the call, which is what a sockaddr_ll takes.
    unsafe impl SocketAddrArg for Address {
        unsafe fn with_sockaddr<R>(
            &self,
            call: impl FnOnce(*const SocketAddrOpaque, SocketAddrLen) -> R,
        ) -> R {
            let mut bytes = [0_u8; 20];
            bytes[0..2].copy_from_slice(&17_u16.to_ne_bytes());
            bytes[2..4].copy_from_slice(&3_u16.to_be_bytes());
            bytes[4..8].copy_from_slice(&self.0.to_ne_bytes());
            call(bytes.as_ptr().cast(), 20)
        }
    }
}

fn udp_frame(
    source_mac: [u8; 6],
    target_mac: [u8; 6],
    source: [u8; 4],
    target: [u8; 4],
    port: u16,
) -> Vec<u8> {
    let payload = b"spoofed";
    let mut ip = vec![0x45, 0, 0, (28 + payload.len()) as u8, 0, 0, 0, 0, 64, 17, 0, 0];
    ip.extend_from_slice(&source);
    ip.extend_from_slice(&target);
    let sum = ip.chunks(2).map(|w| u32::from(u16::from_be_bytes([w[0], w[1]]))).sum::<u32>();
    let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
    ip[10..12].copy_from_slice(&sum.to_be_bytes());
    let mut frame = [&target_mac[..], &source_mac, &[8, 0]].concat();
    frame.extend(ip);
    frame.extend(9999_u16.to_be_bytes());
    frame.extend(port.to_be_bytes());
    frame.extend(((8 + payload.len()) as u16).to_be_bytes());
    frame.extend([0, 0]);
    frame.extend(payload);
    frame
}

fn v4(container: &Container) -> [u8; 4] {
    match container.v4() {
        IpAddr::V4(a) => a.octets(),
        IpAddr::V6(_) => unreachable!(),
    }
}

fn mac(container: &Container) -> [u8; 6] {
    container.attached.mac.octets()
}

fn arp_frame(frame_mac: [u8; 6], sender_mac: [u8; 6], sender: [u8; 4], target: [u8; 4]) -> Vec<u8> {
    let mut frame =
        [&[0xff; 6][..], &frame_mac, &[8, 6, 0, 1, 8, 0, 6, 4, 0, 2], &sender_mac, &sender].concat();
    frame.extend([0; 6]);
    frame.extend(target);
    frame.resize(60, 0);
    frame
}

#[test]
fn attack_26_a_container_cannot_send_from_anothers_address_or_mac() {
    let world = World::new();
    let network = world.network_up("a", &["10.97.0.0/24"]);
    let [victim, target, attacker] =
        ["victim", "target", "attacker"].map(|id| world.container(&network, id, vec![]));
    let socket = target.namespace.run(|| UdpSocket::bind("0.0.0.0:7000").unwrap());
    socket.set_read_timeout(Some(SHORT)).unwrap();
    let mut buffer = [0; 64];
    let frames = [
        ("another's IP", udp_frame(mac(&attacker), mac(&target), v4(&victim), v4(&target), 7000)),
        ("another's MAC", udp_frame(mac(&victim), mac(&target), v4(&attacker), v4(&target), 7000)),
        ("both", udp_frame(mac(&victim), mac(&target), v4(&victim), v4(&target), 7000)),
        ("a stranger's IP", udp_frame(mac(&attacker), mac(&target), [192, 0, 2, 9], v4(&target), 7000)),
    ];
    for (what, frame) in frames {
        send_frame(&attacker, frame);
        assert!(socket.recv_from(&mut buffer).is_err(), "{what} came through");
    }
    // in a VLAN tag, past checks of the Ethernet type
    let mut tagged = udp_frame(mac(&attacker), mac(&target), v4(&victim), v4(&target), 7000);
    tagged.splice(12..12, [0x81, 0, 0, 0]);
    send_frame(&attacker, tagged);
    assert!(socket.recv_from(&mut buffer).is_err(), "a tagged frame came through");
    // the same by honest means comes through: the test can fail
    send_frame(&attacker, udp_frame(mac(&attacker), mac(&target), v4(&attacker), v4(&target), 7000));
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let (_, from) = socket.recv_from(&mut buffer).unwrap();
    assert_eq!(from.ip(), attacker.v4());
}

#[test]
fn attack_26_a_container_cannot_poison_neighbours_by_arp() {
    let world = World::new();
    let network = world.network_up("a", &["10.97.0.0/24"]);
    let [victim, target, attacker] =
        ["victim", "target", "attacker"].map(|id| world.container(&network, id, vec![]));
    let _server = Telling::at(&victim.namespace, 80);
    let to = format!("{}:80", victim.v4());
    assert!(ask_tcp(&target.namespace, &to, PATIENCE).is_some());
    let gateway = [10, 97, 0, 1];
    for (frame_mac, sender_mac) in
        [(mac(&attacker), mac(&attacker)), (mac(&victim), mac(&attacker)), (mac(&attacker), mac(&victim))]
    {
        for claimed in [v4(&victim), gateway] {
            send_frame(&attacker, arp_frame(frame_mac, sender_mac, claimed, v4(&target)));
        }
    }
    // an own, true announcement is the barrier: it is taken after the others would have been
    send_frame(&attacker, arp_frame(mac(&attacker), mac(&attacker), v4(&attacker), v4(&target)));
    let neighbours = target.namespace.sh("ip neigh");
    let stolen = neighbours.lines().any(|l| {
        l.contains(&attacker.attached.mac.to_string()) && !l.starts_with(&attacker.v4().to_string())
    });
    assert!(!stolen, "{neighbours}");
    assert!(sh("ip neigh").lines().all(
        |l| !l.contains(&attacker.attached.mac.to_string()) || l.starts_with(&attacker.v4().to_string())
    ));
    assert!(ask_tcp(&target.namespace, &to, PATIENCE).is_some());
}

#[test]
fn attack_26_a_container_cannot_pose_as_an_ipv6_router_or_neighbour() {
    let world = World::new();
    let network = world.network_up("a", &["10.97.0.0/24", "fd97::/64"]);
    let [victim, target, attacker] =
        ["victim", "target", "attacker"].map(|id| world.container(&network, id, vec![]));
    target.namespace.sh("sysctl -qw net.ipv6.conf.eth0.accept_ra=2");
    let own: [u8; 16] = attacker.attached.mac.link_local().octets();
    let all_nodes: [u8; 16] = "ff02::1".parse::<std::net::Ipv6Addr>().unwrap().octets();
    let IpAddr::V6(claimed) = victim.v6() else { unreachable!() };
    let mut advertisement = vec![134, 0, 0, 0, 64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0];
    advertisement.extend([1, 1]);
    advertisement.extend(mac(&attacker));
    // prefix information for fd66::/64
    advertisement.extend([3, 4, 64, 0xc0, 0, 0, 0xff, 0xff, 0, 0, 0xff, 0xff, 0, 0, 0, 0]);
    advertisement.extend("fd66::".parse::<std::net::Ipv6Addr>().unwrap().octets());
    let mut neighbour = vec![136, 0, 0, 0, 0x20, 0, 0, 0];
    neighbour.extend(claimed.octets());
    neighbour.extend([2, 1]);
    neighbour.extend(mac(&attacker));
    let _server = Telling::at(&victim.namespace, 80);
    let to = format!("[{}]:80", victim.v6());
    assert!(ask_tcp(&target.namespace, &to, PATIENCE).is_some());
    for mut body in [advertisement, neighbour] {
        let mut pseudo =
            [&own[..], &all_nodes, &(body.len() as u32).to_be_bytes(), &[0, 0, 0, 58], &body].concat();
        pseudo.resize(pseudo.len().next_multiple_of(2), 0);
        let mut sum = pseudo.chunks(2).map(|w| u32::from(u16::from_be_bytes([w[0], w[1]]))).sum::<u32>();
        while sum >> 16 != 0 {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        body[2..4].copy_from_slice(&(!(sum as u16)).to_be_bytes());
        let mut frame =
            [&[0x33, 0x33, 0, 0, 0, 1][..], &mac(&attacker), &[0x86, 0xdd, 0x60, 0, 0, 0]].concat();
        frame.extend((body.len() as u16).to_be_bytes());
        frame.extend([58, 255]);
        frame.extend(own);
        frame.extend(all_nodes);
        frame.extend(body);
        send_frame(&attacker, frame);
    }
    assert!(ask_tcp(&target.namespace, &to, PATIENCE).is_some());
    let (addresses, routes) = (target.namespace.sh("ip -6 addr"), target.namespace.sh("ip -6 route"));
    assert!(!addresses.contains("fd66") && !routes.contains("fe80::42:aff:fe61:4 "), "{addresses}{routes}");
    let neighbours = target.namespace.sh("ip -6 neigh");
    assert!(
        !neighbours.lines().any(
            |l| l.starts_with(&victim.v6().to_string()) && l.contains(&attacker.attached.mac.to_string())
        ),
        "{neighbours}"
    );
}

#[test]
fn attack_26_ipv6_is_closed_where_no_subnet_opens_it() {
    let world = World::new();
    let network = world.network_up("a", &["10.97.0.0/24"]);
    let [one, two] = ["one", "two"].map(|id| world.container(&network, id, vec![]));
    assert!(!one.namespace.sh("ip -6 addr show dev eth0").contains("inet6"));
    assert!(!sh("ip -6 addr show dev dnta").contains("inet6"));
    // addresses of its own making get it nowhere
    for (container, address) in [(&one, "fd66::1/64"), (&two, "fd66::2/64")] {
        container.namespace.sh(&format!("ip -6 addr add {address} dev eth0 nodad"));
    }
    sh("ip -6 addr add fd66::3/64 dev dnta nodad");
    let _servers = [Telling::at(&two.namespace, 80), Telling::at(&world.host, 80)];
    assert!(ask_tcp(&one.namespace, "[fd66::2]:80", SHORT).is_none());
    assert!(ask_tcp(&one.namespace, "[fd66::3]:80", SHORT).is_none());
}

#[test]
fn attack_26_the_hosts_loopback_is_out_of_reach_though_route_localnet_is_on() {
    let world = World::new();
    let outside = world.outside();
    let network = world.network_up("a", &["10.97.0.0/24"]);
    let attacker = world.container(&network, "attacker", vec![]);
    let published = world.container(
        &network,
        "published",
        vec![tcp(Some("127.0.0.1"), 9090, 80), udp(Some("127.0.0.1"), 9090, 80)],
    );
    let _inside = Telling::at(&published.namespace, 80);
    assert_eq!(sh("cat /proc/sys/net/ipv4/conf/dnta/route_localnet").trim(), "1");
    let secret = TcpListener::bind("127.0.0.1:6379").unwrap();
    secret.set_nonblocking(true).unwrap();
    let secret_udp = UdpSocket::bind("127.0.0.1:6379").unwrap();
    secret_udp.set_nonblocking(true).unwrap();
    for (from, gateway, device) in
        [(&attacker.namespace, "10.97.0.1", "eth0"), (&outside, "198.51.100.1", "eth0")]
    {
        // the kernel on the attacker's side is his: it sends 127.0.0.1 by the wire
        from.sh(&format!(
            "sysctl -qw net.ipv4.conf.all.route_localnet=1; ip addr del 127.0.0.1/8 dev lo; ip route del local 127.0.0.0/8 table local 2>/dev/null; ip route del local 127.0.0.1 table local 2>/dev/null; ip route add 127.0.0.1/32 via {gateway} dev {device}"
        ));
        assert!(ask_tcp(from, "127.0.0.1:6379", SHORT).is_none());
        assert!(ask_udp(from, "127.0.0.1:6379", SHORT).is_none());
        assert!(
            ask_tcp(from, "127.0.0.1:9090", SHORT).is_none(),
            "a port published at localhost is had from elsewhere"
        );
        assert!(ask_udp(from, "127.0.0.1:9090", SHORT).is_none());
    }
    assert!(secret.accept().is_err(), "the host's loopback was reached by tcp");
    assert!(secret_udp.recv(&mut [0; 16]).is_err(), "the host's loopback was reached by udp");
    // and the way it is meant for works
    assert!(ask_tcp(&world.host, "127.0.0.1:9090", PATIENCE).is_some());
}

#[test]
fn attack_27_a_name_that_is_also_the_worlds_is_the_containers() {
    let world = World::new();
    let network = world.network_up("a", &["10.97.0.0/24"]);
    let mut attachment = world.attachment(&network, "c1", vec![]);
    attachment.endpoint.aliases = vec!["www.example.com".into()];
    let attached = attach(Namespace::new().fd(), &attachment).unwrap();
    let mut names = Directory::new([world.state_dir(&network)]);
    assert_eq!(names.lookup("WWW.Example.Com"), Some(attached.addresses));
}

#[test]
fn attack_27_rubbish_in_the_directory_of_names_is_passed_over() {
    let world = World::new();
    let network = world.network_up("a", &["10.97.0.0/24"]);
    let container = world.container(&network, "c1", vec![]);
    let dir = world.state_dir(&network).join("names");
    std::fs::write(dir.join("rubbish"), b"{\"container_id\":").unwrap();
    std::fs::write(dir.join("large"), vec![b' '; 1 << 20]).unwrap();
    std::fs::create_dir(dir.join("folder")).unwrap();
    std::os::unix::fs::symlink("/dev/zero", dir.join("link")).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, dir.join("fifo"), rustix::fs::FileType::Fifo, 0o600.into(), 0)
        .unwrap();
    let mut names = Directory::new([world.state_dir(&network)]);
    assert_eq!(names.lookup("c1"), Some(vec![container.v4()]));
}

#[test]
fn attack_28_names_that_would_reach_rules_or_files_are_refused() {
    let world = World::new();
    let network = world.network_up("a", &["10.97.0.0/24"]);
    let before = sh("nft list ruleset; ip -o link | cut -d: -f2");
    let long = "x".repeat(65_536);
    let hostile =
        ["", "a\nb", "a\"; drop", "../../etc/x", "/etc/x", "-rf", "a b", "\u{202e}gnp", &long, "a\0b", "."];
    for name in hostile {
        let attachment = |endpoint: Endpoint| Attachment {
            network: network.clone(),
            endpoint,
            state_dir: world.state_dir(&network),
        };
        let by_id = attachment(Endpoint::new(name, "good").unwrap());
        assert!(
            matches!(attach(Namespace::new().fd(), &by_id), Err(Error::Name { .. })),
            "{name:.20?} as id"
        );
        let mut config = NetworkConfig { id: name.into(), ..network.clone() };
        assert!(matches!(ensure_network(&config), Err(Error::Name { .. })), "{name:.20?} as network id");
        config.id = "good".into();
        assert!(InterfaceName::new(name).is_err() || name == "-rf", "{name:.20?} as interface");
        assert!(container_net::nft::Tables::named(name).is_err(), "{name:.20?} as table");
        // these two come from people and are looser: no dot or dash can hurt in a name that is only looked up
        if !["-rf", "."].contains(&name) {
            let by_name = attachment(Endpoint::new("good", name).unwrap());
            assert!(
                matches!(attach(Namespace::new().fd(), &by_name), Err(Error::Name { .. })),
                "{name:.20?} as name"
            );
            let mut by_alias = attachment(Endpoint::new("good", "good").unwrap());
            by_alias.endpoint.aliases.push(name.into());
            assert!(
                matches!(attach(Namespace::new().fd(), &by_alias), Err(Error::Name { .. })),
                "{name:.20?} as alias"
            );
        }
        // what is told of it is short
        let error = attach(Namespace::new().fd(), &by_id).unwrap_err().to_string();
        assert!(error.len() < 700 && !error.contains('\n'), "{}", error.len());
    }
    assert_eq!(sh("nft list ruleset; ip -o link | cut -d: -f2"), before);
    // the same from JSON, as a state file that was tampered with
    let text = serde_json::to_string(&network).unwrap();
    for (from, to) in
        [("\"dnta\"", "\"../../x\""), ("\"dnt_x\"", "\"x; flush ruleset\""), ("10.97.0.0/24", "10.97.0.9/24")]
    {
        assert!(
            text.contains(from) && serde_json::from_str::<NetworkConfig>(&text.replace(from, to)).is_err(),
            "{to}"
        );
    }
}
