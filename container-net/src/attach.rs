use std::{
    net::IpAddr,
    os::fd::{AsRawFd, BorrowedFd},
};

use crate::{
    Attached, Attachment, Driver, Error, Host, InterfaceName, LinkKind, MacAddr, NewLink, Pool, Result,
    attachment::{leases_dir, names_dir},
    bridge::bridged_packets_filtered,
    conntrack,
    names::Record,
    namespace,
    netlink::{Message, Socket},
    nft::Membership,
    ports,
    route::{
        self, VethPair, add_address, add_default_route, create_veth, raise_inside, raise_loopback, raise_port,
    },
};

/// The host's end of a container that has left a network.
#[derive(Debug)]
#[must_use = "the interface stays until `Host::finish`"]
pub struct Leaving {
    index: u32,
    name: InterfaceName,
}

/// [`Host::attach`] over connections of its own.
pub fn attach(netns: BorrowedFd<'_>, attachment: &Attachment) -> Result<Attached> {
    Host::open()?.attach(netns, attachment)
}

/// [`Host::detach`] over connections of its own.
pub fn detach(attachment: &Attachment) -> Result<()> {
    Host::open()?.detach(attachment)
}

impl Host {
    /// Joins the network namespace to the network: leases, host ports, rules, a veth pair, addresses, the default
    /// route and names, in this order. The network must be up ([`Host::ensure_network`]).
    ///
    /// What an earlier container process of the same identifier left in the network is replaced. On an error
    /// nothing is left, the leases of this container included.
    pub fn attach(&mut self, netns: BorrowedFd<'_>, attachment: &Attachment) -> Result<Attached> {
        attachment.verify()?;
        let outcome = self.build(netns, attachment);
        if outcome.is_err() {
            // the first error is the one to tell; check() finds what this cannot undo
            let _ = self.detach(attachment);
        }
        outcome
    }

    /// Leaves the network: names, published ports and rules, the veth pair, leases. Idempotent, and goes on over
    /// errors: the first is returned. The container's namespace need not exist any more. An interface that was left before
    /// is not waited for.
    pub fn detach(&mut self, attachment: &Attachment) -> Result<()> {
        let (outcome, leaving) = self.leave(attachment);
        outcome.and(leaving.map_or(Ok(()), |leaving| self.finish(&leaving)))
    }

    /// [`Host::detach`] but for the interface, which the kernel takes about 15 ms to take apart: it is marked, and stays for
    /// [`Host::finish`]. If that is never called it goes with the container's namespace, or is found by [`check`](crate::check).
    pub fn leave(&mut self, attachment: &Attachment) -> (Result<()>, Option<Leaving>) {
        if let Err(error) = attachment.verify_owner() {
            return (Err(error), None);
        }
        let outcome = self.give_back(attachment);
        let host = attachment.host_interface();
        match route::mark_leaving(&mut self.route, host.as_str(), &attachment.alias()) {
            Ok(index) => (outcome, index.map(|index| Leaving { index, name: host })),
            Err(error) => (outcome.and(Err(error)), None),
        }
    }

    /// Deletes an interface that was left. Idempotent.
    pub fn finish(&mut self, leaving: &Leaving) -> Result<()> {
        route::delete_left(&mut self.route, leaving.index, leaving.name.as_str())
    }

    fn give_back(&mut self, attachment: &Attachment) -> Result<()> {
        let owner = &attachment.endpoint.container_id;
        let network = &attachment.network;
        let names = Record::remove(&names_dir(&attachment.state_dir), owner);
        let rules = network.tables.remove_owner(&mut self.netfilter, &attachment.rule_owner());
        let mut outcome = names.and(rules);
        let mut addresses = Vec::new();
        for config in &network.subnets {
            let dir = leases_dir(&attachment.state_dir);
            if !dir.exists() {
                continue;
            }
            let released = Pool::open(dir, config).and_then(|pool| {
                addresses.extend(pool.leased_to(owner)?);
                pool.release(owner)
            });
            outcome = outcome.and(released);
        }
        // a kernel without ctnetlink has flows end by themselves
        let _ = conntrack::forget(&mut self.netfilter, &attachment.endpoint.ports, &addresses);
        outcome
    }

    fn build(&mut self, netns: BorrowedFd<'_>, attachment: &Attachment) -> Result<Attached> {
        let Attachment { network, endpoint, state_dir } = attachment;
        let owner = &endpoint.container_id;
        let mut addresses: Vec<IpAddr> = Vec::new();
        for config in &network.subnets {
            let wanted = endpoint.addresses.iter().copied().find(|a| config.subnet.contains(*a));
            addresses.push(Pool::open(leases_dir(state_dir), config)?.lease(owner, wanted)?);
        }
        let mac = mac_of(attachment, &addresses)?;
        if network.driver != Driver::Bridge {
            return self.build_on_carrier(netns, attachment, addresses, mac);
        }
        let (published, reservations) = ports::reserve(&endpoint.ports, &addresses)?;
        let host = attachment.host_interface();
        let membership = Membership {
            owner: &attachment.rule_owner(),
            port: &host,
            mac,
            addresses: &addresses,
            ports: &published,
        };
        network.tables.admit(&mut self.netfilter, &membership)?;
        let _ = conntrack::forget(&mut self.netfilter, &published, &[]);
        let socket = &mut self.route;
        route::delete_ours(socket, host.as_str(), &attachment.alias())?;
        let bridge = route::existing(socket, &network.bridge)?;
        socket.run(&[
            create_veth(&VethPair {
                host: &host,
                inside: &endpoint.interface,
                namespace: netns.as_raw_fd(),
                master: bridge.index,
                mtu: bridge.mtu,
                mac,
            }),
            raise_port(&host, &attachment.alias(), bridged_packets_filtered()),
        ])?;
        namespace::within(netns, || {
            let mut socket = Socket::route()?;
            let index = route::existing(&mut socket, &endpoint.interface)?.index;
            socket.run(&inside(attachment, &addresses, index))
        })?;
        Record::of(attachment, &addresses).register(&names_dir(state_dir))?;
        Ok(Attached { ports: published, addresses, mac, host_interface: host, reservations })
    }
}

impl Host {
    /// A macvlan or ipvlan, made straight inside the namespace. No rules: the frames never cross a bridge of ours.
    fn build_on_carrier(
        &mut self,
        netns: BorrowedFd<'_>,
        attachment: &Attachment,
        addresses: Vec<IpAddr>,
        mac: MacAddr,
    ) -> Result<Attached> {
        self.remove_inside(netns, attachment)?;
        self.create_link_in(netns, &carried(attachment, mac))?;
        let finished = namespace::within(netns, || {
            let mut socket = Socket::route()?;
            let index = route::existing(&mut socket, &attachment.endpoint.interface)?.index;
            socket.run(&inside(attachment, &addresses, index))
        });
        if let Err(error) = finished {
            // nothing on the host tells of it: whoever made it takes it away
            let _ = self.remove_inside(netns, attachment);
            return Err(error);
        }
        Record::of(attachment, &addresses).register(&names_dir(&attachment.state_dir))?;
        let host_interface = attachment.host_interface();
        Ok(Attached { ports: Vec::new(), addresses, mac, host_interface, reservations: Vec::new() })
    }

    /// Deletes the container's macvlan or ipvlan of this network from its namespace, which nothing on the host can do. It goes by itself
    /// with the namespace. Idempotent; a bridge network has nothing to delete inside.
    pub fn remove_inside(&mut self, netns: BorrowedFd<'_>, attachment: &Attachment) -> Result<()> {
        if attachment.network.driver == Driver::Bridge {
            return Ok(());
        }
        let (name, alias) = (attachment.endpoint.interface.as_str(), attachment.alias());
        namespace::within(netns, || route::delete_ours(&mut Socket::route()?, name, &alias).map(drop))
    }
}

/// The link of a container on the carrier of its network.
pub(crate) fn carried(attachment: &Attachment, mac: MacAddr) -> NewLink {
    let network = &attachment.network;
    let parent = network.carrier().clone();
    let kind = if network.driver == Driver::Ipvlan {
        LinkKind::Ipvlan { parent, mode: network.ipvlan }
    } else {
        LinkKind::Macvlan { parent, mode: network.macvlan }
    };
    NewLink {
        mtu: network.mtu,
        mac: Some(mac),
        alias: Some(attachment.alias()),
        ..NewLink::new(attachment.endpoint.interface.clone(), kind)
    }
}

pub(crate) fn mac_of(attachment: &Attachment, addresses: &[IpAddr]) -> Result<MacAddr> {
    match (attachment.endpoint.mac, addresses.first()) {
        (Some(mac), _) => Ok(mac),
        (None, Some(address)) => Ok(MacAddr::from_ip(*address)),
        (None, None) => Err(Error::Config {
            network: attachment.network.id.clone(),
            reason: "it has no subnet to take an address from".into(),
        }),
    }
}

/// What is done inside the namespace, in one go.
pub(crate) fn inside(attachment: &Attachment, addresses: &[IpAddr], index: u32) -> Vec<Message> {
    let Attachment { network, endpoint, .. } = attachment;
    let name = endpoint.interface.as_str();
    let ipv6 = addresses.iter().any(IpAddr::is_ipv6);
    let mut messages = vec![raise_loopback(), raise_inside(&endpoint.interface, ipv6)];
    for address in addresses {
        if let Some(config) = network.subnet_of(*address) {
            messages.push(add_address(index, name, *address, &config.subnet));
        }
    }
    if endpoint.default_route && !network.internal {
        for address in addresses {
            if let Some(config) = network.subnet_of(*address) {
                messages.push(add_default_route(index, name, config.gateway));
            }
        }
    }
    messages
}
