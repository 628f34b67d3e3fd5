//! Groups of this host, whichever version it has: the same tests run on version 1, hybrid and version 2.

mod support;

use std::time::Duration;

use container_cgroup::{
    Access, Bytes, Ceiling, Controller, Cpu, CpuWeight, Cpus, DeviceKind, DeviceNumber, DeviceRule, Error,
    Group, Hierarchy, Limits, Version,
};
use support::{Case, PATIENCE, end, hear, legacy_only, path, readable, say, unified_only};

fn host() -> Hierarchy {
    Hierarchy::of_host().expect("cgroups")
}

fn read(case: &Case, controller: &Controller, v1: &str, v2: &str) -> String {
    let hierarchy = case.group.hierarchy();
    let text = std::fs::read_to_string("/proc/thread-self/mountinfo").expect("mountinfo");
    let version = hierarchy.version_of(controller).expect("the controller");
    let line = text.lines().find(|line| match version {
        Version::V2 => line.contains(" - cgroup2 "),
        Version::V1 => line
            .rsplit_once(" - cgroup ")
            .is_some_and(|(_, tail)| tail.split([',', ' ']).any(|word| word == controller.to_string())),
    });
    let point = line.and_then(|line| line.split(' ').nth(4)).expect("a mount point");
    let name = if version == Version::V1 { v1 } else { v2 };
    std::fs::read_to_string(format!("{point}{}/{name}", case.group.path())).expect(name).trim().to_owned()
}

#[test]
fn limits_are_read_back_from_the_kernel_and_change_by_update() {
    let mut limits = Limits { pids: Some(Ceiling::At(33)), ..Limits::default() };
    limits.memory.limit = Some(Ceiling::At(Bytes::mib(64)));
    limits.cpu = Cpu { weight: Some(CpuWeight::Shares(512)), ..Cpu::of(Cpus(500)) };
    let case = Case::new(&host(), "limits", &limits);
    let stats = case.group.stats().expect("stats");
    assert_eq!(stats.pids.expect("pids").limit, Some(33));
    assert_eq!(stats.memory.expect("memory").limit, Some(Bytes::mib(64)));
    let quota = |case: &Case| {
        if host().version_of(&Controller::Cpu) == Some(Version::V2) {
            return read(case, &Controller::Cpu, "", "cpu.max");
        }
        let of = |name| read(case, &Controller::Cpu, name, "");
        format!("{} {}", of("cpu.cfs_quota_us"), of("cpu.cfs_period_us"))
    };
    assert_eq!(quota(&case), "50000 100000");
    let weight = read(&case, &Controller::Cpu, "cpu.shares", "cpu.weight");
    assert!(weight == "512" || weight == CpuWeight::Shares(512).weight().to_string(), "{weight}");

    let mut change = Limits { pids: Some(Ceiling::Unlimited), ..Limits::default() };
    change.memory.limit = Some(Ceiling::At(Bytes::mib(96)));
    change.cpu.period = Some(Duration::from_millis(60));
    case.group.update(&change).expect("update");
    let stats = case.group.stats().expect("stats");
    assert_eq!(stats.pids.expect("pids").limit, None);
    assert_eq!(stats.memory.expect("memory").limit, Some(Bytes::mib(96)));
    assert_eq!(quota(&case), "50000 60000", "a new period keeps the quota");
}

#[test]
fn a_memory_limit_below_what_is_used_is_refused_when_asked_to() {
    let mut case = Case::new(&host(), "below", &Limits::default());
    let mut child = case.shell("x=$(head -c 3000000 /dev/zero | tr '\\0' a); echo ready; read y");
    assert_eq!(hear(&mut child, PATIENCE).as_deref(), Some("ready"));
    let mut limits = Limits::default();
    limits.memory.limit = Some(Ceiling::At(Bytes::kib(64)));
    limits.memory.check_before_update = true;
    assert!(matches!(case.group.update(&limits), Err(Error::Value { limit: "memory.limit", .. })));
}

#[test]
fn a_process_out_of_memory_is_killed_and_seen_by_the_descriptor() {
    let mut limits = Limits::default();
    limits.memory.limit = Some(Ceiling::At(Bytes::mib(8)));
    let mut case = Case::new(&host(), "oom", &limits);
    let watch = case.group.watch_oom().expect("watch");
    assert!(!readable(&watch, Duration::ZERO));
    assert_eq!(watch.kills().expect("kills"), Some(0));
    let child = case.shell("exec tail -n 1 /dev/zero");
    assert!(readable(&watch, PATIENCE), "no event");
    let (code, ..) = end(child);
    assert_eq!(code, None, "killed by a signal");
    assert!(watch.kills().expect("kills") >= Some(1));
    assert!(case.group.oom_kills().expect("kills") >= Some(1));
    assert!(case.group.stats().expect("stats").memory.expect("memory").failures > 0);
}

#[test]
fn a_fork_beyond_the_pids_limit_fails() {
    let mut case = Case::new(&host(), "pids", &Limits { pids: Some(Ceiling::At(1)), ..Limits::default() });
    let (code, _, err) = end(case.shell("/bin/true; echo alive"));
    assert_ne!(code, Some(0));
    assert!(err.contains("fork"), "{err}");
}

fn freezes(hierarchy: &Hierarchy, name: &str) {
    let mut case = Case::new(hierarchy, name, &Limits::default());
    let mut child = case.shell("while read line; do echo got $line; done");
    say(&mut child, "one\n");
    assert_eq!(hear(&mut child, PATIENCE).as_deref(), Some("got one"));
    for _ in 0..2 {
        case.group.freeze(PATIENCE).expect("freeze");
    }
    assert!(case.group.is_frozen().expect("state"));
    say(&mut child, "two\n");
    assert_eq!(hear(&mut child, Duration::from_millis(100)), None, "a frozen process answers");
    case.group.thaw().expect("thaw");
    assert_eq!(hear(&mut child, PATIENCE).as_deref(), Some("got two"));
    assert!(!case.group.is_frozen().expect("state"));
}

#[test]
fn a_frozen_group_stands_still_until_it_is_thawed() {
    freezes(&host(), "freeze");
}

#[test]
fn a_group_of_version_1_alone_freezes_too() {
    match legacy_only() {
        Some(hierarchy) => freezes(&hierarchy, "freeze1"),
        None => eprintln!("skipped: no hierarchy of version 1 here"),
    }
}

fn filters_devices(hierarchy: &Hierarchy, name: &str) {
    let mut rules = vec![DeviceRule::DENY_ALL];
    rules.extend(DeviceRule::defaults());
    let mut case = Case::new(hierarchy, name, &Limits { devices: rules.clone(), ..Limits::default() });
    let nodes = tempfile::tempdir().expect("a directory");
    let script = format!(
        "cd {} || exit 9; mknod null c 1 3 && echo x > null || exit 1; mknod kmsg c 1 11 || exit 2; \
         (: < kmsg) && exit 3; (: > kmsg) && exit 4; echo first; read line; (: < kmsg) || exit 5; \
         (: > kmsg) && exit 6; (echo x > null) && exit 7; exit 0",
        nodes.path().display()
    );
    let mut child = case.shell(&script);
    let first = hear(&mut child, PATIENCE);
    assert!(first.is_some(), "before the update: {:?}", end(child));
    // null goes, reading the kernel's log comes: as one change under a running process
    rules.retain(|rule| (rule.major, rule.minor) != (Some(1), Some(3)));
    let read = Access { read: true, ..Access::default() };
    rules.push(DeviceRule::allow(DeviceKind::Char, DeviceNumber { major: 1, minor: 11 }, read));
    for _ in 0..2 {
        case.group.update(&Limits { devices: rules.clone(), ..Limits::default() }).expect("update");
    }
    say(&mut child, "go\n");
    let (code, _, err) = end(child);
    assert_eq!(code, Some(0), "{err}");
}

#[test]
fn devices_that_no_rule_allows_cannot_be_opened() {
    filters_devices(&host(), "devices");
}

#[test]
fn the_device_filter_of_version_2_works_on_any_host_that_mounts_it() {
    match unified_only() {
        Some(hierarchy) => filters_devices(&hierarchy, "bpf"),
        None => eprintln!("skipped: no hierarchy of version 2 here"),
    }
}

#[test]
fn statistics_grow_with_use() {
    let mut case = Case::new(&host(), "stats", &Limits::default());
    let before = case.group.stats().expect("stats");
    let mut child = case.shell("i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; echo done; read x");
    assert_eq!(hear(&mut child, PATIENCE).as_deref(), Some("done"));
    let after = case.group.stats().expect("stats");
    let (before, now) = (before.cpu.expect("cpu"), after.cpu.expect("cpu"));
    assert!(now.usage > before.usage && now.usage >= Duration::from_millis(1), "{now:?}");
    assert!(after.memory.expect("memory").usage > Bytes(0));
    assert_eq!(after.pids.expect("pids").current, 1);
    assert_eq!(case.group.processes().expect("processes"), [child.id().cast_signed()]);
    if case.group.hierarchy().unified().is_some_and(|point| point.join("cpu.pressure").exists()) {
        assert!(after.pressure.memory.is_some(), "pressure is there where the kernel has it");
    }
}

#[test]
fn the_last_exit_is_seen_by_the_populated_descriptor() {
    let mut case = Case::new(&host(), "populated", &Limits::default());
    let watch = match case.group.watch_populated() {
        Err(Error::Unsupported { .. }) => {
            eprintln!("skipped: no hierarchy of version 2 here");
            return;
        }
        watch => watch.expect("watch"),
    };
    let child = case.shell("read x");
    assert!(watch.populated().expect("populated"));
    end(child);
    while watch.populated().expect("populated") {
        assert!(readable(&watch, PATIENCE), "no event");
    }
}

#[test]
fn a_group_in_use_is_not_taken_over_and_one_left_behind_is() {
    let hierarchy = host();
    let mut case =
        Case::new(&hierarchy, "again", &Limits { pids: Some(Ceiling::At(5)), ..Limits::default() });
    let child = case.shell("read x");
    let error = Group::create(&hierarchy, &path("again"), &Limits::default()).expect_err("in use");
    assert!(matches!(error, Error::InUse { pid, .. } if pid == child.id().cast_signed()), "{error}");
    end(child);
    let below = case.group.path().join("below").expect("a path");
    Group::create(&hierarchy, &below, &Limits::default()).expect("a group below");
    let anew = Group::create(&hierarchy, &path("again"), &Limits::default()).expect("made anew");
    assert_eq!(anew.stats().expect("stats").pids.expect("pids").limit, None, "old limits are gone");
    assert!(matches!(Group::open(&hierarchy, &below), Err(Error::Missing { .. })));
}

#[test]
fn a_creation_that_fails_leaves_nothing() {
    let hierarchy = host();
    let mut limits = Limits::default();
    limits.cpuset.cpus = Some("9000".to_owned());
    let error = Group::create(&hierarchy, &path("fails"), &limits).expect_err("no such processor");
    assert!(matches!(error, Error::Write { .. } | Error::Unsupported { .. }), "{error}");
    let parent = path("fails").parent().expect("a parent");
    assert!(matches!(Group::open(&hierarchy, &parent), Err(Error::Missing { .. })));
}

#[test]
fn removal_waits_for_nobody_and_is_idempotent() {
    let mut case = Case::new(&host(), "remove", &Limits::default());
    let child = case.shell("read x");
    let error = case.group.remove(Duration::from_millis(50)).expect_err("in use");
    assert!(matches!(error, Error::Remove { .. }), "{error}");
    end(child);
    for _ in 0..2 {
        case.group.remove(PATIENCE).expect("remove");
    }
    assert!(matches!(Group::open(&host(), case.group.path()), Err(Error::Missing { .. })));
}
