//! What runs in a container, seen from the host.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::time::{Duration, SystemTime};

use crate::containers::container_id;
use crate::{Engine, Error};

/// Of a second, in which `/proc` counts time: `USER_HZ`, the same on every machine we run on (proc_pid_stat(5)).
pub(crate) const TICKS: u64 = 100;

/// A process in a container.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Process {
    /// Its number on the host.
    pub pid: i32,
    /// Its parent's.
    pub parent: i32,
    /// Whose it is, a number of the host.
    pub uid: u32,
    /// Processor time it has used.
    pub cpu: Duration,
    /// When it was started.
    pub started: SystemTime,
    /// Its terminal, `pts/0`.
    pub terminal: Option<String>,
    /// Its arguments; the kernel's name for it in brackets if it has none.
    pub command: Vec<String>,
}

impl Engine {
    /// The processes of a container that runs, by their numbers. One that ends meanwhile is left out.
    pub async fn processes(&self, text: &str) -> Result<Vec<Process>, Error> {
        let row = self.find_row(text)?;
        if !self.is_running(&row.id)? {
            return Err(Error::ContainerNotRunning(row.name));
        }
        let mut pids = self.runtime.processes(&container_id(&row.id)?)?;
        pids.sort_unstable();
        Ok(pids.into_iter().filter_map(process).collect())
    }
}

fn process(pid: i32) -> Option<Process> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // the name stands in parentheses and may hold anything
    let (front, rest) = stat.rsplit_once(')')?;
    let name = front.split_once('(')?.1;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let number = |at: usize| fields.get(at).and_then(|field| field.parse::<u64>().ok());
    let time = |count: u64| Duration::from_millis(count.saturating_mul(1000) / TICKS);
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let mut command: Vec<String> =
        bytes.split(|&b| b == 0).map(|word| String::from_utf8_lossy(word).into_owned()).collect();
    if command.last().is_some_and(String::is_empty) {
        command.pop();
    }
    if command.is_empty() {
        command.push(format!("[{name}]"));
    }
    let boot = SystemTime::now().checked_sub(uptime()?)?;
    Some(Process {
        pid,
        parent: fields.get(1)?.parse().ok()?,
        uid: fs::metadata(format!("/proc/{pid}")).ok()?.uid(),
        cpu: time(number(11)?.saturating_add(number(12)?)),
        started: boot.checked_add(time(number(19)?))?,
        // major 136 to 143 are the slaves of pseudoterminals (Documentation/admin-guide/devices.txt)
        terminal: number(4).and_then(|device| {
            let (major, minor) = ((device >> 8) & 0xfff, (device & 0xff) | ((device >> 12) & 0xfff00));
            (136..144).contains(&major).then(|| format!("pts/{}", (major - 136) * 256 + minor))
        }),
        command,
    })
}

fn uptime() -> Option<Duration> {
    let text = fs::read_to_string("/proc/uptime").ok()?;
    Some(Duration::from_secs_f64(text.split_whitespace().next()?.parse().ok()?))
}
