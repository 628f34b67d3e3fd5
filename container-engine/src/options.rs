use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

use container_cgroup::{Bytes, Cpus};
use container_net::PublishedPort;
use container_volume::{MountSpec, Secret};
use serde::{Deserialize, Serialize};

use crate::Error;

/// Everything that can be said of a container when it is created.
///
/// The default is a container on the network `bridge`, in its image's own words, with the capabilities,
/// the seccomp filter and the masked paths that Docker gives.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ContainerOptions {
    /// The image: name or id.
    pub image: String,
    /// Its name; one is made up if none is given.
    pub name: Option<String>,
    /// Replaces the image's command, and is given to the entrypoint.
    pub command: Vec<String>,
    /// Replaces the image's entrypoint, and drops its command; an empty text removes it.
    pub entrypoint: Option<Vec<String>>,
    /// `NAME=value` each, after the image's own.
    pub env: Vec<String>,
    /// Labels, beside the image's.
    pub labels: BTreeMap<String, String>,
    /// `user`, `uid`, `user:group`.
    pub user: Option<String>,
    /// The working directory, absolute.
    pub working_dir: Option<String>,
    /// The host name; the short id if none is given.
    pub hostname: Option<String>,
    /// The NIS domain name.
    pub domainname: Option<String>,
    /// Share the host's host name and domain name; neither can be set then.
    pub host_uts: bool,
    /// See the host's control groups, not its own as the root.
    pub host_cgroup: bool,
    /// A terminal of its own.
    pub tty: bool,
    /// Further groups, by the image's names or by number, that its processes are in.
    pub group_add: Vec<String>,
    /// Columns and rows that its terminal has from the start.
    pub console_size: Option<(u16, u16)>,
    /// Standard input stays open.
    pub stdin_open: bool,
    /// Gone, with its anonymous volumes, when it ends.
    pub auto_remove: bool,
    /// The network.
    pub network: NetworkMode,
    /// Further names in a network of one's own.
    pub aliases: Vec<String>,
    /// A fixed address.
    pub ip: Option<IpAddr>,
    /// Ports to publish.
    pub ports: Vec<PublishedPort>,
    /// Ports beside the image's that it exposes: `80` or `80/udp`. They are published with `publish_all`, and told to containers that link it.
    pub expose: Vec<String>,
    /// Publish every exposed port at a free port of the host.
    pub publish_all: bool,
    /// Further lines of `/etc/hosts`: name and address.
    pub extra_hosts: Vec<(String, IpAddr)>,
    /// Name servers instead of the host's.
    pub dns: Vec<IpAddr>,
    /// Search domains instead of the host's.
    pub dns_search: Vec<String>,
    /// Options of the resolver instead of the host's, as `ndots:2`; resolv.conf(5) has them.
    pub dns_options: Vec<String>,
    /// Further names for other containers, for this one alone: a container's name or id, and the name.
    pub links: Vec<(String, String)>,
    /// Containers whose volumes and bind mounts it gets too: a name or id, and `:ro` for them to be read-only.
    pub volumes_from: Vec<String>,
    /// Volumes, bind mounts and tmpfs.
    pub mounts: Vec<MountSpec>,
    /// Secrets and configs: files in memory. Their content is in no record.
    pub secrets: Vec<Secret>,
    /// The root is read-only.
    pub read_only: bool,
    /// All capabilities, all devices, no filter, nothing masked.
    pub privileged: bool,
    /// Capabilities beside the default ones, without `CAP_`; `ALL` for all.
    pub cap_add: Vec<String>,
    /// Capabilities to take away; `ALL` for all.
    pub cap_drop: Vec<String>,
    /// The seccomp filter.
    pub seccomp: Seccomp,
    /// Set-id bits and file capabilities gain nothing.
    pub no_new_privileges: bool,
    /// Limits.
    pub resources: Resources,
    /// Sysctls of the container's own namespaces.
    pub sysctls: BTreeMap<String, String>,
    /// Process limits: name, soft, hard.
    pub ulimits: Vec<Ulimit>,
    /// Devices of the host.
    pub devices: Vec<DeviceSpec>,
    /// Size of `/dev/shm`; 64 MiB if none is given.
    #[serde(with = "units::bytes")]
    pub shm_size: Option<Bytes>,
    /// Share the host's process ids.
    pub host_pid: bool,
    /// Share the host's System V IPC and message queues.
    pub host_ipc: bool,
    /// When to start again.
    pub restart: RestartPolicy,
    /// The signal that asks it to stop, instead of the image's.
    pub stop_signal: Option<String>,
    /// How it is asked whether it is well, over what the image says.
    pub health: Option<HealthCheck>,
    /// How long `stop` waits before it kills; 10 s if none is given.
    pub stop_timeout: Option<Duration>,
    /// Rotation of the log.
    pub log: LogOptions,
}

/// Limits of a container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Resources {
    /// Memory.
    #[serde(with = "units::bytes")]
    pub memory: Option<Bytes>,
    /// Memory and swap together; twice the memory if none is given.
    #[serde(with = "units::bytes")]
    pub memory_swap: Option<Bytes>,
    /// Memory that is given back first when the host is short.
    #[serde(with = "units::bytes")]
    pub memory_reservation: Option<Bytes>,
    /// Processors.
    #[serde(with = "units::cpus")]
    pub cpus: Option<Cpus>,
    /// Weight among others, 2 to 262144; 1024 is the usual.
    pub cpu_shares: Option<u64>,
    /// Which processors, as `0-2,4`.
    pub cpuset_cpus: Option<String>,
    /// Which memory nodes.
    pub cpuset_mems: Option<String>,
    /// How many processes.
    pub pids: Option<i64>,
    /// How likely the kernel kills it when memory is short, -1000 to 1000.
    pub oom_score_adj: Option<i32>,
}

impl Resources {
    /// Takes over what `newer` says, and keeps the rest.
    pub fn merge(&mut self, newer: &Self) {
        fn take<T: Clone>(mine: &mut Option<T>, newer: Option<&T>) {
            if let Some(newer) = newer {
                *mine = Some(newer.clone());
            }
        }
        take(&mut self.memory, newer.memory.as_ref());
        take(&mut self.memory_swap, newer.memory_swap.as_ref());
        take(&mut self.memory_reservation, newer.memory_reservation.as_ref());
        take(&mut self.cpus, newer.cpus.as_ref());
        take(&mut self.cpu_shares, newer.cpu_shares.as_ref());
        take(&mut self.cpuset_cpus, newer.cpuset_cpus.as_ref());
        take(&mut self.cpuset_mems, newer.cpuset_mems.as_ref());
        take(&mut self.pids, newer.pids.as_ref());
        take(&mut self.oom_score_adj, newer.oom_score_adj.as_ref());
    }
}

/// The network of a container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum NetworkMode {
    /// The network `bridge`.
    #[default]
    Bridge,
    /// None but a loopback interface.
    None,
    /// The host's own.
    Host,
    /// Another container's.
    Container(String),
    /// A network of one's own, by name or id.
    Named(String),
}

impl From<&str> for NetworkMode {
    fn from(text: &str) -> Self {
        match text {
            "" | "default" | "bridge" => Self::Bridge,
            "none" => Self::None,
            "host" => Self::Host,
            other => match other.strip_prefix("container:") {
                Some(container) => Self::Container(container.to_owned()),
                None => Self::Named(other.to_owned()),
            },
        }
    }
}

impl fmt::Display for NetworkMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bridge => f.write_str("bridge"),
            Self::None => f.write_str("none"),
            Self::Host => f.write_str("host"),
            Self::Container(container) => write!(f, "container:{container}"),
            Self::Named(name) => f.write_str(name),
        }
    }
}

/// The seccomp filter of a container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Seccomp {
    /// Docker's default profile.
    #[default]
    Default,
    /// No filter.
    Unconfined,
    /// A profile of one's own: JSON of an OCI `linux.seccomp`.
    Profile(serde_json::Value),
}

/// When a container that ended is started again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum RestartPolicy {
    /// Never.
    #[default]
    No,
    /// When its code was not 0, at most so many times; 0 is without end.
    OnFailure(u32),
    /// Always, and at the engine's start.
    Always,
    /// Always, unless somebody stopped it.
    UnlessStopped,
}

impl FromStr for RestartPolicy {
    type Err = Error;

    /// Reads `no`, `on-failure[:N]`, `always` and `unless-stopped`.
    fn from_str(text: &str) -> Result<Self, Error> {
        let refuse = |reason: &str| Error::setting("restart policy", text, reason);
        Ok(match text.split_once(':') {
            None if matches!(text, "no" | "") => Self::No,
            None if text == "always" => Self::Always,
            None if text == "unless-stopped" => Self::UnlessStopped,
            None if text == "on-failure" => Self::OnFailure(0),
            Some(("on-failure", count)) => {
                Self::OnFailure(count.parse().map_err(|_| refuse("the count of tries is not a number"))?)
            }
            Some(("no" | "always" | "unless-stopped", _)) => {
                return Err(refuse("only on-failure takes a count of tries"));
            }
            _ => return Err(refuse("it is none of no, on-failure[:N], always, unless-stopped")),
        })
    }
}

impl fmt::Display for RestartPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::No => f.write_str("no"),
            Self::OnFailure(0) => f.write_str("on-failure"),
            Self::OnFailure(count) => write!(f, "on-failure:{count}"),
            Self::Always => f.write_str("always"),
            Self::UnlessStopped => f.write_str("unless-stopped"),
        }
    }
}

/// A process limit: `nofile=1024:2048`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ulimit {
    /// Its name, `nofile`.
    pub name: String,
    /// The soft limit.
    pub soft: u64,
    /// The hard limit.
    pub hard: u64,
}

const ULIMITS: [&str; 15] = [
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];

impl FromStr for Ulimit {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let refuse = |reason: &str| Error::setting("ulimit", text, reason);
        let (name, values) = text.split_once('=').ok_or_else(|| refuse("the form is NAME=SOFT[:HARD]"))?;
        if !ULIMITS.contains(&name) {
            return Err(refuse("there is no limit of this name"));
        }
        let number = |value: &str| match value {
            "-1" | "unlimited" => Ok(u64::MAX),
            value => value.parse::<u64>().map_err(|_| refuse("a limit is a number, or -1 for none")),
        };
        let (soft, hard) = values.split_once(':').unwrap_or((values, values));
        let (soft, hard) = (number(soft)?, number(hard)?);
        if soft > hard {
            return Err(refuse("the soft limit is above the hard one"));
        }
        Ok(Self { name: name.to_owned(), soft, hard })
    }
}

/// A device of the host in a container: `HOST[:CONTAINER[:rwm]]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceSpec {
    /// The path on the host.
    pub source: String,
    /// The path in the container.
    pub target: String,
    /// Any of `r`, `w` and `m`.
    pub access: String,
}

impl FromStr for DeviceSpec {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let refuse = |reason: &str| Error::setting("device", text, reason);
        let is_access = |part: &str| !part.is_empty() && part.bytes().all(|b| b"rwm".contains(&b));
        let parts: Vec<&str> = text.split(':').collect();
        let (source, target, access) = match parts.as_slice() {
            [source] => (*source, *source, "rwm"),
            [source, access] if is_access(access) => (*source, *source, *access),
            [source, target] => (*source, *target, "rwm"),
            [source, target, access] if is_access(access) => (*source, *target, *access),
            [_, _, _] => return Err(refuse("the access is made of r, w and m")),
            _ => return Err(refuse("the form is HOST[:CONTAINER[:rwm]]")),
        };
        if !source.starts_with("/dev/") || !target.starts_with('/') || target.contains("..") {
            return Err(refuse("the host's path is below /dev, the container's is absolute"));
        }
        Ok(Self { source: source.to_owned(), target: target.to_owned(), access: access.to_owned() })
    }
}

/// How a container is asked whether it is well. What is not given is the image's, or the default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HealthCheck {
    /// Not at all, whatever the image says.
    pub disabled: bool,
    /// The command: `CMD` and words, or `CMD-SHELL` and a line for the shell.
    pub test: Vec<String>,
    /// From one check to the next; 30 s.
    pub interval: Option<Duration>,
    /// How long a check may take; 30 s.
    pub timeout: Option<Duration>,
    /// Failures in this time after the start do not count; none.
    pub start_period: Option<Duration>,
    /// From one check to the next within that time; 5 s.
    pub start_interval: Option<Duration>,
    /// So many failures in a row make it unhealthy; 3.
    pub retries: Option<u32>,
}

/// How a container's log is kept.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LogOptions {
    /// Nothing is logged.
    pub none: bool,
    /// A log of this size is put aside.
    #[serde(with = "units::bytes")]
    pub max_size: Option<Bytes>,
    /// How many files there are, the current one among them.
    pub max_files: Option<u32>,
}

/// The types of `container-cgroup` as plain numbers in JSON.
mod units {
    macro_rules! number {
        ($name:ident, $unit:ident, $number:ty) => {
            pub(super) mod $name {
                use container_cgroup::$unit;
                use serde::{Deserialize, Deserializer, Serialize, Serializer};

                #[allow(clippy::ref_option, reason = "serde gives the field")]
                pub(crate) fn serialize<S: Serializer>(
                    value: &Option<$unit>,
                    serializer: S,
                ) -> Result<S::Ok, S::Error> {
                    value.map(|value| value.0).serialize(serializer)
                }

                pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
                    deserializer: D,
                ) -> Result<Option<$unit>, D::Error> {
                    Ok(Option::<$number>::deserialize(deserializer)?.map($unit))
                }
            }
        };
    }
    number!(bytes, Bytes, u64);
    number!(cpus, Cpus, u32);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_read_as_docker_reads_them() {
        assert_eq!("on-failure:3".parse::<RestartPolicy>().unwrap(), RestartPolicy::OnFailure(3));
        assert!("sometimes".parse::<RestartPolicy>().is_err());
        assert!("always:3".parse::<RestartPolicy>().is_err());
        let ulimit: Ulimit = "nofile=10:20".parse().unwrap();
        assert_eq!((ulimit.soft, ulimit.hard), (10, 20));
        for bad in ["nofile", "nofile=x", "nofile=20:10", "bogus=1"] {
            assert!(bad.parse::<Ulimit>().is_err(), "{bad}");
        }
        let device: DeviceSpec = "/dev/null:/dev/x:rw".parse().unwrap();
        assert_eq!((device.target.as_str(), device.access.as_str()), ("/dev/x", "rw"));
        for bad in ["/etc/passwd", "/dev/null:x", "/dev/null:/a/../b", "/dev/null:/x:q"] {
            assert!(bad.parse::<DeviceSpec>().is_err(), "{bad}");
        }
    }

    #[test]
    fn options_survive_their_record() {
        let options = ContainerOptions {
            image: "x".to_owned(),
            resources: Resources {
                memory: Some(Bytes::mib(64)),
                cpus: Some(Cpus(1500)),
                ..Resources::default()
            },
            network: NetworkMode::from("container:x"),
            ..ContainerOptions::default()
        };
        let text = serde_json::to_string(&options).unwrap();
        assert_eq!(serde_json::from_str::<ContainerOptions>(&text).unwrap(), options);
    }
}
