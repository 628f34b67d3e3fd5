//! `POST /containers/create`: what a client says of a container, in the engine's own words.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use container_engine::{
    Bytes, ContainerOptions, DeviceSpec, EndpointOptions, HealthCheck, LogOptions, MountSpec, NetworkMode,
    PublishedPort, RemoveOptions, Resources, Ulimit,
};
use hyper::{Response, StatusCode};
use serde_json::{Map, Value, json};

use super::body::{json as reply, read_json};
use super::route::Call;
use super::{Fault, Reply};
use crate::command::options::{host_entries, link, security};

/// A JSON object of which one field after the other is taken. What is left in the end and says something is not known here, and
/// is refused by its name.
pub(super) struct Fields {
    path: String,
    map: Map<String, Value>,
}

impl Fields {
    pub(super) fn new(path: &str, value: Value) -> Result<Self, Fault> {
        match value {
            Value::Object(map) => Ok(Self { path: path.to_owned(), map }),
            Value::Null => Ok(Self { path: path.to_owned(), map: Map::new() }),
            _ => Err(Fault::bad(format!("{path} is not an object"))),
        }
    }

    fn place(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    fn take(&mut self, name: &str) -> Option<Value> {
        // clients write names in whatever case Go takes them
        let key = self.map.keys().find(|key| key.eq_ignore_ascii_case(name))?.clone();
        self.map.remove(&key).filter(|value| !value.is_null())
    }

    fn wrong(&self, name: &str, what: &str) -> Fault {
        Fault::bad(format!("{} is not {what}", self.place(name)))
    }

    /// Passes over fields that say nothing to this engine, or nothing else than what it does anyway.
    pub(super) fn pass(&mut self, names: &[&str]) {
        for name in names {
            self.take(name);
        }
    }

    pub(super) fn text(&mut self, name: &str) -> Result<Option<String>, Fault> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text).filter(|text| !text.is_empty())),
            Some(_) => Err(self.wrong(name, "a text")),
        }
    }

    pub(super) fn flag(&mut self, name: &str) -> Result<bool, Fault> {
        match self.take(name) {
            None => Ok(false),
            Some(Value::Bool(flag)) => Ok(flag),
            Some(_) => Err(self.wrong(name, "true or false")),
        }
    }

    pub(super) fn number(&mut self, name: &str) -> Result<Option<i64>, Fault> {
        match self.take(name) {
            None => Ok(None),
            Some(value) => value.as_i64().map(Some).ok_or_else(|| self.wrong(name, "a whole number")),
        }
    }

    /// A list of texts; none and an empty one are the same.
    pub(super) fn texts(&mut self, name: &str) -> Result<Vec<String>, Fault> {
        match self.take(name) {
            None => Ok(Vec::new()),
            Some(Value::String(text)) => Ok(vec![text]),
            Some(value) => serde_json::from_value(value).map_err(|_| self.wrong(name, "a list of texts")),
        }
    }

    pub(super) fn map(&mut self, name: &str) -> Result<BTreeMap<String, String>, Fault> {
        match self.take(name) {
            None => Ok(BTreeMap::new()),
            Some(value) => serde_json::from_value(value).map_err(|_| self.wrong(name, "a map of texts")),
        }
    }

    pub(super) fn object(&mut self, name: &str) -> Result<Option<Fields>, Fault> {
        let path = self.place(name);
        self.take(name).map(|value| Self::new(&path, value)).transpose()
    }

    pub(super) fn objects(&mut self, name: &str) -> Result<Vec<Fields>, Fault> {
        let path = self.place(name);
        match self.take(name) {
            None => Ok(Vec::new()),
            Some(Value::Array(list)) => list.into_iter().map(|value| Self::new(&path, value)).collect(),
            Some(_) => Err(self.wrong(name, "a list")),
        }
    }

    fn entries(&mut self, name: &str) -> Result<Vec<(String, Value)>, Fault> {
        match self.take(name) {
            None => Ok(Vec::new()),
            Some(Value::Object(map)) => Ok(map.into_iter().collect()),
            Some(_) => Err(self.wrong(name, "a map")),
        }
    }

    /// What is left, as it came.
    pub(super) fn into_value(self) -> Value {
        Value::Object(self.map)
    }

    /// Refuses what was not taken.
    pub(super) fn finish(self) -> Result<(), Fault> {
        let says = |value: &Value| match value {
            Value::Null | Value::Bool(false) => false,
            Value::Number(number) => number.as_f64() != Some(0.0),
            Value::String(text) => !text.is_empty(),
            Value::Array(list) => !list.is_empty(),
            Value::Object(map) => !map.is_empty(),
            Value::Bool(true) => true,
        };
        match self.map.iter().find(|(_, value)| says(value)) {
            Some((name, value)) => {
                Err(Fault::bad(format!("{} is not supported here: {value}", self.place(name))))
            }
            None => Ok(()),
        }
    }
}

pub(super) async fn create(call: Call) -> Result<Response<Reply>, Fault> {
    let Call { server, query, request } = call;
    if let Some(platform) = query.text("platform") {
        let own = container_engine::Platform::host();
        let wanted: container_engine::Platform =
            platform.parse().map_err(|_| Fault::bad(format!("platform {platform:?} is none")))?;
        if (wanted.os, wanted.architecture) != (own.os, own.architecture) {
            return Err(Fault::bad(format!("platform {platform} is not this machine's")));
        }
    }
    let name = query.text("name").map(str::to_owned);
    let (options, others) = options(name, read_json(request.into_body()).await?)?;
    let id = server
        .call(move |engine| async move {
            let id = engine.create_container(options).await?;
            for (network, endpoint) in others {
                if let Err(error) = engine.connect(&network, &id, &endpoint).await {
                    // the first error is the one to tell
                    let _ = engine.remove_container(&id, RemoveOptions { force: true, volumes: true }).await;
                    return Err(error);
                }
            }
            Ok(id)
        })
        .await?;
    Ok(reply(StatusCode::CREATED, &json!({ "Id": id, "Warnings": [] })))
}

/// A container's options, and the networks that it is connected to besides its first.
type Read = (ContainerOptions, Vec<(String, EndpointOptions)>);

fn options(name: Option<String>, body: Value) -> Result<Read, Fault> {
    let mut config = Fields::new("", body)?;
    let mut options = ContainerOptions {
        name,
        image: config.text("Image")?.ok_or_else(|| Fault::bad("Image is missing"))?,
        command: config.texts("Cmd")?,
        env: config.texts("Env")?,
        labels: config.map("Labels")?,
        user: config.text("User")?,
        working_dir: config.text("WorkingDir")?,
        hostname: config.text("Hostname")?,
        domainname: config.text("Domainname")?,
        tty: config.flag("Tty")?,
        stdin_open: config.flag("OpenStdin")?,
        stop_signal: config.text("StopSignal")?,
        ..ContainerOptions::default()
    };
    let entrypoint = config.texts("Entrypoint")?;
    options.entrypoint = Some(entrypoint).filter(|words| !words.is_empty());
    if let Some(seconds) = config.number("StopTimeout")? {
        options.stop_timeout = Some(Duration::from_secs(u64::try_from(seconds).unwrap_or(1 << 32)));
    }
    options.health = config.object("Healthcheck")?.map(health).transpose()?;
    let exposed = config.entries("ExposedPorts")?;
    let volumes = config.entries("Volumes")?;
    if config.flag("NetworkDisabled")? {
        options.network = NetworkMode::None;
    }
    // whether a client attaches is said when it does
    config.pass(&["AttachStdin", "AttachStdout", "AttachStderr", "StdinOnce", "ArgsEscaped", "OnBuild"]);
    let host = config.object("HostConfig")?;
    let networks = config.object("NetworkingConfig")?;
    config.finish()?;
    if let Some(host) = host {
        host_config(&mut options, host)?;
    }
    // a place for data, unless something is mounted there
    for (path, _) in &volumes {
        let spec = volume(path)?;
        if options.mounts.iter().all(|mount| mount.target != spec.target) {
            options.mounts.push(spec);
        }
    }
    options.expose = exposed.into_iter().map(|(port, _)| port).collect();
    let mut others = Vec::new();
    if let Some(mut networks) = networks {
        let entries = networks.entries("EndpointsConfig")?;
        networks.finish()?;
        let first = options.network.to_string();
        for (name, value) in entries {
            let endpoint =
                endpoint(&format!("NetworkingConfig.EndpointsConfig.{name}"), value, &mut options)?;
            if name == first || (name == "default" && first == "bridge") {
                options.aliases = endpoint.aliases;
                options.ip = endpoint.ip;
            } else {
                others.push((name, endpoint));
            }
        }
    }
    Ok((options, others))
}

pub(super) fn endpoint(
    path: &str,
    value: Value,
    options: &mut ContainerOptions,
) -> Result<EndpointOptions, Fault> {
    let mut fields = Fields::new(path, value)?;
    let mut endpoint = EndpointOptions { aliases: fields.texts("Aliases")?, ip: None };
    if let Some(mut addresses) = fields.object("IPAMConfig")? {
        if let Some(address) = addresses.text("IPv4Address")? {
            let wrong = || Fault::bad(format!("{path}.IPAMConfig.IPv4Address: {address:?} is no address"));
            endpoint.ip = Some(address.parse().map_err(|_| wrong())?);
        }
        addresses.finish()?;
    }
    options.links.extend(fields.texts("Links")?.iter().map(|text| link(text)));
    // what an answer of ours has said before
    fields.pass(&[
        "NetworkID",
        "EndpointID",
        "Gateway",
        "IPAddress",
        "IPPrefixLen",
        "IPv6Gateway",
        "GlobalIPv6Address",
        "GlobalIPv6PrefixLen",
        "MacAddress",
        "DNSNames",
    ]);
    fields.finish()?;
    Ok(endpoint)
}

fn health(mut fields: Fields) -> Result<HealthCheck, Fault> {
    let test = fields.texts("Test")?;
    let mut time = |name| -> Result<Option<Duration>, Fault> {
        let nanoseconds = fields.number(name)?.filter(|number| *number > 0);
        Ok(nanoseconds.map(|number| Duration::from_nanos(number.cast_unsigned())))
    };
    let (interval, timeout) = (time("Interval")?, time("Timeout")?);
    let (start_period, start_interval) = (time("StartPeriod")?, time("StartInterval")?);
    let retries = fields.number("Retries")?.and_then(|count| u32::try_from(count).ok());
    fields.finish()?;
    let disabled = test.first().is_some_and(|word| word == "NONE");
    Ok(HealthCheck { disabled, test, interval, timeout, start_period, start_interval, retries })
}

fn volume(text: &str) -> Result<MountSpec, Fault> {
    let source = text.split_once(':').map_or("", |(source, _)| source);
    if source.contains('/') && !source.starts_with('/') {
        // whose directory it would be relative to is not known here
        return Err(Fault::bad(format!(
            "mount {text:?}: the source is neither absolute nor the name of a volume"
        )));
    }
    MountSpec::from_volume_flag(text, Path::new("/"))
        .map_err(|error| container_engine::Error::from(error).into())
}

fn host_config(options: &mut ContainerOptions, mut host: Fields) -> Result<(), Fault> {
    for bind in host.texts("Binds")? {
        options.mounts.push(volume(&bind)?);
    }
    for mount in host.objects("Mounts")? {
        options.mounts.push(mount_of(mount)?);
    }
    for (target, flags) in host.map("Tmpfs")? {
        let text = if flags.is_empty() { target } else { format!("{target}:{flags}") };
        options.mounts.push(MountSpec::from_tmpfs_flag(&text).map_err(container_engine::Error::from)?);
    }
    options.ports = ports(host.entries("PortBindings")?)?;
    options.publish_all = host.flag("PublishAllPorts")?;
    if let Some(mode) = host.text("NetworkMode")? {
        options.network = NetworkMode::from(mode.as_str());
    }
    if let Some(mut policy) = host.object("RestartPolicy")? {
        options.restart = policy.restart()?.unwrap_or_default();
        policy.finish()?;
    }
    options.auto_remove = host.flag("AutoRemove")?;
    options.volumes_from = host.texts("VolumesFrom")?;
    options.links.extend(host.texts("Links")?.iter().map(|text| link(text)));
    (options.cap_add, options.cap_drop) = (host.texts("CapAdd")?, host.texts("CapDrop")?);
    options.privileged = host.flag("Privileged")?;
    options.read_only = host.flag("ReadonlyRootfs")?;
    let address = |text: String| {
        text.parse().map_err(|_| Fault::bad(format!("HostConfig.Dns: {text:?} is no address")))
    };
    options.dns = host.texts("Dns")?.into_iter().map(address).collect::<Result<_, _>>()?;
    (options.dns_search, options.dns_options) = (host.texts("DnsSearch")?, host.texts("DnsOptions")?);
    options.group_add = host.texts("GroupAdd")?;
    options.extra_hosts = host_entries(&host.texts("ExtraHosts")?)?;
    (options.seccomp, options.no_new_privileges) = security(&host.texts("SecurityOpt")?)?;
    for mut limit in host.objects("Ulimits")? {
        let name = limit.text("Name")?.unwrap_or_default();
        let (soft, hard) = (limit.number("Soft")?.unwrap_or(0), limit.number("Hard")?.unwrap_or(0));
        limit.finish()?;
        options.ulimits.push(format!("{name}={soft}:{hard}").parse::<Ulimit>()?);
    }
    options.sysctls = host.map("Sysctls")?;
    let mut resources = Resources::default();
    host.resources(&mut resources)?;
    options.resources = resources;
    options.shm_size =
        host.number("ShmSize")?.filter(|size| *size > 0).map(|size| Bytes(size.cast_unsigned()));
    for mut device in host.objects("Devices")? {
        let source = device.text("PathOnHost")?.unwrap_or_default();
        let target = device.text("PathInContainer")?.unwrap_or_else(|| source.clone());
        let access = device.text("CgroupPermissions")?.unwrap_or_else(|| "rwm".to_owned());
        device.finish()?;
        options.devices.push(format!("{source}:{target}:{access}").parse::<DeviceSpec>()?);
    }
    if let Some(mut log) = host.object("LogConfig")? {
        let driver = log.text("Type")?.unwrap_or_else(|| "json-file".to_owned());
        let settings: Vec<String> =
            log.map("Config")?.into_iter().map(|(key, value)| format!("{key}={value}")).collect();
        log.finish()?;
        options.log = crate::command::options::log(&driver, &settings)?;
    } else {
        options.log = LogOptions::default();
    }
    options.host_pid = shared(&mut host, "PidMode", &["private"])?;
    options.host_uts = shared(&mut host, "UTSMode", &[])?;
    options.host_ipc = shared(&mut host, "IpcMode", &["private", "shareable"])?;
    if let Some(size) = host.take("ConsoleSize") {
        let rows_columns: Option<[u16; 2]> = serde_json::from_value(size).ok();
        options.console_size =
            rows_columns.filter(|size| *size != [0, 0]).map(|[rows, columns]| (columns, rows));
    }
    let runtime = host.text("Runtime")?;
    if let Some(other) = runtime.filter(|name| !["dunnage-oci", "runc"].contains(&name.as_str())) {
        return Err(Fault::bad(format!("HostConfig.Runtime: {other:?} is not there; dunnage-oci is")));
    }
    options.host_cgroup = shared(&mut host, "CgroupnsMode", &["private"])?;
    // -1 is the host's own
    if let Some(swappiness) = host.number("MemorySwappiness")?.filter(|value| *value >= 0) {
        return Err(Fault::bad(format!("HostConfig.MemorySwappiness is not supported here: {swappiness}")));
    }
    // where a client writes the id; a platform that is not this one's; what is masked by default
    host.pass(&["ContainerIDFile", "Isolation", "MaskedPaths", "ReadonlyPaths"]);
    host.finish()
}

/// Whether a namespace is the host's.
fn shared(host: &mut Fields, name: &str, own: &[&str]) -> Result<bool, Fault> {
    match host.text(name)?.as_deref() {
        None => Ok(false),
        Some("host") => Ok(true),
        Some(mode) if own.contains(&mode) => Ok(false),
        Some(other) => Err(Fault::bad(format!("HostConfig.{name}: {other:?} is not supported here"))),
    }
}

fn ports(bindings: Vec<(String, Value)>) -> Result<Vec<PublishedPort>, Fault> {
    let mut ports = Vec::new();
    for (inside, outside) in bindings {
        let outside = match outside {
            Value::Array(list) if !list.is_empty() => list,
            _ => vec![json!({})],
        };
        for binding in outside {
            let mut binding = Fields::new(&format!("HostConfig.PortBindings.{inside}"), binding)?;
            let (address, port) = (binding.text("HostIp")?, binding.text("HostPort")?);
            binding.finish()?;
            // 0 asks for a free one
            let port = port.unwrap_or_else(|| "0".to_owned());
            let port = if port == "0" { String::new() } else { port };
            let text = match address {
                Some(address) if address.contains(':') => format!("[{address}]:{port}:{inside}"),
                Some(address) => format!("{address}:{port}:{inside}"),
                None if port.is_empty() => inside.clone(),
                None => format!("{port}:{inside}"),
            };
            ports.extend(container_engine::parse_published(&text)?);
        }
    }
    Ok(ports)
}

/// A mount of the long form, through the words of `--mount`, which know every rule.
fn mount_of(mut mount: Fields) -> Result<MountSpec, Fault> {
    let mut words = vec![format!("type={}", mount.text("Type")?.unwrap_or_else(|| "volume".to_owned()))];
    for (field, word) in [("Source", "source"), ("Target", "target")] {
        if let Some(value) = mount.text(field)? {
            words.push(format!("{word}={value}"));
        }
    }
    if mount.flag("ReadOnly")? {
        words.push("readonly".to_owned());
    }
    mount.pass(&["Consistency"]);
    if let Some(mut bind) = mount.object("BindOptions")? {
        if let Some(propagation) = bind.text("Propagation")? {
            words.push(format!("bind-propagation={propagation}"));
        }
        if bind.flag("NonRecursive")? {
            words.push("bind-recursive=disabled".to_owned());
        }
        let create = bind.flag("CreateMountpoint")?;
        if create {
            words.push("bind-create-src".to_owned());
        }
        bind.finish()?;
    }
    if let Some(mut volume) = mount.object("VolumeOptions")? {
        if volume.flag("NoCopy")? {
            words.push("volume-nocopy".to_owned());
        }
        if let Some(path) = volume.text("Subpath")? {
            words.push(format!("volume-subpath={path}"));
        }
        for (key, value) in volume.map("Labels")? {
            words.push(format!("volume-label={key}={value}"));
        }
        if let Some(mut driver) = volume.object("DriverConfig")? {
            if let Some(name) = driver.text("Name")? {
                words.push(format!("volume-driver={name}"));
            }
            for (key, value) in driver.map("Options")? {
                words.push(format!("volume-opt={key}={value}"));
            }
            driver.finish()?;
        }
        volume.finish()?;
    }
    if let Some(mut tmpfs) = mount.object("TmpfsOptions")? {
        if let Some(size) = tmpfs.number("SizeBytes")? {
            words.push(format!("tmpfs-size={size}"));
        }
        if let Some(mode) = tmpfs.number("Mode")? {
            words.push(format!("tmpfs-mode={mode:o}"));
        }
        tmpfs.finish()?;
    }
    mount.finish()?;
    if let Some(odd) = words.iter().find(|word| word.contains([',', '"', '\n'])) {
        return Err(Fault::bad(format!(
            "HostConfig.Mounts: {odd:?} has a comma, a quote or a line feed in it"
        )));
    }
    MountSpec::from_mount_flag(&words.join(","), Path::new("/"))
        .map_err(|error| container_engine::Error::from(error).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_stock_client_sends_is_understood() {
        let body = json!({
            "Hostname": "", "User": "", "AttachStdin": false, "Tty": true, "Env": ["A=b"], "Cmd": ["sh"], "Image": "bb",
            "Volumes": {}, "Labels": {"x": "y"}, "ExposedPorts": {"80/tcp": {}}, "Entrypoint": null, "OnBuild": null,
            "HostConfig": {
                "Binds": ["vol:/data:ro"], "NetworkMode": "own", "PortBindings": {"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": "8080"}]},
                "RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 3}, "AutoRemove": false, "NanoCpus": 1_500_000_000,
                "Memory": 67_108_864, "MemorySwap": 0, "MemorySwappiness": -1, "OomKillDisable": false, "PidsLimit": 0,
                "LogConfig": {"Type": "", "Config": {}}, "ConsoleSize": [24, 80], "ShmSize": 0, "Dns": [], "CapAdd": null,
                "MaskedPaths": null, "Isolation": "", "BlkioWeightDevice": [], "CgroupnsMode": "",
            },
            "NetworkingConfig": {"EndpointsConfig": {"own": {"Aliases": ["web"]}, "second": {"IPAMConfig": {"IPv4Address": "10.1.2.3"}}}},
        });
        let (options, others) = options(Some("n".to_owned()), body).unwrap();
        assert_eq!(options.ports[0].host_port, 8080);
        assert_eq!(options.aliases, ["web"]);
        assert_eq!(options.resources.cpus, Some(container_engine::Cpus(1500)));
        assert_eq!(options.console_size, Some((80, 24)));
        assert_eq!(options.restart.to_string(), "on-failure:3");
        assert!(options.mounts[0].read_only);
        assert_eq!(others.len(), 1);
        assert_eq!(others[0].0, "second");
    }

    #[test]
    fn what_is_not_known_is_refused_by_its_name() {
        for (body, said) in [
            (json!({}), "Image is missing"),
            (json!({"Image": "x", "HostConfig": {"CpuRealtimePeriod": 5}}), "HostConfig.CpuRealtimePeriod"),
            (json!({"Image": "x", "Tty": "yes"}), "Tty is not true or false"),
            (json!({"Image": "x", "HostConfig": {"Runtime": "kata"}}), "kata"),
            (
                json!({"Image": "x", "HostConfig": {"Mounts": [{"Type": "bind", "Source": "/a,readonly", "Target": "/b"}]}}),
                "comma",
            ),
            (json!({"Image": "x", "HostConfig": {"PortBindings": {"x/tcp": []}}}), "x"),
            (json!([]), "not an object"),
        ] {
            let fault = options(None, body).unwrap_err();
            assert!(fault.message.contains(said), "{}", fault.message);
        }
    }
}
