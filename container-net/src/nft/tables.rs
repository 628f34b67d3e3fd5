use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

use super::{
    Batch, Element, Family, Netfilter,
    ruleset::{
        self, BRIDGES, GUARD4, GUARD6, INTERNAL, PORTS, PUBLISHED4, PUBLISHED4_ANY, PUBLISHED6,
        PUBLISHED6_ANY, SAME, SETS, SUBNETS4, SUBNETS6,
    },
};
use crate::{
    Error, InterfaceName, MacAddr, NetworkConfig, PublishedPort, Result, Subnet, address::octets, network,
};

/// Our two nftables tables, `inet NAME` and `bridge NAME`. `dunnage` by default; another name makes another,
/// independent set of rules (tests, a second engine).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Tables {
    name: String,
}

impl Default for Tables {
    fn default() -> Self {
        Self { name: "dunnage".into() }
    }
}

impl TryFrom<String> for Tables {
    type Error = Error;
    fn try_from(name: String) -> Result<Self> {
        Self::named(name)
    }
}

impl From<Tables> for String {
    fn from(tables: Tables) -> Self {
        tables.name
    }
}

/// What one container may send, and where it is published.
#[derive(Clone, Debug)]
pub struct Membership<'a> {
    /// The container's identifier, kept as comment of each element.
    pub owner: &'a str,
    /// The host's end of its veth pair.
    pub port: &'a InterfaceName,
    /// Its hardware address.
    pub mac: MacAddr,
    /// Its addresses.
    pub addresses: &'a [IpAddr],
    /// Its ports; the host's are known by now. One with a host address is for that family, one without for both.
    pub ports: &'a [PublishedPort],
}

impl Tables {
    /// Tables of another name: a plain word of at most 64 characters.
    pub fn named(name: impl Into<String>) -> Result<Self> {
        let name = name.into();
        network::identifier("table name", &name)?;
        Ok(Self { name })
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Brings in or renews all rules, keeping the elements: nothing is interrupted. Idempotent and atomic.
    pub fn ensure(&self, netfilter: &mut Netfilter) -> Result<()> {
        netfilter.commit(self.base())
    }

    fn base(&self) -> Vec<Batch> {
        vec![ruleset::base_batch(Family::Inet, &self.name), ruleset::base_batch(Family::Bridge, &self.name)]
    }

    /// Brings in the rules and a network's elements. Idempotent and atomic; what the network had and no
    /// longer has goes.
    pub fn ensure_network(&self, netfilter: &mut Netfilter, config: &NetworkConfig) -> Result<()> {
        let expected = network_elements(config);
        again(|| {
            let change = self.difference(netfilter, &config.id, &expected)?;
            // a commit costs a grace period of the kernel, about 10 ms: what is in place is left alone
            if change.is_empty() && self.missing_rules(netfilter)?.is_empty() {
                return Ok(());
            }
            let mut batches = self.base();
            batches.extend(change);
            netfilter.commit(batches)
        })
    }

    /// Takes a network's elements away, and the tables with the last network. Idempotent and atomic.
    pub fn remove_network(&self, netfilter: &mut Netfilter, config: &NetworkConfig) -> Result<()> {
        self.remove_owner(netfilter, &config.id)?;
        // the kernel refuses the batch if anything changed since the generation was read
        again(|| {
            let generation = netfilter.generation()?;
            if !netfilter.elements(Family::Inet, &self.name, &BRIDGES)?.is_empty() {
                return Ok(());
            }
            let mut batches = Vec::new();
            for family in [Family::Inet, Family::Bridge] {
                if netfilter.has_table(family, &self.name)? {
                    let mut batch = Batch::new(family, &self.name);
                    batch.delete_table();
                    batches.push(batch);
                }
            }
            netfilter.commit_at(batches, Some(generation))
        })
    }

    /// Lets a container send from its addresses and publishes its ports. Idempotent and atomic; what it had and
    /// no longer has goes. A port that another container publishes is [`Error::PortTaken`].
    pub fn admit(&self, netfilter: &mut Netfilter, membership: &Membership<'_>) -> Result<()> {
        let expected = membership_elements(membership);
        again(|| match self.change(netfilter, membership.owner, &expected) {
            Err(error) if error.errno() == Some(EXIST) => {
                // find the port that is another's
                Err(self.conflict(netfilter, membership).unwrap_or(error))
            }
            other => other,
        })
    }

    fn conflict(&self, netfilter: &mut Netfilter, membership: &Membership<'_>) -> Option<Error> {
        let everything = self.all(netfilter).ok()?;
        let port = membership.ports.iter().find(|port| {
            publish_elements(membership.addresses, port).iter().any(|wanted| {
                everything.iter().any(|(_, there)| {
                    there.set == wanted.set && there.key == wanted.key && there.owner != membership.owner
                })
            })
        })?;
        Some(Error::PortTaken {
            address: port.host_ip.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
            port: port.host_port,
            protocol: port.protocol,
        })
    }

    /// Takes away everything that has this owner as its comment. Idempotent and atomic.
    pub fn remove_owner(&self, netfilter: &mut Netfilter, owner: &str) -> Result<()> {
        again(|| self.change(netfilter, owner, &[]))
    }

    /// Every element of our tables: the kernel's own record of what is whose.
    pub fn all(&self, netfilter: &mut Netfilter) -> Result<Vec<(Family, Element)>> {
        let mut all = Vec::new();
        for (family, sets) in SETS {
            for set in sets {
                all.extend(netfilter.elements(family, &self.name, set)?.into_iter().map(|e| (family, e)));
            }
        }
        Ok(all)
    }

    /// Chain and comment of each rule that ought to be there and is not, or not in its place.
    pub fn missing_rules(&self, netfilter: &mut Netfilter) -> Result<Vec<(String, String)>> {
        let mut missing = Vec::new();
        for family in [Family::Inet, Family::Bridge] {
            let mut there = netfilter.rules(family, &self.name)?;
            for rule in ruleset::rules(family) {
                let found = there.iter().position(|(c, comment)| c == rule.chain && comment == rule.comment);
                match found {
                    Some(position) => drop(there.remove(position)),
                    None => missing.push((format!("{family} {}", rule.chain), rule.comment.to_owned())),
                }
            }
            missing.extend(
                there.into_iter().map(|(chain, comment)| (format!("{family} {chain} (foreign)"), comment)),
            );
        }
        Ok(missing)
    }

    /// Elements the network ought to have and has not.
    pub(crate) fn missing_elements(
        &self,
        netfilter: &mut Netfilter,
        owner: &str,
        expected: &[(Family, Element)],
    ) -> Result<bool> {
        let there = self.all(netfilter)?;
        Ok(expected.iter().any(|(family, wanted)| {
            !wanted.end
                && !there.iter().any(|(f, e)| {
                    f == family
                        && e.owner == owner
                        && e.set == wanted.set
                        && e.key == wanted.key
                        && e.value == wanted.value
                })
        }))
    }

    fn change(&self, netfilter: &mut Netfilter, owner: &str, expected: &[(Family, Element)]) -> Result<()> {
        let batches = self.difference(netfilter, owner, expected)?;
        netfilter.commit(batches)
    }

    /// What brings the elements of an owner from what they are to what they should be.
    fn difference(
        &self,
        netfilter: &mut Netfilter,
        owner: &str,
        expected: &[(Family, Element)],
    ) -> Result<Vec<Batch>> {
        let there = self.all(netfilter)?;
        let mut batches = Vec::new();
        for (family, sets) in SETS {
            let mut batch = Batch::new(family, &self.name);
            for set in sets {
                let present: Vec<&Element> =
                    there.iter().filter(|(f, e)| *f == family && e.set == set.name).map(|(_, e)| e).collect();
                let wanted: Vec<&Element> = expected
                    .iter()
                    .filter(|(f, e)| *f == family && e.set == set.name)
                    .map(|(_, e)| e)
                    .collect();
                let kept =
                    |e: &Element| wanted.iter().any(|w| !w.end && w.key == e.key && w.value == e.value);
                for stale in present.iter().filter(|e| e.owner == owner && !e.end && !kept(e)) {
                    batch.delete_element(stale);
                    // a range's end has no comment: it is the next one up
                    let end = present.iter().filter(|e| e.end && e.key > stale.key).min_by_key(|e| &e.key);
                    if let (true, Some(end)) = (set.interval, end) {
                        batch.delete_element(end);
                    }
                }
                let mut skip_end = false;
                for new in wanted {
                    if new.end {
                        if !skip_end {
                            batch.element(new, false);
                        }
                        continue;
                    }
                    skip_end = present
                        .iter()
                        .any(|e| e.owner == owner && !e.end && e.key == new.key && e.value == new.value);
                    if !skip_end {
                        batch.element(new, !set.interval);
                    }
                }
            }
            if !batch.is_empty() {
                batches.push(batch);
            }
        }
        Ok(batches)
    }

    pub(crate) fn base_lines(&self) -> Vec<String> {
        self.base().iter().flat_map(Batch::lines).collect()
    }
}

/// What `nfnetlink` says when the generation is no longer that of the batch.
const ERESTART: i32 = 85;
const EXIST: i32 = rustix::io::Errno::EXIST.raw_os_error();
const NOENT: i32 = rustix::io::Errno::NOENT.raw_os_error();

/// Looks and changes again if somebody else changed the tables in between, a number of times.
fn again(mut change: impl FnMut() -> Result<()>) -> Result<()> {
    let mut outcome = change();
    for _ in 0..64 {
        match &outcome {
            Err(e) if matches!(e.errno(), Some(ERESTART | EXIST | NOENT)) => outcome = change(),
            _ => break,
        }
    }
    outcome
}

fn element(set: &super::Set, key: Vec<u8>, owner: &str) -> Element {
    Element { set: set.name, key, value: Vec::new(), end: false, owner: owner.to_owned() }
}

/// Fields padded to whole words, as the registers hold them.
fn fields(parts: &[&[u8]]) -> Vec<u8> {
    let mut key = Vec::new();
    for part in parts {
        key.extend_from_slice(part);
        key.resize(key.len().next_multiple_of(4), 0);
    }
    key
}

pub(crate) fn network_elements(config: &NetworkConfig) -> Vec<(Family, Element)> {
    let bridge = config.bridge.key();
    let mut all = vec![
        element(&BRIDGES, bridge.to_vec(), &config.id),
        element(&SAME, fields(&[&bridge, &bridge]), &config.id),
    ];
    if config.internal {
        all.push(element(&INTERNAL, bridge.to_vec(), &config.id));
    } else {
        for subnet in config.subnets.iter().map(|s| s.subnet) {
            let set = if subnet.is_ipv4() { &SUBNETS4 } else { &SUBNETS6 };
            all.push(element(set, octets(subnet.address()), &config.id));
            if let Some(end) = after(&subnet) {
                all.push(Element { end: true, ..element(set, octets(end), "") });
            }
        }
    }
    all.into_iter().map(|e| (Family::Inet, e)).collect()
}

/// The first address behind a subnet.
fn after(subnet: &Subnet) -> Option<IpAddr> {
    match subnet.last() {
        IpAddr::V4(last) => last.to_bits().checked_add(1).map(|n| Ipv4Addr::from_bits(n).into()),
        IpAddr::V6(last) => last.to_bits().checked_add(1).map(|n| Ipv6Addr::from_bits(n).into()),
    }
}

pub(crate) fn membership_elements(membership: &Membership<'_>) -> Vec<(Family, Element)> {
    let (port, mac, owner) = (membership.port.key(), membership.mac.octets(), membership.owner);
    let mut guards = vec![element(&PORTS, port.to_vec(), owner)];
    let v4 = membership.addresses.iter().copied().filter(IpAddr::is_ipv4);
    let v6 = membership.addresses.iter().copied().filter(IpAddr::is_ipv6);
    // the unspecified address is that of probes before an address is used, and harmless
    let own6: Vec<IpAddr> = v6.collect();
    let more6: &[IpAddr] = if own6.is_empty() {
        &[]
    } else {
        &[IpAddr::V6(membership.mac.link_local()), IpAddr::V6(Ipv6Addr::UNSPECIFIED)]
    };
    for address in v4.chain([IpAddr::V4(Ipv4Addr::UNSPECIFIED)]) {
        guards.push(element(&GUARD4, fields(&[&port, &mac, &octets(address)]), owner));
    }
    for address in own6.iter().chain(more6) {
        guards.push(element(&GUARD6, fields(&[&port, &mac, &octets(*address)]), owner));
    }
    let mut all: Vec<_> = guards.into_iter().map(|e| (Family::Bridge, e)).collect();
    for port in membership.ports {
        for published in publish_elements(membership.addresses, port) {
            all.push((Family::Inet, Element { owner: owner.to_owned(), ..published }));
        }
    }
    all.dedup_by(|a, b| a == b);
    all
}

fn publish_elements(addresses: &[IpAddr], port: &PublishedPort) -> Vec<Element> {
    let mut all = Vec::new();
    for backend in addresses {
        let host = match port.host_ip {
            Some(host) if host.is_ipv4() != backend.is_ipv4() => continue,
            Some(host) if !host.is_unspecified() => Some(host),
            _ => None,
        };
        let (set, any) =
            if backend.is_ipv4() { (&PUBLISHED4, &PUBLISHED4_ANY) } else { (&PUBLISHED6, &PUBLISHED6_ANY) };
        let protocol = [port.protocol.number()];
        let service = port.host_port.to_be_bytes();
        let value = fields(&[&octets(*backend), &port.container_port.to_be_bytes()]);
        let new = match host {
            Some(host) => element(set, fields(&[&octets(host), &protocol, &service]), ""),
            None => element(any, fields(&[&protocol, &service]), ""),
        };
        all.push(Element { value, ..new });
    }
    all
}
