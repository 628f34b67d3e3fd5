//! The start gate as seen from another process.

use std::ffi::OsString;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use crate::report::{Message, SIZE, kind};
use crate::{Error, StepKind, execute, sys};

/// Longest path that fits `sun_path`.
const LONGEST: usize = 107;

/// A path short enough for a socket address: itself, or through a descriptor of its directory.
fn address(path: &Path) -> std::io::Result<(PathBuf, Option<OwnedFd>)> {
    if path.as_os_str().len() <= LONGEST {
        return Ok((path.to_owned(), None));
    }
    let dir = OwnedFd::from(std::fs::File::open(path.parent().unwrap_or(Path::new("/")))?);
    let mut short = OsString::from(format!("/proc/self/fd/{}/", dir.as_raw_fd()));
    short.push(path.file_name().unwrap_or_default());
    Ok((short.into(), Some(dir)))
}

pub(crate) fn listen(path: &Path, floor: RawFd) -> Result<OwnedFd, Error> {
    let error = |source| Error::Gate { path: path.to_owned(), source };
    let (short, _dir) = address(path).map_err(error)?;
    let listener = UnixListener::bind(short).map_err(error)?;
    sys::raise(listener.into(), floor).map_err(|errno| {
        let _ = std::fs::remove_file(path);
        error(sys::error(errno))
    })
}

/// Opens the start gate of a process that waits at `path`, see [`Sandbox::gate`](crate::Sandbox::gate), from any process
/// that may connect to the socket. Removes the socket file once the process has gone through. Returns when the program runs.
///
/// The waiting process listens on a unix socket and accepts one connection; it holds nothing else of the caller that made
/// it. The connection is closed by its `execve`, which is the good news; bad news comes as a message.
///
/// # Errors
/// [`Error::Gate`] if nothing is there (`ENOENT`), or the process has died or has been released already (`ECONNREFUSED`);
/// [`Error::Step`] if a `startContainer` hook, the filter or the program failed: [`Error::exit_status`] tells 126 from 127.
pub fn open_gate(path: &Path) -> Result<(), Error> {
    let error = |source| Error::Gate { path: path.to_owned(), source };
    let (short, _dir) = address(path).map_err(error)?;
    let stream = UnixStream::connect(short).map_err(error)?;
    let mut bytes = [0; SIZE];
    let mut filled = 0;
    while filled < SIZE {
        match sys::read(stream.as_raw_fd(), bytes.get_mut(filled..).unwrap_or(&mut [])) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(libc::EINTR) => {}
            Err(errno) => return Err(error(sys::error(errno))),
        }
    }
    let _ = std::fs::remove_file(path);
    let message = Message::from_bytes(&bytes);
    if filled < SIZE || message.kind != kind::FAILED {
        return Ok(());
    }
    let call = execute::NAMES.get(message.call as usize).copied().unwrap_or("system call");
    Err(Error::Step {
        step: message.step as usize,
        kind: match call {
            "execve" => StepKind::Execute,
            "seccomp" => StepKind::Seccomp,
            "capset" => StepKind::Capabilities,
            _ => StepKind::Hook,
        },
        object: format!("of the process behind {}", path.display()),
        call,
        message: message.text(),
        source: sys::error(message.errno),
    })
}
