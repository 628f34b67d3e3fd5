//! Network devices of the host that are moved into the container (`config-linux.md`, "Network Devices"), by route netlink
//! (`rtnetlink(7)`).

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::Duration;

use oci_spec::runtime::{LinuxNamespaceType, Spec};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, netlink, recv, send, socket_with,
    sockopt,
};

use crate::Error;

const NEW_LINK: u16 = 16;
const GET_LINK: u16 = 18;
const SET_LINK: u16 = 19;
const NEW_ADDRESS: u16 = 20;
const GET_ADDRESS: u16 = 22;

/// `NLM_F_REQUEST | NLM_F_ACK`
const ACKNOWLEDGED: u16 = 1 | 4;
/// `NLM_F_REQUEST | NLM_F_DUMP`
const DUMP: u16 = 1 | 0x300;
/// `NLM_F_CREATE | NLM_F_EXCL`
const CREATE: u16 = 0x400 | 0x200;

/// A device and the name it gets.
#[derive(Debug, PartialEq, Eq)]
struct Move<'a> {
    from: &'a str,
    to: &'a str,
}

/// What the configuration wants moved, in a fixed order; checked, so that nothing is moved for nothing.
fn moves(spec: &Spec) -> Result<Vec<Move<'_>>, Error> {
    let wrong = |name: &str, value: &str, reason| Error::Config {
        pointer: format!("/linux/netDevices/{name}"),
        value: value.to_owned(),
        reason,
    };
    let linux = spec.linux().as_ref();
    let devices = linux.and_then(|linux| linux.net_devices().as_ref());
    let mut moves: Vec<Move<'_>> = Vec::new();
    for (from, device) in devices.into_iter().flatten() {
        let to = device.name().as_deref().filter(|name| !name.is_empty()).unwrap_or(from);
        for name in [from, to] {
            let possible = (1..16).contains(&name.len())
                && ![".", ".."].contains(&name)
                && name.bytes().all(|byte| byte.is_ascii_graphic() && !b"/:%".contains(&byte));
            if !possible {
                return Err(wrong(from, name, "is no name of a network device"));
            }
        }
        if moves.iter().any(|other| other.to == to) {
            return Err(wrong(from, to, "two devices would have this name"));
        }
        moves.push(Move { from, to });
    }
    moves.sort_by_key(|one| one.from);
    let namespaces = linux.and_then(|linux| linux.namespaces().as_ref());
    let own = namespaces.into_iter().flatten().any(|one| one.typ() == LinuxNamespaceType::Network);
    if let Some(first) = moves.first()
        && !own
    {
        return Err(wrong(first.from, "", "needs a network namespace that is not the host's"));
    }
    Ok(moves)
}

/// Checks; gives whether there are any.
pub(crate) fn wanted(spec: &Spec) -> Result<bool, Error> {
    moves(spec).map(|moves| !moves.is_empty())
}

/// Moves all devices into a namespace: each keeps its hardware address, size and lasting global addresses, and is up in the end.
pub(crate) fn move_in(spec: &Spec, namespace: BorrowedFd<'_>) -> Result<(), Error> {
    for Move { from, to } in moves(spec)? {
        let failed = |operation| move |source| Error::NetDevice { name: from.to_owned(), operation, source };
        let mut host = Socket::open().map_err(failed("look for"))?;
        let index = host.index(from).map_err(failed("look for"))?;
        let addresses = host.addresses(index).map_err(failed("read the addresses of"))?;
        host.hand_over(index, namespace, to).map_err(failed("move"))?;
        // a thread of its own, which takes its place in the namespace along when it ends
        let inside = std::thread::scope(|scope| {
            scope
                .spawn(|| settle(namespace, to, &addresses))
                .join()
                .unwrap_or_else(|_| Err(io::ErrorKind::Other.into()))
        });
        inside.map_err(failed("set up"))?;
    }
    Ok(())
}

fn settle(namespace: BorrowedFd<'_>, name: &str, addresses: &[Address]) -> io::Result<()> {
    let network = Some(rustix::thread::LinkNameSpaceType::Network);
    rustix::thread::move_into_link_name_space(namespace, network)?;
    let mut socket = Socket::open()?;
    let index = socket.index(name)?;
    for address in addresses {
        socket.add(index, address)?;
    }
    socket.up(index)
}

/// `struct ifaddrmsg` without the index, and the attributes that make the address.
#[derive(Debug)]
struct Address {
    family: u8,
    prefix: u8,
    attributes: Vec<(u16, Vec<u8>)>,
}

struct Socket {
    fd: OwnedFd,
    sequence: u32,
}

impl Socket {
    fn open() -> io::Result<Self> {
        let (family, kind) = (AddressFamily::NETLINK, SocketType::RAW);
        // protocol 0 is NETLINK_ROUTE
        let fd = socket_with(family, kind, SocketFlags::CLOEXEC, None)?;
        sockopt::set_socket_timeout(&fd, sockopt::Timeout::Recv, Some(Duration::from_secs(5)))?;
        bind(&fd, &netlink::SocketAddrNetlink::new(0, 0))?;
        Ok(Self { fd, sequence: 0 })
    }

    /// Sends a request and gives the messages that answer it.
    fn ask(&mut self, kind: u16, flags: u16, body: &[u8]) -> io::Result<Vec<(u16, Vec<u8>)>> {
        self.sequence += 1;
        let mut message = Vec::with_capacity(16 + body.len());
        message.extend_from_slice(&(16 + body.len() as u32).to_ne_bytes());
        message.extend_from_slice(&kind.to_ne_bytes());
        message.extend_from_slice(&flags.to_ne_bytes());
        message.extend_from_slice(&self.sequence.to_ne_bytes());
        message.extend_from_slice(&[0; 4]);
        message.extend_from_slice(body);
        send(&self.fd, &message, SendFlags::empty())?;
        let mut answers = Vec::new();
        let mut buffer = vec![0u8; 64 << 10];
        loop {
            let (length, _) = recv(&self.fd, buffer.as_mut_slice(), RecvFlags::empty())?;
            let mut rest = buffer.get(..length).unwrap_or_default();
            while let Some(size) = word(rest, 0).map(|size| size as usize).filter(|&size| size >= 16) {
                let Some(body) = rest.get(16..size) else { break };
                let kind = rest.get(4..6).map_or(0, |two| u16::from_ne_bytes([two[0], two[1]]));
                if word(rest, 8) == Some(self.sequence) {
                    match kind {
                        // NLMSG_ERROR, with 0 for well done; NLMSG_DONE
                        2 => {
                            return match word(body, 0).unwrap_or(0).cast_signed() {
                                0 => Ok(answers),
                                errno => Err(io::Error::from_raw_os_error(-errno)),
                            };
                        }
                        3 => return Ok(answers),
                        kind => answers.push((kind, body.to_vec())),
                    }
                }
                rest = rest.get(size.next_multiple_of(4)..).unwrap_or_default();
            }
        }
    }

    fn index(&mut self, name: &str) -> io::Result<u32> {
        let mut body = link(0, 0);
        attribute(&mut body, 3, &[name.as_bytes(), b"\0"].concat()); // IFLA_IFNAME
        let answers = self.ask(GET_LINK, ACKNOWLEDGED, &body)?;
        let found = answers.iter().find(|(kind, _)| *kind == NEW_LINK).and_then(|(_, body)| word(body, 4));
        found.ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Global addresses that no timer takes away.
    fn addresses(&mut self, index: u32) -> io::Result<Vec<Address>> {
        let answers = self.ask(GET_ADDRESS, DUMP, &[0; 8])?;
        let mut addresses = Vec::new();
        for (_, body) in
            answers.iter().filter(|(kind, body)| *kind == NEW_ADDRESS && word(body, 4) == Some(index))
        {
            // IFA_F_PERMANENT, RT_SCOPE_UNIVERSE
            let [family, prefix, flags, scope] =
                *body.get(..4).and_then(|four| four.first_chunk()).unwrap_or(&[0; 4]);
            if flags & 0x80 == 0 || scope != 0 {
                continue;
            }
            // IFA_ADDRESS, IFA_LOCAL, IFA_BROADCAST
            let attributes = attributes(body.get(8..).unwrap_or_default());
            let attributes = attributes.into_iter().filter(|(kind, _)| [1, 2, 4].contains(kind)).collect();
            addresses.push(Address { family, prefix, attributes });
        }
        Ok(addresses)
    }

    fn hand_over(&mut self, index: u32, namespace: BorrowedFd<'_>, name: &str) -> io::Result<()> {
        use std::os::fd::AsRawFd as _;
        let mut body = link(index, 0);
        attribute(&mut body, 28, &namespace.as_raw_fd().to_ne_bytes()); // IFLA_NET_NS_FD
        attribute(&mut body, 3, &[name.as_bytes(), b"\0"].concat());
        self.ask(SET_LINK, ACKNOWLEDGED, &body).map(drop)
    }

    fn add(&mut self, index: u32, address: &Address) -> io::Result<()> {
        let mut body = vec![address.family, address.prefix, 0x80, 0];
        body.extend_from_slice(&index.to_ne_bytes());
        for (kind, value) in &address.attributes {
            attribute(&mut body, *kind, value);
        }
        self.ask(NEW_ADDRESS, ACKNOWLEDGED | CREATE, &body).map(drop)
    }

    fn up(&mut self, index: u32) -> io::Result<()> {
        self.ask(SET_LINK, ACKNOWLEDGED, &link(index, 1)).map(drop)
    }
}

/// `struct ifinfomsg`; `flags` are those to set.
fn link(index: u32, flags: u32) -> Vec<u8> {
    [[0; 4], index.to_ne_bytes(), flags.to_ne_bytes(), flags.to_ne_bytes()].concat()
}

fn attribute(body: &mut Vec<u8>, kind: u16, value: &[u8]) {
    body.extend_from_slice(&(value.len() as u16 + 4).to_ne_bytes());
    body.extend_from_slice(&kind.to_ne_bytes());
    body.extend_from_slice(value);
    body.resize(body.len().next_multiple_of(4), 0);
}

fn attributes(mut rest: &[u8]) -> Vec<(u16, Vec<u8>)> {
    let mut found = Vec::new();
    while let Some(&[a, b, c, d]) = rest.first_chunk() {
        let length = usize::from(u16::from_ne_bytes([a, b]));
        let Some(value) = rest.get(4..length) else { break };
        found.push((u16::from_ne_bytes([c, d]), value.to_vec()));
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    found
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|four| u32::from_ne_bytes(*four))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(devices: &serde_json::Value, network: bool) -> Spec {
        let kinds = if network { serde_json::json!([{"type": "network"}]) } else { serde_json::json!([]) };
        let linux = serde_json::json!({"netDevices": devices, "namespaces": kinds});
        serde_json::from_value(serde_json::json!({"ociVersion": "1.3.0", "linux": linux}))
            .expect("a configuration")
    }

    #[test]
    fn devices_are_checked_before_any_is_moved() {
        let good = spec(&serde_json::json!({"b": {"name": "eth1"}, "a": {}}), true);
        let found = moves(&good).expect("moves");
        assert_eq!(found, [Move { from: "a", to: "a" }, Move { from: "b", to: "eth1" }]);
        for (devices, network, said) in [
            (serde_json::json!({"a": {}}), false, "needs a network namespace"),
            (serde_json::json!({"a": {"name": "x/y"}}), true, "is no name"),
            (serde_json::json!({"a": {"name": "a234567890123456"}}), true, "is no name"),
            (serde_json::json!({"a": {"name": "x"}, "b": {"name": "x"}}), true, "two devices"),
        ] {
            let error = wanted(&spec(&devices, network)).expect_err("refused").to_string();
            assert!(error.contains(said), "{error}");
        }
    }

    #[test]
    fn attributes_that_are_cut_off_are_no_attributes() {
        let mut body = Vec::new();
        attribute(&mut body, 3, b"lo\0");
        assert_eq!(attributes(&body), [(3, b"lo\0".to_vec())]);
        assert!(attributes(&[200, 0, 3, 0, 1]).is_empty() && attributes(&[1, 0, 3, 0]).is_empty());
    }
}
