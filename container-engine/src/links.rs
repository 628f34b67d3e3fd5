//! `--link`: one container's name for another.

use std::collections::BTreeMap;

use crate::containers::{Phase, decode};
use crate::database::ContainerRow;
use crate::options::{ContainerOptions, NetworkMode};
use crate::{Container, Engine, Error, short_id};

impl Engine {
    /// Puts the id for each name of a link, so that a link holds when the other is renamed.
    pub(crate) fn resolve_links(&self, options: &mut ContainerOptions) -> Result<(), Error> {
        if options.links.is_empty() {
            return Ok(());
        }
        if !matches!(options.network, NetworkMode::Bridge | NetworkMode::Named(_)) {
            let refused = format!("network {} has no names", options.network);
            return Err(Error::setting("link", &options.links[0].0, refused));
        }
        for (container, alias) in &mut options.links {
            let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
            if alias.is_empty() || alias.len() > 63 || !alias.bytes().all(plain) {
                return Err(Error::setting(
                    "link",
                    alias.clone(),
                    "a name is made of letters, digits, -, _ and .",
                ));
            }
            *container = self.find_row(container)?.id;
        }
        Ok(())
    }

    /// The variables that a link on the network `bridge` sets, as Docker has them: `ALIAS_NAME`, and for each port that the other
    /// exposes `ALIAS_PORT_6379_TCP`, `…_ADDR`, `…_PORT`, `…_PROTO`.
    pub(crate) fn link_variables(
        &self,
        row: &ContainerRow,
        options: &ContainerOptions,
    ) -> Result<Vec<String>, Error> {
        let mut variables = Vec::new();
        if options.network != NetworkMode::Bridge {
            return Ok(variables);
        }
        for (id, alias) in &options.links {
            let other = self.find_row(id)?;
            if !matches!(self.phase(&other)?, Phase::Running { .. }) {
                return Err(Error::ContainerNotRunning(other.name));
            }
            let described = self.describe(&other)?;
            let Some(address) = address(&described) else { continue };
            let prefix = alias.to_uppercase().replace(['-', '.'], "_");
            variables.push(format!("{prefix}_NAME=/{}/{alias}", row.name));
            let image = self.images.find(&other.image_id)?;
            let mut ports: Vec<(u16, String)> = Vec::new();
            let exposed = image.image.config.config.exposed_ports.keys().cloned();
            let of_other = decode(&other)?;
            let published =
                of_other.ports.iter().map(|port| format!("{}/{}", port.container_port, port.protocol));
            for text in exposed.chain(of_other.expose.iter().cloned()).chain(published) {
                let (port, protocol) = text.split_once('/').unwrap_or((&text, "tcp"));
                if let Ok(port) = port.parse() {
                    ports.push((port, protocol.to_owned()));
                }
            }
            ports.sort();
            ports.dedup();
            if let Some((port, protocol)) = ports.first() {
                variables.push(format!("{prefix}_PORT={protocol}://{address}:{port}"));
            }
            for (port, protocol) in ports {
                let name = format!("{prefix}_PORT_{port}_{}", protocol.to_uppercase());
                variables.push(format!("{name}={protocol}://{address}:{port}"));
                variables.push(format!("{name}_ADDR={address}"));
                variables.push(format!("{name}_PORT={port}"));
                variables.push(format!("{name}_PROTO={protocol}"));
            }
        }
        Ok(variables)
    }
}

/// What the name service is told: the alias, and the name of the other that never changes.
pub(crate) fn links(options: &ContainerOptions) -> BTreeMap<String, String> {
    options.links.iter().map(|(id, alias)| (alias.clone(), short_id(id).to_owned())).collect()
}

/// The first address a container has.
fn address(container: &Container) -> Option<std::net::IpAddr> {
    let statuses = container.networks.iter().filter_map(|network| network.status.as_ref());
    statuses.flat_map(|status| status.addresses.iter().copied()).next()
}
