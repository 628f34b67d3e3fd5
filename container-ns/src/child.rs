//! Handles of the processes that were made.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use crate::report::kind;
use crate::spawn::{self, Running};
use crate::{Error, NamespaceKind, sys};

/// A process whose namespaces and id maps exist, and which waits before it mounts anything. This is the point to put network
/// interfaces into its net namespace and to run the OCI hooks `prestart` and `createRuntime`.
///
/// Dropped, the process is killed and reaped.
#[derive(Debug)]
pub struct Meeting(Running);

impl Meeting {
    pub(crate) fn new(running: Running) -> Self {
        Self(running)
    }

    /// Its number in the caller's pid namespace.
    pub fn pid(&self) -> u32 {
        self.0.pid
    }

    /// Its pidfd.
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.0.pidfd.as_fd()
    }

    /// One of its namespaces, to be kept or entered.
    pub fn namespace(&self, kind: NamespaceKind) -> Result<OwnedFd, Error> {
        spawn::namespace_of(&self.0, kind)
    }

    /// What the sandbox's hooks read on stdin: the OCI state of the container. Without hooks it goes nowhere.
    ///
    /// # Errors
    /// [`Error::Process`] if it cannot be written, for want of memory.
    pub fn hook_input(&self, state: &[u8]) -> Result<(), Error> {
        let Some(input) = &self.0.hook_input else { return Ok(()) };
        let mut rest = state;
        while !rest.is_empty() {
            match sys::write(input.as_raw_fd(), rest) {
                Ok(count) => rest = rest.get(count..).unwrap_or(&[]),
                Err(errno) => {
                    return Err(Error::Process {
                        action: "give the hooks' input to",
                        pid: self.0.pid,
                        source: sys::error(errno),
                    });
                }
            }
        }
        Ok(())
    }

    /// Lets it mount, pivot and drop, up to the start gate.
    ///
    /// # Errors
    /// [`Error::Step`] for the step that failed, [`Error::Died`]. Nothing is left of the process then.
    pub fn proceed(mut self) -> Result<Child, Error> {
        self.0.word();
        self.0.follow(&mut std::iter::empty(), Some(kind::READY))?;
        Ok(Child::new(self.0))
    }
}

/// A process in its sandbox.
///
/// Until it is released it waits right before its program. **Drop**: a process that was neither released nor detached is
/// killed and reaped (its gate file is removed); one whose program runs is left alone, and stays a zombie when it
/// ends until somebody waits for it, as with `std::process::Child`.
///
/// It has no exit signal until `execve` gives it `SIGCHLD`: one that fails before its program is seen neither by a
/// `SIGCHLD` handler nor by a `wait` for any child. Afterwards it is a child like others. An embedding program that
/// reaps all children takes the status away from [`Child::wait`], which then asks the pidfd (Linux 6.15) or fails with `ECHILD`.
#[derive(Debug)]
pub struct Child {
    running: Running,
    status: Option<ExitStatus>,
}

impl Child {
    pub(crate) fn new(running: Running) -> Self {
        Self { running, status: None }
    }

    /// Its number in the caller's pid namespace.
    pub fn pid(&self) -> u32 {
        self.running.pid
    }

    /// Its pidfd: readable when it has ended.
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.running.pidfd.as_fd()
    }

    /// One of its namespaces, to be kept or entered.
    pub fn namespace(&self, kind: NamespaceKind) -> Result<OwnedFd, Error> {
        spawn::namespace_of(&self.running, kind)
    }

    /// The master of a [`Terminal::New`](crate::Terminal::New), once.
    pub fn take_terminal(&mut self) -> Option<OwnedFd> {
        self.running.terminal.take()
    }

    /// The listener of a filter that notifies, once.
    pub fn take_listener(&mut self) -> Option<OwnedFd> {
        self.running.listener.take()
    }

    /// Lets the program run. Returns when it has been executed.
    ///
    /// # Errors
    /// [`Error::Step`] if a `startContainer` hook, the filter or the program failed; nothing is left of the process then, and
    /// [`Error::exit_status`] is 127 or 126 if it was the program. [`Error::Died`] if the process was killed while it waited.
    pub fn release(&mut self) -> Result<(), Error> {
        if !self.running.ours {
            return Ok(());
        }
        let running = &mut self.running;
        if sys::alive(running.pidfd.as_fd()) {
            running.word();
            running.follow(&mut std::iter::empty(), None)?;
            running.forget_gate();
            running.ours = false;
            return Ok(());
        }
        // it was killed, or has reported a failure meanwhile
        let pid = running.pid;
        let reported = running.follow(&mut std::iter::empty(), Some(u32::MAX));
        running.forget_gate();
        reported.and(Err(Error::Died { pid }))
    }

    /// Leaves the process as it is to whoever opens its gate with [`open_gate`](crate::open_gate), and returns its pidfd. It is
    /// still a child of the caller: if the caller ends, it goes to the nearest subreaper.
    ///
    /// # Errors
    /// [`Error::Needs`] if it was not released and has no gate by which another could; it is killed then.
    pub fn detach(mut self) -> Result<OwnedFd, Error> {
        if self.running.ours && self.running.gate.is_none() {
            return Err(Error::Needs {
                setting: "detach before release".into(),
                needs: "a gate path in the sandbox",
            });
        }
        let pidfd =
            self.running.pidfd.try_clone().map_err(|source| self.error("keep the pidfd of", source))?;
        self.running.ours = false;
        Ok(pidfd)
    }

    /// Waits until it ends. Cannot be interrupted; use the pidfd or [`Child::finished`] to wait for several things.
    pub fn wait(&mut self) -> Result<ExitStatus, Error> {
        loop {
            if let Some(status) = self.ask(true)? {
                return Ok(status);
            }
        }
    }

    /// Its status if it has ended.
    pub fn try_wait(&mut self) -> Result<Option<ExitStatus>, Error> {
        self.ask(false)
    }

    fn ask(&mut self, block: bool) -> Result<Option<ExitStatus>, Error> {
        if self.status.is_some() {
            return Ok(self.status);
        }
        let pidfd = self.running.pidfd.as_raw_fd();
        let raw = match sys::wait_pidfd(pidfd, block) {
            Ok(None) => return Ok(None),
            Ok(Some(waited)) => match waited.code {
                libc::CLD_EXITED => waited.status << 8,
                libc::CLD_DUMPED => waited.status | 0x80,
                _ => waited.status,
            },
            // reaped by the program that embeds us
            Err(errno) => match sys::pidfd_exit(pidfd) {
                Some(status) => status,
                None => return Err(self.error("wait for", sys::error(errno))),
            },
        };
        self.running.ours = false;
        self.status = Some(ExitStatus::from_raw(raw));
        Ok(self.status)
    }

    /// Sends it a signal, by pidfd: it never reaches another process.
    pub fn signal(&self, signal: i32) -> Result<(), Error> {
        sys::signal_pidfd(self.running.pidfd.as_raw_fd(), signal)
            .map(|_| ())
            .map_err(|errno| self.error("signal", sys::error(errno)))
    }

    /// Waits until it ends, in a tokio runtime with I/O enabled. Cancel-safe.
    #[cfg(feature = "tokio")]
    pub async fn finished(&mut self) -> Result<ExitStatus, Error> {
        if let Some(status) = self.try_wait()? {
            return Ok(status);
        }
        {
            let watched =
                sys::watch(self.running.pidfd.as_fd()).map_err(|source| self.error("watch", source))?;
            let _ = watched.readable().await.map_err(|source| self.error("watch", source))?;
        }
        self.wait()
    }

    fn error(&self, action: &'static str, source: io::Error) -> Error {
        Error::Process { action, pid: self.running.pid, source }
    }
}
