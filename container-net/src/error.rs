use std::{io, net::IpAddr, path::PathBuf};

use crate::{Protocol, Subnet};

/// What can go wrong. Each variant names the object; the system's own words are the
/// [source](std::error::Error::source).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A text that is no subnet.
    #[error("{text:?} is no subnet: {reason}")]
    Subnet {
        /// The text as given.
        text: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A text that is no hardware address.
    #[error("{text:?} is no MAC address: {reason}")]
    Mac {
        /// The text as given.
        text: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A name, identifier or label which the kernel, a file name or a rule cannot carry.
    #[error("{what} {value:?} is not allowed: {reason}")]
    Name {
        /// What the value is for.
        what: &'static str,
        /// The value as given, cut to 64 characters.
        value: String,
        /// Why it is refused.
        reason: &'static str,
    },
    /// A network or an attachment that contradicts itself.
    #[error("network {network}: {reason}")]
    Config {
        /// Identifier of the network.
        network: String,
        /// What contradicts what.
        reason: String,
    },
    /// Every candidate collides with a route of the host or with another network.
    #[error(
        "no free {family} subnet is left: every candidate collides with a route of the host or another network"
    )]
    NoFreeSubnet {
        /// `IPv4` or `IPv6`.
        family: &'static str,
    },
    /// All addresses of a pool are leased.
    #[error("no address is left in {subnet}")]
    PoolExhausted {
        /// The subnet whose pool is full.
        subnet: Subnet,
    },
    /// The wanted address belongs to somebody else.
    #[error("address {address} is leased to {owner}")]
    AddressTaken {
        /// The wanted address.
        address: IpAddr,
        /// Who has it.
        owner: String,
    },
    /// The wanted address cannot be leased from this pool.
    #[error("address {address} cannot be leased from {subnet}: {reason}")]
    AddressUnusable {
        /// The wanted address.
        address: IpAddr,
        /// The pool's subnet.
        subnet: Subnet,
        /// Why.
        reason: &'static str,
    },
    /// A pool file that was not written by this crate, or for another subnet.
    #[error("{} is not the pool of {subnet}: {reason}", path.display())]
    PoolDamaged {
        /// The file.
        path: PathBuf,
        /// The subnet it was opened for.
        subnet: Subnet,
        /// What does not fit.
        reason: &'static str,
    },
    /// Somebody listens on a host port that is to be published, or publishes it already.
    #[error("port {port}/{protocol} on {address} is taken")]
    PortTaken {
        /// The host address; unspecified for all.
        address: IpAddr,
        /// The host port.
        port: u16,
        /// The transport protocol.
        protocol: Protocol,
    },
    /// A host port cannot be reserved for another reason, for example as the address is not the host's.
    #[error("port {port}/{protocol} on {address} cannot be reserved")]
    PortUnusable {
        /// The host address.
        address: IpAddr,
        /// The host port.
        port: u16,
        /// The transport protocol.
        protocol: Protocol,
        /// What the kernel said.
        source: io::Error,
    },
    /// The kernel refused for want of a right.
    #[error("{operation}: the capability {right} is missing")]
    Right {
        /// What was attempted.
        operation: String,
        /// The capability that is needed.
        right: &'static str,
    },
    /// The kernel refused a request.
    #[error("cannot {operation}")]
    Kernel {
        /// What was attempted, with the object.
        operation: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// A netlink answer that cannot be read.
    #[error("the answer to {operation} is malformed")]
    Malformed {
        /// What was asked.
        operation: String,
    },
    /// A file or directory of the state cannot be used.
    #[error("cannot {operation} {}", path.display())]
    File {
        /// The verb: open, read, write, lock …
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A finding that only the administrator can settle.
    #[error("{finding} is not ours to repair")]
    NotRepairable {
        /// The finding in words.
        finding: String,
    },
}

impl Error {
    /// Wraps an error of the kernel, telling a missing right from the rest.
    pub(crate) fn kernel(operation: impl Into<String>, source: impl Into<io::Error>) -> Self {
        let (operation, source) = (operation.into(), source.into());
        if source.kind() == io::ErrorKind::PermissionDenied {
            return Self::Right { operation, right: "CAP_NET_ADMIN" };
        }
        Self::Kernel { operation, source }
    }

    pub(crate) fn file(
        operation: &'static str,
        path: impl Into<PathBuf>,
        source: impl Into<io::Error>,
    ) -> Self {
        Self::File { operation, path: path.into(), source: source.into() }
    }

    /// The number behind a kernel error, if there is one.
    pub(crate) fn errno(&self) -> Option<i32> {
        match self {
            Self::Kernel { source, .. } | Self::File { source, .. } => source.raw_os_error(),
            _ => None,
        }
    }
}

/// The crate's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;
