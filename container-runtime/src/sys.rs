//! The few system calls that rustix does not offer as needed.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};

/// `pidfd_send_signal(2)` for numbers that have no name.
pub(crate) fn pidfd_send_realtime(pidfd: impl AsFd, signal: i32) -> io::Result<()> {
    let fd = pidfd.as_fd().as_raw_fd();
    // SAFETY: the call takes a descriptor, a number, a null siginfo and no flags; no memory is handed over.
    let done = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, fd, signal, std::ptr::null::<u8>(), 0) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Takes over a descriptor that the program which executed this one left open for it (`--attach-fd 5`).
///
/// It must be above 2, open and not close-on-exec: descriptors that this program opens itself are close-on-exec, so none
/// of those is taken by mistake, and each can be taken once. It is close-on-exec afterwards.
pub fn inherited(fd: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: fcntl with these commands on any number is harmless.
    let flags = if fd < 3 { -1 } else { unsafe { libc::fcntl(fd, libc::F_GETFD) } };
    if flags < 0 || flags & libc::FD_CLOEXEC != 0 {
        return Err(io::Error::from_raw_os_error(libc::EBADF));
    }
    // SAFETY: as above.
    if unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: open, and owned by nothing here, as everything that is owned here is close-on-exec and this was not.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Blocks every signal that can be blocked, save those that a fault of this thread raises, and gives a descriptor that reads them.
pub(crate) fn signals() -> io::Result<OwnedFd> {
    // SAFETY: the set is plain memory that sigfillset initializes before anything reads it; the calls take valid pointers to it.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&raw mut set);
        for fault in [
            libc::SIGSEGV,
            libc::SIGBUS,
            libc::SIGFPE,
            libc::SIGILL,
            libc::SIGTRAP,
            libc::SIGSYS,
            libc::SIGABRT,
        ] {
            libc::sigdelset(&raw mut set, fault);
        }
        if libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) != 0 {
            return Err(io::Error::last_os_error());
        }
        let fd = libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK);
        // a descriptor just returned by the kernel, owned by nobody else
        if fd < 0 { Err(io::Error::last_os_error()) } else { Ok(OwnedFd::from_raw_fd(fd)) }
    }
}

/// Lifts the block of every signal for a program that is executed next.
pub(crate) fn unblock_signals() -> io::Result<()> {
    // SAFETY: as above.
    let done = unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const set, std::ptr::null_mut())
    };
    if done == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(done)) }
}

/// Reaps children of this process that have ended, up to the one that the caller waits for itself: for a program that
/// is a subreaper, whose orphans would else stay zombies.
pub fn reap_orphans_except(pid: i32) {
    loop {
        // SAFETY: an all-zero siginfo is a valid one, and the call writes to it alone.
        let ended = unsafe {
            let mut info: libc::siginfo_t = std::mem::zeroed();
            let flags = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
            if libc::waitid(libc::P_ALL, 0, &raw mut info, flags) != 0 {
                return;
            }
            info.si_pid()
        };
        if ended == 0 || ended == pid {
            return;
        }
        // SAFETY: a null status is allowed; only this one child is reaped.
        unsafe { libc::waitpid(ended, std::ptr::null_mut(), libc::WNOHANG) };
    }
}

/// Lets go of the memory that holds program code run so far: what is run again comes back from the page cache, and what only
/// a start needs stays away. Mappings that are not code are left alone, as relocated data would be lost.
pub(crate) fn forget_code() {
    let Ok(maps) = std::fs::read_to_string("/proc/self/maps") else { return };
    for line in maps.lines() {
        // FROM-TO r-xp OFFSET DEVICE INODE PATH
        let mut words = line.split_whitespace();
        let (Some(range), Some("r-xp"), Some(path)) = (words.next(), words.next(), words.nth(3)) else {
            continue;
        };
        let ends =
            range.split_once('-').map(|(a, b)| (usize::from_str_radix(a, 16), usize::from_str_radix(b, 16)));
        let Some((Ok(from), Ok(to))) = ends else { continue };
        if path.starts_with('/') && from < to {
            // SAFETY: a file mapping that was never writable: its pages are the file's, and come back as they were when
            // next touched. Nothing but residency changes.
            unsafe { libc::madvise(from as *mut libc::c_void, to - from, libc::MADV_DONTNEED) };
        }
    }
}
