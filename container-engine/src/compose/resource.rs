//! Networks and volumes of a project.

use std::collections::BTreeMap;
use std::net::IpAddr;

use compose_model::Project;
use compose_model::model::{Network, Pairs, Volume};
use container_net::Subnet;

use super::labels;
use crate::networks::NetworkOptions;
use crate::{Engine, Error};

impl Engine {
    /// Networks and volumes that a project's services use, that it expects, and that are not there.
    pub(crate) fn check_externals(&self, project: &Project) -> Result<(), Error> {
        for service in project.services.values() {
            let used = service.networks.keys().filter_map(|key| Some((key, project.networks.get(key)?)));
            for (key, network) in used.filter(|(_, network)| network.external.yes) {
                let name = network.name.as_deref().unwrap_or(key);
                if self.find_network_row(name).is_err() {
                    return Err(Error::ExternalMissing { kind: "network", name: name.to_owned() });
                }
            }
            let sources = service.volumes.iter().filter_map(|mount| mount.source.as_deref());
            let used = sources.filter_map(|key| Some((key, project.volumes.get(key)?)));
            for (key, volume) in used.filter(|(_, volume)| volume.external.yes) {
                let name = volume.name.as_deref().unwrap_or(key);
                if self.volumes.inspect(name).is_err() {
                    return Err(Error::ExternalMissing { kind: "volume", name: name.to_owned() });
                }
            }
        }
        Ok(())
    }

    pub(crate) async fn make_project_network(
        &self,
        project: &Project,
        key: &str,
        name: &str,
    ) -> Result<(), Error> {
        let network = project.networks.get(key).cloned().unwrap_or_default();
        let mut options = options(key, name, &network)?;
        options.labels.extend(labels::common(project));
        options.labels.insert(labels::NETWORK.to_owned(), key.to_owned());
        match self.create_network(&options).await {
            // somebody else was faster
            Ok(_) | Err(Error::NetworkNameTaken(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    pub(crate) async fn make_project_volume(
        &self,
        project: &Project,
        key: &str,
        name: &str,
    ) -> Result<(), Error> {
        let volume: Volume = project.volumes.get(key).cloned().unwrap_or_default();
        let mut labels = own(&volume.labels);
        labels.extend(labels::common(project));
        labels.insert(labels::VOLUME.to_owned(), key.to_owned());
        let options = volume.driver_opts.iter().map(|(key, value)| (key.to_owned(), value.clone())).collect();
        let driver = volume.driver.as_deref().filter(|driver| *driver != "local");
        self.create_volume_by(driver, Some(name), labels, options).await.map(drop)
    }
}

/// Labels as they are kept: one without a value is empty.
pub(super) fn own(pairs: &Pairs) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| (key.to_owned(), value.clone().unwrap_or_default())).collect()
}

fn options(key: &str, name: &str, network: &Network) -> Result<NetworkOptions, Error> {
    let refused =
        |part: &str, reason: String| Error::ComposeKey { key: format!("networks.{key}.{part}"), reason };
    let mut options = NetworkOptions {
        name: name.to_owned(),
        internal: network.internal == Some(true),
        ipv6: network.enable_ipv6 == Some(true),
        labels: own(&network.labels),
        ..NetworkOptions::default()
    };
    if network.enable_ipv4 == Some(false) {
        return Err(refused("enable_ipv4", "a network without IPv4 cannot be made here".to_owned()));
    }
    let driver = network.driver.as_deref().filter(|driver| !matches!(*driver, "" | "default"));
    options.set_driver(driver.unwrap_or("bridge")).map_err(|error| refused("driver", error.to_string()))?;
    for (option, value) in network.driver_opts.iter() {
        let set = options.set_driver_option(option, value);
        set.map_err(|error| refused(&format!("driver_opts.{option}"), error.to_string()))?;
    }
    for (at, pool) in network.ipam.iter().flat_map(|ipam| &ipam.config).enumerate() {
        let wrong = |part: &str, value: &str| {
            refused(
                &format!("ipam.config[{at}].{part}"),
                format!("{value:?} is no address of the kind that is wanted"),
            )
        };
        if let Some(text) = &pool.subnet {
            options.subnets.push(text.parse::<Subnet>().map_err(|_| wrong("subnet", text))?);
        }
        if let Some(text) = &pool.gateway {
            options.gateways.push(text.parse::<IpAddr>().map_err(|_| wrong("gateway", text))?);
        }
        if let Some(text) = &pool.ip_range {
            options.ip_ranges.push(text.parse::<Subnet>().map_err(|_| wrong("ip_range", text))?);
        }
        if !pool.aux_addresses.is_empty() {
            return Err(refused(
                &format!("ipam.config[{at}].aux_addresses"),
                "addresses cannot be set aside here".to_owned(),
            ));
        }
    }
    if let Some(driver) = network.ipam.as_ref().and_then(|ipam| ipam.driver.as_deref())
        && !matches!(driver, "" | "default")
    {
        return Err(refused("ipam.driver", format!("there is no driver {driver:?} here")));
    }
    Ok(options)
}
