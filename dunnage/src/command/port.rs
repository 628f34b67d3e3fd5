use clap::Args;

use crate::context::{Failure, Roots, print};

#[derive(Debug, Args)]
pub(crate) struct Port {
    /// Container
    container: String,
    /// Only this port of it, as 80 or 80/udp
    port: Option<String>,
}

impl Port {
    pub(crate) async fn run(self, roots: &Roots) -> Result<u8, Failure> {
        let container = roots.engine().await?.container(&self.container).await?;
        let wanted = self
            .port
            .as_ref()
            .map(|port| if port.contains('/') { port.clone() } else { format!("{port}/tcp") });
        let statuses = container.networks.iter().filter_map(|network| network.status.as_ref());
        let mut lines = Vec::new();
        for port in statuses.flat_map(|status| &status.ports) {
            let inside = format!("{}/{}", port.container_port, port.protocol);
            let outside = super::ps::host_end(port);
            match &wanted {
                None => lines.push(format!("{inside} -> {outside}")),
                Some(wanted) if *wanted == inside => lines.push(outside),
                Some(_) => {}
            }
        }
        match wanted {
            Some(wanted) if lines.is_empty() => {
                Err(Failure::new(format!("no public port '{wanted}' published for {}", self.container)))
            }
            _ if lines.is_empty() => Ok(0),
            _ => print(lines.join("\n")).map(|()| 0),
        }
    }
}
