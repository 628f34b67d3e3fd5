//! Networks of the project, and how a service joins them.
use super::resource::External;
use super::scalar::{Options, Pairs};
use crate::map::Map;
use crate::shape::{Reader, Shape, long_only, record};
use crate::yaml::Node;

record! {
    /// A network of the project.
    Network, "a network", {
        /// Its name in the engine.
        "name" name: Option<String>,
        /// Its driver.
        "driver" driver: Option<String>,
        /// Options of the driver.
        "driver_opts" driver_opts: Options,
        /// How addresses are given out.
        "ipam" ipam: Option<Ipam>,
        /// Whether it is there already and stays.
        "external" external: External,
        /// Whether nothing outside is reached over it.
        "internal" internal: Option<bool>,
        /// Whether containers of others may join.
        "attachable" attachable: Option<bool>,
        /// Its labels.
        "labels" labels: Pairs,
        /// Whether it has addresses of version 4.
        "enable_ipv4" enable_ipv4: Option<bool>,
        /// Whether it has addresses of version 6.
        "enable_ipv6" enable_ipv6: Option<bool>,
    }
}

record! {
    /// How a network gives out addresses.
    Ipam, "`ipam`", {
        /// The driver.
        "driver" driver: Option<String>,
        /// The subnets.
        "config" config: Vec<IpamPool>,
        /// Options of the driver.
        "options" options: Options,
    }
}

record! {
    /// A subnet of a network.
    IpamPool, "a subnet of `ipam`", {
        /// The subnet, as in `172.28.0.0/16`.
        "subnet" subnet: Option<String>,
        /// The part that addresses are given out of.
        "ip_range" ip_range: Option<String>,
        /// The gateway's address.
        "gateway" gateway: Option<String>,
        /// Addresses that are taken already, by name.
        "aux_addresses" aux_addresses: Options,
    }
}

record! {
    /// How a service joins a network.
    Attachment, "a network of a service", {
        /// Further names of the service in the network.
        "aliases" aliases: Vec<String>,
        /// The name of the interface in the container.
        "interface_name" interface_name: Option<String>,
        /// Its address of version 4.
        "ipv4_address" ipv4_address: Option<String>,
        /// Its address of version 6.
        "ipv6_address" ipv6_address: Option<String>,
        /// Further addresses of the link.
        "link_local_ips" link_local_ips: Vec<String>,
        /// Its MAC address.
        "mac_address" mac_address: Option<String>,
        /// Options of the driver.
        "driver_opts" driver_opts: Options,
        /// The higher, the earlier the network is joined.
        "priority" priority: Option<i64>,
        /// The network with the highest gives the default gateway.
        "gw_priority" gw_priority: Option<i64>,
    }
}

long_only!(Ipam, IpamPool);

impl Shape for Attachment {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        Self::read_record(node, reader)
    }
    fn write(&self) -> Option<Node> {
        if *self == Self::default() { None } else { Some(self.write_record()) }
    }
}

impl Shape for Network {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let mut network = Self::read_record(node, reader)?;
        network.external.claim(&mut network.name);
        Some(network)
    }
    fn write(&self) -> Option<Node> {
        let mut node = self.write_record();
        if let (Some(map), None) = (node.as_map_mut(), &self.ipam) {
            // Docker prints `ipam: {}` for networks that it makes
            if !self.external.yes {
                let labels: Map<_> =
                    map.iter().map(|(key, member)| (key.to_owned(), member.clone())).collect();
                *map = Map::new();
                for (key, member) in labels {
                    let after = matches!(key.as_str(), "name" | "driver" | "driver_opts");
                    if !after && !map.contains_key("ipam") {
                        map.insert(
                            "ipam",
                            crate::yaml::Member { key_span: member.key_span, node: Node::map::<String>([]) },
                        );
                    }
                    map.insert(key, member);
                }
                if !map.contains_key("ipam") {
                    map.insert(
                        "ipam",
                        crate::yaml::Member { node: Node::map::<String>([]), ..Default::default() },
                    );
                }
            }
        }
        Some(node)
    }
}
