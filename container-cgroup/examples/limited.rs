//! Limits a build tool: runs a command in a group of its own with bounds on memory, processors and processes, and says what it took.
//!
//! `cargo run -p container-cgroup --example limited -- 512m 1.5 cargo build` (needs root)

use std::process::{Command, ExitCode};
use std::time::Duration;

use container_cgroup::{Ceiling, Cpu, Group, GroupPath, Hierarchy, Limits};

const PATIENCE: Duration = Duration::from_secs(5);

fn run(memory: &str, cpus: &str, command: &[String]) -> Result<u8, Box<dyn std::error::Error>> {
    let mut limits =
        Limits { cpu: Cpu::of(cpus.parse()?), pids: Some(Ceiling::At(1000)), ..Limits::default() };
    limits.memory.limit = Some(Ceiling::At(memory.parse()?));
    let path: GroupPath = format!("/limited-{}", std::process::id()).parse()?;
    let group = Group::create(&Hierarchy::of_host()?, &path, &limits)?;
    // the shell enters the group, then becomes the command: so nothing of it is ever outside
    let (program, arguments) = command.split_first().ok_or("no command")?;
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", "read go && exec \"$0\" \"$@\" </dev/null", program]).args(arguments);
    shell.stdin(std::process::Stdio::piped());
    let result = shell.spawn().map_err(Into::into).and_then(|mut child| {
        group.add(child.id().cast_signed())?;
        if let Some(mut stdin) = child.stdin.take() {
            std::io::Write::write_all(&mut stdin, b"go\n")?;
        }
        let status = child.wait()?;
        let stats = group.stats()?;
        if let Some(cpu) = stats.cpu {
            eprintln!("processor {:?}, held back for {:?}", cpu.usage, cpu.throttled);
        }
        if let Some(memory) = stats.memory {
            eprintln!("memory at most {}", memory.peak.unwrap_or(memory.usage));
        }
        eprintln!("killed for want of memory: {}", group.oom_kills()?.unwrap_or(0));
        Ok(status.code().map_or(137, |code| u8::try_from(code).unwrap_or(1)))
    });
    // what it left running ends with it
    group.kill(PATIENCE)?;
    group.remove(PATIENCE)?;
    result
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [memory, cpus, command @ ..] = words.as_slice() else {
        eprintln!("usage: limited MEMORY CPUS COMMAND [ARGUMENTS]");
        return ExitCode::from(2);
    };
    match run(memory, cpus, command) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(125)
        }
    }
}
