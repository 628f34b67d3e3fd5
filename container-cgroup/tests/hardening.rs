//! Attacks 21 and 22 of the house's list, as far as a control group is the defence.

mod support;

use std::os::unix::process::ExitStatusExt as _;

use container_cgroup::{Ceiling, Error, Group, GroupPath, Hierarchy, Limits};
use support::{Case, PATIENCE, hear, legacy_only, path};

#[test]
fn a_path_never_leaves_its_hierarchy() {
    for text in [
        "",
        "/",
        "relative",
        "//",
        "/a//b",
        "/a/",
        "/..",
        "/a/../b",
        "/a/..",
        "/./a",
        "/a\nb",
        "/a\0",
        "/a/\x1b[2J",
        "/cgroup.procs",
        "/a/cgroup.kill",
    ] {
        assert!(matches!(GroupPath::new(text), Err(Error::Path { .. })), "{text:?}");
    }
    assert!(GroupPath::new(format!("/{}", "x".repeat(256))).is_err());
    let good = GroupPath::new("/dunnage/3f2a").expect("a path");
    for name in ["..", "a/b", "", ".", "a\n"] {
        assert!(good.join(name).is_err(), "{name:?}");
    }
}

#[test]
fn a_group_cannot_be_made_in_the_place_of_a_control_file() {
    let Some(hierarchy) = legacy_only() else {
        eprintln!("skipped: no hierarchy of version 1 here");
        return;
    };
    let path = GroupPath::new("/tasks").expect("a path");
    assert!(matches!(
        Group::create(&hierarchy, &path, &Limits::default()),
        Err(Error::Create { .. } | Error::Read { .. })
    ));
}

#[test]
fn release_agents_are_neither_set_nor_called() {
    let Some(hierarchy) = legacy_only() else {
        eprintln!("skipped: no hierarchy of version 1 here");
        return;
    };
    let points: Vec<String> = std::fs::read_to_string("/proc/thread-self/mountinfo")
        .expect("mountinfo")
        .lines()
        .filter(|line| line.contains(" - cgroup "))
        .filter_map(|line| line.split(' ').nth(4).map(str::to_owned))
        .collect();
    let agents = || -> Vec<String> {
        points
            .iter()
            .map(|point| std::fs::read_to_string(format!("{point}/release_agent")).unwrap_or_default())
            .collect()
    };
    let before = agents();
    let case = Case::new(&hierarchy, "agent", &Limits::default());
    for point in &points {
        let file = format!("{point}{}/notify_on_release", case.group.path());
        assert_eq!(std::fs::read_to_string(&file).expect(&file).trim(), "0");
    }
    assert_eq!(before, agents());
}

fn storm(hierarchy: &Hierarchy, name: &str) {
    let mut case = Case::new(hierarchy, name, &Limits { pids: Some(Ceiling::At(60)), ..Limits::default() });
    // every process makes more, ignores what can be ignored, and never ends by itself
    let script = "trap '' TERM INT HUP QUIT; f() { f & f & wait; while :; do read x < /dev/null; done; }; \
                  echo storm; f 2> /dev/null";
    let mut child = case.shell(script);
    assert_eq!(hear(&mut child, PATIENCE).as_deref(), Some("storm"));
    case.group.kill(PATIENCE).expect("kill");
    assert!(case.group.processes().expect("processes").is_empty());
    assert_eq!(child.wait().expect("wait").signal(), Some(9));
    case.group.kill(PATIENCE).expect("killing nobody is success");
    case.group.remove(PATIENCE).expect("remove");
}

#[test]
fn a_fork_storm_is_killed_whole() {
    storm(&Hierarchy::of_host().expect("cgroups"), "storm");
}

#[test]
fn a_fork_storm_is_killed_whole_by_version_1_alone() {
    match legacy_only() {
        Some(hierarchy) => storm(&hierarchy, "storm1"),
        None => eprintln!("skipped: no hierarchy of version 1 here"),
    }
}

#[test]
fn a_stopped_and_frozen_group_is_killed() {
    let mut case = Case::new(&Hierarchy::of_host().expect("cgroups"), "stopped", &Limits::default());
    let mut child = case.shell("trap '' TERM; echo up; kill -STOP $$; read x");
    assert_eq!(hear(&mut child, PATIENCE).as_deref(), Some("up"));
    case.group.freeze(PATIENCE).expect("freeze");
    case.group.kill(PATIENCE).expect("kill");
    assert_eq!(child.wait().expect("wait").signal(), Some(9));
    assert!(!case.group.is_frozen().expect("state"));
}

#[test]
fn killing_one_group_leaves_its_neighbours_alone() {
    let hierarchy = Hierarchy::of_host().expect("cgroups");
    let mut near = Case::new(&hierarchy, "near", &Limits::default());
    let victim = Case::new(&hierarchy, "victim", &Limits::default());
    let mut child = near.shell("read x; echo alive");
    victim.group.kill(PATIENCE).expect("kill");
    support::say(&mut child, "\n");
    assert_eq!(hear(&mut child, PATIENCE).as_deref(), Some("alive"));
    assert_ne!(path("near"), path("victim"));
}
