use clap::Args;

use super::session::Session;
use crate::command::ps::host_end;
use crate::command::top::{TITLES, columns};
use crate::context::{Failure, print};
use crate::table::Table;

#[derive(Debug, Args)]
pub(crate) struct Top {
    /// Services; all if none is given
    services: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Port {
    /// tcp, udp or sctp
    #[arg(long, default_value = "tcp", value_name = "PROTOCOL")]
    protocol: String,
    /// The container with this number, where a service has several
    #[arg(long, value_name = "NUMBER")]
    index: Option<u32>,
    /// Service
    service: String,
    /// Port in the container
    #[arg(value_name = "PORT")]
    inside: u16,
}

impl Top {
    pub(super) async fn run(self, session: &Session) -> Result<u8, Failure> {
        session.check(&self.services)?;
        for container in session.containers(&self.services).await? {
            if !container.phase.is_running() {
                continue;
            }
            print(&container.name)?;
            let mut table = Table::new(&TITLES);
            for process in &session.engine.processes(&container.id).await? {
                table.row(columns(process));
            }
            table.print()?;
            print("")?;
        }
        Ok(0)
    }
}

impl Port {
    pub(super) async fn run(self, session: &Session) -> Result<u8, Failure> {
        let container = session.container(&self.service, self.index).await?;
        let statuses = container.networks.iter().filter_map(|network| network.status.as_ref());
        let found = statuses
            .flat_map(|status| &status.ports)
            .find(|port| port.container_port == self.inside && port.protocol.to_string() == self.protocol);
        match found {
            Some(port) => print(host_end(port)).map(|()| 0),
            None => Err(Failure::new(format!(
                "no port {}/{} of container {} is published",
                self.inside, self.protocol, container.name
            ))),
        }
    }
}
