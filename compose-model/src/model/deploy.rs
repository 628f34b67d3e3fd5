//! `deploy`: how many, where, with what.
use std::time::Duration;

use super::scalar::{Options, Pairs, Scalar};
use crate::shape::{Reader, Shape, long_only, record};
use crate::units::Bytes;
use crate::yaml::{Node, Value};

record! {
    /// How a service is deployed.
    Deploy, "`deploy`", {
        /// `replicated`, `global`, `replicated-job` or `global-job`.
        "mode" mode: Option<String>,
        /// How many containers.
        "replicas" replicas: Option<i64>,
        /// Labels of the service.
        "labels" labels: Pairs,
        /// How it is updated.
        "update_config" update_config: Option<Update>,
        /// How an update is taken back.
        "rollback_config" rollback_config: Option<Update>,
        /// What it needs and may use.
        "resources" resources: Option<Resources>,
        /// When its containers are started again.
        "restart_policy" restart_policy: Option<RestartPolicy>,
        /// Where it runs.
        "placement" placement: Option<Placement>,
        /// `vip` or `dnsrr`.
        "endpoint_mode" endpoint_mode: Option<String>,
    }
}

record! {
    /// How a service is updated, or an update taken back.
    Update, "an update", {
        /// How many containers at once; 0 means all.
        "parallelism" parallelism: Option<i64>,
        /// How long between them.
        "delay" delay: Option<Duration>,
        /// `continue`, `pause` or `rollback`.
        "failure_action" failure_action: Option<String>,
        /// How long a new one is watched.
        "monitor" monitor: Option<Duration>,
        /// What part may fail, from 0 to 1.
        "max_failure_ratio" max_failure_ratio: Option<f64>,
        /// `start-first` or `stop-first`.
        "order" order: Option<String>,
    }
}

record! {
    /// What a service needs and may use.
    Resources, "`resources`", {
        /// What it may use at most.
        "limits" limits: Option<Limits>,
        /// What must be there for it.
        "reservations" reservations: Option<Reservations>,
    }
}

record! {
    /// What a service may use at most.
    Limits, "`limits`", {
        /// Processors.
        "cpus" cpus: Option<f64>,
        /// Bytes of memory.
        "memory" memory: Option<Bytes>,
        /// Processes.
        "pids" pids: Option<i64>,
    }
}

record! {
    /// What must be there for a service.
    Reservations, "`reservations`", {
        /// Processors.
        "cpus" cpus: Option<f64>,
        /// Bytes of memory.
        "memory" memory: Option<Bytes>,
        /// Things that nodes say they have.
        "generic_resources" generic_resources: Vec<GenericResource>,
        /// Devices.
        "devices" devices: Vec<DeviceRequest>,
    }
}

record! {
    /// A thing that nodes say they have.
    GenericResource, "a generic resource", {
        /// How many of which kind.
        "discrete_resource_spec" discrete: Option<Discrete>,
    }
}

record! {
    /// How many of which kind.
    Discrete, "`discrete_resource_spec`", {
        /// The kind.
        "kind" kind: Option<String>,
        /// How many.
        "value" value: Option<Scalar>,
    }
}

record! {
    /// Devices that are asked for by what they can do.
    DeviceRequest, "a request of devices", {
        /// What they can do, as in `gpu`.
        "capabilities" capabilities: Vec<String>,
        /// The driver.
        "driver" driver: Option<String>,
        /// How many; -1 means all.
        "count" count: Option<Count>,
        /// Which ones.
        "device_ids" device_ids: Vec<String>,
        /// Options of the driver.
        "options" options: Options,
    }
}

/// How many devices; -1 means all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Count(pub i64);

impl Shape for Count {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        if node.as_text() == Some("all") {
            return Some(Self(-1));
        }
        match &node.value {
            Value::Int(_) | Value::Text(_) => i64::read(node, reader).map(Self),
            _ => reader.mismatch(node, "a number or `all`"),
        }
    }
    fn write(&self) -> Option<Node> {
        Some(Node::int(self.0))
    }
}

record! {
    /// When a container is started again.
    RestartPolicy, "`restart_policy`", {
        /// `none`, `on-failure` or `any`.
        "condition" condition: Option<String>,
        /// How long before it.
        "delay" delay: Option<Duration>,
        /// How often at most.
        "max_attempts" max_attempts: Option<i64>,
        /// How long it must run to count as started.
        "window" window: Option<Duration>,
    }
}

record! {
    /// Where a service runs.
    Placement, "`placement`", {
        /// What a node must fulfil.
        "constraints" constraints: Vec<String>,
        /// How containers are spread.
        "preferences" preferences: Vec<Preference>,
        /// How many on one node.
        "max_replicas_per_node" max_replicas_per_node: Option<i64>,
    }
}

record! {
    /// How containers are spread.
    Preference, "a preference of placement", {
        /// The label of nodes by whose values they are spread.
        "spread" spread: Option<String>,
    }
}

long_only!(
    Deploy,
    Update,
    Resources,
    Limits,
    Reservations,
    GenericResource,
    Discrete,
    DeviceRequest,
    RestartPolicy,
    Placement,
    Preference,
);
