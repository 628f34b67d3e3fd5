//! What a container sees at `/sys/fs/cgroup`: its own groups and none of the host's, with a cgroup namespace and without.

mod support;

use serde_json::{Value, json};
use support::World;

/// Walks what is there: every directory that holds a group, below it and its processes.
const LOOK: &str = "cd /sys/fs/cgroup || exit 9; for d in . *; do \
    [ -L $d ] && continue; [ -f $d/cgroup.procs ] || continue; \
    for below in $d/*/; do [ $d = . ] && [ -f cgroup.procs ] || [ $d != . ] || continue; [ -d $below ] && echo below $below; done; \
    while read pid; do echo pid $pid; done < $d/cgroup.procs; done; mkdir made 2>&1; mkdir memory/made pids/made 2>&1; echo end";

fn config(world: &World, own: bool, options: &[&str]) -> Value {
    let mut config = world.config(LOOK);
    if !own {
        let list = config["linux"]["namespaces"].as_array_mut().expect("namespaces");
        list.retain(|namespace| namespace["type"] != "cgroup");
    }
    config["linux"]["resources"]["memory"] = json!({"limit": 67_108_864});
    config["mounts"].as_array_mut().expect("mounts").push(json!({
        "destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": options,
    }));
    config
}

#[test]
fn only_the_containers_own_groups_are_seen_with_and_without_a_cgroup_namespace() {
    let Some(world) = World::new("view") else { return };
    for own in [true, false] {
        world.write(&config(&world, own, &["nosuid", "noexec", "nodev", "relatime", "ro"]));
        let said = world.ok(&["run", "v"]);
        // processes of other groups would be 0, as they have no number in here, and other groups directories
        let pids: Vec<&str> = said.lines().filter_map(|line| line.strip_prefix("pid ")).collect();
        assert!(!pids.is_empty() && pids.iter().all(|&pid| pid == "1"), "own namespace {own}: {said}");
        assert!(!said.contains("below "), "own namespace {own}: {said}");
        // three places in version 1; in version 2 there is but one
        let refused = if said.contains("No such file") { 1 } else { 3 };
        assert_eq!(said.matches("Read-only file system").count(), refused, "own namespace {own}: {said}");
    }
}

#[test]
fn a_container_reads_its_own_limit_where_programs_look_for_it() {
    let Some(world) = World::new("view-limit") else { return };
    for own in [true, false] {
        let mut config = config(&world, own, &["ro"]);
        let read = "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null";
        config["process"]["args"][2] = json!(read);
        world.write(&config);
        assert_eq!(support::text(&world.oci(&["run", "l"]).stdout), "67108864\n", "own namespace {own}");
    }
}

#[test]
fn a_writable_view_without_a_namespace_reaches_below_the_own_group_only() {
    let Some(world) = World::new("view-rw") else { return };
    let mut config = config(&world, false, &["rw"]);
    let script = "d=/sys/fs/cgroup/pids; [ -d $d ] || d=/sys/fs/cgroup; mkdir $d/sub && ls -d $d/sub; \
                  grep ' /sys/fs/cgroup' /proc/self/mountinfo | grep -c -v /main; rmdir $d/sub";
    config["process"]["args"][2] = json!(script);
    world.write(&config);
    let said = world.ok(&["run", "w"]);
    // the only mount there that is not of the group `main` is the tmpfs around the hierarchies of version 1
    let unified = said.starts_with("/sys/fs/cgroup/sub\n");
    assert!(unified || said.starts_with("/sys/fs/cgroup/pids/sub\n"), "{said}");
    let others = said.lines().nth(1).expect("a count");
    assert_eq!(others, if unified { "0" } else { "1" }, "{said}");
}
