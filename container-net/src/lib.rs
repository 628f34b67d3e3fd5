//! Networks of containers on Linux: bridges, veth pairs, address pools, nftables publishing and container names, spoken
//! straight to the kernel by netlink.
//!
//! What it is: functions that bring a network up ([`ensure_network`]), join a network namespace to it ([`attach`],
//! [`detach`]), lease addresses ([`Pool`]), answer names inside a container ([`names::Server`]), and find and put right
//! what a crash left ([`check`], [`repair`]). All of it is synchronous, starts no process and no lasting thread, and is
//! safe to call from several processes at once: state is in locked or atomically replaced files, and the kernel's own
//! interfaces and rules are the record of what runs, each marked with its owner.
//!
//! Containers may also be machines of the host's own network ([`Driver::Macvlan`], [`Driver::Ipvlan`]). For what crosses hosts there are
//! VXLAN links with their forwarding entries ([`Host::create_link`], [`Host::forward`]), and addresses that stand for many
//! ([`nft::VirtualIps`]).
//!
//! What it is not: a daemon, a proxy in user space (a port published at `::1` is not served), a firewall front end, or
//! what tells the hosts of an overlay where containers are.
//!
//! ```no_run
//! use std::{fs::File, os::fd::AsFd};
//! use container_net::{Attachment, Endpoint, InterfaceName, NetworkConfig, SubnetConfig, attach, detach, ensure_network};
//!
//! let subnet = SubnetConfig::new(NetworkConfig::free_subnet(false, &[])?)?;
//! let network = NetworkConfig::bridge("2f1c", "front", InterfaceName::new("br-2f1c")?, vec![subnet]);
//! ensure_network(&network)?;
//!
//! let mut endpoint = Endpoint::new("8d3a", "web")?;
//! endpoint.ports.push(container_net::PublishedPort {
//!     host_ip: None, host_port: 8080, container_port: 80, protocol: Default::default(),
//! });
//! let attachment = Attachment { network, endpoint, state_dir: "/run/example/networks/2f1c".into() };
//! let netns = File::open("/proc/4711/ns/net").map_err(|e| container_net::Error::File {
//!     operation: "open", path: "/proc/4711/ns/net".into(), source: e,
//! })?;
//! let attached = attach(netns.as_fd(), &attachment)?;
//! println!("{:?}", attached.addresses);
//! // … the container runs; `attached` is kept, as it reserves the ports …
//! detach(&attachment)?;
//! # Ok::<(), container_net::Error>(())
//! ```
//!
//! **Where things happen.** "The host" is the network namespace of the calling thread. What has to be done inside a
//! container is done by a thread that lives no longer than that.
//!
//! **Rights.** `CAP_NET_ADMIN` in the host's namespace, `CAP_SYS_ADMIN` to enter the container's, and
//! `CAP_NET_BIND_SERVICE` for ports below 1024; [`Error::Right`] names the one that is missing.
//!
//! **Security.** A container sends only from its own hardware and IP addresses, by ARP and neighbour discovery too, and
//! IPv6 is closed where no subnet opens it. Networks reach each other at published ports only; private addresses cannot be
//! reached from outside the host; the host's `127.0.0.0/8` is out of reach. A container may reach its host's own
//! addresses, as with Docker. See [`nft`] for what another firewall on the host decides.
//!
//! **Units.** Sizes are bytes, prefix lengths bits, ports host order.
//!
//! See `netlink(7)`, `rtnetlink(7)`, `nft(8)`, `veth(4)`, and the kernel's `include/uapi/linux/{if_link,netfilter/nf_tables}.h`.

#![forbid(unsafe_code)]

mod address;
mod attach;
mod attachment;
mod bridge;
mod check;
mod conntrack;
mod error;
mod explain;
mod host;
mod interface;
mod links;
pub mod names;
mod namespace;
mod netlink;
mod network;
pub mod nft;
mod pool;
mod ports;
mod route;

pub use address::{MacAddr, Subnet};
pub use attach::{Leaving, attach, detach};
pub use attachment::{Attached, Attachment, Endpoint, Protocol, PublishedPort};
pub use bridge::{ensure_network, remove_network};
pub use check::{Finding, check, repair};
pub use error::{Error, Result};
pub use explain::{explain, explain_network};
pub use host::Host;
pub use interface::InterfaceName;
pub use links::{Forwarding, IpvlanMode, LinkKind, MacvlanMode, NewLink, Vxlan};
pub use namespace::loopback_up;
pub use network::{Driver, NetworkConfig, SubnetConfig};
pub use pool::Pool;
