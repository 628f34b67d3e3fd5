//! How a container of a service is reached: its places in networks, links, ports, hosts.

use std::net::IpAddr;

use compose_model::Project;
use compose_model::model::{Port, Service};
use container_net::{Protocol, PublishedPort};

use super::refused;
use crate::networks::EndpointOptions;
use crate::options::NetworkMode;
use crate::{Engine, Error};

/// The network that a container is made in, and those that it joins then.
#[derive(Default)]
pub(super) struct Places {
    pub(super) mode: NetworkMode,
    pub(super) first: EndpointOptions,
    pub(super) further: Vec<(String, EndpointOptions)>,
}

impl Engine {
    /// The first network with the place in it, and the others: those of a higher priority first.
    pub(super) fn networks_of_service(
        &self,
        project: &Project,
        name: &str,
        service: &Service,
    ) -> Result<Places, Error> {
        let none = |mode| Ok(Places { mode, ..Places::default() });
        if let Some(mode) = service.network_mode.as_deref() {
            if let Some(other) = mode.strip_prefix("service:") {
                return none(NetworkMode::Container(self.first_of_service(
                    project,
                    name,
                    "network_mode",
                    other,
                )?));
            }
            return none(NetworkMode::from(mode));
        }
        let mut places = Vec::new();
        for (key, place) in service.networks.iter() {
            let part = |part: &str| format!("networks.{key}.{part}");
            let impossible = [
                ("interface_name", place.interface_name.is_some()),
                ("link_local_ips", !place.link_local_ips.is_empty()),
                ("mac_address", place.mac_address.is_some()),
                ("driver_opts", !place.driver_opts.is_empty()),
            ];
            if let Some((word, _)) = impossible.iter().find(|(_, given)| *given) {
                return Err(refused(name, &part(word), "the engine cannot do this yet"));
            }
            if place.ipv4_address.is_some() && place.ipv6_address.is_some() {
                return Err(refused(
                    name,
                    &part("ipv6_address"),
                    "one fixed address for each network is all there is",
                ));
            }
            let fixed = place.ipv4_address.as_ref().or(place.ipv6_address.as_ref());
            let ip = fixed.map(|text| {
                text.parse::<IpAddr>()
                    .map_err(|_| refused(name, &part("ipv4_address"), format!("{text:?} is no address")))
            });
            let mut aliases = vec![name.to_owned()];
            aliases.extend(place.aliases.iter().filter(|alias| *alias != name).cloned());
            let network = project.networks.get(key).and_then(|network| network.name.clone());
            let endpoint = EndpointOptions { aliases, ip: ip.transpose()? };
            places.push((place.priority.unwrap_or(0), network.unwrap_or_else(|| key.to_owned()), endpoint));
        }
        places.sort_by(|left, right| (right.0, &left.1).cmp(&(left.0, &right.1)));
        let mut places = places.into_iter().map(|(_, network, endpoint)| (network, endpoint));
        match places.next() {
            Some((network, first)) => {
                Ok(Places { mode: NetworkMode::Named(network), first, further: places.collect() })
            }
            None => none(NetworkMode::Bridge),
        }
    }

    /// The name of the first container that a service has.
    fn first_of_service(
        &self,
        project: &Project,
        name: &str,
        key: &str,
        other: &str,
    ) -> Result<String, Error> {
        let there = self.containers_of_service(&project.name, other)?;
        let first = there.into_iter().next();
        first.ok_or_else(|| refused(name, key, format!("service {other:?} has no container yet")))
    }

    /// `links` and `external_links`: containers with the names that they get here.
    pub(super) fn links_of_service(
        &self,
        project: &Project,
        service: &Service,
    ) -> Result<Vec<(String, String)>, Error> {
        let mut links = Vec::new();
        for link in &service.links {
            let (other, alias) = link.split_once(':').unwrap_or((link, link));
            for container in self.containers_of_service(&project.name, other)? {
                links.push((container, alias.to_owned()));
            }
        }
        for link in &service.external_links {
            let (container, alias) = link.split_once(':').unwrap_or((link, link));
            links.push((container.to_owned(), alias.to_owned()));
        }
        Ok(links)
    }

    pub(super) fn volumes_from(&self, project: &Project, service: &Service) -> Result<Vec<String>, Error> {
        let mut all = Vec::new();
        for text in &service.volumes_from {
            if let Some(container) = text.strip_prefix("container:") {
                all.push(container.to_owned());
                continue;
            }
            let (other, mode) = text.split_once(':').unwrap_or((text, "rw"));
            for container in self.containers_of_service(&project.name, other)? {
                all.push(format!("{container}:{mode}"));
            }
        }
        Ok(all)
    }
}

/// The ports of the container `number`: of a range of the host each container takes the next.
pub(super) fn ports(name: &str, ports: &[Port], number: u32) -> Result<Vec<PublishedPort>, Error> {
    let published = |(at, port): (usize, &Port)| {
        let refuse = |part: &str, reason: String| refused(name, &format!("ports[{at}].{part}"), reason);
        let text = port.published.as_deref().unwrap_or("0");
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let read =
            |text: &str| text.parse::<u16>().map_err(|_| refuse("published", format!("{text:?} is no port")));
        let (first, last) = (read(first)?, read(last)?);
        let host_port = if first == last {
            first
        } else {
            let wanted = u32::from(first) + number.saturating_sub(1);
            u16::try_from(wanted).ok().filter(|port| *port <= last).ok_or_else(|| {
                refuse("published", format!("the range {text} has no port for container {number}"))
            })?
        };
        let address = port.host_ip.as_deref().filter(|address| !address.is_empty());
        let host_ip = address.map(|text| {
            text.parse::<IpAddr>().map_err(|_| refuse("host_ip", format!("{text:?} is no address")))
        });
        let protocol = port.protocol.as_deref().unwrap_or("tcp");
        Ok(PublishedPort {
            host_ip: host_ip.transpose()?,
            host_port,
            container_port: port.target,
            protocol: protocol
                .parse::<Protocol>()
                .map_err(|_| refuse("protocol", format!("{protocol:?} is none of tcp, udp, sctp")))?,
        })
    };
    ports.iter().enumerate().map(published).collect()
}

pub(super) fn hosts(name: &str, service: &Service) -> Result<Vec<(String, IpAddr)>, Error> {
    let mut all = Vec::new();
    for (host, given) in service.extra_hosts.iter() {
        for address in addresses(name, &format!("extra_hosts.{host}"), given)? {
            all.push((host.to_owned(), address));
        }
    }
    Ok(all)
}

pub(super) fn addresses(name: &str, key: &str, texts: &[String]) -> Result<Vec<IpAddr>, Error> {
    let read =
        |text: &String| text.parse().map_err(|_| refused(name, key, format!("{text:?} is no address")));
    texts.iter().map(read).collect()
}
