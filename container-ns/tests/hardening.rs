//! Attacks on the start of a container, numbered as in the project's list.

mod rootfs;

use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use container_ns::{
    BindSource, CapSet, Capabilities, Device, Error, Mount, MountFlags, MountKind, Namespaces, Sandbox,
    StepKind, Terminal, User, sealed_exe,
};
use rootfs::{Killed, Rootfs, able, output, run, wait};

fn refused(sandbox: Sandbox, kind: StepKind, errno: i32) {
    match sandbox.compile().unwrap().run() {
        Err(Error::Step { kind: k, source, .. }) if k == kind && source.raw_os_error() == Some(errno) => {}
        Err(error) => panic!("{error}: {:?}", error.errno()),
        Ok(mut child) => {
            let _ = child.wait();
            panic!("it was not refused");
        }
    }
}

/// Not a test by itself: a runtime, run from a copy of this binary by the next one.
#[test]
fn a_runtime_that_seals_itself() {
    if std::env::var_os("DNT_SEAL").is_none() {
        return;
    }
    let sealed = sealed_exe().unwrap();
    println!("fd {}", sealed.as_raw_fd());
    let _ = std::io::stdin().read_line(&mut String::new());
}

/// 14 (CVE-2019-5736): the runtime executed through `/proc/self/exe` cannot be written to once it has ended.
#[test]
fn a_sealed_program_cannot_be_overwritten_through_its_magic_link() {
    if !able() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let copy = dir.path().join("runtime");
    fs::copy(std::env::current_exe().unwrap(), &copy).unwrap();
    let mut runtime = std::process::Command::new(&copy)
        .args(["--exact", "a_runtime_that_seals_itself", "--nocapture"])
        .env("DNT_SEAL", "1")
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = std::io::BufReader::new(runtime.stdout.take().unwrap());
    let mut line = String::new();
    while !line.contains("fd ") {
        line.clear();
        assert!(std::io::BufRead::read_line(&mut said, &mut line).unwrap() > 0, "the runtime says nothing");
    }
    let number = line.trim().rsplit(' ').next().unwrap();
    // the attacker's way: hold the file by O_PATH, wait until nobody executes it, open it for writing
    let hold =
        |link: String| rustix::fs::open(link, rustix::fs::OFlags::PATH, rustix::fs::Mode::empty()).unwrap();
    let sealed = hold(format!("/proc/{}/fd/{number}", runtime.id()));
    let bare = hold(format!("/proc/{}/exe", runtime.id()));
    drop(runtime.stdin.take());
    assert!(runtime.wait().unwrap().success());
    let write = |fd: &std::os::fd::OwnedFd| {
        fs::File::options().write(true).open(format!("/proc/self/fd/{}", fd.as_raw_fd()))
    };
    assert_eq!(write(&sealed).unwrap_err().raw_os_error(), Some(libc::EROFS));
    assert!(write(&bare).is_ok(), "without the seal the attack works, or this test shows nothing");
}

/// 15 (CVE-2024-21626): a descriptor without close-on-exec, and a working directory behind one.
#[test]
fn no_descriptor_of_the_host_comes_along() {
    if !able() {
        return;
    }
    let root = Rootfs::new();
    let host = fs::File::open("/").unwrap();
    let leaked = rustix::io::fcntl_dupfd_cloexec(&host, 50).unwrap();
    rustix::io::fcntl_setfd(&leaked, rustix::io::FdFlags::empty()).unwrap();
    assert_eq!(output(root.container("ls /proc/self/fd | wc -l")), "4");
    for cwd in
        [format!("/proc/self/fd/{}", leaked.as_raw_fd()), "/proc/self/cwd".into(), "/proc/1/root".into()]
    {
        let mut sandbox = root.container("ls");
        sandbox.cwd = cwd.into();
        let error = sandbox.compile().unwrap().run().unwrap_err();
        assert!(matches!(error, Error::Step { kind: StepKind::WorkingDirectory, .. }), "{error}");
    }
    // one that waits at its gate holds no lock or pipe of the caller either
    let child = root.container("true").compile().unwrap().spawn().unwrap();
    for entry in fs::read_dir(format!("/proc/{}/fd", child.pid())).unwrap().flatten() {
        let number: i32 = entry.file_name().to_str().unwrap().parse().unwrap();
        let same = fs::metadata(entry.path()).is_ok_and(|file| {
            let host = fs::metadata("/").unwrap();
            file.dev() == host.dev() && file.ino() == host.ino()
        });
        assert!(number != leaked.as_raw_fd() && !same, "{number} is of the host");
    }
}

/// 16 (CVE-2019-16884, CVE-2023-27561): links where proc and sys are mounted.
#[test]
fn proc_and_sys_are_not_mounted_on_links() {
    if !able() {
        return;
    }
    for (name, to) in [("proc", "/etc"), ("proc", "bin"), ("sys", "/proc"), ("sys", "../../../..")] {
        let root = Rootfs::new();
        fs::remove_dir(root.join(name)).unwrap();
        symlink(to, root.join(name)).unwrap();
        let mut sandbox = root.container("true");
        sandbox.mounts.retain(|mount| mount.target == std::path::Path::new("/").join(name));
        refused(sandbox, StepKind::Mount, libc::ELOOP);
    }
}

/// 16: a destination that leads out of the root ends inside of it.
#[test]
fn a_destination_never_leaves_the_root() {
    if !able() {
        return;
    }
    let victim = tempfile::Builder::new().prefix("dntvictim").tempdir_in("/tmp").unwrap();
    let source = tempfile::tempdir().unwrap();
    fs::write(source.path().join("evil"), "").unwrap();
    let root = Rootfs::new();
    symlink(victim.path(), root.join("absolute")).unwrap();
    symlink("../../../../../../..", root.join("up")).unwrap();
    for target in ["/absolute", "/absolute/made", "/up/made2", "/../../made3", "/etc/../../../made4"] {
        let mut sandbox = root.container("true");
        sandbox.mounts.push(Mount::bind(source.path(), target, MountFlags::empty()));
        // a dangling link is refused, the others end in the root; on the host nothing appears either way
        let _ = sandbox.compile().unwrap().run().map(|mut child| wait(&mut child));
        assert_eq!(fs::read_dir(victim.path()).unwrap().count(), 0, "{target}");
    }
    for made in ["made2", "made3", "made4"] {
        assert!(root.join(made).is_dir(), "{made}");
        assert!(!std::path::Path::new("/").join(made).exists());
    }
}

/// 16 (CVE-2021-30465): another container swaps a directory for a link while this one starts.
#[test]
fn a_target_that_is_swapped_while_starting_reaches_nothing_of_the_host() {
    if !able() {
        return;
    }
    let victim = tempfile::Builder::new().prefix("dntvictim").tempdir_in("/tmp").unwrap();
    fs::write(victim.path().join("precious"), "").unwrap();
    let volume = tempfile::tempdir().unwrap();
    let (place, spare) = (volume.path().join("place"), volume.path().join("spare"));
    fs::create_dir(&place).unwrap();
    symlink(victim.path(), &spare).unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let racer = {
        let (stop, place, spare) = (Arc::clone(&stop), place.clone(), spare.clone());
        std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                let _ = rustix::fs::renameat_with(
                    rustix::fs::CWD,
                    &place,
                    rustix::fs::CWD,
                    &spare,
                    rustix::fs::RenameFlags::EXCHANGE,
                );
            }
        })
    };
    let root = Rootfs::new();
    let mut seen = Vec::new();
    for _ in 0..40 {
        let mut sandbox = root.container("ls /shared/place /shared/spare");
        sandbox.mounts.push(Mount::bind(volume.path(), "/shared", MountFlags::empty()));
        sandbox.mounts.push(Mount::filesystem(
            "/shared/place",
            container_ns::Filesystem::new("tmpfs"),
            MountFlags::empty(),
        ));
        let file = rootfs::catch(&mut sandbox);
        if let Ok(mut child) = sandbox.compile().unwrap().run() {
            wait(&mut child);
            seen.push(rootfs::read(file));
        }
    }
    stop.store(true, Ordering::Relaxed);
    racer.join().unwrap();
    assert!(!seen.iter().any(|text| text.contains("precious")), "the host's directory was seen: {seen:?}");
    let mounts = fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
    assert!(!mounts.contains("dntvictim") && !mounts.contains(volume.path().to_str().unwrap()));
    assert_eq!(fs::read_dir(victim.path()).unwrap().count(), 1);
}

/// 17 (CVE-2025-31133): an image whose /dev/null is a link, or something else.
#[test]
fn a_mask_is_made_of_the_real_null() {
    if !able() {
        return;
    }
    let root = Rootfs::new();
    fs::write(root.join("etc/secret"), "secret").unwrap();
    fs::write(root.join("etc/bait"), "bait").unwrap();
    symlink("/etc/bait", root.join("dev/null")).unwrap();
    let mut sandbox = root.container("cat /etc/secret; stat -c %t:%T /etc/secret");
    sandbox.mounts.retain(|mount| !mount.target.starts_with("/dev"));
    sandbox.devices.clear();
    sandbox.symlinks.clear();
    sandbox.masked_paths = vec!["/etc/secret".into()];
    assert_eq!(output(sandbox), "1:3");
    // and where the device is made, what lies there must be it
    let mut sandbox = root.container("true");
    sandbox.mounts.retain(|mount| !mount.target.starts_with("/dev"));
    refused(sandbox, StepKind::Device, libc::EEXIST);
}

/// 17 (CVE-2025-52565): /dev/pts and /dev/console swapped for something else.
#[test]
fn the_console_is_not_bound_over_a_link() {
    if !able() {
        return;
    }
    let root = Rootfs::new();
    let bare = |root: &Rootfs| {
        let mut sandbox = root.container("true");
        sandbox.mounts.retain(|mount| {
            mount.target != std::path::Path::new("/dev") && mount.target.starts_with("/dev/pts")
        });
        sandbox.devices.clear();
        sandbox.symlinks.clear();
        sandbox.masked_paths.clear();
        sandbox.read_only_paths.clear();
        sandbox.terminal = Terminal::New(None);
        sandbox
    };
    symlink("/etc/passwd", root.join("dev/console")).unwrap();
    refused(bare(&root), StepKind::Terminal, libc::ELOOP);
    fs::remove_file(root.join("dev/console")).unwrap();
    let mut sandbox = bare(&root);
    sandbox.mounts.clear();
    fs::remove_dir(root.join("dev/pts")).ok();
    symlink("/proc", root.join("dev/pts")).unwrap();
    refused(sandbox, StepKind::Terminal, libc::ELOOP);
}

/// 18: the process of a container looks into one that joins it.
#[test]
fn a_joining_process_cannot_be_read_by_the_container() {
    if !able() {
        return;
    }
    let root = Rootfs::new();
    let mut first = root.container("while :; do sleep 1; done");
    // all that a container could have, so that only the dumpable flag is in the way
    first.capabilities = Some(Capabilities::bounded(CapSet::DOCKER_DEFAULT));
    let first = Killed(first.compile().unwrap().run().unwrap());
    let join = |script: &str| {
        let mut sandbox = Sandbox::new(["sh", "-c", script]);
        sandbox.namespaces = Namespaces::of(first.0.pidfd()).unwrap();
        sandbox.user = Some(User::default());
        sandbox.capabilities = Some(Capabilities::bounded(CapSet::DOCKER_DEFAULT));
        sandbox
    };
    let waiting = join("true").compile().unwrap().spawn().unwrap();
    let status = fs::read_to_string(format!("/proc/{}/status", waiting.pid())).unwrap();
    let inside = status
        .lines()
        .find_map(|line| line.strip_prefix("NSpid:"))
        .unwrap()
        .split_whitespace()
        .last()
        .unwrap();
    let text = run(join(&format!("readlink /proc/{inside}/exe || echo no exe; readlink /proc/{inside}/fd/0 || echo no fd; cat /proc/{inside}/environ 2>&1"))).text;
    assert!(text.contains("no exe\nno fd\n") && text.contains("ermission denied"), "{text}");
}

/// 18: nothing of the host's environment, and by default not its session keyring.
#[test]
fn no_environment_and_no_keyring_of_the_host() {
    if !able() {
        return;
    }
    let root = Rootfs::new();
    let text = output(root.container("env"));
    let names: Vec<&str> = text.lines().filter_map(|line| line.split('=').next()).collect();
    assert!(names.iter().all(|name| ["PATH", "PWD", "SHLVL", "OLDPWD"].contains(name)), "{text}");
    let plan = Sandbox::new(["/bin/true"]).compile().unwrap();
    assert!(plan.steps().any(|line| line.kind == StepKind::Keyring));
}

/// 19 (CVE-2022-29162, CVE-2022-2995): inheritable sets, supplementary groups, set-uid programs.
#[test]
fn rights_do_not_come_along_or_back() {
    if !able() {
        return;
    }
    let root = Rootfs::new();
    rustix::thread::set_thread_groups(&[rustix::process::Gid::from_raw(4242)]).unwrap();
    fs::create_dir(root.join("suid")).unwrap();
    fs::copy(root.join("bin/busybox"), root.join("suid/busybox")).unwrap();
    fs::set_permissions(root.join("suid/busybox"), fs::Permissions::from_mode(0o4755)).unwrap();
    let text = output(root.container("grep -E 'Groups|CapInh|CapAmb' /proc/self/status"));
    assert!(!text.contains("4242"), "{text}");
    assert_eq!(text.matches("0000000000000000").count(), 2, "{text}");
    let script = "/suid/busybox cat /proc/self/status | grep -E 'Uid|CapEff|CapBnd'";
    let mut sandbox = root.container(script);
    sandbox.user = Some(User { uid: 1000, gid: 1000, ..User::default() });
    let text = output(sandbox);
    assert!(text.contains("1000\t1000\t1000\t1000") && text.contains("CapEff:\t0000000000000000"), "{text}");
    // without no_new_privs the program is root again, but never beyond the bounding set
    let mut sandbox = root.container(script);
    sandbox.user = Some(User { uid: 1000, gid: 1000, ..User::default() });
    sandbox.no_new_privs = false;
    sandbox.capabilities = Some(Capabilities { bounding: CapSet::CHOWN, ..Capabilities::default() });
    let text = output(sandbox);
    assert!(text.contains("CapBnd:\t0000000000000001"), "{text}");
    assert!(!text.contains("CapEff:\t00000000a8"), "{text}");
}

/// 20: namespaces, keys, io_uring and vsock are refused by the default filter, in fact and not only on paper.
#[test]
fn the_default_filter_refuses_new_namespaces() {
    if !able() {
        return;
    }
    let root = Rootfs::new();
    let text =
        run(root.container("unshare -U true 2>&1; unshare -n true 2>&1; mount -t tmpfs x /tmp 2>&1")).text;
    assert_eq!(
        text.to_lowercase().matches("not permitted").count() + text.matches("ermission denied").count(),
        3,
        "{text}"
    );
}

/// 25: sources of binds that are not what they seem.
#[test]
fn bind_sources_are_what_was_opened() {
    if !able() {
        return;
    }
    let root = Rootfs::new();
    let host = tempfile::tempdir().unwrap();
    fs::create_dir(host.path().join("real")).unwrap();
    fs::write(host.path().join("real/file"), "real").unwrap();
    // a fifo neither blocks nor is opened
    rustix::fs::mknodat(
        rustix::fs::CWD,
        host.path().join("fifo"),
        rustix::fs::FileType::Fifo,
        0o644.into(),
        0,
    )
    .unwrap();
    let mut sandbox = root.container("stat -c %F /fifo");
    sandbox.mounts.push(Mount::bind(host.path().join("fifo"), "/fifo", MountFlags::empty()));
    assert_eq!(output(sandbox), "fifo");
    // what was verified by descriptor stays, whatever its name means now
    let fd = fs::File::open(host.path().join("real")).unwrap();
    fs::rename(host.path().join("real"), host.path().join("moved")).unwrap();
    symlink("/etc", host.path().join("real")).unwrap();
    let mut sandbox = root.container("ls /data");
    let source = BindSource::Descriptor(fd.into());
    sandbox.mounts.push(Mount::new(
        "/data",
        MountKind::Bind { source, recursive: false },
        MountFlags::empty(),
    ));
    assert_eq!(output(sandbox), "file");
    // gone in between
    let mut sandbox = root.container("true");
    sandbox.mounts.push(Mount::bind(host.path().join("gone"), "/data", MountFlags::empty()));
    refused(sandbox, StepKind::Mount, libc::ENOENT);
    // a device of the image is not taken for the host's
    let mut sandbox = root.container("true");
    sandbox.devices.push(Device::character("/etc/passwd", 1, 3));
    refused(sandbox, StepKind::Device, libc::EEXIST);
}
