//! What containers and images must not achieve against the person and the engine: ../shared/ATTACKS.md, 22 to 25 and 28.

mod support;

use std::fs;
use std::process::{Command, Stdio};

use support::{Host, until};

#[test]
fn whatever_a_process_does_a_removal_ends_it() {
    let Some(host) = Host::with_image() else { return };
    let run = |name: &str, more: &[&str], command: &str| {
        host.ok(&[
            ["run", "-d", "--name", name, "--network", "none"].as_slice(),
            more,
            &["bb", "sh", "-c", command],
        ]
        .concat());
    };
    run("deaf", &[], "trap '' TERM INT HUP QUIT USR1; while :; do sleep 0.2; done");
    run("frozen", &[], "sleep 1000");
    run("bomb", &["--pids-limit", "64"], "b() { b | b & }; b; sleep 1000");
    run("stopped", &[], "kill -STOP $$; sleep 1000");
    run("flood", &[], "exec yes");
    run("restless", &["--restart", "always"], "exit 1");
    host.ok(&["pause", "frozen"]);
    host.ok(&["stop", "-t", "1", "deaf"]);
    assert!(host.ok(&["ps", "-a", "-f", "name=deaf"]).contains("Exited (137)"));
    host.ok(&["rm", "-f", "deaf", "frozen", "bomb", "stopped", "flood", "restless"]);
    host.leaves_nothing();
}

#[test]
fn a_reader_that_stops_holds_up_nobody_else() {
    let Some(host) = Host::with_image() else { return };
    let mut command = host.command(&["run", "--name", "talker", "--network", "none", "bb", "yes"]);
    // its output is never read: the pipe fills, and with it every buffer behind
    let mut client = command.stdout(Stdio::piped()).spawn().unwrap();
    until("it runs", || host.ok(&["ps"]).contains("talker").then_some(()));
    assert_eq!(host.ok(&["exec", "talker", "echo", "still here"]), "still here\n");
    host.ok(&["rm", "-f", "talker"]);
    client.kill().unwrap();
    client.wait().unwrap();
    host.leaves_nothing();
}

#[test]
fn a_log_is_bounded_where_it_was_asked_to_be() {
    let Some(host) = Host::with_image() else { return };
    let script =
        "i=0; while [ $i -lt 3000 ]; do echo a line of some length that fills the file $i; i=$((i+1)); done";
    let options = [
        "run",
        "--name",
        "logs",
        "--network",
        "none",
        "--log-opt",
        "max-size=32k",
        "--log-opt",
        "max-file=3",
    ];
    host.ok(&[options.as_slice(), &["bb", "sh", "-c", script]].concat());
    let directory = fs::read_dir(host.path("root/containers")).unwrap().flatten().next().unwrap().path();
    let sizes: Vec<u64> = fs::read_dir(directory)
        .unwrap()
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("container.log"))
        .map(|entry| entry.metadata().unwrap().len())
        .collect();
    assert!(sizes.len() <= 3 && sizes.iter().all(|&size| size < 40 << 10), "{sizes:?}");
    assert!(host.ok(&["logs", "--tail", "1", "logs"]).ends_with(" 2999\n"));
    host.leaves_nothing();
}

#[test]
fn nothing_that_is_printed_steers_the_terminal() {
    let Some(host) = Host::with_image() else { return };
    let escape = "\u{1b}]0;owned\u{7}";
    host.ok(&[
        "run",
        "-d",
        "--name",
        "sly",
        "--network",
        "none",
        "--label",
        &format!("a={escape}"),
        "bb",
        "sh",
        "-c",
        &format!("sleep 1000 # {escape}"),
    ]);
    for args in
        [["ps", "--no-trunc"].as_slice(), &["inspect", "sly"], &["events", "--since", "1h", "--until", "0s"]]
    {
        let shown = host.ok(args);
        assert!(!shown.contains(['\u{1b}', '\u{7}']), "{args:?}: {shown:?}");
    }
    let (_, error) = host.fails(&["run", "--rm", "--network", "none", "bb", &format!("/no{escape}such")]);
    assert!(!error.contains(['\u{1b}', '\u{7}']), "{error:?}");
    let (_, error) = host.fails(&["inspect", &format!("no{escape}such")]);
    assert!(!error.contains(['\u{1b}', '\u{7}']), "{error:?}");
    host.leaves_nothing();
}

#[test]
fn the_engines_own_state_is_no_source_of_a_mount() {
    let Some(host) = Host::with_image() else { return };
    for directory in [host.path("root"), host.path("root/images"), host.run_root()] {
        let bind = format!("{}:/x", directory.display());
        let (code, error) = host.fails(&["run", "--rm", "--network", "none", "-v", &bind, "bb", "true"]);
        assert_eq!(code, 125, "{error}");
        // by a link, too
        let link = host.path("link");
        let _ = fs::remove_file(&link);
        std::os::unix::fs::symlink(&directory, &link).unwrap();
        host.fails(&[
            "run",
            "--rm",
            "--network",
            "none",
            "-v",
            &format!("{}:/x", link.display()),
            "bb",
            "true",
        ]);
    }
    host.leaves_nothing();
}

#[test]
fn the_users_of_an_image_are_input_and_read_inside_it() {
    let Some(host) = Host::new() else { return };
    let archive = host.archive();
    let root = host.path("rootfs");
    for (name, target) in [("zero", "/dev/zero"), ("environ", "/proc/self/environ"), ("loop", "passwd")] {
        fs::remove_file(root.join("etc/passwd")).unwrap();
        std::os::unix::fs::symlink(target, root.join("etc/passwd")).unwrap();
        assert!(
            Command::new("tar")
                .arg("-C")
                .arg(&root)
                .arg("-cf")
                .arg(&archive)
                .arg(".")
                .status()
                .unwrap()
                .success()
        );
        host.ok(&["import", archive.to_str().unwrap(), name]);
        let (code, error) = host.fails(&["run", "--rm", "--network", "none", "-u", "web", name, "id"]);
        assert_eq!(code, 125, "{name}: {error}");
    }
    host.leaves_nothing();
}

#[test]
fn a_mount_target_that_is_a_link_stays_inside_the_root() {
    let Some(host) = Host::new() else { return };
    let archive = host.archive();
    let outside = host.path("outside");
    fs::create_dir(&outside).unwrap();
    std::os::unix::fs::symlink(&outside, host.path("rootfs/data")).unwrap();
    assert!(
        Command::new("tar")
            .arg("-C")
            .arg(host.path("rootfs"))
            .arg("-cf")
            .arg(&archive)
            .arg(".")
            .status()
            .unwrap()
            .success()
    );
    host.ok(&["import", archive.to_str().unwrap(), "linked"]);
    host.ok(&["volume", "create", "v1"]);
    let output = host.output(&[
        "run",
        "--rm",
        "--network",
        "none",
        "-v",
        "v1:/data",
        "linked",
        "sh",
        "-c",
        "echo in > /data/file",
    ]);
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0, "{output:?}");
    host.leaves_nothing();
}

#[test]
fn of_the_engines_own_state_a_container_gets_the_socket_alone() {
    let Some(host) = Host::with_image() else { return };
    let socket = host.run_root().join("docker.sock");
    let volume = format!("{}:/sock", socket.display());
    let run = ["run", "--rm", "-v", &volume, "bb", "ls", "-l", "/sock"];
    let (_, said) = host.fails(&run);
    assert!(said.contains("docker.sock"), "{said}");
    assert!(!socket.exists(), "nothing is made in its place");
    // only a socket is one
    for link in [false, true] {
        let made =
            if link { std::os::unix::fs::symlink("../root", &socket) } else { std::fs::create_dir(&socket) };
        made.unwrap();
        let (_, said) = host.fails(&run);
        assert!(said.contains("own state"), "{said}");
        let gone = if link { std::fs::remove_file(&socket) } else { std::fs::remove_dir(&socket) };
        gone.unwrap();
    }
    let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    assert!(host.ok(&run).starts_with('s'));
    drop(listener);
    let whole = format!("{}:/state", host.run_root().display());
    let (_, said) = host.fails(&["run", "--rm", "-v", &whole, "bb", "true"]);
    assert!(said.contains("own state"), "{said}");
    host.leaves_nothing();
}
