//! Follows a group until it is empty: memory in use, the pressure on it, and each kill for want of memory, without polling for the latter two.
//!
//! `cargo run -p container-cgroup --example pressure -- /dunnage/ID [SECONDS]` (needs root)

use std::process::ExitCode;

use container_cgroup::{Error, Group, GroupPath, Hierarchy};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

fn follow(path: &str, interval: i64) -> Result<(), Error> {
    let path: GroupPath = path.parse()?;
    let group = Group::open(&Hierarchy::of_host()?, &path)?;
    let (oom, populated) = (group.watch_oom()?, group.watch_populated()?);
    let mut kills = oom.kills()?.unwrap_or(0);
    loop {
        let stats = group.stats()?;
        if let Some(memory) = &stats.memory {
            print!("memory {} (working set {})", memory.usage, memory.working_set());
        }
        if let Some(pressure) = stats.pressure.memory {
            print!(
                ", stalled some {:.1} %, all {:.1} % of ten seconds",
                pressure.some.avg10, pressure.full.avg10
            );
        }
        println!();
        if !populated.populated()? {
            println!("empty");
            return Ok(());
        }
        let timeout = Timespec { tv_sec: interval, tv_nsec: 0 };
        let mut waits = [
            PollFd::new(&oom, PollFlags::IN | PollFlags::PRI),
            PollFd::new(&populated, PollFlags::IN | PollFlags::PRI),
        ];
        // a time-out and an interruption mean the same: look again
        let _ = poll(&mut waits, Some(&timeout));
        let now = oom.kills()?.unwrap_or(kills);
        if now > kills {
            println!("out of memory: {} killed", now - kills);
            kills = now;
        }
    }
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let Some(path) = words.first() else {
        eprintln!("usage: pressure GROUP [SECONDS]");
        return ExitCode::from(2);
    };
    let interval = words.get(1).and_then(|word| word.parse().ok()).unwrap_or(1);
    match follow(path, interval) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
