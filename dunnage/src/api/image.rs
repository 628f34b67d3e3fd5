//! `/images`, `/commit`

use std::collections::BTreeMap;
use std::sync::Mutex;

use container_engine::{
    CommitOptions, ContainerConfig, Digest, Import, Named, Platform, Progress, Pull, Reference, now,
};
use hyper::{Response, StatusCode};
use serde_json::{Value, json};

use super::auth::registry;
use super::body::{Download, json as reply, ok, read_json, stream, upload};
use super::create::Fields;
use super::lines::Lines;
use super::route::Call;
use super::{Fault, Reply, shape};
use crate::command::import::change;
use crate::command::inspect;

pub(super) async fn list(call: &Call) -> Result<Response<Reply>, Fault> {
    let filters = call.query.filters()?;
    let (mut images, containers) = call
        .server
        .call(|engine| async move { Ok((engine.images().await?, engine.containers().await?)) })
        .await?;
    for filter in &filters {
        let (key, value) = filter.split_once('=').unwrap_or((filter, ""));
        match key {
            "dangling" => images.retain(|image| image.names.is_empty() == (value == "true" || value == "1")),
            "reference" => images.retain(|image| {
                image.names.iter().any(|name| name.familiar() == value || name.familiar_repository() == value)
            }),
            "label" => {
                let (key, wanted) =
                    value.split_once('=').map_or((value, None), |(key, text)| (key, Some(text)));
                images.retain(|image| {
                    let found = image.image.config.config.labels.get(key);
                    found.is_some_and(|found| wanted.is_none_or(|wanted| found == wanted))
                });
            }
            _ => return Err(Fault::bad(format!("invalid filter {key:?}"))),
        }
    }
    images.reverse();
    let shown = images.iter().map(|image| {
        let id = image.image.id.to_string();
        shape::image(image, containers.iter().filter(|container| container.image_id == id).count())
    });
    Ok(ok(&Value::Array(shown.collect())))
}

async fn find(call: &Call, name: &str) -> Result<Named, Fault> {
    let name = name.to_owned();
    call.server.call(|engine| async move { engine.image(&name).await }).await
}

pub(super) async fn inspect(call: &Call, name: &str) -> Result<Response<Reply>, Fault> {
    let mut shown = inspect::image(&find(call, name).await?)?;
    // docker-compose 1 looks for the settings under the name they had before API 1.45
    shown["ContainerConfig"] = shown["Config"].clone();
    Ok(ok(&shown))
}

pub(super) async fn history(call: &Call, name: &str) -> Result<Response<Reply>, Fault> {
    let named = find(call, name).await?;
    let tags: Vec<String> = named.names.iter().map(Reference::familiar).collect();
    let steps: Vec<Value> = named
        .image
        .history()
        .into_iter()
        .rev()
        .enumerate()
        .map(|(at, step)| {
            json!({
                "Id": if at == 0 { named.image.id.to_string() } else { "<missing>".to_owned() },
                "Created": step.history.created.as_deref().map_or(0, shape::seconds),
                "CreatedBy": step.history.created_by,
                "Tags": if at == 0 { json!(tags) } else { json!(null) },
                "Size": step.layer.map_or(0, |layer| layer.size),
                "Comment": step.history.comment.clone().unwrap_or_default(),
            })
        })
        .collect();
    Ok(ok(&Value::Array(steps)))
}

/// `docker.io/library/x:tag` of the parameters that say it in two parts.
fn reference(name: &str, tag: Option<&str>) -> Result<Reference, Fault> {
    let text = match tag {
        Some(digest) if digest.contains(':') => format!("{name}@{digest}"),
        Some(tag) => format!("{name}:{tag}"),
        None => name.to_owned(),
    };
    text.parse().map_err(|error| Fault::bad(format!("invalid reference {text:?}: {error}")))
}

/// A registry's progress in Docker's words.
fn progress(lines: Lines, words: [&'static str; 4]) -> impl Fn(Progress) + Sync {
    let [waiting, moving, moved, exists] = words;
    let layers = Mutex::new(Vec::<Digest>::new());
    move |event| {
        let say = |digest: &Digest, status: &str, detail: Value| {
            let known = layers.lock().is_ok_and(|layers| layers.contains(digest));
            if known {
                lines.say(&json!({ "status": status, "progressDetail": detail, "id": digest.short() }));
            }
        };
        match event {
            Progress::Layers(all) => {
                if let Ok(mut layers) = layers.lock() {
                    layers.extend(all.iter().map(|layer| layer.digest.clone()));
                }
                for layer in &all {
                    say(&layer.digest, waiting, json!({}));
                }
            }
            Progress::Moving { digest, done, total } => {
                say(&digest, moving, json!({ "current": done, "total": total }));
            }
            Progress::Done(digest) => say(&digest, moved, json!({})),
            Progress::Exists(digest) => say(&digest, exists, json!({})),
            Progress::Mounted(digest) => say(&digest, "Mounted from another repository", json!({})),
            Progress::Unpacked(digest) => say(&digest, "Pull complete", json!({})),
            Progress::Retrying { digest, attempt } => {
                say(&digest, &format!("Retrying, attempt {attempt}"), json!({}));
            }
            _ => {}
        }
    }
}

/// A pull, or an import.
pub(super) async fn create(call: Call) -> Result<Response<Reply>, Fault> {
    if let Some(source) = call.query.text("fromSrc") {
        if source != "-" {
            return Err(Fault::bad("fromSrc: only - is known, the archive in the request's body"));
        }
        return import(call).await;
    }
    let name = call.query.text("fromImage").ok_or_else(|| Fault::bad("fromImage is missing"))?;
    let name = reference(name, call.query.text("tag"))?;
    let mut pull = Pull::default();
    if let Some(platform) = call.query.text("platform") {
        pull.platform =
            platform.parse::<Platform>().map_err(|_| Fault::bad(format!("platform {platform:?} is none")))?;
    }
    let registry = registry(&call, name.domain())?;
    let (sender, response) = stream("application/json");
    let engine = std::sync::Arc::clone(&call.server.engine);
    let runtime = tokio::runtime::Handle::current();
    tokio::task::spawn_blocking(move || {
        let lines = Lines(sender);
        let tag = name
            .tag()
            .map_or_else(|| name.digest().map(Digest::to_string).unwrap_or_default(), str::to_owned);
        lines.say(&json!({ "status": format!("Pulling from {}", name.path()), "id": tag }));
        let words = ["Pulling fs layer", "Downloading", "Download complete", "Already exists"];
        let shown = progress(lines.clone(), words);
        match runtime.block_on(engine.pull_image(&registry, &name, &pull, &shown)) {
            Ok(pulled) => {
                lines.say(&json!({ "status": format!("Digest: {}", pulled.digest) }));
                let news =
                    if pulled.is_new { "Downloaded newer image for" } else { "Image is up to date for" };
                lines.say(&json!({ "status": format!("Status: {news} {}", name.familiar()) }));
            }
            Err(error) => lines.fail(&container_engine::describe(&error)),
        }
    });
    Ok(response)
}

async fn import(call: Call) -> Result<Response<Reply>, Fault> {
    let Call { server, query, request } = call;
    let name = query.text("repo").map(|name| reference(name, query.text("tag"))).transpose()?;
    let mut config = ContainerConfig::default();
    for text in query.all("changes") {
        change(&mut config, text)?;
    }
    let comment = query.text("message").unwrap_or("Imported from -").to_owned();
    let import = Import { config, created: Some(now()), comment: Some(comment) };
    let archive = upload(request.into_body());
    let id = server
        .call(|engine| async move { engine.import_image(archive, name.as_ref(), import).await })
        .await?;
    Ok(ok(&json!({ "status": id })))
}

pub(super) async fn push(call: &Call, name: &str) -> Result<Response<Reply>, Fault> {
    let name = reference(name, call.query.text("tag"))?;
    let registry = registry(call, name.domain())?;
    find(call, &name.to_string()).await?;
    let (sender, response) = stream("application/json");
    let engine = std::sync::Arc::clone(&call.server.engine);
    let runtime = tokio::runtime::Handle::current();
    tokio::task::spawn_blocking(move || {
        let lines = Lines(sender);
        let place = format!("The push refers to repository [{}/{}]", name.domain(), name.path());
        lines.say(&json!({ "status": place }));
        let shown = progress(lines.clone(), ["Preparing", "Pushing", "Pushed", "Layer already exists"]);
        match runtime.block_on(engine.push_image(&registry, &name, &shown)) {
            Ok((digest, size)) => {
                let tag = name.tag().unwrap_or("latest");
                lines.say(&json!({ "status": format!("{tag}: digest: {digest} size: {size}") }));
                lines.say(
                    &json!({ "progressDetail": {}, "aux": { "Tag": tag, "Digest": digest, "Size": size } }),
                );
            }
            Err(error) => lines.fail(&container_engine::describe(&error)),
        }
    });
    Ok(response)
}

pub(super) async fn tag(call: &Call, name: &str) -> Result<Response<Reply>, Fault> {
    let repository = call.query.text("repo").ok_or_else(|| Fault::bad("repo is missing"))?;
    let (new, name) = (reference(repository, call.query.text("tag"))?, name.to_owned());
    call.server.call(|engine| async move { engine.tag_image(&name, &new).await }).await?;
    Ok(super::body::empty(StatusCode::CREATED))
}

pub(super) async fn remove(call: &Call, name: &str) -> Result<Response<Reply>, Fault> {
    let (force, name) = (call.query.flag("force", false)?, name.to_owned());
    // layers below are not images of their own here
    call.query.flag("noprune", false)?;
    let removed =
        call.server.call(move |engine| async move { engine.remove_image(&name, force).await }).await?;
    let mut shown: Vec<Value> =
        removed.untagged.iter().map(|name| json!({ "Untagged": name.familiar() })).collect();
    shown.extend(removed.deleted.iter().map(|id| json!({ "Deleted": id })));
    Ok(ok(&Value::Array(shown)))
}

pub(super) async fn load(call: Call) -> Result<Response<Reply>, Fault> {
    call.query.flag("quiet", false)?;
    let Call { server, request, .. } = call;
    let archive = upload(request.into_body());
    let loaded = server.call(|engine| async move { engine.load_images(archive).await }).await?;
    let said = loaded.iter().flat_map(|named| {
        let id = format!("Loaded image ID: {}\n", named.image.id);
        let names = named.names.iter().map(|name| format!("Loaded image: {}\n", name.familiar()));
        names.chain(named.names.is_empty().then_some(id))
    });
    let lines = said.map(|text| json!({ "stream": text }).to_string() + "\r\n").collect::<String>();
    let mut response = ok(&Value::Null);
    *response.body_mut() = Reply::Whole(Some(lines.into()));
    Ok(response)
}

pub(super) async fn save(call: &Call, names: Vec<String>) -> Result<Response<Reply>, Fault> {
    let mut chosen: Vec<String> = Vec::new();
    for name in names.iter().flat_map(|name| name.split(',')).filter(|name| !name.is_empty()) {
        find(call, name).await?;
        chosen.push(name.to_owned());
    }
    if chosen.is_empty() {
        return Err(Fault::bad("no image is named"));
    }
    let (sender, response) = stream("application/x-tar");
    let engine = std::sync::Arc::clone(&call.server.engine);
    let runtime = tokio::runtime::Handle::current();
    tokio::task::spawn_blocking(move || {
        // a failure in the middle ends the stream, which is no whole archive then
        let output = std::io::BufWriter::with_capacity(64 << 10, Download(sender));
        runtime.block_on(engine.save_images(&chosen, output))
    });
    Ok(response)
}

pub(super) async fn prune(call: &Call) -> Result<Response<Reply>, Fault> {
    let mut all = false;
    for filter in call.query.filters()? {
        match filter.as_str() {
            "dangling=false" | "dangling=0" => all = true,
            "dangling=true" | "dangling=1" => all = false,
            _ => return Err(Fault::bad(format!("filter {filter:?} is not known when images are pruned"))),
        }
    }
    let (deleted, freed) = call
        .server
        .call(move |engine| async move {
            let used: Vec<String> =
                engine.containers().await?.into_iter().map(|container| container.image_id).collect();
            let sizes = |images: &[Named]| -> BTreeMap<String, u64> {
                let layers = images.iter().flat_map(|named| &named.image.manifest.layers);
                layers.map(|layer| (layer.digest.to_string(), layer.size)).collect()
            };
            let images = engine.images().await?;
            let before = sizes(&images);
            let mut deleted = Vec::new();
            for named in images {
                let id = named.image.id.to_string();
                if used.contains(&id) || (!all && !named.names.is_empty()) {
                    continue;
                }
                let removed = engine.remove_image(&id, true).await?;
                deleted.extend(removed.untagged.iter().map(|name| json!({ "Untagged": name.familiar() })));
                deleted.extend(removed.deleted.iter().map(|id| json!({ "Deleted": id })));
            }
            let after = sizes(&engine.images().await?);
            let freed: u64 =
                before.iter().filter(|(id, _)| !after.contains_key(*id)).map(|(_, size)| size).sum();
            Ok((deleted, freed))
        })
        .await?;
    Ok(ok(&json!({ "ImagesDeleted": deleted, "SpaceReclaimed": freed })))
}

pub(super) async fn search(call: &Call) -> Result<Response<Reply>, Fault> {
    let term = call.query.text("term").ok_or_else(|| Fault::bad("term is missing"))?;
    let limit = call.query.number("limit")?.unwrap_or(25);
    if let Some(filter) = call.query.filters()?.first() {
        return Err(Fault::bad(format!("filter {filter:?} is not known when images are looked for")));
    }
    let (host, word) = match term.split_once('/') {
        Some((host, word)) if host.contains(['.', ':']) || host == "localhost" => {
            (host.to_owned(), word.to_owned())
        }
        _ => ("docker.io".to_owned(), term.to_owned()),
    };
    let registry = registry(call, &host)?;
    let found = tokio::task::spawn_blocking(move || registry.search(&host, &word, limit)).await;
    let found = found
        .map_err(|_| Fault::internal("the search was given up"))?
        .map_err(container_engine::Error::from)?;
    let one = |found: &container_engine::Found| {
        json!({ "name": found.name, "description": found.description, "star_count": found.stars,
            "is_official": found.official, "is_automated": false })
    };
    Ok(ok(&Value::Array(found.iter().map(one).collect())))
}

pub(super) async fn commit(call: Call) -> Result<Response<Reply>, Fault> {
    let Call { server, query, request } = call;
    let container = query.text("container").ok_or_else(|| Fault::bad("container is missing"))?.to_owned();
    let name = query.text("repo").map(|name| reference(name, query.text("tag"))).transpose()?;
    // what is wrong is said before anything is done
    let changes = query.all("changes").to_vec();
    for text in &changes {
        change(&mut ContainerConfig::default(), text)?;
    }
    let mut config = Fields::new("", read_json(request.into_body()).await?)?;
    let command = config.texts("Cmd")?;
    config.finish()?;
    let options = CommitOptions {
        name,
        author: query.text("author").map(str::to_owned),
        message: query.text("comment").map(str::to_owned),
        no_pause: !query.flag("pause", true)?,
    };
    let id = server
        .call(|engine| async move {
            engine
                .commit(&container, options, |config| {
                    if !command.is_empty() {
                        config.cmd = Some(command);
                    }
                    for text in &changes {
                        // tried above
                        let _ = change(config, text);
                    }
                })
                .await
        })
        .await?;
    Ok(reply(StatusCode::CREATED, &json!({ "Id": id })))
}
