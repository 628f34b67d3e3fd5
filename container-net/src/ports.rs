//! Reservation of host ports: a bound socket, so that a taken port is an error here and nobody takes ours later.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::OwnedFd,
};

use rustix::{
    io::Errno,
    net::{self, AddressFamily, Shutdown, SocketFlags, SocketType, sockopt},
};

use crate::{Error, Protocol, PublishedPort, Result};

/// Reserves what is published for a container of these addresses. The ports come back one for each host address,
/// chosen numbers filled in.
pub(crate) fn reserve(
    ports: &[PublishedPort],
    addresses: &[IpAddr],
) -> Result<(Vec<PublishedPort>, Vec<OwnedFd>)> {
    let (mut published, mut sockets) = (Vec::new(), Vec::new());
    for port in ports {
        let hosts: Vec<IpAddr> = match port.host_ip {
            Some(host) => addresses.iter().filter(|a| a.is_ipv4() == host.is_ipv4()).map(|_| host).collect(),
            None => addresses.iter().map(|a| everywhere(*a)).collect(),
        };
        if hosts.is_empty() {
            return Err(Error::PortUnusable {
                address: port.host_ip.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
                port: port.host_port,
                protocol: port.protocol,
                source: std::io::Error::other("the container has no address of this family"),
            });
        }
        let (chosen, held) = reserve_everywhere(port, &hosts)?;
        published.extend(hosts.iter().map(|host| PublishedPort {
            host_ip: Some(*host),
            host_port: chosen,
            ..port.clone()
        }));
        sockets.extend(held);
    }
    Ok((published, sockets))
}

fn everywhere(family: IpAddr) -> IpAddr {
    match family {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    }
}

/// The same number at every address; if it is ours to choose, several are tried.
fn reserve_everywhere(port: &PublishedPort, hosts: &[IpAddr]) -> Result<(u16, Vec<OwnedFd>)> {
    let mut attempts = 0;
    loop {
        attempts += 1;
        let mut number = port.host_port;
        let mut sockets = Vec::new();
        let mut failed = None;
        for host in hosts {
            match reserve_one(*host, number, port.protocol) {
                Ok(None) => {}
                Ok(Some((socket, chosen))) => {
                    number = chosen;
                    sockets.push(socket);
                }
                Err(error) => {
                    failed = Some(error);
                    break;
                }
            }
        }
        match failed {
            None if number != 0 => return Ok((number, sockets)),
            Some(Error::PortTaken { .. }) if port.host_port == 0 && attempts < 16 => {}
            Some(error) => return Err(error),
            None => {
                return Err(Error::PortUnusable {
                    address: hosts.first().copied().unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
                    port: 0,
                    protocol: port.protocol,
                    source: std::io::Error::other("the kernel cannot choose a port of this protocol"),
                });
            }
        }
    }
}

/// A bound socket and its port; none if this kernel has no such protocol, when nobody else can have the port either.
fn reserve_one(address: IpAddr, port: u16, protocol: Protocol) -> Result<Option<(OwnedFd, u16)>> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let (kind, number) = match protocol {
        Protocol::Tcp => (SocketType::STREAM, net::ipproto::TCP),
        Protocol::Udp => (SocketType::DGRAM, net::ipproto::UDP),
        Protocol::Sctp => (SocketType::STREAM, net::ipproto::SCTP),
    };
    let unusable = |e: Errno| match e {
        Errno::ADDRINUSE => Error::PortTaken { address, port, protocol },
        Errno::ACCESS => Error::Right {
            operation: format!("reserve port {port}/{protocol} on {address}"),
            right: "CAP_NET_BIND_SERVICE",
        },
        e => Error::PortUnusable { address, port, protocol, source: e.into() },
    };
    let socket = match net::socket_with(family, kind, SocketFlags::CLOEXEC, Some(number)) {
        Err(Errno::PROTONOSUPPORT | Errno::SOCKTNOSUPPORT | Errno::AFNOSUPPORT)
            if protocol == Protocol::Sctp =>
        {
            return Ok(None);
        }
        other => other.map_err(unusable)?,
    };
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, true).map_err(unusable)?;
    }
    if protocol == Protocol::Tcp && port != 0 {
        // Connections in TIME_WAIT do not stand in the way of a socket with SO_REUSEADDR; listening makes the kernel
        // check for other sockets again. After that neither is wanted: strays are to be refused, others kept out.
        sockopt::set_socket_reuseaddr(&socket, true).map_err(unusable)?;
        net::bind(&socket, &SocketAddr::new(address, port)).map_err(unusable)?;
        net::listen(&socket, 0).map_err(unusable)?;
        net::shutdown(&socket, Shutdown::Both).map_err(unusable)?;
        sockopt::set_socket_reuseaddr(&socket, false).map_err(unusable)?;
    } else {
        net::bind(&socket, &SocketAddr::new(address, port)).map_err(unusable)?;
        let _ = sockopt::set_socket_recv_buffer_size(&socket, 0);
    }
    let bound = net::getsockname(&socket).map_err(unusable)?;
    let port = SocketAddr::try_from(bound).map_err(unusable)?.port();
    Ok(Some((socket, port)))
}
