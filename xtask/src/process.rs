//! Programs that are run with a limit of time.
//!
//! Output goes to a file, never to a pipe: whoever a program leaves behind can hold the file open
//! for ever without holding us up. Each program has a process group of its own, which is ended as a
//! whole when the time is over.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitOptions, WaitStatus};

use crate::Failure;

const TICK: Duration = Duration::from_millis(10);
/// How long a program may take to end after it was asked to.
const GRACE: Duration = Duration::from_secs(15);

/// Whether what a program says is shown while it says it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Show {
    All,
    Nothing,
}

/// How a program ended.
pub(crate) struct Ended {
    pub(crate) text: String,
    pub(crate) code: Option<i32>,
    /// It was ended because its time was over.
    pub(crate) late: bool,
    pub(crate) took: Duration,
}

impl Ended {
    pub(crate) fn success(&self) -> bool {
        self.code == Some(0) && !self.late
    }

    /// Why it did not succeed, in a few words.
    pub(crate) fn reason(&self) -> String {
        match self.code {
            _ if self.late => format!("ended at its limit, after {} s", self.took.as_secs()),
            Some(code) => format!("exit code {code}"),
            None => "ended by a signal".to_owned(),
        }
    }

    /// The last lines it said.
    pub(crate) fn last(&self, lines: usize) -> String {
        let all: Vec<&str> = self.text.lines().collect();
        all[all.len().saturating_sub(lines)..].join("\n")
    }
}

/// Runs a program to its end or to the limit; stdout and stderr go to `log`, which is also read.
#[expect(clippy::needless_pass_by_value, reason = "a command is made to be run once")]
pub(crate) fn run(command: Command, limit: Duration, log: &Path, show: Show) -> Result<Ended, Failure> {
    if let Some(parent) = log.parent() {
        fs::create_dir_all(parent)?;
    }
    let file = File::create(log)?;
    let program = command.get_program().to_string_lossy();
    let mut tied = tied(&command);
    tied.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file).process_group(0);
    let begin = Instant::now();
    let child = tied.spawn().map_err(|error| format!("{program}: {error}"))?;
    let pid = Pid::from_raw(child.id().cast_signed()).ok_or("a process without an id")?;
    let mut reader = File::open(log)?;
    let mut text = Vec::new();
    let mut late = false;
    let status = loop {
        copy(&mut reader, &mut text, show)?;
        if let Some(status) = reap(pid) {
            break Some(status);
        }
        if begin.elapsed() > limit {
            late = true;
            break end(pid);
        }
        sleep(TICK);
    };
    copy(&mut reader, &mut text, show)?;
    Ok(Ended {
        text: String::from_utf8_lossy(&text).into_owned(),
        code: status.and_then(WaitStatus::exit_status),
        late,
        took: begin.elapsed(),
    })
}

/// The same, but asked to end when we end before it: by a person's Ctrl-C, or by whoever runs us.
fn tied(command: &Command) -> Command {
    let mut tied = Command::new("setpriv");
    tied.args(["--pdeathsig", "TERM"]).arg(command.get_program()).args(command.get_args());
    for (key, value) in command.get_envs() {
        match value {
            Some(value) => tied.env(key, value),
            None => tied.env_remove(key),
        };
    }
    if let Some(folder) = command.get_current_dir() {
        tied.current_dir(folder);
    }
    tied
}

fn copy(reader: &mut File, text: &mut Vec<u8>, show: Show) -> Result<(), Failure> {
    let from = text.len();
    reader.read_to_end(text)?;
    if show == Show::All && text.len() > from {
        let mut out = std::io::stdout().lock();
        out.write_all(&text[from..])?;
        out.flush()?;
    }
    Ok(())
}

/// Reaps whatever has ended, adopted processes too; the status of the one that is waited for.
fn reap(wanted: Pid) -> Option<WaitStatus> {
    while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
        if pid == wanted {
            return Some(status);
        }
    }
    None
}

/// Asks a group to end, then ends it. Nothing is waited for longer than the grace.
fn end(pid: Pid) -> Option<WaitStatus> {
    for signal in [Signal::TERM, Signal::KILL] {
        // a group that is gone already is what is wanted
        let _ = rustix::process::kill_process_group(pid, signal);
        let begin = Instant::now();
        while begin.elapsed() < GRACE {
            if let Some(status) = reap(pid) {
                let _ = rustix::process::kill_process_group(pid, Signal::KILL);
                return Some(status);
            }
            sleep(TICK);
        }
    }
    None
}

/// From here on, orphans of what is run come to this process, so that [`end_strays`] finds them.
pub(crate) fn adopt_orphans() {
    // without it strays go to init, and are only not counted
    let _ = rustix::process::set_child_subreaper(Some(rustix::process::getpid()));
}

/// Ends every process below this one; names those that were there.
pub(crate) fn end_strays() -> Vec<String> {
    let mut names = Vec::new();
    for _ in 0..50 {
        while let Ok(Some(_)) = rustix::process::wait(WaitOptions::NOHANG) {}
        let strays = below(std::process::id());
        if strays.is_empty() {
            break;
        }
        for (pid, name) in strays {
            let known = format!("{name} ({pid})");
            if !names.contains(&known) {
                names.push(known);
            }
            if let Some(pid) = Pid::from_raw(pid.cast_signed()) {
                let _ = rustix::process::kill_process(pid, Signal::KILL);
            }
        }
        sleep(TICK);
    }
    names
}

/// Processes whose line of parents leads to `root`, with their names.
fn below(root: u32) -> Vec<(u32, String)> {
    let mut all = Vec::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().filter_map(Result::ok) {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else { continue };
        // pid (name, which may hold anything) state parent ...
        let Some((head, tail)) = stat.rsplit_once(')') else { continue };
        let name = head.split_once('(').map_or("", |(_, name)| name).to_owned();
        let mut words = tail.split_whitespace();
        let zombie = words.next() == Some("Z");
        let Some(parent) = words.next().and_then(|word| word.parse::<u32>().ok()) else { continue };
        if !zombie {
            all.push((pid, parent, name));
        }
    }
    let mut found = vec![root];
    let mut strays = Vec::new();
    while let Some(parent) = found.pop() {
        for (pid, _, name) in all.iter().filter(|(_, of, _)| *of == parent) {
            found.push(*pid);
            strays.push((*pid, name.clone()));
        }
    }
    strays
}
