//! `/networks`

use std::net::IpAddr;

use container_engine::{ContainerOptions, NetworkOptions, Subnet};
use hyper::{Response, StatusCode};
use serde_json::{Value, json};

use super::body::{empty, json as reply, ok, read_json};
use super::create::{Fields, endpoint};
use super::route::Call;
use super::{Fault, Reply, shape};

pub(super) async fn list(call: &Call) -> Result<Response<Reply>, Fault> {
    let filters = call.query.filters()?;
    let mut networks = call.server.call(|engine| async move { engine.networks().await }).await?;
    let mut by_key: std::collections::BTreeMap<&str, Vec<&str>> = std::collections::BTreeMap::new();
    for filter in &filters {
        let (key, value) = filter.split_once('=').unwrap_or((filter, ""));
        if !["name", "id", "driver", "label", "scope", "type", "dangling"].contains(&key) {
            return Err(Fault::bad(format!("invalid filter {key:?}")));
        }
        by_key.entry(key).or_default().push(value);
    }
    networks.retain(|network| {
        let shown = shape::network(network);
        let builtin = ["bridge", "host", "none"].contains(&network.name.as_str());
        by_key.iter().all(|(key, values)| {
            let label = |value: &&str| {
                let (key, wanted) =
                    value.split_once('=').map_or((*value, None), |(key, text)| (key, Some(text)));
                shown["Labels"].get(key).is_some_and(|found| wanted.is_none_or(|wanted| found == wanted))
            };
            if *key == "label" {
                return values.iter().all(label);
            }
            values.iter().any(|value| match *key {
                "name" => network.name.contains(value),
                "id" => network.id.starts_with(value),
                "driver" => network.driver.name() == *value,
                "scope" => *value == "local",
                "type" => (*value == "builtin") == builtin,
                "dangling" => {
                    (*value == "true" || *value == "1") == (network.containers.is_empty() && !builtin)
                }
                _ => false,
            })
        })
    });
    Ok(ok(&Value::Array(networks.iter().map(shape::network).collect())))
}

pub(super) async fn inspect(call: &Call, id: &str) -> Result<Response<Reply>, Fault> {
    let id = id.to_owned();
    let found = call.server.call(|engine| async move { engine.network(&id).await }).await?;
    Ok(ok(&shape::network(&found)))
}

pub(super) async fn create(call: Call) -> Result<Response<Reply>, Fault> {
    let Call { server, request, .. } = call;
    let mut fields = Fields::new("", read_json(request.into_body()).await?)?;
    let mut options = NetworkOptions {
        name: fields.text("Name")?.ok_or_else(|| Fault::bad("Name is missing"))?,
        internal: fields.flag("Internal")?,
        ipv6: fields.flag("EnableIPv6")?,
        labels: fields.map("Labels")?,
        ..NetworkOptions::default()
    };
    let driver = fields.text("Driver")?;
    if let Some(other) = driver.filter(|driver| !["bridge", "default"].contains(&driver.as_str())) {
        return Err(Fault::missing(format!("network driver {other:?} is not there: bridge is")));
    }
    for (key, value) in fields.map("Options")? {
        let wrong = || Fault::bad(format!("Options.{key}={value:?} is not known"));
        match key.as_str() {
            "com.docker.network.driver.mtu" => options.mtu = Some(value.parse().map_err(|_| wrong())?),
            _ => return Err(wrong()),
        }
    }
    if let Some(mut ipam) = fields.object("IPAM")? {
        let driver = ipam.text("Driver")?;
        if let Some(other) = driver.filter(|driver| driver != "default") {
            return Err(Fault::missing(format!("IPAM driver {other:?} is not there: default is")));
        }
        for mut config in ipam.objects("Config")? {
            let mut take = |name| -> Result<Option<String>, Fault> { config.text(name) };
            let (subnet, gateway, range) = (take("Subnet")?, take("Gateway")?, take("IPRange")?);
            config.finish()?;
            let wrong = |text: &str| Fault::bad(format!("IPAM.Config: {text:?} cannot be read"));
            options
                .subnets
                .extend(subnet.map(|text| text.parse::<Subnet>().map_err(|_| wrong(&text))).transpose()?);
            options
                .gateways
                .extend(gateway.map(|text| text.parse::<IpAddr>().map_err(|_| wrong(&text))).transpose()?);
            options
                .ip_ranges
                .extend(range.map(|text| text.parse::<Subnet>().map_err(|_| wrong(&text))).transpose()?);
        }
        ipam.finish()?;
    }
    // names are unique here in any case; every network is attachable by hand
    fields.pass(&["CheckDuplicate", "Attachable", "EnableIPv4", "Scope"]);
    fields.finish()?;
    let id = server.call(|engine| async move { engine.create_network(&options).await }).await?;
    Ok(reply(StatusCode::CREATED, &json!({ "Id": id, "Warning": "" })))
}

pub(super) async fn remove(call: &Call, id: &str) -> Result<Response<Reply>, Fault> {
    let id = id.to_owned();
    call.server.call(|engine| async move { engine.remove_network(&id).await }).await?;
    Ok(empty(StatusCode::NO_CONTENT))
}

pub(super) async fn connect(call: Call, id: &str) -> Result<Response<Reply>, Fault> {
    let Call { server, request, .. } = call;
    let mut fields = Fields::new("", read_json(request.into_body()).await?)?;
    let container = fields.text("Container")?.ok_or_else(|| Fault::bad("Container is missing"))?;
    let config = fields.object("EndpointConfig")?;
    fields.finish()?;
    let mut links = ContainerOptions::default();
    let options = match config {
        Some(config) => endpoint("EndpointConfig", config.into_value(), &mut links)?,
        None => container_engine::EndpointOptions::default(),
    };
    if let Some((other, _)) = links.links.first() {
        // on a network of one's own every container knows every other by its name anyway
        let other = other.clone();
        server.call(|engine| async move { engine.container(&other).await }).await?;
    }
    let id = id.to_owned();
    server.call(|engine| async move { engine.connect(&id, &container, &options).await }).await?;
    Ok(empty(StatusCode::OK))
}

pub(super) async fn disconnect(call: Call, id: &str) -> Result<Response<Reply>, Fault> {
    let Call { server, request, .. } = call;
    let mut fields = Fields::new("", read_json(request.into_body()).await?)?;
    let container = fields.text("Container")?.ok_or_else(|| Fault::bad("Container is missing"))?;
    // it is taken out of the network whatever it does
    fields.pass(&["Force"]);
    fields.finish()?;
    let id = id.to_owned();
    server.call(|engine| async move { engine.disconnect(&id, &container).await }).await?;
    Ok(empty(StatusCode::OK))
}

pub(super) async fn prune(call: &Call) -> Result<Response<Reply>, Fault> {
    if let Some(filter) = call.query.filters()?.first() {
        return Err(Fault::bad(format!("filter {filter:?} is not known when networks are pruned")));
    }
    let removed = call
        .server
        .call(|engine| async move {
            let mut removed = Vec::new();
            for network in engine.networks().await? {
                let stays = ["bridge", "host", "none"].contains(&network.name.as_str());
                if !stays && network.containers.is_empty() && engine.remove_network(&network.id).await.is_ok()
                {
                    removed.push(network.name);
                }
            }
            Ok(removed)
        })
        .await?;
    Ok(ok(&json!({ "NetworksDeleted": removed })))
}
