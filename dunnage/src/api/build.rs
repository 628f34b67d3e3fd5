//! `/build`, in the words of the classic builder: the context is the request's body, and each step a line of JSON.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use container_engine::{Build, BuildContext, BuildEvent, Engine, Error, Platform, Reference, StepNetwork};
use hyper::Response;
use serde_json::{Value, json};

use super::body::{Upload, discard, ok, stream, upload};
use super::lines::Lines;
use super::query::Query;
use super::route::Call;
use super::{Fault, Reply, auth};
use crate::command::login;
use crate::command::options::host_entries;

/// How often it is seen whether the client is still there.
const BEAT: Duration = Duration::from_millis(500);

/// What a client asks for, beside its context.
struct Wanted {
    dockerfile: String,
    names: Vec<Reference>,
    target: Option<String>,
    arguments: BTreeMap<String, String>,
    labels: BTreeMap<String, String>,
    hosts: Vec<(String, std::net::IpAddr)>,
    network: StepNetwork,
    no_cache: bool,
    pull: bool,
    quiet: bool,
}

pub(super) async fn build(call: Call) -> Result<Response<Reply>, Fault> {
    let asked =
        Wanted::of(&call.query).and_then(|wanted| Ok((wanted, auth::credentials(call.request.headers())?)));
    let (wanted, credentials) = match asked {
        Ok(asked) => asked,
        Err(fault) => {
            discard(call.request.into_body()).await;
            return Err(fault);
        }
    };
    let (sender, response) = stream("application/json");
    let stop = Arc::new(AtomicBool::new(false));
    let (gone, flag) = (sender.clone(), Arc::clone(&stop));
    let (ended, mut end) = tokio::sync::oneshot::channel::<()>();
    tokio::task::spawn_local(async move {
        loop {
            tokio::select! {
                // a client that goes away has no use for the image
                () = gone.closed() => return flag.store(true, Ordering::Relaxed),
                _ = &mut end => return,
                // which only shows when something is sent; between lines of JSON this is nothing
                () = tokio::time::sleep(BEAT) => drop(gone.try_send("\r\n".into())),
            }
        }
    });
    let engine = Arc::clone(&call.server.engine);
    let context = upload(call.request.into_body());
    tokio::task::spawn_blocking(move || {
        let lines = Lines(sender);
        let registries = |name: &Reference| {
            let client = login::anonymous(name.domain()).map_err(|failure| failure.message().to_owned())?;
            Ok(client.credentials(credentials.clone()))
        };
        let built = wanted.carry_out(&engine, context, stop, &registries, &lines);
        if let Err(error) = built {
            lines.fail(&container_engine::describe(&error));
        }
        drop(ended);
    });
    Ok(response)
}

/// `/build/prune`: what builds have kept.
pub(super) async fn prune(call: &Call) -> Result<Response<Reply>, Fault> {
    call.query.flag("all", false)?;
    let pruned = call.server.call(|engine| async move { engine.prune_builds().await }).await?;
    Ok(ok(&json!({ "CachesDeleted": [], "SpaceReclaimed": pruned.bytes })))
}

impl Wanted {
    fn of(query: &Query) -> Result<Self, Fault> {
        refuse(query)?;
        let platform = query.text("platform").map(|text| {
            text.parse::<Platform>().map_err(|_| Fault::bad(format!("platform {text:?} is none")))
        });
        let host = Platform::host();
        if let Some(platform) = platform.transpose()?
            && (&platform.os, &platform.architecture) != (&host.os, &host.architecture)
        {
            return Err(Fault::bad(format!(
                "images for {platform} cannot be built here: this machine is {host}"
            )));
        }
        let names = query.all("t").iter().filter(|name| !name.is_empty()).map(|name| {
            name.parse().map_err(|error| Fault::bad(format!("invalid reference {name:?}: {error}")))
        });
        let network = match query.text("networkmode") {
            None | Some("bridge") => "default",
            Some(other) => other,
        };
        // rm and forcerm say what becomes of containers that no step of ours leaves
        query.flag("rm", true)?;
        query.flag("forcerm", false)?;
        Ok(Self {
            dockerfile: query.text("dockerfile").unwrap_or("Dockerfile").to_owned(),
            names: names.collect::<Result<_, Fault>>()?,
            target: query.text("target").map(str::to_owned),
            arguments: map(query, "buildargs")?,
            labels: map(query, "labels")?,
            hosts: host_entries(&lines_of(query.all("extrahosts")))?,
            network: StepNetwork::parse(network).ok_or_else(|| {
                Fault::bad(format!("networkmode {network:?} is none of default, none and host"))
            })?,
            no_cache: query.flag("nocache", false)?,
            pull: query.flag("pull", false)?,
            quiet: query.flag("q", false)?,
        })
    }

    fn carry_out(
        self,
        engine: &Engine,
        context: Upload,
        stop: Arc<AtomicBool>,
        registries: &container_engine::Registries<'_>,
        lines: &Lines,
    ) -> Result<(), Error> {
        let context = BuildContext::archive(context, &engine.build_cache()?)?;
        let dockerfile = context.dockerfile(&self.dockerfile)?;
        let total = dockerfile_parser::parse(&dockerfile).instructions().len();
        let mut build = Build::new(dockerfile, context);
        build.dockerfile_name = Some(self.dockerfile);
        build.target = self.target;
        build.arguments = self.arguments;
        build.labels = self.labels;
        build.extra_hosts = self.hosts;
        build.network = self.network;
        build.no_cache = self.no_cache;
        build.pull = self.pull;
        build.stop = stop;
        let quiet = self.quiet;
        let report = |event: BuildEvent<'_>| {
            let text = match event {
                BuildEvent::Begin { step, name } => {
                    let instruction = name.split_once("] ").map_or(name, |(_, instruction)| instruction);
                    format!("Step {step}/{} : {instruction}\n", total.max(step))
                }
                BuildEvent::Cached { .. } => " ---> Using cache\n".to_owned(),
                BuildEvent::Output { bytes, .. } => String::from_utf8_lossy(bytes).into_owned(),
                BuildEvent::Warning { text } => format!("[Warning] {text}\n"),
                _ => return,
            };
            if !quiet {
                lines.say(&json!({ "stream": text }));
            }
        };
        let built = engine.build(build, &self.names, true, registries, &report)?;
        let id = built.image.id.to_string();
        lines.say(&json!({ "aux": { "ID": id } }));
        if quiet {
            lines.say(&json!({ "stream": format!("{id}\n") }));
            return Ok(());
        }
        lines.say(&json!({ "stream": format!("Successfully built {}\n", built.image.id.short()) }));
        for name in &self.names {
            let tag = name.tag().unwrap_or("latest");
            let shown = format!("Successfully tagged {}:{tag}\n", name.familiar_repository());
            lines.say(&json!({ "stream": shown }));
        }
        Ok(())
    }
}

/// Refuses what the builder cannot do, by name.
fn refuse(query: &Query) -> Result<(), Fault> {
    if query.text("version") == Some("2")
        || query.text("session").is_some() && query.text("version").is_some_and(|version| version != "1")
    {
        return Err(Fault::bad(
            "BuildKit's protocol is not spoken here: set DOCKER_BUILDKIT=0, or use `dunnage build`",
        ));
    }
    for name in ["remote", "outputs", "cachefrom"] {
        if query.text(name).is_some_and(|text| !matches!(text, "[]" | "null")) {
            return Err(Fault::bad(format!("{name} is not supported here")));
        }
    }
    for name in [
        "memory",
        "memswap",
        "cpushares",
        "cpuperiod",
        "cpuquota",
        "shmsize",
        "cpusetcpus",
        "cpusetmems",
        "cgroupparent",
    ] {
        if query.text(name).is_some_and(|text| text != "0") {
            return Err(Fault::bad(format!(
                "{name} is not supported here: steps of a build have no limits of their own"
            )));
        }
    }
    for name in ["ulimits", "securityopt"] {
        if query.text(name).is_some_and(|text| !matches!(text, "[]" | "null")) {
            return Err(Fault::bad(format!("{name} is not supported here")));
        }
    }
    if query.flag("squash", false)? {
        return Err(Fault::bad("squash is not supported here"));
    }
    Ok(())
}

/// A JSON object of texts; a null is no value.
fn map(query: &Query, name: &str) -> Result<BTreeMap<String, String>, Fault> {
    let Some(text) = query.text(name).filter(|text| *text != "null") else { return Ok(BTreeMap::new()) };
    let wrong = || Fault::bad(format!("{name}={text:?} is not an object of texts"));
    let Ok(Value::Object(object)) = serde_json::from_str(text) else { return Err(wrong()) };
    let mut all = BTreeMap::new();
    for (key, value) in object {
        match value {
            Value::String(value) => {
                all.insert(key, value);
            }
            Value::Null => {}
            _ => return Err(wrong()),
        }
    }
    Ok(all)
}

/// Hosts come as parameters of one name, or with commas between them.
fn lines_of(texts: &[String]) -> Vec<String> {
    texts.iter().flat_map(|text| text.split(',')).filter(|text| !text.is_empty()).map(str::to_owned).collect()
}
