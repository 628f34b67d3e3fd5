//! `/containers/{id}/attach`: a connection that becomes a container's input and output.

use std::rc::Rc;

use container_engine::{Attachment, Input, Output, Phase, Piece, RemoveOptions};
use hyper::header::{CONNECTION, CONTENT_TYPE, HeaderValue, UPGRADE};
use hyper::upgrade::OnUpgrade;
use hyper::{Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::oneshot;

use super::body::empty;
use super::container::kind;
use super::route::Call;
use super::{Fault, Reply, Server, shape};

/// The answer after which the connection is no longer HTTP.
pub(super) fn switched(tty: bool) -> Response<Reply> {
    let mut response = empty(StatusCode::SWITCHING_PROTOCOLS);
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("tcp"));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind(tty)));
    response
}

/// Which of a container's streams a client wants.
#[derive(Clone, Copy)]
struct Wanted {
    stdin: bool,
    stdout: bool,
    stderr: bool,
    tty: bool,
}

pub(super) async fn attach(mut call: Call, id: &str) -> Result<Response<Reply>, Fault> {
    let name = id.to_owned();
    let container = call.server.call(|engine| async move { engine.container(&name).await }).await?;
    let query = &call.query;
    if query.flag("logs", false)? {
        return Err(Fault::bad("logs=true is not supported: ask for the logs by themselves"));
    }
    let streams = query.flag("stream", false)?;
    let wanted = Wanted {
        stdin: streams && query.flag("stdin", false)?,
        stdout: streams && query.flag("stdout", false)?,
        stderr: streams && query.flag("stderr", false)?,
        tty: container.options.tty,
    };
    let response = switched(wanted.tty);
    let upgrade = hyper::upgrade::on(&mut call.request);
    let server = Rc::clone(&call.server);
    let remove = container.options.auto_remove;
    if matches!(container.phase, Phase::Running { .. }) {
        let id = container.id.clone();
        let attachment = server.call(|engine| async move { engine.attach(&id).await }).await?;
        tokio::task::spawn_local(async move { converse(upgrade, attachment, wanted).await });
        return Ok(response);
    }
    // it is connected from its first byte on when somebody starts it
    let (sender, receiver) = oneshot::channel();
    server.waiting.borrow_mut().entry(container.id.clone()).or_default().push(sender);
    tokio::task::spawn_local(async move {
        let Ok(attachment) = receiver.await else { return };
        let ended = converse(upgrade, attachment, wanted).await;
        if remove && ended {
            server.remove_ended(&container.id).await;
        }
    });
    Ok(response)
}

impl Server {
    /// Starts a container, and gives its output to those who wait for it.
    pub(super) async fn start(self: &Rc<Self>, id: &str) -> Result<(), Fault> {
        let waiting = self.waiting.borrow_mut().remove(id).unwrap_or_default();
        let mut waiting = waiting.into_iter().filter(|sender| !sender.is_closed());
        let own = id.to_owned();
        let Some(first) = waiting.next() else {
            return self.call(|engine| async move { engine.start(&own).await }).await;
        };
        let attachment = self.call(|engine| async move { engine.start_attached(&own).await }).await?;
        // a client that went away meanwhile wants nothing any more
        let _ = first.send(attachment);
        for sender in waiting {
            let own = id.to_owned();
            let attachment = self.call(|engine| async move { engine.attach(&own).await }).await?;
            let _ = sender.send(attachment);
        }
        Ok(())
    }

    /// Removes a container that was to go when it ends, and has ended.
    async fn remove_ended(&self, id: &str) {
        let id = id.to_owned();
        // somebody else may be faster, and what is left half done the engine's next opening finishes
        let _ = self
            .call(|engine| async move {
                engine.wait(&id).await?;
                engine.remove_container(&id, RemoveOptions { force: false, volumes: true }).await
            })
            .await;
    }
}

/// Copies both ways until the container ends, which gives true, or the client goes away.
async fn converse(upgrade: OnUpgrade, attachment: Attachment, wanted: Wanted) -> bool {
    let Attachment { mut output, input } = attachment;
    let Ok(upgraded) = upgrade.await else {
        return drained(&mut output).await;
    };
    let (reader, mut writer) = tokio::io::split(TokioIo::new(upgraded));
    let feeding = tokio::task::spawn_local(feed(reader, input, wanted.stdin));
    let mut gone = false;
    let ended = loop {
        let Ok(piece) = output.next().await else { break false };
        let (number, bytes) = match piece {
            Piece::Stdout(bytes) if wanted.stdout => (1, bytes),
            Piece::Stderr(bytes) if wanted.stderr => (2, bytes),
            Piece::Stdout(_) | Piece::Stderr(_) => continue,
            Piece::Exited(_) => break true,
            Piece::Closed => break false,
        };
        if gone || bytes.is_empty() {
            continue;
        }
        let written = if wanted.tty {
            writer.write_all(bytes).await
        } else {
            writer.write_all(&shape::frame(number, bytes)).await
        };
        // the container goes on without the client
        gone = written.is_err();
    };
    feeding.abort();
    let _ = writer.shutdown().await;
    ended
}

/// Reads what comes to its end; true if that is the container's.
async fn drained(output: &mut Output) -> bool {
    loop {
        match output.next().await {
            Ok(Piece::Exited(_)) => return true,
            Ok(Piece::Closed) | Err(_) => return false,
            Ok(_) => {}
        }
    }
}

async fn feed(mut reader: impl AsyncRead + Unpin, mut input: Input, wanted: bool) {
    let mut buffer = vec![0; 32 << 10];
    loop {
        match reader.read(&mut buffer).await {
            Ok(0) => {
                if wanted {
                    let _ = input.close().await;
                }
                // kept open, so that the output goes on
                return std::future::pending().await;
            }
            Ok(count) if wanted => {
                if input.write(&buffer[..count]).await.is_err() {
                    return;
                }
            }
            Ok(_) => {}
            Err(_) => return,
        }
    }
}

/// Copies between a client and pipes.
pub(super) async fn copy_out(
    writer: &mut (impl AsyncWrite + Unpin),
    number: Option<u8>,
    bytes: &[u8],
) -> std::io::Result<()> {
    match number {
        None => writer.write_all(bytes).await,
        Some(number) => writer.write_all(&shape::frame(number, bytes)).await,
    }
}

pub(super) async fn resize(call: &Call, id: &str) -> Result<Response<Reply>, Fault> {
    let (rows, columns) = size(call)?;
    let id = id.to_owned();
    call.server
        .call(move |engine| async move {
            let mut attachment = engine.attach(&id).await?;
            attachment.input.resize(columns, rows).await
        })
        .await?;
    Ok(empty(StatusCode::OK))
}

/// Rows and columns that a request asks for.
pub(super) fn size(call: &Call) -> Result<(u16, u16), Fault> {
    let of = |name| call.query.number(name)?.ok_or_else(|| Fault::bad(format!("{name} is missing")));
    Ok((of("h")?, of("w")?))
}
