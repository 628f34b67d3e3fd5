//! Fields and options of the specification that have an effect of their own, and those that are refused for a reason.

mod support;

use std::fs::File;
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};

use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::thread::UnshareFlags;
use serde_json::{Value, json};
use support::{World, finish, text, unshare};

/// Runs a configuration that must be refused; what is said of it.
fn refused(world: &World, config: &Value) -> String {
    world.write(config);
    let output = world.oci(&["run", "x"]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stdout));
    assert_eq!(world.ok(&["list", "-q"]), "");
    text(&output.stderr)
}

#[test]
fn a_network_device_moves_in_with_its_addresses_and_its_new_name() {
    let Some(world) = World::new("netdev") else { return };
    if let Err(error) = unshare(UnshareFlags::NEWNET) {
        eprintln!("skipped: no network namespace of its own: {error}");
        return;
    }
    let ip = |args: &[&str]| {
        let output = Command::new("ip").args(args).stdin(Stdio::null()).output().expect("ip");
        assert!(output.status.success(), "ip {args:?}: {}", text(&output.stderr));
    };
    ip(&["link", "add", "dnt0", "mtu", "1400", "type", "veth", "peer", "name", "dnt1"]);
    ip(&["addr", "add", "10.9.8.7/24", "dev", "dnt0"]);
    ip(&["addr", "add", "fd00:9::7/64", "dev", "dnt0", "nodad"]);
    let mut config = world.config("ip -o addr show eth7; ip -o link show eth7; ip link show dnt0 2>&1");
    config["linux"]["netDevices"] = json!({"dnt0": {"name": "eth7"}});
    world.write(&config);
    let said = text(&world.oci(&["run", "n"]).stdout);
    for wanted in ["10.9.8.7/24", "fd00:9::7/64", "mtu 1400", "UP", "can't find device"] {
        assert!(said.contains(wanted), "{wanted}: {said}");
    }
    // it went away with its namespace, and its peer with it
    config["linux"]["netDevices"] = json!({"dnt0": {}});
    let said = refused(&world, &config);
    assert!(said.contains("cannot look for network device dnt0: no such device"), "{said}");
    config["linux"]["namespaces"].as_array_mut().expect("namespaces").retain(|one| one["type"] != "network");
    let said = refused(&world, &config);
    assert!(said.contains("/linux/netDevices/dnt0: needs a network namespace"), "{said}");
}

#[test]
fn a_memory_policy_is_the_processes() {
    let Some(world) = World::new("mempolicy") else { return };
    let mut config = world.config("grep -m 1 stack /proc/self/numa_maps");
    config["linux"]["memoryPolicy"] =
        json!({"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"]});
    world.write(&config);
    let said = text(&world.oci(&["run", "m"]).stdout);
    assert!(said.contains("bind=static:0"), "{said}");
    config["linux"]["memoryPolicy"]["nodes"] = json!("0,1024");
    let said = refused(&world, &config);
    assert!(
        said.contains("linux.memoryPolicy.nodes: is not a list of numbers below 1024: \"0,1024\""),
        "{said}"
    );
}

#[test]
fn the_affinity_for_exec_is_not_the_first_processes() {
    let Some(world) = World::new("affinity") else { return };
    let look = "grep Cpus_allowed_list /proc/self/status";
    let mut config = world.config(&format!("{look}; read x < /fifo"));
    let fifo = world.rootfs().join("fifo");
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, 0o600.into(), 0).expect("fifo");
    config["process"]["execCPUAffinity"] = json!({"initial": "0", "final": "0"});
    world.write(&config);
    let out = world.create("a", &[]);
    world.ok(&["start", "a"]);
    let all = support::eventually(&out, |said| said.ends_with('\n'));
    let host = std::fs::read_to_string("/proc/self/status").expect("status");
    let hosts = host.lines().find(|line| line.starts_with("Cpus_allowed_list"));
    assert_eq!(hosts, Some(all.trim()), "the first process has what the host has");
    assert_eq!(world.ok(&["exec", "a", "sh", "-c", look]).trim(), "Cpus_allowed_list:\t0");
    std::fs::write(&fifo, "\n").expect("fifo");
}

#[test]
fn what_the_kernel_does_not_have_is_refused_by_its_place_in_the_configuration() {
    let Some(world) = World::new("refused") else { return };
    let absent = |path: &str| !std::path::Path::new(path).exists();
    let mut cases =
        vec![("/linux/personality", json!({"domain": "LINUX", "flags": ["X"]}), "linux.personality.flags")];
    if absent("/sys/fs/selinux") {
        cases.push((
            "/process/selinuxLabel",
            json!("a:b:c:d"),
            "process.selinuxLabel: the kernel has no SELinux",
        ));
        cases.push(("/linux/mountLabel", json!("a:b:c:d"), "linux.mountLabel: the kernel has no SELinux"));
    }
    if absent("/sys/module/apparmor/parameters/enabled") {
        cases.push((
            "/process/apparmorProfile",
            json!("mine"),
            "process.apparmorProfile: the kernel has no AppArmor",
        ));
    }
    if absent("/sys/fs/resctrl/schemata") {
        cases.push(("/linux/intelRdt", json!({"closID": "x"}), "linux.intelRdt: resctrl is not mounted"));
    }
    for (pointer, value, wanted) in cases {
        let mut config = world.config("true");
        let (parent, key) = pointer.rsplit_once('/').expect("a pointer");
        config.pointer_mut(parent).expect("a parent")[key] = value;
        let said = refused(&world, &config);
        assert!(said.contains(wanted), "{pointer}: {said}");
    }
    if absent("/sys/module/apparmor/parameters/enabled") {
        let mut config = world.config("true");
        config["process"]["apparmorProfile"] = json!("unconfined");
        world.write(&config);
        world.ok(&["run", "u"]);
    }
    for (args, wanted) in [
        (vec!["checkpoint", "x"], "checkpoint "),
        (vec!["restore", "x"], "restore "),
        (vec!["--systemd-cgroup", "state", "x"], "--systemd-cgroup"),
    ] {
        let output = world.oci(&args);
        assert_eq!(output.status.code(), Some(1), "{args:?}");
        assert!(text(&output.stderr).contains(wanted), "{args:?}: {}", text(&output.stderr));
    }
}

#[test]
fn without_pivot_the_root_is_entered_all_the_same() {
    let Some(world) = World::new("no-pivot") else { return };
    world.write(&world.config("ls -d /bin /proc/1 /data; pwd; ls -d /boot 2>&1"));
    let output = world.oci(&["run", "--no-pivot", "p"]);
    let said = text(&output.stdout);
    assert!(said.starts_with("/bin\n/data\n/proc/1\n/\n") && said.contains("/boot: No such file"), "{said}");
}

#[test]
fn relative_masks_and_group_numbers_that_come_twice_are_taken_as_they_are_meant() {
    let Some(world) = World::new("lenient") else { return };
    let mut config = world.config("ls -A /data; touch /tmp/x 2>&1; id -G");
    std::fs::write(world.rootfs().join("data/secret"), "x").expect("a file");
    config["linux"]["maskedPaths"] = json!(["data"]);
    config["linux"]["readonlyPaths"] = json!(["tmp"]);
    config["process"]["user"]["additionalGids"] = json!([7, 8, 7]);
    world.write(&config);
    let said = text(&world.oci(&["run", "l"]).stdout);
    assert_eq!(said, "touch: /tmp/x: Read-only file system\n0 7 8\n");
}

#[test]
fn a_terminal_has_the_callers_size_before_its_program_starts() {
    let Some(world) = World::new("size") else { return };
    let mut config = world.config("stty size");
    config["process"]["terminal"] = json!(true);
    world.write(&config);
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
    grantpt(&master).expect("grantpt");
    unlockpt(&master).expect("unlockpt");
    let slave: OwnedFd =
        ioctl_tiocgptpeer(&master, OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a slave");
    let size = rustix::termios::Winsize { ws_row: 33, ws_col: 99, ws_xpixel: 0, ws_ypixel: 0 };
    rustix::termios::tcsetwinsize(&master, size).expect("a size");
    let started = |args: &[&str]| {
        let mut command = world.command(args);
        command
            .stdin(File::from(slave.try_clone().expect("a slave")))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let output = finish(command.spawn().expect("dunnage-oci"));
        assert!(output.status.success(), "{args:?}: {}", text(&output.stderr));
        text(&output.stdout)
    };
    assert_eq!(started(&["run", "t"]), "33 99\r\n");
    config["process"]["terminal"] = json!(false);
    config["process"]["args"][2] = json!("while :; do sleep 100; done");
    world.write(&config);
    world.create("e", &[]);
    assert_eq!(started(&["exec", "-t", "e", "stty", "size"]), "33 99\r\n");
}
