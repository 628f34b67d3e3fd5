//! Flows the kernel remembers (ctnetlink, `nfnetlink_conntrack.h`). A UDP flow keeps its way for as long as packets come,
//! whatever the rules say by then.

use std::net::IpAddr;

use crate::{
    Protocol, PublishedPort, Result,
    address::octets,
    netlink::{Attributes, Message},
    nft::Netfilter,
};

const CONNTRACK: u16 = 1 << 8;
const GET: u16 = CONNTRACK | 1;
const DELETE: u16 = CONNTRACK | 2;
const TUPLE_ORIGINAL: u16 = 1;
const TUPLE_REPLY: u16 = 2;

/// Forgets the UDP flows to the published ports or to these backends, so that the next packet is judged anew. Does nothing
/// if no UDP port is published, as a busy host has many flows to look through.
pub(crate) fn forget(netfilter: &mut Netfilter, ports: &[PublishedPort], backends: &[IpAddr]) -> Result<()> {
    let published: Vec<[u8; 2]> = ports
        .iter()
        .filter(|port| port.protocol == Protocol::Udp)
        .map(|port| port.host_port.to_be_bytes())
        .collect();
    if published.is_empty() {
        return Ok(());
    }
    let backends: Vec<Vec<u8>> = backends.iter().map(|address| octets(*address)).collect();
    let socket = &mut netfilter.socket;
    for family in [2, 10] {
        let request = Message::new(GET, 0, "list the tracked flows").raw(&[family, 0, 0, 0]);
        let stale = socket.dump(&request, |_, body| {
            let flow = Attributes(body.get(4..)?);
            let original = flow.find(TUPLE_ORIGINAL)?;
            let protocol = Attributes(original).nested(2);
            let to_port = protocol.find(3).is_some_and(|port| published.iter().any(|p| p == port));
            let answers = flow.nested(TUPLE_REPLY).nested(1);
            let source = answers.find(1).or_else(|| answers.find(3));
            let to_backend = source.is_some_and(|from| backends.iter().any(|b| b == from));
            (protocol.find(1)? == [17] && (to_port || to_backend)).then(|| original.to_vec())
        })?;
        for tuple in stale {
            let request = Message::new(DELETE, 0, "forget a flow")
                .raw(&[family, 0, 0, 0])
                .nest(TUPLE_ORIGINAL, |m| m.raw(&tuple));
            // it may have ended by itself
            let _ = socket.run(&[request]);
        }
    }
    Ok(())
}
