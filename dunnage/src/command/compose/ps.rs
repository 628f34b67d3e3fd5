use clap::Args;
use container_engine::{Container, short_id};

use super::session::{Session, service_of};
use crate::command::ps::ports;
use crate::context::{Failure, print};
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
    /// The names of their services only
    #[arg(long)]
    services: bool,
    /// Only those in these states: created, running, paused, restarting, exited
    #[arg(long, value_name = "STATE")]
    status: Vec<String>,
    /// status=STATE
    #[arg(long, value_name = "FILTER")]
    filter: Vec<String>,
    /// Do not shorten commands
    #[arg(long)]
    no_trunc: bool,
    #[command(flatten)]
    format: Format,
    /// Services; all if none is given
    names: Vec<String>,
}

const COLUMNS: [(&str, &str); 7] = [
    ("Name", "NAME"),
    ("Image", "IMAGE"),
    ("Command", "COMMAND"),
    ("Service", "SERVICE"),
    ("RunningFor", "CREATED"),
    ("Status", "STATUS"),
    ("Ports", "PORTS"),
];

impl Ps {
    pub(super) async fn run(self, session: &Session) -> Result<u8, Failure> {
        session.check(&self.names)?;
        let mut states = self.status.clone();
        for filter in &self.filter {
            let state = filter.strip_prefix("status=");
            let state =
                state.ok_or_else(|| Failure::new(format!("filter {filter:?} is not known: status is")))?;
            states.push(state.to_owned());
        }
        let mut containers = session.containers(&self.names).await?;
        if states.is_empty() {
            containers.retain(|container| self.all || container.phase.is_running());
        } else {
            containers.retain(|container| states.iter().any(|state| state == container.phase.name()));
        }
        if self.quiet || self.services {
            let mut lines: Vec<&str> = Vec::new();
            for container in &containers {
                let line = if self.quiet { container.id.as_str() } else { service_of(container) };
                if !lines.contains(&line) {
                    lines.push(line);
                }
            }
            return if lines.is_empty() { Ok(0) } else { print(lines.join("\n")).map(|()| 0) };
        }
        let mut listing = Listing::new(&COLUMNS);
        for container in &containers {
            listing.row([
                ("ID", short_id(&container.id).to_owned()),
                ("Name", container.name.clone()),
                ("Image", container.image.clone()),
                ("Command", self.command(container)),
                ("Project", session.project.name.clone()),
                ("Service", service_of(container).to_owned()),
                ("CreatedAt", container.created.clone()),
                ("RunningFor", human::ago(&container.created)),
                ("State", container.phase.name().to_owned()),
                ("Status", human::status(&container.phase)),
                ("Ports", ports(container)),
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
