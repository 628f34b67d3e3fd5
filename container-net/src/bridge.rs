use std::{fs, path::Path, thread, time::Duration};

use crate::{
    Driver, Error, Host, LinkKind, MacAddr, NetworkConfig, NewLink, Result,
    netlink::Socket,
    route::{self, add_address, create_bridge, delete_ours, fix_mtu, mark_and_raise},
};

/// [`Host::ensure_network`] over connections of its own.
pub fn ensure_network(network: &NetworkConfig) -> Result<()> {
    Host::open()?.ensure_network(network)
}

/// [`Host::remove_network`] over connections of its own.
pub fn remove_network(network: &NetworkConfig) -> Result<()> {
    Host::open()?.remove_network(network)
}

impl Host {
    /// Brings a network up, or makes good what is missing of it: rules first, then the bridge with the gateway's
    /// addresses, then forwarding. Idempotent; safe to call from several processes at once.
    ///
    /// Switches `net.ipv4.ip_forward` on (and for IPv6 `net.ipv6.conf.all.forwarding`, keeping router
    /// advertisements where they were heeded), unless the network is internal. An interface of the bridge's name that is
    /// not ours is an [`Error::Config`].
    pub fn ensure_network(&mut self, network: &NetworkConfig) -> Result<()> {
        network.verify()?;
        if network.driver != Driver::Bridge {
            return self.ensure_carrier(network);
        }
        let socket = &mut self.route;
        let name = &network.bridge;
        let ipv6 = network.subnets.iter().any(|s| !s.subnet.is_ipv4());
        let mut found = ours(network, socket)?;
        network.tables.ensure_network(&mut self.netfilter, network)?;
        if found.is_none() {
            let mtu = match network.mtu {
                Some(mtu) => mtu,
                None => route::default_mtu(socket)?,
            };
            let made = socket.run(&[
                create_bridge(name, bridge_mac(network)),
                fix_mtu(name, mtu),
                mark_and_raise(name, &network.alias(), ipv6),
            ]);
            match made {
                // another process was faster
                Err(e) if e.errno() == Some(rustix::io::Errno::EXIST.raw_os_error()) => {}
                other => other?,
            }
            found = ours(network, socket)?;
        }
        let index = found.map_or(0, |link| link.index);
        let mut changes = vec![mark_and_raise(name, &network.alias(), ipv6)];
        for config in &network.subnets {
            changes.push(add_address(index, name.as_str(), config.gateway, &config.subnet));
        }
        socket.run(&changes)?;
        if network.internal {
            return Ok(());
        }
        if network.subnets.iter().any(|s| s.subnet.is_ipv4()) {
            sysctl("ipv4/ip_forward", "1")?;
            // so that 127.0.0.1 of the host can be a published address; the rules close the other direction
            sysctl(&format!("ipv4/conf/{name}/route_localnet"), "1")?;
        }
        if ipv6 {
            forward_ipv6()?;
        }
        Ok(())
    }

    /// The interface that carries a macvlan or ipvlan: the parent has to be there, a dummy of our own is made.
    fn ensure_carrier(&mut self, network: &NetworkConfig) -> Result<()> {
        let carrier = network.carrier().clone();
        let found = route::link(&mut self.route, carrier.as_str())?;
        match (&network.parent, found) {
            (Some(_), Some(_)) => Ok(()),
            (Some(parent), None) => Err(Error::Config {
                network: network.id.clone(),
                reason: format!("its parent interface {parent} is not there"),
            }),
            (None, Some(link)) if link.alias.as_deref() == Some(network.alias().as_str()) => Ok(()),
            (None, Some(_)) => Err(Error::Config {
                network: network.id.clone(),
                reason: format!("an interface {carrier} is there already and not this network's"),
            }),
            (None, None) => {
                let mut dummy = NewLink::new(carrier.clone(), LinkKind::Dummy);
                dummy.alias = Some(network.alias());
                dummy.mtu = network.mtu;
                self.create_link(&dummy)?;
                self.raise_link(&carrier, None, &[])
            }
        }
    }

    /// Takes a network down: the bridge, the rules of the network and, with the last one, our tables.
    /// Idempotent. Containers that are still attached are cut off.
    pub fn remove_network(&mut self, network: &NetworkConfig) -> Result<()> {
        network.verify()?;
        delete_ours(&mut self.route, network.bridge.as_str(), &network.alias())?;
        if network.driver != Driver::Bridge {
            return Ok(());
        }
        network.tables.remove_network(&mut self.netfilter, network)
    }
}

/// The bridge, if there is one and it is this network's.
fn ours(network: &NetworkConfig, socket: &mut Socket) -> Result<Option<route::Link>> {
    // another process may have made it just now: the kernel takes the mark by the next message of the same batch
    for _ in 0..50 {
        let Some(link) = route::link(socket, network.bridge.as_str())? else { return Ok(None) };
        if link.kind.as_deref() != Some("bridge") {
            break;
        }
        match link.alias.as_deref() {
            Some(alias) if alias == network.alias() => return Ok(Some(link)),
            Some(_) => break,
            None => thread::sleep(Duration::from_millis(1)),
        }
    }
    Err(Error::Config {
        network: network.id.clone(),
        reason: format!("an interface {} is there already and not this network's", network.bridge),
    })
}

/// A fixed address, as a bridge without one takes that of whichever port has the lowest.
pub(crate) fn bridge_mac(network: &NetworkConfig) -> MacAddr {
    network.subnets.first().map_or_else(
        || MacAddr::from_ip(std::net::Ipv4Addr::LOCALHOST.into()),
        |s| MacAddr::from_ip(s.gateway),
    )
}

/// Sets a network sysctl of the calling thread's namespace, if it is not so already.
fn sysctl(key: &str, value: &str) -> Result<()> {
    let path = Path::new("/proc/sys/net").join(key);
    if fs::read_to_string(&path).is_ok_and(|now| now.trim_end() == value) {
        return Ok(());
    }
    fs::write(&path, value).map_err(|e| Error::file("write", path, e))
}

fn forward_ipv6() -> Result<()> {
    let all = "ipv6/conf/all/forwarding";
    let base = Path::new("/proc/sys/net");
    if fs::read_to_string(base.join(all)).is_ok_and(|now| now.trim_end() == "1") {
        return Ok(());
    }
    // a forwarding host heeds router advertisements only if told twice
    let interfaces = base.join("ipv6/conf");
    for entry in fs::read_dir(&interfaces).map_err(|e| Error::file("read", &interfaces, e))?.flatten() {
        let accept = entry.path().join("accept_ra");
        if fs::read_to_string(&accept).is_ok_and(|now| now.trim_end() == "1") {
            // it may be gone by now
            let _ = fs::write(&accept, "2");
        }
    }
    sysctl(all, "1")
}

/// Whether bridged packets go through the IP hooks here (`br_netfilter`).
pub(crate) fn bridged_packets_filtered() -> bool {
    ["iptables", "ip6tables"].iter().any(|which| {
        fs::read_to_string(format!("/proc/sys/net/bridge/bridge-nf-call-{which}"))
            .is_ok_and(|now| now.trim_end() == "1")
    })
}
