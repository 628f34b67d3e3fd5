//! Programs that run beside the start of a container.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

/// A program of the OCI hooks `createContainer` or `startContainer`, run by the new process itself.
///
/// It is executed with the given argument vector and environment and nothing else of the caller's; its stdin is what
/// [`Meeting::hook_input`](crate::Meeting::hook_input) gave (nothing, if it was not called), stdout and stderr are those of the container's process. It has the
/// rights that the container's process has at that point. A hook that ends with another status than 0, or takes longer than its time, fails the start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hook {
    /// Absolute path: of the host for `createContainer`, in the root for `startContainer`.
    pub path: PathBuf,
    /// Argument vector; empty means the path alone.
    pub argv: Vec<OsString>,
    /// `NAME=value` each.
    pub env: Vec<OsString>,
    /// How long it may take. `None` is for ever.
    pub timeout: Option<Duration>,
}
