//! Links, addresses and routes (`rtnetlink(7)`).

use std::net::IpAddr;

use crate::{
    Error, InterfaceName, MacAddr, Result, Subnet,
    address::octets,
    netlink::{Attributes, CREATE, EXCL, Message, REPLACE, Socket, u32_ne},
};

const NEW_LINK: u16 = 16;
const DELETE_LINK: u16 = 17;
const GET_LINK: u16 = 18;
const SET_LINK: u16 = 19;
const NEW_ADDRESS: u16 = 20;
const GET_ADDRESS: u16 = 22;
const NEW_ROUTE: u16 = 24;
const GET_ROUTE: u16 = 26;

const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_MASTER: u16 = 10;
const IFLA_LINKINFO: u16 = 18;
const IFLA_IFALIAS: u16 = 20;
const IFLA_AF_SPEC: u16 = 26;
const IFLA_NET_NS_FD: u16 = 28;
const INFO_KIND: u16 = 1;
const INFO_DATA: u16 = 2;
const INFO_SLAVE_KIND: u16 = 4;
const INFO_SLAVE_DATA: u16 = 5;
const VETH_INFO_PEER: u16 = 1;
const BRPORT_HAIRPIN: u16 = 4;
const INET6_ADDR_GEN_MODE: u16 = 8;

const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
const UP: u32 = 1;

/// A network interface as the kernel tells it.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    pub(crate) index: u32,
    pub(crate) name: String,
    pub(crate) mtu: u32,
    pub(crate) alias: Option<String>,
    pub(crate) kind: Option<String>,
}

fn read_link(kind: u16, body: &[u8]) -> Option<Link> {
    let index = body.get(4..8).and_then(u32_ne)?;
    let attributes = Attributes(body.get(16..)?);
    (kind == NEW_LINK).then_some(())?;
    Some(Link {
        index,
        name: attributes.text(IFLA_IFNAME)?,
        mtu: attributes.number(IFLA_MTU)?,
        alias: attributes.text(IFLA_IFALIAS),
        kind: attributes.nested(IFLA_LINKINFO).text(INFO_KIND),
    })
}

/// `struct ifinfomsg`.
pub(crate) fn link_header(index: u32, flags: u32, change: u32) -> [u8; 16] {
    let mut bytes = [0; 16];
    let fields = [0, index, flags, change];
    for (place, field) in bytes.chunks_exact_mut(4).zip(fields) {
        place.copy_from_slice(&field.to_ne_bytes());
    }
    bytes
}

pub(crate) fn up_header(index: u32) -> [u8; 16] {
    link_header(index, UP, UP)
}

pub(crate) fn link(socket: &mut Socket, name: &str) -> Result<Option<Link>> {
    let request = Message::new(GET_LINK, 0, format!("look up interface {name}"))
        .raw(&link_header(0, 0, 0))
        .text(IFLA_IFNAME, name);
    socket.ask(&request, read_link)
}

pub(crate) fn links(socket: &mut Socket) -> Result<Vec<Link>> {
    let request = Message::new(GET_LINK, 0, "list the interfaces").raw(&link_header(0, 0, 0));
    socket.dump(&request, read_link)
}

pub(crate) fn create_bridge(name: &InterfaceName, mac: MacAddr) -> Message {
    Message::new(NEW_LINK, CREATE | EXCL, format!("create bridge {name} with address {mac}"))
        .raw(&link_header(0, 0, 0))
        .text(IFLA_IFNAME, name.as_str())
        .attribute(IFLA_ADDRESS, &mac.octets())
        .nest(IFLA_LINKINFO, |m| m.text(INFO_KIND, "bridge"))
}

/// Fixes the largest packet of a bridge. One that was given when the bridge was made is lost again when its last port
/// goes (`br_mtu_auto_adjust` of the kernel); only a change afterwards counts as somebody's wish.
pub(crate) fn fix_mtu(name: &InterfaceName, mtu: u32) -> Message {
    Message::new(SET_LINK, 0, format!("set the mtu of {name} to {mtu}"))
        .raw(&link_header(0, 0, 0))
        .text(IFLA_IFNAME, name.as_str())
        .number(IFLA_MTU, mtu)
}

/// Alias, IPv6 link-local addresses or none, up.
pub(crate) fn mark_and_raise(name: &InterfaceName, alias: &str, ipv6: bool) -> Message {
    Message::new(SET_LINK, 0, format!("mark {name} as {alias} and set it up"))
        .raw(&up_header(0))
        .text(IFLA_IFNAME, name.as_str())
        .text(IFLA_IFALIAS, alias)
        .nest(IFLA_AF_SPEC, |m| generation(m, ipv6))
}

/// `IN6_ADDR_GEN_MODE_EUI64` is 0; 1 makes no link-local address at all.
fn generation(message: Message, ipv6: bool) -> Message {
    message.nest(u16::from(AF_INET6), |m| m.byte(INET6_ADDR_GEN_MODE, u8::from(!ipv6)))
}

pub(crate) struct VethPair<'a> {
    pub(crate) host: &'a InterfaceName,
    pub(crate) inside: &'a InterfaceName,
    pub(crate) namespace: i32,
    pub(crate) master: u32,
    pub(crate) mtu: u32,
    pub(crate) mac: MacAddr,
}

/// One message makes both ends, the peer straight in its namespace, and enslaves the host's.
pub(crate) fn create_veth(pair: &VethPair<'_>) -> Message {
    let purpose = format!(
        "create veth {} with {} ({}, mtu {}) inside the namespace",
        pair.host, pair.inside, pair.mac, pair.mtu
    );
    Message::new(NEW_LINK, CREATE | EXCL, purpose)
        .raw(&link_header(0, 0, 0))
        .text(IFLA_IFNAME, pair.host.as_str())
        .number(IFLA_MTU, pair.mtu)
        .number(IFLA_MASTER, pair.master)
        .nest(IFLA_LINKINFO, |m| {
            m.text(INFO_KIND, "veth").nest(INFO_DATA, |m| {
                m.nest(VETH_INFO_PEER, |m| {
                    m.raw(&link_header(0, 0, 0))
                        .text(IFLA_IFNAME, pair.inside.as_str())
                        .number(IFLA_MTU, pair.mtu)
                        .attribute(IFLA_ADDRESS, &pair.mac.octets())
                        .attribute(IFLA_NET_NS_FD, &pair.namespace.to_ne_bytes())
                })
            })
        })
}

/// The host's end: alias, no address of its own, hairpin if bridged packets meet the IP hooks, up.
pub(crate) fn raise_port(name: &InterfaceName, alias: &str, hairpin: bool) -> Message {
    let purpose =
        format!("mark {name} as {alias} and set it up{}", if hairpin { " with hairpin" } else { "" });
    // RTM_SETLINK would pass over what is for the port
    Message::new(NEW_LINK, 0, purpose)
        .raw(&up_header(0))
        .text(IFLA_IFNAME, name.as_str())
        .text(IFLA_IFALIAS, alias)
        .nest(IFLA_AF_SPEC, |m| generation(m, false))
        .nest(IFLA_LINKINFO, |m| {
            m.text(INFO_SLAVE_KIND, "bridge")
                .nest(INFO_SLAVE_DATA, |m| m.byte(BRPORT_HAIRPIN, u8::from(hairpin)))
        })
}

pub(crate) fn raise_inside(name: &InterfaceName, ipv6: bool) -> Message {
    Message::new(SET_LINK, 0, format!("set {name} up inside the namespace"))
        .raw(&up_header(0))
        .text(IFLA_IFNAME, name.as_str())
        .nest(IFLA_AF_SPEC, |m| generation(m, ipv6))
}

/// The loopback interface has index 1 in every namespace.
pub(crate) fn raise_loopback() -> Message {
    Message::new(SET_LINK, 0, "set lo up inside the namespace").raw(&up_header(1))
}

pub(crate) fn delete_link(name: &str) -> Message {
    Message::new(DELETE_LINK, 0, format!("delete interface {name}"))
        .raw(&link_header(0, 0, 0))
        .text(IFLA_IFNAME, name)
}

/// Adds or keeps an address; no duplicate address detection, as our pool gave it.
pub(crate) fn add_address(index: u32, name: &str, address: IpAddr, subnet: &Subnet) -> Message {
    let family = if address.is_ipv4() { AF_INET } else { AF_INET6 };
    let no_dad = if address.is_ipv6() { 2 } else { 0 };
    let mut header = vec![family, subnet.prefix(), no_dad, 0];
    header.extend_from_slice(&index.to_ne_bytes());
    let message = Message::new(
        NEW_ADDRESS,
        CREATE | REPLACE,
        format!("give {name} the address {address}/{}", subnet.prefix()),
    )
    .raw(&header)
    .attribute(2, &octets(address))
    .attribute(1, &octets(address));
    if address.is_ipv4() && subnet.prefix() < 31 {
        return message.attribute(4, &octets(subnet.last()));
    }
    message
}

pub(crate) fn add_default_route(index: u32, name: &str, gateway: IpAddr) -> Message {
    let family = if gateway.is_ipv4() { AF_INET } else { AF_INET6 };
    // table main, protocol boot, scope universe, type unicast
    let header = [family, 0, 0, 0, 254, 3, 0, 1, 0, 0, 0, 0];
    Message::new(NEW_ROUTE, CREATE | REPLACE, format!("route everything through {gateway} at {name}"))
        .raw(&header)
        .attribute(5, &octets(gateway))
        .number(4, index)
}

struct Route {
    destination: Option<Subnet>,
    interface: Option<u32>,
    metric: u32,
}

fn routes(socket: &mut Socket, family: u8) -> Result<Vec<Route>> {
    let mut header = [0; 12];
    if let Some(first) = header.first_mut() {
        *first = family;
    }
    let request = Message::new(GET_ROUTE, 0, "list the routes").raw(&header);
    socket.dump(&request, |kind, body| {
        let (&prefix, &class) = (body.get(1)?, body.get(7)?);
        let attributes = Attributes(body.get(12..)?);
        // unicast only: local and broadcast entries repeat what the addresses say
        (kind == NEW_ROUTE && class == 1).then_some(())?;
        Some(Route {
            destination: attributes.find(1).and_then(ip).and_then(|a| Subnet::containing(a, prefix).ok()),
            interface: attributes.number(4),
            metric: attributes.number(6).unwrap_or(0),
        })
    })
}

pub(crate) fn ip(bytes: &[u8]) -> Option<IpAddr> {
    <[u8; 4]>::try_from(bytes)
        .map(IpAddr::from)
        .or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from))
        .ok()
}

/// Every subnet this host has a route or an address in, default routes left out.
pub(crate) fn used_subnets() -> Result<Vec<Subnet>> {
    let mut socket = Socket::route()?;
    let mut used: Vec<Subnet> = Vec::new();
    for family in [AF_INET, AF_INET6] {
        used.extend(
            routes(&mut socket, family)?.into_iter().filter_map(|r| r.destination).filter(|s| s.prefix() > 0),
        );
    }
    let request = Message::new(GET_ADDRESS, 0, "list the addresses").raw(&[0; 8]);
    used.extend(socket.dump(&request, |kind, body| {
        let &prefix = body.get(1)?;
        let attributes = Attributes(body.get(8..)?);
        let address = attributes.find(2).or(attributes.find(1)).and_then(ip)?;
        (kind == NEW_ADDRESS).then(|| Subnet::containing(address, prefix).ok()).flatten()
    })?);
    used.sort_unstable();
    used.dedup();
    Ok(used)
}

/// The mtu of the interface the (best) default route leaves by; 1500 without one.
pub(crate) fn default_mtu(socket: &mut Socket) -> Result<u32> {
    let mut best: Option<Route> = None;
    for family in [AF_INET, AF_INET6] {
        for route in routes(socket, family)? {
            let default = route.destination.is_none_or(|d| d.prefix() == 0) && route.interface.is_some();
            if default && best.as_ref().is_none_or(|b| route.metric < b.metric) {
                best = Some(route);
            }
        }
        if best.is_some() {
            break;
        }
    }
    let Some(index) = best.and_then(|route| route.interface) else { return Ok(1500) };
    let request =
        Message::new(GET_LINK, 0, format!("look up interface {index}")).raw(&link_header(index, 0, 0));
    Ok(socket.ask(&request, read_link)?.map_or(1500, |link| link.mtu))
}

/// What the alias of an interface ends with whose container has left.
pub(crate) const LEAVING: &str = ":leaving";

/// Marks an interface of this alias as left and gives its number; none if there is no such interface, or it was left already.
pub(crate) fn mark_leaving(socket: &mut Socket, name: &str, alias: &str) -> Result<Option<u32>> {
    let unmarked = |found: &Link| found.alias.as_deref() == Some(alias);
    let Some(found) = link(socket, name)?.filter(unmarked) else { return Ok(None) };
    let mark = Message::new(SET_LINK, 0, format!("mark {name} as left"))
        .raw(&link_header(found.index, 0, 0))
        .text(IFLA_IFALIAS, &format!("{alias}{LEAVING}"));
    match socket.run(&[mark]) {
        // it has gone with its namespace
        Err(e) if e.errno() == Some(rustix::io::Errno::NODEV.raw_os_error()) => Ok(None),
        other => other.map(|()| Some(found.index)),
    }
}

/// Deletes the interface of this number if it is marked as left.
pub(crate) fn delete_left(socket: &mut Socket, index: u32, name: &str) -> Result<()> {
    let request = Message::new(GET_LINK, 0, format!("look up {name}")).raw(&link_header(index, 0, 0));
    let left = socket.ask(&request, read_link)?;
    if !left.is_some_and(|link| link.alias.is_some_and(|alias| alias.ends_with(LEAVING))) {
        return Ok(());
    }
    let delete = Message::new(DELETE_LINK, 0, format!("delete {name}")).raw(&link_header(index, 0, 0));
    match socket.run(&[delete]) {
        Err(e) if e.errno() == Some(rustix::io::Errno::NODEV.raw_os_error()) => Ok(()),
        other => other,
    }
}

fn is_ours(link: &Link, alias: &str) -> bool {
    // whoever asks may have read the mark as well
    let plain = |alias: &'_ str| alias.strip_suffix(LEAVING).unwrap_or(alias).to_owned();
    link.alias.as_deref().is_some_and(|found| plain(found) == plain(alias))
}

/// Deletes an interface if it is there and its alias is `alias`, left or not.
pub(crate) fn delete_ours(socket: &mut Socket, name: &str, alias: &str) -> Result<bool> {
    let Some(found) = link(socket, name)? else { return Ok(false) };
    if !is_ours(&found, alias) {
        return Ok(false);
    }
    match socket.run(&[delete_link(name)]) {
        Err(e) if e.errno() == Some(rustix::io::Errno::NODEV.raw_os_error()) => Ok(false),
        other => other.map(|()| true),
    }
}

/// An interface that must be there.
pub(crate) fn existing(socket: &mut Socket, name: &InterfaceName) -> Result<Link> {
    link(socket, name.as_str())?
        .ok_or_else(|| Error::kernel(format!("find interface {name}"), rustix::io::Errno::NODEV))
}
