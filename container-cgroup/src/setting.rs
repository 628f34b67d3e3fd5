//! Limits as writes to control files, for whichever version holds the controller.

use std::time::Duration;

use crate::hierarchy::Mount;
use crate::{Bytes, Ceiling, Controller, Error, Hierarchy, Limits, Memory, ThrottleOf, Version};

/// One value to write, with the files to try in order: kernels name some of them differently.
#[derive(Debug)]
pub(crate) struct Setting<'a> {
    pub(crate) limit: String,
    pub(crate) mount: &'a Mount,
    pub(crate) tries: Vec<(String, String)>,
}

/// What is set now, where a new value depends on it.
#[derive(Debug, Default)]
pub(crate) struct Current {
    pub(crate) memory_max: Option<Ceiling<Bytes>>,
    pub(crate) cpu_quota: Option<String>,
}

struct Writer<'a> {
    hierarchy: &'a Hierarchy,
    settings: Vec<Setting<'a>>,
}

type Names<'s> = &'s [&'s str];

impl<'a> Writer<'a> {
    fn holder(&self, limit: &str, controller: &Controller) -> Result<&'a Mount, Error> {
        self.hierarchy.holder(controller).ok_or_else(|| Error::Unsupported {
            limit: limit.to_owned(),
            reason: format!("no mounted hierarchy has the {controller} controller"),
        })
    }

    /// Writes `v1` or `v2` (file names to try) with the value of that version; no names: that version lacks it.
    fn put(
        &mut self,
        limit: &str,
        controller: &Controller,
        v1: Names<'_>,
        v2: Names<'_>,
        value: impl Fn(Version) -> String,
    ) -> Result<(), Error> {
        let mount = self.holder(limit, controller)?;
        let names = match mount.version {
            Version::V1 => v1,
            Version::V2 => v2,
        };
        if names.is_empty() {
            let version = if mount.version == Version::V1 { 1 } else { 2 };
            let reason = format!("the {controller} controller of version {version} does not have it");
            return Err(Error::Unsupported { limit: limit.to_owned(), reason });
        }
        let value = value(mount.version);
        let tries = names.iter().map(|name| ((*name).to_owned(), value.clone())).collect();
        self.settings.push(Setting { limit: limit.to_owned(), mount, tries });
        Ok(())
    }
}

fn micros(duration: Duration) -> u128 {
    duration.as_micros()
}

fn ceiling<T: Copy, U>(value: Ceiling<T>, of: impl Fn(T) -> U) -> Ceiling<U> {
    match value {
        Ceiling::Unlimited => Ceiling::Unlimited,
        Ceiling::At(value) => Ceiling::At(of(value)),
    }
}

fn text<T: std::fmt::Display>(value: Ceiling<T>) -> impl Fn(Version) -> String {
    move |version| match version {
        Version::V1 => value.v1(),
        Version::V2 => value.v2(),
    }
}

/// Translates limits, in the order in which they are to be written.
pub(crate) fn settings<'a>(
    hierarchy: &'a Hierarchy,
    limits: &Limits,
    current: &Current,
) -> Result<Vec<Setting<'a>>, Error> {
    let mut to = Writer { hierarchy, settings: Vec::new() };
    cpuset(&mut to, limits)?;
    memory(&mut to, &limits.memory, current)?;
    cpu(&mut to, limits, current)?;
    if let Some(pids) = limits.pids {
        to.put("pids", &Controller::Pids, &["pids.max"], &["pids.max"], |_| pids.v2())?;
    }
    io(&mut to, limits)?;
    for (size, limit) in &limits.hugetlb {
        let name = format!("hugetlb.{size}");
        if size.is_empty() || !size.bytes().all(|b| b.is_ascii_alphanumeric()) {
            let reason = "is not a page size such as 2MB";
            return Err(Error::Value { limit: "hugetlb", value: size.clone(), reason });
        }
        let (v1, v2) = (format!("{name}.limit_in_bytes"), format!("{name}.max"));
        to.put(&name, &Controller::Hugetlb, &[&v1], &[&v2], text(*limit))?;
    }
    for (device, limit) in &limits.rdma {
        if device.is_empty() || device.chars().any(|c| c.is_whitespace() || c.is_control()) {
            let reason = "is not a device name";
            return Err(Error::Value { limit: "rdma", value: device.clone(), reason });
        }
        let mut value = device.clone();
        for (key, number) in [("hca_handle", limit.handles), ("hca_object", limit.objects)] {
            if let Some(number) = number {
                value = format!("{value} {key}={number}");
            }
        }
        to.put("rdma", &Controller::Rdma, &["rdma.max"], &["rdma.max"], |_| value.clone())?;
    }
    if let Some(class) = limits.network.class_id {
        to.put("network.class_id", &Controller::NetCls, &["net_cls.classid"], &[], |_| class.to_string())?;
    }
    for (interface, priority) in &limits.network.priorities {
        let value = format!("{interface} {priority}");
        let names = ["net_prio.ifpriomap"];
        to.put("network.priorities", &Controller::NetPrio, &names, &[], |_| value.clone())?;
    }
    unified(&mut to, limits)?;
    Ok(to.settings)
}

fn cpuset(to: &mut Writer<'_>, limits: &Limits) -> Result<(), Error> {
    for (file, list) in [("cpuset.cpus", &limits.cpuset.cpus), ("cpuset.mems", &limits.cpuset.mems)] {
        let Some(list) = list else { continue };
        if !list.bytes().all(|b| b.is_ascii_digit() || b == b',' || b == b'-') {
            return Err(Error::Value {
                limit: file,
                value: list.clone(),
                reason: "is not a list such as 0-3,7",
            });
        }
        to.put(file, &Controller::Cpuset, &[file], &[file], |_| list.clone())?;
    }
    Ok(())
}

fn memory(to: &mut Writer<'_>, memory: &Memory, current: &Current) -> Result<(), Error> {
    let controller = Controller::Memory;
    if let Some(limit) = memory.limit {
        to.put("memory.limit", &controller, &["memory.limit_in_bytes"], &["memory.max"], text(limit))?;
    }
    if let Some(total) = memory.limit_with_swap {
        let swap = match (total, memory.limit.or(current.memory_max)) {
            (Ceiling::At(total), Some(Ceiling::At(limit))) => {
                let rest = total.0.checked_sub(limit.0).ok_or_else(|| Error::Value {
                    limit: "memory.limit_with_swap",
                    value: total.to_string(),
                    reason: "is below the memory limit",
                })?;
                Ceiling::At(Bytes(rest))
            }
            (Ceiling::At(total), _) => {
                let v1 = to.holder("memory.limit_with_swap", &controller)?.version == Version::V1;
                if !v1 {
                    return Err(Error::Value {
                        limit: "memory.limit_with_swap",
                        value: total.to_string(),
                        reason: "is given without a memory limit",
                    });
                }
                Ceiling::At(total)
            }
            (Ceiling::Unlimited, _) => Ceiling::Unlimited,
        };
        let value = move |version| match version {
            Version::V1 => total.v1(),
            Version::V2 => swap.v2(),
        };
        let (v1, v2) = (["memory.memsw.limit_in_bytes"], ["memory.swap.max"]);
        to.put("memory.limit_with_swap", &controller, &v1, &v2, value)?;
    }
    if let Some(kept) = memory.reservation {
        let (v1, v2) = (["memory.soft_limit_in_bytes"], ["memory.low"]);
        to.put("memory.reservation", &controller, &v1, &v2, text(kept))?;
    }
    if let Some(high) = memory.high {
        to.put("memory.high", &controller, &[], &["memory.high"], text(high))?;
    }
    if let Some(tcp) = memory.kernel_tcp {
        to.put("memory.kernel_tcp", &controller, &["memory.kmem.tcp.limit_in_bytes"], &[], text(tcp))?;
    }
    if let Some(swappiness) = memory.swappiness {
        if swappiness > 100 {
            let (limit, value) = ("memory.swappiness", swappiness.to_string());
            return Err(Error::Value { limit, value, reason: "is above 100" });
        }
        let names = ["memory.swappiness"];
        to.put("memory.swappiness", &controller, &names, &[], |_| swappiness.to_string())?;
    }
    if memory.disable_oom_kill {
        to.put("memory.disable_oom_kill", &controller, &["memory.oom_control"], &[], |_| "1".to_owned())?;
    }
    Ok(())
}

fn cpu(to: &mut Writer<'_>, limits: &Limits, current: &Current) -> Result<(), Error> {
    let controller = Controller::Cpu;
    let cpu = &limits.cpu;
    if let Some(weight) = cpu.weight {
        let value = move |version| match version {
            Version::V1 => weight.shares().to_string(),
            Version::V2 => weight.weight().to_string(),
        };
        to.put("cpu.weight", &controller, &["cpu.shares"], &["cpu.weight"], value)?;
    }
    let version = to.hierarchy.version_of(&controller);
    if version == Some(Version::V2) {
        let quota = cpu.quota.map(|quota| ceiling(quota, micros).v2());
        let value = match (quota, cpu.period) {
            (None, None) => None,
            (Some(quota), None) => Some(quota),
            (quota, Some(period)) => {
                let quota = quota.or_else(|| current.cpu_quota.clone()).unwrap_or_else(|| "max".to_owned());
                Some(format!("{quota} {}", micros(period)))
            }
        };
        if let Some(value) = value {
            to.put("cpu.quota", &controller, &[], &["cpu.max"], |_| value.clone())?;
        }
    } else {
        if let Some(period) = cpu.period {
            to.put("cpu.period", &controller, &["cpu.cfs_period_us"], &[], |_| micros(period).to_string())?;
        }
        if let Some(quota) = cpu.quota {
            let value = ceiling(quota, micros);
            to.put("cpu.quota", &controller, &["cpu.cfs_quota_us"], &[], |_| value.v1())?;
        }
    }
    if let Some(burst) = cpu.burst {
        let (v1, v2) = (["cpu.cfs_burst_us"], ["cpu.max.burst"]);
        to.put("cpu.burst", &controller, &v1, &v2, |_| micros(burst).to_string())?;
    }
    if let Some(period) = cpu.realtime_period {
        to.put("cpu.realtime_period", &controller, &["cpu.rt_period_us"], &[], |_| {
            micros(period).to_string()
        })?;
    }
    if let Some(runtime) = cpu.realtime_runtime {
        let value = ceiling(runtime, micros);
        to.put("cpu.realtime_runtime", &controller, &["cpu.rt_runtime_us"], &[], |_| value.v1())?;
    }
    if let Some(idle) = cpu.idle {
        to.put("cpu.idle", &controller, &["cpu.idle"], &["cpu.idle"], |_| u8::from(idle).to_string())?;
    }
    Ok(())
}

fn scaled(limit: &'static str, weight: u16) -> Result<u64, Error> {
    if !(10..=1000).contains(&weight) {
        return Err(Error::Value { limit, value: weight.to_string(), reason: "is not within 10 to 1000" });
    }
    Ok(1 + (u64::from(weight) - 10) * 9999 / 990)
}

fn io(to: &mut Writer<'_>, limits: &Limits) -> Result<(), Error> {
    let controller = Controller::Io;
    let v1 = ["blkio.weight", "blkio.bfq.weight"];
    if let Some(weight) = limits.io.weight {
        let wide = scaled("io.weight", weight)?;
        let mount = to.holder("io.weight", &controller)?;
        let tries = match mount.version {
            Version::V1 => v1.map(|name| (name.to_owned(), weight.to_string())),
            // bfq takes the narrow range as it is
            Version::V2 => [
                ("io.weight".to_owned(), format!("default {wide}")),
                ("io.bfq.weight".to_owned(), format!("default {weight}")),
            ],
        };
        to.settings.push(Setting { limit: "io.weight".to_owned(), mount, tries: tries.to_vec() });
    }
    for (device, weight) in &limits.io.device_weights {
        let wide = scaled("io.device_weights", *weight)?;
        let mount = to.holder("io.device_weights", &controller)?;
        let (names, values) = match mount.version {
            Version::V1 => (["blkio.weight_device", "blkio.bfq.weight_device"], [u64::from(*weight); 2]),
            Version::V2 => (["io.weight", "io.bfq.weight"], [wide, u64::from(*weight)]),
        };
        let tries = names.iter().zip(values).map(|(name, v)| ((*name).to_owned(), format!("{device} {v}")));
        to.settings.push(Setting { limit: "io.device_weights".to_owned(), mount, tries: tries.collect() });
    }
    for throttle in &limits.io.throttles {
        let (v1, key) = match throttle.what {
            ThrottleOf::ReadBytes => ("blkio.throttle.read_bps_device", "rbps"),
            ThrottleOf::WriteBytes => ("blkio.throttle.write_bps_device", "wbps"),
            ThrottleOf::ReadOperations => ("blkio.throttle.read_iops_device", "riops"),
            ThrottleOf::WriteOperations => ("blkio.throttle.write_iops_device", "wiops"),
        };
        to.put("io.throttles", &controller, &[v1], &["io.max"], |version| match version {
            Version::V1 => format!("{} {}", throttle.device, throttle.rate),
            Version::V2 if throttle.rate == 0 => format!("{} {key}=max", throttle.device),
            Version::V2 => format!("{} {key}={}", throttle.device, throttle.rate),
        })?;
    }
    Ok(())
}

fn unified(to: &mut Writer<'_>, limits: &Limits) -> Result<(), Error> {
    for (file, value) in &limits.unified {
        let plain = file.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
        if !plain || file.starts_with('.') || file.starts_with("cgroup.") || !file.contains('.') {
            let reason = "is not a controller's file such as memory.high";
            return Err(Error::Value { limit: "unified", value: file.clone(), reason });
        }
        let limit = format!("unified[{file}]");
        let mount = to.hierarchy.unified_mount().ok_or_else(|| Error::Unsupported {
            limit: limit.clone(),
            reason: "no hierarchy of version 2 is mounted".to_owned(),
        })?;
        to.settings.push(Setting { limit, mount, tries: vec![(file.clone(), value.clone())] });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Cpu, CpuWeight, Cpus, DeviceNumber, Throttle};
    use std::path::PathBuf;

    fn hierarchy(version: Version) -> Hierarchy {
        let controllers = vec![
            Controller::Cpu,
            Controller::Cpuset,
            Controller::Memory,
            Controller::Io,
            Controller::Pids,
            Controller::Hugetlb,
        ];
        Hierarchy { mounts: vec![Mount { version, point: PathBuf::from("/made-up"), controllers }] }
    }

    fn lines(version: Version, limits: &Limits) -> Vec<String> {
        let hierarchy = hierarchy(version);
        let settings = settings(&hierarchy, limits, &Current::default()).expect("expressible");
        settings.iter().map(|s| format!("{} = {}", s.tries[0].0, s.tries[0].1)).collect()
    }

    fn everything() -> Limits {
        let mut limits = Limits { pids: Some(Ceiling::At(7)), ..Limits::default() };
        limits.memory.limit = Some(Ceiling::At(Bytes::mib(64)));
        limits.memory.limit_with_swap = Some(Ceiling::At(Bytes::mib(96)));
        limits.memory.reservation = Some(Ceiling::At(Bytes::mib(32)));
        limits.cpu = Cpu { weight: Some(CpuWeight::Shares(1024)), ..Cpu::of(Cpus(1500)) };
        limits.cpuset.cpus = Some("0-1".to_owned());
        limits.io.weight = Some(500);
        let device = DeviceNumber { major: 8, minor: 0 };
        limits.io.throttles = vec![Throttle { device, what: ThrottleOf::ReadBytes, rate: 1000 }];
        limits.hugetlb.insert("2MB".to_owned(), Ceiling::Unlimited);
        limits
    }

    #[test]
    fn one_description_becomes_the_files_of_version_1() {
        let expected = [
            "cpuset.cpus = 0-1",
            "memory.limit_in_bytes = 67108864",
            "memory.memsw.limit_in_bytes = 100663296",
            "memory.soft_limit_in_bytes = 33554432",
            "cpu.shares = 1024",
            "cpu.cfs_period_us = 100000",
            "cpu.cfs_quota_us = 150000",
            "pids.max = 7",
            "blkio.weight = 500",
            "blkio.throttle.read_bps_device = 8:0 1000",
            "hugetlb.2MB.limit_in_bytes = -1",
        ];
        assert_eq!(lines(Version::V1, &everything()), expected);
    }

    #[test]
    fn one_description_becomes_the_files_of_version_2() {
        let expected = [
            "cpuset.cpus = 0-1",
            "memory.max = 67108864",
            "memory.swap.max = 33554432",
            "memory.low = 33554432",
            "cpu.weight = 100",
            "cpu.max = 150000 100000",
            "pids.max = 7",
            "io.weight = default 4950",
            "io.max = 8:0 rbps=1000",
            "hugetlb.2MB.max = max",
        ];
        assert_eq!(lines(Version::V2, &everything()), expected);
    }

    #[test]
    fn what_a_hierarchy_lacks_is_named() {
        let mut realtime = Limits::default();
        realtime.cpu.realtime_period = Some(Duration::from_secs(1));
        let mut high = Limits::default();
        high.memory.high = Some(Ceiling::Unlimited);
        let mut rdma = Limits::default();
        rdma.rdma.insert("mlx5_0".to_owned(), crate::Rdma::default());
        let mut raw = Limits::default();
        raw.unified.insert("memory.high".to_owned(), "1".to_owned());
        for (version, limits, name) in [
            (Version::V2, realtime, "cpu.realtime_period"),
            (Version::V1, high, "memory.high"),
            (Version::V1, rdma, "rdma"),
            (Version::V1, raw, "unified[memory.high]"),
        ] {
            let error = settings(&hierarchy(version), &limits, &Current::default()).expect_err(name);
            assert!(matches!(&error, Error::Unsupported { limit, .. } if limit == name), "{error}");
        }
    }

    #[test]
    fn raw_files_never_leave_the_group_or_move_processes() {
        for file in ["../memory.max", "a/b.c", "cgroup.procs", "cgroup.kill", "memory", "", ".", "x.y\n"] {
            let mut limits = Limits::default();
            limits.unified.insert(file.to_owned(), "1".to_owned());
            let hierarchy = hierarchy(Version::V2);
            let error = settings(&hierarchy, &limits, &Current::default());
            assert!(matches!(error, Err(Error::Value { limit: "unified", .. })), "{file:?}");
        }
    }
}
