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
pub fn reap_orphans_except(pids: &[i32]) {
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
        if ended == 0 || pids.contains(&ended) {
            return;
        }
        // SAFETY: a null status is allowed; only this one child is reaped.
        unsafe { libc::waitpid(ended, std::ptr::null_mut(), libc::WNOHANG) };
    }
}

/// Makes relocated constants (vtables, tables of strings) read-only, which musl's start of a static program leaves undone. A
/// program does it first of all; elsewhere the C library has done it, and this does nothing.
pub fn protect_relocated() {
    #[cfg(target_env = "musl")]
    {
        unsafe extern "C" fn each(
            info: *mut libc::dl_phdr_info,
            _: libc::size_t,
            _: *mut libc::c_void,
        ) -> libc::c_int {
            // SAFETY: dl_iterate_phdr hands over a live description whose headers lie in the mapped program.
            let (base, headers) = unsafe {
                let info = &*info;
                (info.dlpi_addr as usize, std::slice::from_raw_parts(info.dlpi_phdr, info.dlpi_phnum.into()))
            };
            for header in headers.iter().filter(|header| header.p_type == libc::PT_GNU_RELRO) {
                // SAFETY: asks for a number.
                let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as usize;
                let from = (base + header.p_vaddr as usize) & !(page - 1);
                let to = (base + header.p_vaddr as usize + header.p_memsz as usize) & !(page - 1);
                if from < to {
                    // SAFETY: the linker names this range as never written once relocation is done, which it is.
                    unsafe { libc::mprotect(from as *mut libc::c_void, to - from, libc::PROT_READ) };
                }
            }
            0
        }
        // SAFETY: the callback keeps to the contract above and keeps nothing.
        unsafe { libc::dl_iterate_phdr(Some(each), std::ptr::null_mut()) };
    }
}

/// Lets go of the memory that holds program code and constants used so far, and of what the allocator has free: what is used
/// again comes back from the page cache, and what only a start needs stays away. Only mappings none of whose pages has ever been
/// written are touched, as relocated data would be lost.
pub(crate) fn forget_code() {
    // SAFETY: gives unused memory of the allocator back; nothing that is in use moves.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::malloc_trim(0);
    }
    let Ok(maps) = std::fs::read_to_string("/proc/self/smaps") else { return };
    let mut file = None;
    for line in maps.lines() {
        // FROM-TO r-xp OFFSET DEVICE INODE PATH, then lines of `Name: number kB`
        let mut words = line.split_whitespace();
        let (Some(first), Some(second)) = (words.next(), words.next()) else { continue };
        if let Some((from, to)) = first.split_once('-') {
            let readable = matches!(second, "r-xp" | "r--p");
            let range = (usize::from_str_radix(from, 16), usize::from_str_radix(to, 16));
            file = match range {
                (Ok(from), Ok(to)) if readable && words.nth(3).is_some_and(|path| path.starts_with('/')) => {
                    Some((from, to))
                }
                _ => None,
            };
        } else if let ("Anonymous:", "0", Some((from, to))) = (first, second, file)
            && from < to
        {
            // SAFETY: a file mapping without a page of its own, now read-only: its pages are the file's, and come back as
            // they were when next touched. Nothing but residency changes.
            unsafe { libc::madvise(from as *mut libc::c_void, to - from, libc::MADV_DONTNEED) };
        }
    }
}
