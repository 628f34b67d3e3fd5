//! VXLAN between namespaces that stand for hosts, macvlan, ipvlan and dummy links.

mod world;

use std::{
    io::{Read, Write},
    net::{IpAddr, Ipv4Addr, TcpListener, TcpStream},
    time::Duration,
};

use container_net::{
    Driver, Error, Forwarding, Host, InterfaceName, IpvlanMode, LinkKind, MacAddr, MacvlanMode, NewLink,
    Vxlan, attach, ensure_network, remove_network,
};
use world::{Namespace, PATIENCE, SHORT, Telling, World, ask_tcp, ask_udp, sh};

fn name(text: &str) -> InterfaceName {
    InterfaceName::new(text).unwrap()
}

/// Overlay address and hardware address of host `n`.
fn overlay(n: u8) -> (IpAddr, MacAddr) {
    let address = IpAddr::from([10, 96, 0, n]);
    (address, MacAddr::from_ip(address))
}

fn underlay(n: u8) -> IpAddr {
    IpAddr::from([192, 0, 2, n])
}

/// Three hosts at one switch, each with a tunnel end that knows the others.
fn three_hosts() -> (World, Vec<Namespace>) {
    let world = World::new();
    sh("ip link add dntsw type bridge && ip link set dntsw up");
    let hosts: Vec<Namespace> = (1..=3_u8)
        .map(|n| {
            let host = Namespace::new();
            sh(&format!(
                "ip link add dntu{n} type veth peer name eth0 netns {} && ip link set dntu{n} master dntsw up",
                host.path()
            ));
            host.sh(&format!(
                "ip link set lo up; ip addr add {}/24 dev eth0; ip link set eth0 up",
                underlay(n)
            ));
            host.run(move || {
                let mut host = Host::open().unwrap();
                let vxlan = Vxlan { id: 77, local: underlay(n), parent: Some(name("eth0")), port: 4789, learning: false };
                let mut link = NewLink::new(name("dntvx"), LinkKind::Vxlan(vxlan));
                link.mac = Some(overlay(n).1);
                link.mtu = Some(1450);
                host.create_link(&link).unwrap();
                host.raise_link(&link.name, None, &[(overlay(n).0, 24)]).unwrap();
                for other in (1..=3).filter(|other| *other != n) {
                    let (address, mac) = overlay(other);
                    let entry = Forwarding { mac: Some(mac), remote: underlay(other) };
                    host.forward(&link.name, &entry).unwrap();
                    host.forward(&link.name, &entry).unwrap();
                    host.set_neighbour(&link.name, address, mac).unwrap();
                }
                assert_eq!(host.forwardings(&link.name).unwrap().len(), 2);
            });
            host
        })
        .collect();
    (world, hosts)
}

/// Sends bytes over TCP and gives back what the other side got; none if that takes too long.
fn carry(from: &Namespace, to: &Namespace, address: IpAddr, bytes: usize, wait: Duration) -> Option<usize> {
    let listener = to.run(move || TcpListener::bind((address, 0)).unwrap());
    let port = listener.local_addr().unwrap().port();
    listener.set_nonblocking(true).unwrap();
    let sender = from.spawn(move || {
        let mut stream = TcpStream::connect_timeout(&(address, port).into(), wait).ok()?;
        stream.set_write_timeout(Some(wait)).ok()?;
        stream.write_all(&vec![7; bytes]).ok()
    });
    let end = std::time::Instant::now() + wait;
    let mut stream = loop {
        match listener.accept() {
            Ok((stream, _)) => break Some(stream),
            Err(_) if std::time::Instant::now() > end => break None,
            Err(_) => std::thread::sleep(Duration::from_millis(2)),
        }
    };
    let got = stream.as_mut().and_then(|stream| {
        stream.set_nonblocking(false).ok()?;
        stream.set_read_timeout(Some(wait)).ok()?;
        let mut all = Vec::new();
        stream.read_to_end(&mut all).ok()?;
        Some(all.len())
    });
    sender.join().unwrap()?;
    got
}

#[test]
fn three_hosts_reach_each_other_over_a_vxlan_that_loses_a_tenth_and_one_that_was_cut_off_comes_back() {
    let (_world, hosts) = three_hosts();
    for (from, to) in [(0, 1), (1, 2), (2, 0)] {
        let address = overlay(to as u8 + 1).0;
        assert_eq!(
            carry(&hosts[from], &hosts[to], address, 300_000, PATIENCE),
            Some(300_000),
            "{from} to {to}"
        );
    }
    // no netem in every kernel: the receiving host loses the tenth packet by chance
    for host in &hosts {
        host.sh("nft add table inet dntloss; nft 'add chain inet dntloss in { type filter hook input priority -400; }'; \
                 nft add rule inet dntloss in udp dport 4789 numgen random mod 10 0 drop");
    }
    for (from, to) in [(0, 1), (1, 2), (2, 0)] {
        let address = overlay(to as u8 + 1).0;
        assert_eq!(
            carry(&hosts[from], &hosts[to], address, 60_000, Duration::from_secs(30)),
            Some(60_000),
            "{from} to {to} with loss"
        );
    }
    for host in &hosts {
        host.sh("nft delete table inet dntloss");
    }
    // one is cut off: the others go on, and it comes back by itself
    sh("ip link set dntu3 down");
    assert_eq!(carry(&hosts[0], &hosts[2], overlay(3).0, 1000, Duration::from_millis(400)), None);
    assert_eq!(carry(&hosts[0], &hosts[1], overlay(2).0, 100_000, PATIENCE), Some(100_000));
    sh("ip link set dntu3 up");
    assert_eq!(carry(&hosts[0], &hosts[2], overlay(3).0, 100_000, PATIENCE), Some(100_000));
}

#[test]
fn a_vxlan_goes_where_its_entries_say_and_another_number_is_another_network() {
    let (_world, hosts) = three_hosts();
    let told = Telling::at(&hosts[1], 4000);
    let target = format!("{}:4000", overlay(2).0);
    assert!(ask_udp(&hosts[0], &target, PATIENCE).is_some());
    hosts[0].run(|| {
        let mut host = Host::open().unwrap();
        let entry = Forwarding { mac: Some(overlay(2).1), remote: underlay(2) };
        host.forget_forwarding(&name("dntvx"), &entry).unwrap();
        host.forget_forwarding(&name("dntvx"), &entry).unwrap();
    });
    assert!(ask_udp(&hosts[0], &target, SHORT).is_none(), "it goes without an entry");
    // moved to the wrong host, and back
    for (remote, reached) in [(3, false), (2, true)] {
        hosts[0].run(move || {
            let entry = Forwarding { mac: Some(overlay(2).1), remote: underlay(remote) };
            Host::open().unwrap().forward(&name("dntvx"), &entry).unwrap();
        });
        let wait = if reached { PATIENCE } else { SHORT };
        assert_eq!(ask_udp(&hosts[0], &target, wait).is_some(), reached, "at {remote}");
    }
    // broadcasts go to every end that has the entry without an address
    hosts[0].run(|| {
        let mut host = Host::open().unwrap();
        for n in [2, 3, 2] {
            host.forward(&name("dntvx"), &Forwarding { mac: None, remote: underlay(n) }).unwrap();
        }
        host.forget_neighbour(&name("dntvx"), overlay(2).0).unwrap();
        assert_eq!(host.forwardings(&name("dntvx")).unwrap().iter().filter(|e| e.mac.is_none()).count(), 2);
    });
    assert!(ask_udp(&hosts[0], &target, PATIENCE).is_some(), "the neighbour is found by a broadcast");
    hosts[1].run(|| {
        let mut host = Host::open().unwrap();
        host.delete_link(&name("dntvx")).unwrap();
        let vxlan = Vxlan { id: 78, local: underlay(2), parent: None, port: 4789, learning: false };
        let mut link = NewLink::new(name("dntvx"), LinkKind::Vxlan(vxlan.clone()));
        link.mac = Some(overlay(2).1);
        host.create_link(&link).unwrap();
        host.raise_link(&link.name, None, &[(overlay(2).0, 24)]).unwrap();
        let wide = NewLink::new(name("dntwide"), LinkKind::Vxlan(Vxlan { id: 1 << 24, ..vxlan }));
        assert!(matches!(host.create_link(&wide), Err(Error::Name { .. })));
    });
    assert!(ask_udp(&hosts[0], &target, SHORT).is_none(), "another number was reached");
    drop(told);
}

/// A macvlan network on the inner end of the cable to `outside`.
fn on_a_parent(driver: Driver) -> (World, Namespace, container_net::NetworkConfig) {
    let world = World::new();
    let outside = world.outside();
    let mut network = world.network("m", &["198.51.100.0/24"]);
    network.driver = driver;
    network.parent = Some(name("dntout"));
    network.subnets[0].gateway = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 2));
    network.subnets[0].ip_range = Some("198.51.100.64/26".parse().unwrap());
    (world, outside, network)
}

fn a_container_on_the_parents_network_is_a_machine_of_its_own(driver: Driver) {
    let (world, outside, network) = on_a_parent(driver);
    if let Err(error) = ensure_network(&network) {
        panic!("{error}");
    }
    let namespace = Namespace::new();
    let attachment = world.attachment(&network, "one", vec![]);
    let attached = match attach(namespace.fd(), &attachment) {
        Ok(attached) => attached,
        Err(Error::Kernel { source, .. }) if source.raw_os_error() == Some(95) => {
            eprintln!("skipped: this kernel has no {driver:?}");
            return;
        }
        Err(error) => panic!("{error}"),
    };
    let address = attached.addresses[0];
    assert!(address.to_string().starts_with("198.51.100."), "{address}");
    let _told = Telling::at(&namespace, 4000);
    assert_eq!(ask_tcp(&outside, &format!("{address}:4000"), PATIENCE).as_deref(), Some("198.51.100.2"));
    // neighbours on the same parent
    let other = Namespace::new();
    let second = world.attachment(&network, "two", vec![]);
    attach(other.fd(), &second).unwrap();
    assert!(ask_tcp(&other, &format!("{address}:4000"), PATIENCE).is_some());
    let routes = namespace.sh("ip route");
    assert!(routes.contains("default via 198.51.100.2 dev eth0"), "{routes}");
    // none of our rules, and nothing to publish
    assert!(!sh("nft list ruleset").contains("dnt_x"));
    let port = world.attachment(&network, "three", vec![world::tcp(None, 8080, 80)]);
    assert!(matches!(attach(Namespace::new().fd(), &port), Err(Error::Config { .. })));
    // out of the network while it lives
    let mut host = Host::open().unwrap();
    host.remove_inside(namespace.fd(), &attachment).unwrap();
    host.remove_inside(namespace.fd(), &attachment).unwrap();
    host.detach(&attachment).unwrap();
    assert!(!namespace.sh("ip -o link").contains("eth0"));
    host.remove_network(&network).unwrap();
    assert!(sh("ip -o link").contains("dntout"), "the parent is the host's");
}

#[test]
fn a_macvlan_container_is_a_machine_of_its_own_on_the_parents_network() {
    a_container_on_the_parents_network_is_a_machine_of_its_own(Driver::Macvlan);
}

#[test]
fn an_ipvlan_container_is_a_machine_of_its_own_on_the_parents_network() {
    a_container_on_the_parents_network_is_a_machine_of_its_own(Driver::Ipvlan);
}

#[test]
fn a_macvlan_in_private_mode_does_not_reach_its_neighbour() {
    let (world, outside, mut network) = on_a_parent(Driver::Macvlan);
    network.macvlan = MacvlanMode::Private;
    network.ipvlan = IpvlanMode::L2;
    ensure_network(&network).unwrap();
    let (one, two) = (Namespace::new(), Namespace::new());
    let first = attach(one.fd(), &world.attachment(&network, "one", vec![])).unwrap();
    attach(two.fd(), &world.attachment(&network, "two", vec![])).unwrap();
    let _told = Telling::at(&one, 4000);
    let target = format!("{}:4000", first.addresses[0]);
    assert!(ask_tcp(&outside, &target, PATIENCE).is_some());
    assert!(ask_tcp(&two, &target, SHORT).is_none());
}

#[test]
fn a_missing_parent_and_a_foreign_interface_are_told_by_name() {
    let (_world, _outside, mut network) = on_a_parent(Driver::Macvlan);
    network.parent = Some(name("dntnone"));
    assert!(ensure_network(&network).unwrap_err().to_string().contains("dntnone"));
    network.parent = None;
    sh(&format!("ip link add {} type bridge", network.bridge));
    assert!(matches!(ensure_network(&network), Err(Error::Config { .. })));
    remove_network(&network).unwrap();
    assert!(sh("ip -o link").contains(network.bridge.as_str()), "a foreign interface was removed");
    sh(&format!("ip link del {}", network.bridge));
    // a dummy of our own, where the kernel has them
    match ensure_network(&network) {
        Ok(()) => {
            assert!(sh("ip -o link").contains(network.bridge.as_str()));
            remove_network(&network).unwrap();
            assert!(!sh("ip -o link").contains(network.bridge.as_str()));
        }
        Err(Error::Kernel { source, .. }) if source.raw_os_error() == Some(95) => {
            eprintln!("skipped: this kernel has no dummy interfaces");
        }
        Err(error) => panic!("{error}"),
    }
}
