use std::{os::fd::BorrowedFd, thread};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::{Error, Result, netlink::Socket, route};

/// Runs `work` in another network namespace, on a thread that lives no longer than that: the namespace of
/// the calling thread never changes, whatever happens inside.
pub(crate) fn within<T: Send>(netns: BorrowedFd<'_>, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    thread::scope(|scope| {
        let joined = thread::Builder::new()
            .name("netns".into())
            .stack_size(128 * 1024)
            .spawn_scoped(scope, || {
                move_into_link_name_space(netns, Some(LinkNameSpaceType::Network)).map_err(|e| match e {
                    rustix::io::Errno::PERM => Error::Right {
                        operation: "enter the network namespace".into(),
                        right: "CAP_SYS_ADMIN",
                    },
                    e => Error::kernel("enter the network namespace", e),
                })?;
                work()
            })
            .map_err(|e| Error::kernel("start a thread", e))?
            .join();
        match joined {
            Ok(outcome) => outcome,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

/// Sets the loopback interface up: all that `--network none` has. Idempotent.
pub fn loopback_up(netns: BorrowedFd<'_>) -> Result<()> {
    within(netns, || Socket::route()?.run(&[route::raise_loopback()]))
}
