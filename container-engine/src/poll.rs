use std::io;
use std::os::fd::OwnedFd;

use tokio::io::unix::AsyncFd;

/// A descriptor that a task can wait for.
#[allow(
    deprecated,
    reason = "what took its place is unsafe, for descriptors that may be closed meanwhile; an owned one is not"
)]
pub(crate) fn register(descriptor: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::new(descriptor)
}
