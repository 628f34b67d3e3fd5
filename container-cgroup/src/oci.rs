//! Limits from `linux.resources` of an OCI configuration (`config-linux.md`, "Control groups").

use std::time::Duration;

use oci_spec::runtime::{LinuxDeviceType, LinuxResources, LinuxThrottleDevice};

use crate::{
    Access, Bytes, Ceiling, CpuWeight, DeviceKind, DeviceNumber, DeviceRule, Error, Limits, Rdma, Throttle,
    ThrottleOf,
};

const ROOT: &str = "/linux/resources";

fn wrong(pointer: &str, value: impl std::fmt::Display, reason: &'static str) -> Error {
    Error::Oci { pointer: format!("{ROOT}/{pointer}"), value: value.to_string(), reason }
}

/// `-1` lifts a bound; other negative numbers are errors.
fn bound(pointer: &str, value: Option<i64>) -> Result<Option<Ceiling<u64>>, Error> {
    match value {
        None => Ok(None),
        Some(-1) => Ok(Some(Ceiling::Unlimited)),
        Some(value) => match u64::try_from(value) {
            Ok(value) => Ok(Some(Ceiling::At(value))),
            Err(_) => Err(wrong(pointer, value, "is negative and not -1")),
        },
    }
}

/// As [`bound`], with the zero of engines that write `0` for "not set".
fn set_bound(pointer: &str, value: Option<i64>) -> Result<Option<Ceiling<u64>>, Error> {
    bound(pointer, value.filter(|&value| value != 0))
}

fn map<T>(bound: Option<Ceiling<u64>>, of: impl Fn(u64) -> T) -> Option<Ceiling<T>> {
    bound.map(|bound| match bound {
        Ceiling::Unlimited => Ceiling::Unlimited,
        Ceiling::At(value) => Ceiling::At(of(value)),
    })
}

fn number(pointer: &str, value: i64) -> Result<u32, Error> {
    u32::try_from(value).map_err(|_| wrong(pointer, value, "is not a device number"))
}

impl Limits {
    /// Converts `linux.resources`. A zero memory limit, share, quota, period or pids limit means "not set", as in runc.
    ///
    /// Device rules become a list that begins with "refuse everything" and ends with the devices that the specification
    /// promises every container, unless a rule allows everything.
    pub fn from_oci(resources: &LinuxResources) -> Result<Self, Error> {
        let mut limits = Self::default();
        if let Some(memory) = resources.memory() {
            let to = &mut limits.memory;
            to.limit = map(set_bound("memory/limit", memory.limit())?, Bytes);
            to.limit_with_swap = map(set_bound("memory/swap", memory.swap())?, Bytes);
            to.reservation = map(set_bound("memory/reservation", memory.reservation())?, Bytes);
            to.kernel_tcp = map(set_bound("memory/kernelTCP", memory.kernel_tcp())?, Bytes);
            to.swappiness = match memory.swappiness() {
                None => None,
                Some(value @ 0..=100) => Some(value as u8),
                Some(value) => return Err(wrong("memory/swappiness", value, "is above 100")),
            };
            to.disable_oom_kill = memory.disable_oom_killer().unwrap_or(false);
            to.check_before_update = memory.check_before_update().unwrap_or(false);
        }
        if let Some(cpu) = resources.cpu() {
            let to = &mut limits.cpu;
            let micros = |value: Option<u64>| value.filter(|&value| value != 0).map(Duration::from_micros);
            to.weight = cpu.shares().filter(|&shares| shares != 0).map(CpuWeight::Shares);
            to.quota = match cpu.quota() {
                None | Some(0) => None,
                Some(quota) if quota < 0 => Some(Ceiling::Unlimited),
                Some(quota) => Some(Ceiling::At(Duration::from_micros(quota as u64))),
            };
            to.period = micros(cpu.period());
            to.burst = cpu.burst().map(Duration::from_micros);
            to.realtime_period = micros(cpu.realtime_period());
            let runtime = set_bound("cpu/realtimeRuntime", cpu.realtime_runtime())?;
            to.realtime_runtime = map(runtime, Duration::from_micros);
            to.idle = match cpu.idle() {
                None => None,
                Some(0) => Some(false),
                Some(1) => Some(true),
                Some(value) => return Err(wrong("cpu/idle", value, "is neither 0 nor 1")),
            };
            limits.cpuset.cpus = cpu.cpus().clone().filter(|list| !list.is_empty());
            limits.cpuset.mems = cpu.mems().clone().filter(|list| !list.is_empty());
        }
        if let Some(pids) = resources.pids() {
            limits.pids = match pids.limit() {
                0 => None,
                limit if limit < 0 => Some(Ceiling::Unlimited),
                limit => Some(Ceiling::At(limit as u64)),
            };
        }
        block_io(&mut limits, resources)?;
        for (index, page) in resources.hugepage_limits().iter().flatten().enumerate() {
            let limit = bound(&format!("hugepageLimits/{index}/limit"), Some(page.limit()))?;
            limits.hugetlb.extend(map(limit, Bytes).map(|limit| (page.page_size().clone(), limit)));
        }
        for (device, rdma) in resources.rdma().iter().flatten() {
            let limit = Rdma { handles: rdma.hca_handles(), objects: rdma.hca_objects() };
            limits.rdma.insert(device.clone(), limit);
        }
        if let Some(network) = resources.network() {
            limits.network.class_id = network.class_id();
            for priority in network.priorities().iter().flatten() {
                limits.network.priorities.push((priority.name().clone(), priority.priority()));
            }
        }
        devices(&mut limits, resources)?;
        limits.unified.extend(resources.unified().iter().flatten().map(|(k, v)| (k.clone(), v.clone())));
        Ok(limits)
    }
}

fn block_io(limits: &mut Limits, resources: &LinuxResources) -> Result<(), Error> {
    let Some(io) = resources.block_io() else { return Ok(()) };
    for (name, leaf) in [("leafWeight", io.leaf_weight())] {
        if let Some(value) = leaf.filter(|&weight| weight != 0) {
            return Err(wrong(
                &format!("blockIO/{name}"),
                value,
                "belongs to the CFQ scheduler, gone since Linux 5.0",
            ));
        }
    }
    limits.io.weight = io.weight().filter(|&weight| weight != 0);
    for (index, device) in io.weight_device().iter().flatten().enumerate() {
        let at = format!("blockIO/weightDevice/{index}");
        let number =
            DeviceNumber { major: number(&at, device.major())?, minor: number(&at, device.minor())? };
        limits.io.device_weights.extend(device.weight().map(|weight| (number, weight)));
        if let Some(value) = device.leaf_weight().filter(|&weight| weight != 0) {
            let reason = "belongs to the CFQ scheduler, gone since Linux 5.0";
            return Err(wrong(&format!("{at}/leafWeight"), value, reason));
        }
    }
    let lists: [(&str, &Option<Vec<LinuxThrottleDevice>>, ThrottleOf); 4] = [
        ("throttleReadBpsDevice", io.throttle_read_bps_device(), ThrottleOf::ReadBytes),
        ("throttleWriteBpsDevice", io.throttle_write_bps_device(), ThrottleOf::WriteBytes),
        ("throttleReadIOPSDevice", io.throttle_read_iops_device(), ThrottleOf::ReadOperations),
        ("throttleWriteIOPSDevice", io.throttle_write_iops_device(), ThrottleOf::WriteOperations),
    ];
    for (name, list, what) in lists {
        for (index, throttle) in list.iter().flatten().enumerate() {
            let at = format!("blockIO/{name}/{index}");
            let device =
                DeviceNumber { major: number(&at, throttle.major())?, minor: number(&at, throttle.minor())? };
            limits.io.throttles.push(Throttle { device, what, rate: throttle.rate() });
        }
    }
    Ok(())
}

fn devices(limits: &mut Limits, resources: &LinuxResources) -> Result<(), Error> {
    let Some(rules) = resources.devices() else { return Ok(()) };
    if rules.is_empty() {
        return Ok(());
    }
    limits.devices.push(DeviceRule::DENY_ALL);
    for (index, rule) in rules.iter().enumerate() {
        let at = format!("devices/{index}");
        let kind = match rule.typ() {
            None | Some(LinuxDeviceType::A) => DeviceKind::Any,
            Some(LinuxDeviceType::B) => DeviceKind::Block,
            Some(LinuxDeviceType::C | LinuxDeviceType::U) => DeviceKind::Char,
            Some(LinuxDeviceType::P) => {
                return Err(wrong(&format!("{at}/type"), "p", "is not a kind of device"));
            }
        };
        let part = |name: &str, value: Option<i64>| match value {
            None | Some(-1) => Ok(None),
            Some(value) => number(&format!("{at}/{name}"), value).map(Some),
        };
        let letters = rule.access().clone().filter(|letters| !letters.is_empty());
        let letters = letters.unwrap_or_else(|| "rwm".to_owned());
        if let Some(letter) = letters.chars().find(|letter| !"rwm".contains(*letter)) {
            return Err(wrong(&format!("{at}/access"), letter, "is none of r, w and m"));
        }
        let access = Access {
            read: letters.contains('r'),
            write: letters.contains('w'),
            mknod: letters.contains('m'),
        };
        // type `a` is about all devices whatever its numbers say, as in the kernel's own file
        let (major, minor) = match kind {
            DeviceKind::Any => (None, None),
            _ => (part("major", rule.major())?, part("minor", rule.minor())?),
        };
        limits.devices.push(DeviceRule { allow: rule.allow(), kind, major, minor, access });
    }
    if !limits.devices.contains(&DeviceRule::ALLOW_ALL) {
        limits.devices.extend(DeviceRule::defaults());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(json: &str) -> Result<Limits, Error> {
        Limits::from_oci(&serde_json::from_str(json).expect("resources"))
    }

    #[test]
    fn resources_become_limits() {
        let found = limits(
            r#"{"memory":{"limit":67108864,"swap":-1,"reservation":0},"cpu":{"shares":1024,"quota":50000,"period":100000,"cpus":"0"},
                "pids":{"limit":64},"devices":[{"allow":false,"access":"rwm"},{"allow":true,"type":"c","major":10,"minor":229,"access":"rw"}],
                "hugepageLimits":[{"pageSize":"2MB","limit":4194304}],"unified":{"memory.high":"1000"},
                "blockIO":{"throttleReadBpsDevice":[{"major":8,"minor":0,"rate":600}]}}"#,
        )
        .expect("limits");
        assert_eq!(found.memory.limit, Some(Ceiling::At(Bytes::mib(64))));
        assert_eq!(
            (found.memory.limit_with_swap, found.memory.reservation),
            (Some(Ceiling::Unlimited), None)
        );
        assert_eq!(found.cpu.weight, Some(CpuWeight::Shares(1024)));
        assert_eq!(found.cpu.quota, Some(Ceiling::At(Duration::from_millis(50))));
        assert_eq!(found.pids, Some(Ceiling::At(64)));
        assert_eq!(found.devices[2].to_string(), "c 10:229 rw");
        assert!(found.devices.len() > 10, "the default devices follow");
        assert_eq!(found.io.throttles.len(), 1);
    }

    #[test]
    fn what_cannot_be_is_named_by_its_pointer() {
        for (json, place) in [
            (r#"{"memory":{"limit":-2}}"#, "/linux/resources/memory/limit"),
            (r#"{"memory":{"swappiness":101}}"#, "/linux/resources/memory/swappiness"),
            (r#"{"cpu":{"idle":2}}"#, "/linux/resources/cpu/idle"),
            (
                r#"{"devices":[{"allow":true,"type":"c","major":-7,"access":"r"}]}"#,
                "/linux/resources/devices/0/major",
            ),
            (r#"{"devices":[{"allow":true,"access":"rx"}]}"#, "/linux/resources/devices/0/access"),
            (r#"{"devices":[{"allow":true,"type":"p"}]}"#, "/linux/resources/devices/0/type"),
            (r#"{"blockIO":{"leafWeight":10}}"#, "/linux/resources/blockIO/leafWeight"),
        ] {
            let error = limits(json).expect_err(json);
            assert!(matches!(&error, Error::Oci { pointer, .. } if pointer == place), "{error}");
        }
    }
}
