//! A service: one kind of container of the project.
use std::time::Duration;

use super::build::Build;
use super::deploy::{Deploy, DeviceRequest};
use super::develop::{Develop, Hook, PreStart};
use super::health::{Healthcheck, Logging};
use super::mount::{FileMount, Mount};
use super::network::Attachment;
use super::port::Port;
use super::scalar::{Command, Hosts, Location, OneOrMany, Options, Pairs, Scalar};
use crate::diagnostic::Diagnostic;
use crate::map::Map;
use crate::shape::{Reader, Shape, long_only, record};
use crate::units::Bytes;
use crate::yaml::{Node, Value};

record! {
    /// A service: one kind of container of the project.
    Service, "a service", {
        /// Profiles that switch it on; none means that it is always on.
        "profiles" profiles: Vec<String>,
        /// Annotations of its containers.
        "annotations" annotations: Pairs,
        /// Whether `up` shows its output.
        "attach" attach: Option<bool>,
        /// How its image is made.
        "build" build: Option<Build>,
        /// What is done while somebody works on its sources.
        "develop" develop: Option<Develop>,
        /// Limits of block devices.
        "blkio_config" blkio_config: Option<Blkio>,
        /// Rights that are added.
        "cap_add" cap_add: Vec<String>,
        /// Rights that are taken away.
        "cap_drop" cap_drop: Vec<String>,
        /// The parent of its cgroup.
        "cgroup_parent" cgroup_parent: Option<String>,
        /// `host` or `private`.
        "cgroup" cgroup: Option<String>,
        /// How many processors it sees, on Windows.
        "cpu_count" cpu_count: Option<i64>,
        /// What part of them it may use, on Windows, in percent.
        "cpu_percent" cpu_percent: Option<f64>,
        /// The period of the scheduler in microseconds.
        "cpu_period" cpu_period: Option<Scalar>,
        /// How much of the period it may run, in microseconds.
        "cpu_quota" cpu_quota: Option<Scalar>,
        /// The period of real-time scheduling in microseconds, or a duration.
        "cpu_rt_period" cpu_rt_period: Option<Scalar>,
        /// How much of that period it may run.
        "cpu_rt_runtime" cpu_rt_runtime: Option<Scalar>,
        /// How many processors it may use.
        "cpus" cpus: Option<f64>,
        /// Which processors it may use, as in `0-3`.
        "cpuset" cpuset: Option<String>,
        /// Its weight among others.
        "cpu_shares" cpu_shares: Option<i64>,
        /// The command in place of the image's.
        "command" command: Option<Command>,
        /// Configs of the project.
        "configs" configs: Vec<FileMount>,
        /// The name of its one container.
        "container_name" container_name: Option<String>,
        /// Credentials, on Windows.
        "credential_spec" credential_spec: Option<CredentialSpec>,
        /// Services that come before it.
        "depends_on" depends_on: Dependencies,
        /// How it is deployed.
        "deploy" deploy: Option<Deploy>,
        /// Rules of the device cgroup.
        "device_cgroup_rules" device_cgroup_rules: Vec<String>,
        /// Devices of the host.
        "devices" devices: Vec<Device>,
        /// Name servers.
        "dns" dns: OneOrMany,
        /// Options of the resolver.
        "dns_opt" dns_opt: Vec<String>,
        /// Domains that are searched.
        "dns_search" dns_search: OneOrMany,
        /// Its domain.
        "domainname" domainname: Option<String>,
        /// The entry point in place of the image's.
        "entrypoint" entrypoint: Option<Command>,
        /// Who runs it in place of an engine.
        "provider" provider: Option<Provider>,
        /// Its variables; one without value stays unset.
        "environment" environment: Pairs,
        /// Files of variables; empty once they are read into `environment`.
        "env_file" env_file: EnvFiles,
        /// Ports that others may reach.
        "expose" expose: Vec<Scalar>,
        /// The service that it extends; empty once that is done.
        "extends" extends: Option<Extends>,
        /// Containers outside of the project.
        "external_links" external_links: Vec<String>,
        /// Hosts with addresses.
        "extra_hosts" extra_hosts: Hosts,
        /// Further groups.
        "group_add" group_add: Vec<Scalar>,
        /// Graphics processors.
        "gpus" gpus: Gpus,
        /// The name of its host.
        "hostname" hostname: Option<String>,
        /// How its health is found out.
        "healthcheck" healthcheck: Option<Healthcheck>,
        /// Its image.
        "image" image: Option<String>,
        /// Whether a small init is the first process.
        "init" init: Option<bool>,
        /// The IPC namespace.
        "ipc" ipc: Option<String>,
        /// The kind of isolation.
        "isolation" isolation: Option<String>,
        /// Labels of its containers.
        "labels" labels: Pairs,
        /// Files of labels; empty once they are read into `labels`.
        "label_file" label_file: LabelFiles,
        /// Services with other names, `SERVICE[:NAME]`.
        "links" links: Vec<String>,
        /// Where its output goes.
        "logging" logging: Option<Logging>,
        /// How much memory it may use.
        "mem_limit" mem_limit: Option<Bytes>,
        /// How much memory it is left with when memory is short.
        "mem_reservation" mem_reservation: Option<Bytes>,
        /// How much memory and swap together; -1 means no limit.
        "memswap_limit" memswap_limit: Option<Bytes>,
        /// How readily it is swapped, from 0 to 100.
        "mem_swappiness" mem_swappiness: Option<i64>,
        /// The MAC address of its container.
        "mac_address" mac_address: Option<String>,
        /// Language models that it uses.
        "models" models: ModelUses,
        /// `none`, `host`, `bridge`, `service:NAME` or `container:NAME`.
        "network_mode" network_mode: Option<String>,
        /// Networks that it joins.
        "networks" networks: Networks,
        /// Whether the kernel never ends it when memory is short.
        "oom_kill_disable" oom_kill_disable: Option<bool>,
        /// How readily the kernel ends it, from -1000 to 1000.
        "oom_score_adj" oom_score_adj: Option<i64>,
        /// The PID namespace.
        "pid" pid: Option<String>,
        /// How many processes it may have; -1 means no limit.
        "pids_limit" pids_limit: Option<i64>,
        /// Its platform, as in `linux/amd64`.
        "platform" platform: Option<String>,
        /// Ports that it publishes, ranges spread out.
        "ports" ports: Vec<Port>,
        /// Whether it has every right.
        "privileged" privileged: Option<bool>,
        /// When its image is pulled.
        "pull_policy" pull_policy: Option<String>,
        /// How old an image may become, for `pull_policy: refresh`.
        "pull_refresh_after" pull_refresh_after: Option<String>,
        /// Whether its root cannot be written to.
        "read_only" read_only: Option<bool>,
        /// `no`, `always`, `on-failure[:N]` or `unless-stopped`.
        "restart" restart: Option<String>,
        /// The OCI runtime.
        "runtime" runtime: Option<String>,
        /// How many containers.
        "scale" scale: Option<i64>,
        /// Secrets of the project.
        "secrets" secrets: Vec<FileMount>,
        /// Settings of AppArmor, SELinux and seccomp.
        "security_opt" security_opt: Vec<String>,
        /// The size of `/dev/shm`.
        "shm_size" shm_size: Option<Bytes>,
        /// Whether its standard input is open.
        "stdin_open" stdin_open: Option<bool>,
        /// How long it has to stop before it is ended.
        "stop_grace_period" stop_grace_period: Option<Duration>,
        /// The signal that asks it to stop.
        "stop_signal" stop_signal: Option<String>,
        /// Options of the storage driver.
        "storage_opt" storage_opt: Options,
        /// Parameters of the kernel.
        "sysctls" sysctls: Pairs,
        /// Paths with memory mounted.
        "tmpfs" tmpfs: OneOrMany,
        /// Whether it has a terminal.
        "tty" tty: Option<bool>,
        /// Limits of its processes.
        "ulimits" ulimits: Map<Ulimit>,
        /// Whether it reaches the engine's socket.
        "use_api_socket" use_api_socket: Option<bool>,
        /// The user, and the group behind a colon.
        "user" user: Option<String>,
        /// The user namespace.
        "userns_mode" userns_mode: Option<String>,
        /// The UTS namespace.
        "uts" uts: Option<String>,
        /// What it mounts.
        "volumes" volumes: Vec<Mount>,
        /// Services or containers whose mounts it has too.
        "volumes_from" volumes_from: Vec<String>,
        /// The directory of its command.
        "working_dir" working_dir: Option<String>,
        /// Commands before it starts.
        "pre_start" pre_start: Vec<PreStart>,
        /// Commands after it started.
        "post_start" post_start: Vec<Hook>,
        /// Commands before it is stopped.
        "pre_stop" pre_stop: Vec<Hook>,
    }
}

impl Shape for Service {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        if node.as_map().is_none() {
            let finding = Diagnostic::error(node.span, format!("here is {}", node.kind()))
                .expected("a mapping, a service");
            reader.report(if node.is_null() {
                finding.suggest("indent the keys of the service further than its name")
            } else {
                crate::slips::colonless(node, finding)
            });
            return None;
        }
        let mut service = Self::read_record(node, reader)?;
        let word = |key: &str| {
            node.get(key)
                .filter(|held| held.as_text() == Some("no") && reader.sources.slice(held.span) == Some("no"))
        };
        if let Some(held) = word("restart") {
            let finding = Diagnostic::hint(held.span, "readers of YAML 1.1 take `no` for false");
            reader.under("restart", |reader| reader.report(finding.suggest("write it in quotes: \"no\"")));
        }
        if let Some(restart) = &mut service.restart {
            if restart == "false" {
                "no".clone_into(restart);
            }
            let (policy, count) = restart
                .split_once(':')
                .map_or((restart.as_str(), None), |(policy, count)| (policy, Some(count)));
            let known = matches!(policy, "no" | "always" | "on-failure" | "unless-stopped" | "");
            if !known || count.is_some_and(|count| policy != "on-failure" || count.parse::<u32>().is_err()) {
                let held = node.get("restart").unwrap_or(node);
                reader.under("restart", |reader| {
                    reader.mismatch::<()>(held, "`no`, `always`, `on-failure[:N]` or `unless-stopped`")
                });
            }
        }
        let conditions: &[(&str, &Option<String>, &[&str])] =
            &[("cgroup", &service.cgroup, &["host", "private"])];
        for (key, value, words) in conditions {
            if value.as_deref().is_some_and(|value| !words.contains(&value)) {
                let held = node.get(key).unwrap_or(node);
                reader.under(key, |reader| reader.mismatch::<()>(held, &words.join(" or ")));
            }
        }
        if let (Some(policy), Some(held)) = (&service.pull_policy, node.get("pull_policy")) {
            let known = matches!(
                policy.as_str(),
                "always" | "never" | "build" | "if_not_present" | "missing" | "refresh" | "daily" | "weekly"
            );
            let every =
                policy.strip_prefix("every_").is_some_and(|period| crate::units::duration(period).is_ok());
            if !known && !every {
                reader.under("pull_policy", |reader| {
                    reader.mismatch::<()>(
                        held,
                        "always, never, build, missing, refresh, daily, weekly or every_DURATION",
                    )
                });
            }
        }
        Some(service)
    }
    fn write(&self) -> Option<Node> {
        Some(self.write_record())
    }
}

record! {
    /// A service that comes before another.
    Dependency, "a dependency", {
        /// `service_started`, `service_healthy` or `service_completed_successfully`.
        "condition" condition: Option<String>,
        /// Whether the dependent one is started again with it.
        "restart" restart: Option<bool>,
        /// Whether it must be there.
        "required" required: Option<bool>,
    }
}

/// Services that come before one: a list of names, or a mapping with conditions.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Dependencies(pub Map<Dependency>);

const CONDITIONS: &[&str] = &["service_started", "service_healthy", "service_completed_successfully"];

impl Shape for Dependency {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let mut dependency = Self::read_record(node, reader)?;
        if let Some(condition) =
            dependency.condition.as_deref().filter(|condition| !CONDITIONS.contains(condition))
        {
            let span = node.get("condition").map_or(node.span, |held| held.span);
            let finding = Diagnostic::error(span, format!("`{condition}` is no condition"))
                .expected(CONDITIONS.join(", "));
            let finding = match crate::diagnostic::nearest(condition, CONDITIONS.iter().copied()) {
                Some(near) => finding.suggest(format!("did you mean `{near}`?")),
                None => finding,
            };
            reader.under("condition", |reader| reader.report(finding));
        }
        dependency.condition.get_or_insert_with(|| "service_started".to_owned());
        dependency.required.get_or_insert(true);
        Some(dependency)
    }
    fn write(&self) -> Option<Node> {
        Some(self.write_record())
    }
}

/// Newtypes over a map that a list of names may stand for.
macro_rules! named_map {
    ($name:ident, $type:ty) => {
        impl std::ops::Deref for $name {
            type Target = Map<$type>;
            fn deref(&self) -> &Self::Target {
                &self.0
            }
        }

        impl Shape for $name {
            fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
                let Value::List(items) = &node.value else {
                    return Map::read(node, reader).map(Self);
                };
                let mut map = Map::new();
                for (at, item) in items.iter().enumerate() {
                    let Some(name) = reader.item(at, |reader| String::read(item, reader)) else { continue };
                    let value = <$type>::read(&Node::default(), reader).unwrap_or_default();
                    if map.insert(name.as_str(), value).is_some() {
                        let finding =
                            Diagnostic::warning(item.span, format!("`{name}` is in the list twice"));
                        reader.item(at, |reader| reader.report(finding));
                    }
                }
                Some(Self(map))
            }
            fn write(&self) -> Option<Node> {
                self.0.write()
            }
        }
    };
}

/// Networks that a service joins: a list of names, or a mapping with settings.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Networks(pub Map<Attachment>);

/// Language models that a service uses: a list of names, or a mapping with settings.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ModelUses(pub Map<ModelUse>);

record! {
    /// How a service finds a language model.
    ModelUse, "a model of a service", {
        /// The variable that gets the address.
        "endpoint_var" endpoint_var: Option<String>,
        /// The variable that gets the model's name.
        "model_var" model_var: Option<String>,
    }
}

long_only!(ModelUse);
named_map!(Dependencies, Dependency);
named_map!(Networks, Attachment);
named_map!(ModelUses, ModelUse);

record! {
    /// A device of the host.
    Device, "a device", {
        /// The path of the host, or a name of CDI.
        "source" source: String,
        /// The path in the container.
        "target" target: Option<String>,
        /// `r`, `w` and `m`.
        "permissions" permissions: Option<String>,
    }
}

impl Shape for Device {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let Value::Text(text) = &node.value else {
            let device = Self::read_record(node, reader)?;
            if device.source.is_empty() {
                reader.report(
                    Diagnostic::error(node.span, "the device has no `source`").expected("a path of the host"),
                );
                return None;
            }
            return Some(device);
        };
        let parts: Vec<&str> = text.split(':').collect();
        let (source, target, permissions) = match parts.as_slice() {
            [source] => (*source, *source, "rwm"),
            [source, target] => (*source, *target, "rwm"),
            [source, target, permissions] => (*source, *target, *permissions),
            _ => return reader.mismatch(node, "`SOURCE[:TARGET[:PERMISSIONS]]`"),
        };
        if source.is_empty() || target.is_empty() {
            return reader.mismatch(node, "`SOURCE[:TARGET[:PERMISSIONS]]`");
        }
        Some(Self {
            source: source.to_owned(),
            target: Some(target.to_owned()),
            permissions: Some(permissions.to_owned()),
            ..Self::default()
        })
    }
    fn write(&self) -> Option<Node> {
        Some(self.write_record())
    }
}

/// A limit of processes; one number is both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Ulimit {
    /// What a process may raise it to itself; -1 means no limit.
    pub soft: i64,
    /// What it may be raised to at all; -1 means no limit.
    pub hard: i64,
}

impl Shape for Ulimit {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let Value::Map(map) = &node.value else {
            return i64::read(node, reader).map(|limit| Self { soft: limit, hard: limit });
        };
        let mut limit = |key: &str| {
            let member = map.get(key)?;
            reader.under(key, |reader| i64::read(&member.node, reader))
        };
        let (soft, hard) = (limit("soft"), limit("hard"));
        for (key, member) in
            map.iter().filter(|(key, _)| !matches!(*key, "soft" | "hard") && !key.starts_with("x-"))
        {
            reader.under(key, |reader| reader.unknown(key, member.key_span, "a limit", &["soft", "hard"]));
        }
        if let (Some(soft), Some(hard)) = (soft, hard) {
            return Some(Self { soft, hard });
        }
        if !map.contains_key("soft") || !map.contains_key("hard") {
            reader.report(
                Diagnostic::error(node.span, "the limit needs both `soft` and `hard`")
                    .expected("a number, or `soft` and `hard`"),
            );
        }
        None
    }
    fn write(&self) -> Option<Node> {
        if self.soft == self.hard {
            return Some(Node::int(self.soft));
        }
        Some(Node::map([("hard", Node::int(self.hard)), ("soft", Node::int(self.soft))]))
    }
}

record! {
    /// Limits of block devices.
    Blkio, "`blkio_config`", {
        /// The weight among others, from 10 to 1000.
        "weight" weight: Option<i64>,
        /// The weight at one device.
        "weight_device" weight_device: Vec<BlkioWeight>,
        /// Bytes read in a second.
        "device_read_bps" device_read_bps: Vec<BlkioLimit>,
        /// Reads in a second.
        "device_read_iops" device_read_iops: Vec<BlkioLimit>,
        /// Bytes written in a second.
        "device_write_bps" device_write_bps: Vec<BlkioLimit>,
        /// Writes in a second.
        "device_write_iops" device_write_iops: Vec<BlkioLimit>,
    }
}

record! {
    /// A limit of one block device.
    BlkioLimit, "a limit of a device", {
        /// The device.
        "path" path: Option<String>,
        /// Bytes or operations in a second.
        "rate" rate: Option<Bytes>,
    }
}

record! {
    /// A weight at one block device.
    BlkioWeight, "a weight at a device", {
        /// The device.
        "path" path: Option<String>,
        /// The weight.
        "weight" weight: Option<i64>,
    }
}

record! {
    /// Credentials, on Windows.
    CredentialSpec, "`credential_spec`", {
        /// A config that holds them.
        "config" config: Option<String>,
        /// A file that holds them.
        "file" file: Option<String>,
        /// A key of the registry that holds them.
        "registry" registry: Option<String>,
    }
}

record! {
    /// Who runs a service in place of an engine.
    Provider, "`provider`", {
        /// The program.
        "type" kind: Option<String>,
        /// Its options; each may have several values.
        "options" options: Map<ProviderValues>,
    }
}

/// The values of a provider's option.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ProviderValues(pub Vec<Scalar>);

impl Shape for ProviderValues {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        match &node.value {
            Value::List(_) => Vec::read(node, reader).map(Self),
            _ => Scalar::read(node, reader).map(|value| Self(vec![value])),
        }
    }
    fn write(&self) -> Option<Node> {
        self.0.write()
    }
}

record! {
    /// A service that another extends.
    Extends, "`extends`", {
        /// Its name.
        "service" service: Option<String>,
        /// The file that it stands in; none means the same.
        "file" file: Option<String>,
    }
}

impl Shape for Extends {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        match &node.value {
            Value::Text(service) => Some(Self { service: Some(service.clone()), ..Self::default() }),
            _ => Self::read_record(node, reader),
        }
    }
    fn write(&self) -> Option<Node> {
        Some(self.write_record())
    }
}

record! {
    /// A file of variables.
    EnvFile, "a file of variables", {
        /// Its path.
        "path" path: Location,
        /// Whether it must be there.
        "required" required: Option<bool>,
        /// `raw` for values as they stand; none for Compose's quotes and variables.
        "format" format: Option<String>,
    }
}

/// Files of variables, in order.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct EnvFiles(pub Vec<EnvFile>);

/// Files of labels, in order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LabelFiles(pub Vec<Location>);

impl Shape for EnvFile {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        if let Value::Text(_) = &node.value {
            return Location::read(node, reader).map(|path| Self {
                path,
                required: Some(true),
                ..Self::default()
            });
        }
        let mut file = Self::read_record(node, reader)?;
        if file.path.is_empty() {
            reader.report(
                Diagnostic::error(node.span, "the file of variables has no `path`").expected("a path"),
            );
            return None;
        }
        if let Some(format) = file.format.as_deref().filter(|format| *format != "raw") {
            let span = node.get("format").map_or(node.span, |held| held.span);
            let finding =
                Diagnostic::error(span, format!("`{format}` is no format of variables")).expected("`raw`");
            reader.under("format", |reader| reader.report(finding));
        }
        file.required.get_or_insert(true);
        Some(file)
    }
    fn write(&self) -> Option<Node> {
        Some(self.write_record())
    }
}

impl Shape for EnvFiles {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        match &node.value {
            Value::Text(_) => EnvFile::read(node, reader).map(|file| Self(vec![file])),
            _ => Vec::read(node, reader).map(Self),
        }
    }
    fn write(&self) -> Option<Node> {
        self.0.write()
    }
}

impl Shape for LabelFiles {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        match &node.value {
            Value::Text(_) => Location::read(node, reader).map(|file| Self(vec![file])),
            _ => Vec::read(node, reader).map(Self),
        }
    }
    fn write(&self) -> Option<Node> {
        self.0.write()
    }
}

/// Graphics processors: `all`, or requests.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Gpus(pub Vec<DeviceRequest>);

impl Shape for Gpus {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        match node.as_text() {
            Some("all") => Some(Self(vec![DeviceRequest {
                count: Some(super::deploy::Count(-1)),
                ..DeviceRequest::default()
            }])),
            Some(_) => reader.mismatch(node, "`all` or a list of requests"),
            None => Vec::read(node, reader).map(Self),
        }
    }
    fn write(&self) -> Option<Node> {
        self.0.write()
    }
}

long_only!(Blkio, BlkioLimit, BlkioWeight, CredentialSpec, Provider);
