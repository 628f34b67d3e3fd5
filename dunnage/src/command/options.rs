//! What `run` and `create` say of a container.

use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use container_engine::{
    Bytes, ContainerOptions, DeviceSpec, HealthCheck, LogOptions, Mount, MountSpec, NetworkMode,
    PublishedPort, Resources, RestartPolicy, Seccomp, Ulimit, parse_published,
};

use crate::command::pull::PullPolicy;
use crate::command::resources::ResourceArgs;
use crate::command::secret;
use crate::context::Failure;

#[derive(Debug, Args)]
pub(crate) struct ContainerArgs {
    /// Its name
    #[arg(long)]
    name: Option<String>,
    /// Keep standard input open
    #[arg(short, long)]
    pub(crate) interactive: bool,
    /// Give it a terminal
    #[arg(short, long)]
    pub(crate) tty: bool,
    /// Remove it, with its anonymous volumes, when it ends
    #[arg(long)]
    pub(crate) rm: bool,
    /// Set an environment variable; a bare name takes this program's own value
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    env: Vec<String>,
    /// Read environment variables from a file, a line each
    #[arg(long, value_name = "FILE")]
    env_file: Vec<PathBuf>,
    /// Set a label
    #[arg(short, long, value_name = "KEY[=VALUE]")]
    label: Vec<String>,
    /// User, as name or number, and group
    #[arg(short, long, value_name = "USER[:GROUP]")]
    user: Option<String>,
    /// A further group, as name or number
    #[arg(long, value_name = "GROUP")]
    group_add: Vec<String>,
    /// Working directory
    #[arg(short, long, value_name = "DIR")]
    workdir: Option<String>,
    /// Replace the image's entrypoint
    #[arg(long, value_name = "COMMAND")]
    entrypoint: Option<String>,
    /// Host name
    #[arg(long, value_name = "NAME")]
    hostname: Option<String>,
    /// NIS domain name
    #[arg(long, value_name = "NAME")]
    domainname: Option<String>,
    /// host: share the host's host name
    #[arg(long, value_name = "MODE")]
    uts: Option<String>,
    /// host: see the host's control groups; private
    #[arg(long, value_name = "MODE")]
    cgroupns: Option<String>,
    /// bridge, none, host, container:NAME, or a network's name
    #[arg(long, alias = "net", default_value = "bridge", value_name = "NETWORK")]
    network: String,
    /// A further name in a network of one's own
    #[arg(long, value_name = "NAME")]
    network_alias: Vec<String>,
    /// Fixed address in a network of one's own
    #[arg(long, value_name = "ADDRESS")]
    ip: Option<IpAddr>,
    /// Publish a port: [ADDRESS:][HOST:]CONTAINER[/tcp|udp|sctp], ranges too
    #[arg(short, long, value_name = "PORT")]
    publish: Vec<String>,
    /// A port, or a range of ports, beside the image's that is exposed: 80, 80-90/udp
    #[arg(long, value_name = "PORT")]
    expose: Vec<String>,
    /// Publish every exposed port at a free port of the host
    #[arg(short = 'P', long)]
    publish_all: bool,
    /// A line of /etc/hosts
    #[arg(long, value_name = "NAME:ADDRESS")]
    add_host: Vec<String>,
    /// Name server
    #[arg(long, value_name = "ADDRESS")]
    dns: Vec<IpAddr>,
    /// Search domain
    #[arg(long, value_name = "DOMAIN")]
    dns_search: Vec<String>,
    /// Option of the resolver, as ndots:2
    #[arg(long, visible_alias = "dns-opt", value_name = "OPTION")]
    dns_option: Vec<String>,
    /// Know a container by a further name: CONTAINER[:NAME]
    #[arg(long, value_name = "LINK")]
    link: Vec<String>,
    /// Take the volumes of a container: CONTAINER[:ro]
    #[arg(long, value_name = "CONTAINER")]
    volumes_from: Vec<String>,
    /// Mount a volume or a directory of the host: SOURCE:TARGET[:OPTIONS]
    #[arg(short, long, value_name = "VOLUME")]
    volume: Vec<String>,
    /// Mount: type=volume|bind|tmpfs,source=…,target=…,…
    #[arg(long, value_name = "MOUNT")]
    mount: Vec<String>,
    /// Driver of the volumes that are made for -v
    #[arg(long, value_name = "DRIVER")]
    volume_driver: Option<String>,
    /// A file that the container has in memory: source=FILE[,target=NAME][,uid=N][,gid=N][,mode=0444]
    #[arg(long, value_name = "SECRET")]
    secret: Vec<String>,
    /// Mount a tmpfs: TARGET[:OPTIONS]
    #[arg(long, value_name = "TARGET")]
    tmpfs: Vec<String>,
    /// Make the root read-only
    #[arg(long)]
    read_only: bool,
    /// All capabilities, all devices, no filter, nothing masked
    #[arg(long)]
    privileged: bool,
    /// Add a capability
    #[arg(long, value_name = "NAME")]
    cap_add: Vec<String>,
    /// Take a capability away
    #[arg(long, value_name = "NAME")]
    cap_drop: Vec<String>,
    /// seccomp=unconfined, seccomp=FILE, no-new-privileges
    #[arg(long, value_name = "OPTION")]
    security_opt: Vec<String>,
    #[command(flatten)]
    resources: ResourceArgs,
    /// How likely the kernel kills it when memory is short, -1000 to 1000
    #[arg(long, value_name = "SCORE", allow_negative_numbers = true)]
    oom_score_adj: Option<i32>,
    /// Process limit, as nofile=1024:2048
    #[arg(long, value_name = "LIMIT")]
    ulimit: Vec<Ulimit>,
    /// Sysctl of the container's own namespaces
    #[arg(long, value_name = "KEY=VALUE")]
    sysctl: Vec<String>,
    /// Device of the host: HOST[:CONTAINER[:rwm]]
    #[arg(long, value_name = "DEVICE")]
    device: Vec<DeviceSpec>,
    /// Size of /dev/shm
    #[arg(long, value_name = "BYTES")]
    shm_size: Option<Bytes>,
    /// host: share the host's process ids
    #[arg(long, value_name = "MODE")]
    pid: Option<String>,
    /// host: share the host's IPC; private
    #[arg(long, value_name = "MODE")]
    ipc: Option<String>,
    /// no, on-failure[:N], always, unless-stopped
    #[arg(long, default_value = "no", value_name = "POLICY")]
    restart: RestartPolicy,
    /// A line for the shell in it that tells by its exit code whether it is well
    #[arg(long, value_name = "COMMAND")]
    health_cmd: Option<String>,
    /// From one health check to the next, as 30s
    #[arg(long, value_name = "TIME", value_parser = duration)]
    health_interval: Option<Duration>,
    /// How long a health check may take
    #[arg(long, value_name = "TIME", value_parser = duration)]
    health_timeout: Option<Duration>,
    /// Failures in this time after the start do not count
    #[arg(long, value_name = "TIME", value_parser = duration)]
    health_start_period: Option<Duration>,
    /// From one health check to the next within that time
    #[arg(long, value_name = "TIME", value_parser = duration)]
    health_start_interval: Option<Duration>,
    /// So many failures in a row make it unhealthy
    #[arg(long, value_name = "COUNT")]
    health_retries: Option<u32>,
    /// No health check, whatever the image says
    #[arg(long)]
    no_healthcheck: bool,
    /// The signal that asks it to stop
    #[arg(long, value_name = "SIGNAL")]
    stop_signal: Option<String>,
    /// Seconds until a stop kills
    #[arg(long, value_name = "SECONDS")]
    stop_timeout: Option<u64>,
    /// json-file or none
    #[arg(long, default_value = "json-file", value_name = "DRIVER")]
    log_driver: String,
    /// max-size=10m, max-file=3
    #[arg(long, value_name = "OPTION")]
    log_opt: Vec<String>,
    /// Write the container's id to a file that is not there yet
    #[arg(long, value_name = "FILE")]
    pub(crate) cidfile: Option<PathBuf>,
    /// When to fetch the image
    #[arg(long, value_enum, default_value_t = PullPolicy::Missing, value_name = "WHEN")]
    pub(crate) pull: PullPolicy,
    /// Image, by name or id, and perhaps a command with its arguments; what stands behind the image is no option of ours
    #[arg(required = true, trailing_var_arg = true, value_name = "IMAGE [COMMAND]")]
    words: Vec<String>,
}

impl ContainerArgs {
    pub(crate) fn image(&self) -> &str {
        self.words.first().map_or("", String::as_str)
    }

    pub(crate) fn options(&self) -> Result<ContainerOptions, Failure> {
        let (seccomp, no_new_privileges) = security(&self.security_opt)?;
        Ok(ContainerOptions {
            image: self.image().to_owned(),
            name: self.name.clone(),
            command: self.words.get(1..).unwrap_or_default().to_vec(),
            entrypoint: self.entrypoint.clone().map(|word| vec![word]),
            env: environment(&self.env_file, &self.env)?,
            labels: pairs("label", &self.label, true)?,
            user: self.user.clone(),
            group_add: self.group_add.clone(),
            working_dir: self.workdir.clone(),
            hostname: self.hostname.clone(),
            domainname: self.domainname.clone(),
            host_uts: mode("uts", self.uts.as_deref(), &[""])?,
            host_cgroup: mode("cgroupns", self.cgroupns.as_deref(), &["", "private"])?,
            tty: self.tty,
            console_size: crate::terminal::size().filter(|_| self.tty),
            stdin_open: self.interactive,
            auto_remove: self.rm,
            network: NetworkMode::from(self.network.as_str()),
            aliases: self.network_alias.clone(),
            ip: self.ip,
            ports: self.ports()?,
            expose: exposed(&self.expose)?,
            publish_all: self.publish_all,
            extra_hosts: host_entries(&self.add_host)?,
            dns: self.dns.clone(),
            dns_search: self.dns_search.clone(),
            dns_options: self.dns_option.clone(),
            links: self.link.iter().map(|text| link(text)).collect(),
            volumes_from: self.volumes_from.clone(),
            mounts: self.mounts()?,
            secrets: self.secret.iter().map(|text| secret::parse(text)).collect::<Result<_, _>>()?,
            read_only: self.read_only,
            privileged: self.privileged,
            cap_add: self.cap_add.clone(),
            cap_drop: self.cap_drop.clone(),
            seccomp,
            no_new_privileges,
            resources: Resources { oom_score_adj: self.oom_score_adj, ..self.resources.resources() },
            sysctls: pairs("sysctl", &self.sysctl, false)?,
            ulimits: self.ulimit.clone(),
            devices: self.device.clone(),
            shm_size: self.shm_size,
            host_pid: mode("pid", self.pid.as_deref(), &[""])?,
            host_ipc: mode("ipc", self.ipc.as_deref(), &["", "private"])?,
            restart: self.restart.clone(),
            health: self.health()?,
            stop_signal: self.stop_signal.clone(),
            stop_timeout: self.stop_timeout.map(Duration::from_secs),
            log: log(&self.log_driver, &self.log_opt)?,
        })
    }

    fn ports(&self) -> Result<Vec<PublishedPort>, Failure> {
        let mut ports = Vec::new();
        for text in &self.publish {
            ports.extend(parse_published(text)?);
        }
        Ok(ports)
    }

    fn mounts(&self) -> Result<Vec<MountSpec>, Failure> {
        let directory = std::env::current_dir()?;
        let mut mounts = Vec::new();
        for text in &self.volume {
            let mut spec =
                MountSpec::from_volume_flag(text, &directory).map_err(container_engine::Error::from)?;
            if let Mount::Volume { driver, .. } = &mut spec.mount {
                driver.clone_from(&self.volume_driver);
            }
            mounts.push(spec);
        }
        for text in &self.mount {
            mounts.push(MountSpec::from_mount_flag(text, &directory).map_err(container_engine::Error::from)?);
        }
        for text in &self.tmpfs {
            mounts.push(MountSpec::from_tmpfs_flag(text).map_err(container_engine::Error::from)?);
        }
        Ok(mounts)
    }

    fn health(&self) -> Result<Option<HealthCheck>, Failure> {
        let check = HealthCheck {
            disabled: self.no_healthcheck,
            test: self.health_cmd.iter().flat_map(|line| ["CMD-SHELL".to_owned(), line.clone()]).collect(),
            interval: self.health_interval,
            timeout: self.health_timeout,
            start_period: self.health_start_period,
            start_interval: self.health_start_interval,
            retries: self.health_retries,
        };
        let none = HealthCheck::default();
        if self.no_healthcheck && check != (HealthCheck { disabled: true, ..none.clone() }) {
            return Err(Failure::new("--no-healthcheck goes with no other option of a health check"));
        }
        Ok(Some(check).filter(|check| *check != none))
    }
}

/// How a log is kept, of the words of `--log-driver` and `--log-opt`.
pub(crate) fn log(driver: &str, settings: &[String]) -> Result<LogOptions, Failure> {
    let mut log = LogOptions::default();
    match driver {
        "json-file" => {}
        "none" => log.none = true,
        other => {
            return Err(Failure::new(format!("unknown log driver {other:?}: json-file and none are there")));
        }
    }
    for (key, value) in pairs("log option", settings, false)? {
        match key.as_str() {
            "max-size" => log.max_size = Some(value.parse().map_err(Failure::new)?),
            "max-file" => {
                let count = value.parse().ok().filter(|&count| count > 0);
                log.max_files = Some(count.ok_or_else(|| {
                    Failure::new(format!("log option max-file={value}: not a number above 0"))
                })?);
            }
            _ => {
                return Err(Failure::new(format!(
                    "unknown log option {key:?}: max-size and max-file are there"
                )));
            }
        }
    }
    Ok(log)
}

pub(crate) fn pairs(what: &str, texts: &[String], bare: bool) -> Result<BTreeMap<String, String>, Failure> {
    texts
        .iter()
        .map(|text| match text.split_once('=') {
            Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
            None if bare && !text.is_empty() => Ok((text.clone(), String::new())),
            _ => Err(Failure::new(format!("{what} {text:?}: the form is KEY=VALUE"))),
        })
        .collect()
}

pub(crate) fn environment(files: &[PathBuf], variables: &[String]) -> Result<Vec<String>, Failure> {
    let mut env = Vec::new();
    let mut add = |text: &str| {
        if text.contains('=') {
            env.push(text.to_owned());
        } else {
            // a bare name takes this program's own value, and is nothing if there is none
            env.extend(std::env::var(text).ok().map(|value| format!("{text}={value}")));
        }
    };
    for file in files {
        let text =
            fs::read_to_string(file).map_err(|error| Failure::new(format!("{}: {error}", file.display())))?;
        for line in
            text.lines().map(str::trim_start).filter(|line| !line.is_empty() && !line.starts_with('#'))
        {
            add(line);
        }
    }
    for variable in variables {
        add(variable);
    }
    Ok(env)
}

/// Ranges spread out: `80-82/udp` is three ports.
fn exposed(texts: &[String]) -> Result<Vec<String>, Failure> {
    let mut all = Vec::new();
    for text in texts {
        let wrong = || Failure::new(format!("expose {text:?}: the form is PORT[-PORT][/PROTOCOL]"));
        let (ports, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
        let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
        let (first, last): (u16, u16) =
            (first.parse().map_err(|_| wrong())?, last.parse().map_err(|_| wrong())?);
        if first > last {
            return Err(wrong());
        }
        all.extend((first..=last).map(|port| format!("{port}/{protocol}")));
    }
    Ok(all)
}

/// `1m30s`, `500ms`: numbers with units, as Go writes times.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is no time such as 30s, 1m30s or 500ms");
    let (mut total, mut rest) = (Duration::ZERO, text);
    if text == "0" {
        return Ok(total);
    }
    while !rest.is_empty() {
        let end = rest.find(|c: char| !(c.is_ascii_digit() || c == '.')).ok_or_else(wrong)?;
        let (number, behind) = rest.split_at(end);
        let unit_end = behind.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(behind.len());
        let (unit, behind) = behind.split_at(unit_end);
        let seconds = match unit {
            "ns" => 1e-9,
            "us" | "µs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return Err(wrong()),
        };
        let number: f64 = number.parse().map_err(|_| wrong())?;
        let part = Duration::try_from_secs_f64(number * seconds).map_err(|_| wrong())?;
        total = total.checked_add(part).ok_or_else(wrong)?;
        rest = behind;
    }
    if text.is_empty() { Err(wrong()) } else { Ok(total) }
}

/// `CONTAINER[:NAME]`
pub(crate) fn link(text: &str) -> (String, String) {
    let (container, alias) = text.split_once(':').unwrap_or((text, text));
    let alias = if alias.is_empty() { container } else { alias };
    (container.to_owned(), alias.trim_start_matches('/').to_owned())
}

pub(crate) fn host_entries(texts: &[String]) -> Result<Vec<(String, IpAddr)>, Failure> {
    texts
        .iter()
        .map(|text| {
            let wrong = || Failure::new(format!("host {text:?}: the form is NAME:ADDRESS"));
            let (name, address) = text.split_once([':', '=']).ok_or_else(wrong)?;
            let plain = !name.is_empty() && !name.contains(char::is_whitespace);
            let address =
                address.trim_start_matches('[').trim_end_matches(']').parse().map_err(|_| wrong())?;
            if plain { Ok((name.to_owned(), address)) } else { Err(wrong()) }
        })
        .collect()
}

pub(crate) fn security(texts: &[String]) -> Result<(Seccomp, bool), Failure> {
    let (mut seccomp, mut no_new_privileges) = (Seccomp::Default, false);
    for text in texts {
        match text.split_once(['=', ':']).unwrap_or((text, "")) {
            ("no-new-privileges", "" | "true") => no_new_privileges = true,
            ("no-new-privileges", "false") => no_new_privileges = false,
            ("seccomp", "unconfined") => seccomp = Seccomp::Unconfined,
            ("seccomp", file) if !file.is_empty() => {
                let text = fs::read(file).map_err(|error| Failure::new(format!("{file}: {error}")))?;
                seccomp = Seccomp::Profile(serde_json::from_slice(&text)?);
            }
            // there is no such module to confine it by
            ("apparmor", "unconfined") | ("label", "disable") => {}
            _ => return Err(Failure::new(format!("unknown security option {text:?}"))),
        }
    }
    Ok((seccomp, no_new_privileges))
}

fn mode(what: &str, value: Option<&str>, others: &[&str]) -> Result<bool, Failure> {
    match value {
        Some("host") => Ok(true),
        None => Ok(false),
        Some(other) if others.contains(&other) => Ok(false),
        Some(other) => Err(Failure::new(format!("{what} mode {other:?} is not known"))),
    }
}
