use crate::{Result, netlink::Socket, nft::Netfilter};

/// Connections to the kernel in the network namespace of the thread that opened them, which is "the host" to the
/// containers attached through it.
///
/// The functions of the crate's root open one for a single act. Whoever does more, or lives beside a container, keeps
/// one: closing [`Netfilter`] waits for the kernel each time.
#[derive(Debug)]
pub struct Host {
    pub(crate) netfilter: Netfilter,
    pub(crate) route: Socket,
}

impl Host {
    /// Opens them.
    pub fn open() -> Result<Self> {
        Ok(Self { netfilter: Netfilter::open()?, route: Socket::route()? })
    }
}
