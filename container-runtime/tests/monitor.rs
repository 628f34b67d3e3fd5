//! The monitor, as an engine starts it.

mod support;

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use container_runtime::Signal;
use container_runtime::monitor::{FrameKind, LogSpec, MonitorSpec, MonitorStatus, Report, Restart};
use rustix::fs::{FlockOperation, flock};
use rustix::io::{FdFlags, fcntl_setfd};
use rustix::process::{Pid, kill_process};
use serde_json::{Value, json};
use support::{PATIENCE, PROGRAM, World, eventually, finish, text};

struct Engine {
    world: World,
    spec: MonitorSpec,
    started: Vec<Child>,
}

impl Engine {
    fn new(name: &str, script: &str) -> Option<Self> {
        let world = World::new(name)?;
        world.write(&world.config(script));
        let mut spec = MonitorSpec::new("m1", world.runtime.root());
        spec.log = Some(LogSpec { path: world.path("json.log"), max_size: None, max_files: None });
        Some(Self { world, spec, started: Vec::new() })
    }

    fn file(&self, name: &str) -> PathBuf {
        self.world.bundle().join(name)
    }

    /// Starts a monitor and reads its report; the client's socket comes back if one is wanted.
    fn start(&mut self, attach: bool) -> (Report, Option<Client>) {
        fs::write(self.file("monitor.json"), serde_json::to_vec(&self.spec).expect("json"))
            .expect("monitor.json");
        let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).expect("a pipe");
        let mut command = Command::new(PROGRAM);
        command.arg("monitor").arg(self.world.bundle());
        command.args(["--sync-fd", &write.as_raw_fd().to_string()]);
        fcntl_setfd(&write, FdFlags::empty()).expect("keep open");
        let sockets = attach.then(|| UnixStream::pair().expect("sockets"));
        if let Some((_, theirs)) = &sockets {
            fcntl_setfd(theirs, FdFlags::empty()).expect("keep open");
            command.args(["--attach-fd", &theirs.as_raw_fd().to_string()]);
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().expect("a monitor");
        drop(write);
        self.started.push(child);
        let client = sockets.map(|(ours, _)| Client::new(ours));
        (self.report(read), client)
    }

    fn report(&self, read: OwnedFd) -> Report {
        assert!(support::readable(&read), "no report");
        let mut line = String::new();
        BufReader::new(File::from(read)).read_line(&mut line).expect("a line");
        serde_json::from_str(&line)
            .unwrap_or_else(|_| panic!("{line:?}: {:?}", fs::read_dir(self.world.bundle())))
    }

    fn started(&mut self, attach: bool) -> Option<Client> {
        let (report, client) = self.start(attach);
        assert!(matches!(report, Report::Started(1..)), "{report:?}");
        client
    }

    fn attach(&self) -> Client {
        Client::new(UnixStream::connect(self.file("attach.sock")).expect("attach.sock"))
    }

    fn status(&self, wanted: impl Fn(&MonitorStatus) -> bool) -> MonitorStatus {
        let parse = |content: &str| serde_json::from_str::<MonitorStatus>(content).ok();
        let content =
            eventually(&self.file("status.json"), |content| parse(content).is_some_and(|s| wanted(&s)));
        parse(&content).expect("a status")
    }

    fn exited(&mut self) -> (i32, Option<i32>, bool) {
        self.end_monitor();
        match self.status(|status| matches!(status, MonitorStatus::Exited { .. })) {
            MonitorStatus::Exited { exit_code, signal, oom_killed, .. } => (exit_code, signal, oom_killed),
            other => panic!("{other:?}"),
        }
    }

    fn end_monitor(&mut self) {
        let child = self.started.pop().expect("a monitor");
        finish(child);
    }

    fn monitor_pid(&self) -> Pid {
        Pid::from_raw(self.started.last().expect("a monitor").id().cast_signed()).expect("a pid")
    }

    fn lines(&self) -> Vec<(String, String)> {
        let content = fs::read_to_string(self.world.path("json.log")).unwrap_or_default();
        let parse = |line: &str| {
            let value: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("{line:?}"));
            (
                value["stream"].as_str().expect("stream").to_owned(),
                value["log"].as_str().expect("log").to_owned(),
            )
        };
        content.lines().map(parse).collect()
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        for child in &mut self.started {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

struct Client {
    stream: UnixStream,
}

impl Client {
    fn new(stream: UnixStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).expect("timeout");
        stream.set_write_timeout(Some(PATIENCE)).expect("timeout");
        Self { stream }
    }

    fn send(&mut self, kind: FrameKind, content: &[u8]) {
        self.stream.write_all(&kind.header(content.len() as u32)).expect("send");
        self.stream.write_all(content).expect("send");
    }

    fn control(&mut self, value: &Value) {
        self.send(FrameKind::Control, value.to_string().as_bytes());
    }

    /// The next frame; none at the end.
    fn next(&mut self) -> Option<(FrameKind, Vec<u8>)> {
        let mut header = [0; 8];
        match self.stream.read_exact(&mut header) {
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return None,
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return None,
            read => read.expect("a header"),
        }
        let [kind, _, _, _, a, b, c, d] = header;
        let mut content = vec![0; u32::from_be_bytes([a, b, c, d]) as usize];
        self.stream.read_exact(&mut content).expect("content");
        Some((FrameKind::from_byte(kind).expect("a kind"), content))
    }

    /// Reads until the outputs hold a text.
    fn until(&mut self, wanted: &str) -> String {
        let mut said = String::new();
        while !said.contains(wanted) {
            let (kind, content) = self.next().unwrap_or_else(|| panic!("ended after {said:?}"));
            assert_ne!(kind, FrameKind::Control, "{} after {said:?}", text(&content));
            said.push_str(&text(&content));
        }
        said
    }

    /// Reads everything: stdout, stderr, and the exit code of the last frame.
    fn all(&mut self) -> (String, String, i64) {
        let (mut out, mut err, mut code) = (String::new(), String::new(), None);
        while let Some((kind, content)) = self.next() {
            match kind {
                FrameKind::Stdout => out.push_str(&text(&content)),
                FrameKind::Stderr => err.push_str(&text(&content)),
                _ => {
                    let value: Value = serde_json::from_slice(&content).expect("json");
                    code = value["exited"]["code"].as_i64();
                }
            }
        }
        (out, err, code.expect("the last frame tells the exit code"))
    }
}

#[test]
fn output_goes_to_the_log_and_the_client_and_the_exit_code_to_the_status() {
    let Some(mut engine) = Engine::new("m-basic", "echo out; echo err >&2; printf partial; exit 3") else {
        return;
    };
    let mut client = engine.started(true).expect("a client");
    assert_eq!(client.all(), ("out\npartial".to_owned(), "err\n".to_owned(), 3));
    assert_eq!(engine.exited(), (3, None, false));
    let mut lines = engine.lines();
    lines.sort();
    let expected = [("stderr", "err\n"), ("stdout", "out\n"), ("stdout", "partial")];
    assert_eq!(lines, expected.map(|(stream, line)| (stream.to_owned(), line.to_owned())));
    for name in ["attach.sock", "monitor.pid"] {
        assert!(!engine.file(name).exists(), "{name}");
    }
    assert!(engine.world.runtime.list().expect("list").is_empty());
}

#[test]
fn stdin_flows_in_until_its_end_frame() {
    let Some(mut engine) = Engine::new("m-stdin", "cat; echo done") else { return };
    engine.spec.stdin_open = true;
    let mut client = engine.started(true).expect("a client");
    client.send(FrameKind::Stdin, b"hello\n");
    client.until("hello\n");
    // more than pipes and queues hold, while output flows back
    let big = vec![b'x'; 300_000];
    let mut writer = Client::new(client.stream.try_clone().expect("clone"));
    let sender = std::thread::spawn(move || {
        for piece in big.chunks(10_000) {
            writer.send(FrameKind::Stdin, piece);
        }
        writer.send(FrameKind::Stdin, b"");
    });
    let (out, _, code) = client.all();
    sender.join().expect("sender");
    assert_eq!((out.len(), out.ends_with("xdone\n"), code), (300_005, true, 0));
    engine.exited();
}

#[test]
fn without_stdin_the_process_reads_nothing() {
    let Some(mut engine) = Engine::new("m-null", "cat; echo done") else { return };
    let mut client = engine.started(true).expect("a client");
    assert_eq!(client.all().0, "done\n");
    engine.exited();
}

#[test]
fn a_terminal_is_resized_and_typed_into() {
    let Some(mut engine) = Engine::new("m-tty", "stty size; read a; stty size; echo typed $a") else {
        return;
    };
    let mut config =
        engine.world.config("trap 'stty size' WINCH; echo ready; while :; do read a && echo typed $a; done");
    config["process"]["terminal"] = json!(true);
    engine.world.write(&config);
    engine.spec.tty = true;
    engine.spec.stdin_open = true;
    let mut client = engine.started(true).expect("a client");
    client.until("ready");
    client.control(&json!({"resize": [111, 44]}));
    client.until("44 111");
    client.send(FrameKind::Stdin, b"word\n");
    client.until("typed word");
    client.control(&json!({"signal": 9}));
    assert_eq!(client.all().2, 137);
    assert_eq!(engine.exited(), (137, Some(9), false));
}

#[test]
fn clients_come_and_go_and_signals_arrive() {
    let Some(mut engine) = Engine::new(
        "m-clients",
        "trap 'echo got; exit 4' USR1; echo ready; while :; do sleep 1 & wait; done",
    ) else {
        return;
    };
    engine.started(false);
    // a first process passes over a signal for which it has no trap yet
    support::eventually(&engine.world.path("json.log"), |log| log.contains("ready"));
    drop(engine.attach());
    let (mut one, mut two) = (engine.attach(), engine.attach());
    // a client that breaks the protocol is dropped, others are not
    let mut rude = engine.attach();
    rude.stream.write_all(&[7; 64]).expect("write");
    assert!(rude.next().is_none());
    one.control(&json!({"signal": 10}));
    assert_eq!(one.all(), ("got\n".to_owned(), String::new(), 4));
    assert_eq!(two.all().2, 4);
    engine.exited();
}

#[test]
fn the_lock_is_held_for_as_long_as_the_monitor_lives() {
    let Some(mut engine) = Engine::new("m-lock", "while :; do sleep 100; done") else { return };
    engine.started(false);
    let lock = File::open(engine.file("lock")).expect("lock");
    assert!(flock(&lock, FlockOperation::NonBlockingLockShared).is_err());
    let (second, _) = engine.start(false);
    assert!(matches!(&second, Report::Error { kind, .. } if kind == "locked"), "{second:?}");
    engine.end_monitor();
    engine.status(|status| matches!(status, MonitorStatus::Running { .. }));
    let pid = fs::read_to_string(engine.file("monitor.pid")).expect("monitor.pid");
    assert_eq!(pid, engine.monitor_pid().to_string());
    kill_process(engine.monitor_pid(), rustix::process::Signal::TERM).expect("kill");
    // a shell that is process 1 passes SIGTERM over: it takes the patience and SIGKILL
    engine.world.runtime.kill(&World::id("m1"), Signal::KILL).expect("kill");
    assert_eq!(engine.exited().0, 137);
    flock(&lock, FlockOperation::NonBlockingLockShared).expect("free");
}

#[test]
fn a_failed_start_is_reported_and_leaves_nothing() {
    let Some(mut engine) = Engine::new("m-fail", "") else { return };
    fs::write(engine.world.rootfs().join("bin/plain"), "x").expect("a file");
    for (program, wanted, code) in [("/none", "not-found", 127), ("/bin/plain", "not-executable", 126)] {
        let mut config = engine.world.config("");
        config["process"]["args"] = json!([program]);
        engine.world.write(&config);
        let (report, _) = engine.start(false);
        let Report::Error { kind, exit_code, message } = report else { panic!("{report:?}") };
        assert_eq!((kind.as_str(), exit_code), (wanted, code), "{message}");
        assert!(message.contains(program), "{message}");
        engine.end_monitor();
        for name in ["status.json", "attach.sock", "monitor.pid"] {
            assert!(!engine.file(name).exists(), "{name}");
        }
        assert!(engine.world.runtime.list().expect("list").is_empty());
    }
}

#[test]
fn a_killed_monitor_takes_the_container_along_and_the_next_one_clears_up() {
    let Some(mut engine) = Engine::new("m-kill9", "echo up; while :; do sleep 100; done") else { return };
    let (report, _) = engine.start(false);
    let Report::Started(pid) = report else { panic!("{report:?}") };
    eventually(&engine.world.path("json.log"), |content| content.contains("up"));
    let pidfd =
        rustix::process::pidfd_open(Pid::from_raw(pid).expect("a pid"), rustix::process::PidfdFlags::empty());
    let pidfd = pidfd.expect("the process lives");
    kill_process(engine.monitor_pid(), rustix::process::Signal::KILL).expect("kill");
    engine.end_monitor();
    assert!(support::readable(&pidfd), "the container outlives its monitor");
    engine.started(false);
    // the second one has said it too by the time it is killed
    eventually(&engine.world.path("json.log"), |content| content.matches("up").count() == 2);
    kill_process(engine.monitor_pid(), rustix::process::Signal::TERM).expect("kill");
    engine.world.runtime.kill(&World::id("m1"), Signal::KILL).expect("kill");
    engine.exited();
    assert_eq!(engine.lines().len(), 2, "no line is lost");
}

#[test]
fn sigterm_stops_with_the_stop_signal_and_kills_after_the_patience() {
    let Some(mut engine) =
        Engine::new("m-stop", "trap 'echo int; exit 6' INT; echo up; while :; do sleep 1 & wait; done")
    else {
        return;
    };
    engine.spec.stop_signal = "SIGINT".to_owned();
    engine.spec.restart = Restart::Always;
    engine.started(false);
    eventually(&engine.world.path("json.log"), |content| content.contains("up"));
    kill_process(engine.monitor_pid(), rustix::process::Signal::TERM).expect("kill");
    assert_eq!(engine.exited().0, 6, "and no restart");

    engine.world.write(&engine.world.config("trap '' TERM; echo deaf; while :; do sleep 100; done"));
    engine.spec.stop_signal = "TERM".to_owned();
    engine.spec.stop_timeout_ms = 50;
    engine.started(false);
    eventually(&engine.world.path("json.log"), |content| content.contains("deaf"));
    kill_process(engine.monitor_pid(), rustix::process::Signal::TERM).expect("kill");
    assert_eq!(engine.exited(), (137, Some(9), false));
}

#[test]
fn failures_restart_with_growing_pauses_until_the_bound() {
    let Some(mut engine) = Engine::new("m-restart", "echo try; exit 5") else { return };
    engine.spec.restart = Restart::OnFailure { max: Some(2) };
    engine.spec.events = Some(engine.world.path("events"));
    engine.spec.event_attributes.insert("name".to_owned(), "tried".to_owned());
    let before = Instant::now();
    engine.started(false);
    assert_eq!(engine.exited().0, 5);
    assert!(before.elapsed() >= Duration::from_millis(300), "100 ms, then 200 ms");
    assert_eq!(engine.lines().len(), 3);
    let status = engine.status(|_| true);
    assert!(matches!(status, MonitorStatus::Exited { restart_count: 2, .. }), "{status:?}");
    let events = fs::read_to_string(engine.world.path("events")).expect("events");
    let events: Vec<Value> = events.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    let actions: Vec<_> = events.iter().filter_map(|event| event["action"].as_str()).collect();
    assert_eq!(actions, ["die", "restart", "die", "restart", "die"]);
    assert_eq!(events[0]["attributes"], json!({"name": "tried", "exitCode": "5"}));
}

#[test]
fn a_requested_stop_rules_a_restart_out() {
    let Some(mut engine) = Engine::new("m-norestart", "echo up; while :; do sleep 100; done") else { return };
    engine.spec.restart = Restart::Always;
    engine.started(false);
    let id = World::id("m1");
    engine.world.runtime.kill(&id, Signal::KILL).expect("kill");
    engine.status(|status| matches!(status, MonitorStatus::Running { restart_count: 1, .. }));
    fs::write(engine.file("stop-requested"), "").expect("a file");
    engine.world.runtime.kill(&id, Signal::KILL).expect("kill");
    assert_eq!(engine.exited().0, 137);
}

#[test]
fn a_kill_for_lack_of_memory_is_told() {
    let Some(mut engine) = Engine::new("m-oom", "") else { return };
    let mut config = engine.world.config("tail -n 1 /dev/zero; exit 0");
    config["linux"]["resources"]["memory"] = json!({"limit": 8 << 20});
    engine.world.write(&config);
    engine.started(false);
    let (_, _, oom) = engine.exited();
    assert!(oom);
}

#[test]
fn the_exit_command_runs_when_nobody_is_attached() {
    let Some(mut engine) = Engine::new("m-exitcmd", "read x") else { return };
    let mark = engine.world.path("mark");
    let lock = engine.file("lock");
    let script = format!("flock -n {} true && echo free > {}", lock.display(), mark.display());
    engine.spec.exit_command = Some(vec!["/bin/sh".to_owned(), "-c".to_owned(), script]);
    engine.started(false);
    engine.exited();
    eventually(&mark, |content| content == "free\n");
    fs::remove_file(&mark).expect("mark");
    let mut client = engine.started(true).expect("a client");
    client.all();
    engine.exited();
    assert!(!mark.exists(), "an attached client does it itself");
}

#[test]
fn a_small_process_stands_beside_a_container() {
    let Some(mut engine) = Engine::new("m-small", "yes | head -n 200000; while :; do sleep 100; done") else {
        return;
    };
    engine.spec.log =
        Some(LogSpec { path: engine.world.path("json.log"), max_size: Some(1 << 20), max_files: Some(2) });
    engine.started(false);
    let path = engine.world.path("json.log.1");
    let end = Instant::now() + PATIENCE;
    while !path.exists() {
        assert!(Instant::now() < end, "no rotation");
        std::thread::sleep(Duration::from_millis(5));
    }
    let rollup = fs::read_to_string(format!("/proc/{}/smaps_rollup", engine.monitor_pid())).expect("smaps");
    let kib = |key: &str| -> u64 {
        let sum = rollup.lines().filter_map(|line| {
            line.strip_prefix(key)?.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()
        });
        sum.sum()
    };
    // pages of the program itself are clean, and shared by the monitors of all containers
    let private = kib("Private_Dirty:");
    eprintln!("monitor: {} KiB resident, {private} KiB of its own", kib("Rss:"));
    // half of it are relocations of an unoptimized program; the installed one has 0.5 MiB
    assert!(private < 2048, "{private} KiB of its own");
    engine.world.runtime.kill(&World::id("m1"), Signal::KILL).expect("kill");
    engine.exited();
}

#[test]
fn networks_are_attached_named_published_and_left() {
    let Some(mut engine) = Engine::new("m-net", "") else { return };
    // a host of its own for bridges and rules
    let alone = rustix::thread::UnshareFlags::NEWNET | rustix::thread::UnshareFlags::NEWNS;
    // SAFETY-free: only this test's process, which has no other thread that minds
    if support::unshare(alone).is_err() {
        eprintln!("skipped: no right to make a network namespace");
        return;
    }
    support::own_sysfs();
    let network: container_net::NetworkConfig = match serde_json::from_value(json!({
        "id": "dnt-rt-net", "name": "front", "driver": "bridge", "bridge": "dntrt0", "internal": false,
        "subnets": [{"subnet": "10.231.7.0/24", "gateway": "10.231.7.1"}],
    })) {
        Ok(network) => network,
        Err(error) => panic!("network: {error}"),
    };
    let mut endpoint = container_net::Endpoint::new("m1", "web").expect("an endpoint");
    endpoint.ports =
        vec![serde_json::from_value(json!({"host_port": 0, "container_port": 80})).expect("a port")];
    let state_dir = engine.world.path("net");
    engine.spec.networks =
        vec![container_net::Attachment { network, endpoint, state_dir: state_dir.clone() }];
    engine.spec.resolv = Some(container_runtime::monitor::Resolv::default());
    let script = "ip addr show eth0 | grep -o '10.231.7.[0-9]*/24'; nslookup -type=a web 127.0.0.11 | tail -n 4; \
                  while :; do echo served | nc -l -p 80; done";
    engine.world.write(&engine.world.config(script));
    let (report, client) = engine.start(true);
    assert!(matches!(report, Report::Started(_)), "{report:?}");
    let mut client = client.expect("a client");
    let MonitorStatus::Running { networks, .. } =
        engine.status(|s| matches!(s, MonitorStatus::Running { .. }))
    else {
        panic!("not running")
    };
    let address = networks[0].addresses[0].to_string();
    let said = client.until("/24");
    assert!(said.contains(&address), "{said} and {address}");
    let said = client.until("Address");
    let said = if said.contains(&address) { said } else { said + &client.until(&address) };
    assert!(said.contains("web"), "{said}");
    let port = networks[0].ports[0].host_port;
    let end = Instant::now() + PATIENCE;
    let mut stream = loop {
        match TcpStream::connect(("10.231.7.1", port)) {
            Ok(stream) => break stream,
            Err(error) => assert!(Instant::now() < end, "port {port}: {error}"),
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    stream.set_read_timeout(Some(PATIENCE)).expect("timeout");
    let mut answer = String::new();
    stream.shutdown(Shutdown::Write).expect("shutdown");
    stream.read_to_string(&mut answer).expect("an answer");
    assert_eq!(answer, "served\n");
    // a second network comes while the process runs, and the first one goes
    let mut second = engine.spec.networks[0].clone();
    second.network = serde_json::from_value(json!({
        "id": "dnt-rt-net2", "name": "back", "driver": "bridge", "bridge": "dntrt1", "internal": false,
        "subnets": [{"subnet": "10.231.8.0/24", "gateway": "10.231.8.1"}],
    }))
    .expect("a network");
    second.endpoint.interface = container_net::InterfaceName::new("eth1").expect("a name");
    second.endpoint.ports.clear();
    second.state_dir = engine.world.path("net2");
    engine.spec.networks = vec![second];
    fs::write(engine.file("monitor.json"), serde_json::to_vec(&engine.spec).expect("json"))
        .expect("monitor.json");
    let mut order = engine.attach();
    order.control(&json!("reload"));
    let answer = loop {
        let (kind, content) = order.next().expect("an answer");
        if kind == FrameKind::Control {
            break text(&content);
        }
    };
    assert_eq!(answer, r#"{"reloaded":{"error":null}}"#);
    let MonitorStatus::Running { networks, .. } = engine.status(|_| true) else { panic!("not running") };
    assert_eq!((networks.len(), networks[0].id.as_str()), (1, "dnt-rt-net2"));
    drop(order);
    client.control(&json!({"signal": 9}));
    assert_eq!(client.all().2, 137);
    engine.exited();
    let links: Vec<_> = fs::read_dir("/sys/class/net").expect("links").filter_map(Result::ok).collect();
    let veths: Vec<_> =
        links.iter().filter(|link| link.file_name().to_string_lossy().starts_with("dv")).collect();
    assert!(veths.is_empty(), "{veths:?}");
}
