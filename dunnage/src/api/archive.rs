//! Files into and out of containers: `/containers/ID/archive`.

use std::io::{self, Read as _};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use container_engine::{Engine, FileStat, inflate, rfc3339};
use hyper::Response;
use hyper::StatusCode;
use hyper::header::HeaderValue;
use serde_json::json;

use super::body::{Download, Reply, empty, stream, upload};
use super::route::Call;
use super::{Fault, route};

/// So many bytes behind an archive, or behind what was wrong with it, are read.
const BEHIND: u64 = 64 << 20;
const STAT: &str = "X-Docker-Container-Path-Stat";

/// `HEAD`: what is there, in a header.
pub(super) async fn stat(call: &Call, id: &str) -> Result<Response<Reply>, Fault> {
    let (id, path) = (id.to_owned(), path(call)?);
    let stat = call.server.call(|engine| async move { engine.stat_file(&id, &path).await }).await?;
    let mut response = empty(StatusCode::OK);
    response.headers_mut().insert(STAT, header(&stat)?);
    Ok(response)
}

/// `GET`: what is there, as an archive.
pub(super) async fn read(call: &Call, id: &str) -> Result<Response<Reply>, Fault> {
    let (name, wanted) = (id.to_owned(), path(call)?);
    let (first, at) = (name.clone(), wanted.clone());
    let stat = call.server.call(|engine| async move { engine.stat_file(&first, &at).await }).await?;
    let (sender, mut response) = stream("application/x-tar");
    response.headers_mut().insert(STAT, header(&stat)?);
    let engine = std::sync::Arc::clone(&call.server.engine);
    let runtime = tokio::runtime::Handle::current();
    tokio::task::spawn_blocking(move || {
        // a failure in the middle ends the stream, which is no whole archive then
        let output = std::io::BufWriter::with_capacity(64 << 10, Download(sender));
        runtime.block_on(engine.read_files(&name, &wanted, None, output))
    });
    Ok(response)
}

/// `PUT`: an archive, unpacked into a directory.
pub(super) async fn write(call: Call, id: &str) -> Result<Response<Reply>, Fault> {
    let (id, path) = (id.to_owned(), path(&call)?);
    // a directory never takes a file's place here, nor the other way about
    call.query.flag("noOverwriteDirNonDir", true)?;
    let keep = call.query.flag("copyUIDGID", false)?;
    let route::Call { server, request, .. } = call;
    let mut archive = std::io::BufReader::with_capacity(64 << 10, upload(request.into_body()));
    let owner = if keep { None } else { Some((0, 0)) };
    let work = move |engine: std::sync::Arc<Engine>| async move {
        // it may be packed
        let unpacked = match inflate(&mut archive) {
            Ok(plain) => engine.write_files(&id, &path, plain, owner).await,
            Err(error) => Err(error.into()),
        };
        // a client that is still sending hears no answer
        let _ = io::copy(&mut archive.take(BEHIND), &mut io::sink());
        unpacked
    };
    server.call(work).await?;
    Ok(empty(StatusCode::OK))
}

fn path(call: &Call) -> Result<String, Fault> {
    let path = call.query.text("path").filter(|path| !path.is_empty());
    path.map(str::to_owned).ok_or_else(|| Fault::bad("path cannot be empty"))
}

fn header(stat: &FileStat) -> Result<HeaderValue, Fault> {
    let value = json!({
        "name": stat.name, "size": stat.size, "mode": go_mode(stat.mode), "mtime": rfc3339(stat.modified),
        "linkTarget": stat.link_target,
    });
    HeaderValue::try_from(STANDARD.encode(value.to_string()))
        .map_err(|_| Fault::internal("a header cannot be written"))
}

/// `st_mode` as Go's `os.FileMode` has it.
fn go_mode(mode: u32) -> u32 {
    let kind = match mode & 0o170_000 {
        0o040_000 => 1 << 31,
        0o120_000 => 1 << 27,
        0o060_000 => 1 << 26,
        0o020_000 => 1 << 26 | 1 << 21,
        0o010_000 => 1 << 25,
        0o140_000 => 1 << 24,
        _ => 0,
    };
    let bit = |from: u32, to: u32| if mode & from == 0 { 0 } else { 1 << to };
    kind | bit(0o4000, 23) | bit(0o2000, 22) | bit(0o1000, 20) | mode & 0o777
}

#[cfg(test)]
mod tests {
    use super::go_mode;

    #[test]
    fn modes_are_those_of_go() {
        assert_eq!(go_mode(0o040_755), 0x8000_01ed);
        assert_eq!(go_mode(0o104_755), 0x0080_01ed);
        assert_eq!(go_mode(0o120_777), 0x0800_01ff);
    }
}
