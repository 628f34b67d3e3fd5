//! Hooks that run on the host: `prestart`, `createRuntime`, `poststart`, `poststop` (`config.md`, "POSIX-platform Hooks").

use std::io::{Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use oci_spec::runtime::Hook;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::{Error, HookFailure};

/// How much of a hook's stderr an error repeats.
const STDERR_KEPT: usize = 1024;

/// Runs a list of hooks in order, each with the state on its stdin, until one fails.
pub(crate) fn run(
    kind: &'static str,
    hooks: Option<&Vec<Hook>>,
    state: &[u8],
    bundle: &Path,
) -> Result<(), Error> {
    for (index, hook) in hooks.into_iter().flatten().enumerate() {
        run_one(hook, state, bundle).map_err(|failure| Error::Hook {
            kind,
            index,
            path: hook.path().clone(),
            failure,
        })?;
    }
    Ok(())
}

/// The time a hook may take: whole seconds greater than zero.
pub(crate) fn timeout(hook: &Hook) -> Option<Duration> {
    hook.timeout().and_then(|seconds| u64::try_from(seconds).ok()).filter(|&s| s > 0).map(Duration::from_secs)
}

fn run_one(hook: &Hook, state: &[u8], bundle: &Path) -> Result<(), HookFailure> {
    let mut command = Command::new(hook.path());
    if let Some((name, rest)) = hook.args().as_deref().and_then(<[String]>::split_first) {
        command.arg0(name).args(rest);
    }
    command.env_clear().current_dir(bundle);
    for entry in hook.env().iter().flatten() {
        if let Some((key, value)) = entry.split_once('=').filter(|(key, _)| !key.is_empty()) {
            command.env(key, value);
        }
    }
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    // a group of its own: what a shell started for it ends with it
    command.process_group(0);
    let mut child = command.spawn().map_err(HookFailure::Run)?;
    let done = attend(&mut child, state, timeout(hook));
    if let Err(HookFailure::Timeout(_)) = done
        && let Some(group) = Pid::from_raw(child.id().cast_signed())
    {
        // its first process is not waited for yet, so the number is its own
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
    }
    if done.is_err() {
        // it may have ended meanwhile; the error that led here is the one to report
        let _ = child.kill();
        let _ = child.wait();
    }
    done
}

/// Feeds and drains the hook until it ends, without ever waiting for a pipe that it does not serve.
fn attend(child: &mut Child, state: &[u8], patience: Option<Duration>) -> Result<(), HookFailure> {
    let run = |errno: rustix::io::Errno| HookFailure::Run(errno.into());
    let end = patience.map(|patience| (Instant::now() + patience, patience));
    let pid = Pid::from_raw(child.id().cast_signed()).ok_or(HookFailure::Run(libc_invalid()))?;
    let pidfd = pidfd_open(pid, PidfdFlags::empty()).map_err(run)?;
    let mut stdin = child.stdin.take();
    let mut stderr = child.stderr.take();
    for fd in [stdin.as_ref().map(|f| f.as_fd()), stderr.as_ref().map(|f| f.as_fd())].into_iter().flatten() {
        rustix::io::ioctl_fionbio(fd, true).map_err(run)?;
    }
    let (mut sent, mut said) = (0, Vec::new());
    loop {
        let left = end.map(|(end, _)| end.saturating_duration_since(Instant::now()));
        if let (Some((_, patience)), Some(Duration::ZERO)) = (end, left) {
            return Err(HookFailure::Timeout(patience));
        }
        let mut polled = vec![PollFd::new(&pidfd, PollFlags::IN)];
        polled.extend(stderr.as_ref().map(|pipe| PollFd::new(pipe, PollFlags::IN)));
        polled.extend(stdin.as_ref().map(|pipe| PollFd::new(pipe, PollFlags::OUT)));
        let timeout = left.map(|left| Timespec {
            tv_sec: left.as_secs().cast_signed(),
            tv_nsec: i64::from(left.subsec_nanos()),
        });
        match rustix::event::poll(&mut polled, timeout.as_ref()) {
            Err(rustix::io::Errno::INTR) => continue,
            done => done.map_err(run)?,
        };
        let ended = polled.first().is_some_and(|fd| !fd.revents().is_empty());
        if let Some(pipe) = stdin.as_mut() {
            match pipe.write(state.get(sent..).unwrap_or_default()) {
                Ok(written) if sent + written < state.len() => sent += written,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                // all sent, or the hook does not read it, which is its right
                _ => stdin = None,
            }
        }
        if let Some(pipe) = stderr.as_mut() {
            let mut buffer = [0; 4096];
            match pipe.read(&mut buffer) {
                Ok(0) => stderr = None,
                Ok(read) => {
                    said.extend_from_slice(buffer.get(..read).unwrap_or_default());
                    let surplus = said.len().saturating_sub(STDERR_KEPT);
                    said.drain(..surplus);
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(_) => stderr = None,
            }
        }
        if ended {
            let status = child.wait().map_err(HookFailure::Run)?;
            if status.success() {
                return Ok(());
            }
            let stderr = crate::error::printable(String::from_utf8_lossy(&said).trim());
            return Err(HookFailure::Status { status, stderr });
        }
    }
}

fn libc_invalid() -> std::io::Error {
    std::io::Error::from_raw_os_error(libc::EINVAL)
}
