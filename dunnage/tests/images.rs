//! Images on the command line: registries, archives, commits.

mod support;

use std::fs;
use std::process::{Child, Command, Stdio};

use support::{Host, until};

/// Debian's registry on a test's own host.
struct Registry {
    child: Child,
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const ADDRESS: &str = "127.0.0.1:5000";

/// Starts docker-registry, with the password `secret` of `user` if it is to have one; none, loudly, if it is not installed.
fn registry(host: &Host, with_password: bool) -> Option<Registry> {
    if Command::new("docker-registry").arg("--version").stdout(Stdio::null()).status().is_err() {
        eprintln!("skipped: docker-registry is not installed");
        return None;
    }
    let data = host.path("registry");
    fs::create_dir_all(&data).unwrap();
    let shown = data.display();
    let mut config = format!(
        "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {shown}/data}}, delete: {{enabled: true}}}}\nhttp: {{addr: '{ADDRESS}'}}\n"
    );
    if with_password {
        let line = "user:$2b$04$dg2DK16yLnvwu.dMbOUbge5F1YNFPhRiTyYZmH9wFCX3kz4RtR3y6\n";
        fs::write(data.join("htpasswd"), line).unwrap();
        config = format!("{config}auth: {{htpasswd: {{realm: test, path: {shown}/htpasswd}}}}\n");
    }
    let path = data.join("config.yml");
    fs::write(&path, config).unwrap();
    // nsenter replaces itself by the program, so the child is the registry
    let mut command = host.inside("docker-registry");
    command.arg("serve").arg(&path).stdout(Stdio::null()).stderr(Stdio::null());
    let registry = Registry { child: command.spawn().unwrap() };
    until("the registry listens", || {
        let sockets = fs::read_to_string(format!("/proc/{}/net/tcp", registry.child.id())).ok()?;
        // 127.0.0.1:5000, state LISTEN
        sockets.lines().any(|line| line.contains(" 0100007F:1388 ") && line.contains(" 0A ")).then_some(())
    });
    Some(registry)
}

fn busybox_run(host: &Host, image: &str, script: &str) -> String {
    host.ok(&["run", "--rm", "--network", "none", "--pull", "never", image, "sh", "-c", script])
}

#[test]
fn an_image_is_pushed_removed_and_fetched_again_by_run() {
    let Some(host) = Host::with_image() else { return };
    let Some(_registry) = registry(&host, false) else { return };
    let name = format!("{ADDRESS}/team/bb:1");
    host.ok(&["tag", "bb", &name]);
    let pushed = host.ok(&["push", &name]);
    assert!(pushed.contains(": Pushed\n") && pushed.contains("1: digest: sha256:"), "{pushed}");
    assert!(host.ok(&["push", &name]).contains(": Layer already exists\n"));
    host.ok(&["rmi", &name]);
    host.ok(&["rmi", "bb"]);
    assert_eq!(host.ok(&["images", "-q"]), "");
    let (code, error) = host.fails(&["run", "--rm", "--pull", "never", &name, "true"]);
    assert!(code == 125 && error.contains("no such image"), "{code} {error}");
    let run = host.output(&["run", "--rm", "--network", "none", &name, "echo", "here"]);
    let progress = String::from_utf8_lossy(&run.stderr);
    assert_eq!(String::from_utf8_lossy(&run.stdout), "here\n", "{progress}");
    assert!(progress.contains("Unable to find image") && progress.contains(": Pull complete"), "{progress}");
    let pulled = host.ok(&["pull", &name]);
    assert!(pulled.contains("1: Pulling from team/bb\n"), "{pulled}");
    assert!(pulled.contains("Status: Image is up to date"), "{pulled}");
    let digest = pulled.lines().find_map(|line| line.strip_prefix("Digest: ")).unwrap().to_owned();
    let by_digest = format!("{ADDRESS}/team/bb@{digest}");
    assert_eq!(host.ok(&["pull", "-q", &by_digest]).trim(), by_digest);
    assert_eq!(busybox_run(&host, &by_digest, "echo same"), "same\n");
    let (_, error) = host.fails(&["pull", &format!("{ADDRESS}/team/nothing:1")]);
    assert!(error.contains("does not exist"), "{error}");
    host.leaves_nothing();
}

#[test]
fn login_keeps_a_password_that_works_and_logout_forgets_it() {
    let Some(host) = Host::with_image() else { return };
    let Some(_registry) = registry(&host, true) else { return };
    let config = host.path("docker-config");
    let name = format!("{ADDRESS}/bb:1");
    host.ok(&["tag", "bb", &name]);
    let with_input = |args: &[&str], input: &str| {
        let mut command = host.command(args);
        command.env("DOCKER_CONFIG", &config).stdin(Stdio::piped());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), input.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&text).into_owned())
    };
    let (done, text) = with_input(&["push", &name], "");
    assert!(!done && text.contains("denied"), "{text}");
    let login = ["login", "-u", "user", "--password-stdin", ADDRESS];
    let (done, text) = with_input(&login, "hunter2\n");
    assert!(!done && text.contains("denied") && !text.contains("hunter2"), "{text}");
    assert!(!config.join("config.json").exists());
    let (done, text) = with_input(&login, "secret\n");
    assert!(done && text == "Login Succeeded\n", "{text}");
    let mode = std::os::unix::fs::MetadataExt::mode(&fs::metadata(config.join("config.json")).unwrap());
    assert_eq!(mode & 0o777, 0o600);
    let (done, text) = with_input(&["push", &name], "");
    assert!(done, "{text}");
    assert!(with_input(&["logout", ADDRESS], "").1.starts_with("Removing login credentials"));
    assert!(!with_input(&["push", &name], "").0);
    host.leaves_nothing();
}

#[test]
fn a_program_that_knows_credentials_is_asked_for_the_registry_it_is_named_for() {
    let Some(host) = Host::with_image() else { return };
    let Some(_registry) = registry(&host, true) else { return };
    let config = host.path("docker-config");
    fs::create_dir_all(&config).unwrap();
    fs::write(config.join("config.json"), format!("{{\"credHelpers\":{{\"{ADDRESS}\":\"dnt\"}}}}")).unwrap();
    let program = config.join("docker-credential-dnt");
    let push = |script: &str| {
        fs::write(
            &program,
            format!("#!/bin/sh\nread asked\ntest \"$1 $asked\" = 'get {ADDRESS}' || exit 3\n{script}\n"),
        )
        .unwrap();
        fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let name = format!("{ADDRESS}/bb:1");
        host.ok(&["tag", "bb", &name]);
        let mut command = host.command(&["push", &name]);
        command.env("DOCKER_CONFIG", &config).env("PATH", format!("{}:/usr/bin:/bin", config.display()));
        let output = command.stdin(Stdio::null()).output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (done, text) = push("echo '{\"ServerURL\":\"x\",\"Username\":\"user\",\"Secret\":\"secret\"}'");
    assert!(done, "{text}");
    let (done, text) = push("echo credentials not found in native keychain; exit 1");
    assert!(!done && text.contains("denied"), "{text}");
    let (done, text) = push("exit 4");
    assert!(!done && text.contains("docker-credential-dnt"), "{text}");
    let (done, text) = push("echo '{\"Username\":\"user\",\"Secret\":\"hunter2\"}'");
    assert!(!done && !text.contains("hunter2"), "{text}");
}

#[test]
#[ignore = "started by the test that searches"]
fn answers_one_search() {
    use std::io::{BufRead, BufReader, Write};
    if std::env::var_os("DUNNAGE_TEST_SEARCH").is_none() {
        return;
    }
    let body = r#"{"results":[{"name":"team/web","description":"a\u001b[31m server","star_count":3,"is_official":false}]}"#;
    let (mut stream, _) = std::net::TcpListener::bind("127.0.0.1:5002").unwrap().accept().unwrap();
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
    assert!(lines.next().unwrap().unwrap().starts_with("GET /v1/search?q=web&n=25 "));
    while !lines.next().unwrap().unwrap().is_empty() {}
    write!(stream, "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len())
        .unwrap();
}

#[test]
fn a_search_lists_what_a_registry_finds() {
    let Some(host) = Host::with_image() else { return };
    // the registry of this test listens where the command runs: it is this program once more
    let mut server = host.inside(std::env::current_exe().unwrap().to_str().unwrap());
    server.args(["--ignored", "--exact", "answers_one_search"]).env("DUNNAGE_TEST_SEARCH", "1");
    let mut server = server.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    until("the server listens", || {
        let sockets = fs::read_to_string(format!("/proc/{}/net/tcp", server.id())).ok()?;
        sockets.lines().any(|line| line.contains(" 0100007F:138A ") && line.contains(" 0A ")).then_some(())
    });
    let output = host.output(&["search", "127.0.0.1:5002/web"]);
    let _ = server.kill();
    let _ = server.wait();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].starts_with("NAME") && lines[0].ends_with("OFFICIAL"), "{text}");
    assert!(lines[1].starts_with("team/web") && !text.contains('\u{1b}'), "{text}");
}

#[test]
fn a_changed_container_becomes_an_image_with_a_history() {
    let Some(host) = Host::with_image() else { return };
    let script = "echo new > /root/new; rm /etc/group; mkdir /made; ln /root/new /made/hard";
    host.ok(&["run", "--name", "changed", "--network", "none", "bb", "sh", "-c", script]);
    let diff = host.ok(&["diff", "changed"]);
    for mounted in ["/dev", "/proc", "/etc/hosts"] {
        assert!(!diff.lines().any(|line| line.ends_with(mounted)), "{mounted} is the engine's: {diff}");
    }
    for line in ["A /root/new", "D /etc/group", "A /made", "C /root"] {
        assert!(diff.lines().any(|own| own == line), "{line} is missing: {diff}");
    }
    let id = host.ok(&[
        "commit",
        "-a",
        "me",
        "-m",
        "why",
        "--change",
        "CMD [\"cat\", \"/made/hard\"]",
        "changed",
        "mine:2",
    ]);
    assert!(id.starts_with("sha256:"));
    assert_eq!(host.ok(&["run", "--rm", "--network", "none", "mine:2"]), "new\n");
    assert_eq!(busybox_run(&host, "mine:2", "test -e /etc/group || echo gone"), "gone\n");
    let history = host.ok(&["history", "mine:2"]);
    assert!(history.lines().count() == 3 && history.contains("why"), "{history}");
    assert!(host.ok(&["image", "tree"]).contains("mine:2"));
    // an export has all of it in one
    let archive = host.path("export.tar");
    host.ok(&["export", "-o", archive.to_str().unwrap(), "changed"]);
    let list = host.program("tar", &["-tf", archive.to_str().unwrap()]);
    assert!(list.contains("bin/busybox") && list.contains("made/hard") && !list.contains("etc/group"));
    host.ok(&["import", archive.to_str().unwrap(), "flat"]);
    assert_eq!(busybox_run(&host, "flat", "cat /root/new"), "new\n");
    // a running one is frozen and goes on
    host.ok(&["run", "-d", "--name", "busy", "--network", "none", "bb", "sleep", "1000"]);
    host.ok(&["commit", "busy"]);
    assert!(host.ok(&["ps"]).contains("Up"));
    assert!(!host.ok(&["ps"]).contains("Paused"));
    host.ok(&["rm", "-f", "busy"]);
    let pruned = host.ok(&["image", "prune", "-f"]);
    assert!(pruned.contains("deleted: sha256:"), "{pruned}");
    host.leaves_nothing();
}

#[test]
fn saved_images_load_with_the_same_ids_and_hostile_archives_do_not() {
    let Some(host) = Host::with_image() else { return };
    let archive = host.path("saved.tar");
    let path = archive.to_str().unwrap();
    host.ok(&["tag", "bb", "other:3"]);
    let id = host.ok(&["images", "-q", "--no-trunc"]);
    host.ok(&["save", "-o", path, "bb:latest", "other:3"]);
    host.ok(&["rmi", "bb", "other:3"]);
    let loaded = host.ok(&["load", "-i", path]);
    assert_eq!(loaded, "Loaded image: bb:latest\nLoaded image: other:3\n");
    assert_eq!(host.ok(&["images", "-q", "--no-trunc"]), id);
    assert_eq!(busybox_run(&host, "other:3", "echo works"), "works\n");
    fs::write(&archive, "no archive").unwrap();
    let (code, error) = host.fails(&["load", "-i", path]);
    assert!(code == 1 && error.contains("not a tar archive"), "{error}");
    host.leaves_nothing();
}
