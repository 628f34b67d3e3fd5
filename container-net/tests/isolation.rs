//! Who reaches what: a scan from every side, as a table.

mod world;

use std::time::Duration;

use container_net::{Host, ensure_network, remove_network};
use world::{Container, Namespace, Telling, World, ask_tcp, ask_udp, sh, tcp, udp};

/// Nobody is waited for longer: what is reached answers in less than a millisecond.
const WAIT: Duration = Duration::from_millis(120);

/// Asks by TCP or UDP and says whether somebody answered.
fn reaches(from: &Namespace, to: &str, by_udp: bool) -> bool {
    if by_udp { ask_udp(from, to, WAIT).is_some() } else { ask_tcp(from, to, WAIT).is_some() }
}

#[test]
fn a_scan_from_each_side_reaches_what_it_should_and_nothing_else() {
    let world = World::new();
    let outside = world.outside();
    let front = world.network_up("f", &["10.97.0.0/24", "fd97::/64"]);
    let back = world.network_up("b", &["10.98.0.0/24", "fd98::/64"]);
    let mut closed = world.network("c", &["10.99.0.0/24", "fd99::/64"]);
    closed.internal = true;
    ensure_network(&closed).unwrap();
    let web = world.container(&front, "web", vec![tcp(None, 8080, 4000), udp(None, 8080, 4000)]);
    let one = world.container(&front, "one", vec![]);
    let two = world.container(&back, "two", vec![]);
    let shut = world.container(&closed, "shut", vec![]);
    let near = world.container(&closed, "near", vec![]);
    let host = world.host.clone();
    outside.sh("ip route add 10.96.0.0/12 via 198.51.100.1; ip -6 route add fd00::/8 via 2001:db8::1");
    let listening: Vec<Telling> = [&web, &one, &two, &shut, &near]
        .iter()
        .map(|container| Telling::at(&container.namespace, 4000))
        .collect();
    // the host's own service: at every address, and one at its loopback alone
    let on_host = Telling::at(&host, 4100);
    let beyond = Telling::at(&outside, 4000);
    let v4 = |c: &Container, port: u16| format!("{}:{port}", c.v4());
    let v6 = |c: &Container, port: u16| format!("[{}]:{port}", c.v6());
    let sides: [(&str, &Namespace); 6] = [
        ("front", &one.namespace),
        ("back", &two.namespace),
        ("internal", &near.namespace),
        ("host", &host),
        ("outside", &outside),
        ("itself", &web.namespace),
    ];
    let targets: Vec<(&str, String, [bool; 6])> = vec![
        // from: front, back, internal, host, outside, itself
        ("web, private, IPv4", v4(&web, 4000), [true, false, false, true, false, true]),
        ("web, private, IPv6", v6(&web, 4000), [true, false, false, true, false, true]),
        ("web, a port that is not published", v4(&web, 4001), [false; 6]),
        ("web, published, IPv4", "198.51.100.1:8080".into(), [true, true, false, true, true, true]),
        ("web, published, IPv6", "[2001:db8::1]:8080".into(), [true, true, false, true, true, true]),
        ("back, private, IPv4", v4(&two, 4000), [false, true, false, true, false, false]),
        ("back, private, IPv6", v6(&two, 4000), [false, true, false, true, false, false]),
        ("internal, private, IPv4", v4(&shut, 4000), [false, false, true, true, false, false]),
        ("internal, private, IPv6", v6(&shut, 4000), [false, false, true, true, false, false]),
        ("the host's loopback", "127.0.0.1:4100".into(), [false, false, false, true, false, false]),
        (
            "the host's loopback at another address, by TCP",
            "127.9.9.9:4100".into(),
            [false, false, false, true, false, false],
        ),
        ("beyond, IPv4", "198.51.100.2:4000".into(), [true, true, false, true, true, true]),
        ("beyond, IPv6", "[2001:db8::2]:4000".into(), [true, true, false, true, true, true]),
    ];
    let mut wrong = Vec::new();
    std::thread::scope(|scope| {
        let scans: Vec<_> = sides
            .iter()
            .enumerate()
            .map(|(column, (side, namespace))| {
                let targets = &targets;
                scope.spawn(move || {
                    let mut wrong = Vec::new();
                    for (what, address, expected) in targets {
                        // a UDP answer comes from 127.0.0.1
                        let ways: &[bool] = if what.ends_with("by TCP") { &[false] } else { &[false, true] };
                        for &by_udp in ways {
                            let reached = reaches(namespace, address, by_udp);
                            // a second look before an alarm: the machine may be busy
                            if reached != expected[column]
                                && reaches(namespace, address, by_udp) != expected[column]
                            {
                                let by = if by_udp { "UDP" } else { "TCP" };
                                wrong.push(format!(
                                    "{side} -> {what} ({address}, {by}): reached is {reached}"
                                ));
                            }
                        }
                    }
                    wrong
                })
            })
            .collect();
        for scan in scans {
            wrong.extend(scan.join().unwrap());
        }
    });
    drop((listening, on_host, beyond));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_life_of_networks_and_containers_leaves_foreign_rules_and_the_ruleset_as_they_were() {
    let world = World::new();
    sh(
        "nft add table ip filter; nft 'add chain ip filter FORWARD { type filter hook forward priority 0; }'; \
        nft add chain ip filter DOCKER; nft add rule ip filter FORWARD jump DOCKER; \
        nft add table inet firewalld; nft 'add chain inet firewalld in { type filter hook input priority 10; }'; \
        nft add rule inet firewalld in tcp dport 22 accept",
    );
    let before =
        (sh("nft list ruleset"), sh("ip -o link | sed 's/ state.*//'"), sh("ip -4 route; ip -6 route"));
    for round in 0..3 {
        let mut host = Host::open().unwrap();
        let network = world.network_up("f", &["10.97.0.0/24", "fd97::/64"]);
        let containers: Vec<Container> = (0..4_u16)
            .map(|n| world.container(&network, &format!("c{round}{n}"), vec![tcp(None, 9000 + n, 80)]))
            .collect();
        for container in containers {
            host.detach(&container.attachment).unwrap();
        }
        remove_network(&network).unwrap();
    }
    let after =
        (sh("nft list ruleset"), sh("ip -o link | sed 's/ state.*//'"), sh("ip -4 route; ip -6 route"));
    assert_eq!(after, before);
}
