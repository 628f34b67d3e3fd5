//! Ports that a service publishes.
use std::net::IpAddr;
use std::ops::RangeInclusive;

use super::scalar::Scalar;
use crate::diagnostic::Diagnostic;
use crate::error::Error;
use crate::shape::{Reader, Shape, record};
use crate::yaml::{Node, Value};

record! {
    /// A port of a service and where it is published.
    Port, "a port", {
        /// A name for people.
        "name" name: Option<String>,
        /// `ingress` or `host`.
        "mode" mode: Option<String>,
        /// The address of the host that it is published at; none means all.
        "host_ip" host_ip: Option<String>,
        /// The port in the container.
        "target" target: u16,
        /// The port or range `A-B` of the host; none means that the host chooses.
        "published" published: Option<Scalar>,
        /// `tcp`, `udp` or `sctp`.
        "protocol" protocol: Option<String>,
        /// What is spoken over it, as in `http`.
        "app_protocol" app_protocol: Option<String>,
    }
}

impl Shape for u16 {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let number = match &node.value {
            Value::Int(number) => Some(*number),
            Value::Text(text) => text.trim().parse().ok(),
            _ => None,
        };
        match number {
            Some(number @ 1..=65535) => Some(number as u16),
            _ => reader.mismatch(node, "a port from 1 to 65535"),
        }
    }
    fn write(&self) -> Option<Node> {
        Some(Node::int(i64::from(*self)))
    }
}

impl Port {
    /// A short form, `[[ADDRESS:]HOST:]CONTAINER[/PROTOCOL]`, ranges spread out to one port each.
    ///
    /// # Errors
    /// [`Error::Port`] says what is wrong.
    pub fn parse(text: &str) -> Result<Vec<Self>, Error> {
        let fault = |reason| Error::Port { text: text.chars().take(80).collect(), reason };
        let (body, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
        let protocol = protocol.to_ascii_lowercase();
        if !matches!(protocol.as_str(), "tcp" | "udp" | "sctp") {
            return Err(fault("the protocol is none of tcp, udp, sctp"));
        }
        let (head, target) =
            body.rsplit_once(':').map_or((None, body), |(head, target)| (Some(head), target));
        let (address, host) = match head {
            Some(head) => match head.rsplit_once(':') {
                Some((address, host)) => (Some(address), Some(host)),
                None => (None, Some(head)),
            },
            None => (None, None),
        };
        let address = address.filter(|address| !address.is_empty());
        let address = address.map(|address| {
            address.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')).unwrap_or(address)
        });
        if address.is_some_and(|address| address.parse::<IpAddr>().is_err()) {
            return Err(fault("what stands before the first colon is no IP address"));
        }
        let targets = range(target).map_err(fault)?;
        let hosts = host.filter(|host| !host.is_empty()).map(range).transpose().map_err(fault)?;
        let port = |target, published: Option<String>| Self {
            mode: Some("ingress".to_owned()),
            host_ip: address.map(str::to_owned),
            target,
            published: published.map(Scalar),
            protocol: Some(protocol.clone()),
            ..Self::default()
        };
        let Some(hosts) = hosts else {
            return Ok(targets.map(|target| port(target, None)).collect());
        };
        if targets.len() == 1 && hosts.len() > 1 {
            return Ok(vec![port(*targets.start(), Some(format!("{}-{}", hosts.start(), hosts.end())))]);
        }
        if targets.len() != hosts.len() {
            return Err(fault("the two ranges are not of the same length"));
        }
        Ok(targets.zip(hosts).map(|(target, host)| port(target, Some(host.to_string()))).collect())
    }

    fn identity(&self) -> (u16, &str, &str, &str) {
        (
            self.target,
            self.published.as_deref().unwrap_or(""),
            self.host_ip.as_deref().unwrap_or("0.0.0.0"),
            self.protocol.as_deref().unwrap_or("tcp"),
        )
    }
}

fn range(text: &str) -> Result<RangeInclusive<u16>, &'static str> {
    let port = |text: &str| match text.trim().parse::<u32>() {
        Ok(number @ 1..=65535) => Ok(number as u16),
        Ok(0) => Err("port 0 cannot be published"),
        Ok(_) => Err("the port is out of range; ports go up to 65535"),
        Err(_) if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) => {
            Err("the port is out of range; ports go up to 65535")
        }
        Err(_) => Err("a port is not a number"),
    };
    let (start, end) = match text.split_once('-') {
        Some((start, end)) => (port(start)?, port(end)?),
        None => (port(text)?, port(text)?),
    };
    if start > end { Err("the range ends before it begins") } else { Ok(start..=end) }
}

impl Shape for Vec<Port> {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let Value::List(items) = &node.value else {
            return if node.is_null() {
                Some(Vec::new())
            } else {
                reader.mismatch(node, "a list of ports, each behind `- `")
            };
        };
        let mut ports: Vec<Port> = Vec::new();
        let mut seen = std::collections::HashMap::new();
        for (at, item) in items.iter().enumerate() {
            let read = reader.item(at, |reader| read(item, reader)).unwrap_or_default();
            let Some(left) = reader.ports.checked_sub(read.len()) else {
                reader.item(at, |reader| {
                    reader.report(Diagnostic::error(item.span, "the project has more than 100000 ports"));
                });
                reader.ports = 0;
                break;
            };
            reader.ports = left;
            for port in read {
                let (target, published, address, protocol) = port.identity();
                let identity = (target, published.to_owned(), address.to_owned(), protocol.to_owned());
                if let Some(held) = seen.get(&identity).and_then(|at: &usize| ports.get_mut(*at)) {
                    *held = port;
                } else {
                    seen.insert(identity, ports.len());
                    ports.push(port);
                }
            }
        }
        Some(ports)
    }
    fn write(&self) -> Option<Node> {
        if self.is_empty() { None } else { Some(Node::list(self.iter().map(Port::write_record))) }
    }
}

fn read(item: &Node, reader: &mut Reader<'_>) -> Option<Vec<Port>> {
    let expected = "`[[ADDRESS:]HOST:]CONTAINER[/PROTOCOL]`";
    match &item.value {
        Value::Map(map) => {
            let mut port = Port::read_record(item, reader)?;
            if port.target == 0 {
                if !map.contains_key("target") {
                    reader.report(
                        Diagnostic::error(item.span, "the port has no `target`").expected("`target: PORT`"),
                    );
                }
                return None;
            }
            if let (Some(published), Some(member)) = (&port.published, map.get("published")) {
                if published.is_empty() {
                    port.published = None;
                } else if let Err(reason) = range(published) {
                    let error = Error::Port { text: published.chars().take(80).collect(), reason };
                    reader.under("published", |reader| {
                        reader.refuse::<()>(&member.node, &error, "a port from 1 to 65535 or a range `A-B`")
                    });
                }
            }
            port.mode.get_or_insert_with(|| "ingress".to_owned());
            port.protocol.get_or_insert_with(|| "tcp".to_owned());
            Some(vec![port])
        }
        Value::Int(number) => match Port::parse(&number.to_string()) {
            Ok(ports) => Some(ports),
            Err(error) => reader.refuse(item, &error, expected),
        },
        Value::Text(text) => {
            if reader.sources.slice(item.span) == Some(text) && sexagesimal(text) {
                let finding = Diagnostic::hint(
                    item.span,
                    format!("without quotes, readers of YAML 1.1 may take `{text}` for a number in base 60"),
                );
                reader.report(finding.suggest(format!("write it in quotes: \"{text}\"")));
            }
            match Port::parse(text) {
                Ok(ports) => Some(ports),
                Err(error) => reader.refuse(item, &error, expected),
            }
        }
        _ => reader.mismatch(item, expected),
    }
}

/// Digits, colon, digits: what YAML 1.1 reads in base 60 when the last number is below 60.
fn sexagesimal(text: &str) -> bool {
    let mut parts = text.split(':');
    text.contains(':') && parts.all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()))
}
