use std::net::IpAddr;

use container_net::{Protocol, PublishedPort};

use crate::Error;

/// Reads what Docker's `-p` takes: `[ADDRESS:][HOST]:CONTAINER[/PROTOCOL]`, each port a number or a range of the
/// same length, an IPv6 address in brackets. Without a host's port a free one is chosen.
///
/// ```
/// let ports = container_engine::parse_published("127.0.0.1:8080-8081:80-81/udp")?;
/// assert_eq!(ports.len(), 2);
/// assert_eq!((ports[1].host_port, ports[1].container_port), (8081, 81));
/// # Ok::<(), container_engine::Error>(())
/// ```
pub fn parse_published(text: &str) -> Result<Vec<PublishedPort>, Error> {
    let refuse = |reason: &str| Error::setting("published port", text, reason);
    let (rest, protocol) = match text.split_once('/') {
        Some((rest, protocol)) => (
            rest,
            protocol.parse::<Protocol>().map_err(|_| refuse("the protocol is none of tcp, udp, sctp"))?,
        ),
        None => (text, Protocol::Tcp),
    };
    let (rest, container) = match rest.rsplit_once(':') {
        Some((rest, container)) => (Some(rest), container),
        None => (None, rest),
    };
    let (address, host) = match rest {
        None => (None, ""),
        Some(rest) => match rest.rsplit_once(':') {
            Some((address, host)) => (Some(address), host),
            None if rest.contains('.') => (Some(rest), ""),
            None => (None, rest),
        },
    };
    let host_ip = match address {
        None | Some("") => None,
        Some(address) => {
            let bare =
                address.strip_prefix('[').and_then(|address| address.strip_suffix(']')).unwrap_or(address);
            Some(bare.parse::<IpAddr>().map_err(|_| refuse("what comes before the ports is no address"))?)
        }
    };
    let range = |text: &str| -> Result<(u16, u16), Error> {
        let number = |text: &str| {
            text.parse::<u16>()
                .ok()
                .filter(|&port| port > 0 && text.bytes().all(|b| b.is_ascii_digit()))
                .ok_or_else(|| refuse("a port is a number between 1 and 65535"))
        };
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let (first, last) = (number(first)?, number(last)?);
        if first > last { Err(refuse("a range goes upwards")) } else { Ok((first, last)) }
    };
    let (first, last) = range(container)?;
    let host = match host {
        "" | "0" => None,
        host => Some(range(host)?),
    };
    if host.is_some_and(|(from, to)| to - from != last - first) {
        return Err(refuse("the ranges are not of the same length"));
    }
    Ok((first..=last)
        .map(|container_port| PublishedPort {
            host_ip,
            host_port: host.map_or(0, |(from, _)| from + (container_port - first)),
            container_port,
            protocol,
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_docker_is_read() {
        let one = |text: &str| {
            let ports = parse_published(text).unwrap();
            assert_eq!(ports.len(), 1, "{text}");
            let port = &ports[0];
            (port.host_ip.map(|ip| ip.to_string()), port.host_port, port.container_port, port.protocol)
        };
        assert_eq!(one("80"), (None, 0, 80, Protocol::Tcp));
        assert_eq!(one("8080:80"), (None, 8080, 80, Protocol::Tcp));
        assert_eq!(one("127.0.0.1::80"), (Some("127.0.0.1".to_owned()), 0, 80, Protocol::Tcp));
        assert_eq!(one("127.0.0.1:53:53/udp"), (Some("127.0.0.1".to_owned()), 53, 53, Protocol::Udp));
        assert_eq!(one("[::1]:8080:80"), (Some("::1".to_owned()), 8080, 80, Protocol::Tcp));
    }

    #[test]
    fn bad_ports_are_refused_with_the_reason() {
        for (text, reason) in [
            ("", "between 1 and"),
            ("0:0", "between 1 and"),
            ("70000:80", "between 1 and"),
            ("80:-1", "between 1 and"),
            ("90-80:1", "upwards"),
            ("80-82:80-81", "same length"),
            ("80:80/icmp", "protocol"),
            ("host:80:80", "no address"),
            ("80:80:80:80", "no address"),
        ] {
            let message = parse_published(text).unwrap_err().to_string();
            assert!(message.contains(reason), "{text:?}: {message}");
        }
    }
}
