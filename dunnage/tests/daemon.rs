//! The Docker Engine API, driven by the stock `docker` client, and by requests that no client would send.

mod support;

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use support::{Host, finish, until};

/// A daemon on the test's host, ended with it.
struct Daemon<'a> {
    host: &'a Host,
    child: Child,
    socket: PathBuf,
}

impl<'a> Daemon<'a> {
    fn start(host: &'a Host) -> Self {
        let socket = host.run_root().join("docker.sock");
        let child = host.command(&["daemon"]).stdout(Stdio::null()).spawn().unwrap();
        let daemon = Self { host, child, socket };
        until("a daemon that answers", || UnixStream::connect(&daemon.socket).ok());
        daemon
    }

    fn client(&self, args: &[&str]) -> Command {
        let mut command = self.host.inside("docker");
        command.args(args).env("DOCKER_HOST", format!("unix://{}", self.socket.display()));
        command.env("DOCKER_CONFIG", self.host.path("docker-config")).env("HOME", self.host.path("home"));
        command
    }

    fn output(&self, args: &[&str]) -> Output {
        finish(self.client(args), Duration::from_secs(60))
    }

    fn ok(&self, args: &[&str]) -> String {
        let output = self.output(args);
        let (shown, error) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "docker {args:?}: {}: {shown}{error}", output.status);
        shown.into_owned()
    }

    /// Exit code and standard error of what must fail.
    fn fails(&self, args: &[&str]) -> (i32, String) {
        let output = self.output(args);
        assert!(!output.status.success(), "docker {args:?} succeeded");
        (output.status.code().unwrap_or(-1), String::from_utf8_lossy(&output.stderr).into_owned())
    }

    /// What is answered to a request as it stands here.
    fn raw(&self, request: &str) -> String {
        let mut stream = UnixStream::connect(&self.socket).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        // what is refused early is not read to its end
        let _ = stream.write_all(request.as_bytes());
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut answer = Vec::new();
        let mut buffer = [0; 4096];
        // one that stays open is read up to the end of its head
        while let Ok(count @ 1..) = stream.read(&mut buffer) {
            answer.extend_from_slice(&buffer[..count]);
            if answer.windows(4).any(|four| four == b"\r\n\r\n") {
                break;
            }
        }
        String::from_utf8_lossy(&answer).into_owned()
    }
}

impl Drop for Daemon<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn has_client() -> bool {
    let found = Command::new("docker").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    let there = found.is_ok_and(|status| status.success());
    if !there {
        eprintln!("skipped: there is no docker client");
    }
    there
}

#[test]
fn the_stock_client_runs_containers_through_their_whole_life() {
    if !has_client() {
        return;
    }
    let Some(host) = Host::with_image() else { return };
    let daemon = Daemon::start(&host);
    assert!(daemon.ok(&["version"]).contains("Server: dunnage"));
    assert_eq!(daemon.ok(&["run", "--rm", "bb", "echo", "hello"]), "hello\n");
    let three =
        daemon.output(&["run", "--name", "three", "bb", "sh", "-c", "echo out; echo err >&2; exit 3"]);
    assert_eq!(three.status.code(), Some(3));
    assert_eq!(
        (three.stdout.as_slice(), three.stderr.as_slice()),
        (b"out\n".as_slice(), b"err\n".as_slice())
    );
    assert!(daemon.ok(&["ps", "-a"]).contains("Exited (3)"));
    let logs = daemon.output(&["logs", "three"]);
    assert_eq!((logs.stdout.as_slice(), logs.stderr.as_slice()), (b"out\n".as_slice(), b"err\n".as_slice()));
    let script = "id -G; cat /etc/resolv.conf";
    let more = ["run", "--rm", "--group-add", "4000", "--dns-option", "ndots:2", "bb", "sh", "-c", script];
    let said = daemon.ok(&more);
    assert!(said.contains(" 4000\n") && said.contains("options ndots:2\n"), "{said}");
    // standard input, all of it
    let mut cat = daemon.client(&["run", "-i", "--rm", "bb", "cat"]);
    let mut child = cat.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let sent: Vec<u8> = (0..100_000u32).flat_map(u32::to_le_bytes).collect();
    let mut input = child.stdin.take().unwrap();
    let writer = std::thread::spawn({
        let sent = sent.clone();
        move || input.write_all(&sent)
    });
    let mut received = Vec::new();
    child.stdout.take().unwrap().read_to_end(&mut received).unwrap();
    writer.join().unwrap().unwrap();
    assert!(child.wait().unwrap().success());
    assert!(received == sent, "{} bytes came back of {}", received.len(), sent.len());
    // in the background
    daemon.ok(&["run", "-d", "--name", "bg", "-p", "127.0.0.1:8098:80", "-l", "a=b", "bb", "sleep", "1000"]);
    assert_eq!(daemon.ok(&["port", "bg"]), "80/tcp -> 127.0.0.1:8098\n");
    assert_eq!(daemon.ok(&["exec", "bg", "echo", "inside"]), "inside\n");
    assert_eq!(daemon.fails(&["exec", "bg", "sh", "-c", "exit 5"]).0, 5);
    assert_eq!(daemon.ok(&["inspect", "-f", "{{.State.Status}} {{.Config.Labels.a}}", "bg"]), "running b\n");
    assert!(daemon.ok(&["top", "bg"]).contains("sleep 1000"));
    assert!(daemon.ok(&["stats", "--no-stream", "bg"]).contains("bg"));
    assert_eq!(daemon.ok(&["ps", "-q", "--filter", "label=a=b"]).lines().count(), 1);
    daemon.ok(&["pause", "bg"]);
    assert!(daemon.ok(&["ps"]).contains("(Paused)"));
    daemon.ok(&["unpause", "bg"]);
    daemon.ok(&["rename", "bg", "bg2"]);
    daemon.ok(&["update", "--memory", "64m", "--memory-swap", "128m", "--restart", "always", "bg2"]);
    daemon.ok(&["restart", "-t", "0", "bg2"]);
    daemon.ok(&["exec", "bg2", "touch", "/new"]);
    assert!(daemon.ok(&["diff", "bg2"]).contains("A /new"));
    daemon.ok(&["stop", "-t", "0", "bg2"]);
    assert_eq!(daemon.ok(&["wait", "bg2"]), "137\n");
    daemon.ok(&["commit", "-m", "kept", "-c", "CMD [\"echo\", \"made\"]", "three", "made:1"]);
    assert_eq!(daemon.ok(&["run", "--rm", "made:1"]), "made\n");
    // a command that is missing, and a container that is to go all the same
    assert_eq!(daemon.fails(&["run", "--rm", "bb", "nosuch"]).0, 127);
    assert_eq!(daemon.fails(&["run", "--rm", "bb", "/etc"]).0, 126);
    assert!(daemon.fails(&["run", "--runtime", "kata", "bb", "true"]).1.contains("kata"));
    assert!(daemon.fails(&["inspect", "nobody"]).1.contains("nobody"));
    daemon.ok(&["rm", "-f", "bg2", "three"]);
    assert_eq!(daemon.ok(&["ps", "-aq"]), "");
    assert!(daemon.ok(&["events", "--since", "10m", "--until", "0s"]).contains("container destroy"));
    drop(daemon);
    host.leaves_nothing();
}

#[test]
fn the_stock_client_has_terminals_networks_volumes_and_images() {
    if !has_client() {
        return;
    }
    let Some(host) = Host::with_image() else { return };
    let daemon = Daemon::start(&host);
    let shown = |args: &str| {
        let mut command = host.inside("script");
        command.args(["-qec", &format!("stty rows 33 cols 99; docker {args}"), "/dev/null"]);
        command.env("DOCKER_HOST", format!("unix://{}", daemon.socket.display()));
        command.env("DOCKER_CONFIG", host.path("docker-config")).env("TERM", "dumb");
        String::from_utf8_lossy(&finish(command, Duration::from_secs(60)).stdout).into_owned()
    };
    let size = "i=0; until stty size | grep 33; do i=$((i+1)); [ $i -lt 100 ] || exit 1; sleep 0.05; done";
    let said = shown(&format!("run -it --rm bb sh -c '{size}'"));
    assert!(said.contains("33 99"), "{said:?}");
    daemon.ok(&["network", "create", "--subnet", "10.97.0.0/24", "own"]);
    daemon.ok(&[
        "run",
        "-d",
        "--name",
        "db",
        "--network",
        "own",
        "--network-alias",
        "data",
        "bb",
        "sleep",
        "1000",
    ]);
    let found = daemon.ok(&["run", "--rm", "--network", "own", "bb", "nslookup", "data"]);
    assert!(found.contains("10.97.0."), "{found}");
    assert!(daemon.ok(&["network", "inspect", "own"]).contains("10.97.0.0/24"));
    let said = shown(&format!("exec -it db sh -c '{size}'"));
    assert!(said.contains("33 99"), "{said:?}");
    daemon.ok(&["network", "disconnect", "own", "db"]);
    daemon.ok(&["network", "connect", "--alias", "again", "own", "db"]);
    daemon.ok(&["run", "--rm", "-v", "kept:/data", "bb", "sh", "-c", "echo 1 > /data/x"]);
    assert_eq!(
        daemon.ok(&["run", "--rm", "--mount", "type=volume,src=kept,dst=/d,ro", "bb", "cat", "/d/x"]),
        "1\n"
    );
    assert!(daemon.ok(&["volume", "ls"]).contains("kept"));
    daemon.ok(&["rm", "-f", "db"]);
    daemon.ok(&["network", "rm", "own"]);
    daemon.ok(&["volume", "rm", "kept"]);
    let saved = host.path("saved.tar");
    daemon.ok(&["tag", "bb", "other:2"]);
    daemon.ok(&["save", "-o", saved.to_str().unwrap(), "other:2"]);
    assert!(daemon.ok(&["rmi", "other:2"]).contains("Untagged: other:2"));
    assert!(daemon.ok(&["load", "-i", saved.to_str().unwrap()]).contains("Loaded image: other:2"));
    assert!(daemon.ok(&["images", "-q"]).lines().count() >= 1);
    assert!(daemon.ok(&["history", "other:2"]).contains("IMAGE"));
    let (_, error) = daemon.fails(&["pull", "127.0.0.1:9/nothing"]);
    assert!(error.contains("127.0.0.1:9"), "{error}");
    assert!(daemon.ok(&["system", "df"]).contains("Images"));
    assert!(daemon.ok(&["info"]).contains("Server Version: 0.1.0"));
    daemon.ok(&["system", "prune", "-f"]);
    assert!(daemon.fails(&["node", "ls"]).1.contains("not a swarm manager"));
    drop(daemon);
    host.leaves_nothing();
}

#[test]
fn a_daemon_that_is_killed_stops_no_container_and_the_next_one_goes_on() {
    if !has_client() {
        return;
    }
    let Some(host) = Host::with_image() else { return };
    for round in 0..3 {
        let daemon = Daemon::start(&host);
        let script = "i=0; while :; do echo $i; i=$((i+1)); sleep 0.01; done";
        daemon.ok(&["run", "-d", "--name", "goes-on", "bb", "sh", "-c", script]);
        let mut attached = daemon.client(&["attach", "goes-on"]).stdout(Stdio::piped()).spawn().unwrap();
        let mut first = [0; 1];
        attached.stdout.take().unwrap().read_exact(&mut first).unwrap();
        drop(daemon);
        attached.wait().unwrap();
        let daemon = Daemon::start(&host);
        assert!(daemon.ok(&["ps"]).contains("goes-on"), "round {round}");
        let before = daemon.ok(&["logs", "goes-on"]).lines().count();
        until("more of the log", || (daemon.ok(&["logs", "goes-on"]).lines().count() > before).then_some(()));
        daemon.ok(&["stop", "-t", "0", "goes-on"]);
        // no line is missing
        let log = daemon.ok(&["logs", "goes-on"]);
        for (number, line) in log.lines().enumerate() {
            assert_eq!(line, number.to_string());
        }
        daemon.ok(&["rm", "goes-on"]);
    }
    host.leaves_nothing();
}

#[test]
fn requests_that_no_client_would_send_are_refused_and_harm_nobody() {
    let Some(host) = Host::with_image() else { return };
    let daemon = Daemon::start(&host);
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
    let post = |path: &str, body: &str| {
        format!(
            "POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    for (request, status) in [
        (get("/_ping"), "200"),
        (get("/v1.24/_ping"), "200"),
        (get("/v1.23/info"), "400"),
        (get("/v2.0/info"), "400"),
        (get("/nothing"), "404"),
        (get("/containers/%2e%2e%2fetc/json"), "404"),
        (get("/containers/%ff/json"), "400"),
        (get("/containers/json?filters=nonsense"), "400"),
        (get("/containers/json?filters=%7B%22frob%22%3A%5B%22x%22%5D%7D"), "400"),
        (post("/containers/create", "{"), "400"),
        (post("/containers/create", &"[".repeat(100_000)), "400"),
        (post("/containers/create", r#"{"Image":"bb","HostConfig":{"Binds":["../x:/y"]}}"#), "400"),
        (post("/containers/create?name=../x", r#"{"Image":"bb"}"#), "400"),
        (post("/containers/create", r#"{"Image":"missing"}"#), "404"),
        (post("/exec/nobody/start", "{}"), "404"),
        (post("/swarm/init", "{}"), "503"),
        (post("/containers/create", &format!("{{\"Image\":\"{}\"}}", "x".repeat(9 << 20))), "413"),
        ("POST /containers/create HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n".to_owned(), "400"),
        (format!("GET /_ping HTTP/1.1\r\nHost: x\r\nX-A: {}\r\n\r\n", "a".repeat(200_000)), "431"),
        ("nonsense\r\n\r\n".to_owned(), "400"),
    ] {
        let answer = daemon.raw(&request);
        let wanted = format!("HTTP/1.1 {status}");
        assert!(answer.starts_with(&wanted), "{request:.100}: {answer:.300}");
    }
    // whoever says nothing, or half of it, holds up nobody
    let silent: Vec<UnixStream> = (0..200)
        .map(|_| {
            let mut stream = UnixStream::connect(&daemon.socket).unwrap();
            stream.write_all(b"GET /_ping HT").unwrap();
            stream
        })
        .collect();
    assert!(daemon.raw(&get("/_ping")).starts_with("HTTP/1.1 200"));
    drop(silent);
    let mode =
        std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&daemon.socket).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600, "nobody else may connect");
    drop(daemon);
    host.leaves_nothing();
}

#[test]
fn docker_compose_brings_a_project_up_scales_it_and_takes_it_down() {
    if !has_client() {
        return;
    }
    let found =
        Command::new("docker-compose").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if !found.is_ok_and(|status| status.success()) {
        eprintln!("skipped: there is no docker-compose");
        return;
    }
    let Some(host) = Host::with_image() else { return };
    let daemon = Daemon::start(&host);
    let project = host.path("project");
    std::fs::create_dir(&project).unwrap();
    let file = "version: '3.6'\nservices:\n  db:\n    image: bb\n    \
                command: sh -c 'while true; do echo pong | nc -l -p 6379; done'\n    volumes: ['data:/data']\n  web:\n    \
                image: bb\n    command: sh -c 'until nc db 6379 </dev/null; do sleep 0.1; done; sleep 1000'\n    \
                ports: ['127.0.0.1:8096:80']\n    depends_on: [db]\n    environment: {A: b}\nvolumes: {data: {}}\n";
    std::fs::write(project.join("docker-compose.yml"), file).unwrap();
    let compose = |args: &[&str]| {
        let mut command = host.inside("docker-compose");
        command
            .args(args)
            .current_dir(&project)
            .env("DOCKER_HOST", format!("unix://{}", daemon.socket.display()));
        let output = finish(command, Duration::from_secs(90));
        let said = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
        let said = String::from_utf8_lossy(&said).into_owned();
        assert!(output.status.success(), "docker-compose {args:?}: {said}");
        said
    };
    compose(&["up", "-d"]);
    let shown = compose(&["ps"]);
    assert!(shown.contains("project_db_1") && shown.contains("127.0.0.1:8096->80/tcp"), "{shown}");
    until("an answer of the other service", || compose(&["logs", "web"]).contains("pong").then_some(()));
    // nothing has changed, so nothing is made anew
    assert!(compose(&["up", "-d"]).contains("project_web_1 is up-to-date"));
    compose(&["up", "-d", "--scale", "db=2"]);
    assert_eq!(daemon.ok(&["ps", "-q"]).lines().count(), 3);
    assert!(compose(&["exec", "-T", "web", "sh", "-c", "echo $A"]).contains('b'));
    assert!(compose(&["run", "--rm", "web", "echo", "once"]).contains("once"));
    compose(&["restart", "-t", "0", "db"]);
    compose(&["stop", "-t", "0"]);
    compose(&["start"]);
    compose(&["down", "-v", "-t", "0"]);
    assert_eq!(daemon.ok(&["ps", "-aq"]), "");
    assert_eq!(daemon.ok(&["volume", "ls", "-q"]), "");
    drop(daemon);
    host.leaves_nothing();
}

#[test]
fn images_are_built_by_the_stock_client_and_by_docker_compose() {
    let Some(host) = Host::with_image() else { return };
    let daemon = Daemon::start(&host);
    let context = host.path("context");
    std::fs::create_dir(&context).unwrap();
    std::fs::write(
        context.join("Dockerfile"),
        "FROM bb AS one\nARG WORD\nRUN echo $WORD > /word\nFROM one\nCOPY data /data\nCMD cat /word /data\n",
    )
    .unwrap();
    std::fs::write(context.join("data"), "copied\n").unwrap();
    std::fs::write(context.join("skipped"), "never sent").unwrap();
    std::fs::write(context.join(".dockerignore"), "skipped\n").unwrap();
    let at = context.to_str().unwrap();
    let build = |args: &[&str]| {
        let mut command = daemon.client(&[&["build"], args].concat());
        command.env("DOCKER_BUILDKIT", "0");
        finish(command, Duration::from_secs(60))
    };
    let built = build(&["-t", "app", "-t", "app:two", "--build-arg", "WORD=said", "--label", "a=b", at]);
    let shown = String::from_utf8_lossy(&built.stdout).into_owned();
    assert!(built.status.success(), "{shown}{}", String::from_utf8_lossy(&built.stderr));
    for line in [
        "RUN echo $WORD > /word",
        "Successfully built ",
        "Successfully tagged app:latest",
        "Successfully tagged app:two",
    ] {
        assert!(shown.contains(line), "{line}: {shown}");
    }
    assert_eq!(daemon.ok(&["run", "--rm", "app"]), "said\ncopied\n");
    assert_eq!(daemon.ok(&["image", "inspect", "-f", "{{.Config.Labels.a}}", "app:two"]), "b\n");
    let again =
        String::from_utf8_lossy(&build(&["-t", "app", "--build-arg", "WORD=said", at]).stdout).into_owned();
    assert_eq!(again.matches("Using cache").count(), 2, "{again}");
    let quiet = String::from_utf8_lossy(&build(&["-q", "--target", "one", at]).stdout).into_owned();
    assert!(quiet.starts_with("sha256:") && quiet.lines().count() == 1, "{quiet}");
    // what fails says where and why
    std::fs::write(context.join("Dockerfile"), "FROM bb\nRUN echo before; exit 7\n").unwrap();
    let failed = build(&[at]);
    let said = String::from_utf8_lossy(&failed.stderr).into_owned();
    assert!(!failed.status.success() && said.contains('7'), "{said}");
    assert!(String::from_utf8_lossy(&failed.stdout).contains("before"));
    let refused = build(&["--memory", "10m", at]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains("memory is not supported here"), "{said}");
    // docker-compose builds and brings up
    if std::path::Path::new("/usr/bin/docker-compose").exists() {
        std::fs::write(context.join("Dockerfile"), "FROM bb\nRUN echo composed > /word\n").unwrap();
        std::fs::write(
            context.join("docker-compose.yml"),
            "version: '3.6'\nservices: {web: {build: ., command: cat /word}}\nnetworks: {default: {ipam: {config: [{subnet: 10.231.9.0/24}]}}}\n",
        )
        .unwrap();
        let mut command = host.inside("docker-compose");
        command.args(["up", "--no-color"]).current_dir(&context);
        command
            .env("DOCKER_HOST", format!("unix://{}", daemon.socket.display()))
            .env("HOME", host.path("home"));
        let output = finish(command, Duration::from_secs(60));
        let shown = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(shown.contains("composed"), "{shown}{}", String::from_utf8_lossy(&output.stderr));
    }
    let pruned = daemon.ok(&["builder", "prune", "-af"]);
    assert!(pruned.contains("Total"), "{pruned}");
}

#[test]
fn a_client_that_goes_away_ends_its_build() {
    let Some(host) = Host::with_image() else { return };
    let daemon = Daemon::start(&host);
    let context = host.path("context");
    std::fs::create_dir(&context).unwrap();
    std::fs::write(context.join("Dockerfile"), "FROM bb\nRUN echo begun; sleep 600\n").unwrap();
    let mut command = daemon.client(&["build", context.to_str().unwrap()]);
    command.env("DOCKER_BUILDKIT", "0").stdout(Stdio::piped()).stderr(Stdio::null());
    let mut client = command.spawn().unwrap();
    let mut shown = String::new();
    let mut output = client.stdout.take().unwrap();
    let mut piece = [0; 512];
    while !shown.contains("begun\n") {
        let count = output.read(&mut piece).unwrap();
        assert!(count > 0, "{shown}");
        shown.push_str(&String::from_utf8_lossy(&piece[..count]));
    }
    client.kill().unwrap();
    client.wait().unwrap();
    until("nothing of the build is left", || {
        (host.ok(&["system", "check"]).trim() == "clean" && host.traces().is_empty()).then_some(())
    });
}

#[test]
fn docker_py_makes_its_main_calls() {
    let Some(host) = Host::with_image() else { return };
    let has = Command::new("python3")
        .args(["-c", "import docker"])
        .output()
        .is_ok_and(|output| output.status.success());
    if !has {
        eprintln!("skipped: python3-docker is not installed");
        return;
    }
    let daemon = Daemon::start(&host);
    let mut command = host.inside("/usr/bin/python3");
    command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/docker_py.py"));
    command.env("DOCKER_HOST", format!("unix://{}", daemon.socket.display())).env("HOME", host.path("home"));
    let output = finish(command, Duration::from_secs(60));
    let (shown, said) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && shown.contains("is content"), "{shown}{said}");
}
