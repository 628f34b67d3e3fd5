use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use crate::{Bytes, Controller, DeviceNumber, Error, Group, Version, file};

/// What a group uses now and has used. A part is absent if no hierarchy counts it.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct Stats {
    /// Processor time.
    pub cpu: Option<CpuStats>,
    /// Memory.
    pub memory: Option<MemoryStats>,
    /// Processes and threads.
    pub pids: Option<PidsStats>,
    /// Block devices, by device.
    pub io: BTreeMap<DeviceNumber, IoStats>,
    /// Huge pages, by page size.
    pub hugetlb: BTreeMap<String, HugetlbStats>,
    /// Time lost by waiting; kernels with PSI and version 2 only.
    pub pressure: Pressures,
}

/// Processor time used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CpuStats {
    /// In all.
    pub usage: Duration,
    /// In user mode.
    pub user: Duration,
    /// In the kernel.
    pub system: Duration,
    /// Periods of the quota that have passed.
    pub periods: u64,
    /// Periods in which the group was held back.
    pub throttled_periods: u64,
    /// How long it was held back.
    pub throttled: Duration,
}

/// Memory used.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct MemoryStats {
    /// Now, with the page cache.
    pub usage: Bytes,
    /// The most so far, where the kernel keeps it.
    pub peak: Option<Bytes>,
    /// The limit; absent if there is none.
    pub limit: Option<Bytes>,
    /// Swap in use, where it is counted.
    pub swap: Option<Bytes>,
    /// Times the limit was hit.
    pub failures: u64,
    /// Processes killed for lack of memory.
    pub oom_kills: u64,
    /// `memory.stat`, by the kernel's names of the version at hand (`total_*` of version 1 without the prefix).
    pub details: BTreeMap<String, u64>,
}

impl MemoryStats {
    /// Usage without the page cache that can be dropped at once: what `docker stats` shows.
    pub fn working_set(&self) -> Bytes {
        let inactive = self.details.get("inactive_file").copied().unwrap_or(0);
        Bytes(self.usage.0.checked_sub(inactive).unwrap_or(self.usage.0))
    }
}

/// Processes and threads.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PidsStats {
    /// Now.
    pub current: u64,
    /// The limit; absent if there is none.
    pub limit: Option<u64>,
}

/// Transfers of one block device.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct IoStats {
    /// Bytes read.
    pub read: Bytes,
    /// Bytes written.
    pub written: Bytes,
    /// Reads.
    pub reads: u64,
    /// Writes.
    pub writes: u64,
}

/// Huge pages of one size.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct HugetlbStats {
    /// Now.
    pub usage: Bytes,
    /// Times the limit was hit.
    pub failures: u64,
}

/// Pressure stall information (`Documentation/accounting/psi.rst`) of three resources.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
#[non_exhaustive]
pub struct Pressures {
    /// Processor.
    pub cpu: Option<Pressure>,
    /// Memory.
    pub memory: Option<Pressure>,
    /// Block devices.
    pub io: Option<Pressure>,
}

/// Time lost by waiting for one resource.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
#[non_exhaustive]
pub struct Pressure {
    /// Some processes waited.
    pub some: Stall,
    /// All processes waited.
    pub full: Stall,
}

/// One line of a pressure file.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
#[non_exhaustive]
pub struct Stall {
    /// Percent of the last 10 seconds.
    pub avg10: f64,
    /// Percent of the last minute.
    pub avg60: f64,
    /// Percent of the last five minutes.
    pub avg300: f64,
    /// In all.
    pub total: Duration,
}

impl Group {
    /// Reads everything that the hierarchies count. Not atomic over files.
    pub fn stats(&self) -> Result<Stats, Error> {
        Ok(Stats {
            cpu: self.cpu_stats()?,
            memory: self.memory_stats()?,
            pids: self.pids_stats()?,
            io: self.io_stats()?,
            hugetlb: self.hugetlb_stats()?,
            pressure: self.pressures()?,
        })
    }

    /// How many processes the kernel has killed in this group for lack of memory; none if nobody counts.
    pub fn oom_kills(&self) -> Result<Option<u64>, Error> {
        let path = match self.version_2(&Controller::Memory) {
            Some(directory) => directory.join("memory.events"),
            None => match self.version_1(&Controller::Memory) {
                Some(directory) => directory.join("memory.oom_control"),
                None => return Ok(None),
            },
        };
        Ok(file::read_if_there(&path)?.and_then(|text| file::field(&text, "oom_kill")))
    }

    fn cpu_stats(&self) -> Result<Option<CpuStats>, Error> {
        let mut stats = CpuStats::default();
        let v1 = self.version_1(&Controller::Cpuacct);
        if let Some(accounting) = &v1 {
            stats.usage = Duration::from_nanos(number(&accounting.join("cpuacct.usage"))?.unwrap_or(0));
            stats.user = Duration::from_nanos(number(&accounting.join("cpuacct.usage_user"))?.unwrap_or(0));
            stats.system = Duration::from_nanos(number(&accounting.join("cpuacct.usage_sys"))?.unwrap_or(0));
        }
        let unified = self.unified_directory().filter(|_| v1.is_none());
        let directory = unified.or_else(|| self.version_1(&Controller::Cpu));
        let Some(directory) = directory else { return Ok(v1.map(|_| stats)) };
        let Some(text) = file::read_if_there(&directory.join("cpu.stat"))? else {
            return Ok(v1.map(|_| stats));
        };
        let field = |key| file::field(&text, key).unwrap_or(0);
        if v1.is_none() {
            stats.usage = Duration::from_micros(field("usage_usec"));
            stats.user = Duration::from_micros(field("user_usec"));
            stats.system = Duration::from_micros(field("system_usec"));
            stats.throttled = Duration::from_micros(field("throttled_usec"));
        } else {
            stats.throttled = Duration::from_nanos(field("throttled_time"));
        }
        stats.periods = field("nr_periods");
        stats.throttled_periods = field("nr_throttled");
        Ok(Some(stats))
    }

    fn memory_stats(&self) -> Result<Option<MemoryStats>, Error> {
        if let Some(directory) = self.version_2(&Controller::Memory) {
            let at = |name: &str| number(&directory.join(name));
            let Some(usage) = at("memory.current")? else { return Ok(None) };
            let events = file::read_if_there(&directory.join("memory.events"))?.unwrap_or_default();
            let details = file::read(&directory.join("memory.stat"))?;
            return Ok(Some(MemoryStats {
                usage: Bytes(usage),
                peak: at("memory.peak")?.map(Bytes),
                limit: at("memory.max")?.map(Bytes),
                swap: at("memory.swap.current")?.map(Bytes),
                failures: file::field(&events, "max").unwrap_or(0),
                oom_kills: file::field(&events, "oom_kill").unwrap_or(0),
                details: fields(&details, ""),
            }));
        }
        let Some(directory) = self.version_1(&Controller::Memory) else { return Ok(None) };
        let at = |name: &str| number(&directory.join(name));
        let Some(usage) = at("memory.usage_in_bytes")? else { return Ok(None) };
        // the largest page-aligned number stands for no limit
        let limit = at("memory.limit_in_bytes")?.filter(|&limit| limit < i64::MAX as u64 - 0xffff);
        let both = at("memory.memsw.usage_in_bytes")?;
        Ok(Some(MemoryStats {
            usage: Bytes(usage),
            peak: at("memory.max_usage_in_bytes")?.map(Bytes),
            limit: limit.map(Bytes),
            swap: both.map(|both| Bytes(both.saturating_sub(usage))),
            failures: at("memory.failcnt")?.unwrap_or(0),
            oom_kills: self.oom_kills()?.unwrap_or(0),
            details: fields(&file::read(&directory.join("memory.stat"))?, "total_"),
        }))
    }

    fn pids_stats(&self) -> Result<Option<PidsStats>, Error> {
        let Some(mount) = self.hierarchy.holder(&Controller::Pids) else { return Ok(None) };
        let directory = self.directory(mount);
        let Some(current) = number(&directory.join("pids.current"))? else { return Ok(None) };
        Ok(Some(PidsStats { current, limit: number(&directory.join("pids.max"))? }))
    }

    fn io_stats(&self) -> Result<BTreeMap<DeviceNumber, IoStats>, Error> {
        let mut found: BTreeMap<DeviceNumber, IoStats> = BTreeMap::new();
        let Some(mount) = self.hierarchy.holder(&Controller::Io) else { return Ok(found) };
        let directory = self.directory(mount);
        if mount.version == Version::V2 {
            let text = file::read_if_there(&directory.join("io.stat"))?.unwrap_or_default();
            for line in text.lines() {
                let mut words = line.split_whitespace();
                let Some(device) = words.next().and_then(device) else { continue };
                let stats = found.entry(device).or_default();
                for (key, value) in words.filter_map(|word| word.split_once('=')) {
                    let Ok(value) = value.parse() else { continue };
                    match key {
                        "rbytes" => stats.read = Bytes(value),
                        "wbytes" => stats.written = Bytes(value),
                        "rios" => stats.reads = value,
                        "wios" => stats.writes = value,
                        _ => {}
                    }
                }
            }
            return Ok(found);
        }
        for (name, bytes) in [
            ("blkio.throttle.io_service_bytes_recursive", true),
            ("blkio.throttle.io_serviced_recursive", false),
        ] {
            let text = file::read_if_there(&directory.join(name))?.unwrap_or_default();
            for line in text.lines() {
                let words: Vec<&str> = line.split_whitespace().collect();
                let &[number, key, value] = words.as_slice() else { continue };
                let (Some(device), Ok(value)) = (device(number), value.parse()) else { continue };
                let stats = found.entry(device).or_default();
                match (key, bytes) {
                    ("Read", true) => stats.read = Bytes(value),
                    ("Write", true) => stats.written = Bytes(value),
                    ("Read", false) => stats.reads = value,
                    ("Write", false) => stats.writes = value,
                    _ => {}
                }
            }
        }
        Ok(found)
    }

    fn hugetlb_stats(&self) -> Result<BTreeMap<String, HugetlbStats>, Error> {
        let mut found = BTreeMap::new();
        let Some(mount) = self.hierarchy.holder(&Controller::Hugetlb) else { return Ok(found) };
        let directory = self.directory(mount);
        let (usage, failures) = match mount.version {
            Version::V1 => ("usage_in_bytes", "failcnt"),
            Version::V2 => ("current", "events"),
        };
        let Ok(entries) = std::fs::read_dir(&directory) else { return Ok(found) };
        for name in entries.filter_map(Result::ok).filter_map(|entry| entry.file_name().into_string().ok()) {
            let size =
                name.strip_prefix("hugetlb.").and_then(|rest| rest.strip_suffix(usage)?.strip_suffix('.'));
            let Some(size) = size.filter(|size| !size.contains('.')) else { continue };
            let text = file::read(&directory.join(format!("hugetlb.{size}.{failures}")))?;
            let failures = text.trim().parse().ok().or_else(|| file::field(&text, "max")).unwrap_or(0);
            let usage = number(&directory.join(&name))?.unwrap_or(0);
            found.insert(size.to_owned(), HugetlbStats { usage: Bytes(usage), failures });
        }
        Ok(found)
    }

    fn pressures(&self) -> Result<Pressures, Error> {
        let Some(directory) = self.unified_directory() else { return Ok(Pressures::default()) };
        let of = |name: &str| -> Result<Option<Pressure>, Error> {
            Ok(file::read_if_there(&directory.join(name))?.map(|text| pressure(&text)))
        };
        Ok(Pressures { cpu: of("cpu.pressure")?, memory: of("memory.pressure")?, io: of("io.pressure")? })
    }
}

/// A file with one number; `max` and files that are not there are none.
fn number(path: &Path) -> Result<Option<u64>, Error> {
    let Some(text) = file::read_if_there(path)? else { return Ok(None) };
    match text.trim() {
        "max" => Ok(None),
        word => {
            word.parse().map(Some).map_err(|_| Error::Parse { path: path.to_owned(), text: word.to_owned() })
        }
    }
}

fn device(word: &str) -> Option<DeviceNumber> {
    let (major, minor) = word.split_once(':')?;
    Some(DeviceNumber { major: major.parse().ok()?, minor: minor.parse().ok()? })
}

fn fields(text: &str, prefix: &str) -> BTreeMap<String, u64> {
    let pairs = text.lines().filter_map(|line| line.strip_prefix(prefix)?.split_once(' '));
    pairs.filter_map(|(key, value)| Some((key.to_owned(), value.trim().parse().ok()?))).collect()
}

fn pressure(text: &str) -> Pressure {
    let stall = |kind: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(kind)).unwrap_or_default();
        let value = |key: &str| line.split_whitespace().find_map(|word| word.strip_prefix(key));
        let percent = |key| value(key).and_then(|word| word.parse().ok()).unwrap_or(0.0);
        Stall {
            avg10: percent("avg10="),
            avg60: percent("avg60="),
            avg300: percent("avg300="),
            total: Duration::from_micros(value("total=").and_then(|word| word.parse().ok()).unwrap_or(0)),
        }
    };
    Pressure { some: stall("some"), full: stall("full") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pressure_file_is_read_line_by_line() {
        let text = "some avg10=1.50 avg60=0.00 avg300=0.25 total=1234567\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=9\n";
        let found = pressure(text);
        assert_eq!(found.some.total, Duration::from_micros(1_234_567));
        assert!((found.some.avg10 - 1.5).abs() < 1e-9 && (found.some.avg300 - 0.25).abs() < 1e-9);
        assert_eq!(found.full.total, Duration::from_micros(9));
    }
}
