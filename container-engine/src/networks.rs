use std::collections::BTreeMap;
use std::net::IpAddr;

use container_net::{
    Driver, InterfaceName, IpvlanMode, MacvlanMode, NetworkConfig, Pool, Subnet, SubnetConfig,
};
use serde::{Deserialize, Serialize};

use crate::containers::decode;
use crate::database::{EndpointRow, NetworkRow};
use crate::options::NetworkMode;
use crate::{Engine, Error, name, short_id, time};

/// A network as people see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    /// Its id: 64 hexadecimal digits.
    pub id: String,
    /// Its name.
    pub name: String,
    /// When it was made, RFC 3339.
    pub created: String,
    /// What carries it.
    pub driver: NetworkDriver,
    /// The containers that have a place in it, by id.
    pub containers: Vec<NetworkMember>,
}

/// What carries a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NetworkDriver {
    /// One of ours, with addresses that we lease: a bridge, or macvlan and ipvlan links, as its configuration says.
    Bridge(Box<NetworkConfig>),
    /// The host's own network.
    Host,
    /// Nothing.
    Null,
}

impl NetworkDriver {
    /// The word that Docker has for it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Bridge(config) => word(config.driver),
            Self::Host => "host",
            Self::Null => "null",
        }
    }
}

fn word(driver: Driver) -> &'static str {
    match driver {
        Driver::Macvlan => "macvlan",
        Driver::Ipvlan => "ipvlan",
        _ => "bridge",
    }
}

/// A container in a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkMember {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The addresses it has leased; none while it does not run.
    pub addresses: Vec<IpAddr>,
}

/// What can be said of a network when it is made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NetworkOptions {
    /// Its name.
    pub name: String,
    /// Subnets, at most one of a family; a free IPv4 one is chosen if none is given.
    pub subnets: Vec<Subnet>,
    /// Gateways in them; the first address if none is given.
    pub gateways: Vec<IpAddr>,
    /// Where addresses are taken from; the whole subnet if none is given.
    pub ip_ranges: Vec<Subnet>,
    /// No way out.
    pub internal: bool,
    /// An IPv6 subnet is chosen if none is given.
    pub ipv6: bool,
    /// The largest packet, bytes.
    pub mtu: Option<u32>,
    /// What carries it: a bridge if nothing else is said.
    pub driver: Driver,
    /// The host's interface that carries a macvlan or ipvlan; a dummy of its own if none is given.
    pub parent: Option<InterfaceName>,
    /// How a macvlan passes frames.
    pub macvlan: MacvlanMode,
    /// How an ipvlan passes packets.
    pub ipvlan: IpvlanMode,
    /// Labels.
    pub labels: BTreeMap<String, String>,
}

/// How a container has its place in a network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointOptions {
    /// Further names.
    #[serde(default)]
    pub aliases: Vec<String>,
    /// A fixed address.
    #[serde(default)]
    pub ip: Option<IpAddr>,
}

impl Engine {
    /// Makes a network and brings it up.
    ///
    /// # Errors
    ///
    /// [`Error::NetworkNameTaken`]; [`Error::Setting`] for a subnet that overlaps another of this engine's networks.
    pub async fn create_network(&self, options: &NetworkOptions) -> Result<String, Error> {
        name::check("network name", &options.name)?;
        if self.find_network_row(&options.name).is_ok_and(|row| row.name == options.name) {
            return Err(Error::NetworkNameTaken(options.name.clone()));
        }
        let id = name::new_id()?;
        let config = self.network_config(&id, options)?;
        config.verify()?;
        self.record_network(&id, &options.name, Some(&config))?;
        if let Err(error) = container_net::ensure_network(&config) {
            // nothing stays of a network that cannot be brought up; the first error is the one to report
            let _ = container_net::remove_network(&config);
            self.database().remove_network(&id)?;
            return Err(error.into());
        }
        self.events.record(
            "network",
            "create",
            &id,
            &[("name", &options.name), ("type", word(config.driver))],
        )?;
        Ok(id)
    }

    /// All networks, those that exist from the start first.
    pub async fn networks(&self) -> Result<Vec<Network>, Error> {
        let (rows, endpoints, containers) = {
            let database = self.database();
            (database.networks()?, database.endpoints()?, database.containers()?)
        };
        rows.into_iter()
            .map(|row| {
                let leases = self.leases(&row)?;
                let members = endpoints
                    .iter()
                    .filter(|endpoint| endpoint.network == row.id)
                    .filter_map(|endpoint| {
                        containers.iter().find(|container| container.id == endpoint.container)
                    })
                    .map(|container| NetworkMember {
                        id: container.id.clone(),
                        name: container.name.clone(),
                        addresses: leases
                            .iter()
                            .filter(|(_, owner)| *owner == container.id)
                            .map(|&(address, _)| address)
                            .collect(),
                    })
                    .collect();
                let driver = driver(&row)?;
                Ok(Network { id: row.id, name: row.name, created: row.created, driver, containers: members })
            })
            .collect()
    }

    /// One network, by name, id, or the first digits of its id.
    pub async fn network(&self, text: &str) -> Result<Network, Error> {
        let row = self.find_network_row(text)?;
        let all = self.networks().await?;
        all.into_iter()
            .find(|network| network.id == row.id)
            .ok_or_else(|| Error::NetworkMissing(text.to_owned()))
    }

    /// Takes a network down and forgets it.
    ///
    /// # Errors
    ///
    /// [`Error::NetworkInUse`] while a container has a place in it, or if it exists from the start.
    pub async fn remove_network(&self, text: &str) -> Result<(), Error> {
        let row = self.find_network_row(text)?;
        let in_use = |reason: String| Error::NetworkInUse { name: row.name.clone(), reason };
        if DEFAULT_NETWORKS.contains(&row.name.as_str()) {
            return Err(in_use("it exists from the start and cannot be removed".to_owned()));
        }
        let users = self.database().mark_network_removing(&row.id)?;
        if !users.is_empty() {
            let short: Vec<&str> = users.iter().map(|id| short_id(id)).collect();
            return Err(in_use(format!("it has active endpoints: {}", short.join(", "))));
        }
        let kind = driver(&row)?.name();
        self.finish_network_removal(&row)?;
        self.events.record("network", "destroy", &row.id, &[("name", &row.name), ("type", kind)])
    }

    pub(crate) fn finish_network_removal(&self, row: &NetworkRow) -> Result<(), Error> {
        if let NetworkDriver::Bridge(config) = driver(row)? {
            container_net::remove_network(&config)?;
        }
        let run = self.network_run(&row.id);
        container_image::remove_tree(&run).map_err(Error::io("remove", &run))?;
        self.database().remove_network(&row.id)
    }

    /// Gives a container a place in one more network. A container that runs is attached at once.
    pub async fn connect(
        &self,
        network: &str,
        container: &str,
        options: &EndpointOptions,
    ) -> Result<(), Error> {
        let row = self.find_network_row(network)?;
        let container = self.find_row(container)?;
        let NetworkDriver::Bridge(config) = driver(&row)? else {
            return Err(Error::NetworkInUse {
                name: row.name,
                reason: "containers are connected to networks with addresses only".to_owned(),
            });
        };
        if let Some(ip) = options.ip
            && config.subnet_of(ip).is_none()
        {
            return Err(Error::setting(
                "address",
                ip.to_string(),
                format!("it is in no subnet of network {}", row.name),
            ));
        }
        let lock = self.lock_container(&container.id)?;
        let position =
            self.endpoints_of(&container.id)?.iter().map(|endpoint| endpoint.position + 1).max().unwrap_or(0);
        let own = matches!(decode(&container)?.network, NetworkMode::Bridge | NetworkMode::Named(_));
        if !own {
            return Err(Error::NetworkInUse {
                name: row.name,
                reason: format!("container {} shares or has no network of its own", container.name),
            });
        }
        let endpoint = endpoint_row(&container.id, &row.id, position, options)?;
        if !self.database().connect(&endpoint)? {
            return Err(Error::NetworkInUse {
                name: row.name,
                reason: format!("container {} is in it already", container.name),
            });
        }
        if self.is_running(&container.id)?
            && let Err(error) = self.attach_running(&container, &endpoint)
        {
            self.database().disconnect(&container.id, &row.id)?;
            return Err(error);
        }
        drop(lock);
        self.events.record(
            "network",
            "connect",
            &row.id,
            &[("name", &row.name), ("container", &container.id)],
        )
    }

    /// Takes a container's place in a network away. A container that runs is detached at once.
    pub async fn disconnect(&self, network: &str, container: &str) -> Result<(), Error> {
        let row = self.find_network_row(network)?;
        let container = self.find_row(container)?;
        let _lock = self.lock_container(&container.id)?;
        let endpoints = self.endpoints_of(&container.id)?;
        let Some(endpoint) = endpoints.into_iter().find(|endpoint| endpoint.network == row.id) else {
            return Err(Error::NetworkInUse {
                name: row.name,
                reason: format!("container {} is not in it", container.name),
            });
        };
        if self.is_running(&container.id)? {
            self.detach_running(&container, &endpoint)?;
        }
        self.database().disconnect(&container.id, &row.id)?;
        self.events.record(
            "network",
            "disconnect",
            &row.id,
            &[("name", &row.name), ("container", &container.id)],
        )
    }

    pub(crate) fn endpoints_of(&self, container: &str) -> Result<Vec<EndpointRow>, Error> {
        let mut endpoints = self.database().endpoints()?;
        endpoints.retain(|endpoint| endpoint.container == container);
        Ok(endpoints)
    }

    pub(crate) fn find_network_row(&self, text: &str) -> Result<NetworkRow, Error> {
        let rows = self.database().networks()?;
        if let Some(row) = rows.iter().find(|row| row.name == text || row.id == text) {
            return Ok(row.clone());
        }
        let mut fits = rows.into_iter().filter(|row| text.len() >= 2 && row.id.starts_with(text));
        match (fits.next(), fits.next()) {
            (Some(row), None) => Ok(row),
            _ => Err(Error::NetworkMissing(text.chars().take(200).collect())),
        }
    }

    /// The three networks that exist from the start. Idempotent.
    pub(crate) fn make_default_networks(&self) -> Result<(), Error> {
        let known = self.database().networks()?;
        for name in DEFAULT_NETWORKS {
            if known.iter().any(|row| row.name == name) {
                continue;
            }
            let id = name::new_id()?;
            let config = match name {
                "bridge" => {
                    let options = NetworkOptions { name: name.to_owned(), ..NetworkOptions::default() };
                    Some(self.network_config(&id, &options)?)
                }
                _ => None,
            };
            match self.record_network(&id, name, config.as_ref()) {
                // somebody else was faster
                Ok(()) | Err(Error::NetworkNameTaken(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn record_network(&self, id: &str, name: &str, config: Option<&NetworkConfig>) -> Result<(), Error> {
        let encode = |config| {
            serde_json::to_string(config).map_err(|source| Error::Record {
                what: "network",
                id: id.to_owned(),
                source,
            })
        };
        let row = NetworkRow {
            id: id.to_owned(),
            name: name.to_owned(),
            created: time::now(),
            config: config.map(encode).transpose()?,
            removing: false,
        };
        if self.database().add_network(&row)? {
            Ok(())
        } else {
            Err(Error::NetworkNameTaken(name.to_owned()))
        }
    }

    fn network_config(&self, id: &str, options: &NetworkOptions) -> Result<NetworkConfig, Error> {
        let taken = self.taken_subnets()?;
        for subnet in &options.subnets {
            if let Some(other) = taken.iter().find(|other| other.overlaps(subnet)) {
                return Err(Error::setting(
                    "subnet",
                    subnet.to_string(),
                    format!("it overlaps {other} of another network"),
                ));
            }
        }
        let mut subnets = options.subnets.clone();
        if !subnets.iter().any(Subnet::is_ipv4) {
            subnets.push(NetworkConfig::free_subnet(false, &taken)?);
        }
        if options.ipv6 && subnets.iter().all(Subnet::is_ipv4) {
            subnets.push(NetworkConfig::free_subnet(true, &taken)?);
        }
        let mut configs = Vec::new();
        for subnet in subnets {
            let mut config = SubnetConfig::new(subnet)?;
            if let Some(&gateway) = options.gateways.iter().find(|gateway| subnet.contains(**gateway)) {
                config.gateway = gateway;
            }
            config.ip_range = options.ip_ranges.iter().find(|range| subnet.includes(range)).copied();
            configs.push(config);
        }
        for gateway in &options.gateways {
            if !configs.iter().any(|config| config.gateway == *gateway) {
                return Err(Error::setting(
                    "gateway",
                    gateway.to_string(),
                    "it is in no subnet of the network",
                ));
            }
        }
        for range in &options.ip_ranges {
            if !configs.iter().any(|config| config.ip_range == Some(*range)) {
                return Err(Error::setting(
                    "ip range",
                    range.to_string(),
                    "it is in no subnet of the network",
                ));
            }
        }
        let bridge = InterfaceName::new(format!("dn-{}", short_id(id)))?;
        let mut config = NetworkConfig::bridge(id, &options.name, bridge, configs);
        config.internal = options.internal;
        config.mtu = options.mtu;
        config.driver = options.driver;
        config.parent.clone_from(&options.parent);
        (config.macvlan, config.ipvlan) = (options.macvlan, options.ipvlan);
        config.labels.clone_from(&options.labels);
        config.tables = self.tables.clone();
        Ok(config)
    }

    fn taken_subnets(&self) -> Result<Vec<Subnet>, Error> {
        let mut taken = Vec::new();
        let rows = self.database().networks()?;
        for row in rows {
            if let NetworkDriver::Bridge(config) = driver(&row)? {
                taken.extend(config.subnets.iter().map(|config| config.subnet));
            }
        }
        Ok(taken)
    }

    /// Who has leased what in a network.
    fn leases(&self, row: &NetworkRow) -> Result<Vec<(IpAddr, String)>, Error> {
        let NetworkDriver::Bridge(config) = driver(row)? else {
            return Ok(Vec::new());
        };
        let mut leases = Vec::new();
        let directory = self.network_run(&row.id).join("leases");
        if directory.exists() {
            for subnet in &config.subnets {
                leases.extend(Pool::open(&directory, subnet)?.leases()?);
            }
        }
        Ok(leases)
    }
}

const DEFAULT_NETWORKS: [&str; 3] = ["bridge", "host", "none"];

pub(crate) fn driver(row: &NetworkRow) -> Result<NetworkDriver, Error> {
    match (&row.config, row.name.as_str()) {
        (Some(config), _) => serde_json::from_str(config)
            .map(NetworkDriver::Bridge)
            .map_err(|source| Error::Record { what: "network", id: row.id.clone(), source }),
        (None, "host") => Ok(NetworkDriver::Host),
        (None, _) => Ok(NetworkDriver::Null),
    }
}

pub(crate) fn endpoint_row(
    container: &str,
    network: &str,
    position: i64,
    options: &EndpointOptions,
) -> Result<EndpointRow, Error> {
    let settings = serde_json::to_string(options).map_err(|source| Error::Record {
        what: "endpoint",
        id: container.to_owned(),
        source,
    })?;
    Ok(EndpointRow { container: container.to_owned(), network: network.to_owned(), position, settings })
}
