use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::Health;

/// `status.json`: replaced whole at every change of phase.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "phase", rename_all = "lowercase")]
#[non_exhaustive]
pub enum MonitorStatus {
    /// The process runs.
    Running {
        /// Its number on the host.
        pid: i32,
        /// RFC 3339.
        started_at: String,
        /// How many times it has been started again.
        restart_count: u32,
        /// Networks as attached.
        #[serde(default)]
        networks: Vec<NetworkStatus>,
        /// What health checks say; none without one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        health: Option<Health>,
    },
    /// The process has ended and will be started again.
    Restarting {
        /// Exit code, 128 + n for signal n.
        exit_code: i32,
        /// RFC 3339.
        started_at: String,
        /// RFC 3339.
        finished_at: String,
        /// How many times it has been started again.
        restart_count: u32,
        /// Why the last start failed, if it did.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        error: Option<String>,
    },
    /// The process has ended for good.
    Exited {
        /// Exit code, 128 + n for signal n.
        exit_code: i32,
        /// The signal that ended it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        signal: Option<i32>,
        /// Whether the kernel killed one of its processes for lack of memory.
        oom_killed: bool,
        /// RFC 3339.
        started_at: String,
        /// RFC 3339.
        finished_at: String,
        /// How many times it has been started again.
        restart_count: u32,
        /// What went wrong besides.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        error: Option<String>,
    },
}

/// One network as attached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkStatus {
    /// The network's id.
    pub id: String,
    /// The container's addresses.
    pub addresses: Vec<IpAddr>,
    /// The container's hardware address.
    pub mac: container_net::MacAddr,
    /// Published ports, with the host ports that were chosen.
    pub ports: Vec<container_net::PublishedPort>,
}

/// The line that the monitor writes to `--sync-fd` when the first start has succeeded or failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Report {
    /// The process runs and has this number on the host.
    Started(i32),
    /// It could not be started; nothing is left of it.
    Error {
        /// For people.
        message: String,
        /// `not-found`, `not-executable`, `port-taken`, `pool-empty`, `network`, `locked`, `config` or `failed`.
        kind: String,
        /// 127, 126 or 125.
        exit_code: i32,
    },
}

impl Report {
    pub(crate) fn of(error: &crate::Error) -> Self {
        use container_net::Error as Net;
        let exit_code = error.exit_code();
        let kind = match (exit_code, error) {
            (127, _) => "not-found",
            (126, _) => "not-executable",
            (_, crate::Error::Network(Net::PortTaken { .. })) => "port-taken",
            (_, crate::Error::Network(Net::PoolExhausted { .. })) => "pool-empty",
            (_, crate::Error::Network(_)) => "network",
            (_, crate::Error::Exists { .. }) => "locked",
            (_, crate::Error::Config { .. } | crate::Error::Json { .. }) => "config",
            _ => "failed",
        };
        Self::Error { message: crate::describe(error), kind: kind.to_owned(), exit_code }
    }
}
