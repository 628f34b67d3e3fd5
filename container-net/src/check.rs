use std::{
    collections::HashSet,
    fmt,
    net::IpAddr,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use crate::{
    Error, Host, NetworkConfig, Pool, Result, SubnetConfig,
    attachment::{leases_dir, names_dir},
    bridge::ensure_network,
    names::Record,
    netlink::Socket,
    nft::{Netfilter, Tables, network_elements},
    route::{self, LEAVING, Link, delete_ours},
};

/// Something that is left over, missing, or in the way.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Finding {
    /// Elements of our sets and maps whose container or network is no more.
    StaleRules {
        /// The tables.
        tables: Tables,
        /// The elements' comment: `container/port` or a network's identifier.
        owner: String,
        /// How many there are.
        elements: usize,
    },
    /// A network that is up lacks rules or elements, or somebody put a rule into our tables.
    MissingRules {
        /// The network.
        network: Box<NetworkConfig>,
        /// Chain and comment of each; empty if elements are missing.
        rules: Vec<String>,
    },
    /// A lease of an owner that is no more.
    StaleLease {
        /// The directory of the pool.
        dir: PathBuf,
        /// The pool.
        subnet: SubnetConfig,
        /// The address.
        address: IpAddr,
        /// The owner; empty if a loss of power tore the record.
        owner: String,
    },
    /// A container that is no more has names.
    StaleNames {
        /// The directory of names.
        dir: PathBuf,
        /// The container.
        container_id: String,
    },
    /// The host's end of a veth pair whose container is no more.
    StaleInterface {
        /// The interface.
        name: String,
        /// Its alias, which says that it is ours.
        alias: String,
    },
    /// A bridge of ours that belongs to no network.
    OrphanBridge {
        /// The interface.
        name: String,
        /// Its alias, which says that it is ours.
        alias: String,
    },
    /// Another firewall drops whatever is forwarded: containers reach their neighbours and nothing else. Not ours to
    /// repair.
    ForwardDropped {
        /// Its table.
        table: String,
        /// The chain with the policy.
        chain: String,
    },
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::StaleRules { tables, owner, elements } => {
                write!(f, "table {} has {elements} elements of {owner}, which is no more", tables.name())
            }
            Self::MissingRules { network, rules } if rules.is_empty() => {
                write!(f, "network {} lacks elements in table {}", network.id, network.tables.name())
            }
            Self::MissingRules { network, rules } => {
                write!(f, "rules of table {} differ: {}", network.tables.name(), rules.join("; "))
            }
            Self::StaleLease { address, owner, .. } => {
                write!(f, "{address} is leased to {owner:?}, which is no more")
            }
            Self::StaleNames { container_id, .. } => write!(f, "{container_id}, which is no more, has names"),
            Self::StaleInterface { name, alias } => write!(f, "interface {name} ({alias}) has no container"),
            Self::OrphanBridge { name, alias } => write!(f, "bridge {name} ({alias}) has no network"),
            Self::ForwardDropped { table, chain } => {
                write!(f, "chain {chain} of table {table} drops whatever is forwarded")
            }
        }
    }
}

/// Compares what is there with what ought to be: the networks with their state directories, and the containers that
/// live. Changes nothing. What has not our alias, table or directory is never looked at twice.
///
/// A container that is just being attached counts as living; whoever calls must name it.
pub fn check(networks: &[(&NetworkConfig, &Path)], live_owners: &[&str]) -> Result<Vec<Finding>> {
    let live: HashSet<&str> = live_owners.iter().copied().collect();
    let known: HashSet<&str> = networks.iter().map(|(n, _)| n.id.as_str()).collect();
    let mut tables: Vec<Tables> = Vec::new();
    for (network, _) in networks {
        if !tables.contains(&network.tables) {
            tables.push(network.tables.clone());
        }
    }
    if tables.is_empty() {
        tables.push(Tables::default());
    }
    let mut findings = Vec::new();
    let Host { netfilter, route: socket } = &mut Host::open()?;
    let links = settled_links(socket, &tables)?;
    for tables in &tables {
        stale_rules(netfilter, tables, &live, &known, &mut findings)?;
        for link in &links {
            let Some(alias) = link.alias.as_deref() else { continue };
            let Some(rest) = alias.strip_prefix(&format!("{}:", tables.name())) else { continue };
            let (name, alias) = (link.name.clone(), alias.to_owned());
            match (link.kind.as_deref(), rest.split_once(':')) {
                (Some("veth"), Some((network, owner)))
                    if !live.contains(owner) || !known.contains(network) =>
                {
                    findings.push(Finding::StaleInterface { name, alias });
                }
                (Some("bridge" | "dummy"), None) if !known.contains(rest) => {
                    findings.push(Finding::OrphanBridge { name, alias });
                }
                _ => {}
            }
        }
        let up = |network: &NetworkConfig| {
            network.tables == *tables
                && links.iter().any(|l| {
                    l.alias.as_deref() == Some(network.alias().as_str())
                        && l.kind.as_deref() == Some("bridge")
                })
        };
        let missing = tables.missing_rules(netfilter)?;
        for (network, _) in networks.iter().filter(|(network, _)| up(network)) {
            let rules: Vec<String> =
                missing.iter().map(|(chain, comment)| format!("{chain}: {comment}")).collect();
            if !rules.is_empty()
                || tables.missing_elements(netfilter, &network.id, &network_elements(network))?
            {
                findings.push(Finding::MissingRules { network: Box::new((*network).clone()), rules });
            }
        }
    }
    for (network, state_dir) in networks {
        stale_state(network, state_dir, &live, &mut findings)?;
    }
    let dropped = netfilter.forward_drops()?.into_iter();
    findings.extend(dropped.map(|(table, chain)| Finding::ForwardDropped { table, chain }));
    Ok(findings)
}

/// How long an interface that was left may take to go.
const LEAVING_TIME: Duration = Duration::from_secs(2);

/// The interfaces, once those are gone that their containers have just left.
fn settled_links(socket: &mut Socket, tables: &[Tables]) -> Result<Vec<Link>> {
    let end = Instant::now() + LEAVING_TIME;
    loop {
        let links = route::links(socket)?;
        let leaving = links.iter().filter_map(|link| link.alias.as_deref()).any(|alias| {
            alias.ends_with(LEAVING) && tables.iter().any(|t| alias.split(':').next() == Some(t.name()))
        });
        if !leaving || Instant::now() > end {
            return Ok(links);
        }
        thread::sleep(Duration::from_millis(5));
    }
}

fn stale_rules(
    netfilter: &mut Netfilter,
    tables: &Tables,
    live: &HashSet<&str>,
    known: &HashSet<&str>,
    findings: &mut Vec<Finding>,
) -> Result<()> {
    let mut owners: Vec<(String, usize)> = Vec::new();
    for (_, element) in tables.all(netfilter)? {
        if element.end {
            continue;
        }
        let living = match element.owner.split_once('/') {
            Some((container, _)) => live.contains(container),
            None => known.contains(element.owner.as_str()),
        };
        if living {
            continue;
        }
        match owners.iter_mut().find(|(owner, _)| *owner == element.owner) {
            Some((_, count)) => *count += 1,
            None => owners.push((element.owner, 1)),
        }
    }
    findings.extend(owners.into_iter().map(|(owner, elements)| Finding::StaleRules {
        tables: tables.clone(),
        owner,
        elements,
    }));
    Ok(())
}

fn stale_state(
    network: &NetworkConfig,
    state_dir: &Path,
    live: &HashSet<&str>,
    findings: &mut Vec<Finding>,
) -> Result<()> {
    let dir = leases_dir(state_dir);
    for subnet in network.subnets.iter().filter(|_| dir.exists()) {
        for (address, owner) in Pool::open(&dir, subnet)?.leases()? {
            if !live.contains(owner.as_str()) {
                findings.push(Finding::StaleLease {
                    dir: dir.clone(),
                    subnet: subnet.clone(),
                    address,
                    owner,
                });
            }
        }
    }
    let dir = names_dir(state_dir);
    for record in Record::all(&dir)? {
        if !live.contains(record.container_id.as_str()) {
            findings.push(Finding::StaleNames { dir: dir.clone(), container_id: record.container_id });
        }
    }
    Ok(())
}

/// Puts one finding right. Idempotent: a finding that is no longer true changes nothing.
pub fn repair(finding: &Finding) -> Result<()> {
    match finding {
        Finding::StaleRules { tables, owner, .. } => tables.remove_owner(&mut Netfilter::open()?, owner),
        Finding::MissingRules { network, .. } => ensure_network(network),
        Finding::StaleLease { dir, subnet, address, owner } => {
            let pool = Pool::open(dir, subnet)?;
            if owner.is_empty() { pool.release_address(*address) } else { pool.release(owner) }
        }
        Finding::StaleNames { dir, container_id } => Record::remove(dir, container_id),
        Finding::StaleInterface { name, alias } | Finding::OrphanBridge { name, alias } => {
            delete_ours(&mut Socket::route()?, name, alias).map(drop)
        }
        Finding::ForwardDropped { .. } => Err(Error::NotRepairable { finding: finding.to_string() }),
    }
}
