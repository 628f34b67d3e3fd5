use std::{
    fmt,
    net::IpAddr,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    str::FromStr,
};

use serde::{Deserialize, Serialize};

use crate::{Driver, Error, InterfaceName, MacAddr, NetworkConfig, Result, names::Record, network};

/// A transport protocol whose ports can be published.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP.
    #[default]
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

impl Protocol {
    /// Its number in the IP header.
    pub fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Sctp => 132,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        })
    }
}

impl FromStr for Protocol {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        match text.to_ascii_lowercase().as_str() {
            "tcp" => Ok(Self::Tcp),
            "udp" => Ok(Self::Udp),
            "sctp" => Ok(Self::Sctp),
            _ => Err(Error::Name {
                what: "protocol",
                value: text.chars().take(64).collect(),
                reason: "it is none of tcp, udp and sctp",
            }),
        }
    }
}

/// A port of a container made reachable at a port of the host.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PublishedPort {
    /// The host's address to publish at; all of them, and localhost, if unset or unspecified.
    #[serde(default)]
    pub host_ip: Option<IpAddr>,
    /// The host's port; 0 lets the kernel choose a free one.
    #[serde(default)]
    pub host_port: u16,
    /// The container's port.
    pub container_port: u16,
    /// The transport protocol.
    #[serde(default)]
    pub protocol: Protocol,
}

/// A container's place in a network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// The container's identifier: owner of leases, names and rules.
    pub container_id: String,
    /// The container's name.
    pub container_name: String,
    /// The container's host name, which is known in the network as well.
    #[serde(default)]
    pub hostname: Option<String>,
    /// Further names in this network.
    #[serde(default)]
    pub aliases: Vec<String>,
    /// Addresses; for a family of the network that is not named here, one is leased.
    #[serde(default)]
    pub addresses: Vec<IpAddr>,
    /// Hardware address; made from the first address if unset.
    #[serde(default)]
    pub mac: Option<MacAddr>,
    /// The interface's name inside, `eth0`.
    pub interface: InterfaceName,
    /// Ports to publish.
    #[serde(default)]
    pub ports: Vec<PublishedPort>,
    /// Whether the network's gateway becomes the container's default route. Ignored, as there is no
    /// way out, if the network is internal.
    #[serde(default = "yes")]
    pub default_route: bool,
}

fn yes() -> bool {
    true
}

impl Endpoint {
    /// An endpoint at `eth0` with the default route, nothing published, and addresses to be leased.
    pub fn new(container_id: impl Into<String>, container_name: impl Into<String>) -> Result<Self> {
        Ok(Self {
            container_id: container_id.into(),
            container_name: container_name.into(),
            hostname: None,
            aliases: Vec::new(),
            addresses: Vec::new(),
            mac: None,
            interface: InterfaceName::new("eth0")?,
            ports: Vec::new(),
            default_route: true,
        })
    }
}

/// Everything [`attach`](crate::attach) and [`detach`](crate::detach) need to know; store it as JSON beside the container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// The network.
    pub network: NetworkConfig,
    /// The container's place in it.
    pub endpoint: Endpoint,
    /// The network's state directory, one for each network: `leases/` and `names/` are made in it.
    pub state_dir: PathBuf,
}

impl Attachment {
    /// The host's end of the veth pair; follows from the table, network and container, so that it is found again.
    pub fn host_interface(&self) -> InterfaceName {
        InterfaceName::hashed(
            *b"dv",
            &[self.network.tables.name(), &self.network.id, &self.endpoint.container_id],
        )
    }

    /// Has the network know a container that is attached by the names that are given here now. Atomic, idempotent.
    pub fn announce(&self) -> Result<()> {
        self.verify()?;
        let owner = &self.endpoint.container_id;
        let dir = names_dir(&self.state_dir);
        let known = Record::all(&dir)?.into_iter().find(|record| record.container_id == *owner);
        match known {
            Some(record) => Record::of(self, &record.addresses).register(&dir),
            None => Ok(()),
        }
    }

    pub(crate) fn alias(&self) -> String {
        format!("{}:{}", self.network.alias(), self.endpoint.container_id)
    }

    /// The comment of our elements: the container and its port, as it may be in several networks.
    pub(crate) fn rule_owner(&self) -> String {
        format!("{}/{}", self.endpoint.container_id, self.host_interface())
    }

    /// What has to hold to leave a network: what cannot be attached can be given up.
    pub(crate) fn verify_owner(&self) -> Result<()> {
        self.network.verify()?;
        network::identifier("container id", &self.endpoint.container_id)
    }

    pub(crate) fn verify(&self) -> Result<()> {
        self.verify_owner()?;
        let endpoint = &self.endpoint;
        let names = endpoint.aliases.iter().chain(&endpoint.hostname);
        network::plain_text("container name", &endpoint.container_name)?;
        for name in names {
            network::plain_text("alias", name)?;
        }
        let wrong = |reason: String| Err(Error::Config { network: self.network.id.clone(), reason });
        for address in &endpoint.addresses {
            if self.network.subnet_of(*address).is_none() {
                return wrong(format!("address {address} is in none of its subnets"));
            }
        }
        if endpoint.addresses.iter().filter(|a| a.is_ipv4()).count() > 1
            || endpoint.addresses.iter().filter(|a| a.is_ipv6()).count() > 1
        {
            return wrong("more than one address of a family".into());
        }
        if self.network.internal && !endpoint.ports.is_empty() {
            return wrong("it is internal, and an internal network publishes no ports".into());
        }
        if self.network.driver != Driver::Bridge && !endpoint.ports.is_empty() {
            return wrong(
                "it is no bridge network: its containers are reached at their own addresses".into(),
            );
        }
        if let Some(port) = endpoint.ports.iter().find(|port| port.container_port == 0) {
            return wrong(format!("container port 0/{} cannot be published", port.protocol));
        }
        Ok(())
    }
}

/// Where an endpoint's leases are: `leases` in the network's state directory.
pub(crate) fn leases_dir(state_dir: &Path) -> PathBuf {
    state_dir.join("leases")
}

/// Where a network's names are: `names` in its state directory.
pub(crate) fn names_dir(state_dir: &Path) -> PathBuf {
    state_dir.join("names")
}

/// What [`attach`](crate::attach) made. Dropping it frees the reservation of the host's ports, and nothing else: keep it for
/// as long as the container lives. The kernel's rules go on without it.
#[derive(Debug)]
pub struct Attached {
    /// The ports as published: host ports chosen, one entry for each family of address.
    pub ports: Vec<PublishedPort>,
    /// The container's addresses, as given or leased.
    pub addresses: Vec<IpAddr>,
    /// The container's hardware address.
    pub mac: MacAddr,
    /// The host's end of the veth pair.
    pub host_interface: InterfaceName,
    /// The sockets that hold the host's ports; bound, not listening, close-on-exec.
    pub reservations: Vec<OwnedFd>,
}
