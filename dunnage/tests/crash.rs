//! Whoever is killed at whatever moment: the next command finds a state that it can mend, and nothing acknowledged is lost.

mod support;

use std::fs;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use support::{Host, until};

/// Rounds of each of the three tests; together 300.
const ROUNDS: u32 = 100;

#[derive(Clone, Copy, PartialEq)]
enum Victim {
    CommandLine,
    Monitor,
    Both,
}

/// A small generator of numbers, so that a failure can be repeated.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        // xorshift64*, Vigna 2016
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % bound
    }
}

#[test]
fn the_command_line_is_killed_at_random_moments() {
    rounds(Victim::CommandLine, 0x5eed_0001);
}

#[test]
fn the_monitor_is_killed_at_random_moments() {
    rounds(Victim::Monitor, 0x5eed_0002);
}

#[test]
fn both_are_killed_at_random_moments() {
    rounds(Victim::Both, 0x5eed_0003);
}

fn rounds(victim: Victim, seed: u64) {
    let Some(host) = Host::with_image() else { return };
    let mut random = Random(seed);
    host.ok(&["network", "create", "--subnet", "10.214.0.0/24", "net1"]);
    host.ok(&["volume", "create", "kept"]);
    host.ok(&[
        "run",
        "--name",
        "witness",
        "-v",
        "kept:/data",
        "bb",
        "sh",
        "-c",
        "echo acknowledged; echo here > /data/file",
    ]);
    let mut mended = 0;
    for round in 0..ROUNDS {
        let name = format!("c{round}");
        let said = round_of(&host, victim, &name, &mut random);
        let repaired = host.ok(&["system", "check", "--repair"]);
        mended += repaired.lines().filter(|line| line.starts_with("mended")).count();
        assert_eq!(host.ok(&["system", "check"]).trim(), "clean", "round {round}, after {repaired}");
        // what was acknowledged to the attached client is in the log, unless the container is gone
        let logs = host.output(&["logs", &name]);
        if logs.status.success() && said.contains("spoken") {
            let logs = String::from_utf8_lossy(&logs.stdout);
            assert!(
                logs.contains("spoken"),
                "round {round}: a line that was shown is not in the log: {logs:?}"
            );
        }
        if round % 10 == 9 {
            assert!(
                host.ok(&["logs", "witness"]).contains("acknowledged"),
                "round {round}: a log line is lost"
            );
            let others: Vec<String> = host
                .ok(&["ps", "-a", "--no-trunc", "-q"])
                .lines()
                .map(str::to_owned)
                .filter(|id| !host.ok(&["inspect", id]).contains("\"Name\": \"/witness\""))
                .collect();
            let others: Vec<&str> = others.iter().map(String::as_str).collect();
            if !others.is_empty() {
                host.ok(&[["rm", "-f"].as_slice(), &others].concat());
            }
            assert_eq!(host.ok(&["system", "check"]).trim(), "clean", "round {round}");
            let traces: Vec<String> =
                host.traces().into_iter().filter(|trace| !is_witness(&host, trace)).collect();
            assert_eq!(traces, Vec::<String>::new(), "round {round}");
        }
    }
    assert_eq!(host.ok(&["run", "--rm", "-v", "kept:/data", "bb", "cat", "/data/file"]), "here\n");
    assert!(host.ok(&["images"]).contains("bb"));
    assert!(host.ok(&["volume", "ls", "-q"]).contains("kept"));
    host.leaves_nothing();
    println!("{ROUNDS} rounds, {mended} findings mended");
}

/// The witness has ended, and keeps its record and its files.
fn is_witness(host: &Host, trace: &str) -> bool {
    let id = host.ok(&["ps", "-aq", "--no-trunc", "-f", "name=witness"]);
    trace.contains(id.trim())
}

/// Does one thing, kills in the middle of it, and tells what an attached client was shown.
fn round_of(host: &Host, victim: Victim, name: &str, random: &mut Random) -> String {
    let shown = host.path("shown");
    fs::write(&shown, "").unwrap();
    let network = if random.below(2) == 0 { "net1" } else { "bridge" };
    let run = [
        "run",
        "--name",
        name,
        "--network",
        network,
        "-p",
        "0:80",
        "bb",
        "sh",
        "-c",
        "echo spoken; exec sleep 1000",
    ];
    match random.below(3) {
        0 => {
            let mut command = host.command(&run);
            let command_line = start(command.stdout(fs::File::create(&shown).unwrap()));
            strike(host, victim, command_line, random.below(250));
        }
        what => {
            let mut command = host.command(&run);
            let mut running = start(command.stdout(fs::File::create(&shown).unwrap()));
            until("the container speaks", || {
                fs::read_to_string(&shown).unwrap().contains("spoken").then_some(())
            });
            let second = if what == 1 { vec!["stop", "-t", "0", name] } else { vec!["rm", "-f", name] };
            let command_line = start(host.command(&second).stdout(Stdio::null()));
            strike(host, victim, command_line, random.below(150));
            // the client that was attached ends by itself or is ended
            running.kill().unwrap();
            running.wait().unwrap();
        }
    }
    fs::read_to_string(&shown).unwrap()
}

fn start(command: &mut Command) -> Child {
    command.stderr(Stdio::null()).spawn().unwrap()
}

/// Kills after some milliseconds. A command line that is spared is let run to its end.
fn strike(host: &Host, victim: Victim, mut command_line: Child, milliseconds: u64) {
    thread::sleep(Duration::from_millis(milliseconds));
    if victim != Victim::CommandLine
        && let Some(monitor) = host.a_monitor()
        && is_ours(monitor)
    {
        let _ = Command::new("kill").arg("-9").arg(monitor.to_string()).stderr(Stdio::null()).status();
        // one that is in the middle of a system call dies a moment later
        until("the monitor is dead", || has_ended(monitor).then_some(()));
    }
    if victim != Victim::Monitor {
        let _ = command_line.kill();
        command_line.wait().unwrap();
        return;
    }
    // a `run` whose container was not hit goes on: then the command line is what ends
    let end = std::time::Instant::now() + Duration::from_secs(2);
    while command_line.try_wait().unwrap().is_none() {
        if std::time::Instant::now() > end {
            let _ = command_line.kill();
            command_line.wait().unwrap();
            break;
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// True if the process is gone, or only waits to be reaped.
fn has_ended(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"));
    stat.map_or(true, |stat| stat.contains(") Z"))
}

/// True if the process is a monitor: a number may have been given to somebody else meanwhile.
fn is_ours(pid: i32) -> bool {
    fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.windows(7).any(|word| word == b"monitor"))
}
