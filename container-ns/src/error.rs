//! The crate's error.

use std::io;
use std::path::PathBuf;

use crate::{NamespaceKind, StepKind};

/// What can fail, with the object and the reason. The reason is the source, it is not repeated in the message.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A step of the plan failed in the new process; nothing of it is left.
    #[error("step {step}: {kind} {object}: {call}{}", .message.as_deref().map(|text| format!(" ({text})")).unwrap_or_default())]
    Step {
        /// Number in the plan, as `explain` prints it.
        step: usize,
        /// What kind of step.
        kind: StepKind,
        /// What it was done to, and the value.
        object: String,
        /// The system call that failed, or the check.
        call: &'static str,
        /// What the kernel wrote about a file system it would not make.
        message: Option<String>,
        /// The errno.
        source: io::Error,
    },
    /// The new process could not be made.
    #[error("cannot clone a process with {namespaces}")]
    Clone {
        /// The namespaces asked for.
        namespaces: String,
        /// Why.
        source: io::Error,
    },
    /// The new process ended before it reached `execve`, without a report: it was killed.
    #[error("process {pid} died before it reached its program")]
    Died {
        /// Its number.
        pid: u32,
    },
    /// An id map could not be written.
    #[error("cannot write {map} of process {pid}")]
    IdMap {
        /// `uid_map`, `gid_map`, `setgroups`, or the path of the helper.
        map: String,
        /// Of which process.
        pid: u32,
        /// Why; of a helper, with what it wrote to stderr.
        source: io::Error,
    },
    /// A string that goes to the kernel has a NUL byte in it.
    #[error("{what} has a NUL byte: {value:?}")]
    Nul {
        /// Which string.
        what: &'static str,
        /// Its value.
        value: String,
    },
    /// A path must be absolute and is not.
    #[error("{what} is not an absolute path: {}", .path.display())]
    NotAbsolute {
        /// Which path.
        what: &'static str,
        /// Its value.
        path: PathBuf,
    },
    /// Two settings exclude each other, or one lacks what it needs.
    #[error("{setting} needs {needs}")]
    Needs {
        /// What was set.
        setting: String,
        /// What is missing.
        needs: &'static str,
    },
    /// Something that is prepared before the clone could not be.
    #[error("cannot prepare {what}")]
    Prepare {
        /// What.
        what: String,
        /// Why.
        source: io::Error,
    },
    /// `/proc` of the calling process is not a procfs, or cannot be opened.
    #[error("/proc is not a usable procfs")]
    Procfs {
        /// Why.
        source: io::Error,
    },
    /// A process has ended.
    #[error("process {pid} has ended")]
    Gone {
        /// Its number.
        pid: u32,
    },
    /// A namespace could not be opened.
    #[error("cannot open the {kind} namespace of process {pid}")]
    Namespace {
        /// Kind.
        kind: NamespaceKind,
        /// Of which process.
        pid: u32,
        /// Why.
        source: io::Error,
    },
    /// No capability has this name.
    #[error("unknown capability {name:?}")]
    UnknownCapability {
        /// The name as given.
        name: String,
    },
    /// A seccomp filter cannot be compiled.
    #[error("seccomp filter: {reason}")]
    Filter {
        /// Why, with the value.
        reason: String,
    },
    /// A value of an OCI configuration that cannot be followed.
    #[error("{pointer}: {reason}: {value:?}")]
    Spec {
        /// Where in the document, `mounts[2].options[1]`.
        pointer: String,
        /// The value there.
        value: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A path that the OCI configuration names cannot be opened.
    #[error("{pointer}: cannot open {}", .path.display())]
    SpecPath {
        /// Where in the document.
        pointer: String,
        /// The path.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The start gate could not be made or opened.
    #[error("start gate {}", .path.display())]
    Gate {
        /// Its path.
        path: PathBuf,
        /// Why. `ECONNREFUSED` means that no process waits there any more.
        source: io::Error,
    },
    /// A process refused to be waited for or signalled.
    #[error("cannot {action} process {pid}")]
    Process {
        /// What was tried.
        action: &'static str,
        /// Its number.
        pid: u32,
        /// Why.
        source: io::Error,
    },
    /// The running program could not be sealed.
    #[error("cannot seal the running program: {what}")]
    Seal {
        /// The call.
        what: &'static str,
        /// Why.
        source: io::Error,
    },
}

impl Error {
    /// The errno at the bottom, if a system call is to blame.
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::Step { source, .. }
            | Self::Clone { source, .. }
            | Self::IdMap { source, .. }
            | Self::Prepare { source, .. }
            | Self::Procfs { source }
            | Self::Namespace { source, .. }
            | Self::SpecPath { source, .. }
            | Self::Gate { source, .. }
            | Self::Process { source, .. }
            | Self::Seal { source, .. } => source.raw_os_error(),
            _ => None,
        }
    }

    /// The exit status a shell would give: 127 if the program was not found, 126 if it cannot be executed; `None` if the
    /// program is not to blame.
    pub fn exit_status(&self) -> Option<i32> {
        match self {
            Self::Step { kind: StepKind::Execute | StepKind::FindProgram, source, .. } => {
                Some(match source.raw_os_error() {
                    Some(libc::ENOENT | libc::ENOTDIR) => 127,
                    _ => 126,
                })
            }
            _ => None,
        }
    }
}
