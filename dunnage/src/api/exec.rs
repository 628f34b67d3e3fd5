//! `/exec`: further commands in running containers.

use std::os::fd::OwnedFd;
use std::time::Duration;

use container_engine::ExecOptions;
use hyper::{Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::net::unix::pipe;

use super::attach::{copy_out, size, switched};
use super::body::{empty, json as reply, ok, read_json};
use super::create::Fields;
use super::route::Call;
use super::{Fault, Reply, Server};

/// A command that was described, and perhaps started.
pub(super) struct Exec {
    container: String,
    options: ExecOptions,
    state: State,
    terminal: Option<OwnedFd>,
    pid: i32,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Described,
    Running,
    Ended(i32),
}

/// How long output is held back behind the headers of its answer.
const HEADERS_FIRST: Duration = Duration::from_millis(4);
/// So many are remembered; the oldest that has ended makes room.
const REMEMBERED: usize = 10_000;

pub(super) async fn create(call: Call, id: &str) -> Result<Response<Reply>, Fault> {
    let Call { server, request, .. } = call;
    let mut fields = Fields::new("", read_json(request.into_body()).await?)?;
    let options = ExecOptions {
        command: fields.texts("Cmd")?,
        env: fields.texts("Env")?,
        user: fields.text("User")?,
        working_dir: fields.text("WorkingDir")?,
        tty: fields.flag("Tty")?,
        stdin: fields.flag("AttachStdin")?,
        detached: false,
        privileged: fields.flag("Privileged")?,
        piped: true,
    };
    // output goes to whoever starts it; detach keys are the client's own
    fields.pass(&["AttachStdout", "AttachStderr", "DetachKeys", "ConsoleSize", "Detach"]);
    // docker-py says once more what the path says
    fields.pass(&["Container"]);
    fields.finish()?;
    if options.command.is_empty() {
        return Err(Fault::bad("No exec command specified"));
    }
    let name = id.to_owned();
    let container = server.call(|engine| async move { engine.container(&name).await }).await?;
    if !container.phase.is_running() {
        return Err(container_engine::Error::ContainerNotRunning(container.name).into());
    }
    let id = server.engine.new_id()?;
    let mut execs = server.execs.borrow_mut();
    if execs.len() >= REMEMBERED {
        execs.retain(|_, exec| !matches!(exec.state, State::Ended(_)));
    }
    execs.insert(
        id.clone(),
        Exec { container: container.id, options, state: State::Described, terminal: None, pid: 0 },
    );
    Ok(reply(StatusCode::CREATED, &json!({ "Id": id })))
}

fn missing(id: &str) -> Fault {
    Fault::missing(format!("No such exec instance: {id}"))
}

pub(super) async fn start(mut call: Call, id: &str) -> Result<Response<Reply>, Fault> {
    let upgrade = hyper::upgrade::on(&mut call.request);
    let Call { server, request, .. } = call;
    let mut fields = Fields::new("", read_json(request.into_body()).await?)?;
    let detach = fields.flag("Detach")?;
    fields.pass(&["Tty", "ConsoleSize"]);
    fields.finish()?;
    let (container, mut options) = {
        let mut execs = server.execs.borrow_mut();
        let exec = execs.get_mut(id).ok_or_else(|| missing(id))?;
        if exec.state != State::Described {
            return Err(Fault::new(StatusCode::CONFLICT, format!("exec {id} was started already")));
        }
        exec.state = State::Running;
        (exec.container.clone(), exec.options.clone())
    };
    options.detached = detach;
    let (tty, stdin) = (options.tty, options.stdin);
    let started = server.call(|engine| async move { engine.exec(&container, &options).await }).await;
    let mut process = match started {
        Ok(process) => process,
        Err(fault) => {
            server.ended(id, 126);
            return Err(fault);
        }
    };
    let pipes = process.take_pipes();
    let terminal = process.take_terminal();
    if let Some(exec) = server.execs.borrow_mut().get_mut(id) {
        exec.pid = process.pid();
        exec.terminal = terminal.as_ref().and_then(|terminal| terminal.try_clone().ok());
    }
    let id = id.to_owned();
    if detach {
        tokio::task::spawn_local(async move {
            let code = process.wait().await.unwrap_or(255);
            server.ended(&id, code);
        });
        return Ok(empty(StatusCode::OK));
    }
    tokio::task::spawn_local(async move {
        converse(upgrade, process, pipes, terminal, stdin, |code| server.ended(&id, code)).await;
    });
    Ok(switched(tty))
}

/// Copies both ways until all output has come, and tells the exit code before the client sees the end, after which it asks for it. A client
/// that goes away hangs a terminal up, and else lets the command go on.
async fn converse(
    upgrade: hyper::upgrade::OnUpgrade,
    mut process: container_engine::ExecProcess,
    pipes: Option<container_engine::Pipes>,
    terminal: Option<OwnedFd>,
    stdin: bool,
    ended: impl FnOnce(i32),
) {
    let upgraded = upgrade.await;
    // docker-py throws away what comes with the headers in one piece
    tokio::time::sleep(HEADERS_FIRST).await;
    let (mut to_process, mut outputs) = (None, Vec::new());
    let open = |fd: OwnedFd| pipe::Receiver::from_owned_fd_unchecked(fd).ok();
    if let Some(master) = terminal {
        let _ = rustix::io::ioctl_fionbio(&master, true);
        to_process = master.try_clone().ok().and_then(|fd| pipe::Sender::from_owned_fd_unchecked(fd).ok());
        outputs.extend(open(master).map(|receiver| (None, receiver)));
    } else if let Some(pipes) = pipes {
        for fd in [&pipes.stdin, &pipes.stdout, &pipes.stderr] {
            let _ = rustix::io::ioctl_fionbio(fd, true);
        }
        to_process = pipe::Sender::from_owned_fd_unchecked(pipes.stdin).ok();
        outputs.extend(open(pipes.stdout).map(|receiver| (Some(1), receiver)));
        outputs.extend(open(pipes.stderr).map(|receiver| (Some(2), receiver)));
    }
    let Ok(upgraded) = upgraded else {
        drop((to_process, outputs));
        return ended(process.wait().await.unwrap_or(255));
    };
    let (reader, mut writer) = tokio::io::split(TokioIo::new(upgraded));
    let feeding = tokio::task::spawn_local(feed(reader, to_process.filter(|_| stdin)));
    let mut buffer = vec![0; 32 << 10];
    let mut gone = false;
    while !outputs.is_empty() {
        let (index, count) = next(&mut outputs, &mut buffer).await;
        if count == 0 {
            outputs.remove(index);
        } else if !gone {
            let number = outputs[index].0;
            gone = copy_out(&mut writer, number, &buffer[..count]).await.is_err();
        }
    }
    ended(process.wait().await.unwrap_or(255));
    feeding.abort();
    let _ = writer.shutdown().await;
}

/// Waits for output: whose it is, and how much; nothing at its end.
async fn next(outputs: &mut [(Option<u8>, pipe::Receiver)], buffer: &mut [u8]) -> (usize, usize) {
    loop {
        let mut waits: Vec<_> = outputs.iter().map(|(_, receiver)| Box::pin(receiver.readable())).collect();
        std::future::poll_fn(|context| {
            let ready = waits.iter_mut().any(|wait| wait.as_mut().poll(context).is_ready());
            if ready { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
        })
        .await;
        drop(waits);
        for (index, (_, receiver)) in outputs.iter().enumerate() {
            match receiver.try_read(buffer) {
                Ok(count) => return (index, count),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                // a terminal whose last process has ended
                Err(_) => return (index, 0),
            }
        }
    }
}

async fn feed(mut reader: impl tokio::io::AsyncRead + Unpin, mut to: Option<pipe::Sender>) {
    use tokio::io::AsyncReadExt as _;
    let mut buffer = vec![0; 32 << 10];
    while let Ok(count @ 1..) = reader.read(&mut buffer).await {
        let failed = match &mut to {
            Some(sender) => sender.write_all(&buffer[..count]).await.is_err(),
            None => false,
        };
        if failed {
            to = None;
        }
    }
    // the end of the client's input is the end of the command's
    drop(to);
    std::future::pending::<()>().await;
}

impl Server {
    fn ended(&self, id: &str, code: i32) {
        if let Some(exec) = self.execs.borrow_mut().get_mut(id) {
            exec.state = State::Ended(code);
            exec.terminal = None;
        }
    }
}

pub(super) fn resize(call: &Call, id: &str) -> Result<Response<Reply>, Fault> {
    let (rows, columns) = size(call)?;
    let execs = call.server.execs.borrow();
    let exec = execs.get(id).ok_or_else(|| missing(id))?;
    if let Some(terminal) = &exec.terminal {
        let size = rustix::termios::Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        rustix::termios::tcsetwinsize(terminal, size)
            .map_err(|errno| Fault::internal(std::io::Error::from(errno).to_string()))?;
    }
    Ok(empty(StatusCode::OK))
}

pub(super) fn inspect(call: &Call, id: &str) -> Result<Response<Reply>, Fault> {
    let execs = call.server.execs.borrow();
    let exec = execs.get(id).ok_or_else(|| missing(id))?;
    let code = match exec.state {
        State::Ended(code) => json!(code),
        _ => json!(null),
    };
    let command = &exec.options.command;
    Ok(ok(&json!({
        "ID": id,
        "Running": exec.state == State::Running,
        "ExitCode": code,
        "ProcessConfig": {
            "tty": exec.options.tty,
            "entrypoint": command.first(),
            "arguments": command.get(1..).unwrap_or_default(),
            "privileged": exec.options.privileged,
            "user": exec.options.user.clone().unwrap_or_default(),
        },
        "OpenStdin": exec.options.stdin,
        "OpenStdout": true,
        "OpenStderr": true,
        "CanRemove": matches!(exec.state, State::Ended(_)),
        "ContainerID": exec.container,
        "DetachKeys": "",
        "Pid": exec.pid,
    })))
}
