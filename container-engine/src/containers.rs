use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;

use container_image::Image;
use container_runtime::monitor::{Health, MonitorStatus, NetworkStatus};
use container_runtime::{ContainerId, Status};
use rustix::fs::{FlockOperation, flock};

use crate::bundle;
use crate::database::{ContainerRow, EndpointRow};
use crate::networks::{EndpointOptions, endpoint_row};
use crate::options::{ContainerOptions, NetworkMode};
use crate::{Engine, Error, health, name, time};

/// A container as people see it.
#[derive(Debug, Clone, PartialEq)]
pub struct Container {
    /// Its id: 64 hexadecimal digits.
    pub id: String,
    /// Its name.
    pub name: String,
    /// When it was made, RFC 3339.
    pub created: String,
    /// The image's name as it was given.
    pub image: String,
    /// The image's id.
    pub image_id: String,
    /// What is run.
    pub command: Vec<String>,
    /// All that was said of it.
    pub options: ContainerOptions,
    /// What it is doing.
    pub phase: Phase,
    /// Its places in networks, with addresses and ports while it runs.
    pub networks: Vec<ContainerNetwork>,
}

/// What a container is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Phase {
    /// It was never started.
    Created,
    /// It runs.
    Running {
        /// Its first process, a number of the host.
        pid: i32,
        /// Since when, RFC 3339.
        started_at: String,
        /// True if every process is frozen.
        paused: bool,
        /// How many times it was started again.
        restarts: u32,
        /// What health checks say; none without one.
        health: Option<Health>,
    },
    /// It ended and will be started again.
    Restarting {
        /// Its exit code.
        exit_code: i32,
        /// When it ended, RFC 3339.
        finished_at: String,
    },
    /// It ended.
    Exited(Exit),
    /// It is being removed.
    Removing,
}

/// How a container ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exit {
    /// The process's code, 128 + n for signal n.
    pub code: i32,
    /// True if the kernel killed it because its memory was full.
    pub oom_killed: bool,
    /// When it was started, RFC 3339.
    pub started_at: String,
    /// When it ended, RFC 3339.
    pub finished_at: String,
    /// What went wrong beside the process's own code.
    pub error: Option<String>,
}

impl Phase {
    /// The word that Docker has for it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Running { paused: true, .. } => "paused",
            Self::Running { .. } => "running",
            Self::Restarting { .. } => "restarting",
            Self::Exited(_) => "exited",
            Self::Removing => "removing",
        }
    }

    /// True while it has a process, or is about to have one again.
    pub fn is_running(&self) -> bool {
        matches!(self, Self::Running { .. } | Self::Restarting { .. })
    }
}

/// A container's place in a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerNetwork {
    /// The network's id.
    pub id: String,
    /// The network's name.
    pub name: String,
    /// How it is in it.
    pub options: EndpointOptions,
    /// Addresses and ports; none while it does not run.
    pub status: Option<NetworkStatus>,
}

impl Engine {
    /// Makes a container, and starts nothing. Atomic: a container whose options are refused leaves nothing.
    /// Returns its id.
    ///
    /// # Errors
    ///
    /// [`Error::ContainerNameTaken`], [`container_image::Error::ImageMissing`], [`Error::NoCommand`], [`Error::Setting`] …
    pub async fn create_container(&self, mut options: ContainerOptions) -> Result<String, Error> {
        if let Some(name) = &options.name {
            name::check("container name", name.strip_prefix('/').unwrap_or(name))?;
        }
        let named = self.images.find(&options.image)?;
        check(&options, &named.image)?;
        let networks = self.first_networks(&options)?;
        self.resolve_links(&mut options)?;
        self.volumes_of_others(&mut options)?;
        let id = name::new_id()?;
        Self::check_secrets(&options)?;
        self.prepare_volumes(&id, &mut options, &named.image)?;
        let made_up = options.name.is_none();
        for _ in 0..16 {
            let name = match &options.name {
                Some(name) => name.trim_start_matches('/').to_owned(),
                None => name::made_up()?,
            };
            let row = ContainerRow {
                id: id.clone(),
                name: name.clone(),
                created: time::now(),
                image: options.image.clone(),
                image_id: named.image.id.to_string(),
                options: encode(&id, &ContainerOptions { name: Some(name.clone()), ..options.clone() })?,
                auto_remove: options.auto_remove,
                removing: false,
                last: None,
            };
            let endpoint = EndpointOptions { aliases: options.aliases.clone(), ip: options.ip };
            let endpoints = networks
                .iter()
                .map(|network| endpoint_row(&id, network, 0, &endpoint))
                .collect::<Result<Vec<EndpointRow>, Error>>()?;
            let taken = self.database().add_container(&row, &endpoints);
            match taken {
                Ok(None) => {
                    if let Err(error) = self.secrets().put(&id, &options.secrets) {
                        self.database().remove_container(&id)?;
                        self.release_volumes(&id, true)?;
                        return Err(error.into());
                    }
                    self.events.record(
                        "container",
                        "create",
                        &id,
                        &[("name", &name), ("image", &options.image)],
                    )?;
                    return Ok(id);
                }
                // a made-up name that somebody has: another one
                Ok(Some(_)) if made_up => {}
                Ok(Some(by)) => {
                    self.release_volumes(&id, true)?;
                    return Err(Error::ContainerNameTaken { name, by });
                }
                Err(error) => {
                    self.release_volumes(&id, true)?;
                    return Err(error);
                }
            }
        }
        self.release_volumes(&id, true)?;
        Err(Error::setting("container name", "", "no free name could be made up"))
    }

    /// All containers, the newest first.
    pub async fn containers(&self) -> Result<Vec<Container>, Error> {
        let rows = self.database().containers()?;
        rows.iter().map(|row| self.describe(row)).collect()
    }

    /// One container, by name, id, or the first digits of its id.
    pub async fn container(&self, text: &str) -> Result<Container, Error> {
        self.describe(&self.find_row(text)?)
    }

    pub(crate) fn find_row(&self, text: &str) -> Result<ContainerRow, Error> {
        let rows = self.database().containers()?;
        let name = text.strip_prefix('/').unwrap_or(text);
        if let Some(row) = rows.iter().find(|row| row.name == name || row.id == text) {
            return Ok(row.clone());
        }
        let mut fits = rows.into_iter().filter(|row| !text.is_empty() && row.id.starts_with(text));
        match (fits.next(), fits.next()) {
            (Some(row), None) => Ok(row),
            (Some(_), Some(_)) => Err(Error::ContainerAmbiguous(text.to_owned())),
            (None, _) => Err(Error::ContainerMissing(text.chars().take(200).collect())),
        }
    }

    pub(crate) fn describe(&self, row: &ContainerRow) -> Result<Container, Error> {
        let options = decode(row)?;
        let status = self.status(&row.id);
        let phase = self.phase(row)?;
        let attached = match &status {
            Some(MonitorStatus::Running { networks, .. }) if phase.is_running() => networks.clone(),
            _ => Vec::new(),
        };
        let networks = self.database().networks()?;
        let mut places = Vec::new();
        for endpoint in self.endpoints_of(&row.id)? {
            let Some(network) = networks.iter().find(|network| network.id == endpoint.network) else {
                continue;
            };
            places.push(ContainerNetwork {
                id: network.id.clone(),
                name: network.name.clone(),
                options: endpoint_options(&endpoint)?,
                status: attached.iter().find(|status| status.id == network.id).cloned(),
            });
        }
        let image = self.images.find(&row.image_id).ok();
        let command = image
            .and_then(|named| bundle::command(&options, &named.image.config.config).ok())
            .unwrap_or_else(|| options.command.clone());
        Ok(Container {
            id: row.id.clone(),
            name: row.name.clone(),
            created: row.created.clone(),
            image: row.image.clone(),
            image_id: row.image_id.clone(),
            command,
            options,
            phase,
            networks: places,
        })
    }

    /// What the monitor has last written; none if the container was not started since the machine was.
    pub(crate) fn status(&self, id: &str) -> Option<MonitorStatus> {
        let bytes = fs::read(self.container_run(id).join("status.json")).ok()?;
        serde_json::from_slice(&bytes).ok()
    }

    pub(crate) fn phase(&self, row: &ContainerRow) -> Result<Phase, Error> {
        if row.removing {
            return Ok(Phase::Removing);
        }
        let (status, lost) = match self.status(&row.id) {
            Some(status) => (status, "the monitor of the container was killed"),
            None => match row.last.as_deref().map(serde_json::from_str) {
                Some(Ok(status)) => (status, "the machine went down"),
                _ => return Ok(Phase::Created),
            },
        };
        let alive = self.is_running(&row.id)?;
        let lost = |started_at: String| {
            Phase::Exited(Exit {
                code: 137,
                oom_killed: false,
                finished_at: started_at.clone(),
                started_at,
                error: Some(lost.to_owned()),
            })
        };
        Ok(match status {
            MonitorStatus::Running { pid, started_at, restart_count, health, .. } if alive => {
                let paused = container_id(&row.id)
                    .and_then(|id| Ok(self.runtime.state(&id)?))
                    .is_ok_and(|state| state.status == Status::Paused);
                Phase::Running { pid, started_at, paused, restarts: restart_count, health }
            }
            MonitorStatus::Restarting { exit_code, finished_at, .. } if alive => {
                Phase::Restarting { exit_code, finished_at }
            }
            MonitorStatus::Running { started_at, .. } | MonitorStatus::Restarting { started_at, .. } => {
                lost(started_at)
            }
            MonitorStatus::Exited { exit_code, oom_killed, started_at, finished_at, error, .. } => {
                Phase::Exited(Exit { code: exit_code, oom_killed, started_at, finished_at, error })
            }
            _ => Phase::Created,
        })
    }

    /// True while a monitor holds the container's lock.
    pub(crate) fn is_running(&self, id: &str) -> Result<bool, Error> {
        let path = self.container_run(id).join("lock");
        let lock = match File::open(&path) {
            Ok(lock) => lock,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(Error::io("open", path)(error)),
        };
        match flock(&lock, FlockOperation::NonBlockingLockShared) {
            Ok(()) => Ok(false),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(true),
            Err(errno) => Err(Error::io("lock", path)(errno.into())),
        }
    }

    /// Keeps other processes from starting or removing the container meanwhile; waits for one that does.
    pub(crate) fn lock_container(&self, id: &str) -> Result<File, Error> {
        loop {
            if let Some(lock) = self.lock_file(id, FlockOperation::LockExclusive)? {
                return Ok(lock);
            }
        }
    }

    /// The same without waiting; none if somebody has the lock.
    pub(crate) fn try_lock_container(&self, id: &str) -> Result<Option<File>, Error> {
        self.lock_file(id, FlockOperation::NonBlockingLockExclusive)
    }

    fn lock_file(&self, id: &str, operation: FlockOperation) -> Result<Option<File>, Error> {
        let path = self.config.run_root.join("locks").join(id);
        loop {
            let file = File::options()
                .create(true)
                .truncate(false)
                .write(true)
                .open(&path)
                .map_err(Error::io("open", &path))?;
            match flock(&file, operation) {
                Ok(()) => {}
                Err(rustix::io::Errno::WOULDBLOCK) => return Ok(None),
                Err(rustix::io::Errno::INTR) => continue,
                Err(errno) => return Err(Error::io("lock", path)(errno.into())),
            }
            // a file that went with its container meanwhile protects nothing any more
            let own = file.metadata().map_err(Error::io("look at", &path))?;
            if fs::metadata(&path)
                .is_ok_and(|current| (current.dev(), current.ino()) == (own.dev(), own.ino()))
            {
                return Ok(Some(file));
            }
        }
    }

    /// The networks that a new container is in, by id.
    fn first_networks(&self, options: &ContainerOptions) -> Result<Vec<String>, Error> {
        let name = match &options.network {
            NetworkMode::Bridge => "bridge",
            NetworkMode::Named(name) => name,
            NetworkMode::Container(other) => {
                self.find_row(other)?;
                return Ok(Vec::new());
            }
            NetworkMode::None | NetworkMode::Host => return Ok(Vec::new()),
        };
        let row = self.find_network_row(name)?;
        if let Some(ip) = options.ip {
            if options.network == NetworkMode::Bridge {
                return Err(Error::setting(
                    "address",
                    ip.to_string(),
                    "fixed addresses are for networks of one's own",
                ));
            }
            if let crate::networks::NetworkDriver::Bridge(config) = crate::networks::driver(&row)?
                && config.subnet_of(ip).is_none()
            {
                return Err(Error::setting(
                    "address",
                    ip.to_string(),
                    format!("it is in no subnet of network {name}"),
                ));
            }
        }
        Ok(vec![row.id])
    }
}

fn check(options: &ContainerOptions, image: &Image) -> Result<(), Error> {
    bundle::command(options, &image.config.config)?;
    health::check(options, &image.config.config)?;
    if let Some(path) = &options.working_dir
        && !path.starts_with('/')
    {
        return Err(Error::setting("working directory", path, "it is not absolute"));
    }
    if options.auto_remove && options.restart != crate::options::RestartPolicy::No {
        let policy = options.restart.to_string();
        return Err(Error::setting(
            "restart policy",
            policy,
            "a container that is removed when it ends is not started again",
        ));
    }
    let shares_network =
        matches!(options.network, NetworkMode::Container(_) | NetworkMode::Host | NetworkMode::None);
    if shares_network && let Some(port) = options.ports.first() {
        let text = format!("{}/{}", port.container_port, port.protocol);
        return Err(Error::setting(
            "published port",
            text,
            format!("network {} publishes none", options.network),
        ));
    }
    if let Some(signal) = &options.stop_signal {
        signal.parse::<container_runtime::Signal>().map_err(|_| {
            Error::setting("stop signal", signal, "there is no signal of this name or number")
        })?;
    }
    if let Some(hostname) = &options.hostname
        && (hostname.is_empty()
            || hostname.len() > 63
            || hostname.bytes().any(|b| b.is_ascii_control() || b == b' '))
    {
        return Err(Error::setting("host name", hostname, "it has 1 to 63 characters and no blanks"));
    }
    if let Some(domainname) = &options.domainname
        && (domainname.is_empty()
            || domainname.len() > 64
            || domainname.bytes().any(|b| b.is_ascii_control()))
    {
        return Err(Error::setting("domain name", domainname, "it has 1 to 64 characters"));
    }
    if let Some(name) = options.hostname.as_ref().or(options.domainname.as_ref()).filter(|_| options.host_uts)
    {
        return Err(Error::setting("host name", name, "the host's own, which is shared, cannot be set"));
    }
    for text in &options.expose {
        let (port, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
        if port.parse::<u16>().is_err() || protocol.parse::<container_net::Protocol>().is_err() {
            return Err(Error::setting("exposed port", text, "the form is PORT[/tcp|udp|sctp]"));
        }
    }
    for (what, words) in [("search domain", &options.dns_search), ("resolver option", &options.dns_options)] {
        // they stand in one line of resolv.conf
        if let Some(word) = words.iter().find(|word| word.is_empty() || word.contains(char::is_whitespace)) {
            return Err(Error::setting(what, word, "it is one word"));
        }
    }
    for variable in &options.env {
        if variable.is_empty() || variable.starts_with('=') || variable.contains('\0') {
            return Err(Error::setting("environment variable", variable, "the form is NAME=value"));
        }
    }
    if let Some(memory) = options.resources.memory
        && memory.0 < 6 << 20
    {
        return Err(Error::setting("memory", memory.to_string(), "the least is 6 MiB"));
    }
    Ok(())
}

pub(crate) fn container_id(id: &str) -> Result<ContainerId, Error> {
    Ok(ContainerId::new(id)?)
}

pub(crate) fn decode(row: &ContainerRow) -> Result<ContainerOptions, Error> {
    serde_json::from_str(&row.options).map_err(|source| Error::Record {
        what: "container",
        id: row.id.clone(),
        source,
    })
}

pub(crate) fn endpoint_options(row: &EndpointRow) -> Result<EndpointOptions, Error> {
    serde_json::from_str(&row.settings).map_err(|source| Error::Record {
        what: "endpoint",
        id: row.container.clone(),
        source,
    })
}

pub(crate) fn encode(id: &str, options: &ContainerOptions) -> Result<String, Error> {
    serde_json::to_string(options).map_err(|source| Error::Record {
        what: "container",
        id: id.to_owned(),
        source,
    })
}
