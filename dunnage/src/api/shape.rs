//! The engine's objects as the API writes them, where that is not what `inspect` shows.

use container_engine::{Container, Named, Network, Reference, Usage, parse_rfc3339, rfc3339};
use serde_json::{Map, Value, json};

use crate::command::inspect;
use crate::human;

/// A piece of output with its header: 1 is standard output, 2 standard error.
pub(super) fn frame(number: u8, bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes();
    [&[number, 0, 0, 0], length.as_slice(), bytes].concat()
}

/// Seconds since 1970 of an RFC 3339 time.
pub(super) fn seconds(time: &str) -> i64 {
    let since = parse_rfc3339(time).and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
    since.map_or(0, |since| since.as_secs().cast_signed())
}

/// A container in a list.
pub(super) fn container(found: &Container) -> Value {
    let whole = inspect::container(found);
    let mut ports = Vec::new();
    for port in
        found.networks.iter().filter_map(|network| network.status.as_ref()).flat_map(|status| &status.ports)
    {
        let address = port.host_ip.map_or_else(|| "0.0.0.0".to_owned(), |address| address.to_string());
        ports.push(json!({
            "IP": address, "PrivatePort": port.container_port, "PublicPort": port.host_port, "Type": port.protocol,
        }));
    }
    ports.dedup();
    json!({
        "Id": found.id,
        "Names": [format!("/{}", found.name)],
        "Image": found.image,
        "ImageID": found.image_id,
        "Command": found.command.join(" "),
        "Created": seconds(&found.created),
        "Ports": ports,
        "Labels": found.options.labels,
        "State": found.phase.name(),
        "Status": human::status(&found.phase),
        "HostConfig": { "NetworkMode": found.options.network.to_string() },
        "NetworkSettings": { "Networks": whole["NetworkSettings"]["Networks"] },
        "Mounts": whole["Mounts"],
    })
}

fn names(found: &Named) -> (Vec<String>, Vec<String>) {
    let tags = found.names.iter().filter(|name| name.tag().is_some()).map(Reference::familiar).collect();
    let digest = &found.image.descriptor.digest;
    let mut digests: Vec<String> =
        found.names.iter().map(|name| format!("{}@{digest}", name.familiar_repository())).collect();
    digests.dedup();
    (tags, digests)
}

/// An image in a list.
pub(super) fn image(found: &Named, containers: usize) -> Value {
    let (tags, digests) = names(found);
    json!({
        "Id": found.image.id,
        "ParentId": "",
        "RepoTags": tags,
        "RepoDigests": digests,
        "Created": found.image.config.created.as_deref().map_or(0, seconds),
        "Size": found.image.stored_size(),
        "SharedSize": -1,
        "VirtualSize": found.image.stored_size(),
        "Labels": found.image.config.config.labels,
        "Containers": containers,
    })
}

/// A network, in a list and alone.
pub(super) fn network(found: &Network) -> Value {
    let mut shown = inspect::network(found);
    // clients read texts here
    let options: Map<String, Value> = shown["Options"]
        .as_object()
        .into_iter()
        .flatten()
        // the name of a bridge is an option only where somebody gave it, which nobody can but for the first network
        .filter(|(key, value)| !value.is_null() && (found.name == "bridge" || !key.ends_with("bridge.name")))
        .map(|(key, value)| {
            (key.clone(), value.as_str().map_or_else(|| value.to_string(), str::to_owned).into())
        })
        .collect();
    shown["Options"] = Value::Object(options);
    let members: Map<String, Value> = found
        .containers
        .iter()
        .map(|member| {
            let of = |v4: bool| member.addresses.iter().find(|address| address.is_ipv4() == v4);
            let text =
                |address: Option<&std::net::IpAddr>| address.map(ToString::to_string).unwrap_or_default();
            let shown = json!({ "Name": member.name, "EndpointID": "", "MacAddress": "",
                "IPv4Address": text(of(true)), "IPv6Address": text(of(false)) });
            (member.id.clone(), shown)
        })
        .collect();
    shown["Containers"] = Value::Object(members);
    for name in ["EnableIPv6", "Attachable", "Ingress", "ConfigOnly"] {
        shown[name] = Value::Bool(false);
    }
    shown["EnableIPv4"] = Value::Bool(true);
    shown["IPAM"]["Options"] = json!({});
    shown
}

/// What a container uses, with what it used before.
pub(super) fn usage(container: &Container, before: Option<&Usage>, now: Option<&Usage>) -> Value {
    let zero = "0001-01-01T00:00:00Z";
    let cpu = |usage: Option<&Usage>| {
        let Some(usage) = usage else {
            return json!({ "cpu_usage": { "total_usage": 0, "usage_in_kernelmode": 0, "usage_in_usermode": 0 },
                "throttling_data": { "periods": 0, "throttled_periods": 0, "throttled_time": 0 } });
        };
        let stats = usage.stats.cpu.unwrap_or_default();
        let ns = |time: std::time::Duration| time.as_nanos() as u64;
        json!({
            "cpu_usage": { "total_usage": ns(stats.usage), "usage_in_kernelmode": ns(stats.system),
                "usage_in_usermode": ns(stats.user) },
            "system_cpu_usage": ns(usage.host_cpu),
            "online_cpus": usage.processors,
            "throttling_data": { "periods": stats.periods, "throttled_periods": stats.throttled_periods,
                "throttled_time": ns(stats.throttled) },
        })
    };
    let mut shown = json!({
        "id": container.id,
        "name": format!("/{}", container.name),
        "read": now.map_or_else(|| zero.to_owned(), |usage| rfc3339(usage.read)),
        "preread": before.map_or_else(|| zero.to_owned(), |usage| rfc3339(usage.read)),
        "num_procs": 0,
        "storage_stats": {},
        "cpu_stats": cpu(now),
        "precpu_stats": cpu(before),
        "memory_stats": {},
        "pids_stats": {},
        "blkio_stats": { "io_service_bytes_recursive": [] },
    });
    let Some(now) = now else { return shown };
    if let Some(memory) = &now.stats.memory {
        shown["memory_stats"] = json!({
            "usage": memory.usage.0, "limit": now.memory_limit(), "failcnt": memory.failures, "stats": memory.details,
        });
        if let Some(peak) = memory.peak {
            shown["memory_stats"]["max_usage"] = json!(peak.0);
        }
    }
    if let Some(pids) = now.stats.pids {
        shown["pids_stats"] = json!({ "current": pids.current, "limit": pids.limit });
    }
    let networks: Map<String, Value> = now
        .networks
        .iter()
        .map(|(name, traffic)| {
            let shown = json!({
                "rx_bytes": traffic.received, "rx_packets": traffic.received_packets, "rx_errors": 0,
                "rx_dropped": traffic.received_lost, "tx_bytes": traffic.sent, "tx_packets": traffic.sent_packets,
                "tx_errors": 0, "tx_dropped": traffic.sent_lost,
            });
            (name.clone(), shown)
        })
        .collect();
    if !networks.is_empty() {
        shown["networks"] = Value::Object(networks);
    }
    let mut io = Vec::new();
    for (device, stats) in &now.stats.io {
        for (kind, bytes) in [("read", stats.read.0), ("write", stats.written.0)] {
            io.push(json!({ "major": device.major, "minor": device.minor, "op": kind, "value": bytes }));
        }
    }
    shown["blkio_stats"]["io_service_bytes_recursive"] = Value::Array(io);
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_is_framed_as_clients_read_it() {
        assert_eq!(frame(2, b"ab"), [2, 0, 0, 0, 0, 0, 0, 2, b'a', b'b']);
        assert_eq!(seconds("1970-01-01T00:01:00Z"), 60);
        assert_eq!(seconds("nonsense"), 0);
    }
}
