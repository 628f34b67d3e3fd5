//! The rules themselves: which packets go where. Networks and containers are elements of the sets and maps;
//! the rules are the same for one container and for a thousand.

use std::net::{IpAddr, Ipv4Addr};

use super::{
    Batch, Chain,
    Datatype::{EtherAddr, IfName, InetProto, InetService, Ipv4Addr as V4, Ipv6Addr as V6},
    Family, Hook,
    Key::{
        ArpSaddrEther, ArpSaddrIp, CtState, CtStatus, EtherSaddr, FibDaddrType, Icmp6Type, IcmpType, IifName,
        Ip6Daddr, Ip6Saddr, IpDaddr, IpSaddr, L4Proto, NdTarget, NfProto, OifName, Protocol, ThDport,
    },
    Rule, Set,
    Step::{self, DnatByMap, DnatTo, Go, Has, In, Is, Masquerade, NotIn},
    Verdict::{Accept, Drop, Jump, Return},
};

const fn set(name: &'static str, key: &'static [super::Datatype], interval: bool) -> Set {
    Set { name, key, value: &[], interval }
}

pub(crate) const BRIDGES: Set = set("bridges", &[IfName], false);
pub(crate) const INTERNAL: Set = set("internal", &[IfName], false);
pub(crate) const SAME: Set = set("same", &[IfName, IfName], false);
pub(crate) const SUBNETS4: Set = set("subnets4", &[V4], true);
pub(crate) const SUBNETS6: Set = set("subnets6", &[V6], true);
pub(crate) const PUBLISHED4: Set = Set {
    name: "published4",
    key: &[V4, InetProto, InetService],
    value: &[V4, InetService],
    interval: false,
};
pub(crate) const PUBLISHED4_ANY: Set = Set {
    name: "published4_any",
    key: &[InetProto, InetService],
    value: &[V4, InetService],
    interval: false,
};
pub(crate) const PUBLISHED6: Set = Set {
    name: "published6",
    key: &[V6, InetProto, InetService],
    value: &[V6, InetService],
    interval: false,
};
pub(crate) const PUBLISHED6_ANY: Set = Set {
    name: "published6_any",
    key: &[InetProto, InetService],
    value: &[V6, InetService],
    interval: false,
};

pub(crate) const PORTS: Set = set("ports", &[IfName], false);
pub(crate) const GUARD4: Set = set("guard4", &[IfName, EtherAddr, V4], false);
pub(crate) const GUARD6: Set = set("guard6", &[IfName, EtherAddr, V6], false);

/// The sets of each family.
pub(crate) const SETS: [(Family, &[Set]); 2] = [
    (
        Family::Inet,
        &[
            BRIDGES,
            INTERNAL,
            SAME,
            SUBNETS4,
            SUBNETS6,
            PUBLISHED4,
            PUBLISHED4_ANY,
            PUBLISHED6,
            PUBLISHED6_ANY,
        ],
    ),
    (Family::Bridge, &[PORTS, GUARD4, GUARD6]),
];

const fn base(name: &'static str, kind: &'static str, hook: &'static str, priority: i32) -> Chain {
    Chain { name, hook: Some(Hook { kind, name: hook, priority }) }
}

const fn plain(name: &'static str) -> Chain {
    Chain { name, hook: None }
}

pub(crate) fn chains(family: Family) -> Vec<Chain> {
    match family {
        Family::Inet => vec![
            plain("publish"),
            plain("from_bridge"),
            plain("to_bridge"),
            base("early", "filter", "prerouting", -300),
            base("prerouting", "nat", "prerouting", -100),
            base("output", "nat", "output", -100),
            base("postrouting", "nat", "postrouting", 100),
            base("forward", "filter", "forward", 0),
            base("own", "filter", "output", 0),
        ],
        Family::Bridge => vec![plain("guard"), base("prerouting", "filter", "prerouting", -200)],
        Family::Ip => vec![base("names", "nat", "output", -100)],
    }
}

const ESTABLISHED_OR_RELATED: u32 = 2 | 4;
const DESTINATION_CHANGED: u32 = 0x20;

fn ipv4() -> Step {
    Is(NfProto, vec![2])
}

fn ipv6() -> Step {
    Is(NfProto, vec![10])
}

/// `RTN_LOCAL`: an address of this host.
fn to_this_host() -> Step {
    Is(FibDaddrType, 2_u32.to_ne_bytes().to_vec())
}

fn in_bridge(key: super::Key) -> Step {
    In(vec![key], BRIDGES.name)
}

fn loopback(key: super::Key) -> Step {
    Is(key, vec![127])
}

fn known() -> Step {
    Has(CtState, ESTABLISHED_OR_RELATED)
}

fn published() -> Step {
    Has(CtStatus, DESTINATION_CHANGED)
}

pub(crate) fn rules(family: Family) -> Vec<Rule> {
    match family {
        Family::Inet => inet_rules(),
        Family::Bridge => bridge_rules(),
        Family::Ip => Vec::new(),
    }
}

fn inet_rules() -> Vec<Rule> {
    let rule = |chain, comment, steps| Rule { chain, steps, comment };
    vec![
        // route_localnet is on for our bridges, so that localhost can be published; this closes the other direction
        rule(
            "early",
            "containers cannot reach the host's loopback",
            vec![in_bridge(IifName), ipv4(), loopback(IpDaddr), Go(Drop)],
        ),
        rule(
            "early",
            "containers cannot pose as the host's loopback",
            vec![in_bridge(IifName), ipv4(), loopback(IpSaddr), Go(Drop)],
        ),
        // what is published at 127.0.0.1 must not be had from outside by a packet to 127.0.0.1
        rule(
            "prerouting",
            "loopback ports are published by the output hook only",
            vec![ipv4(), loopback(IpDaddr), Go(Return)],
        ),
        rule("prerouting", "published ports, from elsewhere", vec![to_this_host(), Go(Jump("publish"))]),
        rule("output", "published ports, from this host", vec![to_this_host(), Go(Jump("publish"))]),
        rule(
            "publish",
            "at one address, IPv4",
            vec![ipv4(), DnatByMap(true, vec![IpDaddr, L4Proto, ThDport], PUBLISHED4.name)],
        ),
        rule(
            "publish",
            "at every address, IPv4",
            vec![ipv4(), DnatByMap(true, vec![L4Proto, ThDport], PUBLISHED4_ANY.name)],
        ),
        rule(
            "publish",
            "at one address, IPv6",
            vec![ipv6(), DnatByMap(false, vec![Ip6Daddr, L4Proto, ThDport], PUBLISHED6.name)],
        ),
        rule(
            "publish",
            "at every address, IPv6",
            vec![ipv6(), DnatByMap(false, vec![L4Proto, ThDport], PUBLISHED6_ANY.name)],
        ),
        // the answer must come back this way, even between neighbours
        rule(
            "postrouting",
            "container to published container, IPv4",
            vec![published(), ipv4(), In(vec![IpSaddr], SUBNETS4.name), in_bridge(OifName), Masquerade],
        ),
        rule(
            "postrouting",
            "container to published container, IPv6",
            vec![published(), ipv6(), In(vec![Ip6Saddr], SUBNETS6.name), in_bridge(OifName), Masquerade],
        ),
        rule(
            "postrouting",
            "localhost to published container",
            vec![ipv4(), loopback(IpSaddr), in_bridge(OifName), Masquerade],
        ),
        rule(
            "postrouting",
            "containers to the world, IPv4",
            vec![ipv4(), In(vec![IpSaddr], SUBNETS4.name), NotIn(vec![OifName], BRIDGES.name), Masquerade],
        ),
        rule(
            "postrouting",
            "containers to the world, IPv6",
            vec![ipv6(), In(vec![Ip6Saddr], SUBNETS6.name), NotIn(vec![OifName], BRIDGES.name), Masquerade],
        ),
        rule("forward", "what containers send", vec![in_bridge(IifName), Go(Jump("from_bridge"))]),
        rule("forward", "what is sent to containers", vec![in_bridge(OifName), Go(Jump("to_bridge"))]),
        // after a change of the destination on the way, a redirect would lead around the change
        rule(
            "own",
            "no redirects to containers, IPv4",
            vec![in_bridge(OifName), ipv4(), Is(L4Proto, vec![1]), Is(IcmpType, vec![5]), Go(Drop)],
        ),
        rule(
            "own",
            "no redirects to containers, IPv6",
            vec![in_bridge(OifName), ipv6(), Is(L4Proto, vec![58]), Is(Icmp6Type, vec![137]), Go(Drop)],
        ),
        rule("from_bridge", "answers", vec![known(), Go(Accept)]),
        // bridged packets come here if bridge-nf-call-iptables is on
        rule("from_bridge", "neighbours", vec![In(vec![IifName, OifName], SAME.name), Go(Accept)]),
        rule(
            "from_bridge",
            "no way out of an internal network",
            vec![In(vec![IifName], INTERNAL.name), Go(Drop)],
        ),
        rule(
            "from_bridge",
            "no way into an internal network",
            vec![In(vec![OifName], INTERNAL.name), Go(Drop)],
        ),
        rule(
            "from_bridge",
            "to another network's published port",
            vec![in_bridge(OifName), published(), Go(Accept)],
        ),
        rule("from_bridge", "networks are apart", vec![in_bridge(OifName), Go(Drop)]),
        rule("from_bridge", "to the world", vec![Go(Accept)]),
        rule("to_bridge", "answers to containers", vec![known(), Go(Accept)]),
        rule("to_bridge", "an internal network is closed", vec![In(vec![OifName], INTERNAL.name), Go(Drop)]),
        rule("to_bridge", "to a published port", vec![published(), Go(Accept)]),
        rule("to_bridge", "private addresses are private", vec![Go(Drop)]),
    ]
}

fn bridge_rules() -> Vec<Rule> {
    let rule = |chain, comment, steps| Rule { chain, steps, comment };
    let icmp6 = |kind| vec![Is(Protocol, vec![0x86, 0xdd]), Is(L4Proto, vec![58]), Is(Icmp6Type, vec![kind])];
    let with = |mut steps: Vec<Step>, more: Step| {
        steps.push(more);
        steps
    };
    let mut advertisement = icmp6(136);
    advertisement.extend([NotIn(vec![IifName, EtherSaddr, NdTarget], GUARD6.name), Go(Drop)]);
    vec![
        rule("prerouting", "from a container", vec![In(vec![IifName], PORTS.name), Go(Jump("guard"))]),
        rule(
            "guard",
            "IPv4 from its own address",
            vec![Is(Protocol, vec![8, 0]), In(vec![IifName, EtherSaddr, IpSaddr], GUARD4.name), Go(Accept)],
        ),
        rule(
            "guard",
            "ARP for its own address",
            vec![
                Is(Protocol, vec![8, 6]),
                In(vec![IifName, ArpSaddrEther, ArpSaddrIp], GUARD4.name),
                In(vec![IifName, EtherSaddr, ArpSaddrIp], GUARD4.name),
                Go(Accept),
            ],
        ),
        rule("guard", "containers are no routers", with(icmp6(134), Go(Drop))),
        rule("guard", "containers redirect nobody", with(icmp6(137), Go(Drop))),
        rule("guard", "neighbour advertisement of another's address", advertisement),
        rule(
            "guard",
            "IPv6 from its own address",
            vec![
                Is(Protocol, vec![0x86, 0xdd]),
                In(vec![IifName, EtherSaddr, Ip6Saddr], GUARD6.name),
                Go(Accept),
            ],
        ),
        rule("guard", "anything else", vec![Go(Drop)]),
    ]
}

/// Base rules of both families, sets and chains first.
pub(crate) fn base_batch(family: Family, table: &str) -> Batch {
    let mut batch = Batch::new(family, table);
    batch.table();
    for set in SETS.iter().filter(|(of, _)| *of == family).flat_map(|(_, sets)| *sets) {
        batch.set(set);
    }
    for chain in chains(family) {
        batch.fresh_chain(&chain);
    }
    for rule in rules(family) {
        batch.rule(&rule);
    }
    batch
}

/// Inside a container: questions to 127.0.0.11 port 53 go to a port nobody else wants.
pub(crate) fn names_batch(table: &str, server: Ipv4Addr, udp: u16, tcp: u16) -> Batch {
    let mut batch = Batch::new(Family::Ip, table);
    batch.table();
    for chain in chains(Family::Ip) {
        batch.fresh_chain(&chain);
    }
    for (protocol, port, comment) in [(17, udp, "names by UDP"), (6, tcp, "names by TCP")] {
        batch.rule(&Rule {
            chain: "names",
            comment,
            steps: vec![
                Is(IpDaddr, server.octets().to_vec()),
                Is(L4Proto, vec![protocol]),
                Is(ThDport, 53_u16.to_be_bytes().to_vec()),
                DnatTo(IpAddr::V4(server), port),
            ],
        });
    }
    batch
}
