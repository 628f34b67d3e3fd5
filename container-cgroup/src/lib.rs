//! Control groups of Linux: limits, statistics, freezing, killing, events and device filters.
//!
//! A [`Group`] is one directory in every mounted hierarchy, whether the host has version 2, version 1 or both
//! ([`Hierarchy`] finds out). [`Limits`] describe bounds once, in typed units; they are translated to the files of
//! whichever version holds the controller, and what no hierarchy can keep is an error that names the limit.
//!
//! It is *not* a client of systemd's scopes and slices, starts no process (a new one enters a group by the
//! descriptors of [`Group::join`]), and never touches a release agent.
//!
//! ```no_run
//! use container_cgroup::{Bytes, Ceiling, Cpu, Cpus, Group, Hierarchy, Limits};
//! use std::time::Duration;
//!
//! let mut limits = Limits { cpu: Cpu::of(Cpus(1500)), pids: Some(Ceiling::At(100)), ..Limits::default() };
//! limits.memory.limit = Some(Ceiling::At(Bytes::mib(64)));
//!
//! let hierarchy = Hierarchy::of_host()?;
//! let group = Group::create(&hierarchy, &"/demo/one".parse()?, &limits)?;
//! group.add(std::process::id().cast_signed())?;
//! println!("{:?}", group.stats()?.memory);
//! # group.kill(Duration::from_secs(1))?;
//! group.remove(Duration::from_secs(1))?;
//! # Ok::<(), container_cgroup::Error>(())
//! ```
//!
//! **Units**: [`Bytes`], [`Cpus`] in thousandths, [`std::time::Duration`] for times. **Errors**: [`Error`] names the file, the value
//! and the kernel's answer. **Rights**: writing to hierarchies of version 1 and loading a device filter need root.
//!
//! **Feature** `oci` (default): `Limits::from_oci` reads `linux.resources` of an OCI configuration.
//!
//! See the kernel's [version 2](https://docs.kernel.org/admin-guide/cgroup-v2.html) and
//! [version 1](https://docs.kernel.org/admin-guide/cgroup-v1/index.html) documents, and `cgroups(7)`.

mod device;
mod error;
mod file;
mod freeze;
mod group;
mod hierarchy;
mod kill;
mod limits;
#[cfg(feature = "oci")]
mod oci;
mod path;
mod program;
mod setting;
mod stats;
mod sys;
mod units;
mod watch;

pub use device::{Access, DeviceKind, DeviceRule};
pub use error::Error;
pub use group::{Begun, Group, Join};
pub use hierarchy::{Controller, Hierarchy, Layout, Version};
pub use limits::{
    Cpu, CpuWeight, Cpuset, DeviceNumber, Io, Limits, Memory, Network, Rdma, Throttle, ThrottleOf,
};
pub use path::GroupPath;
pub use stats::{CpuStats, HugetlbStats, IoStats, MemoryStats, PidsStats, Pressure, Pressures, Stall, Stats};
pub use units::{Bytes, Ceiling, Cpus, ParseUnitError};
pub use watch::{OomWatch, PopulatedWatch};
