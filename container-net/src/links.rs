//! Links beside bridges and veth pairs, the forwarding entries of VXLAN, and neighbours (`rtnetlink(7)`, `bridge(8)`).

use std::{
    net::IpAddr,
    os::fd::{AsRawFd, BorrowedFd},
};

use serde::{Deserialize, Serialize};

use crate::{
    Error, Host, InterfaceName, MacAddr, Result, Subnet,
    address::octets,
    namespace,
    netlink::{APPEND, Attributes, CREATE, EXCL, Message, REPLACE, Socket, u32_ne},
    route,
};

/// How a macvlan passes frames (`IFLA_MACVLAN_MODE`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MacvlanMode {
    /// Those of one parent reach each other.
    #[default]
    Bridge,
    /// They do not.
    Private,
    /// They do by way of the switch, if it sends back.
    Vepa,
    /// The parent is this one's alone.
    Passthru,
}

/// How an ipvlan passes packets (`IFLA_IPVLAN_MODE`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IpvlanMode {
    /// By the links' addresses, in one broadcast domain.
    #[default]
    L2,
    /// By routes; no broadcasts.
    L3,
    /// By routes, through the host's netfilter.
    L3s,
}

/// A VXLAN tunnel end (RFC 7348).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vxlan {
    /// The network's number, 24 bits.
    pub id: u32,
    /// This host's address in the underlay.
    pub local: IpAddr,
    /// The interface of the underlay; by the routing table if unset.
    pub parent: Option<InterfaceName>,
    /// The UDP port; 4789 is IANA's.
    pub port: u16,
    /// Whether it learns who is where from what comes in. Off, only [`Forwarding`] entries count.
    pub learning: bool,
}

/// What a link is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LinkKind {
    /// One that swallows what is sent to it.
    Dummy,
    /// A hardware address of its own on a parent.
    Macvlan {
        /// The parent.
        parent: InterfaceName,
        /// How it passes frames.
        mode: MacvlanMode,
    },
    /// The parent's hardware address, and addresses of its own.
    Ipvlan {
        /// The parent.
        parent: InterfaceName,
        /// How it passes packets.
        mode: IpvlanMode,
    },
    /// A tunnel end.
    Vxlan(Vxlan),
}

/// A link to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewLink {
    /// Its name.
    pub name: InterfaceName,
    /// What it is.
    pub kind: LinkKind,
    /// The largest packet in bytes; the kernel's choice if unset.
    pub mtu: Option<u32>,
    /// Its hardware address; the kernel's choice if unset. An ipvlan has none of its own.
    pub mac: Option<MacAddr>,
    /// A mark for whoever looks at it (`IFLA_IFALIAS`).
    pub alias: Option<String>,
}

impl NewLink {
    /// A link with the kernel's choice of everything else.
    pub fn new(name: InterfaceName, kind: LinkKind) -> Self {
        Self { name, kind, mtu: None, mac: None, alias: None }
    }
}

/// Where a VXLAN sends frames for a hardware address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Forwarding {
    /// The hardware address; none for broadcasts and whatever has no entry.
    pub mac: Option<MacAddr>,
    /// The tunnel end that has it.
    pub remote: IpAddr,
}

const NEW_LINK: u16 = 16;
const SET_LINK: u16 = 19;
const NEW_NEIGHBOUR: u16 = 28;
const DELETE_NEIGHBOUR: u16 = 29;
const GET_NEIGHBOUR: u16 = 30;
const AF_BRIDGE: u8 = 7;
const NDA_DST: u16 = 1;
const NDA_LLADDR: u16 = 2;
/// `NUD_PERMANENT | NUD_NOARP`
const PERMANENT_NO_ARP: u16 = 0x80 | 0x40;
const PERMANENT: u16 = 0x80;
/// The link itself keeps the entry, not a bridge that it is a port of.
const NTF_SELF: u8 = 2;

impl Host {
    /// Makes a link in the thread's namespace. Fails if there is one of its name.
    pub fn create_link(&mut self, link: &NewLink) -> Result<()> {
        let mut messages = vec![create(&mut self.route, link, None)?];
        messages.extend(mark(link));
        self.route.run(&messages)
    }

    /// Makes a link straight in another namespace; parents are looked up in the thread's.
    pub fn create_link_in(&mut self, netns: BorrowedFd<'_>, link: &NewLink) -> Result<()> {
        let message = create(&mut self.route, link, Some(netns.as_raw_fd()))?;
        self.route.run(&[message])?;
        match mark(link) {
            Some(message) => namespace::within(netns, || Socket::route()?.run(&[message])),
            None => Ok(()),
        }
    }

    /// Deletes a link by its name.
    pub fn delete_link(&mut self, name: &InterfaceName) -> Result<()> {
        self.route.run(&[route::delete_link(name.as_str())])
    }

    /// Sets a link up, as a port of a bridge if one is given, with addresses and the lengths of their subnets' prefixes.
    pub fn raise_link(
        &mut self,
        name: &InterfaceName,
        bridge: Option<&InterfaceName>,
        addresses: &[(IpAddr, u8)],
    ) -> Result<()> {
        raise(&mut self.route, name, bridge, addresses)
    }

    /// The same in another namespace.
    pub fn raise_link_in(
        &mut self,
        netns: BorrowedFd<'_>,
        name: &InterfaceName,
        addresses: &[(IpAddr, u8)],
    ) -> Result<()> {
        namespace::within(netns, || raise(&mut Socket::route()?, name, None, addresses))
    }

    /// Makes a bridge without addresses or rules, for tunnels. Fails if there is an interface of its name.
    pub fn create_plain_bridge(&mut self, name: &InterfaceName, mac: MacAddr) -> Result<()> {
        self.route.run(&[route::create_bridge(name, mac)])
    }

    /// Has a VXLAN send frames for a hardware address to a tunnel end. The entry without an address may be there for several ends, which
    /// then get every broadcast; any other address is at one place, and is moved. Idempotent.
    pub fn forward(&mut self, vxlan: &InterfaceName, entry: &Forwarding) -> Result<()> {
        let index = route::existing(&mut self.route, vxlan)?.index;
        let all = entry.mac.is_none();
        let flags = CREATE | if all { APPEND } else { REPLACE };
        let message = forwarding(NEW_NEIGHBOUR, flags, index, vxlan, entry);
        match self.route.run(&[message]) {
            Err(e) if all && e.errno() == Some(rustix::io::Errno::EXIST.raw_os_error()) => Ok(()),
            other => other,
        }
    }

    /// Takes a forwarding entry away. Idempotent.
    pub fn forget_forwarding(&mut self, vxlan: &InterfaceName, entry: &Forwarding) -> Result<()> {
        let index = route::existing(&mut self.route, vxlan)?.index;
        let message = forwarding(DELETE_NEIGHBOUR, 0, index, vxlan, entry);
        match self.route.run(&[message]) {
            Err(e) if e.errno() == Some(rustix::io::Errno::NOENT.raw_os_error()) => Ok(()),
            other => other,
        }
    }

    /// The forwarding entries of a VXLAN.
    pub fn forwardings(&mut self, vxlan: &InterfaceName) -> Result<Vec<Forwarding>> {
        let index = route::existing(&mut self.route, vxlan)?.index;
        let request = Message::new(GET_NEIGHBOUR, 0, format!("list the forwarding entries of {vxlan}"))
            .raw(&neighbour_header(AF_BRIDGE, 0, 0, 0));
        self.route.dump(&request, |_, body| {
            (body.get(4..8).and_then(u32_ne)? == index).then_some(())?;
            let attributes = Attributes(body.get(12..)?);
            let mac: [u8; 6] = attributes.find(NDA_LLADDR)?.try_into().ok()?;
            let remote = route::ip(attributes.find(NDA_DST)?)?;
            Some(Forwarding { mac: MacAddr::new(mac).ok(), remote })
        })
    }

    /// Has an interface know the hardware address of a neighbour for good, so that nobody has to ask. Idempotent.
    pub fn set_neighbour(&mut self, interface: &InterfaceName, address: IpAddr, mac: MacAddr) -> Result<()> {
        let index = route::existing(&mut self.route, interface)?.index;
        self.route.run(&[neighbour(NEW_NEIGHBOUR, CREATE | REPLACE, index, interface, address)
            .attribute(NDA_LLADDR, &mac.octets())])
    }

    /// Forgets a neighbour. Idempotent.
    pub fn forget_neighbour(&mut self, interface: &InterfaceName, address: IpAddr) -> Result<()> {
        let index = route::existing(&mut self.route, interface)?.index;
        match self.route.run(&[neighbour(DELETE_NEIGHBOUR, 0, index, interface, address)]) {
            Err(e) if e.errno() == Some(rustix::io::Errno::NOENT.raw_os_error()) => Ok(()),
            other => other,
        }
    }
}

fn raise(
    socket: &mut Socket,
    name: &InterfaceName,
    bridge: Option<&InterfaceName>,
    addresses: &[(IpAddr, u8)],
) -> Result<()> {
    let link = route::existing(socket, name)?;
    let mut messages = Vec::new();
    if let Some(bridge) = bridge {
        let master = route::existing(socket, bridge)?.index;
        messages.push(
            Message::new(SET_LINK, 0, format!("make {name} a port of {bridge}"))
                .raw(&route::link_header(link.index, 0, 0))
                .number(10, master),
        );
    }
    messages.push(Message::new(SET_LINK, 0, format!("set {name} up")).raw(&route::up_header(link.index)));
    for (address, prefix) in addresses {
        let subnet = Subnet::containing(*address, *prefix)?;
        messages.push(route::add_address(link.index, name.as_str(), *address, &subnet));
    }
    socket.run(&messages)
}

/// The message that sets the alias, which the kernel does not take when a link is made.
pub(crate) fn mark(link: &NewLink) -> Option<Message> {
    let alias = link.alias.as_ref()?;
    let message = Message::new(SET_LINK, 0, format!("mark {} as {alias}", link.name));
    Some(message.raw(&route::link_header(0, 0, 0)).text(3, link.name.as_str()).text(20, alias))
}

/// The message that makes a link.
pub(crate) fn create(socket: &mut Socket, link: &NewLink, namespace: Option<i32>) -> Result<Message> {
    let mut parent = |name: &InterfaceName| Ok::<u32, Error>(route::existing(socket, name)?.index);
    let name = &link.name;
    let (what, index) = match &link.kind {
        LinkKind::Dummy => ("dummy".to_owned(), None),
        LinkKind::Macvlan { parent: name, mode } => {
            (format!("macvlan of {name} ({mode:?})"), Some(parent(name)?))
        }
        LinkKind::Ipvlan { parent: name, mode } => {
            (format!("ipvlan of {name} ({mode:?})"), Some(parent(name)?))
        }
        LinkKind::Vxlan(vxlan) => {
            if vxlan.id >= 1 << 24 {
                return Err(Error::Name {
                    what: "vxlan id",
                    value: vxlan.id.to_string(),
                    reason: "it has 24 bits",
                });
            }
            let index = vxlan.parent.as_ref().map(&mut parent).transpose()?;
            (format!("vxlan {} from {}", vxlan.id, vxlan.local), index)
        }
    };
    let inside = if namespace.is_some() { " inside the namespace" } else { "" };
    let mut message = Message::new(NEW_LINK, CREATE | EXCL, format!("create {name}, {what}{inside}"))
        .raw(&route::link_header(0, 0, 0))
        .text(3, name.as_str());
    if let Some(mtu) = link.mtu {
        message = message.number(4, mtu);
    }
    if let Some(mac) = link.mac.filter(|_| !matches!(link.kind, LinkKind::Ipvlan { .. })) {
        message = message.attribute(1, &mac.octets());
    }
    if let (Some(index), false) = (index, matches!(link.kind, LinkKind::Vxlan(_))) {
        message = message.number(5, index);
    }
    if let Some(fd) = namespace {
        message = message.attribute(28, &fd.to_ne_bytes());
    }
    Ok(message.nest(18, |m| match &link.kind {
        LinkKind::Dummy => m.text(1, "dummy"),
        LinkKind::Macvlan { mode, .. } => m.text(1, "macvlan").nest(2, |m| {
            m.number(
                1,
                match mode {
                    MacvlanMode::Private => 1,
                    MacvlanMode::Vepa => 2,
                    MacvlanMode::Bridge => 4,
                    MacvlanMode::Passthru => 8,
                },
            )
        }),
        LinkKind::Ipvlan { mode, .. } => m.text(1, "ipvlan").nest(2, |m| {
            let mode = match mode {
                IpvlanMode::L2 => 0_u16,
                IpvlanMode::L3 => 1,
                IpvlanMode::L3s => 2,
            };
            m.attribute(1, &mode.to_ne_bytes())
        }),
        LinkKind::Vxlan(vxlan) => m.text(1, "vxlan").nest(2, |m| {
            let m = m
                .number(1, vxlan.id)
                .attribute(if vxlan.local.is_ipv4() { 4 } else { 17 }, &octets(vxlan.local))
                .byte(7, u8::from(vxlan.learning))
                .attribute(15, &vxlan.port.to_be_bytes());
            match index {
                Some(index) => m.number(3, index),
                None => m,
            }
        }),
    }))
}

fn neighbour_header(family: u8, index: u32, state: u16, flags: u8) -> [u8; 12] {
    let [i0, i1, i2, i3] = index.to_ne_bytes();
    let [s0, s1] = state.to_ne_bytes();
    [family, 0, 0, 0, i0, i1, i2, i3, s0, s1, flags, 0]
}

fn forwarding(kind: u16, flags: u16, index: u32, vxlan: &InterfaceName, entry: &Forwarding) -> Message {
    let verb = if kind == NEW_NEIGHBOUR { "send" } else { "no longer send" };
    let whom = entry.mac.map_or_else(|| "everybody".to_owned(), |mac| mac.to_string());
    Message::new(kind, flags, format!("{verb} frames for {whom} by {vxlan} to {}", entry.remote))
        .raw(&neighbour_header(AF_BRIDGE, index, PERMANENT_NO_ARP, NTF_SELF))
        .attribute(NDA_LLADDR, &entry.mac.map_or([0; 6], |mac| mac.octets()))
        .attribute(NDA_DST, &octets(entry.remote))
}

fn neighbour(kind: u16, flags: u16, index: u32, interface: &InterfaceName, address: IpAddr) -> Message {
    let family = if address.is_ipv4() { 2 } else { 10 };
    Message::new(kind, flags, format!("set the neighbour {address} at {interface}"))
        .raw(&neighbour_header(family, index, PERMANENT, 0))
        .attribute(NDA_DST, &octets(address))
}
