//! Files into and out of containers: by the command line, by the stock client, and against containers that cheat.

mod support;

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use support::{Host, finish, until};

/// `docker cp`'s rules, by one of the clients.
fn rules(host: &Host, cp: &dyn Fn(&[&str]) -> Result<(), String>, container: &str) {
    let here = |name: &str| host.path(name).display().to_string();
    let there = |path: &str| format!("{container}:{path}");
    let cat = |path: &str| host.ok(&["exec", container, "cat", path]);
    let ok = |args: &[&str]| cp(args).unwrap_or_else(|error| panic!("cp {args:?}: {error}"));
    let fails = |args: &[&str]| cp(args).expect_err("it is refused");
    fs::create_dir_all(host.path("tree/sub")).unwrap();
    fs::write(host.path("tree/sub/a"), "one").unwrap();
    fs::set_permissions(host.path("tree/sub/a"), fs::Permissions::from_mode(0o640)).unwrap();
    symlink("sub/a", host.path("tree/link")).unwrap();
    fs::write(host.path("file"), "plain").unwrap();
    // a file to a new name, over a file, into a directory
    ok(&[&here("file"), &there("/tmp/new")]);
    ok(&[&here("file"), &there("/tmp/new")]);
    ok(&[&here("file"), &there("/root")]);
    ok(&[&here("file"), &there("/root/")]);
    assert_eq!((cat("/tmp/new"), cat("/root/file")), ("plain".into(), "plain".into()));
    fails(&[&here("file"), &there("/missing/")]);
    fails(&[&here("file"), &there("/missing/x")]);
    // a directory to a new name, into a directory, its contents only
    ok(&[&here("tree"), &there("/tmp/copy")]);
    ok(&[&here("tree"), &there("/root")]);
    ok(&[&format!("{}/.", here("tree")), &there("/tmp")]);
    for path in ["/tmp/copy/sub/a", "/root/tree/link", "/tmp/sub/a"] {
        assert_eq!(cat(path), "one", "{path}");
    }
    assert_eq!(host.ok(&["exec", container, "stat", "-c", "%a %u", "/tmp/copy/sub/a"]), "640 0\n");
    fails(&[&here("tree"), &there("/tmp/new")]);
    // and back
    ok(&[&there("/tmp/copy"), &here("back")]);
    assert_eq!(fs::read_to_string(host.path("back/sub/a")).unwrap(), "one");
    assert_eq!(fs::metadata(host.path("back/sub/a")).unwrap().mode() & 0o777, 0o640);
    assert_eq!(fs::read_link(host.path("back/link")).unwrap(), Path::new("sub/a"));
    fs::create_dir(host.path("into")).unwrap();
    ok(&[&there("/tmp/copy"), &here("into")]);
    ok(&[&there("/tmp/copy/."), &here("into")]);
    ok(&[&there("/tmp/new"), &here("into/")]);
    for path in ["into/copy/sub/a", "into/sub/a", "into/new"] {
        assert!(host.path(path).is_file(), "{path}");
    }
    let said = fails(&[&there("/nothing"), &here("x")]);
    assert!(said.contains("/nothing"), "{said}");
    for name in ["tree", "back", "into"] {
        fs::remove_dir_all(host.path(name)).unwrap();
    }
}

fn own(host: &Host) -> impl Fn(&[&str]) -> Result<(), String> {
    |args| {
        let output = host.output(&[&["cp"], args].concat());
        if output.status.success() {
            Ok(())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    }
}

#[test]
fn files_go_in_and_out_by_the_rules_of_docker_cp() {
    let Some(host) = Host::with_image() else { return };
    host.ok(&["run", "-d", "--name", "box", "--stop-timeout", "0", "bb", "sleep", "600"]);
    rules(&host, &own(&host), "box");
    host.leaves_nothing();
}

#[test]
fn the_stock_client_copies_by_the_same_rules() {
    let Some(host) = Host::with_image() else { return };
    let socket = host.run_root().join("docker.sock");
    let mut daemon = host.command(&["daemon"]).stdout(Stdio::null()).spawn().unwrap();
    until("a daemon that answers", || std::os::unix::net::UnixStream::connect(&socket).ok());
    host.ok(&["run", "-d", "--name", "box", "--stop-timeout", "0", "bb", "sleep", "600"]);
    let stock = |args: &[&str]| {
        let mut command = host.inside("docker");
        command.arg("cp").args(args).env("DOCKER_HOST", format!("unix://{}", socket.display()));
        let output = finish(command, Duration::from_secs(60));
        if output.status.success() {
            Ok(())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    };
    rules(&host, &stock, "box");
    let _ = daemon.kill();
    let _ = daemon.wait();
    host.leaves_nothing();
}

#[test]
fn a_container_that_does_not_run_has_files_too() {
    let Some(host) = Host::with_image() else { return };
    let archive = host.path("file");
    fs::write(&archive, "early").unwrap();
    let from = archive.to_str().unwrap();
    host.ok(&["volume", "create", "vol"]);
    host.ok(&["create", "--name", "box", "-v", "vol:/data", "bb", "cat", "/etc/early", "/data/early"]);
    // one that was never started, and a volume of it
    host.ok(&["cp", from, "box:/etc/early"]);
    host.ok(&["cp", from, "box:/data/early"]);
    assert_eq!(host.ok(&["start", "-a", "box"]), "earlyearly");
    let back = host.path("back");
    host.ok(&["cp", "box:/etc/early", back.to_str().unwrap()]);
    host.ok(&["cp", "box:/data/early", back.to_str().unwrap()]);
    assert_eq!(fs::read_to_string(&back).unwrap(), "early");
    host.ok(&["create", "--name", "rr", "--read-only", "bb", "true"]);
    let (_, said) = host.fails(&["cp", from, "rr:/etc/early"]);
    assert!(said.contains("/etc of container rr is read-only"), "{said}");
    host.ok(&["run", "-d", "--name", "rrr", "--read-only", "--tmpfs", "/tmp", "bb", "sleep", "600"]);
    host.ok(&["cp", from, "rrr:/tmp/"]);
    host.fails(&["cp", from, "rrr:/etc/"]);
    host.leaves_nothing();
}

#[test]
fn links_of_a_container_lead_nowhere_but_inside_of_it() {
    let Some(host) = Host::with_image() else { return };
    // what must not be read or written: it is there on the host alone
    let secret = host.path("secret");
    fs::create_dir(&secret).unwrap();
    fs::write(secret.join("key"), "of the host").unwrap();
    let outside = secret.to_str().unwrap();
    host.ok(&["run", "-d", "--name", "box", "--stop-timeout", "0", "bb", "sleep", "600"]);
    let script = format!(
        "ln -s {outside} /abs; ln -s ../../../../../../../..{outside} /rel; ln -s /proc/1/root /magic; mkdir /real; ln -s /real /in"
    );
    host.ok(&["exec", "box", "sh", "-c", &script]);
    let file = host.path("file");
    fs::write(&file, "evil").unwrap();
    for link in ["abs", "rel"] {
        for path in [format!("box:/{link}/key"), format!("box:/{link}/.")] {
            let (_, said) = host.fails(&["cp", "-L", &path, host.path("stolen").to_str().unwrap()]);
            assert!(said.contains("could not find the file"), "{path}: {said}");
        }
        host.fails(&["cp", file.to_str().unwrap(), &format!("box:/{link}/")]);
        host.fails(&["cp", file.to_str().unwrap(), &format!("box:/{link}/key")]);
    }
    host.fails(&["cp", file.to_str().unwrap(), "box:/magic/etc/"]);
    assert_eq!(fs::read_to_string(secret.join("key")).unwrap(), "of the host");
    assert_eq!(fs::read_dir(&secret).unwrap().count(), 1);
    // one that stays inside is followed
    host.ok(&["cp", file.to_str().unwrap(), "box:/in/"]);
    assert_eq!(host.ok(&["exec", "box", "cat", "/real/file"]), "evil");
    // an archive whose entries go out, by a name or through a link
    for name in ["../escaped", "/escaped", "abs/escaped", "rel/escaped"] {
        let work = host.path("pack");
        fs::create_dir_all(&work).unwrap();
        fs::write(work.join("x"), "evil").unwrap();
        let archive = host.path("evil.tar");
        let transform = format!("--transform=s,^x$,{name},");
        host.program(
            "tar",
            &["-P", "-C", work.to_str().unwrap(), &transform, "-cf", archive.to_str().unwrap(), "x"],
        );
        let mut command = host.command(&["cp", "-", "box:/"]);
        command.stdin(fs::File::open(&archive).unwrap());
        let output = finish(command, Duration::from_secs(60));
        assert!(!output.status.success(), "{name}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("archive entry"), "{name}");
    }
    assert_eq!(fs::read_dir(&secret).unwrap().count(), 1);
    host.leaves_nothing();
}

#[test]
fn a_path_that_is_swapped_while_it_is_copied_leads_nowhere_else() {
    let Some(host) = Host::with_image() else { return };
    let secret = host.path("secret");
    fs::create_dir(&secret).unwrap();
    fs::write(secret.join("key"), "of the host").unwrap();
    let swap = format!(
        "mkdir -p /d /e; echo inside > /d/key; while :; do mv /d /e/d; ln -s {} /d; rm /d; mv /e/d /d; done",
        secret.display()
    );
    host.ok(&["run", "-d", "--name", "box", "--stop-timeout", "0", "bb", "sh", "-c", &swap]);
    let file = host.path("file");
    fs::write(&file, "evil").unwrap();
    for round in 0..60 {
        let to = host.path(&format!("out{round}"));
        if host.output(&["cp", "box:/d/key", to.to_str().unwrap()]).status.success() {
            assert_eq!(fs::read_to_string(&to).unwrap(), "inside\n");
        }
        // it may be refused, or land inside
        host.output(&["cp", file.to_str().unwrap(), "box:/d/key2"]);
        assert_eq!(fs::read_dir(&secret).unwrap().count(), 1, "round {round}");
    }
    host.leaves_nothing();
}

#[test]
fn archives_go_through_standard_input_and_output() {
    let Some(host) = Host::with_image() else { return };
    host.ok(&[
        "run",
        "-d",
        "--name",
        "box",
        "--stop-timeout",
        "0",
        "bb",
        "sh",
        "-c",
        "echo hi > /tmp/a; sleep 600",
    ]);
    until("the file", || host.output(&["exec", "box", "cat", "/tmp/a"]).stdout.eq(b"hi\n").then_some(()));
    let out = host.output(&["cp", "box:/tmp/a", "-"]);
    assert!(out.status.success());
    let archive = host.path("a.tar");
    fs::write(&archive, &out.stdout).unwrap();
    assert_eq!(host.program("tar", &["-xOf", archive.to_str().unwrap(), "a"]), "hi\n");
    let mut back = host.command(&["cp", "-", "box:/root"]);
    back.stdin(fs::File::open(&archive).unwrap());
    assert!(finish(back, Duration::from_secs(60)).status.success());
    assert_eq!(host.ok(&["exec", "box", "cat", "/root/a"]), "hi\n");
    host.leaves_nothing();
}
