use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::HealthSpec;

/// `monitor.json`: what the monitor is to do beside running the bundle in its directory.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MonitorSpec {
    /// Id of the container, also in the runtime's directory.
    pub container_id: String,
    /// The runtime's directory ([`Runtime::new`](crate::Runtime::new)).
    pub oci_root: PathBuf,
    /// Where stdout and stderr are written to; nowhere if absent.
    #[serde(default)]
    pub log: Option<LogSpec>,
    /// Whether the process has a terminal; `config.json` says the same.
    #[serde(default)]
    pub tty: bool,
    /// Whether stdin stays open for clients; else it is `/dev/null`.
    #[serde(default)]
    pub stdin_open: bool,
    /// Whether stdin is closed when the client of `--attach-fd` goes away.
    #[serde(default)]
    pub stdin_once: bool,
    /// Networks to attach the container's network namespace to, in this order.
    #[serde(default)]
    pub networks: Vec<container_net::Attachment>,
    /// What to do when the process ends.
    #[serde(default)]
    pub restart: Restart,
    /// Signal that asks the process to end, sent when the monitor itself is asked to by SIGTERM.
    #[serde(default = "sigterm")]
    pub stop_signal: String,
    /// How long the process may take to end before it is killed, milliseconds.
    #[serde(default = "ten_seconds")]
    pub stop_timeout_ms: u64,
    /// A program and its arguments, run detached when the container is down for good and no client is attached.
    #[serde(default)]
    pub exit_command: Option<Vec<String>>,
    /// Names at 127.0.0.11; only with networks.
    #[serde(default)]
    pub resolv: Option<Resolv>,
    /// How the container is asked whether it is well.
    #[serde(default)]
    pub health: Option<HealthSpec>,
    /// A file to which the monitor appends one JSON line, in one `write`, for each `die`, `oom`, `restart` and `health_status: …` of the container:
    /// `{"time":RFC3339,"type":"container","action":"die","id":…,"attributes":{…,"exitCode":"0"}}`. A failure to write it is no failure.
    #[serde(default)]
    pub events: Option<PathBuf>,
    /// Attributes of each such line (name, image), beside `exitCode` of a `die`.
    #[serde(default)]
    pub event_attributes: BTreeMap<String, String>,
}

fn sigterm() -> String {
    "SIGTERM".to_owned()
}

fn ten_seconds() -> u64 {
    10_000
}

impl MonitorSpec {
    /// A monitor without log, terminal, stdin, networks and restarts.
    pub fn new(container_id: impl Into<String>, oci_root: impl Into<PathBuf>) -> Self {
        Self {
            container_id: container_id.into(),
            oci_root: oci_root.into(),
            log: None,
            tty: false,
            stdin_open: false,
            stdin_once: false,
            networks: Vec::new(),
            restart: Restart::No,
            stop_signal: sigterm(),
            stop_timeout_ms: ten_seconds(),
            exit_command: None,
            resolv: None,
            health: None,
            events: None,
            event_attributes: BTreeMap::new(),
        }
    }
}

/// A log in the form of Docker's json-file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogSpec {
    /// The file; `path.1`, `path.2` … are older ones.
    pub path: PathBuf,
    /// Size at which it is rotated, bytes; never if absent.
    #[serde(default)]
    pub max_size: Option<u64>,
    /// How many files are kept in all, at least 1; 1 if absent.
    #[serde(default)]
    pub max_files: Option<u32>,
}

/// When a process that has ended is started again. A file `stop-requested` in the monitor's directory rules it out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Restart {
    /// Never.
    #[default]
    No,
    /// When its exit code is not zero.
    OnFailure {
        /// At most so many times; without bound if absent.
        #[serde(default)]
        max: Option<u32>,
    },
    /// Always.
    Always,
    /// Always; differs from [`Restart::Always`] only for an engine that starts.
    UnlessStopped,
}

impl Restart {
    /// Whether a process that ended with `code` after `count` restarts is started again.
    pub(crate) fn again(self, code: i32, count: u32) -> bool {
        match self {
            Self::No => false,
            Self::OnFailure { max } => code != 0 && max.is_none_or(|max| count < max),
            Self::Always | Self::UnlessStopped => true,
        }
    }
}

/// The name service's settings.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resolv {
    /// Servers that are asked for names of the world, from the host's network.
    #[serde(default)]
    pub upstreams: Vec<SocketAddr>,
    /// Ids of networks whose names are not served: Docker's default bridge knows no names.
    #[serde(default)]
    pub nameless: Vec<String>,
    /// What further names stand for, in any of the networks: `--link`.
    #[serde(default)]
    pub links: BTreeMap<String, String>,
}
