//! The process beside a running container: it owns stdio, log, exit status, restarts, networks and names of it.
//!
//! It runs the bundle in a directory that `container-engine` makes (mode 0700), with these files:
//!
//! | file | by | what |
//! |---|---|---|
//! | `config.json` | engine | the OCI configuration, with the extension of a mount at `/` |
//! | `monitor.json` | engine | a [`MonitorSpec`] |
//! | `lock` | monitor | locked (`flock`, exclusive) for as long as the monitor lives: liveness never rests on a number |
//! | `monitor.pid` | monitor | its number |
//! | `status.json` | monitor | a [`MonitorStatus`], replaced by rename |
//! | `attach.sock` | monitor | a unix stream socket that speaks frames |
//! | `stop-requested` | engine | made before it signals the process: no restart |
//!
//! **Frames** are Docker's raw-stream header (kind, three zeros, length in network order) and content: see [`FrameKind`]. stdin goes
//! to the process (an empty frame is its end), stdout and stderr come from it, and control is a [`ToMonitor`] or [`FromMonitor`]
//! in JSON. `exited` is the last frame. The socket given as `--attach-fd` speaks the same and is attached before the process starts.
//!
//! **Order**: a piece of output is in the log before a client sees it (the beginning of a line, which is not in the log before its end, excepted). A client that does
//! not read is dropped when it is 256 KiB behind; the one of `--attach-fd` holds the process up instead.
//!
//! **Health**: a command in the container, run as [`HealthSpec`] says; what it tells stands in `status.json`, and each change of the verdict is an event.
//!
//! **SIGTERM** asks the monitor to stop the container: stop signal, patience, kill, no restart. A monitor that is killed takes the process with
//! it (parent death signal); what else it leaves, the next monitor of the directory clears away.

mod client;
mod frame;
mod health;
mod log;
mod network;
mod serve;
mod spec;
mod status;
mod stdio;
mod watch;

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

pub use frame::{FrameKind, FromMonitor, ToMonitor};
pub use health::{Health, HealthProbe, HealthSpec, HealthStatus};
pub use spec::{LogSpec, MonitorSpec, Resolv, Restart};
pub use status::{MonitorStatus, NetworkStatus, Report};

use crate::{Error, Signals};

/// Becomes the monitor of `directory` and returns, with the program's exit code, when the container is down for good.
///
/// It takes this whole process over, which must have one thread: a session of its own, signals blocked, stdio nulled (stderr once the
/// container has started). To `sync` it writes one line, a [`Report`]; `attach` is a stream socket. When the first start fails, everything
/// that was made is removed, and the error is returned as well.
pub fn run(directory: &Path, sync: Option<OwnedFd>, attach: Option<OwnedFd>) -> Result<i32, Error> {
    // fails only for a leader of a process group, which a forked child of ours is not
    let _ = rustix::process::setsid();
    null_stdio(false).map_err(Error::file("open", "/dev/null"))?;
    let signals = Signals::block().map_err(Error::file("receive", "signals"))?;
    match watch::Monitor::new(directory, signals, attach) {
        Ok(monitor) => monitor.watch(sync),
        Err(error) => {
            if let (Some(sync), Ok(mut line)) = (sync, serde_json::to_vec(&Report::of(&error))) {
                use std::io::Write as _;
                line.push(b'\n');
                let _ = File::from(sync).write_all(&line);
            }
            Err(error)
        }
    }
}

/// Puts `/dev/null` in the place of stdin and stdout, or of stderr.
fn null_stdio(stderr: bool) -> io::Result<()> {
    let null = File::options().read(true).write(true).open("/dev/null")?;
    if stderr {
        rustix::stdio::dup2_stderr(&null)?;
    } else {
        rustix::stdio::dup2_stdin(&null)?;
        rustix::stdio::dup2_stdout(&null)?;
    }
    Ok(())
}
