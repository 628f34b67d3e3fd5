use clap::Args;
use container_engine::{
    Container, Engine, Error, HealthProbe, LogOptions, Mount, MountSpec, Named, Network, NetworkDriver,
    NetworkKind, Phase,
};
use serde_json::{Map, Value, json};

use crate::context::{Failure, Roots};
use crate::listing::ObjectFormat;

#[derive(Debug, Args)]
pub(crate) struct Inspect {
    /// container, image, network or volume
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<String>,
    #[command(flatten)]
    format: ObjectFormat,
    /// Names or ids
    #[arg(required = true)]
    names: Vec<String>,
}

impl Inspect {
    pub(crate) async fn run(self, roots: &Roots) -> Result<u8, Failure> {
        if let Some(kind) =
            self.kind.as_deref().filter(|kind| !["container", "image", "network", "volume"].contains(kind))
        {
            return Err(Failure::new(format!("type {kind:?} is none of container, image, network, volume")));
        }
        let engine = roots.engine().await?;
        let mut found = Vec::new();
        let mut code = 0;
        for name in &self.names {
            if let Some(value) = self.find(&engine, name).await? {
                found.push(value);
            } else {
                Failure::new(format!("no such object: {name}")).print();
                code = 1;
            }
        }
        self.format.print(&found)?;
        Ok(code)
    }

    async fn find(&self, engine: &Engine, name: &str) -> Result<Option<Value>, Failure> {
        let wanted = |kind: &str| self.kind.as_deref().is_none_or(|wanted| wanted == kind);
        if wanted("container") {
            match engine.container(name).await {
                Ok(found) => return Ok(Some(container(&found))),
                Err(Error::ContainerMissing(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        if wanted("image")
            && let Ok(found) = engine.image(name).await
        {
            return Ok(Some(image(&found)?));
        }
        if wanted("network")
            && let Ok(found) = engine.network(name).await
        {
            return Ok(Some(network(&found)));
        }
        if wanted("volume")
            && let Ok(found) = engine.volume(name).await
        {
            return Ok(Some(super::volume::shown(&found)));
        }
        Ok(None)
    }
}

pub(crate) async fn images(engine: &Engine, names: &[String], format: &ObjectFormat) -> Result<u8, Failure> {
    let mut found = Vec::new();
    for name in names {
        found.push(image(&engine.image(name).await?)?);
    }
    format.print(&found)?;
    Ok(0)
}

pub(crate) async fn networks(
    engine: &Engine,
    names: &[String],
    format: &ObjectFormat,
) -> Result<u8, Failure> {
    let mut found = Vec::new();
    for name in names {
        found.push(network(&engine.network(name).await?));
    }
    format.print(&found)?;
    Ok(0)
}

#[derive(Debug, Args)]
pub(crate) struct InspectContainers {
    #[command(flatten)]
    format: ObjectFormat,
    /// Names or ids
    #[arg(required = true)]
    names: Vec<String>,
}

impl InspectContainers {
    pub(crate) async fn run(self, roots: &Roots) -> Result<u8, Failure> {
        let Self { format, names } = self;
        Inspect { kind: Some("container".to_owned()), format, names }.run(roots).await
    }
}

fn log(options: &LogOptions) -> Value {
    let mut settings = Map::new();
    if let Some(size) = options.max_size {
        settings.insert("max-size".to_owned(), size.0.to_string().into());
    }
    if let Some(count) = options.max_files {
        settings.insert("max-file".to_owned(), count.to_string().into());
    }
    json!({ "Type": if options.none { "none" } else { "json-file" }, "Config": settings })
}

fn mount(spec: &MountSpec) -> Value {
    let (kind, name, source) = match &spec.mount {
        Mount::Volume { name, .. } => ("volume", name.clone().unwrap_or_default(), String::new()),
        Mount::Bind { source, .. } => ("bind", String::new(), source.display().to_string()),
        _ => ("tmpfs", String::new(), String::new()),
    };
    json!({
        "Type": kind,
        "Name": name,
        "Source": source,
        "Destination": spec.target,
        "Driver": if kind == "volume" { "local" } else { "" },
        "Mode": if spec.read_only { "ro" } else { "" },
        "RW": !spec.read_only,
        "Propagation": "",
    })
}

/// A container in the words of Docker's `inspect`.
pub(crate) fn container(found: &Container) -> Value {
    let options = &found.options;
    let (mut pid, mut code, mut started, mut finished, mut restarts, mut oom, mut error) =
        (0, 0, String::new(), String::new(), 0, false, String::new());
    match &found.phase {
        Phase::Running { pid: number, started_at, restarts: count, .. } => {
            (pid, restarts) = (*number, *count);
            started.clone_from(started_at);
        }
        Phase::Restarting { exit_code, finished_at } => {
            code = *exit_code;
            finished.clone_from(finished_at);
        }
        Phase::Exited(exit) => {
            (code, oom) = (exit.code, exit.oom_killed);
            started.clone_from(&exit.started_at);
            finished.clone_from(&exit.finished_at);
            error = exit.error.clone().unwrap_or_default();
        }
        _ => {}
    }
    let mut networks = Map::new();
    let mut ports = Map::new();
    for place in &found.networks {
        let status = place.status.as_ref();
        let address = status.and_then(|status| status.addresses.iter().find(|address| address.is_ipv4()));
        let address6 = status.and_then(|status| status.addresses.iter().find(|address| address.is_ipv6()));
        networks.insert(
            place.name.clone(),
            json!({
                "NetworkID": place.id,
                "Aliases": place.options.aliases,
                "IPAddress": address.map(ToString::to_string).unwrap_or_default(),
                "GlobalIPv6Address": address6.map(ToString::to_string).unwrap_or_default(),
                "MacAddress": status.map(|status| status.mac.to_string()).unwrap_or_default(),
            }),
        );
        for port in status.iter().flat_map(|status| &status.ports) {
            let host_ip = port.host_ip.map_or_else(|| "0.0.0.0".to_owned(), |address| address.to_string());
            let entry = ports
                .entry(format!("{}/{}", port.container_port, port.protocol))
                .or_insert_with(|| json!([]));
            if let Some(list) = entry.as_array_mut() {
                list.push(json!({ "HostIp": host_ip, "HostPort": port.host_port.to_string() }));
            }
        }
    }
    let mut shown = json!({
        "Id": found.id,
        "Created": found.created,
        "Path": found.command.first(),
        "Args": found.command.get(1..).unwrap_or_default(),
        "State": {
            "Status": found.phase.name(),
            "Running": found.phase.is_running(),
            "Paused": found.phase.name() == "paused",
            "Restarting": found.phase.name() == "restarting",
            "OOMKilled": oom,
            "Pid": pid,
            "ExitCode": code,
            "Error": error,
            "StartedAt": started,
            "FinishedAt": finished,
        },
        "Image": found.image_id,
        "Name": format!("/{}", found.name),
        "RestartCount": restarts,
        "Driver": "overlay",
        "HostConfig": {
            "NetworkMode": options.network.to_string(),
            "RestartPolicy": { "Name": options.restart.to_string() },
            "LogConfig": log(&options.log),
            "AutoRemove": options.auto_remove,
            "Privileged": options.privileged,
            "ReadonlyRootfs": options.read_only,
            "CapAdd": options.cap_add,
            "CapDrop": options.cap_drop,
            "Memory": options.resources.memory.map_or(0, |memory| memory.0),
            "NanoCpus": options.resources.cpus.map_or(0, |cpus| u64::from(cpus.0) * 1_000_000),
            "PidsLimit": options.resources.pids,
        },
        "Mounts": options.mounts.iter().map(mount).collect::<Vec<_>>(),
        "Config": {
            "Hostname": options.hostname.clone().unwrap_or_else(|| container_engine::short_id(&found.id).to_owned()),
            "User": options.user.clone().unwrap_or_default(),
            "Tty": options.tty,
            "OpenStdin": options.stdin_open,
            "Env": options.env,
            "Cmd": options.command,
            "Image": found.image,
            "WorkingDir": options.working_dir.clone().unwrap_or_default(),
            "Entrypoint": options.entrypoint,
            "Labels": options.labels,
        },
        "NetworkSettings": { "Ports": ports, "Networks": networks },
    });
    if let Phase::Running { health: Some(health), .. } = &found.phase {
        let probe = |probe: &HealthProbe| json!({ "Start": probe.started_at, "End": probe.ended_at, "ExitCode": probe.exit_code, "Output": probe.output });
        shown["State"]["Health"] = json!({
            "Status": health.status.name(),
            "FailingStreak": health.failing_streak,
            "Log": health.log.iter().map(probe).collect::<Vec<_>>(),
        });
    }
    shown
}

pub(crate) fn image(found: &Named) -> Result<Value, Failure> {
    let image = &found.image;
    let names: Vec<String> = found.names.iter().map(container_engine::Reference::familiar).collect();
    Ok(json!({
        "Id": image.id,
        "RepoTags": names,
        "RepoDigests": [],
        "Created": image.config.created,
        "Author": image.config.author,
        "Architecture": image.config.architecture,
        "Os": image.config.os,
        "Size": image.stored_size(),
        "Config": serde_json::to_value(&image.config.config)?,
        "RootFS": { "Type": "layers", "Layers": image.config.rootfs.diff_ids },
        "Descriptor": serde_json::to_value(&image.descriptor)?,
    }))
}

pub(crate) fn network(found: &Network) -> Value {
    let (mut subnets, mut internal, mut labels, mut options) = (Vec::new(), false, json!({}), json!({}));
    if let NetworkDriver::Bridge(config) = &found.driver {
        for subnet in &config.subnets {
            subnets.push(json!({
                "Subnet": subnet.subnet.to_string(),
                "Gateway": subnet.gateway.to_string(),
                "IPRange": subnet.ip_range.map(|range| range.to_string()),
            }));
        }
        (internal, labels) = (config.internal, json!(config.labels));
        options = match config.driver {
            NetworkKind::Bridge => json!({ "com.docker.network.bridge.name": config.bridge.as_str() }),
            _ => json!({ "parent": config.carrier().as_str() }),
        };
        options["com.docker.network.driver.mtu"] = json!(config.mtu);
    }
    let containers: Map<String, Value> = found
        .containers
        .iter()
        .map(|member| {
            let addresses: Vec<String> = member.addresses.iter().map(ToString::to_string).collect();
            (member.id.clone(), json!({ "Name": member.name, "Addresses": addresses }))
        })
        .collect();
    json!({
        "Name": found.name,
        "Id": found.id,
        "Created": found.created,
        "Scope": "local",
        "Driver": found.driver.name(),
        "Internal": internal,
        "IPAM": { "Driver": "default", "Config": subnets },
        "Containers": containers,
        "Options": options,
        "Labels": labels,
    })
}
