use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::PoisonError;

use container_image::{Layers, Limits, make_upper};
use container_net::{Endpoint, InterfaceName, Pool, PublishedPort};
use container_runtime::monitor::{LogSpec, MonitorSpec, Report, Resolv, Restart};
use serde_json::{Value, json};

use crate::attach::Attachment;
use crate::bundle::{Bundle, NetworkNamespace};
use crate::containers::{Phase, decode, endpoint_options};
use crate::database::{ContainerRow, EndpointRow};
use crate::engine::{create_private, write_file};
use crate::error::StartFailure;
use crate::health::health;
use crate::links::links;
use crate::logs::LOG;
use crate::networks::{NetworkDriver, driver};
use crate::options::{ContainerOptions, NetworkMode, RestartPolicy};
use crate::{Engine, Error, user};

impl Engine {
    /// Starts a container. One that runs stays as it is.
    ///
    /// # Errors
    ///
    /// [`Error::Start`] with what the kernel or the network refused; then nothing of the start stays.
    pub async fn start(&self, text: &str) -> Result<(), Error> {
        let row = self.find_row(text)?;
        self.start_row(&row, None).await
    }

    /// Starts a container and is connected to it from its first byte of output on.
    pub async fn start_attached(&self, text: &str) -> Result<Attachment, Error> {
        let row = self.find_row(text)?;
        let pair =
            || UnixStream::pair().map_err(Error::io("make a connection to", self.container_run(&row.id)));
        let (ours, theirs) = pair()?;
        self.start_row(&row, Some(theirs.into())).await?;
        Attachment::new(ours)
    }

    async fn start_row(&self, row: &ContainerRow, attach: Option<OwnedFd>) -> Result<(), Error> {
        let lock = self.lock_container(&row.id)?;
        match self.phase(row)? {
            Phase::Removing => return Err(Error::ContainerMissing(row.name.clone())),
            phase if phase.is_running() => {
                if attach.is_some() {
                    return Err(Error::ContainerRunning {
                        name: row.name.clone(),
                        hint: "attach to it instead",
                    });
                }
                return Ok(());
            }
            _ => {}
        }
        self.settle(row)?;
        let started = self.prepare(row).and_then(|()| self.spawn_monitor(row, &lock, attach));
        match started {
            Ok(()) => {
                if let Some(status) = self.status(&row.id) {
                    let last = serde_json::to_string(&status).map_err(|source| Error::Record {
                        what: "container",
                        id: row.id.clone(),
                        source,
                    })?;
                    self.database().set_last(&row.id, &last)?;
                }
                self.events.record(
                    "container",
                    "start",
                    &row.id,
                    &[("name", &row.name), ("image", &row.image)],
                )
            }
            Err(error) => {
                // what was leased and written for this start goes again; the first error is the one to report
                let _ = self.settle(row);
                Err(error)
            }
        }
    }

    /// Writes the bundle and what the monitor is to know.
    pub(crate) fn prepare(&self, row: &ContainerRow) -> Result<(), Error> {
        let options = decode(row)?;
        let (root, run) = (self.container_root(&row.id), self.container_run(&row.id));
        create_private(&root)?;
        create_private(&run)?;
        create_private(&run.join("rootfs"))?;
        let named = self.images.find(&row.image_id)?;
        let layers = self.snapshots.unpack(&self.images, &named.image, &Limits::default())?;
        let top = layers.last().ok_or_else(|| Error::setting("image", &row.image, "it has no layers"))?;
        let (upper, work) = (root.join("upper"), root.join("work"));
        make_upper(&upper, &work, top)?;
        let image = &named.image.config.config;
        let seen: Vec<&PathBuf> = std::iter::once(&upper).chain(layers.iter().rev()).collect();
        let view = Layers::open(&seen)?;
        let identity =
            user::resolve(&view, options.user.as_deref().unwrap_or(&image.user), &options.group_add)?;
        let networks = self.attachments(row, &options, image)?;
        let mut mounts = self.engine_files(row, &options, &networks)?;
        mounts.extend(self.volume_mounts(&row.id, &options, &layers)?);
        mounts.extend(self.secret_mounts(&row.id, &options)?);
        let network = self.network_namespace(&options)?;
        let mut options = options;
        let linked = self.link_variables(row, &options)?;
        options.env.splice(0..0, linked);
        let bundle = Bundle {
            id: &row.id,
            options: &options,
            image,
            identity: &identity,
            cgroup_parent: self.tables.name(),
            layers: &layers,
            upper: &upper,
            work: &work,
            mounts,
            network,
        };
        let config = bundle.config()?;
        let stop_signal = options.stop_signal.clone().or_else(|| image.stop_signal.clone());
        let spec = MonitorSpec {
            log: (!options.log.none).then(|| LogSpec {
                path: root.join(LOG),
                max_size: options.log.max_size.map(|size| size.0),
                max_files: options.log.max_files,
            }),
            tty: options.tty,
            stdin_open: options.stdin_open,
            stdin_once: false,
            resolv: resolv(&options, &networks, links(&options)),
            networks,
            health: health(&options, image)?,
            restart: restart_of(&options.restart),
            stop_signal: stop_signal.unwrap_or_else(|| "SIGTERM".to_owned()),
            stop_timeout_ms: options.stop_timeout.map_or(10_000, |timeout| timeout.as_millis() as u64),
            exit_command: self.exit_command(row, &options),
            events: Some(self.events.path().to_owned()),
            event_attributes: [("name", &row.name), ("image", &row.image)]
                .into_iter()
                .map(|(key, value)| (key.to_owned(), value.clone()))
                .collect(),
            ..MonitorSpec::new(&row.id, self.runtime.root())
        };
        write_json(&run.join("config.json"), &config)?;
        write_json(&run.join("monitor.json"), &spec)
    }

    /// What the monitor runs when the container is down for good, and nobody is there to remove it or end its mounts.
    fn exit_command(&self, row: &ContainerRow, options: &ContainerOptions) -> Option<Vec<String>> {
        let wanted = row.auto_remove || self.needs_unmounting(options);
        let reaper = self.config.reaper.as_ref().filter(|_| wanted)?;
        Some(reaper.iter().cloned().chain([row.id.clone()]).collect())
    }

    fn spawn_monitor(&self, row: &ContainerRow, lock: &File, attach: Option<OwnedFd>) -> Result<(), Error> {
        let run = self.container_run(&row.id);
        let program = &self.config.monitor;
        let mut command = Command::new(program);
        // descriptors travel as the standard ones, so no other child can inherit them; the lock as standard error, which
        // the monitor lets go of when it has its own: so nobody takes a container for dead whose starter was killed
        let held = lock.try_clone().map_err(Error::io("hand the lock of", &run))?;
        command
            .arg("monitor")
            .arg(&run)
            .args(["--sync-fd", "1"])
            .stderr(Stdio::from(held))
            .env_clear()
            .current_dir("/");
        match attach {
            Some(stream) => command.args(["--attach-fd", "0"]).stdin(Stdio::from(stream)),
            None => command.stdin(Stdio::null()),
        };
        let mut child = command.stdout(Stdio::piped()).spawn().map_err(Error::io("run", program))?;
        drop(command);
        let mut line = String::new();
        if let Some(output) = child.stdout.take() {
            BufReader::new(output).read_line(&mut line).map_err(Error::io("read the report of", program))?;
        }
        let mut monitors = self.monitors.lock().unwrap_or_else(PoisonError::into_inner);
        // those that have ended meanwhile leave no zombie
        monitors.retain_mut(|monitor| matches!(monitor.try_wait(), Ok(None)));
        let report = serde_json::from_str::<Report>(&line).map_err(|_| Error::MonitorGone(row.name.clone()));
        if matches!(report, Ok(Report::Started(_))) {
            monitors.push(child);
        } else {
            // it ends by itself after a failure
            child.wait().map_err(Error::io("wait for", program))?;
        }
        match report? {
            Report::Started(_) => Ok(()),
            Report::Error { message, exit_code, .. } => Err(Error::Start {
                name: row.name.clone(),
                message,
                kind: match exit_code {
                    127 => StartFailure::CommandMissing,
                    126 => StartFailure::CommandNotExecutable,
                    _ => StartFailure::Other,
                },
            }),
        }
    }

    fn network_namespace(&self, options: &ContainerOptions) -> Result<NetworkNamespace, Error> {
        Ok(match &options.network {
            NetworkMode::Host => NetworkNamespace::Host,
            NetworkMode::Container(other) => {
                let other = self.find_row(other)?;
                match self.phase(&other)? {
                    Phase::Running { pid, .. } => NetworkNamespace::Path(format!("/proc/{pid}/ns/net")),
                    _ => return Err(Error::ContainerNotRunning(other.name)),
                }
            }
            _ => NetworkNamespace::New,
        })
    }

    /// The container's places in networks, each network up and an address leased in it.
    fn attachments(
        &self,
        row: &ContainerRow,
        options: &ContainerOptions,
        image: &container_image::ContainerConfig,
    ) -> Result<Vec<container_net::Attachment>, Error> {
        let mut attachments = Vec::new();
        for endpoint in self.endpoints_of(&row.id)? {
            let mut attachment = self.attachment(row, &endpoint, attachments.len())?;
            if attachments.is_empty() {
                attachment.endpoint.ports = ports(options, image)?;
                attachment.endpoint.hostname.clone_from(&options.hostname);
            }
            container_net::ensure_network(&attachment.network)?;
            attachments.push(attachment);
        }
        Ok(attachments)
    }

    /// One place in a network, with addresses leased.
    pub(crate) fn attachment(
        &self,
        row: &ContainerRow,
        endpoint: &EndpointRow,
        position: usize,
    ) -> Result<container_net::Attachment, Error> {
        let network = self.find_network_row(&endpoint.network)?;
        let NetworkDriver::Bridge(config) = driver(&network)? else {
            return Err(Error::NetworkMissing(network.name));
        };
        let options = endpoint_options(endpoint)?;
        let state_dir = self.network_run(&network.id);
        create_private(&state_dir)?;
        let mut place = Endpoint::new(&row.id, &row.name)?;
        place.interface = InterfaceName::new(format!("eth{position}"))?;
        place.default_route = position == 0;
        if network.name != "bridge" {
            place.aliases.clone_from(&options.aliases);
        }
        for subnet in &config.subnets {
            let wanted = options.ip.filter(|ip| subnet.subnet.contains(*ip));
            place.addresses.push(Pool::open(state_dir.join("leases"), subnet)?.lease(&row.id, wanted)?);
        }
        Ok(container_net::Attachment { network: *config, endpoint: place, state_dir })
    }

    /// Files of the container's own: `hosts`, `hostname` and `resolv.conf`.
    fn engine_files(
        &self,
        row: &ContainerRow,
        options: &ContainerOptions,
        networks: &[container_net::Attachment],
    ) -> Result<Vec<Value>, Error> {
        let root = self.container_root(&row.id);
        let hostname = &crate::bundle::hostname(options, &row.id);
        let mut hosts = String::from(
            "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::0\tip6-localnet\n\
             ff00::0\tip6-mcastprefix\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n",
        );
        let mut line = |address: String, name: &str| {
            hosts.push_str(&address);
            hosts.push('\t');
            hosts.push_str(name);
            hosts.push('\n');
        };
        for (name, address) in &options.extra_hosts {
            line(address.to_string(), name);
        }
        for network in networks {
            for address in &network.endpoint.addresses {
                line(address.to_string(), hostname);
            }
        }
        let host_resolv = fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
        let resolv = container_net::names::ResolvConf::parse(&host_resolv);
        let search = if options.dns_search.is_empty() { resolv.search } else { options.dns_search.clone() };
        let resolver =
            if options.dns_options.is_empty() { resolv.options } else { options.dns_options.clone() };
        let servers = if !networks.is_empty() {
            vec!["127.0.0.11".to_owned()]
        } else if options.dns.is_empty() {
            resolv.nameservers.iter().map(ToString::to_string).collect()
        } else {
            options.dns.iter().map(ToString::to_string).collect()
        };
        let mut lines: Vec<String> = servers.iter().map(|server| format!("nameserver {server}")).collect();
        for (word, values) in [("search", &search), ("options", &resolver)] {
            if !values.is_empty() {
                lines.push(format!("{word} {}", values.join(" ")));
            }
        }
        let resolv_conf = lines.join("\n") + "\n";
        let mut mounts = Vec::new();
        for (name, content) in
            [("hosts", hosts), ("hostname", format!("{hostname}\n")), ("resolv.conf", resolv_conf)]
        {
            let path = root.join(name);
            write_file(&path, content.as_bytes())?;
            mounts.push(json!({ "destination": format!("/etc/{name}"), "type": "bind", "source": path,
                "options": ["rbind", "rprivate"] }));
        }
        Ok(mounts)
    }
}

pub(crate) fn restart_of(policy: &RestartPolicy) -> Restart {
    match *policy {
        RestartPolicy::No => Restart::No,
        RestartPolicy::OnFailure(max) => Restart::OnFailure { max: (max > 0).then_some(max) },
        RestartPolicy::Always => Restart::Always,
        RestartPolicy::UnlessStopped => Restart::UnlessStopped,
    }
}

/// The name service, wherever there is a network. The network `bridge` knows no names, as Docker has it.
fn resolv(
    options: &ContainerOptions,
    networks: &[container_net::Attachment],
    links: BTreeMap<String, String>,
) -> Option<Resolv> {
    if networks.is_empty() {
        return None;
    }
    let upstreams = if options.dns.is_empty() {
        let host = fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
        container_net::names::ResolvConf::parse(&host).upstreams()
    } else {
        options.dns.iter().map(|&address| (address, 53).into()).collect()
    };
    let nameless =
        networks.iter().map(|attachment| &attachment.network).filter(|network| network.name == "bridge");
    Some(Resolv { upstreams, nameless: nameless.map(|network| network.id.clone()).collect(), links })
}

/// The ports to publish: those that were named, and with `-P` every exposed one at a free port.
fn ports(
    options: &ContainerOptions,
    image: &container_image::ContainerConfig,
) -> Result<Vec<PublishedPort>, Error> {
    let mut ports = options.ports.clone();
    if options.publish_all {
        for exposed in image.exposed_ports.keys().chain(&options.expose) {
            let refuse = |reason: &str| Error::setting("exposed port", exposed, reason);
            let (port, protocol) = exposed.split_once('/').unwrap_or((exposed, "tcp"));
            let container_port = port.parse().map_err(|_| refuse("it is not a number below 65536"))?;
            let protocol = protocol.parse().map_err(|_| refuse("the protocol is none of tcp, udp, sctp"))?;
            if !ports.iter().any(|port| port.container_port == container_port && port.protocol == protocol) {
                ports.push(PublishedPort { host_ip: None, host_port: 0, container_port, protocol });
            }
        }
    }
    Ok(ports)
}

fn write_json(path: &Path, value: &impl serde::Serialize) -> Result<(), Error> {
    let bytes = serde_json::to_vec(value).map_err(|source| Error::Record {
        what: "bundle",
        id: path.display().to_string(),
        source,
    })?;
    write_file(path, &bytes)
}
