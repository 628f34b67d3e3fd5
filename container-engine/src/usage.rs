//! What a container uses.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, SystemTime};

use container_cgroup::Stats;

use crate::containers::{Phase, container_id};
use crate::top::TICKS;
use crate::{Engine, Error};

/// What a container has used up to a moment. Two of them, a while apart, give rates.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Usage {
    /// The moment.
    pub read: SystemTime,
    /// Processors, memory, processes and block devices, as its control group counts them.
    pub stats: Stats,
    /// The host's processor time, all processors together.
    pub host_cpu: Duration,
    /// The host's processors.
    pub processors: u64,
    /// The host's memory, bytes: the limit of a container that has none.
    pub host_memory: u64,
    /// What came and went by each network interface of the container, but for `lo`.
    pub networks: BTreeMap<String, Traffic>,
}

/// What an interface has carried.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Bytes received.
    pub received: u64,
    /// Packets received.
    pub received_packets: u64,
    /// Received packets that were in error or dropped.
    pub received_lost: u64,
    /// Bytes sent.
    pub sent: u64,
    /// Packets sent.
    pub sent_packets: u64,
    /// Packets to send that were in error or dropped.
    pub sent_lost: u64,
}

impl Usage {
    /// Share of the host's processors used since an earlier reading, in percent; 100 is one processor.
    pub fn cpu_percent(&self, earlier: &Self) -> f64 {
        let used = |usage: &Self| usage.stats.cpu.map_or(0.0, |cpu| cpu.usage.as_secs_f64());
        let host = self.host_cpu.as_secs_f64() - earlier.host_cpu.as_secs_f64();
        if host <= 0.0 {
            return 0.0;
        }
        #[allow(clippy::cast_precision_loss, reason = "a count of processors")]
        let processors = self.processors as f64;
        ((used(self) - used(earlier)) / host * processors * 100.0).max(0.0)
    }

    /// The limit of its memory, bytes: its own, or the host's.
    pub fn memory_limit(&self) -> u64 {
        let own = self.stats.memory.as_ref().and_then(|memory| memory.limit);
        own.map_or(self.host_memory, |limit| limit.0.min(self.host_memory))
    }
}

impl Engine {
    /// What a container that runs has used up to now.
    pub async fn usage(&self, text: &str) -> Result<Usage, Error> {
        let row = self.find_row(text)?;
        let Phase::Running { pid, .. } = self.phase(&row)? else {
            return Err(Error::ContainerNotRunning(row.name));
        };
        let stats = self.runtime.stats(&container_id(&row.id)?)?;
        let read = |path: &str| fs::read_to_string(path).map_err(Error::io("read", path));
        let (host_cpu, processors) = host_processors(&read("/proc/stat")?);
        Ok(Usage {
            read: SystemTime::now(),
            stats,
            host_cpu,
            processors,
            host_memory: host_memory()?,
            // it may have ended meanwhile
            networks: fs::read_to_string(format!("/proc/{pid}/net/dev"))
                .map_or_else(|_| BTreeMap::new(), |text| traffic(&text)),
        })
    }
}

/// Memory of the machine, bytes.
pub(crate) fn host_memory() -> Result<u64, Error> {
    let path = "/proc/meminfo";
    let text = fs::read_to_string(path).map_err(Error::io("read", path))?;
    let total = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let total = total.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    Ok(total.unwrap_or(0) * 1024)
}

fn host_processors(stat: &str) -> (Duration, u64) {
    let mut lines = stat.lines();
    // user to steal; guests are counted in user already (proc_stat(5))
    let sum: u64 = lines.next().map_or(0, |line| {
        line.split_whitespace().skip(1).take(8).filter_map(|field| field.parse::<u64>().ok()).sum()
    });
    let processors = lines.take_while(|line| line.starts_with("cpu")).count();
    (Duration::from_millis(sum.saturating_mul(1000) / TICKS), processors as u64)
}

fn traffic(text: &str) -> BTreeMap<String, Traffic> {
    let one = |line: &str| {
        let (name, counts) = line.split_once(':')?;
        let counts: Vec<u64> = counts.split_whitespace().filter_map(|count| count.parse().ok()).collect();
        let [received, received_packets, wrong, dropped, _, _, _, _, sent, sent_packets, lost, unsent, ..] =
            counts[..]
        else {
            return None;
        };
        let traffic = Traffic {
            received,
            received_packets,
            received_lost: wrong.saturating_add(dropped),
            sent,
            sent_packets,
            sent_lost: lost.saturating_add(unsent),
        };
        Some((name.trim().to_owned(), traffic)).filter(|(name, _)| name != "lo")
    };
    text.lines().filter_map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_tables_are_read() {
        let (time, processors) = host_processors("cpu  100 0 100 0 0 0 0 0 50 0\ncpu0 1\ncpu1 1\nintr 5\n");
        assert_eq!((time, processors), (Duration::from_secs(2), 2));
        let table = "Inter-|\n face |\n    lo: 1 1 0 0 0 0 0 0 1 1 0 0 0 0 0 0\n  eth0: 10 2 1 1 0 0 0 0 20 3 0 4 0 0 0 0\n";
        let found = traffic(table);
        assert_eq!(found.len(), 1);
        let eth0 = found["eth0"];
        assert_eq!((eth0.received, eth0.received_lost, eth0.sent, eth0.sent_lost), (10, 2, 20, 4));
    }
}
