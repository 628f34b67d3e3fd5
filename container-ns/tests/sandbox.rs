//! Real containers, made from busybox.

mod rootfs;

use std::fs;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use container_ns::{
    Action, Attributes, BindSource, CapSet, Capabilities, Comparison, Condition, Device, Filesystem, Filter,
    Hook, IdMap, IdMaps, IoClass, IoPriority, JoinCgroup, Mount, MountFlags, MountIdMap, MountKind,
    Namespace, NamespaceKind, Namespaces, Propagation, Resource, Rlimit, Root, Rule, Sandbox, Scheduler,
    Seccomp, Setgroups, Stdio, StepKind, Terminal, TimeOffset, User, WindowSize, open_gate,
};
use rootfs::{Killed, Rootfs, able, catch, output, read, run, wait};

#[test]
fn a_default_container_is_pid_1_with_its_own_name_and_mounts() {
    if !able() {
        return;
    }
    let root = Rootfs::new();
    let mut sandbox = root.container(
        "echo $$; hostname; grep -c . /proc/net/dev; pwd; for f in null zero full random urandom tty; do stat -c '%n %a %t:%T' /dev/$f; done; \
         for l in fd stdin ptmx; do readlink /dev/$l; done; mount | sort",
    );
    sandbox.hostname = Some("box".into());
    sandbox.domainname = Some("example".into());
    let text = output(sandbox);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[..4], ["1", "box", "3", "/"], "{text}");
    assert_eq!(lines[4], "/dev/null 666 1:3");
    assert_eq!(lines[9], "/dev/tty 666 5:0");
    assert_eq!(lines[10..13], ["/proc/self/fd", "/proc/self/fd/0", "pts/ptmx"]);
    for wanted in [
        "proc on /proc type proc (rw,nosuid,nodev,noexec,relatime)",
        "tmpfs on /dev type tmpfs (rw,nosuid,size=65536k,mode=755",
        "devpts on /dev/pts type devpts (rw,nosuid,noexec,relatime,gid=5,mode=620,ptmxmode=666)",
        "tmpfs on /dev/shm type tmpfs (rw,nosuid,nodev,noexec,relatime,size=65536k",
        "mqueue on /dev/mqueue type mqueue (rw,nosuid,nodev,noexec,relatime)",
        "sysfs on /sys type sysfs (ro,nosuid,nodev,noexec,relatime)",
        "on /sys/fs/cgroup type",
    ] {
        assert!(text.contains(wanted), "{wanted} is not in\n{text}");
    }
}

#[test]
fn identity_rights_and_limits_are_what_was_asked_for() {
    if !able() {
        return;
    }
    let root = Rootfs::new();
    let mut sandbox = root.container("cat /proc/self/status; ulimit -n; ulimit -H -n; umask; cat /proc/self/oom_score_adj; cut -d' ' -f19 /proc/self/stat; env");
    sandbox.user = Some(User { uid: 1000, gid: 1000, additional_gids: vec![7, 42], umask: Some(0o077) });
    let set = CapSet::CHOWN.union(CapSet::NET_BIND_SERVICE);
    sandbox.capabilities = Some(Capabilities {
        ambient: CapSet::CHOWN,
        inheritable: CapSet::CHOWN,
        ..Capabilities::bounded(set)
    });
    sandbox.rlimits = vec![Rlimit { resource: Resource::Nofile, soft: 100, hard: 200 }];
    sandbox.oom_score_adj = Some(321);
    sandbox.scheduler = Some(Scheduler { nice: 5, ..Scheduler::default() });
    sandbox.io_priority = Some(IoPriority { class: IoClass::Idle, level: 0 });
    sandbox.cpu_affinity = Some(vec![0]);
    sandbox.personality = Some(0);
    sandbox.env.push("GREETING=good day".into());
    let text = output(sandbox);
    for wanted in [
        "Uid:\t1000\t1000\t1000\t1000",
        "Gid:\t1000\t1000\t1000\t1000",
        "Groups:\t7 42",
        // busybox is not root: of the permitted set only what is ambient survives execve
        "CapPrm:\t0000000000000001",
        "CapInh:\t0000000000000001",
        "CapBnd:\t0000000000000401",
        "CapAmb:\t0000000000000001",
        "NoNewPrivs:\t1",
        "Seccomp:\t2",
        "SigBlk:\t0000000000000000",
        "SigIgn:\t0000000000000000",
        "Cpus_allowed_list:\t0\n",
        "\n100\n200\n0077\n321\n5\n",
        "GREETING=good day",
    ] {
        assert!(text.contains(wanted), "{wanted:?} is not in\n{text}");
    }
    assert!(!text.contains("CARGO"), "the caller's environment came along:\n{text}");
}

#[test]
fn mounts_of_every_kind_are_made_in_order() {
    if !able() {
        return;
    }
    let root = Rootfs::new();
    let host = tempfile::tempdir().unwrap();
    fs::write(host.path().join("file"), "from the host").unwrap();
    fs::create_dir(host.path().join("sub")).unwrap();
    fs::create_dir(root.join("etc/conf")).unwrap();
    fs::write(root.join("etc/conf/a"), "copied").unwrap();
    fs::set_permissions(root.join("etc/conf/a"), fs::Permissions::from_mode(0o640)).unwrap();
    std::os::unix::fs::symlink("a", root.join("etc/conf/link")).unwrap();
    fs::create_dir(root.join("etc/conf/deep")).unwrap();
    fs::write(root.join("etc/conf/deep/b"), vec![b'x'; 3_000_000]).unwrap();
    let file: OwnedFd = fs::File::open(host.path().join("file")).unwrap().into();
    let sub: OwnedFd = fs::File::open(host.path().join("sub")).unwrap().into();
    let mut sandbox = root.container(
        "set -e; cat /data/file; touch /data/new 2>&1 || true; cat /one/file/here; touch /sub/written; \
         cat /etc/conf/link; stat -c %a /etc/conf/a; wc -c </etc/conf/deep/b; touch /etc/conf/mine; mount",
    );
    sandbox.mounts.push(Mount::bind(
        host.path(),
        "/data",
        MountFlags::READ_ONLY | MountFlags::NO_EXEC | MountFlags::NO_ATIME,
    ));
    let detached = |fd| MountKind::Bind { source: BindSource::Descriptor(fd), recursive: false };
    sandbox.mounts.push(Mount::new("/one/file/here", detached(file), MountFlags::READ_ONLY));
    sandbox.mounts.push(Mount::new("/sub", detached(sub), MountFlags::NO_DEV));
    sandbox.mounts.push(Mount::new(
        "/etc/conf",
        MountKind::TmpCopyUp(Filesystem::new("tmpfs")),
        MountFlags::NO_SUID,
    ));
    sandbox.mounts.push(Mount::filesystem(
        "/var/x/y",
        Filesystem::new("tmpfs").option("size", "4k"),
        MountFlags::empty(),
    ));
    sandbox.mounts.push(Mount::new("/var/x/y", MountKind::Remount(vec![]), MountFlags::READ_ONLY));
    let text = output(sandbox);
    assert!(
        text.starts_with(
            "from the hosttouch: /data/new: Read-only file system\nfrom the hostcopied640\n3000000\n"
        ),
        "{text}"
    );
    assert!(text.contains("on /data type") && text.contains("on /var/x/y type tmpfs (ro,"), "{text}");
    assert!(
        text.lines().any(|line| line.contains(" /data ") && line.contains("ro,noexec,noatime")),
        "{text}"
    );
    assert!(host.path().join("sub/written").exists(), "a bind by descriptor is the same directory");
    assert!(!root.join("etc/conf/mine").exists(), "a copy is not the original");
    let mounts = fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
    assert!(!mounts.contains(root.path().to_str().unwrap()), "a mount is seen on the host");
}

#[test]
fn recursive_read_only_reaches_the_mounts_below() {
    if !able() {
        return;
    }
    let root = Rootfs::new();
    let mut sandbox = root.container("touch /b/plain/x 2>&1; touch /c/plain/x 2>&1");
    let host = tempfile::tempdir().unwrap();
    fs::create_dir(host.path().join("plain")).unwrap();
    let mut mount = Mount::bind(host.path(), "/b", MountFlags::empty());
    mount.attributes = Attributes { set_recursive: MountFlags::READ_ONLY, ..Attributes::default() };
    sandbox.mounts.push(mount);
    sandbox.mounts.push(Mount::bind(host.path(), "/c", MountFlags::empty()));
    let text = run(sandbox).text;
    assert!(text.contains("/b/plain/x: Read-only") && !text.contains("/c/plain/x"), "{text}");
}

#[test]
fn masked_and_read_only_paths_hold() {
    if !able() {
        return;
    }
    let root = Rootfs::new();
    fs::create_dir_all(root.join("secret/dir")).unwrap();
    fs::write(root.join("secret/dir/file"), "hidden").unwrap();
    fs::write(root.join("secret/key"), "hidden").unwrap();
    let mut sandbox = root.container(
        "ls -A /secret/dir /secret/other 2>&1; cat /secret/key; touch /secret/dir/x 2>&1; echo 1 > /proc/sys/kernel/panic; cat /proc/keys; ls /sys/firmware",
    );
    sandbox.masked_paths.extend([
        "/secret/dir".into(),
        "/secret/key".into(),
        "/not/there".into(),
        "/secret/key/below".into(),
    ]);
    let text = run(sandbox).text;
    assert!(!text.contains("hidden"), "{text}");
    assert!(text.contains("/secret/dir/x: Read-only file system"), "{text}");
    assert!(text.contains("/proc/sys/kernel/panic: Read-only file system"), "{text}");
}

#[test]
fn a_read_only_root_is_read_only_but_its_mounts_are_not() {
    if !able() {
        return;
    }
    let root = Rootfs::new();
    let mut sandbox =
        root.container("touch /x 2>&1; touch /tmp/y && echo fine; touch /dev/shm/z && echo fine");
    sandbox.read_only_root = true;
    sandbox.mounts.push(Mount::filesystem("/tmp", Filesystem::new("tmpfs"), MountFlags::empty()));
    sandbox.cwd = "/made/on/time".into();
    assert_eq!(output(sandbox), "touch: /x: Read-only file system\nfine\nfine");
}

#[test]
fn an_overlay_root_exists_in_the_container_only() {
    if !able() {
        return;
    }
    let root = Rootfs::new();
    // overlay wants its upper directory on a file system with xattrs; tmpfs has them
    let work = tempfile::Builder::new().prefix("dntov").tempdir_in("/dev/shm").unwrap();
    let (top, upper, scratch) =
        (work.path().join("top"), work.path().join("upper"), work.path().join("work"));
    for dir in [&top, &upper, &scratch] {
        fs::create_dir(dir).unwrap();
    }
    fs::write(top.join("layer"), "upper layer").unwrap();
    let mut sandbox = root.container("cat /layer; echo hi > /written; mount | head -n 1");
    sandbox.root =
        Root::Filesystem(Filesystem::overlay([top, root.path().to_owned()], Some((upper.clone(), scratch))));
    let text = output(sandbox);
    assert!(text.starts_with("upper layeroverlay on / type overlay (rw,"), "{text}");
    assert_eq!(fs::read_to_string(upper.join("written")).unwrap(), "hi\n");
    assert!(!fs::read_to_string("/proc/thread-self/mountinfo").unwrap().contains(upper.to_str().unwrap()));
}

#[test]
fn a_root_by_descriptor_works() {
    if !able() {
        return;
    }
    let root = Rootfs::new();
    let mut sandbox = root.container("pwd; echo $$");
    sandbox.root = Root::Directory(fs::File::open(root.path()).unwrap().into());
    assert_eq!(output(sandbox), "/\n1");
}

#[test]
fn devices_have_mode_and_owner() {
    if !able() {
        return;
    }
    let root = Rootfs::new();
    let mut sandbox = root.container("stat -c '%n %a %u:%g %t:%T %F' /dev/sub/kmsg /dev/pipe");
    sandbox.devices.push(Device {
        mode: 0o640,
        uid: 12,
        gid: 34,
        ..Device::character("/dev/sub/kmsg", 1, 11)
    });
    sandbox
        .devices
        .push(Device { kind: container_ns::DeviceKind::Fifo, ..Device::character("/dev/pipe", 0, 0) });
    let text = output(sandbox);
    assert_eq!(text, "/dev/sub/kmsg 640 12:34 1:b character special file\n/dev/pipe 666 0:0 0:0 fifo");
}

#[test]
fn a_new_terminal_controls_the_process_and_is_its_console() {
    if !able() {
        return;
    }
    let root = Rootfs::new();
    let mut sandbox = root.container("tty; stty size; stat -c %t:%T /dev/console; echo from tty > /dev/tty; test -t 0 && test -t 2 && echo all");
    sandbox.terminal = Terminal::New(Some(WindowSize { columns: 91, rows: 17 }));
    let mut child = sandbox.compile().unwrap().spawn().unwrap();
    let mut master = fs::File::from(child.take_terminal().expect("the master"));
    child.release().unwrap();
    assert!(wait(&mut child).success());
    let mut text = String::new();
    // the end of a terminal is an error
    let _ = master.read_to_string(&mut text);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[..2], ["/dev/pts/0", "17 91"], "{text}");
    assert!(lines[2].starts_with("88:"), "the console is a pts: {text}");
    assert_eq!(lines[3..], ["from tty", "all"], "{text}");
}

#[test]
fn a_slave_of_the_callers_will_do() {
    if !able() {
        return;
    }
    let master =
        rustix::pty::openpt(rustix::pty::OpenptFlags::RDWR | rustix::pty::OpenptFlags::NOCTTY).unwrap();
    rustix::pty::unlockpt(&master).unwrap();
    let path = rustix::pty::ptsname(&master, Vec::new()).unwrap();
    let flags = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NOCTTY;
    let slave = rustix::fs::open(path, flags, rustix::fs::Mode::empty()).unwrap();
    let mut sandbox = Sandbox::new(["/bin/sh", "-c", "test -t 0 && echo ok >/dev/tty"]);
    sandbox.terminal = Terminal::Slave(slave);
    let mut child = sandbox.compile().unwrap().run().unwrap();
    assert!(wait(&mut child).success());
}

#[test]
fn the_filter_decides() {
    if !able() {
        return;
    }
    let root = Rootfs::new();
    let rule = |name: &'static str, conditions, action| Rule { names: vec![name.into()], conditions, action };
    let filter = Filter {
        default: Action::Allow,
        rules: vec![
            rule("mkdir", vec![], Action::Errno(95)),
            rule("mkdirat", vec![], Action::Errno(95)),
            rule(
                "kill",
                vec![Condition { argument: 1, comparison: Comparison::Equal, value: 10 }],
                Action::Errno(1),
            ),
        ],
        ..Filter::docker_default(CapSet::EMPTY)
    };
    let mut sandbox = root.container("mkdir /x 2>&1; kill -USR1 $$ 2>&1; kill -0 $$ && echo fine");
    sandbox.seccomp = Some(Seccomp::new(&filter).unwrap());
    let text = output(sandbox);
    assert!(text.starts_with("mkdir: can't create directory '/x': ") && text.ends_with("fine"), "{text}");
    assert!(text.contains("not supported") && text.contains("not permitted"), "{text}");
    // without no_new_privs the filter goes in with CAP_SYS_ADMIN, which is gone afterwards
    let mut sandbox =
        root.container("grep -E 'Seccomp:|CapEff|NoNew' /proc/self/status; unshare -m true 2>&1");
    sandbox.no_new_privs = false;
    let text = run(sandbox).text;
    assert!(text.contains("CapEff:\t00000000a80425fb\nNoNewPrivs:\t0\nSeccomp:\t2"), "{text}");
    assert!(text.contains("not permitted"), "{text}");
}

#[test]
fn a_listener_comes_back_to_the_caller() {
    if !able() {
        return;
    }
    let root = Rootfs::new();
    let rule = Rule { names: vec!["reboot".into()], conditions: vec![], action: Action::Notify };
    let filter =
        Filter { default: Action::Allow, rules: vec![rule], ..Filter::docker_default(CapSet::EMPTY) };
    let mut sandbox = root.container("true");
    sandbox.seccomp = Some(Seccomp::new(&filter).unwrap());
    let mut child = sandbox.compile().unwrap().spawn().unwrap();
    let listener = child.take_listener().expect("a listener");
    let link = fs::read_link(format!("/proc/self/fd/{}", listener.as_raw_fd())).unwrap();
    assert_eq!(link.to_str(), Some("anon_inode:seccomp notify"));
    child.release().unwrap();
    assert!(wait(&mut child).success());
}

#[test]
fn kernel_parameters_are_those_of_its_namespaces() {
    if !able() {
        return;
    }
    let root = Rootfs::new();
    let before = fs::read_to_string("/proc/sys/kernel/msgmax").unwrap();
    let mut sandbox = root.container("cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/msgmax /proc/sys/net/ipv4/ip_unprivileged_port_start");
    sandbox.sysctls = vec![
        ("net.ipv4.ip_forward".into(), "1".into()),
        ("kernel.msgmax".into(), "7777".into()),
        ("net/ipv4/ip_unprivileged_port_start".into(), "0".into()),
    ];
    assert_eq!(output(sandbox), "1\n7777\n0");
    assert_eq!(fs::read_to_string("/proc/sys/kernel/msgmax").unwrap(), before);
    let mut sandbox = root.container("true");
    sandbox.sysctls = vec![("kernel.panic".into(), "1".into())];
    assert!(sandbox.compile().unwrap_err().to_string().contains("kernel.panic"));
}

#[test]
fn a_user_namespace_maps_ids_and_binds_devices() {
    if !able() {
        return;
    }
    let root = Rootfs::new();
    let mut sandbox = root.container("id -u; cat /proc/self/uid_map; stat -c '%u %t:%T' /dev/null; echo x >/dev/null && touch /tmp/mine; cat /proc/self/oom_score_adj; grep Groups /proc/self/status");
    for path in ["tmp", "dev", "proc", "sys"] {
        std::os::unix::fs::chown(root.join(path), Some(100_000), Some(100_000)).unwrap();
    }
    std::os::unix::fs::chown(root.path(), Some(100_000), Some(100_000)).unwrap();
    sandbox.namespaces.user = Namespace::New;
    sandbox.id_maps = IdMaps::both(IdMap::new(0, 100_000, 65536));
    sandbox.oom_score_adj = Some(77);
    let text = output(sandbox);
    let words: Vec<&str> = text.split_whitespace().collect();
    assert_eq!(words, ["0", "0", "100000", "65536", "65534", "1:3", "77", "Groups:"], "{text}");
    assert_eq!(fs::metadata(root.join("tmp/mine")).unwrap().uid(), 100_000);
    // maps can deny setgroups, too
    let mut sandbox = root.container("cat /proc/self/setgroups");
    sandbox.namespaces.user = Namespace::New;
    sandbox.id_maps = IdMaps { setgroups: Setgroups::Deny, ..IdMaps::both(IdMap::new(0, 100_000, 65536)) };
    assert_eq!(output(sandbox), "deny");
}

#[test]
fn an_id_mapped_bind_shifts_owners() {
    if !able() {
        return;
    }
    let root = Rootfs::new();
    let host = tempfile::Builder::new().prefix("dntid").tempdir_in("/dev/shm").unwrap();
    fs::write(host.path().join("file"), "").unwrap();
    std::os::unix::fs::chown(host.path().join("file"), Some(5), Some(6)).unwrap();
    let mut sandbox = root.container("stat -c %u:%g /data/file");
    let mut mount = Mount::bind(host.path(), "/data", MountFlags::empty());
    let map = |to| vec![IdMap::new(0, to, 100)];
    mount.idmap = Some((MountIdMap::Maps { users: map(1000), groups: map(2000) }, false));
    sandbox.mounts.push(mount);
    // the first id of an extent is what is on disk, the second what is seen
    assert_eq!(output(sandbox), "1005:2006");
}

#[test]
fn a_time_namespace_moves_the_boot_clock() {
    if !able() {
        return;
    }
    let root = Rootfs::new();
    let mut sandbox = root.container("cat /proc/uptime");
    sandbox.namespaces.time = Namespace::New;
    sandbox.time_offsets.boottime = Some(TimeOffset { seconds: 10_000_000, nanoseconds: 0 });
    let text = output(sandbox);
    let uptime: f64 = text.split(' ').next().unwrap().parse().unwrap();
    assert!(uptime > 10_000_000.0, "{text}");
}

#[test]
fn a_second_process_joins_a_running_container() {
    if !able() {
        return;
    }
    let root = Rootfs::new();
    fs::write(root.join("marker"), "inside\n").unwrap();
    let mut first = root.container("while :; do sleep 1; done");
    first.hostname = Some("joined".into());
    let mut first = Killed(first.compile().unwrap().run().unwrap());
    let mut sandbox = Sandbox::new([
        "sh",
        "-c",
        "hostname; cat /marker; ps | grep -c while; grep NSpid /proc/self/status; pwd; echo $PPID",
    ]);
    sandbox.namespaces = Namespaces::of(first.0.pidfd()).unwrap();
    assert!(matches!(sandbox.namespaces.user, Namespace::Inherit), "a shared namespace is not joined");
    assert!(sandbox.namespaces.pid.is_joined() && sandbox.namespaces.cgroup.is_joined());
    sandbox.cwd = "/etc".into();
    sandbox.user = Some(User::default());
    sandbox.capabilities = Some(Capabilities::bounded(CapSet::DOCKER_DEFAULT));
    sandbox.seccomp = Some(Seccomp::docker_default(CapSet::DOCKER_DEFAULT));
    sandbox.terminal = Terminal::New(None);
    let mut child = sandbox.compile().unwrap().spawn().unwrap();
    let mut master = fs::File::from(child.take_terminal().unwrap());
    child.release().unwrap();
    let pid = child.pid();
    assert_ne!(pid, first.0.pid());
    assert!(wait(&mut child).success());
    let mut text = String::new();
    let _ = master.read_to_string(&mut text);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[..2], ["joined", "inside"], "{text}");
    assert!(lines[3].starts_with("NSpid:"), "{text}");
    assert_eq!(lines[4..], ["/etc", "0"], "{text}");
    first.0.signal(9).unwrap();
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&wait(&mut first.0)), Some(9));
    assert!(Namespaces::of(first.0.pidfd()).is_err(), "of a process that has ended");
}

#[test]
fn a_second_process_joins_a_container_in_a_user_namespace() {
    if !able() {
        return;
    }
    let root = Rootfs::new();
    std::os::unix::fs::chown(root.path(), Some(100_000), Some(100_000)).unwrap();
    for path in ["dev", "proc", "sys"] {
        std::os::unix::fs::chown(root.join(path), Some(100_000), Some(100_000)).unwrap();
    }
    let mut first = root.container("while :; do sleep 1; done");
    first.namespaces.user = Namespace::New;
    first.id_maps = IdMaps::both(IdMap::new(0, 100_000, 65536));
    let mut first = Killed(first.compile().unwrap().run().unwrap());
    let mut sandbox = Sandbox::new(["sh", "-c", "id -u; cat /proc/1/comm; cat /proc/self/uid_map"]);
    sandbox.namespaces = Namespaces::of(first.0.pidfd()).unwrap();
    sandbox.user = Some(User::default());
    let text = output(sandbox);
    assert_eq!(text.split_whitespace().collect::<Vec<_>>(), ["0", "sh", "0", "100000", "65536"], "{text}");
    first.0.signal(9).unwrap();
    wait(&mut first.0);
}

#[test]
fn the_meeting_is_where_the_net_namespace_exists_and_nothing_is_mounted() {
    if !able() {
        return;
    }
    let root = Rootfs::new();
    let mut sandbox = root.container("cat /proc/net/dev");
    sandbox.loopback = true;
    let file = catch(&mut sandbox);
    let meeting = sandbox.compile().unwrap().meet().unwrap();
    let net = meeting.namespace(NamespaceKind::Net).unwrap();
    let ours = fs::metadata("/proc/self/ns/net").unwrap();
    assert_ne!(fs::File::from(net).metadata().unwrap().ino(), ours.ino());
    let mounts = fs::read_to_string(format!("/proc/{}/mountinfo", meeting.pid())).unwrap();
    assert!(!mounts.contains("dntns"), "{mounts}");
    let mut child = meeting.proceed().unwrap();
    let mounts = fs::read_to_string(format!("/proc/{}/mountinfo", child.pid())).unwrap();
    assert!(mounts.contains(" / /proc ") || mounts.contains("/proc"), "{mounts}");
    child.release().unwrap();
    assert!(wait(&mut child).success());
    assert!(read(file).contains("lo:"));
}

#[test]
fn hooks_run_inside_with_the_state_on_stdin() {
    if !able() {
        return;
    }
    let root = Rootfs::new();
    let out = tempfile::tempdir().unwrap();
    let hook = |path: &str, script: String| Hook {
        path: path.into(),
        argv: ["sh".into(), "-c".into(), script.into()].into(),
        env: vec!["A=b".into()],
        timeout: Some(std::time::Duration::from_secs(20)),
    };
    let mut sandbox = root.container("cat /tmp/second");
    let first = out.path().join("first");
    sandbox.create_container_hooks =
        vec![hook("/bin/sh", format!("cat > {}; echo $A >> {0}", first.display()))];
    sandbox.start_container_hooks = vec![hook("/bin/sh", "cat > /tmp/second; echo $A >> /tmp/second".into())];
    let file = catch(&mut sandbox);
    let meeting = sandbox.compile().unwrap().meet().unwrap();
    meeting.hook_input(b"{\"pid\":1}\n").unwrap();
    let mut child = meeting.proceed().unwrap();
    assert_eq!(fs::read_to_string(&first).unwrap(), "{\"pid\":1}\nb\n");
    assert!(!root.join("tmp/second").exists(), "startContainer comes after the gate");
    child.release().unwrap();
    assert!(wait(&mut child).success());
    assert_eq!(read(file), "{\"pid\":1}\nb\n");
}

#[test]
fn the_gate_opens_for_another_process_by_its_path() {
    if !able() {
        return;
    }
    let root = Rootfs::new();
    let dir = tempfile::tempdir().unwrap();
    // longer than a socket address
    let deep = dir.path().join("d".repeat(120));
    fs::create_dir(&deep).unwrap();
    let path = deep.join("start.sock");
    let mut sandbox = root.container("exit 7");
    sandbox.gate = Some(path.clone());
    let child = sandbox.compile().unwrap().spawn().unwrap();
    let pid = child.pid();
    let pidfd = child.detach().unwrap();
    assert_eq!(
        fs::read_to_string(format!("/proc/{pid}/status")).unwrap().lines().next().map(|line| line.len() > 6),
        Some(true)
    );
    open_gate(&path).unwrap();
    assert!(!path.exists());
    assert!(open_gate(&path).is_err(), "a gate opens once");
    assert!(ended(&pidfd));
    // a program that is not there is told at once
    let program = |name: &str| {
        let mut sandbox = root.container("");
        sandbox.argv = vec![name.into()];
        sandbox.gate = Some(path.clone());
        sandbox.compile().unwrap().spawn()
    };
    for (name, status) in [("/no/such/program", 127), ("nor-this", 127), ("/bin", 126), ("/etc/passwd", 126)]
    {
        let error = program(name).unwrap_err();
        assert_eq!(error.exit_status(), Some(status), "{error}");
        assert!(!path.exists(), "{name}");
    }
    // one that is there and cannot be executed, to whoever opens the gate
    fs::write(root.join("bin/broken"), [0x7f]).unwrap();
    fs::set_permissions(root.join("bin/broken"), std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .unwrap();
    let _pidfd = program("/bin/broken").unwrap().detach().unwrap();
    let error = open_gate(&path).unwrap_err();
    assert_eq!(error.exit_status(), Some(126), "{error}");
    // dropped, it is killed and its gate removed
    let mut sandbox = root.container("exit 7");
    sandbox.gate = Some(path.clone());
    let child = sandbox.compile().unwrap().spawn().unwrap();
    let pid = child.pid();
    drop(child);
    assert!(!path.exists() && !std::path::Path::new(&format!("/proc/{pid}")).exists());
    // released by the one who made it
    let mut sandbox = root.container("exit 7");
    sandbox.gate = Some(path.clone());
    let mut child = sandbox.compile().unwrap().spawn().unwrap();
    child.release().unwrap();
    assert_eq!(wait(&mut child).code(), Some(7));
    assert!(!path.exists());
}

/// Whether the process behind a pidfd ends in time. It is this process's child: reading its status needs no more.
fn ended(pidfd: &OwnedFd) -> bool {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while std::time::Instant::now() < deadline {
        let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd())).unwrap();
        let pid = info.lines().find_map(|line| line.strip_prefix("Pid:")).unwrap().trim().to_owned();
        let state = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        if pid == "-1" || state.contains(") Z ") {
            return true;
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    false
}

#[test]
fn preserved_descriptors_arrive_in_order_and_no_other() {
    if !able() {
        return;
    }
    let root = Rootfs::new();
    let (mut near, far) = std::os::unix::net::UnixStream::pair().unwrap();
    let (mut near2, far2) = std::os::unix::net::UnixStream::pair().unwrap();
    let mut sandbox = root.container("echo one >&3; echo two >&4; ls /proc/self/fd | wc -l");
    sandbox.preserved = vec![far.into(), far2.into()];
    // 0 to 4, and the one that ls has open on the directory
    assert_eq!(output(sandbox), "6");
    let mut text = String::new();
    near.read_to_string(&mut text).unwrap();
    near2.read_to_string(&mut text).unwrap();
    assert_eq!(text, "one\ntwo\n");
}

#[test]
fn stdin_may_be_a_descriptor() {
    if !able() {
        return;
    }
    let root = Rootfs::new();
    let (mut near, far) = std::os::unix::net::UnixStream::pair().unwrap();
    let mut sandbox = root.container("cat");
    sandbox.stdin = Stdio::Descriptor(far.into());
    let file = catch(&mut sandbox);
    let mut child = sandbox.compile().unwrap().run().unwrap();
    near.write_all(b"through").unwrap();
    drop(near);
    assert!(wait(&mut child).success());
    assert_eq!(read(file), "through");
}

/// A directory that is gone when dropped.
struct Gone(std::path::PathBuf);

impl Drop for Gone {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}

#[test]
fn a_v1_cgroup_is_joined_before_anything_else() {
    if !able() {
        return;
    }
    let dir = std::path::PathBuf::from(format!("/sys/fs/cgroup/pids/dntns{}", std::process::id()));
    if fs::create_dir(&dir).is_err() {
        eprintln!("skipped: needs a v1 pids hierarchy");
        return;
    }
    let gone = Gone(dir);
    let root = Rootfs::new();
    let mut sandbox = root.container("grep pids /proc/self/cgroup");
    let tasks = fs::File::options().write(true).open(gone.0.join("tasks")).unwrap();
    sandbox.cgroup = JoinCgroup::V1(vec![tasks.into()]);
    let text = output(sandbox);
    assert!(text.ends_with(":pids:/"), "the new cgroup namespace begins at the group: {text}");
}

#[test]
fn groups_are_made_while_the_process_is_at_work() {
    if !able() {
        return;
    }
    let dir = std::path::PathBuf::from(format!("/sys/fs/cgroup/pids/dntns3{}", std::process::id()));
    if !std::path::Path::new("/sys/fs/cgroup/pids").is_dir() {
        eprintln!("skipped: needs a v1 pids hierarchy");
        return;
    }
    let gone = Gone(dir);
    let root = Rootfs::new();
    let sandbox = |script: &str| {
        let mut sandbox = root.container(script);
        sandbox.cgroup = JoinCgroup::Later(None, vec![gone.0.join("tasks")]);
        sandbox
    };
    // the new cgroup namespace begins at the group, so nothing but / is seen
    let script = "grep pids /proc/self/cgroup | grep -q :pids:/$ && exit 7";
    let plan = sandbox(script).compile().unwrap();
    let steps: Vec<_> = plan.steps().map(|step| step.kind).collect();
    let at = |kind| steps.iter().position(|one| *one == kind).unwrap();
    assert!(
        at(StepKind::Root) < at(StepKind::AwaitGroups) && at(StepKind::AwaitGroups) < at(StepKind::PivotRoot)
    );
    let mut child = plan
        .spawn_while(|| {
            fs::create_dir(&gone.0).unwrap();
            Ok::<_, container_ns::Error>(())
        })
        .unwrap();
    child.release().unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(7));
    // work that fails ends the process, and its error is the one to hear of
    let failed = || Err(container_ns::Error::Needs { setting: "mine".into(), needs: "more" });
    let error = sandbox("true").compile().unwrap().spawn_while(failed).unwrap_err();
    assert!(error.to_string().contains("mine"), "{error}");
    let mut user = sandbox("true");
    user.namespaces.user = Namespace::New;
    assert!(matches!(user.compile(), Err(container_ns::Error::Needs { .. })));
}

#[test]
fn a_v2_cgroup_is_where_it_is_born() {
    if !able() {
        return;
    }
    let top = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"]
        .into_iter()
        .find(|path| std::path::Path::new(path).join("cgroup.procs").exists());
    let Some(top) = top else {
        eprintln!("skipped: needs a v2 hierarchy");
        return;
    };
    let dir = std::path::PathBuf::from(format!("{top}/dntns2{}", std::process::id()));
    fs::create_dir(&dir).unwrap();
    let gone = Gone(dir);
    let root = Rootfs::new();
    let mut sandbox = root.container("grep ^0:: /proc/self/cgroup");
    sandbox.namespaces.cgroup = Namespace::Inherit;
    sandbox.cgroup = JoinCgroup::V2(fs::File::open(&gone.0).unwrap().into());
    let text = output(sandbox);
    assert!(text.contains("dntns2"), "{text}");
}

/// Not a test by itself: run by the next one where every mount is shared, as systemd makes them.
#[test]
fn containers_among_shared_mounts() {
    if std::env::var_os("DNT_SHARED").is_none() || !able() {
        return;
    }
    let mounts = || fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
    let before = mounts();
    assert!(before.lines().all(|line| line.contains(" shared:")), "{before}");
    let root = Rootfs::new();
    for propagation in [
        None,
        Some(Propagation::Private),
        Some(Propagation::Slave),
        Some(Propagation::Shared),
        Some(Propagation::Unbindable),
    ] {
        let mut sandbox =
            root.container("grep ' / / ' /proc/self/mountinfo || head -n 1 /proc/self/mountinfo");
        sandbox.mounts.push(Mount::bind("/tmp", "/tmp", MountFlags::empty()));
        sandbox.root_propagation = propagation;
        let text = output(sandbox);
        assert_eq!(
            propagation == Some(Propagation::Shared),
            text.contains("shared:"),
            "{propagation:?}: {text}"
        );
        assert_eq!(
            propagation == Some(Propagation::Unbindable),
            text.contains("unbindable"),
            "{propagation:?}: {text}"
        );
        assert_eq!(mounts(), before, "{propagation:?} reaches the host");
    }
    // without a root of its own, too
    let mut sandbox = container_ns::Sandbox::new(["/bin/sh", "-c", "mount -t tmpfs none /tmp"]);
    sandbox.namespaces.mount = Namespace::New;
    sandbox.masked_paths = vec!["/proc/keys".into()];
    assert_eq!(output(sandbox), "");
    assert_eq!(mounts(), before, "a mask reaches the host");
    // a bind that is asked to be shared is a peer of the host's mount, one that is not is private
    for (propagation, wanted) in [
        (vec![], ""),
        (vec![(Propagation::Slave, true)], "master:"),
        (vec![(Propagation::Shared, true)], "shared:"),
    ] {
        let mut sandbox = root.container("grep ' /tmp ' /proc/self/mountinfo");
        let mut mount = Mount::bind("/tmp", "/tmp", MountFlags::empty());
        mount.propagation.clone_from(&propagation);
        sandbox.mounts.push(mount);
        let text = output(sandbox);
        assert!(text.contains(wanted), "{propagation:?}: {text}");
        assert_eq!(
            wanted.is_empty(),
            !text.contains("shared:") && !text.contains("master:"),
            "{propagation:?}: {text}"
        );
    }
    assert_eq!(mounts(), before);
}

#[test]
fn a_root_on_a_shared_mount_leaks_nothing() {
    if !able() {
        return;
    }
    let output = std::process::Command::new("unshare")
        .args(["-m", "--propagation", "shared"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "containers_among_shared_mounts"])
        .env("DNT_SHARED", "1")
        .output();
    match output {
        Ok(output) => assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout)),
        Err(error) => eprintln!("skipped: needs unshare(1): {error}"),
    }
}
