use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// What can go wrong with a control group.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A group path that is not absolute, or holds a component that must not be.
    #[error("group path {path:?}: {reason}")]
    Path {
        /// The path as given.
        path: String,
        /// The rule it breaks.
        reason: &'static str,
    },
    /// `mountinfo` names no cgroup file system.
    #[error("no cgroup hierarchy is mounted")]
    NoHierarchy,
    /// A limit that no mounted hierarchy can keep.
    #[error("limit {limit}: {reason}")]
    Unsupported {
        /// The limit, e.g. `cpu.realtime_runtime`.
        limit: String,
        /// What is missing: a controller, or a file of this kernel.
        reason: String,
    },
    /// A limit whose value is out of range before the kernel is asked.
    #[error("limit {limit}: value {value:?}: {reason}")]
    Value {
        /// The limit, e.g. `blkio.weight`.
        limit: &'static str,
        /// The value as given.
        value: String,
        /// The rule it breaks.
        reason: &'static str,
    },
    /// The kernel refused a value.
    #[error("write {value:?} to {path}")]
    Write {
        /// The control file.
        path: PathBuf,
        /// What was written.
        value: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A control file could not be read.
    #[error("read {path}")]
    Read {
        /// The control file.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A control file held something unexpected.
    #[error("{path}: cannot understand {text:?}")]
    Parse {
        /// The control file.
        path: PathBuf,
        /// The word or line.
        text: String,
    },
    /// A group's directory could not be made.
    #[error("create group {path}")]
    Create {
        /// The directory.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A group that was to be made exists and has processes in it.
    #[error("group {path} exists and is in use by process {pid}")]
    InUse {
        /// The directory.
        path: PathBuf,
        /// One of the processes in it.
        pid: i32,
    },
    /// The group does not exist.
    #[error("group {path} does not exist")]
    Missing {
        /// The directory.
        path: PathBuf,
    },
    /// A group's directory could not be removed.
    #[error("remove group {path}")]
    Remove {
        /// The directory.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// Something did not happen in the time allowed.
    #[error("group {path}: not {what} after {after:?}")]
    Timeout {
        /// The directory.
        path: PathBuf,
        /// The state that was waited for: `frozen`, `empty`, `removed`.
        what: &'static str,
        /// The time allowed.
        after: Duration,
    },
    /// A watch for events could not be set up or read.
    #[error("watch {path}")]
    Watch {
        /// The control file.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A device rule that the hierarchy cannot express.
    #[error("device rule {rule:?}: {reason}")]
    Device {
        /// The rule, in the notation of `devices.allow`.
        rule: String,
        /// Why not.
        reason: &'static str,
    },
    /// `bpf(2)` refused.
    #[error("bpf {operation} for {path}")]
    Bpf {
        /// `load`, `attach`, `query` or `detach`.
        operation: &'static str,
        /// The group's directory.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A value of an OCI configuration that is not allowed.
    #[error("{pointer}: value {value:?}: {reason}")]
    Oci {
        /// JSON pointer from the configuration's root, e.g. `/linux/resources/memory/limit`.
        pointer: String,
        /// The value found.
        value: String,
        /// The rule it breaks.
        reason: &'static str,
    },
}
