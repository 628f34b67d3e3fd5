//! From a request's method and path to what answers it.

use std::rc::Rc;

use hyper::body::Incoming;
use hyper::header::HeaderValue;
use hyper::{Method, Request, Response, StatusCode};

use super::query::{Query, decode};
use super::{
    Fault, OLDEST, Reply, Server, VERSION, archive, attach, build, container, create, exec, image, network,
    system, volume,
};

/// A request, taken apart.
pub(crate) struct Call {
    pub(crate) server: Rc<Server>,
    pub(crate) query: Query,
    pub(crate) request: Request<Incoming>,
}

pub(crate) async fn answer(server: Rc<Server>, request: Request<Incoming>) -> Response<Reply> {
    let mut response = match route(server, request).await {
        Ok(response) => response,
        Err(fault) => fault.response(),
    };
    let headers = response.headers_mut();
    headers.insert("Api-Version", HeaderValue::from_static(VERSION));
    headers.insert("Ostype", HeaderValue::from_static("linux"));
    headers.insert("Docker-Experimental", HeaderValue::from_static("false"));
    headers.insert("Server", HeaderValue::from_static(concat!("dunnage/", env!("CARGO_PKG_VERSION"))));
    response
}

/// The path behind `/v1.41`, if that is a version that is spoken.
fn versioned(path: &str) -> Result<&str, Fault> {
    let Some((version, rest)) = path.strip_prefix("/v").and_then(|rest| rest.split_once('/')) else {
        return Ok(path);
    };
    let number = |text: &str| {
        let (major, minor) = text.split_once('.')?;
        Some((major.parse::<u32>().ok()?, minor.parse::<u32>().ok()?))
    };
    let Some(wanted) = number(version) else { return Ok(path) };
    if Some(wanted) < number(OLDEST) {
        return Err(Fault::bad(format!(
            "client version {version} is too old: the oldest that is spoken is {OLDEST}"
        )));
    }
    if Some(wanted) > number(VERSION) {
        return Err(Fault::bad(format!(
            "client version {version} is too new: the newest that is spoken is {VERSION}"
        )));
    }
    Ok(path.get(path.len() - rest.len() - 1..).unwrap_or("/"))
}

async fn route(server: Rc<Server>, request: Request<Incoming>) -> Result<Response<Reply>, Fault> {
    let query = Query::parse(request.uri().query())?;
    let path = versioned(request.uri().path())?.to_owned();
    let words = path.split('/').filter(|word| !word.is_empty()).map(decode).collect::<Result<Vec<_>, _>>()?;
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let method = request.method().clone();
    let call = Call { server, query, request };
    let (get, post, delete, put) = (Method::GET, Method::POST, Method::DELETE, Method::PUT);
    match (method, words.as_slice()) {
        (m, ["_ping"]) if m == get || m == Method::HEAD => Ok(system::ping()),
        (m, ["version"]) if m == get => system::version(&call).await,
        (m, ["info"]) if m == get => system::info(&call).await,
        (m, ["auth"]) if m == post => system::auth(call).await,
        (m, ["events"]) if m == get => system::events(&call).await,
        (m, ["system", "df"]) if m == get => system::usage(&call).await,

        (m, ["containers", "json"]) if m == get => container::list(&call).await,
        (m, ["containers", "create"]) if m == post => create::create(call).await,
        (m, ["containers", "prune"]) if m == post => container::prune(&call).await,
        (m, ["containers", id, "json"]) if m == get => container::inspect(&call, id).await,
        (m, ["containers", id, "top"]) if m == get => container::top(&call, id).await,
        (m, ["containers", id, "stats"]) if m == get => container::stats(&call, id).await,
        (m, ["containers", id, "logs"]) if m == get => container::logs(&call, id).await,
        (m, ["containers", id, "changes"]) if m == get => container::changes(&call, id).await,
        (m, ["containers", id, "archive"]) if m == Method::HEAD => archive::stat(&call, id).await,
        (m, ["containers", id, "archive"]) if m == get => archive::read(&call, id).await,
        (m, ["containers", id, "archive"]) if m == put => archive::write(call, id).await,
        (m, ["containers", id, "export"]) if m == get => container::export(&call, id).await,
        (m, ["containers", id, "start"]) if m == post => container::start(&call, id).await,
        (m, ["containers", id, "stop"]) if m == post => container::stop(&call, id).await,
        (m, ["containers", id, "restart"]) if m == post => container::restart(&call, id).await,
        (m, ["containers", id, "kill"]) if m == post => container::kill(&call, id).await,
        (m, ["containers", id, "pause"]) if m == post => container::pause(&call, id).await,
        (m, ["containers", id, "unpause"]) if m == post => container::unpause(&call, id).await,
        (m, ["containers", id, "rename"]) if m == post => container::rename(&call, id).await,
        (m, ["containers", id, "update"]) if m == post => container::update(call, id).await,
        (m, ["containers", id, "wait"]) if m == post => container::wait(&call, id).await,
        (m, ["containers", id, "resize"]) if m == post => attach::resize(&call, id).await,
        (m, ["containers", id, "attach"]) if m == post => attach::attach(call, id).await,
        (m, ["containers", id, "exec"]) if m == post => exec::create(call, id).await,
        (m, ["containers", id]) if m == delete => container::remove(&call, id).await,

        (m, ["exec", id, "start"]) if m == post => exec::start(call, id).await,
        (m, ["exec", id, "resize"]) if m == post => exec::resize(&call, id),
        (m, ["exec", id, "json"]) if m == get => exec::inspect(&call, id),

        (m, ["images", "json"]) if m == get => image::list(&call).await,
        (m, ["images", "create"]) if m == post => image::create(call).await,
        (m, ["images", "load"]) if m == post => image::load(call).await,
        (m, ["images", "get"]) if m == get => image::save(&call, call.query.all("names").to_vec()).await,
        (m, ["images", "prune"]) if m == post => image::prune(&call).await,
        (m, ["images", "search"]) if m == get => image::search(&call).await,
        (m, ["images", name @ .., "json"]) if m == get => image::inspect(&call, &name.join("/")).await,
        (m, ["images", name @ .., "history"]) if m == get => image::history(&call, &name.join("/")).await,
        (m, ["images", name @ .., "get"]) if m == get => image::save(&call, vec![name.join("/")]).await,
        (m, ["images", name @ .., "tag"]) if m == post => image::tag(&call, &name.join("/")).await,
        (m, ["images", name @ .., "push"]) if m == post => image::push(&call, &name.join("/")).await,
        (m, ["images", name @ ..]) if m == delete && !name.is_empty() => {
            image::remove(&call, &name.join("/")).await
        }
        (m, ["commit"]) if m == post => image::commit(call).await,

        (m, ["networks"]) if m == get => network::list(&call).await,
        (m, ["networks", "create"]) if m == post => network::create(call).await,
        (m, ["networks", "prune"]) if m == post => network::prune(&call).await,
        (m, ["networks", id]) if m == get => network::inspect(&call, id).await,
        (m, ["networks", id]) if m == delete => network::remove(&call, id).await,
        (m, ["networks", id, "connect"]) if m == post => network::connect(call, id).await,
        (m, ["networks", id, "disconnect"]) if m == post => network::disconnect(call, id).await,

        (m, ["volumes"]) if m == get => volume::list(&call).await,
        (m, ["volumes", "create"]) if m == post => volume::create(call).await,
        (m, ["volumes", "prune"]) if m == post => volume::prune(&call).await,
        (m, ["volumes", name]) if m == get => volume::inspect(&call, name).await,
        (m, ["volumes", name]) if m == delete => volume::remove(&call, name).await,

        (_, ["swarm" | "nodes" | "services" | "tasks" | "secrets" | "configs", ..]) => Err(Fault::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "This node is not a swarm manager. Use \"docker swarm init\" or \"docker swarm join\" to connect this node to swarm and try again.",
        )),
        (m, ["build", "prune"]) if m == post => build::prune(&call).await,
        (m, ["build"]) if m == post => build::build(call).await,
        _ => Err(Fault::missing("page not found")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_that_are_spoken_are_taken_off_the_path() {
        assert_eq!(versioned("/v1.41/containers/json").unwrap(), "/containers/json");
        assert_eq!(versioned("/containers/json").unwrap(), "/containers/json");
        assert_eq!(versioned("/volumes/x").unwrap(), "/volumes/x");
        assert!(versioned("/v1.23/info").is_err() && versioned("/v9.9/info").is_err());
    }
}
