//! Attacks of the house's list that a runtime or a monitor must stand.

mod support;

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::net::UnixListener;
use std::process::Stdio;
use std::time::Instant;

use container_runtime::{ContainerId, Error};
use serde_json::json;
use support::{PATIENCE, PROGRAM, World, eventually, finish, text};

#[test]
fn an_id_never_leaves_the_state_directory_or_steers_a_terminal() {
    for id in
        ["", ".", "..", "../x", "a/b", "/a", "a\n", "a\0", "~x", "a b", "\u{1b}[2J", "é", &"x".repeat(256)]
    {
        assert!(matches!(ContainerId::new(id), Err(Error::Id { .. })), "{id:?}");
    }
    let Some(world) = World::new("h-id") else { return };
    let output = world.oci(&["state", "\u{1b}[2Jx"]);
    assert!(!output.stderr.contains(&0x1b), "{:?}", text(&output.stderr));
}

#[test]
fn the_runtime_cannot_be_overwritten_through_proc_self_exe() {
    let Some(world) = World::new("h-exe") else { return };
    let before = fs::read(PROGRAM).expect("the program");
    // CVE-2019-5736: the program of the container is the runtime itself
    fs::write(world.rootfs().join("evil"), "#!/proc/self/exe\n").expect("a script");
    fs::set_permissions(world.rootfs().join("evil"), fs::Permissions::from_mode(0o755)).expect("mode");
    let mut config = world.config("while :; do sleep 100; done");
    world.write(&config);
    world.create("x", &[]);
    world.ok(&["start", "x"]);
    let script = "for pid in /proc/[0-9]*; do for how in '>>' '>'; do eval \"true $how $pid/exe\" 2>/dev/null && \
                  case $(readlink $pid/exe) in *busybox) ;; *) echo opened $(readlink $pid/exe);; esac; done; done; echo end";
    config["process"]["args"][2] = json!(script);
    let mut watcher = world.command(&[
        "exec",
        "x",
        "sh",
        "-c",
        &format!("i=0; while [ $i -lt 40 ]; do i=$((i+1)); {script}; done"),
    ]);
    let watcher =
        watcher.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("exec");
    for _ in 0..10 {
        world.oci(&["exec", "x", "/evil"]);
    }
    let said = text(&finish(watcher).stdout);
    assert!(said.contains("end") && !said.contains("opened"), "{said}");
    assert_eq!(before, fs::read(PROGRAM).expect("the program"), "the program was changed");
    // the second line of defence, were the first (a process that cannot be looked into) broken: what runs cannot be written to
    world.ok(&["delete", "--force", "x"]);
    let out = world.path("up");
    config["process"]["args"][2] = json!("echo up; while :; do sleep 100; done");
    world.write(&config);
    let mut run = world.command(&["run", "y"]);
    let mut run =
        run.stdin(Stdio::null()).stdout(fs::File::create(&out).expect("a file")).spawn().expect("run");
    eventually(&out, |said| said == "up\n");
    let exe = format!("/proc/{}/exe", run.id());
    // while it runs it is busy whatever protects it, so the mount is asked
    let flags = rustix::fs::statvfs(&exe).expect("statvfs").f_flag;
    let copy = fs::read_link(&exe).expect("exe").to_string_lossy().starts_with("/memfd:");
    world.ok(&["kill", "y", "KILL"]);
    run.wait().expect("wait");
    assert!(copy || flags.contains(rustix::fs::StatVfsMountFlags::RDONLY), "{flags:?}");
}

#[test]
fn no_descriptor_of_the_host_is_open_in_the_container() {
    let Some(world) = World::new("h-fds") else { return };
    let secret = fs::File::open("/").expect("the host's root");
    rustix::io::fcntl_setfd(&secret, rustix::io::FdFlags::empty()).expect("inheritable");
    world.write(&world.config("ls -l /proc/self/fd | wc -l; while :; do sleep 100; done"));
    let out = world.create("f", &[]);
    world.ok(&["start", "f"]);
    // total, 0, 1, 2, and the directory that ls itself has open
    assert_eq!(eventually(&out, |said| said.ends_with('\n')), "5\n");
    assert_eq!(world.ok(&["exec", "f", "sh", "-c", "ls -l /proc/self/fd | wc -l"]), "5\n");
    for number in 3..12 {
        let cwd = format!("/proc/self/fd/{number}");
        let output = world.oci(&[
            "exec",
            "--cwd",
            &cwd,
            "f",
            "sh",
            "-c",
            "cat /etc/hostname /proc/1/root/etc/shadow; ls /",
        ]);
        assert!(
            !text(&output.stdout).contains("vmlinuz") && !text(&output.stdout).contains("root:"),
            "{cwd}"
        );
    }
    drop(secret);
}

#[test]
fn a_mount_over_a_link_at_proc_is_refused() {
    let Some(world) = World::new("h-proc") else { return };
    fs::remove_dir(world.rootfs().join("proc")).expect("proc");
    symlink("/tmp", world.rootfs().join("proc")).expect("a link");
    world.write(&world.config("true"));
    let output = world.oci(&["run", "p"]);
    assert!(!output.status.success() && text(&output.stderr).contains("/proc"), "{}", text(&output.stderr));
    assert_eq!(world.ok(&["list", "-q"]), "");
}

#[test]
fn a_reused_number_is_never_signalled() {
    let Some(world) = World::new("h-pid") else { return };
    world.write(&world.config("while :; do sleep 100; done"));
    world.create("r", &[]);
    world.ok(&["start", "r"]);
    // the state of a container whose number now belongs to somebody else: this test
    let path = world.runtime.root().join("r/state.json");
    let mut state: serde_json::Value =
        serde_json::from_slice(&fs::read(&path).expect("state")).expect("json");
    // a process is told by its number and by when it began, in hundredths of a second
    let began = |pid: &str| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("stat");
        stat.rsplit(' ').nth(stat.split(' ').count() - 22).map(str::to_owned)
    };
    let first = began(&state["pid"].to_string());
    let mut victim = loop {
        let mut victim = std::process::Command::new("sleep").arg("1000").spawn().expect("sleep");
        if began(&victim.id().to_string()) != first {
            break victim;
        }
        victim.kill().expect("kill");
        victim.wait().expect("wait");
    };
    state["pid"] = json!(victim.id());
    fs::write(&path, state.to_string()).expect("state");
    assert_eq!(world.state("r")["status"], "stopped");
    assert!(!world.oci(&["kill", "r", "9"]).status.success());
    assert!(!world.oci(&["exec", "r", "true"]).status.success());
    world.ok(&["delete", "--force", "r"]);
    assert!(victim.try_wait().expect("wait").is_none(), "a foreign process was killed");
    victim.kill().expect("kill");
    victim.wait().expect("wait");
}

#[test]
fn nothing_that_a_container_does_keeps_it_alive() {
    let Some(world) = World::new("h-alive") else { return };
    let storm = "trap '' TERM INT HUP; f() { f & f & wait; while :; do read x < /dev/null; done; }; echo up; f 2> /dev/null";
    for script in [storm, "trap '' TERM INT; echo up; kill -STOP 1; while :; do sleep 100; done"] {
        world.write(&world.config(script));
        let out = world.create("a", &[]);
        world.ok(&["start", "a"]);
        eventually(&out, |said| said.contains("up"));
        world.ok(&["pause", "a"]);
        let before = Instant::now();
        world.ok(&["delete", "--force", "a"]);
        assert!(before.elapsed() < PATIENCE, "{:?}", before.elapsed());
        assert!(world.cgroup().is_none_or(|group| group.processes().expect("processes").is_empty()));
    }
}

#[test]
fn a_zombie_of_every_child_does_not_hold_up_the_end() {
    let Some(world) = World::new("h-zombies") else { return };
    let mut config = world
        .config("i=0; while [ $i -lt 300 ]; do i=$((i+1)); sh -c 'true &' ; done; echo end; exec sleep 1000");
    config["linux"]["resources"]["pids"]["limit"] = json!(1000);
    world.write(&config);
    let out = world.create("z", &[]);
    world.ok(&["start", "z"]);
    eventually(&out, |said| said.contains("end"));
    world.ok(&["delete", "--force", "z"]);
}

#[test]
fn the_control_group_cannot_be_named_out_of_its_place() {
    let Some(world) = World::new("h-cgroup") else { return };
    for path in ["/../x", "/a/../../b", "../x", "/a\nb", "/cgroup.procs"] {
        let mut config = world.config("true");
        config["linux"]["cgroupsPath"] = json!(path);
        world.write(&config);
        let output = world.oci(&["run", "c"]);
        assert!(!output.status.success() && text(&output.stderr).contains("group path"), "{path:?}");
    }
}

#[test]
fn the_host_environment_and_groups_do_not_reach_the_container() {
    let Some(world) = World::new("h-env") else { return };
    let script = "env; id -G; grep -E 'CapInh|CapAmb' /proc/self/status; while :; do sleep 100; done";
    let mut config = world.config(script);
    // an ambient capability that is not inheritable, as in configurations made for other runtimes, cannot be, and is no error
    config["process"]["capabilities"]["ambient"] = json!(["CAP_KILL"]);
    world.write(&config);
    let mut command = world.command(&["run", "-d", "e"]);
    let out = world.path("env.out");
    command.env("SECRET", "hush").stdin(Stdio::null()).stdout(fs::File::create(&out).expect("a file"));
    assert!(finish(command.spawn().expect("run")).status.success());
    let said = eventually(&out, |said| said.contains("CapAmb:\t") && said.ends_with('\n'));
    for wanted in ["CapInh:\t0000000000000000", "CapAmb:\t0000000000000000", "\n0\n"] {
        assert!(said.contains(wanted) && !said.contains("hush"), "{said}");
    }
    let mut command = world.command(&["exec", "e", "env"]);
    let output = finish(command.env("SECRET", "hush").stdout(Stdio::piped()).spawn().expect("exec"));
    assert!(!text(&output.stdout).contains("hush"));
}

#[test]
fn a_configuration_that_is_hostile_is_an_error() {
    let Some(world) = World::new("h-config") else { return };
    let path = world.bundle().join("config.json");
    let deep = "[".repeat(200_000);
    for content in [
        "",
        "{",
        "[]",
        "null",
        "{\"ociVersion\":\"1.2.0\"}",
        "{\"ociVersion\":\"9.0\",\"process\":{}}",
        &deep,
    ] {
        fs::write(&path, content).expect("config.json");
        let output = world.oci(&["run", "h"]);
        assert_eq!(
            output.status.code(),
            Some(1),
            "{}: {}",
            &content[..content.len().min(40)],
            text(&output.stderr)
        );
    }
    let file = fs::File::create(&path).expect("config.json");
    file.set_len(1 << 34).expect("a sparse file");
    assert!(text(&world.oci(&["run", "h"]).stderr).contains("config.json"));
    fs::remove_file(&path).expect("config.json");
    symlink("/dev/zero", &path).expect("a link");
    assert!(text(&world.oci(&["run", "h"]).stderr).contains("config.json"));
    assert_eq!(world.ok(&["list", "-q"]), "");
}

#[test]
fn a_console_socket_that_never_accepts_does_not_hang_the_creation() {
    let Some(world) = World::new("h-console") else { return };
    let mut config = world.config("true");
    config["process"]["terminal"] = json!(true);
    world.write(&config);
    let path = world.path("console.sock");
    let _listener = UnixListener::bind(&path).expect("a socket");
    // a listener's queue takes the connection and the message: creation goes on
    world.create("q", &["--console-socket", path.to_str().expect("utf-8")]);
    world.ok(&["delete", "-f", "q"]);
    let output = world.oci(&["create", "--console-socket", "/nonexistent/sock", "q"]);
    assert!(text(&output.stderr).contains("/nonexistent/sock"));
    assert_eq!(world.ok(&["list", "-q"]), "");
}

#[test]
fn a_name_with_control_characters_is_shown_harmlessly() {
    let Some(world) = World::new("h-names") else { return };
    let mut config = world.config("true");
    config["process"]["args"] = json!(["/bin/\u{1b}]0;owned\u{7}"]);
    world.write(&config);
    let output = world.oci(&["run", "n"]);
    assert!(!output.status.success());
    assert!(!output.stderr.contains(&0x1b) && !output.stderr.contains(&7), "{:?}", text(&output.stderr));
    std::io::stderr().flush().expect("flush");
}
