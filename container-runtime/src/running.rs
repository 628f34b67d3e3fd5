use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;

use container_cgroup::Group;
use container_ns::{Child, NamespaceKind};
use oci_spec::runtime::Hooks;

use crate::record::Record;
use crate::{ContainerId, Error, Runtime, Signal};

/// A process of a container that is a child of this one and runs its program.
///
/// As a descriptor it is the pidfd: readable when the process has ended. Dropping it changes nothing; the process becomes a zombie
/// when it ends unless this program waits for its children.
#[derive(Debug)]
pub struct Running {
    pub(crate) child: Child,
    pub(crate) warnings: Vec<Error>,
    /// What is needed to delete the container, unless this is but one more process of it.
    pub(crate) made: Option<Box<Made>>,
}

impl Running {
    /// Its number on the host.
    pub fn pid(&self) -> i32 {
        self.child.pid().cast_signed()
    }

    /// What went wrong at the start without stopping it: `poststart` hooks.
    pub fn warnings(&self) -> &[Error] {
        &self.warnings
    }

    /// The master of its terminal, once, if it was to be kept.
    pub fn take_terminal(&mut self) -> Option<OwnedFd> {
        self.child.take_terminal()
    }

    /// Signals it; false if it has ended.
    pub fn signal(&self, signal: Signal) -> Result<bool, Error> {
        match self.child.signal(signal.number()) {
            Ok(()) => Ok(true),
            Err(error) if error.errno() == Some(libc::ESRCH) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Waits for its end; gives the exit code, 128 + n for signal n.
    pub fn wait(&mut self) -> Result<i32, Error> {
        self.wait_status().map(|status| exit_code(status).0)
    }

    /// Waits for its end.
    pub fn wait_status(&mut self) -> Result<ExitStatus, Error> {
        Ok(self.child.wait()?)
    }

    /// Waits for its end and deletes the container as [`Runtime::delete`](crate::Runtime::delete) does by force, without
    /// reading again what is known since it was made; gives the exit code and the errors of `poststop` hooks. Of a process
    /// made by `exec` only the end is waited for.
    pub fn delete(mut self) -> Result<(i32, Vec<Error>), Error> {
        let code = self.wait()?;
        let warnings = match self.made.take() {
            Some(made) => made.runtime.delete_ended(&made)?,
            None => Vec::new(),
        };
        Ok((code, warnings))
    }

    /// Its network namespace.
    pub fn network_namespace(&self) -> Result<OwnedFd, Error> {
        Ok(self.child.namespace(NamespaceKind::Net)?)
    }

    /// Leaves it to itself: when this program ends, it goes to the nearest subreaper.
    pub fn leave(self) {
        // it is released, so that it needs no gate; without the descriptor nothing is lost
        drop(self.child.detach());
    }
}

impl AsFd for Running {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.child.pidfd()
    }
}

/// A container as `create` made it.
#[derive(Debug)]
pub(crate) struct Made {
    pub(crate) runtime: Runtime,
    pub(crate) id: ContainerId,
    pub(crate) record: Record,
    pub(crate) group: Group,
    pub(crate) hooks: Option<Hooks>,
}

/// Exit code as a shell has it, and the signal.
pub(crate) fn exit_code(status: ExitStatus) -> (i32, Option<i32>) {
    match (status.code(), status.signal()) {
        (Some(code), _) => (code, None),
        (None, Some(signal)) => (128 + signal, Some(signal)),
        (None, None) => (255, None),
    }
}
