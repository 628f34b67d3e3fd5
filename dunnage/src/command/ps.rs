use clap::Args;
use container_engine::{Container, Mount, MountSpec, Phase, PublishedPort, short_id};

use crate::context::{Failure, Roots, print};
use crate::human;
use crate::listing::{Format, Listing};

#[derive(Debug, Args)]
pub(crate) struct Ps {
    /// Those that do not run, too
    #[arg(short, long)]
    all: bool,
    /// Ids only
    #[arg(short, long)]
    quiet: bool,
    /// Do not shorten ids and commands
    #[arg(long)]
    no_trunc: bool,
    /// The newest so many, running or not
    #[arg(short = 'n', long, value_name = "COUNT")]
    last: Option<usize>,
    /// Only some: name, id, status, ancestor, label, exited, network, volume or health, as KEY=VALUE
    #[arg(short, long, value_name = "FILTER")]
    filter: Vec<String>,
    #[command(flatten)]
    format: Format,
}

const COLUMNS: [(&str, &str); 7] = [
    ("ID", "CONTAINER ID"),
    ("Image", "IMAGE"),
    ("Command", "COMMAND"),
    ("RunningFor", "CREATED"),
    ("Status", "STATUS"),
    ("Ports", "PORTS"),
    ("Names", "NAMES"),
];

impl Ps {
    pub(crate) async fn run(self, roots: &Roots) -> Result<u8, Failure> {
        let engine = roots.engine().await?;
        let by_status = |text: &String| text.starts_with("status=") || text.starts_with("exited=");
        let by_status = self.filter.iter().any(by_status);
        let mut containers = filtered(engine.containers().await?, &self.filter)?;
        if let Some(last) = self.last {
            containers.truncate(last);
        } else if !self.all && !by_status {
            containers.retain(|container| container.phase.is_running());
        }
        if self.quiet {
            let ids: Vec<&str> = containers
                .iter()
                .map(|c| if self.no_trunc { c.id.as_str() } else { short_id(&c.id) })
                .collect();
            return if ids.is_empty() { Ok(0) } else { print(ids.join("\n")).map(|()| 0) };
        }
        let mut listing = Listing::new(&COLUMNS);
        for container in &containers {
            let id = if self.no_trunc { container.id.as_str() } else { short_id(&container.id) };
            let networks: Vec<&str> =
                container.networks.iter().map(|network| network.name.as_str()).collect();
            let networks =
                if networks.is_empty() { container.options.network.to_string() } else { networks.join(",") };
            let labels: Vec<String> =
                container.options.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
            let mounts: Vec<String> = container.options.mounts.iter().filter_map(source).collect();
            listing.row([
                ("ID", id.to_owned()),
                ("Image", container.image.clone()),
                ("Command", self.command(container)),
                ("CreatedAt", container.created.clone()),
                ("RunningFor", human::ago(&container.created)),
                ("State", container.phase.name().to_owned()),
                ("Status", human::status(&container.phase)),
                ("Ports", ports(container)),
                ("Names", container.name.clone()),
                ("Networks", networks),
                ("Labels", labels.join(",")),
                ("Mounts", mounts.join(",")),
                ("LocalVolumes", mounts.iter().filter(|mount| !mount.starts_with('/')).count().to_string()),
            ]);
        }
        listing.print(&self.format)
    }

    fn command(&self, container: &Container) -> String {
        let text = container.command.join(" ");
        if self.no_trunc || text.chars().count() <= 20 {
            return format!("\"{text}\"");
        }
        format!("\"{}…\"", text.chars().take(19).collect::<String>())
    }
}

/// Those that fit all filters, `KEY=VALUE` each.
pub(crate) fn filtered(containers: Vec<Container>, filters: &[String]) -> Result<Vec<Container>, Failure> {
    let filters = filters.iter().map(|text| Filter::parse(text)).collect::<Result<Vec<_>, _>>()?;
    let fits = |container: &Container| filters.iter().all(|filter| filter.fits(container, &filters));
    Ok(containers.into_iter().filter(fits).collect())
}

/// Published ports as Docker shows them.
pub(crate) fn ports(container: &Container) -> String {
    let mut shown: Vec<String> = Vec::new();
    for status in container.networks.iter().filter_map(|network| network.status.as_ref()) {
        shown.extend(status.ports.iter().map(port));
    }
    shown.dedup();
    shown.join(", ")
}

pub(crate) fn port(port: &PublishedPort) -> String {
    format!("{}->{}/{}", host_end(port), port.container_port, port.protocol)
}

/// The volume or the host's directory of a mount.
fn source(spec: &MountSpec) -> Option<String> {
    match &spec.mount {
        Mount::Volume { name, .. } => name.clone(),
        Mount::Bind { source, .. } => Some(source.display().to_string()),
        _ => None,
    }
}

/// `0.0.0.0:8080`
pub(crate) fn host_end(port: &PublishedPort) -> String {
    let host = match port.host_ip {
        Some(std::net::IpAddr::V6(address)) => format!("[{address}]"),
        Some(address) => address.to_string(),
        None => "0.0.0.0".to_owned(),
    };
    format!("{host}:{}", port.host_port)
}

struct Filter {
    key: String,
    value: String,
}

impl Filter {
    fn parse(text: &str) -> Result<Self, Failure> {
        let (key, value) = text
            .split_once('=')
            .ok_or_else(|| Failure::new(format!("filter {text:?}: the form is KEY=VALUE")))?;
        let known = ["name", "id", "status", "ancestor", "label", "exited", "network", "volume", "health"];
        if !known.contains(&key) {
            return Err(Failure::new(format!("filter {key:?} is not known: {}", known.join(", "))));
        }
        let states = ["created", "running", "paused", "restarting", "exited", "removing"];
        if key == "status" && !states.contains(&value) {
            return Err(Failure::new(format!("status {value:?} is not known: {}", states.join(", "))));
        }
        if key == "exited" && value.parse::<i32>().is_err() {
            return Err(Failure::new(format!("exit code {value:?} is not a number")));
        }
        Ok(Self { key: key.to_owned(), value: value.to_owned() })
    }

    /// Filters of one key are alternatives, those of several keys must all fit, and all labels.
    fn fits(&self, container: &Container, all: &[Filter]) -> bool {
        if self.key == "label" {
            return self.fits_alone(container);
        }
        all.iter().filter(|other| other.key == self.key).any(|filter| filter.fits_alone(container))
    }

    fn fits_alone(&self, container: &Container) -> bool {
        let value = self.value.as_str();
        match self.key.as_str() {
            "name" => container.name.contains(value.trim_start_matches('/')),
            "id" => container.id.starts_with(value),
            "status" => container.phase.name() == value,
            "exited" => matches!(&container.phase, Phase::Exited(exit) if exit.code.to_string() == value),
            "ancestor" => {
                container.image == value
                    || container.image == format!("{value}:latest")
                    || container.image_id.trim_start_matches("sha256:").starts_with(value)
            }
            "label" => {
                let (key, wanted) =
                    value.split_once('=').map_or((value, None), |(key, wanted)| (key, Some(wanted)));
                container
                    .options
                    .labels
                    .get(key)
                    .is_some_and(|found| wanted.is_none_or(|wanted| found == wanted))
            }
            "health" => match &container.phase {
                Phase::Running { health: Some(health), .. } => health.status.name() == value,
                _ => value == "none",
            },
            "network" => container
                .networks
                .iter()
                .any(|network| network.name == value || network.id.starts_with(value)),
            _ => container.options.mounts.iter().any(|mount| {
                let name = matches!(&mount.mount, Mount::Volume { name: Some(name), .. } if name == value);
                name || mount.target.as_os_str() == value
            }),
        }
    }
}
