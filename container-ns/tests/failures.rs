//! Every kind of step that can fail is made to fail, and says which step it was, with what, and why.
//!
//! Not here, because they cannot fail for root on a kernel that has them: resetting signals, closing descriptors (the
//! ranges are ordered by construction), waiting for id maps and for control groups (their failure is the maker's), a new keyring (only a full
//! quota stops it), not dumpable, a new cgroup namespace, loopback
//! in a new net namespace, the two gates, host and root propagation, a read-only root, pivot (its conditions are made
//! by the steps before), personality, I/O priority, a new session (a new process leads no group), stdio and preserved descriptors
//! (both ends are open), the bounding set, no new privileges and umask.

mod rootfs;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

use container_ns::{
    Action, CapSet, Capabilities, Error, Filesystem, Filter, FilterFlags, Hook, IdMap, IdMaps, IoClass,
    IoPriority, JoinCgroup, Label, Mount, MountFlags, MountKind, Namespace, NamespaceKind, Resource, Rlimit,
    Root, Sandbox, Scheduler, Seccomp, StepKind, Symlink, Terminal, TimeOffset, User,
};
use rootfs::{Killed, Rootfs, able};

type Change = Box<dyn FnOnce(&Rootfs, &mut Sandbox)>;

struct Case {
    name: &'static str,
    change: Change,
    kind: StepKind,
    object: &'static str,
    call: &'static str,
    errno: &'static [i32],
}

fn case(
    name: &'static str,
    change: impl FnOnce(&Rootfs, &mut Sandbox) + 'static,
    kind: StepKind,
    object: &'static str,
    call: &'static str,
    errno: i32,
) -> Case {
    let errno = match errno {
        libc::EINVAL => &[libc::EINVAL][..],
        libc::EPERM => &[libc::EPERM],
        libc::ENOENT => &[libc::ENOENT],
        libc::ENOTDIR => &[libc::ENOTDIR],
        libc::ELOOP => &[libc::ELOOP],
        libc::ENODEV => &[libc::ENODEV],
        libc::EEXIST => &[libc::EEXIST],
        libc::ENAMETOOLONG => &[libc::ENAMETOOLONG],
        libc::ENOSPC => &[libc::ENOSPC],
        libc::EACCES => &[libc::EACCES],
        libc::ENOEXEC => &[libc::ENOEXEC],
        libc::ENOTTY => &[libc::ENOTTY],
        libc::ECANCELED => &[libc::ECANCELED],
        libc::ETIMEDOUT => &[libc::ETIMEDOUT],
        libc::ENOMEM => &[libc::ENOMEM],
        libc::EROFS => &[libc::EROFS],
        // whether the security module is there decides
        _ => &[libc::ENOENT, libc::EINVAL, libc::EACCES, libc::EPERM],
    };
    Case { name, change: Box::new(change), kind, object, call, errno }
}

fn hook(argv: &[&str], timeout: Option<Duration>) -> Hook {
    let argv: Vec<_> = argv.iter().map(Into::into).collect();
    Hook { path: "/bin/sh".into(), argv, env: Vec::new(), timeout }
}

fn cases() -> Vec<Case> {
    use StepKind as K;
    let long = || format!("/{}", "n".repeat(300));
    let no_dev = |sandbox: &mut Sandbox| {
        sandbox.mounts.retain(|mount| !mount.target.starts_with("/dev"));
        sandbox.devices.clear();
        sandbox.symlinks.clear();
    };
    vec![
        case(
            "a full device as tasks file",
            |_, s| {
                let full = fs::File::options().write(true).open("/dev/full").unwrap();
                s.cgroup = JoinCgroup::V1(vec![full.into()]);
            },
            K::JoinCgroup,
            "/dev/full",
            "write",
            libc::ENOSPC,
        ),
        case(
            "a tasks file that is not there when it is time",
            |_, s| s.cgroup = JoinCgroup::Later(None, vec!["/sys/fs/cgroup/nowhere/tasks".into()]),
            K::JoinCgroup,
            "/sys/fs/cgroup/nowhere/tasks",
            "openat",
            libc::ENOENT,
        ),
        case(
            "a score out of range",
            |_, s| s.oom_score_adj = Some(5000),
            K::OomScore,
            "5000",
            "write",
            libc::EINVAL,
        ),
        case(
            "a file that is no namespace",
            |_, s| s.namespaces.ipc = Namespace::Join(fs::File::open("/dev/null").unwrap().into()),
            K::JoinNamespace,
            "ipc",
            "setns",
            libc::EINVAL,
        ),
        case(
            "a pid namespace whose init has ended",
            |root, s| {
                let mut first = Killed(root.container("sleep 1000").compile().unwrap().run().unwrap());
                let pid = first.0.namespace(NamespaceKind::Pid).unwrap();
                first.0.signal(9).unwrap();
                first.0.wait().unwrap();
                s.namespaces.pid = Namespace::Join(pid);
            },
            K::SecondClone,
            "with new mount, net, ipc, uts",
            "clone3",
            libc::ENOMEM,
        ),
        case(
            "too many nanoseconds",
            |_, s| {
                s.namespaces.time = Namespace::New;
                s.time_offsets.monotonic = Some(TimeOffset { seconds: 1, nanoseconds: 2_000_000_000 });
            },
            K::TimeOffset,
            "monotonic 1 2000000000",
            "write",
            libc::EINVAL,
        ),
        case(
            "a host name too long",
            |_, s| s.hostname = Some("h".repeat(65)),
            K::Hostname,
            "hhh",
            "sethostname",
            libc::EINVAL,
        ),
        case(
            "a domain name too long",
            |_, s| s.domainname = Some("d".repeat(65)),
            K::Domainname,
            "ddd",
            "setdomainname",
            libc::EINVAL,
        ),
        case(
            "no root",
            |_, s| s.root = Root::Path("/no/root".into()),
            K::Root,
            "/no/root",
            "open_tree",
            libc::ENOENT,
        ),
        case(
            "a file as root",
            |_, s| s.root = Root::Path("/etc/passwd".into()),
            K::Root,
            "/etc/passwd",
            "move_mount",
            libc::EINVAL,
        ),
        case(
            "a file system as root that no kernel has",
            |_, s| s.root = Root::Filesystem(Filesystem::new("dntfs")),
            K::Root,
            "dntfs",
            "fsopen",
            libc::ENODEV,
        ),
        case(
            "no source for a bind",
            |_, s| s.mounts.push(Mount::bind("/no/source", "/x", MountFlags::empty())),
            K::Mount,
            "bind of /no/source at /x",
            "open_tree",
            libc::ENOENT,
        ),
        case(
            "an option that tmpfs does not know",
            |_, s| {
                s.mounts.push(Mount::filesystem(
                    "/x",
                    Filesystem::new("tmpfs").option("speed", "9"),
                    MountFlags::empty(),
                ));
            },
            K::Mount,
            "tmpfs speed=9 at /x (option 2)",
            "fsconfig",
            libc::EINVAL,
        ),
        case(
            "a size that is none",
            |_, s| {
                s.mounts.push(Mount::filesystem(
                    "/x",
                    Filesystem::new("tmpfs").option("size", "big"),
                    MountFlags::empty(),
                ));
            },
            K::Mount,
            "size=big",
            "fsconfig",
            libc::EINVAL,
        ),
        case(
            "a directory over a file",
            |_, s| s.mounts.push(Mount::bind("/etc", "/etc/passwd", MountFlags::empty())),
            K::Mount,
            "at /etc/passwd",
            "move_mount",
            libc::EINVAL,
        ),
        case(
            "a target below a file",
            |_, s| s.mounts.push(Mount::bind("/etc", "/etc/passwd/x", MountFlags::empty())),
            K::Mount,
            "at /etc/passwd/x",
            "openat2",
            libc::ENOTDIR,
        ),
        case(
            "a target to be made on a read-only mount",
            |_, s| s.mounts.push(Mount::bind("/etc", "/sys/x", MountFlags::empty())),
            K::Mount,
            "at /sys/x",
            "mkdirat",
            libc::EROFS,
        ),
        case(
            "a remount of what is not there",
            |_, s| s.mounts.push(Mount::new("/not/there", MountKind::Remount(vec![]), MountFlags::READ_ONLY)),
            K::Mount,
            "remount /not/there (ro)",
            "openat2",
            libc::ENOENT,
        ),
        case(
            "proc on a link",
            |root, s| {
                fs::remove_dir(root.join("proc")).unwrap();
                symlink("etc", root.join("proc")).unwrap();
                s.masked_paths.clear();
            },
            K::Mount,
            "proc at /proc",
            "openat2",
            libc::ELOOP,
        ),
        case(
            "another node where a device belongs",
            |_, s| s.devices.push(container_ns::Device::character("/dev/null", 1, 5)),
            K::Device,
            "/dev/null c 1:5",
            "check of the node that exists",
            libc::EEXIST,
        ),
        case(
            "a link that says too much",
            |_, s| s.symlinks.push(Symlink { path: "/dev/x".into(), target: "y".repeat(5000).into() }),
            K::Symlink,
            "/dev/x -> yyy",
            "symlinkat",
            libc::ENAMETOOLONG,
        ),
        case(
            "a terminal without devpts",
            move |_, s| {
                no_dev(s);
                s.terminal = Terminal::New(None);
            },
            K::Terminal,
            "new pair in /dev/pts",
            "openat2",
            libc::ENOENT,
        ),
        case(
            "a terminal from a file of the image",
            move |root, s| {
                no_dev(s);
                fs::create_dir(root.join("dev/pts")).unwrap();
                fs::write(root.join("dev/pts/ptmx"), "").unwrap();
                s.terminal = Terminal::New(None);
            },
            K::Terminal,
            "new pair in /dev/pts",
            "check that /dev/pts is a devpts",
            libc::ENODEV,
        ),
        case(
            "a slave that is no terminal",
            |_, s| s.terminal = Terminal::Slave(fs::File::open("/dev/null").unwrap().into()),
            K::Terminal,
            "controlling",
            "ioctl",
            libc::ENOTTY,
        ),
        case(
            "a masked path too long",
            move |_, s| s.masked_paths.push(long().into()),
            K::MaskPath,
            "/nnn",
            "openat2",
            libc::ENAMETOOLONG,
        ),
        case(
            "a read-only path too long",
            move |_, s| s.read_only_paths.push(format!("/{}", "n".repeat(300)).into()),
            K::ReadOnlyPath,
            "/nnn",
            "openat2",
            libc::ENAMETOOLONG,
        ),
        case(
            "a hook that fails",
            |_, s| s.create_container_hooks.push(hook(&["sh", "-c", "exit 3"], None)),
            K::Hook,
            "createContainer /bin/sh (status 3)",
            "exit status of the hook",
            libc::ECANCELED,
        ),
        case(
            "a hook that takes too long",
            |_, s| {
                s.start_container_hooks
                    .push(hook(&["sh", "-c", "sleep 100"], Some(Duration::from_millis(50))));
            },
            K::Hook,
            "startContainer /bin/sh",
            "time limit of the hook",
            libc::ETIMEDOUT,
        ),
        case(
            "no such parameter",
            |_, s| s.sysctls.push(("net.ipv4.no_such".into(), "1".into())),
            K::Sysctl,
            "net.ipv4.no_such = 1",
            "openat2",
            libc::ENOENT,
        ),
        case(
            "a value that the parameter does not take",
            |_, s| s.sysctls.push(("net.ipv4.ip_forward".into(), "yes".into())),
            K::Sysctl,
            "net.ipv4.ip_forward = yes",
            "write",
            libc::EINVAL,
        ),
        case(
            "no working directory",
            |_, s| {
                s.create_cwd = false;
                s.cwd = "/no/where".into();
            },
            K::WorkingDirectory,
            "/no/where",
            "openat2",
            libc::ENOENT,
        ),
        case(
            "a file as working directory",
            |_, s| s.cwd = "/etc/passwd".into(),
            K::WorkingDirectory,
            "/etc/passwd",
            "openat2",
            libc::ENOTDIR,
        ),
        case(
            "a working directory by a magic link",
            |_, s| s.cwd = "/proc/self/fd/0".into(),
            K::WorkingDirectory,
            "/proc/self/fd/0",
            "openat2",
            libc::ELOOP,
        ),
        case(
            "a real-time priority out of range",
            |_, s| s.scheduler = Some(Scheduler { policy: 1, priority: 1000, ..Scheduler::default() }),
            K::Scheduler,
            "policy 1 nice 0 priority 1000",
            "sched_setattr",
            libc::EINVAL,
        ),
        case(
            "no such cpu",
            |_, s| s.cpu_affinity = Some(vec![1023]),
            K::CpuAffinity,
            "[1023]",
            "sched_setaffinity",
            libc::EINVAL,
        ),
        case(
            "a soft limit over the hard one",
            |_, s| s.rlimits.push(Rlimit { resource: Resource::Core, soft: 2, hard: 1 }),
            K::Rlimit,
            "RLIMIT_CORE soft 2 hard 1",
            "prlimit64",
            libc::EINVAL,
        ),
        case(
            "a user outside of the map",
            |_, s| {
                s.namespaces.user = Namespace::New;
                s.id_maps = IdMaps::both(IdMap::new(0, 0, 1000));
                s.user = Some(User { uid: 5000, ..User::default() });
            },
            K::User,
            "uid 5000 gid 0",
            "setresuid",
            libc::EINVAL,
        ),
        case(
            "a user namespace that has no ids",
            |_, s| {
                let mut holder = std::process::Command::new("unshare")
                    .args(["-U", "sh", "-c", "echo && exec sleep 1000"])
                    .stdout(std::process::Stdio::piped())
                    .spawn()
                    .unwrap();
                std::io::Read::read_exact(&mut holder.stdout.take().unwrap(), &mut [0]).unwrap();
                let user = fs::File::open(format!("/proc/{}/ns/user", holder.id())).unwrap();
                holder.kill().unwrap();
                holder.wait().unwrap();
                s.namespaces.user = Namespace::Join(user.into());
            },
            K::BecomeRoot,
            "",
            "setresgid",
            libc::EINVAL,
        ),
        case(
            "effective without permitted",
            |_, s| {
                let sets = Capabilities::bounded(CapSet::CHOWN);
                s.capabilities = Some(Capabilities { permitted: CapSet::EMPTY, ..sets });
            },
            K::Capabilities,
            "effective CAP_CHOWN; permitted none",
            "capset",
            libc::EPERM,
        ),
        case(
            "ambient without inheritable",
            |_, s| {
                s.capabilities =
                    Some(Capabilities { ambient: CapSet::CHOWN, ..Capabilities::bounded(CapSet::CHOWN) });
            },
            K::AmbientSet,
            "CAP_CHOWN",
            "prctl",
            libc::EPERM,
        ),
        case(
            "a label that no module knows",
            |_, s| s.label = Some(Label::AppArmor("dnt-no-such-profile".into())),
            K::Label,
            "exec dnt-no-such-profile",
            "",
            0,
        ),
        case(
            "no such signal",
            |_, s| s.parent_death_signal = Some(999),
            K::ParentDeathSignal,
            "999",
            "prctl",
            libc::EINVAL,
        ),
        case(
            "a flag that no kernel knows",
            |_, s| {
                let flags = FilterFlags::from_bits_retain(1 << 20);
                let filter =
                    Filter { flags, default: Action::Allow, ..Filter::docker_default(CapSet::EMPTY) };
                s.seccomp = Some(Seccomp::new(&filter).unwrap());
            },
            K::Seccomp,
            "default Allow",
            "seccomp",
            libc::EINVAL,
        ),
        case(
            "no program",
            |_, s| s.argv = vec!["/no/program".into()],
            K::Execute,
            "/no/program",
            "execve",
            libc::ENOENT,
        ),
        case(
            "no program in PATH",
            |_, s| s.argv = vec!["no-program".into()],
            K::Execute,
            "no-program",
            "execve",
            libc::ENOENT,
        ),
        case(
            "a program that may not be run",
            |_, s| s.argv = vec!["/etc/passwd".into()],
            K::Execute,
            "/etc/passwd",
            "execve",
            libc::EACCES,
        ),
        case(
            "a program in no format",
            |root, s| {
                let path = root.join("bin/text");
                fs::write(&path, "words").unwrap();
                fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
                s.argv = vec!["text".into()];
            },
            K::Execute,
            "text",
            "execve",
            libc::ENOEXEC,
        ),
    ]
}

#[test]
fn every_step_that_can_fail_says_so() {
    if !able() {
        return;
    }
    let root = Rootfs::new();
    let mut wrong = Vec::new();
    for Case { name, change, kind, object, call, errno } in cases() {
        let root = if matches!(name, "proc on a link" | "a terminal from a file of the image") {
            &Rootfs::new()
        } else {
            &root
        };
        let mut sandbox = root.container("true");
        change(root, &mut sandbox);
        let plan = match sandbox.compile() {
            Ok(plan) => plan,
            Err(error) => {
                wrong.push(format!("{name}: does not compile: {error}"));
                continue;
            }
        };
        let lines: Vec<(StepKind, String)> =
            plan.steps().map(|line| (line.kind, line.object.to_owned())).collect();
        let error = match plan.run() {
            Err(error) => error,
            Ok(mut child) => {
                let _ = child.wait();
                wrong.push(format!("{name}: did not fail"));
                continue;
            }
        };
        let Error::Step { step, kind: k, object: o, call: c, source, .. } = &error else {
            wrong.push(format!("{name}: {error}: {:?}", error.errno()));
            continue;
        };
        let same_call = call.is_empty() || *c == call;
        let number = source.raw_os_error().unwrap_or(0);
        if *k != kind || !o.contains(object) || !same_call || !errno.contains(&number) {
            wrong.push(format!("{name}: {error}: errno {number}"));
        }
        assert!(lines.get(*step).is_some_and(|line| line.0 == kind), "{name}: step {step} is another");
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    assert_eq!(children(), "", "a failed process is left");
}

fn children() -> String {
    let tasks = fs::read_dir("/proc/self/task").unwrap();
    tasks.flatten().filter_map(|task| fs::read_to_string(task.path().join("children")).ok()).collect()
}

#[test]
fn the_kernels_own_words_about_a_file_system_are_passed_on() {
    if !able() {
        return;
    }
    let root = Rootfs::new();
    let mut sandbox = root.container("true");
    sandbox.root = Root::Filesystem(Filesystem::overlay(["/no/layer"], None));
    let error = sandbox.compile().unwrap().run().unwrap_err();
    let text = error.to_string();
    assert!(text.contains("/no/layer") && text.contains("overlay"), "{text}");
}

#[test]
fn what_cannot_be_is_refused_before_there_is_a_process() {
    let refused = |change: &dyn Fn(&mut Sandbox), wanted: &str| {
        let mut sandbox = Sandbox::container(Root::Path("/".into()), ["true"]);
        change(&mut sandbox);
        let text = sandbox.compile().unwrap_err().to_string();
        assert!(text.contains(wanted), "{text}");
    };
    refused(&|s| s.argv.clear(), "argv");
    refused(&|s| s.argv.push("a\0b".into()), "NUL");
    refused(&|s| s.env.push("WORD".into()), "NAME=value");
    refused(&|s| s.io_priority = Some(IoPriority { class: IoClass::Idle, level: 8 }), "io_priority level 8");
    refused(&|s| s.cwd = "relative".into(), "working directory is not an absolute path: relative");
    refused(&|s| s.root = Root::Path("relative".into()), "root is not an absolute path");
    refused(&|s| s.namespaces.user = Namespace::New, "id maps");
    refused(&|s| s.namespaces.mount = Namespace::Inherit, "a new mount namespace");
    refused(&|s| s.sysctls.push(("vm.swappiness".into(), "1".into())), "vm.swappiness");
    refused(&|s| s.sysctls.push(("net.../../x".into(), "1".into())), "net.");
    refused(
        &|s| {
            s.namespaces.net = Namespace::Inherit;
            s.sysctls.push(("net.ipv4.ip_forward".into(), "1".into()));
        },
        "its namespace to be new or joined",
    );
    refused(&|s| s.time_offsets.monotonic = Some(TimeOffset::default()), "a new time namespace");
    refused(
        &|s| {
            s.mounts.push(Mount::filesystem(
                "/x",
                Filesystem::new("tmpfs").option("size", "1".repeat(300)),
                MountFlags::empty(),
            ));
        },
        "at most 255 bytes",
    );
    refused(
        &|s| {
            s.namespaces.uts = Namespace::Inherit;
            s.hostname = Some("x".into());
        },
        "uts namespace",
    );
}

#[test]
fn bad_id_maps_are_told_and_leave_nothing() {
    if !able() {
        return;
    }
    let root = Rootfs::new();
    let mut sandbox = root.container("true");
    sandbox.namespaces.user = Namespace::New;
    sandbox.id_maps = IdMaps {
        users: vec![IdMap::new(0, 0, 10), IdMap::new(5, 100, 10)],
        ..IdMaps::both(IdMap::new(0, 0, 10))
    };
    let error = sandbox.compile().unwrap().spawn().unwrap_err();
    assert!(matches!(&error, Error::IdMap { map, .. } if map == "uid_map"), "{error}");
    assert_eq!(error.errno(), Some(libc::EINVAL));
    let mut sandbox = root.container("true");
    sandbox.namespaces.user = Namespace::New;
    let helper = |path: &str| Path::new(path).to_owned();
    sandbox.id_maps = IdMaps {
        writer: container_ns::MapWriter::Helpers {
            newuidmap: helper("/bin/false"),
            newgidmap: helper("/bin/false"),
        },
        ..IdMaps::both(IdMap::new(0, 0, 10))
    };
    let error = sandbox.compile().unwrap().spawn().unwrap_err();
    assert!(error.to_string().contains("/bin/false"), "{error}");
    assert_eq!(children(), "");
}

#[test]
fn a_process_killed_while_it_waits_is_told() {
    if !able() {
        return;
    }
    let root = Rootfs::new();
    let mut child = root.container("true").compile().unwrap().spawn().unwrap();
    child.signal(9).unwrap();
    while child.try_wait().unwrap().is_none() {
        std::thread::yield_now();
    }
    let pid = child.pid();
    assert!(
        child.release().is_err_and(|error| matches!(error, Error::Died { pid: dead } if dead == pid))
            || child.try_wait().unwrap().is_some()
    );
}
