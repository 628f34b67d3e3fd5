//! Networks, leases and rules under random `kill -9`: 200 in the suite, as many as DNT_KILLS says elsewhere.

mod world;

use std::{
    collections::HashSet,
    fs::File,
    os::fd::AsFd,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use container_net::{
    Attachment, Endpoint, Host, InterfaceName, NetworkConfig, Pool, SubnetConfig, check, nft::Tables,
    remove_network, repair,
};
use world::{World, sh, tcp};

fn network(which: u64) -> NetworkConfig {
    let id = format!("k{which}");
    let subnet = SubnetConfig::new(format!("10.{}.0.0/24", 120 + which).parse().unwrap()).unwrap();
    let bridge = InterfaceName::new(format!("dnt{id}")).unwrap();
    let mut network = NetworkConfig::bridge(&id, &id, bridge, vec![subnet]);
    network.tables = Tables::named("dnt_k").unwrap();
    network
}

/// Not a test by itself: the process that is killed below. Its namespace is its parent's.
#[test]
fn the_victim_of_the_test_below() {
    let Ok(dir) = std::env::var("DNT_VICTIM") else { return };
    let path = std::env::var("DNT_NETNS").unwrap();
    let namespace = File::open(path).unwrap();
    let me = std::process::id();
    for round in 0_u64.. {
        let network = network(round % 2);
        let mut host = Host::open().unwrap();
        host.ensure_network(&network).unwrap();
        for n in 0..2 {
            let mut endpoint = Endpoint::new(format!("v{me}-{round}-{n}"), "victim").unwrap();
            endpoint.interface = InterfaceName::new(format!("eth{n}")).unwrap();
            endpoint.ports = vec![tcp(None, 0, 80)];
            let state_dir = Path::new(&dir).join(&network.id);
            let attachment = Attachment { network: network.clone(), endpoint, state_dir };
            let attached = host.attach(namespace.as_fd(), &attachment).unwrap();
            drop(attached);
            host.detach(&attachment).unwrap();
        }
        host.remove_network(&network).unwrap();
    }
}

#[test]
fn hundreds_of_kills_leave_no_rule_no_lease_and_no_interface_that_check_does_not_repair() {
    let kills: u64 = std::env::var("DNT_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(200);
    let world = World::new();
    sh("nft add table inet foreign; nft add chain inet foreign own");
    let before = sh("nft list ruleset");
    let dir = world.state.path().to_owned();
    let container = world::Namespace::new();
    let networks = [network(0), network(1)];
    let dirs: Vec<PathBuf> = networks.iter().map(|n| dir.join(&n.id)).collect();
    let known: Vec<(&NetworkConfig, &Path)> =
        networks.iter().zip(&dirs).map(|(n, d)| (n, d.as_path())).collect();
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut mended = 0;
    for kill in 0..kills {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "the_victim_of_the_test_below", "--nocapture"])
            .env("DNT_VICTIM", &dir)
            .env("DNT_NETNS", container.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        // from its first step to its second round
        let until = Instant::now() + Duration::from_micros(2_000 + seed % 60_000);
        while Instant::now() < until {
            std::thread::sleep(Duration::from_micros(300));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        // no address twice, whatever was cut
        for (network, dir) in &known {
            if dir.join("leases").exists() {
                let leases = Pool::open(dir.join("leases"), &network.subnets[0]).unwrap().leases().unwrap();
                let addresses: HashSet<_> = leases.iter().map(|(address, _)| address).collect();
                assert_eq!(addresses.len(), leases.len(), "kill {kill}: {leases:?}");
            }
        }
        // every few kills, so that what several leave meets
        if kill % 4 == 3 || kill + 1 == kills {
            for finding in check(&known, &[]).unwrap() {
                mended += 1;
                repair(&finding).unwrap();
            }
            assert_eq!(check(&known, &[]).unwrap(), [], "kill {kill}");
        }
    }
    for network in &networks {
        remove_network(network).unwrap();
    }
    assert_eq!(sh("nft list ruleset"), before, "a rule is left");
    let links = sh("ip -o link");
    assert!(!links.contains("dv") && !links.contains("dntk"), "{links}");
    for (network, dir) in &known {
        let leases = Pool::open(dir.join("leases"), &network.subnets[0]).unwrap().leases().unwrap();
        assert_eq!(leases, []);
    }
    assert!(mended > 0, "no kill hit anything: the test tests nothing");
    println!("{kills} kills, {mended} findings mended");
}
