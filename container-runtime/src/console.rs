//! Handing a terminal to the program that listens on `--console-socket`, and a filter's listener to the seccomp agent.

use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;
use std::time::Duration;

use oci_spec::runtime::Spec;
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags,
    SocketType, connect, sendmsg, socket_with, sockopt,
};

use crate::{Error, State};

/// How long a listener may take to accept.
const PATIENCE: Duration = Duration::from_secs(10);

/// Sends the terminal's master over a unix socket, as `docs/terminals.md` of runc describes.
pub(crate) fn send(path: &Path, master: &OwnedFd) -> Result<(), Error> {
    send_with(path, master, b"/dev/ptmx")
}

/// Sends the listener of a filter that notifies to `linux.seccomp.listenerPath`, with the container's process state
/// (`config-linux.md`, "The Container Process State").
pub(crate) fn send_listener(spec: &Spec, listener: &OwnedFd, pid: i32, state: &State) -> Result<(), Error> {
    let seccomp = spec.linux().as_ref().and_then(|linux| linux.seccomp().as_ref());
    let Some(path) = seccomp.and_then(|seccomp| seccomp.listener_path().as_ref()) else {
        return Err(Error::Config {
            pointer: "/linux/seccomp/listenerPath".to_owned(),
            value: String::new(),
            reason: "is missing, and an action notifies",
        });
    };
    let metadata = seccomp.and_then(|seccomp| seccomp.listener_metadata().clone()).unwrap_or_default();
    let message = serde_json::json!({
        "ociVersion": spec.version(), "fds": ["seccompFd"], "pid": pid, "metadata": metadata, "state": state,
    });
    send_with(path, listener, message.to_string().as_bytes())
}

fn send_with(path: &Path, master: &OwnedFd, message: &[u8]) -> Result<(), Error> {
    let error = |errno: rustix::io::Errno| Error::Console { path: path.to_owned(), source: errno.into() };
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None);
    let socket = socket.map_err(error)?;
    // a listener that never accepts delays connect as well as send
    sockopt::set_socket_timeout(&socket, sockopt::Timeout::Send, Some(PATIENCE)).map_err(error)?;
    connect(&socket, &SocketAddrUnix::new(path).map_err(error)?).map_err(error)?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let fds = [master.as_fd()];
    control.push(SendAncillaryMessage::ScmRights(&fds));
    sendmsg(&socket, &[IoSlice::new(message)], &mut control, SendFlags::NOSIGNAL).map_err(error)?;
    Ok(())
}
