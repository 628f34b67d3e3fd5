//! A process that is recognized again: by number and start time, held by a pidfd.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open, pidfd_send_signal};

use crate::{Error, Signal};

/// A process by number and start time, which together name it once and for all until the next boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) pid: i32,
    /// Clock ticks after boot, field 22 of `/proc/PID/stat`.
    pub(crate) start_time: u64,
}

/// A process held by its descriptor: what is done to it is never done to a later process of its number.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) pid: i32,
    pub(crate) pidfd: OwnedFd,
}

impl Identity {
    /// The identity of a process that is known to live, e.g. a child that nobody has waited for.
    pub(crate) fn of(pid: i32) -> Result<Self, Error> {
        let (_, start_time) =
            stat(pid).map_err(|source| Error::Process { operation: "identify", pid, source })?;
        Ok(Self { pid, start_time })
    }

    /// Takes hold of the process; none if it has ended, or its number is another's now.
    pub(crate) fn hold(self) -> Result<Option<Held>, Error> {
        let Some(pid) = Pid::from_raw(self.pid) else { return Ok(None) };
        let pidfd = match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(pidfd) => pidfd,
            Err(Errno::SRCH | Errno::INVAL) => return Ok(None),
            Err(errno) => {
                return Err(Error::Process { operation: "open", pid: self.pid, source: errno.into() });
            }
        };
        // read after the descriptor is open: if the start time is right, the descriptor is of that process
        match stat(self.pid) {
            Ok((state, start_time)) if start_time == self.start_time && !matches!(state, b'Z' | b'X') => {
                Ok(Some(Held { pid: self.pid, pidfd }))
            }
            _ => Ok(None),
        }
    }

    pub(crate) fn lives(self) -> bool {
        stat(self.pid).is_ok_and(|(state, start)| start == self.start_time && !matches!(state, b'Z' | b'X'))
    }
}

impl Held {
    /// Sends a signal; false if the process has ended.
    pub(crate) fn signal(&self, signal: Signal) -> Result<bool, Error> {
        let error = |source| Error::Process { operation: "signal", pid: self.pid, source };
        let number = rustix::process::Signal::from_named_raw(signal.number());
        let sent = match number {
            Some(number) => pidfd_send_signal(&self.pidfd, number).map_err(io::Error::from),
            None => crate::sys::pidfd_send_realtime(&self.pidfd, signal.number()),
        };
        match sent {
            Ok(()) => Ok(true),
            Err(source) if source.raw_os_error() == Some(libc::ESRCH) => Ok(false),
            Err(source) => Err(error(source)),
        }
    }

    /// Waits until the process has ended; false if it has not in time.
    pub(crate) fn wait_end(&self, patience: Duration) -> Result<bool, Error> {
        let end = std::time::Instant::now() + patience;
        loop {
            let left = end.saturating_duration_since(std::time::Instant::now());
            let timeout =
                Timespec { tv_sec: left.as_secs().cast_signed(), tv_nsec: i64::from(left.subsec_nanos()) };
            match rustix::event::poll(&mut [PollFd::new(&self.pidfd, PollFlags::IN)], Some(&timeout)) {
                Err(Errno::INTR) => {}
                Ok(ready) => return Ok(ready > 0),
                Err(errno) => {
                    return Err(Error::Process {
                        operation: "wait for",
                        pid: self.pid,
                        source: errno.into(),
                    });
                }
            }
        }
    }
}

/// State letter and start time from `/proc/PID/stat`.
fn stat(pid: i32) -> io::Result<(u8, u64)> {
    // one line of some 300 bytes, given whole by the first read
    let mut buffer = [0; 1024];
    let length = io::Read::read(&mut std::fs::File::open(format!("/proc/{pid}/stat"))?, &mut buffer)?;
    let text = buffer.get(..length).unwrap_or_default();
    // the name in parentheses may hold anything, so count from its end
    let end = text.iter().rposition(|&b| b == b')').ok_or(io::ErrorKind::InvalidData)?;
    let rest = std::str::from_utf8(text.get(end + 1..).unwrap_or_default()).map_err(io::Error::other)?;
    let mut words = rest.split_whitespace();
    let state = words.next().and_then(|word| word.bytes().next()).ok_or(io::ErrorKind::InvalidData)?;
    let start = words.nth(18).and_then(|word| word.parse().ok()).ok_or(io::ErrorKind::InvalidData)?;
    Ok((state, start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_held_only_by_its_own_start_time() {
        let pid = std::process::id().cast_signed();
        let me = Identity::of(pid).expect("this process");
        assert!(me.lives() && me.hold().expect("hold").is_some());
        let other = Identity { start_time: me.start_time + 1, ..me };
        assert!(!other.lives() && other.hold().expect("hold").is_none());
        assert!(Identity { pid: 0, start_time: 0 }.hold().expect("hold").is_none());
    }
}
