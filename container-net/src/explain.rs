use std::{fmt::Write, net::IpAddr};

use crate::{
    Attachment, Driver, NetworkConfig, PublishedPort,
    attach::{inside, mac_of},
    bridge::bridge_mac,
    nft::{Membership, membership_elements, network_elements},
    route::{VethPair, add_address, create_bridge, create_veth, fix_mtu, mark_and_raise, raise_port},
};

/// What [`attach`](crate::attach) would do, a line for each request to the kernel, without doing it. Addresses still to be
/// leased show as the subnet's gateway, ports still to be chosen as 0.
pub fn explain(attachment: &Attachment) -> String {
    let Attachment { network, endpoint, state_dir } = attachment;
    let mut lines = Vec::new();
    let mut addresses: Vec<IpAddr> = Vec::new();
    for config in &network.subnets {
        let wanted = endpoint.addresses.iter().copied().find(|a| config.subnet.contains(*a));
        let what = wanted.map_or_else(|| "the next free address".to_owned(), |a| a.to_string());
        lines.push(format!("lease {what} of {} to {}", config.subnet, endpoint.container_id));
        addresses.push(wanted.unwrap_or(config.gateway));
    }
    for PublishedPort { host_ip, host_port, protocol, .. } in &endpoint.ports {
        let host = host_ip.map_or_else(|| "every address".to_owned(), |a| a.to_string());
        lines.push(format!("reserve port {host_port}/{protocol} on {host}"));
    }
    let host = attachment.host_interface();
    let Ok(mac) = mac_of(attachment, &addresses) else { return lines.join("\n") };
    if network.driver != Driver::Bridge {
        let carrier = network.carrier();
        let kind = if network.driver == Driver::Ipvlan { "an ipvlan" } else { "a macvlan" };
        lines.push(format!(
            "create {}, {kind} of {carrier} ({mac}), inside the namespace",
            endpoint.interface
        ));
        lines.extend(inside(attachment, &addresses, 0).into_iter().map(|m| m.purpose));
        lines.push(format!("register the names in {}", state_dir.join("names").display()));
        return lines.join("\n");
    }
    let owner = attachment.rule_owner();
    let membership =
        Membership { owner: &owner, port: &host, mac, addresses: &addresses, ports: &endpoint.ports };
    for (family, element) in membership_elements(&membership) {
        let table = network.tables.name();
        lines.push(format!(
            "add element {family} {table} {} for {owner}: {}",
            element.set,
            hex(&element.key)
        ));
    }
    let pair = VethPair {
        host: &host,
        inside: &endpoint.interface,
        namespace: -1,
        master: 0,
        mtu: network.mtu.unwrap_or(0),
        mac,
    };
    lines.push(create_veth(&pair).purpose);
    lines.push(raise_port(&host, &attachment.alias(), false).purpose);
    lines.extend(inside(attachment, &addresses, 0).into_iter().map(|m| m.purpose));
    lines.push(format!("register the names in {}", state_dir.join("names").display()));
    lines.join("\n")
}

/// What [`ensure_network`](crate::ensure_network) would do, a line for each request to the kernel.
pub fn explain_network(network: &NetworkConfig) -> String {
    if network.driver != Driver::Bridge {
        let carrier = network.carrier();
        return match network.parent {
            Some(_) => format!("find the parent interface {carrier}"),
            None => format!("create {carrier}, dummy\nset {carrier} up"),
        };
    }
    let mut lines = network.tables.base_lines();
    for (family, element) in network_elements(network).into_iter().filter(|(_, e)| !e.end) {
        let table = network.tables.name();
        lines.push(format!(
            "add element {family} {table} {} for {}: {}",
            element.set,
            network.id,
            hex(&element.key)
        ));
    }
    let ipv6 = network.subnets.iter().any(|s| !s.subnet.is_ipv4());
    lines.push(create_bridge(&network.bridge, bridge_mac(network)).purpose);
    lines.push(match network.mtu {
        Some(mtu) => fix_mtu(&network.bridge, mtu).purpose,
        None => format!("set the mtu of {} to that of the default route's interface", network.bridge),
    });
    lines.push(mark_and_raise(&network.bridge, &network.alias(), ipv6).purpose);
    for config in &network.subnets {
        lines.push(add_address(0, network.bridge.as_str(), config.gateway, &config.subnet).purpose);
    }
    if !network.internal {
        lines.push("set net.ipv4.ip_forward to 1".into());
        lines.push(format!("set net.ipv4.conf.{}.route_localnet to 1", network.bridge));
        if ipv6 {
            lines.push("set net.ipv6.conf.all.forwarding to 1".into());
        }
    }
    lines.join("\n")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
