use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::time::Duration;

use clap::Args;
use container_engine::{Engine, Error, Usage, short_id};

use crate::context::{Failure, Roots, print};
use crate::human;
use crate::listing::{Format, Listing};

/// From one reading to the next.
const PAUSE: Duration = Duration::from_secs(1);
const COLUMNS: [(&str, &str); 8] = [
    ("ID", "CONTAINER ID"),
    ("Name", "NAME"),
    ("CPUPerc", "CPU %"),
    ("MemUsage", "MEM USAGE / LIMIT"),
    ("MemPerc", "MEM %"),
    ("NetIO", "NET I/O"),
    ("BlockIO", "BLOCK I/O"),
    ("PIDs", "PIDS"),
];

#[derive(Debug, Args)]
pub(crate) struct Stats {
    /// Those that do not run, too
    #[arg(short, long)]
    all: bool,
    /// Once, not on and on
    #[arg(long)]
    no_stream: bool,
    /// Do not shorten ids
    #[arg(long)]
    no_trunc: bool,
    #[command(flatten)]
    format: Format,
    /// Containers; all that run if none is given
    containers: Vec<String>,
}

impl Stats {
    pub(crate) async fn run(self, roots: &Roots) -> Result<u8, Failure> {
        let engine = roots.engine().await?;
        for name in &self.containers {
            engine.container(name).await?;
        }
        // a share of the processors takes two readings
        let mut earlier = self.readings(&engine).await?;
        loop {
            tokio::time::sleep(PAUSE).await;
            let now = self.readings(&engine).await?;
            if !self.no_stream && std::io::stdout().is_terminal() {
                // from the upper left corner, over what was there
                print("\x1b[H\x1b[2J")?;
            }
            self.show(&earlier, &now)?;
            if self.no_stream {
                return Ok(0);
            }
            earlier = now;
        }
    }

    /// Id, name, and what it uses if it runs.
    async fn readings(&self, engine: &Engine) -> Result<BTreeMap<String, (String, Option<Usage>)>, Failure> {
        let mut readings = BTreeMap::new();
        let mut chosen = Vec::new();
        if self.containers.is_empty() {
            chosen = engine.containers().await?;
            chosen.retain(|container| self.all || container.phase.is_running());
        }
        for name in &self.containers {
            match engine.container(name).await {
                Ok(container) => chosen.push(container),
                Err(Error::ContainerMissing(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        for container in chosen {
            let usage = match engine.usage(&container.id).await {
                Ok(usage) => Some(usage),
                // it ends or goes as we look
                Err(_) if self.all || !self.containers.is_empty() => None,
                Err(_) => continue,
            };
            readings.insert(container.id, (container.name, usage));
        }
        Ok(readings)
    }

    fn show(
        &self,
        earlier: &BTreeMap<String, (String, Option<Usage>)>,
        now: &BTreeMap<String, (String, Option<Usage>)>,
    ) -> Result<(), Failure> {
        let mut listing = Listing::new(&COLUMNS);
        for (id, (name, usage)) in now {
            let before = earlier.get(id).and_then(|(_, usage)| usage.as_ref());
            let shown = if self.no_trunc { id.as_str() } else { short_id(id) };
            let [cpu, memory, share, network, block, pids] = match usage {
                Some(usage) => figures(before, usage),
                None => ["--", "-- / --", "--", "--", "--", "--"].map(str::to_owned),
            };
            listing.row([
                ("Container", name.clone()),
                ("ID", shown.to_owned()),
                ("Name", name.clone()),
                ("CPUPerc", cpu),
                ("MemUsage", memory),
                ("MemPerc", share),
                ("NetIO", network),
                ("BlockIO", block),
                ("PIDs", pids),
            ]);
        }
        listing.print(&self.format).map(drop)
    }
}

#[allow(clippy::cast_precision_loss, reason = "two places are shown")]
fn figures(before: Option<&Usage>, usage: &Usage) -> [String; 6] {
    let used = usage.stats.memory.as_ref().map_or(0, |memory| memory.working_set().0);
    let limit = usage.memory_limit();
    let share = if limit == 0 { 0.0 } else { used as f64 * 100.0 / limit as f64 };
    let sum = |of: fn(&container_engine::Traffic) -> u64| usage.networks.values().map(of).sum::<u64>();
    let read: u64 = usage.stats.io.values().map(|io| io.read.0).sum();
    let written: u64 = usage.stats.io.values().map(|io| io.written.0).sum();
    [
        format!("{:.2}%", before.map_or(0.0, |before| usage.cpu_percent(before))),
        format!("{} / {}", human::memory(used), human::memory(limit)),
        format!("{share:.2}%"),
        format!("{} / {}", human::size(sum(|t| t.received)), human::size(sum(|t| t.sent))),
        format!("{} / {}", human::size(read), human::size(written)),
        usage.stats.pids.map_or_else(|| "--".to_owned(), |pids| pids.current.to_string()),
    ]
}
