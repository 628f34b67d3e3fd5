//! The command line about containers that are there: names, links, limits, what they use, and how they are listed.

mod support;

use std::fs;

use support::{Host, until};

#[test]
fn a_link_is_known_one_way_and_sets_dockers_variables() {
    let Some(host) = Host::with_image() else { return };
    host.ok(&[
        "import",
        "-c",
        "EXPOSE 6379",
        "-c",
        r#"CMD ["sh"]"#,
        host.path("rootfs.tar").to_str().unwrap(),
        "store",
    ]);
    let serve = "while true; do echo pong | nc -l -p 6379; done";
    host.ok(&["run", "-d", "--name", "redis", "store", "sh", "-c", serve]);
    let ask = "nc store 6379 </dev/null; env | grep ^STORE_ | sort";
    let mut shown = String::new();
    // the server may not listen yet
    until("an answer by the link", || {
        shown = host.ok(&["run", "--rm", "--name", "asker", "--link", "redis:store", "bb", "sh", "-c", ask]);
        shown.starts_with("pong").then_some(())
    });
    let address = host.ok(&["inspect", "-f", "{{.NetworkSettings.Networks.bridge.IPAddress}}", "redis"]);
    let address = address.trim();
    assert_eq!(
        shown,
        format!(
            "pong\nSTORE_NAME=/asker/store\nSTORE_PORT=tcp://{address}:6379\n\
             STORE_PORT_6379_TCP=tcp://{address}:6379\nSTORE_PORT_6379_TCP_ADDR={address}\n\
             STORE_PORT_6379_TCP_PORT=6379\nSTORE_PORT_6379_TCP_PROTO=tcp\n"
        )
    );
    // who is linked to knows nothing of it, and a container without the link knows no name on the network bridge
    let (_, error) = host.fails(&["run", "--rm", "bb", "nslookup", "redis"]);
    assert!(!error.contains(address), "{error}");
    // a renamed container stays linked
    host.ok(&["create", "--name", "later", "--link", "redis", "bb", "sh", "-c", "nslookup redis"]);
    host.ok(&["rename", "redis", "cache"]);
    let found = host.ok(&["start", "-a", "later"]);
    assert!(found.contains(address), "{found}");
    host.ok(&["stop", "-t", "0", "cache"]);
    let (_, error) = host.fails(&["start", "later"]);
    assert!(error.contains("cache"), "{error}");
    assert!(host.fails(&["create", "--link", "nobody", "bb"]).1.contains("nobody"));
    assert!(host.fails(&["create", "--network", "none", "--link", "cache", "bb"]).1.contains("link"));
    host.ok(&["container", "prune", "-f"]);
    host.leaves_nothing();
}

#[test]
fn a_container_is_known_by_its_new_name_at_once() {
    let Some(host) = Host::with_image() else { return };
    host.ok(&["network", "create", "own"]);
    host.ok(&["run", "-d", "--name", "first", "--network", "own", "bb", "sleep", "1000"]);
    host.ok(&["run", "-d", "--name", "asker", "--network", "own", "bb", "sleep", "1000"]);
    host.ok(&["exec", "asker", "nslookup", "first"]);
    host.ok(&["rename", "first", "second"]);
    host.ok(&["exec", "asker", "nslookup", "second"]);
    host.fails(&["exec", "asker", "nslookup", "first"]);
    let (_, error) = host.fails(&["rename", "second", "asker"]);
    assert!(error.contains("asker"), "{error}");
    assert!(
        host.fails(&["rename", "second", "-rf"]).1.contains("-rf") || !host.output(&["ps"]).stdout.is_empty()
    );
    assert!(host.ok(&["ps"]).contains("second"));
    host.ok(&["rm", "-f", "second", "asker"]);
    host.ok(&["network", "rm", "own"]);
    host.leaves_nothing();
}

#[test]
fn volumes_come_from_another_container() {
    let Some(host) = Host::with_image() else { return };
    host.ok(&[
        "run",
        "--name",
        "data",
        "--network",
        "none",
        "-v",
        "kept:/data",
        "bb",
        "sh",
        "-c",
        "echo 1 > /data/x",
    ]);
    let shown =
        host.ok(&["run", "--rm", "--network", "none", "--volumes-from", "data", "bb", "cat", "/data/x"]);
    assert_eq!(shown, "1\n");
    let (_, error) = host.fails(&[
        "run",
        "--rm",
        "--network",
        "none",
        "--volumes-from",
        "data:ro",
        "bb",
        "touch",
        "/data/y",
    ]);
    assert!(error.contains("Read-only"), "{error}");
    assert!(host.fails(&["create", "--volumes-from", "data:xx", "bb"]).1.contains("xx"));
    assert!(host.fails(&["create", "--volumes-from", "nobody", "bb"]).1.contains("nobody"));
    host.ok(&["rm", "data"]);
    host.ok(&["volume", "rm", "kept"]);
    host.leaves_nothing();
}

#[test]
fn limits_change_while_a_container_runs_and_stay_for_its_next_start() {
    let Some(host) = Host::with_image() else { return };
    host.ok(&["run", "-d", "--name", "one", "--network", "none", "-m", "64m", "bb", "sleep", "1000"]);
    assert_eq!(
        host.ok(&["update", "-m", "128m", "--memory-swap", "256m", "--pids-limit", "50", "one"]),
        "one\n"
    );
    let limits = "cat /sys/fs/cgroup/pids/pids.max /sys/fs/cgroup/memory/memory.limit_in_bytes 2> /dev/null || \
                  cat /sys/fs/cgroup/pids.max /sys/fs/cgroup/memory.max";
    let wanted = format!("50\n{}\n", 128 << 20);
    assert_eq!(host.ok(&["exec", "one", "sh", "-c", limits]), wanted);
    host.ok(&["restart", "-t", "0", "one"]);
    assert_eq!(host.ok(&["exec", "one", "sh", "-c", limits]), wanted);
    // the restart policy holds for the end that comes now
    host.ok(&["update", "--restart", "always", "one"]);
    host.ok(&[
        "exec",
        "one",
        "sh",
        "-c",
        "kill -9 $(ps -o pid,comm | grep sleep | head -n 1 | cut -c1-6) || true",
    ]);
    host.ok(&["update", "--restart", "no", "one"]);
    let (_, error) = host.fails(&["update", "--cpuset-cpus", "100-200", "one"]);
    assert!(error.contains("cpuset"), "{error}");
    assert!(host.fails(&["update", "--restart", "sometimes", "one"]).1.contains("sometimes"));
    host.ok(&["rm", "-f", "one"]);
    host.leaves_nothing();
}

#[test]
fn what_runs_and_what_it_uses_is_shown() {
    let Some(host) = Host::with_image() else { return };
    host.ok(&[
        "run",
        "-d",
        "--name",
        "busy",
        "-p",
        "127.0.0.1:8123:80",
        "bb",
        "sh",
        "-c",
        "while :; do :; done",
    ]);
    let top = host.ok(&["top", "busy"]);
    assert!(top.starts_with("UID") && top.contains("while :; do :; done"), "{top}");
    let stats = host.ok(&["stats", "--no-stream", "busy"]);
    let line = stats.lines().nth(1).unwrap();
    assert!(line.contains("busy") && line.contains("MiB / ") || line.contains("KiB / "), "{stats}");
    let share = host.ok(&["stats", "--no-stream", "--format", "{{.CPUPerc}}", "busy"]);
    assert!(share.trim().trim_end_matches('%').parse::<f64>().unwrap() > 1.0, "{share}");
    assert_eq!(host.ok(&["port", "busy"]), "80/tcp -> 127.0.0.1:8123\n");
    assert_eq!(host.ok(&["port", "busy", "80"]), "127.0.0.1:8123\n");
    assert!(host.fails(&["port", "busy", "81/udp"]).1.contains("81/udp"));
    host.ok(&["stop", "-t", "0", "busy"]);
    for command in ["top", "pause"] {
        assert!(host.fails(&[command, "busy"]).1.contains("busy"));
    }
    assert!(host.ok(&["stats", "--no-stream", "-a"]).contains("--"));
    host.ok(&["rm", "busy"]);
    host.leaves_nothing();
}

#[test]
fn lists_and_objects_are_shown_in_a_format_of_ones_own() {
    let Some(host) = Host::with_image() else { return };
    host.ok(&["create", "--name", "a1", "--label", "tier=\u{1b}[31mred", "--network", "none", "bb"]);
    assert_eq!(host.ok(&["ps", "-a", "--format", "{{.Names}}\\t{{.State}}"]), "a1\tcreated\n");
    let table = host.ok(&["ps", "-a", "--format", "table {{.Names}}\\t{{.Image}}"]);
    assert_eq!(table, "NAMES   IMAGE\na1      bb\n");
    let json: serde_json::Value = serde_json::from_str(&host.ok(&["ps", "-a", "--format", "json"])).unwrap();
    assert_eq!(json["Names"], "a1");
    assert!(!json["Labels"].as_str().unwrap().contains('\u{1b}'));
    assert_eq!(
        host.ok(&["inspect", "-f", "{{.Name}} {{.State.Status}} {{json .Config.Tty}}", "a1"]),
        "/a1 created false\n"
    );
    assert_eq!(host.ok(&["images", "--format", "{{.Repository}}:{{.Tag}}"]), "bb:latest\n");
    assert!(host.ok(&["network", "ls", "--format", "{{.Name}}"]).contains("bridge\n"));
    host.ok(&["volume", "create", "v1"]);
    assert_eq!(host.ok(&["volume", "ls", "--format", "{{.Driver}}/{{.Name}}"]), "local/v1\n");
    assert_eq!(host.ok(&["volume", "inspect", "-f", "{{.Name}}", "v1"]), "v1\n");
    assert_eq!(host.ok(&["image", "inspect", "-f", "{{index .RepoTags 0}}", "bb"]), "bb:latest\n");
    let (_, error) = host.fails(&["ps", "-a", "--format", "{{.Nmaes}}"]);
    assert!(error.contains(".Nmaes is not there") && error.contains("Names"), "{error}");
    assert_eq!(host.ok(&["container", "ls", "-aq", "--no-trunc"]).trim().len(), 64);
    assert!(host.ok(&["container", "prune", "-f"]).contains("Deleted Containers:"));
    host.ok(&["volume", "rm", "v1"]);
    assert!(fs::read_dir(host.path("root/containers")).unwrap().next().is_none());
    host.leaves_nothing();
}

#[test]
fn the_system_says_what_it_holds_and_gives_back_what_nobody_uses() {
    let Some(host) = Host::with_image() else { return };
    host.ok(&[
        "run",
        "--name",
        "wrote",
        "--network",
        "none",
        "-v",
        "/data",
        "bb",
        "sh",
        "-c",
        "head -c 300000 /dev/zero > /x",
    ]);
    host.ok(&["network", "create", "idle"]);
    let df = host.ok(&["system", "df", "--format", "{{.Type}} {{.TotalCount}} {{.Active}}"]);
    assert_eq!(df, "Images 1 1\nContainers 1 0\nLocal Volumes 1 1\n");
    assert_eq!(
        host.ok(&["info", "-f", "{{.Containers}} {{.ContainersStopped}} {{.Images}} {{.OSType}}"]),
        "1 1 1 linux\n"
    );
    assert!(host.ok(&["info"]).contains("Cgroup Version: "));
    assert!(host.ok(&["version"]).starts_with("dunnage "));
    assert!(host.ok(&["version", "-f", "{{.Client.Version}}"]).contains('.'));
    // nobody says yes
    host.ok(&["system", "prune"]);
    assert!(host.ok(&["ps", "-a"]).contains("wrote"));
    let pruned = host.ok(&["system", "prune", "-f", "--volumes", "-a"]);
    for line in [
        "Deleted Containers:",
        "Deleted Networks:\nidle",
        "Deleted Volumes:",
        "untagged: bb:latest",
        "Total reclaimed space: ",
    ] {
        assert!(pruned.contains(line), "{line}: {pruned}");
    }
    assert_eq!(host.ok(&["images", "-q"]), "");
    host.leaves_nothing();
}

#[test]
fn a_health_check_is_made_again_and_again_and_its_verdict_is_shown() {
    let Some(host) = Host::with_image() else { return };
    let status = |name: &str| host.ok(&["inspect", "-f", "{{.State.Health.Status}}", name]).trim().to_owned();
    let check = ["--health-interval", "50ms", "--health-retries", "2", "--health-timeout", "10s"];
    let mut run =
        vec!["run", "-d", "--name", "sick", "--network", "none", "--health-cmd", "echo checked; cat /well"];
    run.extend(check);
    run.extend(["bb", "sleep", "1000"]);
    host.ok(&run);
    until("an unhealthy container", || (status("sick") == "unhealthy").then_some(()));
    assert!(host.ok(&["ps"]).contains("(unhealthy)"));
    host.ok(&["exec", "sick", "touch", "/well"]);
    until("a healthy container", || (status("sick") == "healthy").then_some(()));
    assert_eq!(host.ok(&["ps", "-q", "-f", "health=healthy"]).lines().count(), 1);
    let log = host.ok(&["inspect", "-f", "{{json .State.Health.Log}}", "sick"]);
    assert!(log.contains("checked") && log.matches("ExitCode").count() <= 5, "{log}");
    let events =
        host.ok(&["events", "--since", "1970-01-01T00:00:00Z", "--until", "0s", "-f", "container=sick"]);
    assert!(
        events.contains("health_status: unhealthy") && events.contains("health_status: healthy"),
        "{events}"
    );
    // the image's check, one that never ends, and none at all
    let image = host.path("rootfs.tar");
    host.ok(&["import", "-c", "HEALTHCHECK --interval=50ms CMD true", image.to_str().unwrap(), "well"]);
    host.ok(&["run", "-d", "--name", "imaged", "--network", "none", "well", "sleep", "1000"]);
    until("the image's check", || (status("imaged") == "healthy").then_some(()));
    host.ok(&[
        "run",
        "-d",
        "--name",
        "slow",
        "--network",
        "none",
        "--health-cmd",
        "sleep 1000",
        "--health-timeout",
        "50ms",
        "--health-interval",
        "50ms",
        "--health-retries",
        "1",
        "bb",
        "sleep",
        "1000",
    ]);
    until("a check that takes too long", || (status("slow") == "unhealthy").then_some(()));
    host.ok(&[
        "run",
        "-d",
        "--name",
        "none",
        "--network",
        "none",
        "--no-healthcheck",
        "well",
        "sleep",
        "1000",
    ]);
    assert!(!host.ok(&["inspect", "none"]).contains("\"Health\""));
    assert!(host.fails(&["create", "--health-interval", "soon", "bb"]).1.contains("soon"));
    host.ok(&["rm", "-f", "sick", "imaged", "slow", "none"]);
    host.leaves_nothing();
}

#[test]
fn what_stands_behind_the_image_is_no_option() {
    let Some(host) = Host::with_image() else { return };
    let run =
        ["run", "--rm", "--network", "none", "--entrypoint", "sh", "bb", "-c", "echo $0 $1", "-m", "--rm"];
    assert_eq!(host.ok(&run), "-m --rm\n");
    host.ok(&["run", "-d", "--name", "one", "--network", "none", "bb", "sleep", "1000"]);
    assert_eq!(host.ok(&["exec", "-e", "A=b", "one", "sh", "-c", "echo $A $0", "-t"]), "b -t\n");
    assert_eq!(host.fails(&["run", "--frob", "bb"]).0, 125);
    assert_eq!(host.fails(&["exec", "one"]).0, 125);
    host.ok(&["rm", "-f", "one"]);
    host.leaves_nothing();
}

#[test]
fn names_of_the_host_and_control_groups_are_shared_where_it_is_said() {
    let Some(host) = Host::with_image() else { return };
    let name = |more: &[&str], command: &str| {
        host.ok(&[&["run", "--rm"], more, &["bb", "sh", "-c", command]].concat()).trim().to_owned()
    };
    let domain = "cat /proc/sys/kernel/domainname";
    assert_eq!(
        name(&["--hostname", "box", "--domainname", "example"], &format!("hostname; {domain}")),
        "box\nexample"
    );
    let own = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    assert_eq!(name(&["--uts", "host"], "hostname; echo $HOSTNAME"), format!("{0}\n{0}", own.trim()));
    let (_, said) = host.fails(&["run", "--rm", "--uts", "host", "--hostname", "box", "bb", "true"]);
    assert!(said.contains("cannot be set"), "{said}");
    let group = "cat /proc/self/cgroup | head -1";
    assert!(name(&[], group).ends_with(":/"), "its own group is the root");
    assert!(name(&["--cgroupns", "host"], group).contains("/dunnage-"), "the host's tree is seen");
    let (_, said) = host.fails(&["run", "--rm", "--cgroupns", "other", "bb", "true"]);
    assert!(said.contains("cgroupns mode \"other\""), "{said}");
    host.leaves_nothing();
}

#[test]
fn what_is_exposed_is_published_by_itself_and_told_to_who_links_it() {
    let Some(host) = Host::with_image() else { return };
    host.ok(&[
        "run",
        "-d",
        "--name",
        "web",
        "--stop-timeout",
        "0",
        "-P",
        "--expose",
        "80-81",
        "--expose",
        "53/udp",
        "bb",
        "sleep",
        "600",
    ]);
    let ports = host.ok(&["port", "web"]);
    let inside: Vec<&str> = ports.lines().filter_map(|line| line.split(" -> ").next()).collect();
    assert_eq!(inside, ["80/tcp", "81/tcp", "53/udp"], "{ports}");
    let env = host.ok(&["run", "--rm", "--link", "web", "bb", "env"]);
    assert!(env.contains("WEB_PORT_81_TCP_PORT=81") && env.contains("WEB_PORT_53_UDP_PROTO=udp"), "{env}");
    let (_, said) = host.fails(&["run", "--rm", "--expose", "90-80", "bb", "true"]);
    assert!(said.contains("expose \"90-80\""), "{said}");
    host.leaves_nothing();
}
