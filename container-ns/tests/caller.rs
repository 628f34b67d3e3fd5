//! The calling process is left as it was, and the child makes only the calls it may.

mod rootfs;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use container_ns::{CapSet, Capabilities, Filesystem, IdMap, IdMaps, Mount, MountFlags, Namespace, User};
use rootfs::{Rootfs, able, run};

/// Everything about the caller that a spawn might touch.
fn caller() -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    let status = fs::read_to_string("/proc/thread-self/status").unwrap();
    for line in status.lines() {
        let Some((key, value)) = line.split_once(':') else { continue };
        let wanted = [
            "Umask", "Uid", "Gid", "Groups", "SigBlk", "SigIgn", "SigCgt", "CapInh", "CapPrm", "CapEff",
            "CapBnd", "CapAmb",
        ];
        if wanted.contains(&key) || ["NoNewPrivs", "Seccomp", "Seccomp_filters"].contains(&key) {
            all.insert(key.to_owned(), value.trim().to_owned());
        }
    }
    for ns in fs::read_dir("/proc/thread-self/ns").unwrap().flatten() {
        let link = fs::read_link(ns.path()).unwrap();
        all.insert(format!("ns {}", ns.file_name().display()), link.display().to_string());
    }
    all.insert("cwd".into(), std::env::current_dir().unwrap().display().to_string());
    all.insert("root".into(), fs::read_link("/proc/thread-self/root").unwrap().display().to_string());
    all.insert("env".into(), format!("{:?}", std::env::vars_os().collect::<Vec<_>>()));
    all.insert("dumpable".into(), format!("{:?}", rustix::process::dumpable_behavior().unwrap()));
    all.insert("mounts".into(), fs::read_to_string("/proc/thread-self/mountinfo").unwrap());
    all.insert("descriptors".into(), fs::read_dir("/proc/self/fd").unwrap().count().to_string());
    all.insert("session".into(), format!("{:?}", rustix::process::getsid(None).unwrap()));
    all.insert("limits".into(), fs::read_to_string("/proc/thread-self/limits").unwrap());
    all.insert("oom".into(), fs::read_to_string("/proc/self/oom_score_adj").unwrap());
    all.insert("children".into(), fs::read_to_string("/proc/thread-self/children").unwrap());
    all
}

#[test]
fn spawning_leaves_the_caller_as_it_was() {
    if !able() {
        return;
    }
    let root = Rootfs::new();
    let before = caller();
    assert!(before.len() > 25);
    // one of everything that could spill over
    let make = |program: &str| {
        let mut sandbox = root.container("true");
        sandbox.argv[0] = program.into();
        sandbox.namespaces.user = Namespace::New;
        sandbox.id_maps = IdMaps::both(IdMap::new(0, 0, 65536));
        sandbox.user = Some(User { uid: 1000, gid: 1000, additional_gids: vec![5], umask: Some(0o077) });
        sandbox.capabilities = Some(Capabilities::bounded(CapSet::EMPTY));
        sandbox.hostname = Some("other".into());
        sandbox.oom_score_adj = Some(500);
        sandbox.mounts.push(Mount::filesystem("/tmp", Filesystem::new("tmpfs"), MountFlags::empty()));
        sandbox
    };
    assert!(run(make("/bin/sh")).status.success());
    assert_eq!(caller(), before, "after a success");
    make("/no/such").compile().unwrap().run().unwrap_err();
    assert_eq!(caller(), before, "after a failure");
    drop(make("/bin/sh").compile().unwrap());
    assert_eq!(caller(), before, "after a plan that was not used");
    drop(make("/bin/sh").compile().unwrap().spawn().unwrap());
    assert_eq!(caller(), before, "after a process that was not released");
    drop(make("/bin/sh").compile().unwrap().meet().unwrap());
    assert_eq!(caller(), before, "after a meeting that came to nothing");
}

/// Not a test by itself: what the next one watches.
#[test]
fn a_spawn_for_strace() {
    if std::env::var_os("DNT_STRACE").is_none() || !able() {
        return;
    }
    let root = Rootfs::new();
    let mut sandbox = root.container("true");
    sandbox.namespaces.user = Namespace::New;
    sandbox.id_maps = IdMaps::both(IdMap::new(0, 0, 65536));
    sandbox.mounts.push(Mount::filesystem("/a/b/c", Filesystem::new("tmpfs"), MountFlags::empty()));
    let mut child = sandbox.compile().unwrap().spawn().unwrap();
    child.release().unwrap();
    rootfs::wait(&mut child);
}

#[test]
fn between_clone_and_execve_there_is_no_allocation_and_no_lock() {
    if !able() {
        return;
    }
    if !Path::new("/usr/bin/strace").exists() {
        eprintln!("skipped: needs strace");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    let me = std::env::current_exe().unwrap();
    let output = Command::new("/usr/bin/strace")
        .args(["-f", "-o"])
        .arg(&log)
        .arg(me)
        .args(["--exact", "a_spawn_for_strace"])
        .env("DNT_STRACE", "1")
        .output()
        .unwrap();
    let text = fs::read_to_string(&log).unwrap_or_default();
    if text.is_empty() || text.contains("ptrace") {
        eprintln!("skipped: strace cannot trace here: {}", String::from_utf8_lossy(&output.stderr));
        return;
    }
    assert!(output.status.success());
    // the process is the one that pivots
    let pid = text
        .lines()
        .find(|line| line.contains("pivot_root("))
        .and_then(|line| line.split_whitespace().next())
        .expect("a pivot")
        .to_owned();
    let calls: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix(&*pid))
        .map(str::trim_start)
        .take_while(|line| !line.starts_with("execve("))
        .collect();
    assert!(calls.len() > 100, "{} calls are too few to be all", calls.len());
    for call in [
        "brk",
        "mmap",
        "munmap",
        "mremap",
        "mprotect",
        "madvise",
        "futex",
        "rt_sigreturn",
        "set_robust_list",
        "getrandom",
    ] {
        let made: Vec<_> = calls.iter().filter(|line| line.starts_with(&format!("{call}("))).collect();
        assert!(made.is_empty(), "{made:?}");
    }
    let clones = text.lines().filter(|line| line.contains("clone3(") && line.contains("CLONE_NEWNS")).count();
    assert_eq!(clones, 1, "one clone3");
}
