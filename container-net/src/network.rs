use std::{collections::BTreeMap, fmt, net::IpAddr};

use serde::{Deserialize, Serialize};

use crate::{Error, InterfaceName, IpvlanMode, MacvlanMode, Result, Subnet, nft::Tables, route};

/// What carries a network's frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Driver {
    /// A Linux bridge on this host, with a veth pair for each container.
    #[default]
    Bridge,
    /// Each container has a link with a hardware address of its own on an interface of the host. The host itself does
    /// not reach them by it, there are no rules of ours, and nothing is published.
    Macvlan,
    /// Each container has a link with the hardware address of an interface of the host; else as macvlan.
    Ipvlan,
}

impl fmt::Display for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bridge => "bridge",
            Self::Macvlan => "macvlan",
            Self::Ipvlan => "ipvlan",
        })
    }
}

/// One subnet of a network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubnetConfig {
    /// The subnet.
    pub subnet: Subnet,
    /// The bridge's own address in it, which is the containers' default gateway.
    pub gateway: IpAddr,
    /// Where addresses are taken from when none is asked for; the whole subnet if unset.
    #[serde(default)]
    pub ip_range: Option<Subnet>,
}

impl SubnetConfig {
    /// A subnet whose gateway is its first host address.
    pub fn new(subnet: Subnet) -> Result<Self> {
        let gateway = subnet.hosts().next().ok_or_else(|| Error::Subnet {
            text: subnet.to_string(),
            reason: "it has no address for a gateway".into(),
        })?;
        Ok(Self { subnet, gateway, ip_range: None })
    }
}

/// A network: everything needed to make it, keep it and take it down again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkConfig {
    /// Identifier: `[a-zA-Z0-9][a-zA-Z0-9_.-]*`, at most 64 characters.
    pub id: String,
    /// Name for people, and the second part of `container.network` in the name service.
    pub name: String,
    /// What carries the frames.
    #[serde(default)]
    pub driver: Driver,
    /// The bridge's interface; for macvlan and ipvlan the name of the dummy that is made where no parent is given.
    pub bridge: InterfaceName,
    /// The host's interface that carries macvlan and ipvlan.
    #[serde(default)]
    pub parent: Option<InterfaceName>,
    /// How a macvlan passes frames.
    #[serde(default)]
    pub macvlan: MacvlanMode,
    /// How an ipvlan passes packets.
    #[serde(default)]
    pub ipvlan: IpvlanMode,
    /// At most one for IPv4 and one for IPv6; a family without a subnet is closed.
    pub subnets: Vec<SubnetConfig>,
    /// No way out of the network: no default route, nothing forwarded, nothing published.
    #[serde(default)]
    pub internal: bool,
    /// Largest packet in bytes; that of the default route's interface if unset.
    #[serde(default)]
    pub mtu: Option<u32>,
    /// The owner's labels; not interpreted here.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// The owner's driver options; not interpreted here.
    #[serde(default)]
    pub options: BTreeMap<String, String>,
    /// The nftables tables the network's rules live in.
    #[serde(default)]
    pub tables: Tables,
}

impl NetworkConfig {
    /// A bridge network with these subnets and everything else by default.
    pub fn bridge(
        id: impl Into<String>,
        name: impl Into<String>,
        bridge: InterfaceName,
        subnets: Vec<SubnetConfig>,
    ) -> Self {
        Self {
            id: id.into(),
            name: name.into(),
            driver: Driver::Bridge,
            bridge,
            parent: None,
            macvlan: MacvlanMode::default(),
            ipvlan: IpvlanMode::default(),
            subnets,
            internal: false,
            mtu: None,
            labels: BTreeMap::new(),
            options: BTreeMap::new(),
            tables: Tables::default(),
        }
    }

    /// Checks what the types cannot: the identifier, the number of subnets, gateways and ranges inside theirs.
    pub fn verify(&self) -> Result<()> {
        identifier("network id", &self.id)?;
        plain_text("network name", &self.name)?;
        let wrong = |reason: String| Err(Error::Config { network: self.id.clone(), reason });
        for v4 in [true, false] {
            if self.subnets.iter().filter(|s| s.subnet.is_ipv4() == v4).count() > 1 {
                return wrong(format!("more than one IPv{} subnet", if v4 { 4 } else { 6 }));
            }
        }
        for config in &self.subnets {
            if !config.subnet.is_host(config.gateway) {
                return wrong(format!("gateway {} is no host address of {}", config.gateway, config.subnet));
            }
            if let Some(range) = config.ip_range.filter(|range| !config.subnet.includes(range)) {
                return wrong(format!("the range {range} is not inside {}", config.subnet));
            }
        }
        if self.driver == Driver::Bridge && self.parent.is_some() {
            return wrong("a bridge network has no parent interface".into());
        }
        if let Some(mtu) = self.mtu.filter(|mtu| !(68..=65_535).contains(mtu)) {
            return wrong(format!("an mtu of {mtu} is not between 68 and 65535"));
        }
        Ok(())
    }

    /// The subnet an address belongs to.
    pub fn subnet_of(&self, address: IpAddr) -> Option<&SubnetConfig> {
        self.subnets.iter().find(|config| config.subnet.contains(address))
    }

    /// The interface that carries a macvlan or ipvlan: the parent, or a dummy of our own.
    pub fn carrier(&self) -> &InterfaceName {
        self.parent.as_ref().unwrap_or(&self.bridge)
    }

    /// What our interfaces carry as their alias, `dunnage:<network id>`.
    pub(crate) fn alias(&self) -> String {
        format!("{}:{}", self.tables.name(), self.id)
    }

    /// A subnet that collides neither with a route or address of this host (read by netlink) nor with
    /// `taken`: for IPv4 from 172.17.0.0/16 to 172.31.0.0/16, then 192.168.0.0/20 and on, then /24s of 10.0.0.0/8
    /// (the first two as Docker has them); for IPv6 a random unique-local /64 (RFC 4193).
    pub fn free_subnet(ipv6: bool, taken: &[Subnet]) -> Result<Subnet> {
        let mut used = route::used_subnets()?;
        used.extend_from_slice(taken);
        let free = |candidate: &Subnet| !used.iter().any(|other| other.overlaps(candidate));
        if ipv6 {
            for _ in 0..64 {
                let mut bytes = [0_u8; 16];
                let (random, _) = bytes.split_at_mut(8);
                rustix::rand::getrandom(random, rustix::rand::GetRandomFlags::empty())
                    .map_err(|e| Error::kernel("read random bytes", e))?;
                if let Some(first) = bytes.first_mut() {
                    *first = 0xfd;
                }
                let candidate = Subnet::containing(IpAddr::from(bytes), 64)?;
                if free(&candidate) {
                    return Ok(candidate);
                }
            }
            return Err(Error::NoFreeSubnet { family: "IPv6" });
        }
        let large = (17..=31).map(|n| ([172, n, 0, 0], 16));
        let middle = (0..=240).step_by(16).map(|n| ([192, 168, n, 0], 20));
        let small = (0..=255).flat_map(|a| (0..=255).map(move |b| ([10, a, b, 0], 24)));
        for (address, prefix) in large.chain(middle).chain(small) {
            let candidate = Subnet::new(IpAddr::from(address), prefix)?;
            if free(&candidate) {
                return Ok(candidate);
            }
        }
        Err(Error::NoFreeSubnet { family: "IPv4" })
    }
}

/// Refuses an identifier that is more than a plain word of 64 characters: it goes into file names,
/// interface aliases and comments of rules.
pub(crate) fn identifier(what: &'static str, value: &str) -> Result<()> {
    let reason = if value.is_empty() {
        "it is empty"
    } else if value.len() > 64 {
        "it is longer than 64 characters"
    } else if !value.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        "it does not begin with a letter or digit"
    } else if !value.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-')) {
        "only letters, digits, `_`, `.` and `-` are allowed"
    } else {
        return Ok(());
    };
    Err(Error::Name { what, value: value.chars().take(64).collect(), reason })
}

/// Refuses a name that cannot be shown or resolved: empty, longer than 253 bytes, with controls or marks
/// that turn the direction of writing.
pub(crate) fn plain_text(what: &'static str, value: &str) -> Result<()> {
    let reason = if value.is_empty() {
        "it is empty"
    } else if value.len() > 253 {
        "it is longer than 253 bytes"
    } else if value.chars().any(|c| {
        c.is_control() || c.is_whitespace() || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
    }) {
        "spaces, control characters and marks of direction are not allowed"
    } else if value.contains(['/', '"', '\'', '\\']) {
        "slashes and quotes are not allowed"
    } else {
        return Ok(());
    };
    Err(Error::Name { what, value: value.chars().take(64).collect(), reason })
}
