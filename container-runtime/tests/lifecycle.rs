//! Real bundles through the command line, and through the library.

mod support;

use std::fs;
use std::io::{IoSliceMut, Read as _};
use std::mem::MaybeUninit;
use std::os::unix::net::UnixListener;
use std::process::Stdio;
use std::time::{Duration, Instant};

use container_runtime::{Create, Error, Exec};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use serde_json::{Value, json};
use support::{PATIENCE, World, eventually, finish, say, text};

#[test]
fn a_container_is_created_started_seen_killed_and_deleted() {
    let Some(world) = World::new("life") else { return };
    world.write(&world.config("echo started; trap 'exit 7' TERM; while :; do sleep 1 & wait; done"));
    let pid_file = world.path("pid");
    let out = world.create("c1", &["--pid-file", pid_file.to_str().expect("utf-8")]);
    let state = world.state("c1");
    assert_eq!(state["status"], "created");
    assert_eq!(state["ociVersion"], "1.2.0");
    assert_eq!(fs::read_to_string(&pid_file).expect("pid file"), state["pid"].to_string());
    assert_eq!(fs::read_to_string(&out).expect("out"), "", "nothing runs before start");
    let again = world.oci(&["create", "c1"]);
    assert_eq!((again.status.code(), text(&again.stderr).contains("exists already")), (Some(1), true));

    world.ok(&["start", "c1"]);
    eventually(&out, |said| said == "started\n");
    assert_eq!(world.state("c1")["status"], "running");
    assert!(text(&world.oci(&["start", "c1"]).stderr).contains("it is running"));
    assert!(text(&world.oci(&["delete", "c1"]).stderr).contains("it is running"));

    world.ok(&["kill", "c1", "TERM"]);
    world.wait_end("c1");
    assert_eq!(
        (world.state("c1")["status"].as_str(), world.state("c1")["pid"].as_i64()),
        (Some("stopped"), Some(0))
    );
    assert!(!world.oci(&["kill", "c1", "9"]).status.success());
    world.ok(&["delete", "c1"]);
    assert!(text(&world.oci(&["state", "c1"]).stderr).contains("does not exist"));
    world.ok(&["delete", "--force", "c1"]);
    assert!(!world.oci(&["delete", "c1"]).status.success());
    assert!(world.cgroup().is_none_or(|group| group.processes().expect("processes").is_empty()));
}

#[test]
fn run_gives_the_exit_code_and_leaves_nothing() {
    let Some(world) = World::new("run") else { return };
    for (script, code) in [("exit 0", 0), ("exit 42", 42), ("sh -c 'kill -15 $$'", 143)] {
        world.write(&world.config(&format!("{script}; exit $?")));
        let output = world.oci(&["run", "r"]);
        assert_eq!(output.status.code(), Some(code), "{script}: {}", text(&output.stderr));
        assert_eq!(world.ok(&["list", "-q"]), "");
    }
    world.write(&world.config("echo up; while :; do sleep 100; done"));
    let out = world.path("out");
    let mut command = world.command(&["run", "r"]);
    let child =
        command.stdin(Stdio::null()).stdout(fs::File::create(&out).expect("a file")).spawn().expect("run");
    eventually(&out, |said| said == "up\n");
    world.ok(&["kill", "r", "SIGKILL"]);
    assert_eq!(finish(child).status.code(), Some(137));
    world.write(&world.config("hostname; id -u; pwd; echo $TERM; read line; echo $line"));
    let mut child = world.command(&["run", "r"]);
    let mut child =
        child.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("run");
    say(&mut child, "typed\n");
    assert_eq!(text(&finish(child).stdout), "inside\n0\n/\nxterm\ntyped\n");
}

#[test]
fn a_program_that_is_missing_or_not_executable_is_an_error_and_leaves_nothing() {
    let Some(world) = World::new("missing") else { return };
    fs::write(world.rootfs().join("bin/plain"), "x").expect("a file");
    for (program, said) in [("/bin/none", "no such file"), ("/bin/plain", "permission denied")] {
        let mut config = world.config("");
        config["process"]["args"] = json!([program]);
        world.write(&config);
        let output = world.oci(&["run", "m"]);
        assert_eq!(output.status.code(), Some(1));
        assert!(
            text(&output.stderr).contains(program) && text(&output.stderr).contains(said),
            "{}",
            text(&output.stderr)
        );
        assert_eq!(world.ok(&["list", "-q"]), "");
    }
}

#[test]
fn signals_to_run_reach_the_process() {
    let Some(world) = World::new("forward") else { return };
    world.write(&world.config("trap 'echo got; exit 3' USR1; echo ready; while :; do sleep 1 & wait; done"));
    let out = world.path("out");
    let mut command = world.command(&["run", "f"]);
    let child =
        command.stdin(Stdio::null()).stdout(fs::File::create(&out).expect("a file")).spawn().expect("run");
    eventually(&out, |said| said == "ready\n");
    let pid = rustix::process::Pid::from_raw(child.id().cast_signed()).expect("a pid");
    rustix::process::kill_process(pid, rustix::process::Signal::USR1).expect("kill");
    assert_eq!(finish(child).status.code(), Some(3));
    assert_eq!(fs::read_to_string(&out).expect("out"), "ready\ngot\n");
}

#[test]
fn exec_joins_with_its_own_user_environment_and_exit_code() {
    let Some(world) = World::new("exec") else { return };
    world.write(&world.config("echo up; read x"));
    let out = world.create("e", &[]);
    let held = world.oci(&["exec", "e", "hostname"]);
    assert_eq!(text(&held.stdout), "inside\n", "exec in a created container: {}", text(&held.stderr));
    world.ok(&["start", "e"]);
    // its stdin is empty, so that it has ended: a second one stays
    world.wait_end("e");
    let refused = world.oci(&["exec", "e", "true"]);
    assert!(text(&refused.stderr).contains("it is stopped"), "{}", text(&refused.stderr));
    world.ok(&["delete", "e"]);
    drop(out);

    world.write(&world.config("echo up; while :; do sleep 100; done"));
    world.create("e", &[]);
    world.ok(&["start", "e"]);
    let said = world.ok(&[
        "exec",
        "-u",
        "1000:1001",
        "-e",
        "WHAT=this",
        "--cwd",
        "/tmp",
        "--additional-gids",
        "7",
        "e",
        "sh",
        "-c",
        "id -u; id -g; id -G; pwd; echo $WHAT; readlink /proc/self/ns/pid; grep NoNewPrivs /proc/self/status",
    ]);
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(&lines[..2], ["1000", "1001"]);
    assert!(lines[2].split(' ').any(|gid| gid == "7"), "{said}");
    assert_eq!(&lines[3..5], ["/tmp", "this"]);
    let pid = world.state("e")["pid"].to_string();
    let theirs = fs::read_link(format!("/proc/{pid}/ns/pid")).expect("a namespace");
    assert_eq!(lines[5], theirs.to_str().expect("utf-8"));
    assert_eq!(lines[6], "NoNewPrivs:\t1");
    assert_eq!(world.oci(&["exec", "e", "sh", "-c", "exit 9"]).status.code(), Some(9));
    assert_eq!(world.oci(&["exec", "e", "sh", "-c", "kill -9 $$"]).status.code(), Some(137));
    assert_eq!(world.oci(&["exec", "e", "/none"]).status.code(), Some(255), "as runc");

    let file = world.path("process.json");
    let process = json!({"user": {"uid": 5, "gid": 6}, "args": ["sh", "-c", "id -u; echo $A"], "env": ["PATH=/bin", "A=b"], "cwd": "/"});
    fs::write(&file, process.to_string()).expect("process.json");
    assert_eq!(world.ok(&["exec", "-p", file.to_str().expect("utf-8"), "e"]), "5\nb\n");

    let pid_file = world.path("exec.pid");
    let mut detached =
        world.command(&["exec", "-d", "--pid-file", pid_file.to_str().expect("utf-8"), "e", "sleep", "99"]);
    let detached =
        detached.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("exec");
    assert!(finish(detached).status.success());
    let pid: i32 = fs::read_to_string(pid_file).expect("pid file").parse().expect("a pid");
    let listed: Vec<i32> = serde_json::from_str(&world.ok(&["ps", "-f", "json", "e"])).expect("json");
    assert!(listed.contains(&pid) && listed.len() >= 2, "{pid} in {listed:?}");
    assert!(world.ok(&["ps", "e"]).contains("sleep 99"));
}

#[test]
fn all_six_kinds_of_hooks_run_at_their_points_with_the_state() {
    let Some(world) = World::new("hooks") else { return };
    let log = world.path("hooks.log");
    fs::write(&log, "").expect("a log");
    fs::write(world.rootfs().join("inside.log"), "").expect("a log");
    let hook = |kind: &str, to: &str| json!([{"path": "/bin/sh", "args": ["sh", "-c", format!("read -r state; echo \"{kind} $A $state\" >> {to}")], "env": ["A=b", "PATH=/bin:/usr/bin"], "timeout": 10}]);
    let outside = log.to_str().expect("utf-8");
    let mut config = world.config("echo run >> /inside.log");
    config["hooks"] = json!({
        "prestart": hook("prestart", outside), "createRuntime": hook("createRuntime", outside),
        "createContainer": hook("createContainer", outside), "startContainer": hook("startContainer", "/inside.log"),
        "poststart": hook("poststart", outside), "poststop": hook("poststop", outside),
    });
    world.write(&config);
    world.create("h", &[]);
    let said = fs::read_to_string(&log).expect("log");
    let kinds = |text: &str| -> Vec<String> {
        text.lines().map(|line| line.split(' ').take(2).collect::<Vec<_>>().join(" ")).collect()
    };
    assert_eq!(kinds(&said), ["prestart b", "createRuntime b", "createContainer b"]);
    let first = said.lines().next().expect("a line").splitn(3, ' ').nth(2).expect("a state");
    let state: Value = serde_json::from_str(first).expect("json");
    assert_eq!((state["id"].as_str(), state["status"].as_str()), (Some("h"), Some("creating")));
    assert_eq!(state["pid"], world.state("h")["pid"]);
    assert_eq!(fs::read_to_string(world.rootfs().join("inside.log")).expect("log"), "");
    world.ok(&["start", "h"]);
    world.wait_end("h");
    let inside = fs::read_to_string(world.rootfs().join("inside.log")).expect("log");
    assert_eq!(kinds(&inside), ["startContainer b", "run"]);
    world.ok(&["delete", "h"]);
    let said = kinds(&fs::read_to_string(&log).expect("log"));
    assert_eq!(&said[3..], ["poststart b", "poststop b"]);
}

#[test]
fn a_hook_that_fails_or_hangs_stops_the_creation_and_leaves_nothing() {
    let Some(world) = World::new("badhook") else { return };
    for (script, said) in
        [("echo why >&2; exit 3", "exit status: 3: why"), ("sleep 97531 & wait", "did not end within 1s")]
    {
        let mut config = world.config("true");
        config["hooks"] = json!({"createRuntime": [{"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/bin:/usr/bin"], "timeout": 1}]});
        world.write(&config);
        let output = world.oci(&["run", "b"]);
        let errors = text(&output.stderr);
        assert!(errors.contains("createRuntime[0]") && errors.contains(said), "{errors}");
        assert_eq!(world.ok(&["list", "-q"]), "");
        assert!(world.cgroup().is_none_or(|group| group.processes().expect("processes").is_empty()));
    }
    // not even what its shell has started; who was killed may take a moment to go
    let alive = || {
        fs::read_dir("/proc")
            .expect("/proc")
            .flatten()
            .any(|entry| fs::read(entry.path().join("cmdline")).is_ok_and(|words| words == b"sleep\097531\0"))
    };
    let end = Instant::now() + PATIENCE;
    while alive() {
        assert!(Instant::now() < end, "the hook's child is still there");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn the_terminal_goes_over_the_console_socket() {
    let Some(world) = World::new("tty") else { return };
    let mut config = world.config("tty; stty size; read x; echo got $x");
    config["process"]["terminal"] = json!(true);
    config["process"]["consoleSize"] = json!({"height": 33, "width": 99});
    world.write(&config);
    assert!(text(&world.oci(&["create", "t"]).stderr).contains("no console socket"));
    let path = world.path("console.sock");
    let listener = UnixListener::bind(&path).expect("a socket");
    world.create("t", &["--console-socket", path.to_str().expect("utf-8")]);
    assert!(support::readable(&listener));
    let (stream, _) = listener.accept().expect("accept");
    let mut bytes = [0; 64];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received =
        recvmsg(&stream, &mut [IoSliceMut::new(&mut bytes)], &mut control, RecvFlags::CMSG_CLOEXEC);
    assert!(received.expect("recvmsg").bytes > 0);
    let master = control
        .drain()
        .find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
            _ => None,
        })
        .expect("a descriptor");
    world.ok(&["start", "t"]);
    let mut master = fs::File::from(master);
    let mut said = String::new();
    let read = |until: &str, said: &mut String| {
        while !said.contains(until) {
            assert!(support::readable(&master), "{said:?}");
            let mut buffer = [0; 1024];
            let length = (&master).read(&mut buffer).unwrap_or(0);
            assert!(length > 0, "{said:?}");
            said.push_str(&text(&buffer[..length]));
        }
    };
    read("33 99", &mut said);
    assert!(said.starts_with("/dev/console") || said.starts_with("/dev/pts/0"), "{said:?}");
    std::io::Write::write_all(&mut master, b"hello\n").expect("write");
    let read = |until: &str, said: &mut String| {
        while !said.contains(until) {
            assert!(support::readable(&master), "{said:?}");
            let mut buffer = [0; 1024];
            let length = (&master).read(&mut buffer).unwrap_or(0);
            assert!(length > 0, "{said:?}");
            said.push_str(&text(&buffer[..length]));
        }
    };
    read("got hello", &mut said);
    world.wait_end("t");
}

#[test]
fn pause_stops_everything_until_resume() {
    let Some(world) = World::new("pause") else { return };
    world.write(&world.config("while :; do sleep 100; done"));
    world.create("p", &[]);
    world.ok(&["start", "p"]);
    world.ok(&["pause", "p"]);
    assert_eq!(world.state("p")["status"], "paused");
    assert!(text(&world.oci(&["exec", "p", "true"]).stderr).contains("it is paused"));
    world.ok(&["resume", "p"]);
    assert_eq!(world.state("p")["status"], "running");
    assert!(!world.oci(&["resume", "p"]).status.success());
    world.ok(&["exec", "p", "true"]);
    world.ok(&["pause", "p"]);
    world.ok(&["kill", "p", "KILL"]);
    world.wait_end("p");
    world.ok(&["delete", "p"]);
}

#[test]
fn limits_are_set_updated_and_shown() {
    let Some(world) = World::new("limits") else { return };
    world.write(&world.config("while :; do sleep 100; done"));
    world.create("u", &[]);
    world.ok(&["start", "u"]);
    let stats = || -> Value { serde_json::from_str(&world.ok(&["events", "--stats", "u"])).expect("json") };
    assert_eq!(stats()["data"]["pids"]["limit"], 64);
    world.ok(&["update", "--pids-limit", "33", "--memory", "64m", "u"]);
    assert_eq!(stats()["data"]["pids"]["limit"], 33);
    assert_eq!(stats()["data"]["memory"]["usage"]["limit"], 64 << 20);
    assert!(stats()["data"]["cpu"]["usage"]["total"].as_u64() > Some(0));
    let mut child = world.command(&["update", "-r", "-", "u"]);
    let mut child = child.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("update");
    say(&mut child, r#"{"pids":{"limit":44}}"#);
    assert!(finish(child).status.success());
    assert_eq!(stats()["data"]["pids"]["limit"], 44);
    let wrong = world.oci(&["update", "--memory", "1x", "u"]);
    assert!(text(&wrong.stderr).contains("\"1x\""));
}

#[test]
fn list_shows_every_container() {
    let Some(world) = World::new("list") else { return };
    assert_eq!(world.ok(&["list", "-f", "json"]), "[]\n");
    let mut config = world.config("true");
    config["annotations"] = json!({"org.example": "yes"});
    world.write(&config);
    world.create("l1", &[]);
    config["linux"]["cgroupsPath"] = json!(format!("/{}/other", world.name));
    world.write(&config);
    world.create("l2", &[]);
    assert_eq!(world.ok(&["list", "-q"]), "l1\nl2\n");
    let states: Value = serde_json::from_str(&world.ok(&["list", "-f", "json"])).expect("json");
    assert_eq!((states[0]["id"].as_str(), states[1]["status"].as_str()), (Some("l1"), Some("created")));
    assert_eq!(states[0]["annotations"]["org.example"], "yes");
    let table = world.ok(&["list"]);
    assert!(table.starts_with("ID ") && table.lines().count() == 3, "{table}");
}

#[test]
fn a_creation_that_was_killed_halfway_is_deleted_by_force() {
    let Some(world) = World::new("half") else { return };
    let mut config = world.config("true");
    config["hooks"] = json!({"createRuntime": [{"path": "/bin/sh", "args": ["sh", "-c", format!("echo $$ > {}; exec sleep 100", world.path("hook").display())], "env": ["PATH=/bin:/usr/bin"]}]});
    world.write(&config);
    let mut command = world.command(&["create", "x"]);
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("create");
    let hook = eventually(&world.path("hook"), |said| said.ends_with('\n'));
    assert_eq!(world.state("x")["status"], "creating");
    child.kill().expect("kill");
    child.wait().expect("wait");
    let hook = rustix::process::Pid::from_raw(hook.trim().parse().expect("a pid")).expect("a pid");
    rustix::process::kill_process(hook, rustix::process::Signal::KILL).expect("kill the hook");
    assert_eq!(world.state("x")["status"], "stopped");
    assert!(text(&world.oci(&["create", "x"]).stderr).contains("exists already"));
    assert!(!world.oci(&["start", "x"]).status.success());
    for _ in 0..2 {
        world.ok(&["delete", "--force", "x"]);
    }
    assert!(world.cgroup().is_none_or(|group| group.processes().expect("processes").is_empty()));
    // one that died before it wrote anything, and one whose state is torn
    fs::create_dir_all(world.runtime.root().join("y")).expect("a directory");
    fs::create_dir_all(world.runtime.root().join("z")).expect("a directory");
    fs::write(world.runtime.root().join("z/state.json"), "{\"id\":").expect("a file");
    assert_eq!(world.ok(&["list", "-q"]), "");
    for id in ["y", "z"] {
        assert!(!world.oci(&["delete", id]).status.success());
        world.ok(&["delete", "-f", id]);
        assert!(!world.runtime.root().join(id).exists());
    }
}

#[test]
fn a_mount_at_the_root_makes_the_root_and_no_mount_on_the_host() {
    let Some(world) = World::new("overlay") else { return };
    // overlay layers on the host's file system, in a directory whose name needs care
    let upper = world.path("up:per");
    let work = world.path("wo,rk");
    fs::create_dir_all(&upper).expect("a directory");
    fs::create_dir_all(&work).expect("a directory");
    let mut config = world.config("echo new > /made; cat /made; grep ' / / ' /proc/self/mountinfo");
    config.as_object_mut().expect("an object").remove("root");
    let options = [
        format!("lowerdir={}", world.rootfs().display()),
        format!("upperdir={}", upper.display()),
        format!("workdir={}", work.display()),
    ];
    config["mounts"]
        .as_array_mut()
        .expect("mounts")
        .push(json!({"destination": "/", "type": "overlay", "source": "overlay", "options": options}));
    world.write(&config);
    let before = fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
    let output = world.oci(&["run", "o"]);
    let said = text(&output.stdout);
    assert!(said.starts_with("new\n") && said.contains(" - overlay "), "{said}: {}", text(&output.stderr));
    assert_eq!(fs::read_to_string(upper.join("made")).expect("made"), "new\n");
    assert!(!world.rootfs().join("made").exists());
    assert_eq!(before, fs::read_to_string("/proc/self/mountinfo").expect("mountinfo"));
}

#[test]
fn the_library_runs_a_bundle_in_a_few_lines() {
    let Some(world) = World::new("library") else { return };
    world.write(&world.config("exit 5"));
    let id = World::id("lib");
    let mut create = Create::new(world.bundle());
    create.gate = false;
    let mut process = world.runtime.create(&id, create).expect("create").start().expect("start");
    assert_eq!(process.wait().expect("wait"), 5);
    world.runtime.delete(&id, false).expect("delete");
    assert!(matches!(world.runtime.exec(&id, Exec::new(["true"])), Err(Error::NotFound { .. })));
    // dropped before it is started, nothing is left
    drop(world.runtime.create(&id, Create::new(world.bundle())).expect("create"));
    assert!(world.runtime.list().expect("list").is_empty());
}

#[test]
fn explain_prints_the_plan_and_does_nothing() {
    let Some(world) = World::new("explain") else { return };
    world.write(&world.config("true"));
    let said = world.ok(&["explain", "."]);
    for word in ["cgroup: /dnt-rt-", "clone", "/proc", "/dev/pts", "pivot", "/bin/sh"] {
        assert!(said.contains(word), "{word} in {said}");
    }
    assert_eq!(world.ok(&["list", "-q"]), "");
}

#[test]
fn explain_names_the_line_that_asks_for_each_step() {
    let Some(world) = World::new("explain-line") else { return };
    let mut config = world.config("true");
    config["process"]["rlimits"] = json!([{"type": "RLIMIT_CORE", "soft": 0, "hard": 0}]);
    config["linux"]["devices"] = json!([{"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229}]);
    config["linux"]["sysctl"] = json!({"net.ipv4.ip_forward": "1"});
    config["hooks"] =
        json!({"createRuntime": [{"path": "/bin/true"}], "startContainer": [{"path": "/bin/true"}]});
    let text = serde_json::to_string_pretty(&config).expect("json");
    fs::write(world.bundle().join("config.json"), &text).expect("config.json");
    let said = world.ok(&["explain", "."]);
    // the line of the document, found here by what is written on it
    let line = |wanted: &str| 1 + text.lines().position(|line| line.contains(wanted)).expect("a line");
    for (step, place, wanted) in [
        ("cgroup:", "linux.cgroupsPath", "\"cgroupsPath\""),
        ("clone:", "linux.namespaces", "\"namespaces\""),
        ("hook createRuntime", "hooks.createRuntime[0]", "\"createRuntime\""),
        ("hostname: inside", "hostname", "\"hostname\""),
        ("root: ", "root.path", "\"path\": \"rootfs\""),
        ("device: /dev/fuse", "linux.devices[0]", "\"devices\": ["),
        ("rlimit: RLIMIT_CORE", "process.rlimits[0]", "\"rlimits\""),
        ("mask: /sys/firmware", "linux.maskedPaths[1]", "\"/sys/firmware\""),
        ("capabilities: ", "process.capabilities", "\"capabilities\""),
        ("sysctl: ", "linux.sysctl.net.ipv4.ip_forward", "\"net.ipv4.ip_forward\""),
        ("hook: startContainer", "hooks.startContainer[0]", "\"startContainer\""),
        ("execute: ", "process.args", "\"args\""),
    ] {
        let told =
            said.lines().find(|line| line.contains(step)).unwrap_or_else(|| panic!("{step} in {said}"));
        // an element stands on the line behind the one that opens its list
        let number = line(wanted) + usize::from(place.ends_with("[0]"));
        assert!(told.ends_with(&format!("  [{place}, line {number}]")), "{told}, not line {number}");
    }
    for index in 0..5 {
        assert!(said.contains(&format!("  [mounts[{index}], line ")), "mount {index} in {said}");
    }
}

#[test]
fn what_is_not_supported_is_said() {
    let Some(world) = World::new("refuse") else { return };
    world.write(&world.config("true"));
    for (args, said) in [
        (&["--systemd-cgroup", "list"][..], "--systemd-cgroup"),
        (&["create", "--what", "x"], "--what"),
        (&["create"], "id is missing"),
        (&["create", "../x"], "../x"),
        (&["frobnicate"], "frobnicate"),
        (&["list", "extra"], "extra"),
    ] {
        let output = world.oci(args);
        assert_eq!(output.status.code(), Some(1), "{args:?}");
        assert!(text(&output.stderr).contains(said), "{args:?}: {}", text(&output.stderr));
    }
    let log = world.path("log.json");
    let path = log.to_str().expect("utf-8");
    assert!(!world.oci(&["--log", path, "--log-format", "json", "state", "none"]).status.success());
    let line: Value = serde_json::from_str(fs::read_to_string(&log).expect("log").trim()).expect("json");
    assert_eq!((line["level"].as_str(), line["time"].is_string()), (Some("error"), true));
    assert!(line["msg"].as_str().expect("msg").contains("none"));
}

#[test]
fn spec_and_features_print_documents() {
    let Some(world) = World::new("spec") else { return };
    world.ok(&["spec"]);
    let spec: oci_spec::runtime::Spec =
        serde_json::from_slice(&fs::read(world.bundle().join("config.json")).expect("config.json"))
            .expect("a spec");
    assert_eq!(spec.process().as_ref().and_then(oci_spec::runtime::Process::terminal), Some(true));
    assert!(!world.oci(&["spec"]).status.success(), "a file that exists is kept");
    let features: Value = serde_json::from_str(&world.ok(&["features"])).expect("json");
    assert!(features["linux"]["capabilities"].as_array().expect("a list").len() >= 41);
}
