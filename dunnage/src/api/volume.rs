//! `/volumes`

use hyper::{Response, StatusCode};
use serde_json::{Value, json};

use super::body::{empty, json as reply, ok, read_json};
use super::create::Fields;
use super::route::Call;
use super::{Fault, Reply};
use crate::command::volume::shown;

pub(super) async fn list(call: &Call) -> Result<Response<Reply>, Fault> {
    let filters = call.query.filters()?;
    let (mut volumes, containers) = call
        .server
        .call(|engine| async move { Ok((engine.volumes().await?, engine.containers().await?)) })
        .await?;
    let used = |name: &str| {
        containers.iter().flat_map(|container| &container.options.mounts).any(|spec| {
            matches!(&spec.mount, container_engine::Mount::Volume { name: Some(own), .. } if own == name)
        })
    };
    for filter in &filters {
        let (key, value) = filter.split_once('=').unwrap_or((filter, ""));
        match key {
            "name" => volumes.retain(|volume| volume.name.contains(value)),
            "driver" => volumes.retain(|_| value == "local"),
            "dangling" => volumes.retain(|volume| used(&volume.name) != (value == "true" || value == "1")),
            "label" => {
                let (key, wanted) =
                    value.split_once('=').map_or((value, None), |(key, text)| (key, Some(text)));
                volumes.retain(|volume| {
                    volume.labels.get(key).is_some_and(|found| wanted.is_none_or(|wanted| found == wanted))
                });
            }
            _ => return Err(Fault::bad(format!("invalid filter {key:?}"))),
        }
    }
    Ok(ok(&json!({ "Volumes": volumes.iter().map(shown).collect::<Vec<Value>>(), "Warnings": [] })))
}

pub(super) async fn inspect(call: &Call, name: &str) -> Result<Response<Reply>, Fault> {
    let name = name.to_owned();
    let found = call.server.call(|engine| async move { engine.volume(&name).await }).await?;
    Ok(ok(&shown(&found)))
}

pub(super) async fn create(call: Call) -> Result<Response<Reply>, Fault> {
    let Call { server, request, .. } = call;
    let mut fields = Fields::new("", read_json(request.into_body()).await?)?;
    let name = fields.text("Name")?;
    let driver = fields.text("Driver")?;
    if let Some(other) = driver.filter(|driver| driver != "local") {
        return Err(Fault::missing(format!("volume driver {other:?} is not there: local is")));
    }
    let (options, labels) = (fields.map("DriverOpts")?, fields.map("Labels")?);
    fields.finish()?;
    let made = server
        .call(|engine| async move { engine.create_volume(name.as_deref(), labels, options).await })
        .await?;
    Ok(reply(StatusCode::CREATED, &shown(&made)))
}

pub(super) async fn remove(call: &Call, name: &str) -> Result<Response<Reply>, Fault> {
    let force = call.query.flag("force", false)?;
    let name = name.to_owned();
    let removed = call.server.call(|engine| async move { engine.remove_volume(&name).await }).await;
    match removed {
        // what is gone already is removed by force
        Err(fault) if force && fault.status == StatusCode::NOT_FOUND => {}
        other => other?,
    }
    Ok(empty(StatusCode::NO_CONTENT))
}

pub(super) async fn prune(call: &Call) -> Result<Response<Reply>, Fault> {
    let mut all = false;
    for filter in call.query.filters()? {
        match filter.as_str() {
            "all=true" | "all=1" => all = true,
            "all=false" | "all=0" => all = false,
            _ => return Err(Fault::bad(format!("filter {filter:?} is not known when volumes are pruned"))),
        }
    }
    let (names, bytes) =
        call.server.call(move |engine| async move { engine.prune_volumes(all).await }).await?;
    Ok(ok(&json!({ "VolumesDeleted": names, "SpaceReclaimed": bytes })))
}
