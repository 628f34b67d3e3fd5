//! Networks and containers on a real kernel, with `ip` and `nft` as witnesses.

mod world;

use container_net::{Error, attach, detach, ensure_network, remove_network};
use world::{Namespace, PATIENCE, SHORT, Telling, World, ask_tcp, ask_udp, sh, tcp, udp};

const V4: &str = "10.97.0.0/24";
const V6: &str = "fd97::/64";

#[test]
fn a_container_gets_interface_addresses_and_default_route_as_ip_sees_them() {
    let world = World::new();
    let mut network = world.network("a", &[V4, V6]);
    network.mtu = Some(1400);
    ensure_network(&network).unwrap();
    let container = world.container(&network, "c1", vec![]);
    let links: serde_json::Value = serde_json::from_str(&container.namespace.sh("ip -j addr")).unwrap();
    let eth0 = links.as_array().unwrap().iter().find(|l| l["ifname"] == "eth0").unwrap();
    assert_eq!(eth0["mtu"], 1400);
    assert_eq!(eth0["address"], container.attached.mac.to_string());
    assert_eq!(eth0["operstate"], "UP");
    let addresses: Vec<String> = eth0["addr_info"]
        .as_array()
        .unwrap()
        .iter()
        .map(|a| a["local"].as_str().unwrap().to_owned())
        .collect();
    assert!(
        addresses.contains(&container.v4().to_string()) && addresses.contains(&container.v6().to_string()),
        "{addresses:?}"
    );
    assert!(container.namespace.sh("ip route").contains("default via 10.97.0.1 dev eth0"));
    assert!(container.namespace.sh("ip -6 route").contains("default via fd97::1 dev eth0"));
    assert!(container.namespace.sh("ip link show lo").contains("UP"));
    let host = sh(&format!("ip -d link show {}", container.attached.host_interface));
    assert!(host.contains("master dnta") && host.contains("alias dnt_x:a:c1"), "{host}");
    assert!(sh("ip -d link show dnta").contains("alias dnt_x:a"));
}

#[test]
fn the_calling_thread_stays_in_its_namespace() {
    let world = World::new();
    let network = world.network_up("a", &[V4]);
    let before = std::fs::read_link("/proc/thread-self/ns/net").unwrap();
    let _container = world.container(&network, "c1", vec![]);
    assert_eq!(std::fs::read_link("/proc/thread-self/ns/net").unwrap(), before);
}

#[test]
fn containers_of_a_network_reach_each_other_and_the_host_and_the_world() {
    let world = World::new();
    let outside = world.outside();
    let network = world.network_up("a", &[V4, V6]);
    let one = world.container(&network, "c1", vec![]);
    let two = world.container(&network, "c2", vec![]);
    let _two = Telling::at(&two.namespace, 80);
    let _host = Telling::at(&world.host, 81);
    let _world = Telling::at(&outside, 82);
    for (address, own) in [(two.v4().to_string(), one.v4()), (format!("[{}]", two.v6()), one.v6())] {
        let to = format!("{address}:80");
        assert_eq!(ask_tcp(&one.namespace, &to, PATIENCE), Some(own.to_string()), "{to}");
        assert_eq!(ask_udp(&one.namespace, &to, PATIENCE), Some(own.to_string()), "{to}");
    }
    assert_eq!(ask_tcp(&one.namespace, "10.97.0.1:81", PATIENCE), Some(one.v4().to_string()));
    // the world sees the host's address: it has no route to ours
    assert_eq!(ask_tcp(&one.namespace, "198.51.100.2:82", PATIENCE), Some("198.51.100.1".into()));
    assert_eq!(ask_tcp(&one.namespace, "[2001:db8::2]:82", PATIENCE), Some("2001:db8::1".into()));
    assert_eq!(ask_udp(&one.namespace, "198.51.100.2:82", PATIENCE), Some("198.51.100.1".into()));
}

fn published_everywhere(bridged_filter: &str) {
    let world = World::new();
    for which in ["iptables", "ip6tables"] {
        let path = format!("/proc/sys/net/bridge/bridge-nf-call-{which}");
        if std::fs::write(&path, bridged_filter).is_err() && bridged_filter == "1" {
            eprintln!("skipped: no br_netfilter ({path})");
            return;
        }
    }
    let outside = world.outside();
    let network = world.network_up("a", &[V4, V6]);
    let other = world.network_up("b", &["10.98.0.0/24"]);
    let ports = vec![tcp(None, 8080, 80), udp(None, 8080, 80), tcp(Some("127.0.0.1"), 9090, 80)];
    let server = world.container(&network, "server", ports);
    let neighbour = world.container(&network, "neighbour", vec![]);
    let stranger = world.container(&other, "stranger", vec![]);
    let _server = Telling::at(&server.namespace, 80);

    for ask in [ask_tcp, ask_udp] {
        // the source is kept where the answer finds its way without
        assert_eq!(ask(&outside, "198.51.100.1:8080", PATIENCE), Some("198.51.100.2".into()));
        assert_eq!(ask(&outside, "[2001:db8::1]:8080", PATIENCE), Some("2001:db8::2".into()));
        assert!(ask(&world.host, "198.51.100.1:8080", PATIENCE).is_some());
        assert!(ask(&world.host, "[2001:db8::1]:8080", PATIENCE).is_some());
        assert!(ask(&world.host, "10.97.0.1:8080", PATIENCE).is_some());
        assert_eq!(ask(&world.host, "127.0.0.1:8080", PATIENCE), Some("10.97.0.1".into()));
        // hairpin: the container itself, its neighbour, and one of another network, by every host address
        for from in [&server, &neighbour, &stranger] {
            let reached = ask(&from.namespace, "198.51.100.1:8080", PATIENCE).is_some();
            assert!(reached, "{}: {}", from.attachment.endpoint.container_id, sh("bridge -d link"));
            assert!(ask(&from.namespace, "10.97.0.1:8080", PATIENCE).is_some());
        }
    }
    assert!(ask_tcp(&neighbour.namespace, "[2001:db8::1]:8080", PATIENCE).is_some());
    assert!(ask_tcp(&server.namespace, "[2001:db8::1]:8080", PATIENCE).is_some());
    // published at localhost alone
    assert!(ask_tcp(&world.host, "127.0.0.1:9090", PATIENCE).is_some());
    assert!(ask_tcp(&outside, "198.51.100.1:9090", SHORT).is_none());
    assert!(ask_tcp(&stranger.namespace, "10.98.0.1:9090", SHORT).is_none());
}

#[test]
fn a_published_port_answers_from_outside_from_the_host_from_localhost_and_from_containers() {
    published_everywhere("0");
}

#[test]
fn a_published_port_answers_everywhere_also_where_bridged_packets_are_filtered() {
    published_everywhere("1");
}

#[test]
fn networks_are_apart_and_an_internal_one_is_closed() {
    let world = World::new();
    let outside = world.outside();
    let open = world.network_up("a", &[V4]);
    let other = world.network_up("b", &["10.98.0.0/24"]);
    let mut internal = world.network("i", &["10.99.0.0/24"]);
    internal.internal = true;
    ensure_network(&internal).unwrap();
    let one = world.container(&open, "c1", vec![]);
    let two = world.container(&other, "c2", vec![tcp(None, 8080, 80), udp(None, 8080, 80)]);
    let shut = world.container(&internal, "c3", vec![]);
    let shut_too = world.container(&internal, "c4", vec![]);
    let _servers: Vec<_> =
        [&one, &two, &shut, &shut_too].iter().map(|c| Telling::at(&c.namespace, 80)).collect();
    let _outside = Telling::at(&outside, 80);
    // a default route of its own making gets it no further
    shut.namespace.sh("ip route add default via 10.99.0.1");
    outside.sh("ip route add 10.96.0.0/12 via 198.51.100.1");
    let host = &world.host;
    // from, to, whether it is reached
    let table = [
        ("a to b's private address", &one.namespace, format!("{}:80", two.v4()), false),
        ("a to b's published port", &one.namespace, "198.51.100.1:8080".into(), true),
        ("a to internal", &one.namespace, format!("{}:80", shut.v4()), false),
        ("a to the world", &one.namespace, "198.51.100.2:80".into(), true),
        ("internal to a", &shut.namespace, format!("{}:80", one.v4()), false),
        ("internal to b's published port", &shut.namespace, "198.51.100.1:8080".into(), false),
        ("internal to the world", &shut.namespace, "198.51.100.2:80".into(), false),
        ("internal to internal", &shut.namespace, format!("{}:80", shut_too.v4()), true),
        ("host to internal", host, format!("{}:80", shut.v4()), true),
        ("outside to a's private address", &outside, format!("{}:80", one.v4()), false),
        ("outside to a published port's private address", &outside, format!("{}:80", two.v4()), false),
        ("outside to internal", &outside, format!("{}:80", shut.v4()), false),
        ("outside to b's published port", &outside, "198.51.100.1:8080".into(), true),
    ];
    for (what, from, to, reached) in table {
        let wait = if reached { PATIENCE } else { SHORT };
        assert_eq!(ask_tcp(from, &to, wait).is_some(), reached, "{what} by tcp");
        assert_eq!(ask_udp(from, &to, wait).is_some(), reached, "{what} by udp");
    }
}

#[test]
fn a_taken_port_is_named_and_nothing_is_left_of_the_attempt() {
    let world = World::new();
    let network = world.network_up("a", &[V4]);
    let before = sh("nft -j list ruleset; ip -j addr | sed 's/\"valid_life_time\":[0-9]*//g'");
    let _taken = std::net::TcpListener::bind("0.0.0.0:8080").unwrap();
    let attachment = world.attachment(&network, "c1", vec![udp(None, 8080, 80), tcp(None, 8080, 80)]);
    let namespace = Namespace::new();
    let error = attach(namespace.fd(), &attachment).unwrap_err();
    assert_eq!(error.to_string(), "port 8080/tcp on 0.0.0.0 is taken");
    assert!(matches!(error, Error::PortTaken { port: 8080, .. }));
    assert_eq!(sh("nft -j list ruleset; ip -j addr | sed 's/\"valid_life_time\":[0-9]*//g'"), before);
    let pool =
        container_net::Pool::open(world.state_dir(&network).join("leases"), &network.subnets[0]).unwrap();
    assert_eq!(pool.leases().unwrap(), []);
}

#[test]
fn a_published_port_is_kept_from_others_and_free_again_afterwards() {
    let world = World::new();
    let network = world.network_up("a", &[V4]);
    let first = world.container(&network, "c1", vec![tcp(None, 0, 80), udp(Some("127.0.0.1"), 0, 81)]);
    let port = first.attached.ports[0].host_port;
    assert!(port > 0 && first.attached.ports[1].host_port > 0);
    // std sets SO_REUSEADDR
    assert!(std::net::TcpListener::bind(("0.0.0.0", port)).is_err());
    assert!(std::net::TcpListener::bind(("127.0.0.1", port)).is_err());
    let second = world.attachment(&network, "c2", vec![tcp(None, port, 80)]);
    let namespace = Namespace::new();
    assert!(matches!(attach(namespace.fd(), &second), Err(Error::PortTaken { .. })));
    // the kernel's map knows it too, when the first one's sockets are gone
    let attachment = first.attachment.clone();
    drop(first);
    let error = attach(namespace.fd(), &second).unwrap_err();
    assert!(matches!(error, Error::PortTaken { port: p, .. } if p == port), "{error}");
    detach(&attachment).unwrap();
    attach(namespace.fd(), &second).unwrap();
}

#[test]
fn a_port_with_connections_in_time_wait_can_be_published() {
    let world = World::new();
    let network = world.network_up("a", &[V4]);
    let listener = std::net::TcpListener::bind("127.0.0.1:8080").unwrap();
    let client = std::net::TcpStream::connect("127.0.0.1:8080").unwrap();
    // the listener's side closes first and waits
    drop(listener.accept().unwrap());
    drop(client);
    drop(listener);
    assert!(
        sh("cat /proc/thread-self/net/tcp")
            .lines()
            .any(|l| l.contains(":1F90") && l.split_whitespace().nth(3) == Some("06")),
        "no TIME_WAIT to test with"
    );
    world.container(&network, "c1", vec![tcp(None, 8080, 80)]);
}

#[test]
fn everything_removed_leaves_the_ruleset_and_interfaces_as_before() {
    let world = World::new();
    sh(
        "nft add table inet foreign; nft add chain inet foreign c '{ type filter hook forward priority 5; }'; nft add rule inet foreign c accept",
    );
    let view = "nft -j list ruleset | sed 's/\"handle\": [0-9]*//g'; ip -o link | sed 's/^[0-9]*: //'";
    let before = sh(view);
    let networks = [world.network_up("a", &[V4, V6]), world.network_up("b", &["10.98.0.0/24"])];
    let attachments: Vec<_> = networks
        .iter()
        .flat_map(|n| ["c1", "c2"].map(|id| (n, id)))
        .enumerate()
        .map(|(n, (network, id))| {
            world.container(network, id, vec![tcp(None, 8000 + n as u16, 80)]).attachment
        })
        .collect();
    ensure_network(&networks[0]).unwrap();
    for attachment in &attachments {
        detach(attachment).unwrap();
        detach(attachment).unwrap();
        assert!(
            container_net::Pool::open(attachment.state_dir.join("leases"), &attachment.network.subnets[0])
                .unwrap()
                .leases()
                .unwrap()
                .iter()
                .all(|(_, o)| *o != attachment.endpoint.container_id)
        );
    }
    for network in &networks {
        remove_network(network).unwrap();
        remove_network(network).unwrap();
    }
    assert_eq!(sh(view), before);
}

#[test]
fn detaching_from_one_network_leaves_the_container_in_the_other() {
    let world = World::new();
    let (a, b) = (world.network_up("a", &[V4]), world.network_up("b", &["10.98.0.0/24"]));
    let first = world.container(&a, "c1", vec![tcp(None, 8080, 80)]);
    let mut second = world.attachment(&b, "c1", vec![]);
    second.endpoint.interface = "eth1".parse().unwrap();
    second.endpoint.default_route = false;
    attach(first.namespace.fd(), &second).unwrap();
    let _server = Telling::at(&first.namespace, 80);
    detach(&second).unwrap();
    assert!(!first.namespace.sh("ip link").contains("eth1"));
    assert!(ask_tcp(&world.host, "127.0.0.1:8080", PATIENCE).is_some());
}

#[test]
fn ensuring_a_network_renews_rules_that_were_removed_and_interrupts_nothing() {
    let world = World::new();
    let network = world.network_up("a", &[V4]);
    let before = sh("nft list table inet dnt_x; nft list table bridge dnt_x");
    sh("nft flush chain inet dnt_x forward; nft flush set inet dnt_x bridges");
    ensure_network(&network).unwrap();
    assert_eq!(sh("nft list table inet dnt_x; nft list table bridge dnt_x"), before);
    for _ in 0..3 {
        ensure_network(&network).unwrap();
    }
    assert_eq!(sh("nft list table inet dnt_x; nft list table bridge dnt_x"), before);
}

#[test]
fn a_bridge_of_someone_else_is_refused_and_left_alone() {
    let world = World::new();
    sh("ip link add dnta type bridge");
    let network = world.network("a", &[V4]);
    assert!(matches!(ensure_network(&network), Err(Error::Config { .. })));
    remove_network(&network).unwrap();
    assert!(sh("ip link").contains("dnta"));
    assert_eq!(sh("nft list ruleset"), "");
}

#[test]
fn many_processes_may_bring_networks_up_and_down_at_once() {
    let world = World::new();
    let threads: Vec<_> = (0..8)
        .map(|n| {
            let network = world.network(&format!("n{n}"), &[&format!("10.97.{n}.0/24")]);
            let same = world.network("same", &["10.98.0.0/24"]);
            world.host.spawn(move || {
                for _ in 0..5 {
                    ensure_network(&network).unwrap();
                    ensure_network(&same).unwrap();
                    remove_network(&network).unwrap();
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    let rules = sh("nft list ruleset");
    assert!(rules.contains("dntsame"), "{rules}");
    remove_network(&world.network("same", &["10.98.0.0/24"])).unwrap();
    assert_eq!(sh("nft list ruleset"), "");
}

#[test]
fn a_free_subnet_avoids_the_hosts_routes_and_what_is_taken() {
    use container_net::NetworkConfig;
    let world = World::new();
    assert_eq!(NetworkConfig::free_subnet(false, &[]).unwrap().to_string(), "172.17.0.0/16");
    let _outside = world.outside();
    sh("ip route add 172.17.5.0/24 dev dntout; ip addr add 172.18.9.9/30 dev dntout");
    let taken = ["172.16.0.0/12".parse().unwrap(), "192.168.0.0/20".parse().unwrap()];
    assert_eq!(NetworkConfig::free_subnet(false, &[]).unwrap().to_string(), "172.19.0.0/16");
    assert_eq!(NetworkConfig::free_subnet(false, &taken).unwrap().to_string(), "192.168.16.0/20");
    let everything = ["0.0.0.0/0".parse().unwrap(), "::/0".parse().unwrap()];
    assert!(matches!(NetworkConfig::free_subnet(false, &everything), Err(Error::NoFreeSubnet { .. })));
    assert!(NetworkConfig::free_subnet(true, &everything).is_err());
    assert!(NetworkConfig::free_subnet(true, &[]).unwrap().to_string().starts_with("fd"));
}

#[test]
fn the_mtu_is_that_of_the_default_routes_interface() {
    let world = World::new();
    let _outside = world.outside();
    sh("ip link set dntout mtu 1380; ip route add default via 198.51.100.2");
    let network = world.network_up("a", &[V4]);
    let container = world.container(&network, "c1", vec![]);
    assert!(container.namespace.sh("ip link show eth0").contains("mtu 1380"));
    // the bridge keeps it when its last port has gone
    detach(&container.attachment).unwrap();
    assert!(sh(&format!("ip link show {}", container.attachment.network.bridge)).contains("mtu 1380"));
}

#[test]
fn a_udp_flow_to_a_container_that_is_gone_goes_to_its_successor() {
    let world = World::new();
    let outside = world.outside();
    let network = world.network_up("a", &[V4]);
    // one socket throughout, as a client that sends on and on
    let client = outside.run(|| std::net::UdpSocket::bind("0.0.0.0:0").unwrap());
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut buffer = [0; 64];
    let host = Telling::at(&world.host, 8080);
    client.send_to(b"x", "198.51.100.1:8080").unwrap();
    client.recv(&mut buffer).unwrap();
    drop(host);
    let mut earlier = None;
    for id in ["c1", "c2"] {
        let container = world.container(&network, id, vec![udp(None, 8080, 80)]);
        assert_ne!(earlier, Some(container.v4()));
        let _server = Telling::at(&container.namespace, 80);
        client.send_to(b"x", "198.51.100.1:8080").unwrap();
        client.recv(&mut buffer).unwrap_or_else(|e| panic!("{id}: {e}"));
        earlier = Some(container.v4());
        detach(&container.attachment).unwrap();
    }
}

#[test]
fn what_cannot_be_attached_can_be_detached() {
    let world = World::new();
    let mut network = world.network("a", &["10.97.0.0/24"]);
    network.internal = true;
    ensure_network(&network).unwrap();
    let attachment = world.attachment(&network, "one", vec![tcp(None, 8080, 80)]);
    assert!(matches!(attach(Namespace::new().fd(), &attachment), Err(Error::Config { .. })));
    detach(&attachment).unwrap();
}
