//! Virtual IPs: spread, affinity, change, and what is left.

mod world;

use std::{
    collections::{BTreeMap, HashSet},
    net::IpAddr,
};

use container_net::{
    Error,
    nft::{Netfilter, Spread, VirtualIp, VirtualIps},
};
use world::{Container, Namespace, PATIENCE, World, ask_tcp, ask_udp};

/// Answers with a name instead of the client's address.
struct Named {
    stop: std::sync::Arc<std::sync::atomic::AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Named {
    fn at(namespace: &Namespace, text: &'static str) -> Self {
        use std::io::Write;
        use std::sync::atomic::Ordering;
        let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let any: IpAddr = "::".parse().unwrap();
        let listener = namespace.run(move || std::net::TcpListener::bind((any, 4000)).unwrap());
        listener.set_nonblocking(true).unwrap();
        let flag = stop.clone();
        let thread = std::thread::spawn(move || {
            while !flag.load(Ordering::Relaxed) {
                let mut poll = [rustix::event::PollFd::new(&listener, rustix::event::PollFlags::IN)];
                let limit = rustix::event::Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
                let _ = rustix::event::poll(&mut poll, Some(&limit));
                if let Ok((mut stream, _)) = listener.accept() {
                    let _ = stream.write_all(text.as_bytes());
                }
            }
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Named {
    fn drop(&mut self) {
        self.stop.store(true, std::sync::atomic::Ordering::Relaxed);
        let _ = self.thread.take().map(std::thread::JoinHandle::join);
    }
}

struct Town {
    _world: World,
    client: Container,
    backends: Vec<Container>,
    _named: Vec<Named>,
}

fn town() -> Town {
    let world = World::new();
    let network = world.network_up("a", &["10.97.0.0/24", "fd97::/64"]);
    let client = world.container(&network, "client", vec![]);
    let names = ["one", "two", "three"];
    let backends: Vec<Container> = names.iter().map(|id| world.container(&network, id, vec![])).collect();
    let named =
        backends.iter().zip(names).map(|(backend, name)| Named::at(&backend.namespace, name)).collect();
    Town { _world: world, client, backends, _named: named }
}

fn set(town: &Town, address: &str, backends: Vec<IpAddr>, spread: Spread) {
    let virtual_ip = VirtualIp { name: "web".into(), address: address.parse().unwrap(), backends, spread };
    town.client.namespace.run(move || {
        let ips = VirtualIps::named("dnt_vip").unwrap();
        let netfilter = &mut Netfilter::open().unwrap();
        ips.set(netfilter, &virtual_ip).unwrap();
        ips.set(netfilter, &virtual_ip).unwrap();
    });
}

fn ask(town: &Town, address: &str, times: usize) -> BTreeMap<String, usize> {
    let mut found = BTreeMap::new();
    for _ in 0..times {
        let answer = ask_tcp(&town.client.namespace, address, PATIENCE).expect("no backend answered");
        *found.entry(answer).or_default() += 1;
    }
    found
}

#[test]
fn connections_to_one_address_are_spread_over_all_backends_and_follow_a_change() {
    let town = town();
    for (vip, target, v4) in
        [("10.97.0.200", "10.97.0.200:4000", true), ("fd97::200", "[fd97::200]:4000", false)]
    {
        let of = |backend: &Container| if v4 { backend.v4() } else { backend.v6() };
        let all: Vec<IpAddr> = town.backends.iter().map(of).collect();
        set(&town, vip, all.clone(), Spread::Random);
        let seen = ask(&town, target, 60);
        assert_eq!(seen.len(), 3, "{seen:?}");
        assert!(seen.values().all(|count| *count >= 4), "{seen:?}");
        set(&town, vip, all[1..].to_vec(), Spread::Random);
        let seen = ask(&town, target, 30);
        assert_eq!(seen.keys().collect::<Vec<_>>(), ["three", "two"], "{seen:?}");
        town.client.namespace.run(|| {
            let ips = VirtualIps::named("dnt_vip").unwrap();
            let netfilter = &mut Netfilter::open().unwrap();
            let slots: u32 = ips.list(netfilter).unwrap()["web"].values().sum();
            assert_eq!(slots, container_net::nft::SLOTS);
            ips.remove(netfilter, "web").unwrap();
            ips.remove(netfilter, "web").unwrap();
        });
    }
    assert_eq!(town.client.namespace.sh("nft list tables"), "", "a table is left");
}

#[test]
fn a_client_stays_with_its_backend_for_as_long_as_that_is_there() {
    let town = town();
    let all: Vec<IpAddr> = town.backends.iter().map(Container::v4).collect();
    set(&town, "10.97.0.200", all.clone(), Spread::BySource);
    let seen = ask(&town, "10.97.0.200:4000", 20);
    assert_eq!(seen.len(), 1, "{seen:?}");
    let home = seen.keys().next().unwrap().clone();
    let names = ["one", "two", "three"];
    // another one goes: the client stays
    let stays: Vec<IpAddr> = all
        .iter()
        .zip(names)
        .filter(|(_, name)| **name == home || *name != names.iter().copied().find(|n| *n != home).unwrap())
        .map(|(address, _)| *address)
        .collect();
    assert_eq!(stays.len(), 2);
    set(&town, "10.97.0.200", stays, Spread::BySource);
    assert_eq!(ask(&town, "10.97.0.200:4000", 10).keys().collect::<Vec<_>>(), [&home]);
    // its own goes: it moves, and to one alone
    let others: Vec<IpAddr> =
        all.iter().zip(names).filter(|(_, name)| *name != home).map(|(address, _)| *address).collect();
    set(&town, "10.97.0.200", others, Spread::BySource);
    let moved = ask(&town, "10.97.0.200:4000", 10);
    assert!(moved.len() == 1 && !moved.contains_key(&home), "{moved:?}");
    // nobody is behind it: no answer, and no error of ours
    set(&town, "10.97.0.200", vec![], Spread::BySource);
    assert!(ask_tcp(&town.client.namespace, "10.97.0.200:4000", world::SHORT).is_none());
}

#[test]
fn udp_goes_through_a_virtual_ip_and_answers_come_from_it() {
    let town = town();
    let told = world::Telling::at(&town.backends[0].namespace, 5000);
    set(&town, "10.97.0.200", vec![town.backends[0].v4()], Spread::Random);
    // the socket is connected to the virtual address: an answer from another one would not arrive
    assert!(ask_udp(&town.client.namespace, "10.97.0.200:5000", PATIENCE).is_some());
    drop(told);
}

#[test]
fn an_address_has_one_name_and_one_family() {
    let world = World::new();
    world.host.run(|| {
        let ips = VirtualIps::named("dnt_vip").unwrap();
        let netfilter = &mut Netfilter::open().unwrap();
        let ip = |name: &str, address: &str, backend: &str| VirtualIp {
            name: name.into(),
            address: address.parse().unwrap(),
            backends: vec![backend.parse().unwrap()],
            spread: Spread::Random,
        };
        ips.set(netfilter, &ip("one", "10.0.0.1", "10.0.0.2")).unwrap();
        assert!(matches!(
            ips.set(netfilter, &ip("two", "10.0.0.1", "10.0.0.3")),
            Err(Error::AddressTaken { .. })
        ));
        assert!(matches!(ips.set(netfilter, &ip("two", "10.0.0.9", "fd00::1")), Err(Error::Config { .. })));
        ips.set(netfilter, &ip("two", "10.0.0.9", "10.0.0.3")).unwrap();
        let names: HashSet<String> = ips.list(netfilter).unwrap().into_keys().collect();
        assert_eq!(names.len(), 2);
        ips.remove(netfilter, "one").unwrap();
        assert_eq!(ips.list(netfilter).unwrap().len(), 1);
        assert!(VirtualIps::named("a b").is_err());
    });
}

#[test]
fn nft_reads_the_rules_as_they_are_meant() {
    let world = World::new();
    world.host.run(|| {
        let ips = VirtualIps::named("dnt_vip").unwrap();
        let ip = VirtualIp {
            name: "web".into(),
            address: "10.0.0.1".parse().unwrap(),
            backends: vec!["10.0.0.2".parse().unwrap()],
            spread: Spread::BySource,
        };
        ips.set(&mut Netfilter::open().unwrap(), &ip).unwrap();
    });
    let rules = world.host.sh("nft list table inet dnt_vip");
    for line in
        ["dnat ip to ip daddr . numgen random mod 256 map @random4", "jhash ip saddr mod 256", "map @source6"]
    {
        assert!(rules.contains(line), "{line}: {rules}");
    }
}
