//! `/version`, `/info`, `/events`, `/auth`, `/system/df`

use container_engine::{Event, KindUsage, parse_rfc3339};
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};
use serde_json::{Value, json};

use super::body::{Reply, ok, read_json, stream};
use super::create::Fields;
use super::route::Call;
use super::{Fault, OLDEST, VERSION, shape};
use crate::command::events::fits;
use crate::command::logs::time;
use crate::command::system::object;

pub(super) fn ping() -> Response<Reply> {
    let mut response = Response::new(Reply::Whole(Some("OK".into())));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, no-store, must-revalidate"));
    headers.insert("Swarm", HeaderValue::from_static("inactive"));
    headers.insert("Builder-Version", HeaderValue::from_static("1"));
    response
}

pub(super) async fn version(call: &Call) -> Result<Response<Reply>, Fault> {
    let found = call.server.call(|engine| async move { engine.information().await }).await?;
    let version = env!("CARGO_PKG_VERSION");
    Ok(ok(&json!({
        "Platform": { "Name": "dunnage" },
        "Version": version,
        "ApiVersion": VERSION,
        "MinAPIVersion": OLDEST,
        "Os": "linux",
        "Arch": found.architecture,
        "KernelVersion": found.kernel,
        "GitCommit": "",
        "GoVersion": "",
        "Components": [{ "Name": "Engine", "Version": version, "Details": {
            "ApiVersion": VERSION, "MinAPIVersion": OLDEST, "Os": "linux", "Arch": found.architecture,
            "KernelVersion": found.kernel, "Experimental": "false",
        } }],
    })))
}

pub(super) async fn info(call: &Call) -> Result<Response<Reply>, Fault> {
    let found = call.server.call(|engine| async move { engine.information().await }).await?;
    let mut shown = object(&found);
    let more = json!({
        "ID": found.hostname,
        "Swarm": { "LocalNodeState": "inactive", "NodeID": "", "ControlAvailable": false, "Error": "", "RemoteManagers": null },
        "Plugins": { "Volume": ["local"], "Network": ["bridge", "host", "null"], "Authorization": null, "Log": ["json-file", "none"] },
        "Runtimes": { "dunnage-oci": { "path": "dunnage-oci" } },
        "DriverStatus": [], "SystemStatus": null, "SecurityOptions": ["name=seccomp,profile=builtin", "name=cgroupns"],
        "MemoryLimit": true, "SwapLimit": true, "CpuCfsPeriod": true, "CpuCfsQuota": true, "CPUShares": true, "CPUSet": true,
        "PidsLimit": true, "IPv4Forwarding": true, "OomKillDisable": false, "Debug": false, "ExperimentalBuild": false,
        "NFd": 0, "NGoroutines": 0, "NEventsListener": 0, "LiveRestoreEnabled": true, "IndexServerAddress": "https://index.docker.io/v1/",
        "RegistryConfig": { "InsecureRegistryCIDRs": ["127.0.0.0/8"], "IndexConfigs": {}, "Mirrors": [] },
        "OperatingSystem": "Linux", "OSVersion": "", "SystemTime": container_engine::now(), "Labels": [],
        "InitBinary": "", "HttpProxy": "", "HttpsProxy": "", "NoProxy": "", "Warnings": null,
    });
    if let (Value::Object(shown), Value::Object(more)) = (&mut shown, more) {
        shown.extend(more);
    }
    Ok(ok(&shown))
}

/// Checks a name and password by asking the registry.
pub(super) async fn auth(call: Call) -> Result<Response<Reply>, Fault> {
    let mut fields = Fields::new("", read_json(call.request.into_body()).await?)?;
    let (user, password) = (fields.text("username")?, fields.text("password")?);
    let server = fields.text("serveraddress")?.unwrap_or_else(|| "docker.io".to_owned());
    fields.pass(&["email", "auth"]);
    fields.finish()?;
    let (Some(user), Some(password)) = (user, password) else {
        return Err(Fault::bad("a name and a password are needed"));
    };
    let checked =
        tokio::task::spawn_blocking(move || crate::command::login::check(&server, user, password)).await;
    checked
        .map_err(|_| Fault::internal("the login was given up"))?
        .map_err(|failure| Fault::new(StatusCode::UNAUTHORIZED, failure.message()))?;
    Ok(ok(&json!({ "Status": "Login Succeeded", "IdentityToken": "" })))
}

/// An event with what every version of clients looks for.
fn shown(event: &Event) -> Value {
    let moment = parse_rfc3339(&event.time).and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
    let moment = moment.unwrap_or_default();
    let container = event.kind == "container";
    json!({
        "Type": event.kind,
        "Action": event.action,
        "Actor": { "ID": event.id, "Attributes": event.attributes },
        "scope": "local",
        "time": moment.as_secs(),
        "timeNano": moment.as_nanos() as u64,
        "status": if container { event.action.as_str() } else { "" },
        "id": if container { event.id.as_str() } else { "" },
        "from": event.attributes.get("image"),
    })
}

pub(super) async fn events(call: &Call) -> Result<Response<Reply>, Fault> {
    let filters = call.query.filters()?;
    let when = |name| call.query.text(name).map(time).transpose();
    let (since, until) = (when("since")?, when("until")?);
    let mut events = call.server.engine.events().await?;
    let now = std::time::SystemTime::now();
    let (sender, response) = stream("application/json");
    tokio::task::spawn_local(async move {
        loop {
            let left =
                until.map(|until| until.duration_since(std::time::SystemTime::now()).unwrap_or_default());
            let over = async {
                match left {
                    Some(left) => tokio::time::sleep(left).await,
                    None => std::future::pending().await,
                }
            };
            let event = match events.try_next() {
                Ok(Some(event)) => event,
                Ok(None) => tokio::select! {
                    event = events.next() => match event { Ok(event) => event, Err(_) => return },
                    () = over => return,
                    () = sender.closed() => return,
                },
                Err(_) => return,
            };
            let Some(moment) = parse_rfc3339(&event.time) else { continue };
            if since.map_or(until.is_none() && moment < now, |since| moment < since) {
                continue;
            }
            if until.is_some_and(|until| moment >= until) {
                return;
            }
            if fits(&event, &filters) && sender.send(format!("{}\n", shown(&event)).into()).await.is_err() {
                return;
            }
        }
    });
    Ok(response)
}

pub(super) async fn usage(call: &Call) -> Result<Response<Reply>, Fault> {
    let (usage, images, containers, volumes) = call
        .server
        .call(|engine| async move {
            let usage = engine.disk_usage().await?;
            Ok((usage, engine.images().await?, engine.containers().await?, engine.volumes().await?))
        })
        .await?;
    let images: Vec<Value> = images
        .iter()
        .map(|image| {
            let id = image.image.id.to_string();
            shape::image(image, containers.iter().filter(|container| container.image_id == id).count())
        })
        .collect();
    let volumes: Vec<Value> = volumes
        .iter()
        .map(|volume| {
            let mut shown = crate::command::volume::shown(volume);
            shown["UsageData"] = json!({ "Size": -1, "RefCount": -1 });
            shown
        })
        .collect();
    let kind = |usage: &KindUsage| {
        json!({ "TotalCount": usage.count, "ActiveCount": usage.active,
        "TotalSize": usage.bytes, "Reclaimable": usage.reclaimable })
    };
    Ok(ok(&json!({
        "LayersSize": usage.images.bytes,
        "Images": images,
        "Containers": containers.iter().map(shape::container).collect::<Vec<_>>(),
        "Volumes": volumes,
        "BuildCache": [],
        "ImageUsage": kind(&usage.images), "ContainerUsage": kind(&usage.containers), "VolumeUsage": kind(&usage.volumes),
    })))
}
