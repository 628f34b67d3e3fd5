//! What a crash leaves is found and put right, and nothing else is touched.

mod world;

use std::path::Path;

use container_net::{Finding, NetworkConfig, Pool, attach, check, explain, explain_network, nft, repair};
use world::{Namespace, PATIENCE, Telling, World, ask_tcp, sh, tcp};

fn one<'a>(network: &'a NetworkConfig, dir: &'a Path) -> [(&'a NetworkConfig, &'a Path); 1] {
    [(network, dir)]
}

#[test]
fn what_a_killed_container_leaves_is_found_and_repaired() {
    let world = World::new();
    let network = world.network_up("a", &["10.97.0.0/24"]);
    let dir = world.state_dir(&network);
    let live = world.container(&network, "live", vec![tcp(None, 8080, 80)]);
    assert_eq!(check(&one(&network, &dir), &["live"]).unwrap(), []);
    let before = sh("nft -j list ruleset; ip -o link | cut -d: -f2");
    // a container whose monitor was killed: its veth is still there as the namespace is
    let dead = world.container(&network, "dead", vec![tcp(None, 9090, 80)]);
    let findings = check(&one(&network, &dir), &["live"]).unwrap();
    let text: Vec<String> = findings.iter().map(ToString::to_string).collect();
    let has = |what: fn(&Finding) -> bool| findings.iter().any(what);
    assert!(has(|f| matches!(f, Finding::StaleRules { elements: 4, .. })), "{text:?}");
    assert!(has(|f| matches!(f, Finding::StaleLease { owner, .. } if owner == "dead")), "{text:?}");
    assert!(
        has(|f| matches!(f, Finding::StaleNames { container_id, .. } if container_id == "dead")),
        "{text:?}"
    );
    assert!(has(|f| matches!(f, Finding::StaleInterface { .. })), "{text:?}");
    assert_eq!(findings.len(), 4, "{text:?}");
    for finding in &findings {
        repair(finding).unwrap();
        repair(finding).unwrap();
    }
    assert_eq!(check(&one(&network, &dir), &["live"]).unwrap(), []);
    assert_eq!(sh("nft -j list ruleset; ip -o link | cut -d: -f2"), before);
    let _server = Telling::at(&live.namespace, 80);
    assert!(ask_tcp(&world.host, "127.0.0.1:8080", PATIENCE).is_some());
    drop(dead);
}

#[test]
fn missing_rules_are_found_and_come_back() {
    let world = World::new();
    let network = world.network_up("a", &["10.97.0.0/24"]);
    let dir = world.state_dir(&network);
    let before = sh("nft list ruleset");
    for damage in [
        "nft flush chain inet dnt_x to_bridge",
        "nft delete element inet dnt_x bridges '{ dnta }'",
        "nft delete table bridge dnt_x",
        "nft insert rule inet dnt_x from_bridge accept",
    ] {
        sh(damage);
        let findings = check(&one(&network, &dir), &[]).unwrap();
        assert!(matches!(findings.as_slice(), [Finding::MissingRules { .. }]), "{damage}: {findings:?}");
        repair(&findings[0]).unwrap();
        assert_eq!(check(&one(&network, &dir), &[]).unwrap(), [], "{damage}");
        assert_eq!(sh("nft list ruleset"), before, "{damage}");
    }
}

#[test]
fn an_orphan_bridge_is_removed_and_foreign_things_never() {
    let world = World::new();
    let orphan = world.network_up("orphan", &["10.97.0.0/24"]);
    sh(
        "ip link add dntf0 type bridge; ip link set dntf0 alias other:orphan; ip link add dntf1 type veth peer name dntf2; ip link set dntf1 alias dunnage2",
    );
    sh(
        "nft add table inet foreign; nft add set inet foreign bridges '{ type ifname; }'; nft add element inet foreign bridges '{ dntf0 }'",
    );
    let network = world.network_up("a", &["10.98.0.0/24"]);
    let dir = world.state_dir(&network);
    let findings = check(&one(&network, &dir), &[]).unwrap();
    assert!(
        findings
            .iter()
            .any(|f| matches!(f, Finding::OrphanBridge { name, .. } if name == orphan.bridge.as_str())),
        "{findings:?}"
    );
    for finding in &findings {
        repair(finding).unwrap();
    }
    assert_eq!(check(&one(&network, &dir), &[]).unwrap(), []);
    let links = sh("ip -o link | cut -d: -f2");
    assert!(!links.contains("dntorphan") && links.contains("dntf0") && links.contains("dntf1"), "{links}");
    assert!(sh("nft list table inet foreign").contains("dntf0"));
}

#[test]
fn a_firewall_that_drops_what_is_forwarded_is_told_of_but_not_touched() {
    let world = World::new();
    let network = world.network_up("a", &["10.97.0.0/24"]);
    let dir = world.state_dir(&network);
    sh(
        "nft add table ip filter; nft add chain ip filter FORWARD '{ type filter hook forward priority 0; policy drop; }'",
    );
    let findings = check(&one(&network, &dir), &[]).unwrap();
    assert!(matches!(findings.as_slice(), [Finding::ForwardDropped { .. }]), "{findings:?}");
    assert!(repair(&findings[0]).is_err());
    assert_eq!(
        nft::Netfilter::open().unwrap().forward_drops().unwrap(),
        [("filter".into(), "FORWARD".into())]
    );
}

#[test]
fn killed_at_any_moment_of_attaching_a_process_leaves_what_check_can_repair() {
    let world = World::new();
    let network = world.network_up("a", &["10.97.0.0/24"]);
    let dir = world.state_dir(&network);
    let before = sh("nft -j list ruleset; ip -o link | cut -d: -f2");
    let config =
        serde_json::to_string(&world.attachment(&network, "victim", vec![tcp(None, 8080, 80)])).unwrap();
    for round in 0..30_u64 {
        let mut child = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "the_victim_of_the_test_above", "--nocapture"])
            .env("DNT_ATTACHMENT", &config)
            .stdin(std::process::Stdio::null())
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        // later each time: from before the first lease to when all is up
        let file = dir.join("leases/10.97.0.0_24.pool");
        let deadline = std::time::Instant::now() + PATIENCE;
        while !file.exists() && std::time::Instant::now() < deadline {
            std::thread::yield_now();
        }
        let until = std::time::Instant::now() + std::time::Duration::from_micros(round * 400);
        while std::time::Instant::now() < until {
            std::hint::spin_loop();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        for finding in check(&one(&network, &dir), &[]).unwrap() {
            repair(&finding).unwrap();
        }
        assert_eq!(check(&one(&network, &dir), &[]).unwrap(), [], "round {round}");
        assert_eq!(sh("nft -j list ruleset; ip -o link | cut -d: -f2"), before, "round {round}");
        assert_eq!(Pool::open(dir.join("leases"), &network.subnets[0]).unwrap().leases().unwrap(), []);
    }
}

/// Not a test by itself: the process that is killed.
#[test]
fn the_victim_of_the_test_above() {
    let Ok(config) = std::env::var("DNT_ATTACHMENT") else { return };
    let attachment: container_net::Attachment = serde_json::from_str(&config).unwrap();
    let namespace = Namespace::new();
    loop {
        let _attached = attach(namespace.fd(), &attachment);
    }
}

#[test]
fn an_explanation_names_what_will_be_made_before_it_is() {
    let world = World::new();
    let network = world.network("a", &["10.97.0.0/24"]);
    let text = explain_network(&network);
    for part in ["add table inet dnt_x", "masquerade", "create bridge dnta", "10.97.0.1/24", "ip_forward"] {
        assert!(text.contains(part), "{part} is missing in\n{text}");
    }
    let text = explain(&world.attachment(&network, "c1", vec![tcp(None, 8080, 80)]));
    for part in ["lease", "8080/tcp", "create veth", "lo up", "route everything through 10.97.0.1"] {
        assert!(text.contains(part), "{part} is missing in\n{text}");
    }
    assert_eq!(sh("nft list ruleset"), "");
}
