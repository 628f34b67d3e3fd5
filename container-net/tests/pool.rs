//! Address pools shared by processes that may be killed at any instruction.

use std::{
    collections::HashMap,
    net::IpAddr,
    path::Path,
    process::{Child, Command, Stdio},
    time::Instant,
};

use container_net::{Error, Pool, SubnetConfig};

fn config(subnet: &str) -> SubnetConfig {
    SubnetConfig::new(subnet.parse().unwrap()).unwrap()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn addresses_are_given_in_turn_and_not_again_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let pool = Pool::open(dir.path(), &config("10.1.0.0/29")).unwrap();
    assert_eq!(pool.lease("a", None).unwrap(), ip("10.1.0.2"));
    assert_eq!(pool.lease("b", None).unwrap(), ip("10.1.0.3"));
    assert_eq!(pool.lease("a", None).unwrap(), ip("10.1.0.2"), "an owner gets the same again");
    pool.release("a").unwrap();
    pool.release("a").unwrap();
    assert_eq!(pool.lease("c", None).unwrap(), ip("10.1.0.4"));
    for owner in ["d", "e"] {
        pool.lease(owner, None).unwrap();
    }
    assert_eq!(pool.lease("f", None).unwrap(), ip("10.1.0.2"));
    let full = pool.lease("g", None).unwrap_err();
    assert!(matches!(full, Error::PoolExhausted { .. }));
    assert_eq!(full.to_string(), "no address is left in 10.1.0.0/29");
    // as another process sees it
    let again = Pool::open(dir.path(), &config("10.1.0.0/29")).unwrap();
    assert_eq!(again.leases().unwrap().len(), 5);
}

#[test]
fn a_wanted_address_is_leased_once_and_reserved_ones_never() {
    let dir = tempfile::tempdir().unwrap();
    let pool = Pool::open(dir.path(), &config("10.1.0.0/24")).unwrap();
    assert_eq!(pool.lease("a", Some(ip("10.1.0.9"))).unwrap(), ip("10.1.0.9"));
    let error = pool.lease("b", Some(ip("10.1.0.9"))).unwrap_err();
    assert_eq!(error.to_string(), "address 10.1.0.9 is leased to a");
    for reserved in ["10.1.0.0", "10.1.0.1", "10.1.0.255", "10.2.0.1", "fd00::1"] {
        assert!(
            matches!(pool.lease("b", Some(ip(reserved))), Err(Error::AddressUnusable { .. })),
            "{reserved}"
        );
    }
    assert!(pool.lease("", None).is_err() && pool.lease(&"x".repeat(97), None).is_err());
}

#[test]
fn a_range_restricts_what_is_chosen_but_not_what_is_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config("10.0.0.0/8");
    config.ip_range = Some("10.5.0.0/30".parse().unwrap());
    let pool = Pool::open(dir.path(), &config).unwrap();
    let chosen: Vec<_> = (0..4).map(|n| pool.lease(&n.to_string(), None).unwrap().to_string()).collect();
    assert_eq!(chosen, ["10.5.0.0", "10.5.0.1", "10.5.0.2", "10.5.0.3"]);
    assert!(matches!(pool.lease("x", None), Err(Error::PoolExhausted { .. })));
    assert_eq!(pool.lease("x", Some(ip("10.200.0.7"))).unwrap(), ip("10.200.0.7"));
    assert!(matches!(pool.lease("y", Some(ip("10.200.0.7"))), Err(Error::AddressTaken { .. })));
    pool.release("x").unwrap();
    assert_eq!(pool.lease("y", Some(ip("10.200.0.7"))).unwrap(), ip("10.200.0.7"));
    assert_eq!(pool.leases().unwrap().len(), 5);
}

#[test]
fn an_ipv6_subnet_of_any_size_works() {
    let dir = tempfile::tempdir().unwrap();
    let pool = Pool::open(dir.path(), &config("fd00:7::/64")).unwrap();
    assert_eq!(pool.lease("a", None).unwrap(), ip("fd00:7::2"));
    let far = ip("fd00:7::dead:beef:0:1");
    assert_eq!(pool.lease("b", Some(far)).unwrap(), far);
    assert_eq!(pool.leases().unwrap(), [(ip("fd00:7::2"), "a".into()), (far, "b".into())]);
}

#[test]
fn a_pool_of_another_subnet_or_range_is_not_taken_for_this_one() {
    let dir = tempfile::tempdir().unwrap();
    Pool::open(dir.path(), &config("10.1.0.0/24")).unwrap();
    let mut other = config("10.1.0.0/24");
    other.ip_range = Some("10.1.0.128/25".parse().unwrap());
    assert!(matches!(Pool::open(dir.path(), &other), Err(Error::PoolDamaged { .. })));
}

#[test]
fn a_full_sixteen_allocates_in_microseconds() {
    let dir = tempfile::tempdir_in("/dev/shm").unwrap();
    let pool = Pool::open(dir.path(), &config("10.1.0.0/16")).unwrap();
    // as if 65,532 others had leases: their tags, written at once where the file has them, but one
    let file = std::fs::OpenOptions::new().write(true).open(dir.path().join("10.1.0.0_16.pool")).unwrap();
    let mut tags = vec![0x55_u8; 65_536 * 4];
    tags[40_000 * 4..40_001 * 4].fill(0);
    std::os::unix::fs::FileExt::write_all_at(&file, &tags, 4096).unwrap();
    let start = Instant::now();
    for n in 0..50 {
        let owner = format!("{n:064x}");
        assert_eq!(pool.lease(&owner, None).unwrap(), ip("10.1.156.64"));
        assert!(matches!(pool.lease("another", None), Err(Error::PoolExhausted { .. })));
        pool.release(&owner).unwrap();
    }
    let each = start.elapsed() / 50;
    eprintln!("a lease of the last address, a refusal and a release: {each:?}");
    // microseconds in a release build; a debug build on a loaded machine takes longer
    assert!(each.as_millis() < 200, "{each:?}");
}

fn worker(dir: &Path, name: &str, rounds: usize) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "the_worker_of_the_tests_below", "--nocapture"])
        .env("DNT_POOL", dir)
        .env("DNT_WORKER", name)
        .env("DNT_ROUNDS", rounds.to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Not a test by itself: what the processes of the tests below do.
#[test]
fn the_worker_of_the_tests_below() {
    let (Ok(dir), Ok(name)) = (std::env::var("DNT_POOL"), std::env::var("DNT_WORKER")) else { return };
    let rounds: usize = std::env::var("DNT_ROUNDS").unwrap().parse().unwrap();
    let pool = Pool::open(&dir, &config("10.1.0.0/25")).unwrap();
    for round in 0..rounds {
        let owner = format!("{name}-{}", round % 20);
        let address = pool.lease(&owner, None).unwrap();
        // the address is ours until we give it back: nobody else may have made this file
        let claim = Path::new(&dir).join(format!("claim-{address}"));
        let fresh = std::fs::OpenOptions::new().write(true).create_new(true).open(&claim);
        std::fs::write(Path::new(&dir).join(format!("held-{owner}")), address.to_string()).unwrap();
        assert!(fresh.is_ok(), "{address} is held twice");
        std::fs::remove_file(&claim).unwrap();
        std::fs::remove_file(Path::new(&dir).join(format!("held-{owner}"))).unwrap();
        pool.release(&owner).unwrap();
    }
}

#[test]
fn processes_at_the_same_pool_never_get_the_same_address() {
    let dir = tempfile::tempdir_in("/dev/shm").unwrap();
    Pool::open(dir.path(), &config("10.1.0.0/25")).unwrap();
    let mut children: Vec<_> = (0..6).map(|n| worker(dir.path(), &format!("w{n}"), 300)).collect();
    for child in &mut children {
        assert!(child.wait().unwrap().success(), "a worker saw an address held twice");
    }
    assert_eq!(Pool::open(dir.path(), &config("10.1.0.0/25")).unwrap().leases().unwrap(), []);
}

#[test]
fn two_hundred_kills_lose_no_lease_and_make_none_twice() {
    let dir = tempfile::tempdir_in("/dev/shm").unwrap();
    let pool = Pool::open(dir.path(), &config("10.1.0.0/25")).unwrap();
    let kept: HashMap<String, IpAddr> =
        (0..5).map(|n| (format!("kept-{n}"), pool.lease(&format!("kept-{n}"), None).unwrap())).collect();
    for round in 0..200_u64 {
        let mut child = worker(dir.path(), &format!("k{round}"), usize::MAX);
        // killed at another place each time, once it is at work
        let mut turns = 0;
        while pool.leases().unwrap().len() == kept.len()
            && turns < 5000
            && child.try_wait().unwrap().is_none()
        {
            turns += 1;
            std::thread::yield_now();
        }
        for _ in 0..(round * 7919 % 97) * 20 {
            std::hint::spin_loop();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let leases = pool.leases().unwrap();
        let mut addresses: Vec<_> = leases.iter().map(|(a, _)| *a).collect();
        addresses.dedup();
        assert_eq!(addresses.len(), leases.len(), "an address is leased twice");
        for (owner, address) in &kept {
            assert!(leases.contains(&(*address, owner.clone())), "{owner} lost {address}");
        }
        let torn: Vec<_> = leases.iter().filter(|(_, owner)| owner.is_empty()).collect();
        assert!(torn.is_empty(), "a kill tore {torn:?}");
        // what the dead one had is freed by whoever knows that it is dead
        for (_, owner) in
            leases.iter().filter(|(_, owner)| owner.starts_with('k') && !owner.starts_with("kept"))
        {
            pool.release(owner).unwrap();
        }
        for entry in std::fs::read_dir(dir.path()).unwrap().flatten() {
            if !entry.file_name().to_string_lossy().ends_with(".pool") {
                std::fs::remove_file(entry.path()).unwrap();
            }
        }
    }
    assert_eq!(pool.leases().unwrap().len(), kept.len());
}
