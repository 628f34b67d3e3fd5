//! Virtual IPs: one address that spreads connections over many.

use std::{collections::BTreeMap, net::IpAddr};

use super::{
    Batch, Chain, Datatype, Element, Family, Hook, Key, Netfilter, Rule, Set,
    Step::{DnatAddressByMap, Is},
};
use crate::{Error, Result, address::octets, network};

/// How many slots an address has: a backend has about `SLOTS / n` of them.
pub const SLOTS: u32 = 256;

/// How the connections of a virtual IP are spread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Spread {
    /// Each connection to whichever backend.
    #[default]
    Random,
    /// All connections of a client's address to the same one, for as long as that is there.
    BySource,
}

/// An address that stands for many.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VirtualIp {
    /// Who it is for, a plain word of at most 64 characters.
    pub name: String,
    /// The address. It must be routed through the namespace of the rules, or be used there.
    pub address: IpAddr,
    /// The addresses behind it, of the same family. With none, connections go to the address itself.
    pub backends: Vec<IpAddr>,
    /// How they are spread.
    pub spread: Spread,
}

/// The virtual IPs of a network namespace: a table `inet NAME` of four maps, however many addresses there are.
///
/// The rules are at the nat hooks of what is forwarded and of what the namespace sends by itself, so they work on a host and
/// inside a container. All ports and protocols of the address go to the same port of the backend. A connection stays where it
/// went, as conntrack remembers it; new ones follow the maps. Which slots a backend has depends on that backend alone (the highest
/// of the hashes of slot and backend wins): one that goes leaves the others where they are, one that comes takes a little from each.
#[derive(Clone, Debug)]
pub struct VirtualIps {
    table: String,
}

const fn map(name: &'static str, key: &'static [Datatype], value: &'static [Datatype]) -> Set {
    Set { name, key, value, interval: false }
}

const KEY4: &[Datatype] = &[Datatype::Ipv4Addr, Datatype::Mark];
const KEY6: &[Datatype] = &[Datatype::Ipv6Addr, Datatype::Mark];
const RANDOM4: Set = map("random4", KEY4, &[Datatype::Ipv4Addr]);
const SOURCE4: Set = map("source4", KEY4, &[Datatype::Ipv4Addr]);
const RANDOM6: Set = map("random6", KEY6, &[Datatype::Ipv6Addr]);
const SOURCE6: Set = map("source6", KEY6, &[Datatype::Ipv6Addr]);
const MAPS: [Set; 4] = [RANDOM4, SOURCE4, RANDOM6, SOURCE6];

impl VirtualIps {
    /// Virtual IPs in a table of this name: a plain word of at most 64 characters.
    pub fn named(name: impl Into<String>) -> Result<Self> {
        let table = name.into();
        network::identifier("table name", &table)?;
        Ok(Self { table })
    }

    /// Sets an address up, or changes what is behind it. Atomic and idempotent; connections that are there go on.
    pub fn set(&self, netfilter: &mut Netfilter, virtual_ip: &VirtualIp) -> Result<()> {
        network::identifier("virtual ip name", &virtual_ip.name)?;
        let ipv4 = virtual_ip.address.is_ipv4();
        if let Some(other) = virtual_ip.backends.iter().find(|backend| backend.is_ipv4() != ipv4) {
            return Err(Error::Config {
                network: virtual_ip.name.clone(),
                reason: format!("backend {other} is not of the family of {}", virtual_ip.address),
            });
        }
        let there = self.all(netfilter)?;
        let address = octets(virtual_ip.address);
        if let Some(other) = there
            .iter()
            .find(|e| e.owner != virtual_ip.name && e.key.starts_with(&address) && of_family(e, ipv4))
        {
            return Err(Error::AddressTaken { address: virtual_ip.address, owner: other.owner.clone() });
        }
        self.change(netfilter, &there, &virtual_ip.name, &elements(virtual_ip))
    }

    /// Takes an address away, and the table with the last one. Atomic and idempotent.
    pub fn remove(&self, netfilter: &mut Netfilter, name: &str) -> Result<()> {
        let there = self.all(netfilter)?;
        if there.iter().all(|element| element.owner == name) {
            if !netfilter.has_table(Family::Inet, &self.table)? {
                return Ok(());
            }
            let mut batch = Batch::new(Family::Inet, &self.table);
            batch.delete_table();
            return netfilter.commit(vec![batch]);
        }
        self.change(netfilter, &there, name, &[])
    }

    /// What the kernel has: for each name, its address and how many slots each backend has.
    pub fn list(&self, netfilter: &mut Netfilter) -> Result<BTreeMap<String, BTreeMap<IpAddr, u32>>> {
        let mut found: BTreeMap<String, BTreeMap<IpAddr, u32>> = BTreeMap::new();
        for element in self.all(netfilter)? {
            if let Some(backend) = crate::route::ip(&element.value) {
                *found.entry(element.owner).or_default().entry(backend).or_default() += 1;
            }
        }
        Ok(found)
    }

    fn all(&self, netfilter: &mut Netfilter) -> Result<Vec<Element>> {
        let mut all = Vec::new();
        for set in &MAPS {
            all.extend(netfilter.elements(Family::Inet, &self.table, set)?);
        }
        Ok(all)
    }

    fn change(
        &self,
        netfilter: &mut Netfilter,
        there: &[Element],
        owner: &str,
        wanted: &[Element],
    ) -> Result<()> {
        let mut batch = Batch::new(Family::Inet, &self.table);
        if !netfilter.has_table(Family::Inet, &self.table)? {
            base(&mut batch);
        }
        for stale in there.iter().filter(|e| e.owner == owner && !wanted.contains(e)) {
            batch.delete_element(stale);
        }
        for new in wanted.iter().filter(|e| !there.contains(e)) {
            batch.element(new, true);
        }
        netfilter.commit(vec![batch])
    }
}

fn of_family(element: &Element, ipv4: bool) -> bool {
    (element.key.len() == 8) == ipv4
}

fn base(batch: &mut Batch) {
    batch.table();
    for set in &MAPS {
        batch.set(set);
    }
    // before ports are published
    let hook = |name| Some(Hook { kind: "nat", name, priority: -101 });
    for chain in ["prerouting", "output"] {
        batch.fresh_chain(&Chain { name: chain, hook: hook(chain) });
        for (nfproto, v4, destination, random, source, slot) in [
            (2, true, Key::IpDaddr, RANDOM4, SOURCE4, Key::IpSourceSlot(SLOTS)),
            (10, false, Key::Ip6Daddr, RANDOM6, SOURCE6, Key::Ip6SourceSlot(SLOTS)),
        ] {
            let family = Is(Key::NfProto, vec![nfproto]);
            for (comment, slot, map) in
                [("by chance", Key::RandomSlot(SLOTS), random), ("by the client's address", slot, source)]
            {
                let steps = vec![family.clone(), DnatAddressByMap(v4, vec![destination, slot], map.name)];
                batch.rule(&Rule { chain, steps, comment });
            }
        }
    }
}

fn elements(virtual_ip: &VirtualIp) -> Vec<Element> {
    let set = match (virtual_ip.address.is_ipv4(), virtual_ip.spread) {
        (true, Spread::Random) => RANDOM4,
        (true, Spread::BySource) => SOURCE4,
        (false, Spread::Random) => RANDOM6,
        (false, Spread::BySource) => SOURCE6,
    };
    let address = octets(virtual_ip.address);
    (0..SLOTS)
        .filter_map(|slot| {
            let backend = backend_of(slot, &virtual_ip.backends)?;
            Some(Element {
                set: set.name,
                // a slot is a number in a register, in the machine's order
                key: [address.as_slice(), &slot.to_ne_bytes()].concat(),
                value: octets(backend),
                end: false,
                owner: virtual_ip.name.clone(),
            })
        })
        .collect()
}

/// The backend of a slot: rendezvous hashing.
fn backend_of(slot: u32, backends: &[IpAddr]) -> Option<IpAddr> {
    backends.iter().copied().max_by_key(|backend| {
        let bytes = octets(*backend).into_iter().chain(slot.to_be_bytes());
        // FNV alone hardly mixes the last bytes into the high bits
        let mut hash = crate::address::fnv64(bytes);
        for _ in 0..2 {
            hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
        }
        (hash ^ (hash >> 33), *backend)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backends(count: u8) -> Vec<IpAddr> {
        (1..=count).map(|n| IpAddr::from([10, 0, 0, n])).collect()
    }

    #[test]
    fn slots_are_spread_evenly() {
        let all = backends(8);
        for backend in &all {
            let own = (0..SLOTS).filter(|slot| backend_of(*slot, &all) == Some(*backend)).count();
            assert!((12..=60).contains(&own), "{backend} has {own} slots");
        }
    }

    #[test]
    fn a_backend_that_goes_moves_only_what_it_had() {
        let all = backends(8);
        let fewer: Vec<IpAddr> = all.iter().copied().filter(|b| *b != all[3]).collect();
        for slot in 0..SLOTS {
            let before = backend_of(slot, &all);
            if before != Some(all[3]) {
                assert_eq!(backend_of(slot, &fewer), before);
            }
        }
        let mut turned = all.clone();
        turned.reverse();
        assert!((0..SLOTS).all(|slot| backend_of(slot, &all) == backend_of(slot, &turned)));
        assert_eq!(backend_of(0, &[]), None);
    }
}
