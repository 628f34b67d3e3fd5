//! `/containers`

use std::time::Duration;

use container_engine::{
    Bytes, ChangeKind, Cpus, Engine, Error, LogQuery, Phase, RemoveOptions, Resources, RestartPolicy, Usage,
};
use hyper::{Response, StatusCode};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::body::{Download, empty, ok, read_json, stream};
use super::create::Fields;
use super::route::Call;
use super::{Fault, Reply, shape};
use crate::command::inspect;
use crate::command::logs::time;
use crate::command::ps::filtered;

type Answer = Result<Response<Reply>, Fault>;

pub(super) async fn list(call: &Call) -> Answer {
    let filters = call.query.filters()?;
    let all = call.query.flag("all", false)?;
    let limit: Option<i64> = call.query.number("limit")?;
    let mut containers = call.server.call(|engine| async move { engine.containers().await }).await?;
    let by_state =
        filters.iter().any(|filter| filter.starts_with("status=") || filter.starts_with("exited="));
    containers = filtered(containers, &filters)?;
    match limit.and_then(|limit| usize::try_from(limit).ok()).filter(|limit| *limit > 0) {
        Some(limit) => containers.truncate(limit),
        None if !all && !by_state => containers.retain(|container| container.phase.is_running()),
        None => {}
    }
    Ok(ok(&Value::Array(containers.iter().map(shape::container).collect())))
}

pub(super) async fn inspect(call: &Call, id: &str) -> Answer {
    let id = id.to_owned();
    let found = call.server.call(|engine| async move { engine.container(&id).await }).await?;
    Ok(ok(&inspect::container(&found)))
}

/// Does something with a container; nothing comes back.
async fn act<F>(
    call: &Call,
    id: &str,
    work: impl FnOnce(std::sync::Arc<Engine>, String) -> F + Send + 'static,
) -> Answer
where
    F: Future<Output = Result<(), Error>>,
{
    let id = id.to_owned();
    call.server.call(move |engine| work(engine, id)).await?;
    Ok(empty(StatusCode::NO_CONTENT))
}

pub(super) async fn start(call: &Call, id: &str) -> Answer {
    let name = id.to_owned();
    let container = call.server.call(|engine| async move { engine.container(&name).await }).await?;
    if matches!(container.phase, Phase::Running { .. }) {
        return Ok(empty(StatusCode::NOT_MODIFIED));
    }
    if let Err(fault) = call.server.start(&container.id).await {
        if container.options.auto_remove {
            // whoever waits for its removal is to hear of it; the fault is the one to tell
            let options = RemoveOptions { force: true, volumes: true };
            let id = container.id.clone();
            let _ = call
                .server
                .call(move |engine| async move { engine.remove_container(&id, options).await })
                .await;
        }
        return Err(fault);
    }
    Ok(empty(StatusCode::NO_CONTENT))
}

fn patience(call: &Call) -> Result<Option<Duration>, Fault> {
    let seconds: Option<i64> = call.query.number("t")?;
    // below zero: as long as it takes
    Ok(seconds
        .map(|seconds| u64::try_from(seconds).map_or(Duration::from_secs(1 << 32), Duration::from_secs)))
}

pub(super) async fn stop(call: &Call, id: &str) -> Answer {
    let (patience, name) = (patience(call)?, id.to_owned());
    let container = call.server.call(|engine| async move { engine.container(&name).await }).await?;
    if !container.phase.is_running() {
        return Ok(empty(StatusCode::NOT_MODIFIED));
    }
    act(call, id, move |engine, id| async move { engine.stop(&id, patience).await }).await
}

pub(super) async fn restart(call: &Call, id: &str) -> Answer {
    let patience = patience(call)?;
    act(call, id, move |engine, id| async move {
        engine.stop(&id, patience).await?;
        engine.start(&id).await
    })
    .await
}

pub(super) async fn kill(call: &Call, id: &str) -> Answer {
    let signal = call.query.text("signal").unwrap_or("SIGKILL");
    let signal = signal.parse().map_err(|_| Fault::bad(format!("invalid signal: {signal}")))?;
    act(call, id, move |engine, id| async move { engine.kill(&id, signal).await }).await
}

pub(super) async fn pause(call: &Call, id: &str) -> Answer {
    act(call, id, |engine, id| async move { engine.pause(&id).await }).await
}

pub(super) async fn unpause(call: &Call, id: &str) -> Answer {
    act(call, id, |engine, id| async move { engine.unpause(&id).await }).await
}

pub(super) async fn rename(call: &Call, id: &str) -> Answer {
    let name = call.query.text("name").ok_or_else(|| Fault::bad("name is missing"))?.to_owned();
    act(call, id, move |engine, id| async move { engine.rename_container(&id, &name).await }).await
}

pub(super) async fn remove(call: &Call, id: &str) -> Answer {
    if call.query.flag("link", false)? {
        return Err(Fault::bad("links are not removed by themselves: they go with their container"));
    }
    let options =
        RemoveOptions { force: call.query.flag("force", false)?, volumes: call.query.flag("v", false)? };
    act(call, id, move |engine, id| async move { engine.remove_container(&id, options).await }).await
}

pub(super) async fn prune(call: &Call) -> Answer {
    if let Some(filter) = call.query.filters()?.first() {
        return Err(Fault::bad(format!("filter {filter:?} is not known when containers are pruned")));
    }
    let (removed, freed) = call
        .server
        .call(|engine| async move {
            let before = engine.disk_usage().await?.containers.bytes;
            let mut removed = Vec::new();
            for container in engine.containers().await? {
                if matches!(container.phase, Phase::Created | Phase::Exited(_)) {
                    engine.remove_container(&container.id, RemoveOptions::default()).await?;
                    removed.push(container.id);
                }
            }
            Ok((removed, before.saturating_sub(engine.disk_usage().await?.containers.bytes)))
        })
        .await?;
    Ok(ok(&json!({ "ContainersDeleted": removed, "SpaceReclaimed": freed })))
}

pub(super) async fn update(call: Call, id: &str) -> Answer {
    let Call { server, request, .. } = call;
    let mut fields = Fields::new("", read_json(request.into_body()).await?)?;
    let mut resources = Resources::default();
    fields.resources(&mut resources)?;
    let restart = match fields.object("RestartPolicy")? {
        Some(mut policy) => policy.restart()?,
        None => None,
    };
    fields.finish()?;
    let id = id.to_owned();
    server.call(|engine| async move { engine.update_container(&id, &resources, restart).await }).await?;
    Ok(ok(&json!({ "Warnings": [] })))
}

/// Answers at once, and tells the exit code when it is known.
pub(super) async fn wait(call: &Call, id: &str) -> Answer {
    let condition = call.query.text("condition").unwrap_or("not-running").to_owned();
    if !["not-running", "next-exit", "removed"].contains(&condition.as_str()) {
        return Err(Fault::bad(format!("invalid condition: {condition:?}")));
    }
    let (name, engine) = (id.to_owned(), std::sync::Arc::clone(&call.server.engine));
    // whatever happens from here on is seen: an end that is not in the events comes after them
    let mut events = engine.events().await?;
    while events.try_next()?.is_some() {}
    let container = call.server.call(|engine| async move { engine.container(&name).await }).await?;
    let id = container.id;
    let (sender, response) = stream("application/json");
    tokio::task::spawn_local(async move {
        let mut code = None;
        if condition != "next-exit" && !container.phase.is_running() {
            code = match &container.phase {
                Phase::Exited(exit) => Some(exit.code),
                _ => Some(0),
            };
        }
        let waits_for_removal = condition == "removed";
        while code.is_none() || waits_for_removal {
            let event = tokio::select! {
                event = events.next() => event,
                () = sender.closed() => return,
            };
            let Ok(event) = event else { return };
            if event.kind != "container" || event.id != id {
                continue;
            }
            match event.action.as_str() {
                "die" => code = event.attributes.get("exitCode").and_then(|code| code.parse().ok()),
                "destroy" => {
                    code.get_or_insert(0);
                    break;
                }
                _ => {}
            }
        }
        let _ = sender.send(format!("{}\n", json!({ "StatusCode": code.unwrap_or(0) })).into()).await;
    });
    Ok(response)
}

pub(super) async fn logs(call: &Call, id: &str) -> Answer {
    let (out, err) = (call.query.flag("stdout", false)?, call.query.flag("stderr", false)?);
    if !out && !err {
        return Err(Fault::bad("Bad parameters: you must choose at least one stream"));
    }
    let stamps = call.query.flag("timestamps", false)?;
    let tail = match call.query.text("tail") {
        None | Some("all" | "-1") => None,
        Some(count) => {
            Some(count.parse().map_err(|_| Fault::bad(format!("tail={count:?} is not a number")))?)
        }
    };
    let when = |name| call.query.text(name).filter(|text| *text != "0").map(time).transpose();
    let query = LogQuery {
        tail,
        since: when("since")?,
        until: when("until")?,
        follow: call.query.flag("follow", false)?,
    };
    let name = id.to_owned();
    let container = call.server.call(|engine| async move { engine.container(&name).await }).await?;
    let tty = container.options.tty;
    let (sender, response) = stream(kind(tty));
    let engine = std::sync::Arc::clone(&call.server.engine);
    tokio::task::spawn_local(async move {
        let Ok(mut lines) = engine.logs(&container.id, query).await else { return };
        loop {
            let line = tokio::select! {
                line = lines.next() => line,
                () = sender.closed() => return,
            };
            let Ok(Some(line)) = line else { return };
            let stderr = line.stream == "stderr";
            if (stderr && !err) || (!stderr && !out) {
                continue;
            }
            let stamp = if stamps { format!("{} ", line.time) } else { String::new() };
            let text = [stamp.as_bytes(), line.log.as_bytes()].concat();
            let piece = if tty { text } else { shape::frame(if stderr { 2 } else { 1 }, &text) };
            if sender.send(piece.into()).await.is_err() {
                return;
            }
        }
    });
    Ok(response)
}

/// The media type of output: as a terminal writes it, or in frames.
pub(super) fn kind(tty: bool) -> &'static str {
    if tty { "application/vnd.docker.raw-stream" } else { "application/vnd.docker.multiplexed-stream" }
}

pub(super) async fn top(call: &Call, id: &str) -> Answer {
    if let Some(other) = call.query.text("ps_args").filter(|args| *args != "-ef") {
        return Err(Fault::bad(format!("ps_args={other:?}: only -ef is known")));
    }
    let id = id.to_owned();
    let processes = call.server.call(|engine| async move { engine.processes(&id).await }).await?;
    let rows: Vec<_> = processes.iter().map(crate::command::top::columns).collect();
    Ok(ok(&json!({ "Titles": crate::command::top::TITLES, "Processes": rows })))
}

pub(super) async fn changes(call: &Call, id: &str) -> Answer {
    let id = id.to_owned();
    let changes = call.server.call(|engine| async move { engine.changes(&id).await }).await?;
    let one = |change: &container_engine::Change| {
        let kind = match change.kind() {
            ChangeKind::Changed => 0,
            ChangeKind::Added => 1,
            ChangeKind::Deleted => 2,
        };
        json!({ "Path": change.path(), "Kind": kind })
    };
    Ok(ok(&Value::Array(changes.iter().map(one).collect())))
}

pub(super) async fn export(call: &Call, id: &str) -> Answer {
    let name = id.to_owned();
    let container = call.server.call(|engine| async move { engine.container(&name).await }).await?;
    let (sender, response) = stream("application/octet-stream");
    let engine = std::sync::Arc::clone(&call.server.engine);
    let runtime = tokio::runtime::Handle::current();
    tokio::task::spawn_blocking(move || {
        // a failure in the middle ends the stream, which is no whole archive then
        runtime.block_on(
            engine.export(&container.id, std::io::BufWriter::with_capacity(64 << 10, Download(sender))),
        )
    });
    Ok(response)
}

pub(super) async fn stats(call: &Call, id: &str) -> Answer {
    let (streams, once) = (call.query.flag("stream", true)?, call.query.flag("one-shot", false)?);
    let name = id.to_owned();
    let container = call.server.call(|engine| async move { engine.container(&name).await }).await?;
    let (id, server) = (container.id.clone(), std::rc::Rc::clone(&call.server));
    let reading = move || {
        let (id, server) = (id.clone(), std::rc::Rc::clone(&server));
        async move { server.call(|engine| async move { engine.usage(&id).await }).await }
    };
    if !container.phase.is_running() {
        return Ok(ok(&shape::usage(&container, None, None)));
    }
    let first = reading().await?;
    if once && !streams {
        return Ok(ok(&shape::usage(&container, None, Some(&first))));
    }
    if !streams {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let second = reading().await?;
        return Ok(ok(&shape::usage(&container, Some(&first), Some(&second))));
    }
    let (sender, response) = stream("application/json");
    tokio::task::spawn_local(async move { follow(container, first, reading, sender).await });
    Ok(response)
}

async fn follow<F>(
    container: container_engine::Container,
    first: Usage,
    reading: impl Fn() -> F,
    sender: mpsc::Sender<hyper::body::Bytes>,
) where
    F: Future<Output = Result<Usage, Fault>>,
{
    let mut earlier = first;
    loop {
        tokio::select! {
            () = tokio::time::sleep(Duration::from_secs(1)) => {}
            () = sender.closed() => return,
        }
        // its end is the stream's
        let Ok(usage) = reading().await else { return };
        let text = format!("{}\n", shape::usage(&container, Some(&earlier), Some(&usage)));
        if sender.send(text.into()).await.is_err() {
            return;
        }
        earlier = usage;
    }
}

impl Fields {
    /// Takes the limits that `create` and `update` share.
    pub(super) fn resources(&mut self, resources: &mut Resources) -> Result<(), Fault> {
        let above = |number: Option<i64>| number.filter(|number| *number > 0).map(i64::cast_unsigned);
        resources.memory = above(self.number("Memory")?).map(Bytes);
        resources.memory_reservation = above(self.number("MemoryReservation")?).map(Bytes);
        resources.memory_swap = match self.number("MemorySwap")? {
            Some(-1) => Some(Bytes(i64::MAX.cast_unsigned())),
            other => above(other).map(Bytes),
        };
        resources.cpu_shares = above(self.number("CpuShares")?);
        if let Some(cpus) = above(self.number("NanoCpus")?) {
            resources.cpus = Some(Cpus(u32::try_from(cpus / 1_000_000).unwrap_or(u32::MAX)));
        }
        let (period, quota) = (above(self.number("CpuPeriod")?), above(self.number("CpuQuota")?));
        if let Some(quota) = quota {
            let share = quota.saturating_mul(1000) / period.unwrap_or(100_000);
            resources.cpus = Some(Cpus(u32::try_from(share).unwrap_or(u32::MAX)));
        }
        resources.cpuset_cpus = self.text("CpusetCpus")?;
        resources.cpuset_mems = self.text("CpusetMems")?;
        resources.pids = self.number("PidsLimit")?.filter(|limit| *limit != 0);
        resources.oom_score_adj = self.number("OomScoreAdj")?.and_then(|score| i32::try_from(score).ok());
        Ok(())
    }

    pub(super) fn restart(&mut self) -> Result<Option<RestartPolicy>, Fault> {
        let count = self.number("MaximumRetryCount")?.unwrap_or(0);
        let Some(name) = self.text("Name")? else { return Ok(None) };
        if name == "on-failure" {
            let count =
                u32::try_from(count).map_err(|_| Fault::bad("maximum retry count cannot be negative"))?;
            return Ok(Some(RestartPolicy::OnFailure(count)));
        }
        Ok(Some(name.parse::<RestartPolicy>()?))
    }
}
