use std::collections::BTreeMap;
use std::time::Duration;

use crate::{Bytes, Ceiling, Cpus, DeviceRule};

/// What a group is to be limited to. A field that is absent leaves the kernel's value as it is.
///
/// One description for both versions; what a host's hierarchies cannot keep is
/// [`Error::Unsupported`](crate::Error::Unsupported), never silence.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Limits {
    /// Memory and swap.
    pub memory: Memory,
    /// Processor time.
    pub cpu: Cpu,
    /// Processors and memory nodes.
    pub cpuset: Cpuset,
    /// Number of processes and threads (`pids.max`).
    pub pids: Option<Ceiling<u64>>,
    /// Block devices.
    pub io: Io,
    /// Huge pages, by page size as the kernel writes it (`2MB`, `1GB`).
    pub hugetlb: BTreeMap<String, Ceiling<Bytes>>,
    /// RDMA adapters, by device name.
    pub rdma: BTreeMap<String, Rdma>,
    /// Class and priorities of network packets; version 1 only.
    pub network: Network,
    /// Device rules, the last that matches decides, none matches: refused. Empty: devices are not filtered.
    pub devices: Vec<DeviceRule>,
    /// Files of version 2 by name, written as they are after everything else.
    pub unified: BTreeMap<String, String>,
}

/// Memory limits.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Memory {
    /// Hard limit: `memory.max`, `memory.limit_in_bytes`.
    pub limit: Option<Ceiling<Bytes>>,
    /// Hard limit of memory *and* swap together: `memory.swap.max` is the difference to `limit`;
    /// `memory.memsw.limit_in_bytes`.
    pub limit_with_swap: Option<Ceiling<Bytes>>,
    /// Memory that is kept under pressure: `memory.low`; the soft limit `memory.soft_limit_in_bytes` in version 1.
    pub reservation: Option<Ceiling<Bytes>>,
    /// The line at which the group is throttled and reclaimed: `memory.high`; version 2 only.
    pub high: Option<Ceiling<Bytes>>,
    /// TCP buffers: `memory.kmem.tcp.limit_in_bytes`; version 1 only.
    pub kernel_tcp: Option<Ceiling<Bytes>>,
    /// Inclination to swap, 0 to 100; version 1 only.
    pub swappiness: Option<u8>,
    /// Processes stop instead of being killed at the limit; version 1 only.
    pub disable_oom_kill: bool,
    /// Refuse a limit below what is in use.
    pub check_before_update: bool,
}

/// Processor time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cpu {
    /// Share in relation to siblings.
    pub weight: Option<CpuWeight>,
    /// Processor time a period.
    pub quota: Option<Ceiling<Duration>>,
    /// The period of `quota`; the kernel's default is 100 ms.
    pub period: Option<Duration>,
    /// Time that may be saved up for bursts.
    pub burst: Option<Duration>,
    /// Run only when nothing else does (`cpu.idle`).
    pub idle: Option<bool>,
    /// Realtime scheduling: time a period; version 1 only.
    pub realtime_runtime: Option<Ceiling<Duration>>,
    /// Realtime scheduling: period; version 1 only.
    pub realtime_period: Option<Duration>,
}

impl Cpu {
    /// Limits to a number of processors: a quota for a period of 100 ms.
    ///
    /// ```
    /// use container_cgroup::{Ceiling, Cpu, Cpus};
    /// use std::time::Duration;
    /// let half = Cpu::of(Cpus(500));
    /// assert_eq!(half.quota, Some(Ceiling::At(Duration::from_millis(50))));
    /// ```
    pub fn of(cpus: Cpus) -> Self {
        Self {
            quota: Some(Ceiling::At(Duration::from_micros(u64::from(cpus.0) * 100))),
            period: Some(Duration::from_millis(100)),
            ..Self::default()
        }
    }
}

/// A share of processor time in relation to siblings, in the measure of either version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CpuWeight {
    /// `cpu.shares` of version 1: 2 to 262144, 1024 is normal.
    Shares(u64),
    /// `cpu.weight` of version 2: 1 to 10000, 100 is normal.
    Weight(u64),
}

impl CpuWeight {
    /// As `cpu.shares`.
    pub fn shares(self) -> u64 {
        match self {
            Self::Shares(shares) => shares.clamp(2, 262_144),
            Self::Weight(weight) => {
                let y = f64::from(weight.clamp(1, 10_000) as u32).log10() + 7.0 / 34.0;
                let l = f64::midpoint(-125.0, (125.0_f64 * 125.0 + 4.0 * 612.0 * y).sqrt());
                (l.exp2().round() as u64).clamp(2, 262_144)
            }
        }
    }

    /// As `cpu.weight`, by the curve that runc and crun use since 2025: it meets 2 and 1, 1024 and 100,
    /// 262144 and 10000.
    pub fn weight(self) -> u64 {
        match self {
            Self::Weight(weight) => weight.clamp(1, 10_000),
            Self::Shares(shares) => {
                let l = f64::from(shares.clamp(2, 262_144) as u32).log2();
                let exponent = (l * l + 125.0 * l) / 612.0 - 7.0 / 34.0;
                // the three fixed points are exact in theory and off by 1e-14 in floating point
                ((10_f64.powf(exponent) - 1e-9).ceil() as u64).clamp(1, 10_000)
            }
        }
    }
}

/// Processors and memory nodes, as lists (`0-3,7`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cpuset {
    /// `cpuset.cpus`.
    pub cpus: Option<String>,
    /// `cpuset.mems`.
    pub mems: Option<String>,
}

/// Block devices.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Io {
    /// Share in relation to siblings, 10 to 1000 as in version 1; scaled to 1 to 10000 for `io.weight`.
    pub weight: Option<u16>,
    /// Share on one device, 10 to 1000.
    pub device_weights: Vec<(DeviceNumber, u16)>,
    /// Bytes and operations a second on one device.
    pub throttles: Vec<Throttle>,
}

/// A device by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DeviceNumber {
    /// Major number.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
}

impl std::fmt::Display for DeviceNumber {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.major, self.minor)
    }
}

/// One bound on one block device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Throttle {
    /// The device.
    pub device: DeviceNumber,
    /// What is counted.
    pub what: ThrottleOf,
    /// How much a second; zero lifts the bound.
    pub rate: u64,
}

/// What a [`Throttle`] counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ThrottleOf {
    /// Bytes read.
    ReadBytes,
    /// Bytes written.
    WriteBytes,
    /// Reads.
    ReadOperations,
    /// Writes.
    WriteOperations,
}

/// Limits on one RDMA device.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rdma {
    /// Handles that may be open.
    pub handles: Option<u32>,
    /// Objects that may exist.
    pub objects: Option<u32>,
}

/// Marks on network packets; version 1 only.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Network {
    /// `net_cls.classid`.
    pub class_id: Option<u32>,
    /// `net_prio.ifpriomap`: interface and priority.
    pub priorities: Vec<(String, u32)>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_and_weight_meet_at_their_minimum_normal_and_maximum() {
        for (shares, weight) in [(2, 1), (1024, 100), (262_144, 10_000)] {
            assert_eq!(CpuWeight::Shares(shares).weight(), weight);
            assert_eq!(CpuWeight::Weight(weight).shares(), shares);
        }
        assert_eq!(CpuWeight::Shares(0).weight(), 1);
        assert_eq!(CpuWeight::Shares(u64::MAX).weight(), 10_000);
    }

    #[test]
    fn a_weight_survives_the_way_to_shares_and_back() {
        for weight in [1, 7, 39, 100, 333, 1000, 5000, 10_000] {
            let back = CpuWeight::Shares(CpuWeight::Weight(weight).shares()).weight();
            assert!(back.abs_diff(weight) <= 1 + weight / 50, "{weight} came back as {back}");
        }
    }
}
