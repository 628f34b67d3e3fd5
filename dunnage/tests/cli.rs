//! The command line, as a person types it: containers, networks, volumes, and every kind of bad input.

mod support;

use std::fs;
use std::io::{Read, Write};
use std::process::{Command, Stdio};

use support::{Host, until};

#[test]
fn a_container_runs_in_the_foreground_and_gives_its_exit_code() {
    let Some(host) = Host::with_image() else { return };
    assert_eq!(host.ok(&["run", "--rm", "--network", "none", "bb", "echo", "hello"]), "hello\n");
    let output = host.output(&[
        "run",
        "--network",
        "none",
        "--name",
        "three",
        "bb",
        "sh",
        "-c",
        "echo out; echo err >&2; exit 3",
    ]);
    assert_eq!(output.status.code(), Some(3));
    assert_eq!(
        (output.stdout.as_slice(), output.stderr.as_slice()),
        (b"out\n".as_slice(), b"err\n".as_slice())
    );
    let logs = host.output(&["logs", "three"]);
    assert_eq!((logs.stdout.as_slice(), logs.stderr.as_slice()), (b"out\n".as_slice(), b"err\n".as_slice()));
    assert!(host.ok(&["ps", "-a"]).contains("Exited (3)"));
    assert_eq!(host.ok(&["wait", "three"]).trim(), "3");
    host.ok(&["run", "-d", "--name", "killed", "--network", "none", "bb", "sleep", "1000"]);
    host.ok(&["kill", "killed"]);
    assert_eq!(host.ok(&["wait", "killed"]).trim(), "137");
    host.leaves_nothing();
}

#[test]
fn standard_input_reaches_the_container() {
    let Some(host) = Host::with_image() else { return };
    let mut command = host.command(&["run", "--rm", "-i", "--network", "none", "bb", "cat"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    let sent: Vec<u8> = (0..300_000u32).flat_map(u32::to_le_bytes).collect();
    let writer = std::thread::spawn({
        let sent = sent.clone();
        move || input.write_all(&sent)
    });
    let mut received = Vec::new();
    child.stdout.take().unwrap().read_to_end(&mut received).unwrap();
    writer.join().unwrap().unwrap();
    assert!(child.wait().unwrap().success());
    assert!(received == sent, "{} bytes came back of {}", received.len(), sent.len());
    host.leaves_nothing();
}

#[test]
fn a_container_in_the_background_is_entered_stopped_started_and_removed() {
    let Some(host) = Host::with_image() else { return };
    let id = host.ok(&[
        "run",
        "-d",
        "--name",
        "web",
        "--network",
        "none",
        "bb",
        "sh",
        "-c",
        "trap 'exit 7' TERM; echo up; while :; do sleep 0.1; done",
    ]);
    assert_eq!(id.trim().len(), 64);
    until("it speaks", || host.ok(&["logs", "web"]).contains("up").then_some(()));
    assert_eq!(host.ok(&["exec", "web", "sh", "-c", "echo $((6 * 7))"]), "42\n");
    assert_eq!(host.output(&["exec", "web", "sh", "-c", "exit 9"]).status.code(), Some(9));
    assert_eq!(host.fails(&["exec", "web", "nosuch"]).0, 127);
    assert_eq!(host.fails(&["exec", "web", "/etc/passwd"]).0, 126);
    assert_eq!(
        host.ok(&[
            "exec",
            "-u",
            "web",
            "-w",
            "/tmp",
            "web",
            "sh",
            "-c",
            "id -u; id -g; id -G; pwd; echo $HOME"
        ]),
        "33\n44\n44 55\n/tmp\n/var/www\n"
    );
    host.ok(&["pause", "web"]);
    assert!(host.ok(&["ps"]).contains("(Paused)"));
    host.ok(&["unpause", "web"]);
    host.ok(&["stop", "web"]);
    assert!(host.ok(&["ps", "-a"]).contains("Exited (7)"), "{}", host.ok(&["ps", "-a"]));
    host.ok(&["start", "web"]);
    assert!(host.ok(&["ps"]).contains("web"));
    let (_, error) = host.fails(&["rm", "web"]);
    assert!(error.contains("is running"), "{error}");
    host.ok(&["rm", "-f", "web"]);
    assert!(!host.ok(&["ps", "-a"]).contains("web"));
    host.leaves_nothing();
}

#[test]
fn a_detached_container_that_is_to_be_removed_goes_by_itself() {
    let Some(host) = Host::with_image() else { return };
    let id = host.ok(&["run", "-d", "--rm", "--network", "none", "bb", "true"]);
    until("it is gone", || {
        host.output(&["inspect", "--type", "container", id.trim()]).status.code().filter(|&code| code != 0)
    });
    host.leaves_nothing();
}

#[test]
fn containers_reach_each_other_by_name_and_the_host_by_a_published_port() {
    let Some(host) = Host::with_image() else { return };
    host.ok(&["network", "create", "--subnet", "10.215.0.0/24", "net1"]);
    let serve = "mkdir -p /www && echo hello > /www/index.html && exec httpd -f -p 80 -h /www";
    host.ok(&[
        "run",
        "-d",
        "--name",
        "web",
        "--network",
        "net1",
        "--network-alias",
        "site",
        "-p",
        "18080:80",
        "bb",
        "sh",
        "-c",
        serve,
    ]);
    let fetch = |name: &str| {
        until("the page", || {
            let url = format!("http://{name}/");
            let page =
                host.output(&["run", "--rm", "--network", "net1", "bb", "wget", "-q", "-O", "-", &url]);
            page.status.success().then(|| String::from_utf8(page.stdout).unwrap())
        })
    };
    assert_eq!(fetch("web"), "hello\n");
    assert_eq!(fetch("site"), "hello\n");
    assert_eq!(
        host.program("/bin/busybox", &["wget", "-q", "-O", "-", "http://127.0.0.1:18080/"]),
        "hello\n"
    );
    assert!(host.ok(&["ps"]).contains("0.0.0.0:18080->80/tcp"));
    // one more, on the default network, joins while it runs
    host.ok(&["run", "-d", "--name", "other", "bb", "sleep", "1000"]);
    assert!(
        !host.output(&["exec", "other", "wget", "-q", "-T", "2", "-O", "-", "http://web/"]).status.success()
    );
    host.ok(&["network", "connect", "net1", "other"]);
    assert_eq!(host.ok(&["exec", "other", "wget", "-q", "-O", "-", "http://web/"]), "hello\n");
    let (_, error) = host.fails(&["network", "connect", "net1", "other"]);
    assert!(error.contains("already"), "{error}");
    let (_, error) = host.fails(&["network", "rm", "net1"]);
    assert!(error.contains("active endpoints"), "{error}");
    host.ok(&["network", "disconnect", "net1", "other"]);
    assert!(!host.ok(&["exec", "other", "ip", "-o", "addr"]).contains("10.215."));
    host.leaves_nothing();
    host.ok(&["network", "rm", "net1"]);
    assert!(!host.program("ip", &["-o", "link"]).contains("10.215."));
}

#[test]
fn the_three_networks_of_the_start_are_as_docker_has_them() {
    let Some(host) = Host::with_image() else { return };
    let list = host.ok(&["network", "ls"]);
    for name in ["bridge", "host", "none"] {
        assert!(list.contains(name), "{list}");
        assert!(host.fails(&["network", "rm", name]).1.contains("cannot be removed"));
    }
    let links = |network: &str| host.ok(&["run", "--rm", "--network", network, "bb", "ip", "-o", "link"]);
    assert_eq!(links("none").lines().count(), 1, "loopback alone");
    assert_eq!(links("bridge").lines().count(), 2);
    assert_eq!(links("host").lines().count(), host.program("ip", &["-o", "link"]).lines().count());
    host.ok(&["run", "-d", "--name", "first", "bb", "sleep", "1000"]);
    let own = host.ok(&["exec", "first", "ip", "-o", "-4", "addr", "show", "eth0"]);
    assert_eq!(
        host.ok(&[
            "run",
            "--rm",
            "--network",
            "container:first",
            "bb",
            "ip",
            "-o",
            "-4",
            "addr",
            "show",
            "eth0"
        ]),
        own
    );
    host.leaves_nothing();
}

#[test]
fn data_in_a_volume_outlives_its_container_and_anonymous_ones_go_along() {
    let Some(host) = Host::with_image() else { return };
    host.ok(&["volume", "create", "data"]);
    host.ok(&["run", "--rm", "--network", "none", "-v", "data:/d", "bb", "sh", "-c", "echo kept > /d/file"]);
    assert_eq!(
        host.ok(&["run", "--rm", "--network", "none", "-v", "data:/d:ro", "bb", "cat", "/d/file"]),
        "kept\n"
    );
    assert!(
        !host
            .output(&["run", "--rm", "--network", "none", "-v", "data:/d:ro", "bb", "touch", "/d/x"])
            .status
            .success()
    );
    // filled from the image at its first use
    assert!(
        host.ok(&["run", "--rm", "--network", "none", "-v", "filled:/etc", "bb", "cat", "/etc/group"])
            .contains("extra")
    );
    host.ok(&[
        "run",
        "--name",
        "user",
        "--network",
        "none",
        "-v",
        "data:/d",
        "-v",
        "/anonymous",
        "bb",
        "true",
    ]);
    assert_eq!(host.ok(&["volume", "ls", "-q"]).lines().count(), 3);
    assert!(host.fails(&["volume", "rm", "data"]).1.contains("in use"));
    host.ok(&["rm", "-v", "user"]);
    assert_eq!(host.ok(&["volume", "ls", "-q"]).lines().collect::<Vec<_>>(), ["data", "filled"]);
    fs::create_dir(host.path("html")).unwrap();
    fs::write(host.path("html/index"), "bound").unwrap();
    let bind = format!("{}:/html", host.path("html").display());
    assert_eq!(
        host.ok(&["run", "--rm", "--network", "none", "-v", &bind, "bb", "cat", "/html/index"]),
        "bound"
    );
    let size = host.ok(&["run", "--rm", "--network", "none", "--tmpfs", "/t:size=1m", "bb", "mount"]);
    assert!(size.lines().any(|line| line.contains(" on /t ") && line.contains("size=1024k")), "{size}");
    host.ok(&["volume", "rm", "data", "filled"]);
    host.leaves_nothing();
}

#[test]
fn limits_and_rights_are_what_was_asked_for() {
    let Some(host) = Host::with_image() else { return };
    let run = |args: &[&str], command: &str| {
        host.ok(
            &[["run", "--rm", "--network", "none"].as_slice(), args, &["bb", "sh", "-c", command]].concat()
        )
    };
    let status = run(&[], "cat /proc/self/status");
    let field =
        |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().to_owned();
    assert_eq!(field("CapBnd:"), "00000000a80425fb");
    assert_eq!(field("CapInh:"), "0000000000000000");
    assert_eq!(field("Seccomp:"), "2");
    assert!(run(&["--cap-drop", "ALL"], "grep CapEff /proc/self/status").contains("0000000000000000"));
    assert!(
        run(&["--cap-drop", "ALL", "--cap-add", "NET_ADMIN"], "grep CapEff /proc/self/status")
            .contains("0000000000001000")
    );
    assert_eq!(run(&["--read-only"], "touch /x 2>/dev/null; echo $?"), "1\n");
    assert_eq!(
        run(&["-e", "A=b c", "-w", "/tmp", "--hostname", "named"], "echo $A; pwd; hostname"),
        "b c\n/tmp\nnamed\n"
    );
    assert_eq!(run(&["-u", "web"], "id -u; id -G"), "33\n44 55\n");
    assert_eq!(run(&["-u", "web", "--group-add", "4000", "--group-add", "55"], "id -G"), "44 55 4000\n");
    assert_eq!(
        run(&["--dns-option", "ndots:2", "--dns-search", "a.test"], "tail -n 2 /etc/resolv.conf"),
        "search a.test\noptions ndots:2\n"
    );
    assert_eq!(run(&["--ulimit", "nofile=64:128"], "ulimit -n"), "64\n");
    assert_eq!(
        run(&["--security-opt", "no-new-privileges"], "grep NoNewPrivs /proc/self/status"),
        "NoNewPrivs:\t1\n"
    );
    assert_eq!(
        run(&["--security-opt", "seccomp=unconfined"], "grep Seccomp: /proc/self/status"),
        "Seccomp:\t0\n"
    );
    let out_of_memory = host.output(&["run", "--name", "oom", "--network", "none", "-m", "16m", "--memory-swap", "16m", "bb", "sh", "-c", "head -c 64000000 /dev/zero | tail -c 64000000 > /dev/null; x=$(yes | head -c 64000000); echo survived"]);
    assert_ne!(out_of_memory.status.code(), Some(0));
    assert!(host.ok(&["inspect", "oom"]).contains("\"OOMKilled\": true"));
    let many = "for i in 1 2 3 4 5 6 7 8 9; do sleep 1 & done";
    let refused =
        host.output(&["run", "--rm", "--network", "none", "--pids-limit", "8", "bb", "sh", "-c", many]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("fork"));
    host.leaves_nothing();
}

#[test]
fn a_terminal_is_given_with_its_size_and_echo() {
    let Some(host) = Host::with_image() else { return };
    // script(1) gives the command line a terminal, as a person has it
    let inner = host.command(&[
        "run",
        "--rm",
        "-it",
        "--network",
        "none",
        "bb",
        "sh",
        "-c",
        "tty; stty size; read line; echo got $line",
    ]);
    let words: Vec<String> = std::iter::once(inner.get_program())
        .chain(inner.get_args())
        .map(|word| format!("'{}'", word.to_string_lossy().replace('\'', r"'\''")))
        .collect();
    let mut script = Command::new("script");
    script.args(["-qefc", &format!("stty rows 33 cols 99; {}", words.join(" ")), "/dev/null"]);
    let mut child = script.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    input.write_all(b"typed\n").unwrap();
    let mut shown = String::new();
    child.stdout.take().unwrap().read_to_string(&mut shown).unwrap();
    drop(input);
    assert!(child.wait().unwrap().success(), "{shown}");
    assert!(
        shown.contains("/dev/pts/0") && shown.contains("33 99") && shown.contains("got typed"),
        "{shown}"
    );
    host.leaves_nothing();
}

#[test]
fn a_restart_policy_starts_again_and_a_stop_ends_it() {
    let Some(host) = Host::with_image() else { return };
    host.ok(&[
        "run",
        "-d",
        "--name",
        "twice",
        "--network",
        "none",
        "--restart",
        "on-failure:2",
        "bb",
        "sh",
        "-c",
        "echo once; exit 1",
    ]);
    until("it gives up", || host.ok(&["ps", "-a"]).contains("Exited (1)").then_some(()));
    assert_eq!(host.ok(&["logs", "twice"]).lines().count(), 3, "one start and two more");
    host.ok(&[
        "run",
        "-d",
        "--name",
        "always",
        "--network",
        "none",
        "--restart",
        "always",
        "bb",
        "sh",
        "-c",
        "echo once; exit 0",
    ]);
    until("it was started again", || (host.ok(&["logs", "always"]).lines().count() > 1).then_some(()));
    host.ok(&["stop", "-t", "1", "always"]);
    assert!(host.ok(&["ps", "-a", "-f", "name=always"]).contains("Exited"));
    host.leaves_nothing();
}

#[test]
fn events_tell_what_happened() {
    let Some(host) = Host::with_image() else { return };
    host.ok(&["run", "--rm", "--name", "told", "--network", "none", "bb", "true"]);
    let events = host.ok(&["events", "--since", "1h", "--until", "0s", "--filter", "container=told"]);
    let actions: Vec<&str> = events.lines().filter_map(|line| line.split(' ').nth(2)).collect();
    assert_eq!(actions, ["create", "start", "die", "destroy"]);
    assert!(
        host.ok(&["events", "--since", "1h", "--until", "0s", "--filter", "type=image"]).contains(" import ")
    );
}

#[test]
fn explain_says_what_a_start_does_without_doing_it() {
    let Some(host) = Host::with_image() else { return };
    host.ok(&["create", "--name", "planned", "-p", "18081:80", "bb", "true"]);
    let plan = host.ok(&["explain", "planned"]);
    for word in ["overlay", "/proc", "pivot", "seccomp", "18081", "172."] {
        assert!(plan.to_lowercase().contains(word), "{word} is not in {plan}");
    }
    assert!(!host.program("ip", &["-o", "link"]).contains(": dv"), "nothing was made");
    host.leaves_nothing();
}

#[test]
fn bad_input_is_one_clear_error_with_dockers_exit_code() {
    let Some(host) = Host::with_image() else { return };
    host.ok(&[
        "run",
        "-d",
        "--name",
        "taken",
        "-p",
        "18082:80",
        "--network",
        "bridge",
        "bb",
        "sleep",
        "1000",
    ]);
    host.ok(&["network", "create", "--subnet", "10.216.0.0/30", "tiny"]);
    host.ok(&["run", "-d", "--name", "last", "--network", "tiny", "bb", "sleep", "1000"]);
    let none = ["run", "--rm", "--network", "none"];
    let with = |more: &[&'static str]| [none.as_slice(), more].concat();
    let cases: Vec<(Vec<&str>, i32, &str)> = vec![
        (with(&["nosuch"]), 125, "no such image: nosuch"),
        (with(&["bb", "nosuch"]), 127, "nosuch"),
        (with(&["bb", "/etc/passwd"]), 126, "/etc/passwd"),
        (with(&["bb", "/etc"]), 126, "/etc"),
        (with(&["--name", "taken", "bb", "true"]), 125, "already in use"),
        (with(&["--name=-x", "bb", "true"]), 125, "name"),
        (with(&["--user", "nobody", "bb", "true"]), 125, "unable to find user"),
        (with(&["--group-add", "nobodies", "bb", "true"]), 125, "nobodies"),
        (with(&["--dns-option", "a\nb", "bb", "true"]), 125, "one word"),
        (with(&["--cap-add", "NOT_ONE", "bb", "true"]), 125, "NOT_ONE"),
        (with(&["--memory", "1k", "bb", "true"]), 125, "6 MiB"),
        (with(&["--memory", "lots", "bb", "true"]), 125, "lots"),
        (with(&["-v", "relative", "bb", "true"]), 125, "relative"),
        (with(&["--mount", "type=bind,source=/nosuch,target=/x", "bb", "true"]), 125, "/nosuch"),
        (with(&["--workdir", "relative", "bb", "true"]), 125, "not absolute"),
        (with(&["--entrypoint", "", "--", "bb"]), 125, "no command"),
        (vec!["run", "--rm", "-p", "18082:80", "bb", "true"], 125, "18082"),
        (vec!["run", "--rm", "-p", "99999:80", "bb", "true"], 125, "99999"),
        (vec!["run", "--rm", "--network", "tiny", "bb", "true"], 125, "10.216.0.0/30"),
        (vec!["run", "--rm", "--network", "nosuch", "bb", "true"], 125, "nosuch"),
        (vec!["run", "--rm", "--network", "none", "-p", "1:1", "bb", "true"], 125, "none"),
        (vec!["start", "nosuch"], 1, "no such container"),
        (vec!["logs", "nosuch"], 1, "no such container"),
        (vec!["exec", "nosuch", "true"], 1, "no such container"),
        (vec!["network", "create", "--subnet", "10.216.0.0/24", "over"], 1, "overlaps"),
        (vec!["network", "create", "tiny"], 1, "already exists"),
        (vec!["network", "create", "--subnet", "10.1.0.0", "x1"], 125, "10.1.0.0"),
        (vec!["volume", "create", "../x"], 1, "../x"),
        (vec!["rmi", "bb"], 1, "uses it"),
        (vec!["import", "/nosuch"], 1, "/nosuch"),
        (vec!["import", "/bin/busybox", "elf"], 1, "not a tar archive"),
        (vec!["import", "/bin/busybox", "UPPER"], 125, "lower-case"),
        (vec!["nosuch"], 125, "nosuch"),
    ];
    for (args, code, words) in cases {
        let (found, error) = host.fails(&args);
        assert_eq!(found, code, "{args:?}: {error}");
        assert!(error.contains(words), "{args:?}: {error}");
        let lines = error
            .trim()
            .lines()
            .filter(|line| line.starts_with("dunnage:") || line.starts_with("error:"))
            .count();
        assert_eq!(lines, 1, "{args:?}: {error}");
    }
    let left = host.ok(&["ps", "-a", "--no-trunc"]);
    assert_eq!(left.lines().count(), 3, "only the two that run are left: {left}");
    host.leaves_nothing();
    host.ok(&["network", "rm", "tiny"]);
}

#[test]
fn a_root_without_a_shell_and_a_full_disk_are_clear_errors() {
    let Some(host) = Host::new() else { return };
    let empty = host.path("empty");
    fs::create_dir(&empty).unwrap();
    fs::write(empty.join("file"), "x").unwrap();
    let archive = host.path("empty.tar");
    assert!(
        Command::new("tar")
            .arg("-C")
            .arg(&empty)
            .arg("-cf")
            .arg(&archive)
            .arg(".")
            .status()
            .unwrap()
            .success()
    );
    host.ok(&["import", archive.to_str().unwrap(), "empty"]);
    let (code, error) = host.fails(&["run", "--rm", "--network", "none", "empty", "/bin/sh"]);
    assert_eq!(code, 127, "{error}");
    assert!(error.contains("/bin/sh"), "{error}");
    // a full disk, in a mount namespace of the command's own
    let full = host.path("full");
    fs::create_dir(&full).unwrap();
    let archive = host.archive();
    let script = format!(
        "mount -t tmpfs -o size=1m dunnage-test {0} && exec {1} --root {0}/root --run-root {2} import {3} bb",
        full.display(),
        env!("CARGO_BIN_EXE_dunnage"),
        host.path("full-run").display(),
        archive.display(),
    );
    let output = Command::new("unshare").args(["--mount", "sh", "-c", &script]).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(error.contains("no space left on device"), "{error}");
    host.leaves_nothing();
}

#[test]
fn without_privilege_the_error_says_so() {
    let Some(host) = Host::with_image() else { return };
    let reachable = host.path("plain");
    fs::create_dir(&reachable).unwrap();
    let plain = |args: &[&str]| {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(env!("CARGO_BIN_EXE_dunnage"));
        command.arg("--root").arg(host.path("root")).arg("--run-root").arg(host.run_root()).args(args);
        support::finish(command.stdin(Stdio::null()).take(), std::time::Duration::from_secs(30))
    };
    let output = plain(&["ps"]);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(error.contains("no right to write") && error.contains("root"), "{error}");
    host.leaves_nothing();
}

/// `Command`'s setters borrow; this ends the chain with the command itself.
trait Take {
    fn take(&mut self) -> Command;
}

impl Take for Command {
    fn take(&mut self) -> Command {
        std::mem::replace(self, Command::new("true"))
    }
}
