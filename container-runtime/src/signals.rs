use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::{Signal, sys};

/// Signals as a descriptor to poll (`signalfd(2)`), for programs that are about one container.
///
/// Making one blocks signals in the calling thread, for good: it is for a program's only thread. New processes of this crate
/// start with nothing blocked.
#[derive(Debug)]
pub struct Signals {
    fd: OwnedFd,
}

impl Signals {
    /// Blocks every signal that can be, save those of a fault.
    pub fn block() -> io::Result<Self> {
        Ok(Self { fd: sys::signals()? })
    }

    /// The next signal that has arrived; none if there is no more. Does not wait.
    pub fn next(&self) -> Option<Signal> {
        // struct signalfd_siginfo is 128 bytes and begins with the number
        let mut info = [0; 128];
        match rustix::io::read(&self.fd, &mut info) {
            Ok(128) => {
                let [a, b, c, d, ..] = info;
                Signal::new(i32::from_ne_bytes([a, b, c, d])).ok()
            }
            _ => None,
        }
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
