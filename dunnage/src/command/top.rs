use std::time::{Duration, SystemTime};

use clap::Args;
use container_engine::{Process, rfc3339};

use crate::context::{Failure, Roots};
use crate::table::Table;

#[derive(Debug, Args)]
pub(crate) struct Top {
    /// Container
    container: String,
}

impl Top {
    pub(crate) async fn run(self, roots: &Roots) -> Result<u8, Failure> {
        let processes = roots.engine().await?.processes(&self.container).await?;
        let mut table = Table::new(&TITLES);
        for process in &processes {
            table.row(columns(process));
        }
        table.print()?;
        Ok(0)
    }
}

pub(crate) const TITLES: [&str; 8] = ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"];

/// As `ps -ef` has them, with the numbers of the host.
pub(crate) fn columns(process: &Process) -> [String; 8] {
    let lived =
        SystemTime::now().duration_since(process.started).unwrap_or_default().max(Duration::from_secs(1));
    let share = process.cpu.as_secs_f64() * 100.0 / lived.as_secs_f64();
    let started = rfc3339(process.started);
    // the time of day, or the day if it was another
    let started =
        if lived < Duration::from_secs(24 * 3600) { started.get(11..16) } else { started.get(5..10) };
    let seconds = process.cpu.as_secs();
    [
        process.uid.to_string(),
        process.pid.to_string(),
        process.parent.to_string(),
        format!("{share:.0}"),
        started.unwrap_or_default().to_owned(),
        process.terminal.clone().unwrap_or_else(|| "?".to_owned()),
        format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60),
        process.command.join(" "),
    ]
}
