//! Raw system calls, the one place with `unsafe`.
//!
//! Everything here is usable between `clone3` and `execve`: the calls are made by an inline instruction, touch no
//! errno, no lock and no allocator. Functions that return [`OwnedFd`] or `io::Result` are for the parent only.
#![allow(unsafe_code)]

use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use crate::{Error, NamespaceKind};

/// Result of a call: the value, or the errno.
pub(crate) type Call<T = usize> = Result<T, i32>;

/// One system call.
///
/// # Safety
/// The arguments must be what call `number` expects: every pointer among them valid for what the kernel reads or writes.
#[inline]
unsafe fn raw(number: libc::c_long, args: [usize; 6]) -> isize {
    let result: isize;
    // SAFETY: the caller vouches for the arguments; the instruction clobbers what is named and nothing else.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        std::arch::asm!("syscall", inlateout("rax") number as isize => result,
            in("rdi") args[0], in("rsi") args[1], in("rdx") args[2], in("r10") args[3], in("r8") args[4], in("r9") args[5],
            lateout("rcx") _, lateout("r11") _, options(nostack));
    }
    // SAFETY: as above.
    #[cfg(target_arch = "aarch64")]
    unsafe {
        std::arch::asm!("svc 0", in("x8") number, inlateout("x0") args[0] => result,
            in("x1") args[1], in("x2") args[2], in("x3") args[3], in("x4") args[4], in("x5") args[5], options(nostack));
    }
    // SAFETY: as above.
    #[cfg(target_arch = "riscv64")]
    unsafe {
        std::arch::asm!("ecall", in("a7") number, inlateout("a0") args[0] => result,
            in("a1") args[1], in("a2") args[2], in("a3") args[3], in("a4") args[4], in("a5") args[5], options(nostack));
    }
    result
}

#[inline]
const fn done(result: isize) -> Call {
    if result < 0 && result >= -4095 { Err(-result as i32) } else { Ok(result as usize) }
}

macro_rules! call {
    ($number:expr $(, $arg:expr)* $(,)?) => {{
        #[allow(unused_mut, reason = "calls without arguments")]
        let mut args = [0usize; 6];
        let mut _at = 0;
        $(args[_at] = $arg as usize; _at += 1;)*
        let _ = _at;
        // SAFETY: every caller in this module passes integers, or pointers to live values of the size the call expects.
        done(unsafe { raw($number as libc::c_long, args) })
    }};
}

// numbers that are the same everywhere and that libc does not have on every target
const OPEN_TREE: i32 = 428;
const MOVE_MOUNT: i32 = 429;
const FSOPEN: i32 = 430;
const FSCONFIG: i32 = 431;
const FSMOUNT: i32 = 432;
const FSPICK: i32 = 433;
const PIDFD_OPEN: i32 = 434;
const CLONE3: i32 = 435;
const CLOSE_RANGE: i32 = 436;
const OPENAT2: i32 = 437;
const MOUNT_SETATTR: i32 = 442;
const PIDFD_SEND_SIGNAL: i32 = 424;

/// `AT_EMPTY_PATH`
pub(crate) const EMPTY_PATH: u32 = 0x1000;
/// `AT_RECURSIVE`
pub(crate) const RECURSIVE: u32 = 0x8000;
/// `OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC`
pub(crate) const TREE_CLONE: u32 = 1 | libc::O_CLOEXEC as u32;

/// `RESOLVE_NO_XDEV`
pub(crate) const NO_XDEV: u64 = 0x01;
/// `RESOLVE_NO_MAGICLINKS`
pub(crate) const NO_MAGICLINKS: u64 = 0x02;
/// `RESOLVE_NO_SYMLINKS`
pub(crate) const NO_SYMLINKS: u64 = 0x04;
/// `RESOLVE_IN_ROOT`
pub(crate) const IN_ROOT: u64 = 0x10;

/// `PROC_SUPER_MAGIC`
pub(crate) const PROC_MAGIC: i64 = 0x9fa0;
/// `DEVPTS_SUPER_MAGIC`
pub(crate) const DEVPTS_MAGIC: i64 = 0x1cd1;

/// `struct clone_args`, first version with cgroup.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C, align(8))]
pub(crate) struct CloneArgs {
    pub(crate) flags: u64,
    pub(crate) pidfd: u64,
    pub(crate) child_tid: u64,
    pub(crate) parent_tid: u64,
    pub(crate) exit_signal: u64,
    pub(crate) stack: u64,
    pub(crate) stack_size: u64,
    pub(crate) tls: u64,
    pub(crate) set_tid: u64,
    pub(crate) set_tid_size: u64,
    pub(crate) cgroup: u64,
}

/// `struct mount_attr`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct MountAttr {
    pub(crate) set: u64,
    pub(crate) clear: u64,
    pub(crate) propagation: u64,
    pub(crate) userns: u64,
}

/// `struct sched_attr`
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub(crate) struct SchedAttr {
    pub(crate) size: u32,
    pub(crate) policy: u32,
    pub(crate) flags: u64,
    pub(crate) nice: i32,
    pub(crate) priority: u32,
    pub(crate) runtime: u64,
    pub(crate) deadline: u64,
    pub(crate) period: u64,
}

#[repr(C)]
struct OpenHow {
    flags: u64,
    mode: u64,
    resolve: u64,
}

/// clone3 as a fork: the child gets a copy-on-write image of the whole process and goes on with its own copy of this stack.
///
/// # Safety
/// `args.flags` must not contain `CLONE_VM` or `CLONE_SETTLS`, `args.stack` must be 0 and `args.pidfd`, if used, point to an
/// `i32`. The child must only make system calls of this module and end in `execve` or `exit`.
#[inline]
pub(crate) unsafe fn clone3(args: &CloneArgs) -> Call {
    call!(CLONE3, std::ptr::from_ref(args), size_of::<CloneArgs>())
}

pub(crate) fn unshare(flags: u64) -> Call {
    call!(libc::SYS_unshare, flags)
}

pub(crate) fn setns(fd: RawFd, kind: u64) -> Call {
    call!(libc::SYS_setns, fd, kind)
}

pub(crate) fn close(fd: RawFd) -> Call {
    call!(libc::SYS_close, fd)
}

pub(crate) fn close_range(first: u32, last: u32, cloexec: bool) -> Call {
    call!(CLOSE_RANGE, first, last, if cloexec { 4 } else { 0 })
}

pub(crate) fn dup3(from: RawFd, to: RawFd) -> Call {
    call!(libc::SYS_dup3, from, to, 0)
}

pub(crate) fn exit(code: i32) -> ! {
    loop {
        let _ = call!(libc::SYS_exit_group, code);
    }
}

pub(crate) fn openat(dir: RawFd, path: &CStr, flags: i32, mode: u32) -> Call<RawFd> {
    call!(libc::SYS_openat, dir, path.as_ptr(), flags | libc::O_CLOEXEC, mode).map(|fd| fd as RawFd)
}

pub(crate) fn openat2(dir: RawFd, path: &CStr, flags: i32, resolve: u64) -> Call<RawFd> {
    let how = OpenHow { flags: (flags | libc::O_CLOEXEC) as u64, mode: 0, resolve };
    loop {
        match call!(OPENAT2, dir, path.as_ptr(), &raw const how, size_of::<OpenHow>()) {
            // a rename elsewhere on the host during `..`; openat2(2) says to try again
            Err(libc::EAGAIN) => {}
            other => return other.map(|fd| fd as RawFd),
        }
    }
}

pub(crate) fn read(fd: RawFd, buffer: &mut [u8]) -> Call {
    call!(libc::SYS_read, fd, buffer.as_mut_ptr(), buffer.len())
}

pub(crate) fn write(fd: RawFd, bytes: &[u8]) -> Call {
    call!(libc::SYS_write, fd, bytes.as_ptr(), bytes.len())
}

pub(crate) fn mkdirat(dir: RawFd, name: &CStr, mode: u32) -> Call {
    call!(libc::SYS_mkdirat, dir, name.as_ptr(), mode)
}

pub(crate) fn mknodat(dir: RawFd, name: &CStr, mode: u32, device: u64) -> Call {
    call!(libc::SYS_mknodat, dir, name.as_ptr(), mode, device)
}

pub(crate) fn symlinkat(target: &CStr, dir: RawFd, name: &CStr) -> Call {
    call!(libc::SYS_symlinkat, target.as_ptr(), dir, name.as_ptr())
}

pub(crate) fn fchownat(dir: RawFd, name: &CStr, uid: u32, gid: u32, flags: u32) -> Call {
    call!(libc::SYS_fchownat, dir, name.as_ptr(), uid, gid, flags)
}

pub(crate) fn fchmod(fd: RawFd, mode: u32) -> Call {
    call!(libc::SYS_fchmod, fd, mode)
}

pub(crate) fn readlinkat(dir: RawFd, name: &CStr, buffer: &mut [u8]) -> Call {
    call!(libc::SYS_readlinkat, dir, name.as_ptr(), buffer.as_mut_ptr(), buffer.len())
}

pub(crate) fn getdents(fd: RawFd, buffer: &mut [u8]) -> Call {
    call!(libc::SYS_getdents64, fd, buffer.as_mut_ptr(), buffer.len())
}

pub(crate) fn sendfile(to: RawFd, from: RawFd, count: usize) -> Call {
    call!(libc::SYS_sendfile, to, from, 0, count)
}

pub(crate) fn lseek_start(fd: RawFd) -> Call {
    call!(libc::SYS_lseek, fd, 0, libc::SEEK_SET)
}

/// What a file is: mode, device it is, uid, gid, device it lies on, inode.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Stat {
    pub(crate) mode: u32,
    pub(crate) major: u32,
    pub(crate) minor: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) device: (u32, u32),
    pub(crate) inode: u64,
}

impl Stat {
    pub(crate) const fn format(&self) -> u32 {
        self.mode & libc::S_IFMT
    }

    pub(crate) const fn is_dir(&self) -> bool {
        self.format() == libc::S_IFDIR
    }

    pub(crate) const fn is_device(&self, format: u32, major: u32, minor: u32) -> bool {
        self.format() == format && self.major == major && self.minor == minor
    }
}

/// `statx(2)` of a name, not following a link, or of a descriptor with an empty name.
pub(crate) fn stat_at(dir: RawFd, name: &CStr) -> Call<Stat> {
    let mut out = MaybeUninit::<libc::statx>::zeroed();
    let flags = EMPTY_PATH as i32 | libc::AT_SYMLINK_NOFOLLOW | libc::AT_NO_AUTOMOUNT;
    call!(libc::SYS_statx, dir, name.as_ptr(), flags, 0x7ff, out.as_mut_ptr())?;
    // SAFETY: all of it was zeroed, and every field is an integer.
    let out = unsafe { out.assume_init() };
    Ok(Stat {
        mode: u32::from(out.stx_mode),
        major: out.stx_rdev_major,
        minor: out.stx_rdev_minor,
        uid: out.stx_uid,
        gid: out.stx_gid,
        device: (out.stx_dev_major, out.stx_dev_minor),
        inode: out.stx_ino,
    })
}

pub(crate) fn stat(fd: RawFd) -> Call<Stat> {
    stat_at(fd, c"")
}

/// Magic number of the file system, and its mount flags.
pub(crate) fn fstatfs(fd: RawFd) -> Call<(i64, u64)> {
    // struct statfs of 64-bit kernels is fifteen words: type first, flags eleventh
    let mut out = [0u64; 15];
    call!(libc::SYS_fstatfs, fd, out.as_mut_ptr())?;
    Ok((out[0] as i64, out[10]))
}

/// Whether the caller may execute what is there: `EACCES` if not, and if it is a directory.
pub(crate) fn executable(path: &CStr) -> Call {
    call!(libc::SYS_faccessat, libc::AT_FDCWD, path.as_ptr(), libc::X_OK)?;
    match openat(libc::AT_FDCWD, path, libc::O_PATH | libc::O_DIRECTORY, 0) {
        Ok(directory) => {
            let _ = close(directory);
            Err(libc::EACCES)
        }
        Err(_) => Ok(0),
    }
}

pub(crate) fn fchdir(fd: RawFd) -> Call {
    call!(libc::SYS_fchdir, fd)
}

pub(crate) fn chdir(path: &CStr) -> Call {
    call!(libc::SYS_chdir, path.as_ptr())
}

pub(crate) fn getcwd(buffer: &mut [u8]) -> Call {
    call!(libc::SYS_getcwd, buffer.as_mut_ptr(), buffer.len())
}

pub(crate) fn pivot_root(new: &CStr, old: &CStr) -> Call {
    call!(libc::SYS_pivot_root, new.as_ptr(), old.as_ptr())
}

pub(crate) fn chroot(path: &CStr) -> Call {
    call!(libc::SYS_chroot, path.as_ptr())
}

/// The mode with its flags, and a mask of nodes; none is no mask.
pub(crate) fn set_mempolicy(mode: u32, nodes: &[u64]) -> Call {
    if nodes.is_empty() {
        return call!(libc::SYS_set_mempolicy, mode, 0, 0);
    }
    // the kernel looks at one bit less than it is told
    call!(libc::SYS_set_mempolicy, mode, nodes.as_ptr(), nodes.len().wrapping_mul(64).wrapping_add(1))
}

pub(crate) fn umount_detach(path: &CStr) -> Call {
    call!(libc::SYS_umount2, path.as_ptr(), libc::MNT_DETACH)
}

pub(crate) fn open_tree(dir: RawFd, path: &CStr, flags: u32) -> Call<RawFd> {
    call!(OPEN_TREE, dir, path.as_ptr(), flags).map(|fd| fd as RawFd)
}

/// Attaches what `from` is to what `to` is.
pub(crate) fn move_mount(from: RawFd, to: RawFd) -> Call {
    // MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH
    call!(MOVE_MOUNT, from, c"".as_ptr(), to, c"".as_ptr(), 0x04 | 0x40)
}

/// Attaches what `from` is to a name in a directory; a link there is not followed.
pub(crate) fn move_mount_at(from: RawFd, dir: RawFd, name: &CStr) -> Call {
    // MOVE_MOUNT_F_EMPTY_PATH
    call!(MOVE_MOUNT, from, c"".as_ptr(), dir, name.as_ptr(), 0x04)
}

pub(crate) fn mount_setattr(dir: RawFd, path: &CStr, flags: u32, attr: &MountAttr) -> Call {
    call!(MOUNT_SETATTR, dir, path.as_ptr(), flags, std::ptr::from_ref(attr), size_of::<MountAttr>())
}

pub(crate) fn fsopen(kind: &CStr) -> Call<RawFd> {
    call!(FSOPEN, kind.as_ptr(), 1).map(|fd| fd as RawFd)
}

pub(crate) fn fspick(dir: RawFd) -> Call<RawFd> {
    // FSPICK_CLOEXEC | FSPICK_EMPTY_PATH
    call!(FSPICK, dir, c"".as_ptr(), 1 | 8).map(|fd| fd as RawFd)
}

pub(crate) fn fsconfig_flag(fs: RawFd, key: &CStr) -> Call {
    call!(FSCONFIG, fs, 0, key.as_ptr(), 0, 0)
}

pub(crate) fn fsconfig_string(fs: RawFd, key: &CStr, value: &CStr) -> Call {
    call!(FSCONFIG, fs, 1, key.as_ptr(), value.as_ptr(), 0)
}

pub(crate) fn fsconfig_fd(fs: RawFd, key: &CStr, fd: RawFd) -> Call {
    call!(FSCONFIG, fs, 5, key.as_ptr(), 0, fd)
}

pub(crate) fn fsconfig_create(fs: RawFd) -> Call {
    call!(FSCONFIG, fs, 6, 0, 0, 0)
}

pub(crate) fn fsconfig_reconfigure(fs: RawFd) -> Call {
    call!(FSCONFIG, fs, 7, 0, 0, 0)
}

pub(crate) fn fsmount(fs: RawFd, attributes: u64) -> Call<RawFd> {
    call!(FSMOUNT, fs, 1, attributes).map(|fd| fd as RawFd)
}

pub(crate) fn sethostname(name: &[u8]) -> Call {
    call!(libc::SYS_sethostname, name.as_ptr(), name.len())
}

pub(crate) fn setdomainname(name: &[u8]) -> Call {
    call!(libc::SYS_setdomainname, name.as_ptr(), name.len())
}

pub(crate) fn join_session_keyring() -> Call {
    call!(libc::SYS_keyctl, 1, 0)
}

pub(crate) fn setsid() -> Call {
    call!(libc::SYS_setsid)
}

pub(crate) fn ioctl(fd: RawFd, request: u32, argument: usize) -> Call {
    call!(libc::SYS_ioctl, fd, request, argument)
}

pub(crate) fn unlock_pty(master: RawFd) -> Call {
    let zero = 0i32;
    ioctl(master, libc::TIOCSPTLCK as u32, &raw const zero as usize)
}

/// The slave of a master, by descriptor and not by path.
pub(crate) fn pty_peer(master: RawFd) -> Call<RawFd> {
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    ioctl(master, libc::TIOCGPTPEER as u32, flags as usize).map(|fd| fd as RawFd)
}

pub(crate) fn window_size(fd: RawFd, columns: u16, rows: u16) -> Call {
    let size = libc::winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    ioctl(fd, libc::TIOCSWINSZ as u32, &raw const size as usize)
}

/// `lo` up, by a socket in the caller's net namespace.
pub(crate) fn loopback_up() -> Call {
    let socket = call!(libc::SYS_socket, libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0)? as RawFd;
    // struct ifreq: 16 bytes of name, then a union that begins with short flags
    let mut request = [0u8; 40];
    request[0] = b'l';
    request[1] = b'o';
    let flags = (libc::IFF_UP | libc::IFF_RUNNING) as u16;
    let [a, b] = flags.to_ne_bytes();
    request[16] = a;
    request[17] = b;
    let result = ioctl(socket, libc::SIOCSIFFLAGS as u32, &raw const request as usize);
    let _ = close(socket);
    result
}

pub(crate) fn prlimit(resource: u32, soft: u64, hard: u64) -> Call {
    let limit = [soft, hard];
    call!(libc::SYS_prlimit64, 0, resource, limit.as_ptr(), 0)
}

pub(crate) fn setgroups(groups: &[u32]) -> Call {
    call!(libc::SYS_setgroups, groups.len(), groups.as_ptr())
}

pub(crate) fn setresgid(gid: u32) -> Call {
    call!(libc::SYS_setresgid, gid, gid, gid)
}

pub(crate) fn setresuid(uid: u32) -> Call {
    call!(libc::SYS_setresuid, uid, uid, uid)
}

pub(crate) fn umask(mask: u32) -> u32 {
    call!(libc::SYS_umask, mask).map_or(0o022, |old| old as u32)
}

pub(crate) fn prctl(option: i32, a: usize, b: usize) -> Call {
    call!(libc::SYS_prctl, option, a, b, 0, 0)
}

/// Effective, permitted and inheritable sets of the calling thread.
pub(crate) fn capset(effective: u64, permitted: u64, inheritable: u64) -> Call {
    // _LINUX_CAPABILITY_VERSION_3, this thread
    let header = [0x2008_0522u32, 0];
    let data = [
        effective as u32,
        permitted as u32,
        inheritable as u32,
        (effective >> 32) as u32,
        (permitted >> 32) as u32,
        (inheritable >> 32) as u32,
    ];
    call!(libc::SYS_capset, header.as_ptr(), data.as_ptr())
}

/// Installs a filter; with the listener flag the value is its descriptor.
pub(crate) fn seccomp(instructions: &[crate::seccomp::Instruction], flags: u32) -> Call {
    let program =
        libc::sock_fprog { len: instructions.len() as u16, filter: instructions.as_ptr().cast_mut().cast() };
    call!(libc::SYS_seccomp, 1, flags, &raw const program)
}

pub(crate) fn sched_setattr(attr: &SchedAttr) -> Call {
    call!(libc::SYS_sched_setattr, 0, std::ptr::from_ref(attr), 0)
}

pub(crate) fn sched_setaffinity(mask: &[u64]) -> Call {
    call!(libc::SYS_sched_setaffinity, 0, size_of_val(mask), mask.as_ptr())
}

pub(crate) fn ioprio_set(value: u32) -> Call {
    call!(libc::SYS_ioprio_set, 1, 0, value)
}

pub(crate) fn personality(domain: u32) -> Call {
    call!(libc::SYS_personality, domain)
}

/// Execute. Returns only if it failed.
///
/// # Safety
/// `argv` and `env` must be arrays of pointers to C strings, ended by a null pointer.
pub(crate) unsafe fn execve(
    path: &CStr,
    argv: *const *const libc::c_char,
    env: *const *const libc::c_char,
) -> i32 {
    match call!(libc::SYS_execve, path.as_ptr(), argv, env) {
        Ok(_) => 0,
        Err(errno) => errno,
    }
}

/// Sets the whole mask; the old one comes back.
pub(crate) fn signal_mask(mask: u64) -> u64 {
    let mut old = 0u64;
    let _ = call!(libc::SYS_rt_sigprocmask, libc::SIG_SETMASK, &raw const mask, &raw mut old, 8);
    old
}

/// Resets one signal to its default.
pub(crate) fn signal_default(signal: u32) {
    // struct kernel_sigaction: handler, flags, restorer, mask, all zero; 32 bytes on x86-64, 24 elsewhere
    let action = [0u64; 4];
    let _ = call!(libc::SYS_rt_sigaction, signal, action.as_ptr(), 0, 8);
}

/// The signals that the caller's process ignores, bit 0 for signal 1, as the caller's `status` has them; all if that cannot
/// be read.
pub(crate) fn ignored_signals() -> u64 {
    let Ok(file) = openat(libc::AT_FDCWD, c"/proc/thread-self/status", libc::O_RDONLY, 0).map(own) else {
        return u64::MAX;
    };
    if !matches!(fstatfs(file.as_raw_fd()), Ok((PROC_MAGIC, _))) {
        return u64::MAX;
    }
    let mut text = [0u8; 4096];
    let length = read(file.as_raw_fd(), &mut text).unwrap_or(0);
    let mut lines = text.get(..length).unwrap_or_default().split(|&byte| byte == b'\n');
    lines
        .find_map(|line| line.strip_prefix(b"SigIgn:\t"))
        .and_then(|mask| u64::from_str_radix(str::from_utf8(mask).ok()?, 16).ok())
        .unwrap_or(u64::MAX)
}

/// Waits until `fd` is readable, or `milliseconds` have passed (negative: for ever). `Ok(false)` is the time-out.
pub(crate) fn poll_readable(fd: RawFd, milliseconds: i64) -> Call<bool> {
    let mut poll = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
    let time = [milliseconds / 1000, (milliseconds % 1000) * 1_000_000];
    let time = if milliseconds < 0 { 0 } else { time.as_ptr() as usize };
    loop {
        match call!(libc::SYS_ppoll, &raw mut poll, 1, time, 0, 0) {
            Err(libc::EINTR) => {}
            other => return other.map(|count| count > 0),
        }
    }
}

/// Waits until one of two descriptors is readable or hung up; which of them.
pub(crate) fn poll_either(first: RawFd, second: RawFd) -> Call<(bool, bool)> {
    let mut polls = [
        libc::pollfd { fd: first, events: libc::POLLIN, revents: 0 },
        libc::pollfd { fd: second, events: libc::POLLIN, revents: 0 },
    ];
    loop {
        match call!(libc::SYS_ppoll, polls.as_mut_ptr(), 2, 0, 0, 0) {
            Err(libc::EINTR) => {}
            other => return other.map(|_| (polls[0].revents != 0, polls[1].revents != 0)),
        }
    }
}

pub(crate) fn accept(listener: RawFd) -> Call<RawFd> {
    call!(libc::SYS_accept4, listener, 0, 0, libc::SOCK_CLOEXEC).map(|fd| fd as RawFd)
}

pub(crate) fn getppid() -> usize {
    call!(libc::SYS_getppid).unwrap_or(0)
}

pub(crate) fn pause() -> Call {
    call!(libc::SYS_ppoll, 0, 0, 0, 0, 0)
}

/// What `wait_pidfd` learned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Waited {
    /// `CLD_EXITED`, `CLD_KILLED` or `CLD_DUMPED`.
    pub(crate) code: i32,
    /// Exit code or signal.
    pub(crate) status: i32,
}

/// `waitid(2)` on a pidfd. `None`: not yet (only if not blocking).
pub(crate) fn wait_pidfd(pidfd: RawFd, block: bool) -> Call<Option<Waited>> {
    let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
    let options = libc::WEXITED | libc::__WALL | if block { 0 } else { libc::WNOHANG };
    loop {
        match call!(libc::SYS_waitid, libc::P_PIDFD, pidfd, info.as_mut_ptr(), options, 0) {
            Err(libc::EINTR) => {}
            Err(errno) => return Err(errno),
            Ok(_) => break,
        }
    }
    // SAFETY: zeroed, then filled by the kernel; the union's fields are integers.
    let info = unsafe { info.assume_init() };
    // SAFETY: waitid fills the SIGCHLD member of the union, or leaves the zeros.
    let (pid, status) = unsafe { (info.si_pid(), info.si_status()) };
    Ok((pid != 0).then_some(Waited { code: info.si_code, status }))
}

pub(crate) fn signal_pidfd(pidfd: RawFd, signal: i32) -> Call {
    call!(PIDFD_SEND_SIGNAL, pidfd, signal, 0, 0)
}

/// The exit status a pidfd keeps although somebody else has reaped the process (Linux 6.15, `PIDFD_GET_INFO`).
pub(crate) fn pidfd_exit(pidfd: RawFd) -> Option<i32> {
    #[repr(C)]
    #[derive(Default)]
    struct Info {
        mask: u64,
        cgroup: u64,
        ids: [u32; 11],
        exit_code: i32,
    }
    let mut info = Info { mask: 1 << 3, ..Info::default() };
    // _IOWR(0xFF, 11, struct pidfd_info); the size is part of the number
    let request = 0xc000_ff0bu32 | ((size_of::<Info>() as u32) << 16);
    ioctl(pidfd, request, &raw mut info as usize).ok()?;
    (info.mask & 1 << 3 != 0).then_some(info.exit_code)
}

/// A message with up to two descriptors. Returns what `sendmsg(2)` does.
pub(crate) fn send(socket: RawFd, bytes: &[u8], fds: &[RawFd]) -> Call {
    let mut vector = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    let mut control = [0u64; 4];
    // SAFETY: msghdr is plain data, zero is a valid value of it.
    let mut message: libc::msghdr = unsafe { MaybeUninit::zeroed().assume_init() };
    message.msg_iov = &raw mut vector;
    message.msg_iovlen = 1;
    if !fds.is_empty() {
        let count = if fds.len() > 2 { 2 } else { fds.len() };
        let length = 16 + 4 * count;
        // struct cmsghdr by hand: length, level and type, then the descriptors
        control[0] = length as u64;
        control[1] = (libc::SOL_SOCKET as u64) | (libc::SCM_RIGHTS as u64) << 32;
        let first = fds.first().map_or(0, |fd| *fd as u32 as u64);
        let second = fds.get(1).map_or(0, |fd| *fd as u32 as u64);
        control[2] = first | second << 32;
        message.msg_control = control.as_mut_ptr().cast();
        message.msg_controllen = 16 + 8;
        if count == 1 {
            message.msg_controllen = 24;
        }
    }
    loop {
        match call!(libc::SYS_sendmsg, socket, &raw const message, libc::MSG_NOSIGNAL) {
            Err(libc::EINTR) => {}
            other => return other,
        }
    }
}

/// Receives a message and up to two descriptors, close-on-exec. A length of 0 is the end.
pub(crate) fn receive(socket: RawFd, bytes: &mut [u8], fds: &mut [Option<OwnedFd>; 2]) -> Call {
    let mut vector = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
    let mut control = [0u64; 4];
    // SAFETY: msghdr is plain data, zero is a valid value of it.
    let mut message: libc::msghdr = unsafe { MaybeUninit::zeroed().assume_init() };
    message.msg_iov = &raw mut vector;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = 24;
    let length = loop {
        match call!(libc::SYS_recvmsg, socket, &raw mut message, libc::MSG_CMSG_CLOEXEC) {
            Err(libc::EINTR) => {}
            Err(errno) => return Err(errno),
            Ok(length) => break length,
        }
    };
    let kind = (libc::SOL_SOCKET as u64) | (libc::SCM_RIGHTS as u64) << 32;
    if message.msg_controllen >= 20 && control[1] == kind {
        let count = (control[0] as usize).saturating_sub(16) / 4;
        let pair = [control[2] as u32 as RawFd, (control[2] >> 32) as u32 as RawFd];
        for (slot, fd) in fds.iter_mut().zip(pair).take(count) {
            // SAFETY: the kernel has just installed this descriptor for us, nobody else knows its number.
            *slot = Some(unsafe { OwnedFd::from_raw_fd(fd) });
        }
    }
    Ok(length)
}

// ---- for the parent only ----

/// An errno as the standard library's error.
pub(crate) fn error(errno: i32) -> io::Error {
    io::Error::from_raw_os_error(errno)
}

/// Takes a descriptor that a call of this module has just returned.
pub(crate) fn own(fd: RawFd) -> OwnedFd {
    // SAFETY: callers pass the value of a call that made a new descriptor, and do so once.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// A pair of connected sockets that keep the bounds of messages.
pub(crate) fn socket_pair() -> Call<(OwnedFd, OwnedFd)> {
    let mut pair = [0i32; 2];
    call!(
        libc::SYS_socketpair,
        libc::AF_UNIX,
        libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC,
        0,
        pair.as_mut_ptr()
    )?;
    Ok((own(pair[0]), own(pair[1])))
}

/// The same descriptor with a number of at least `floor`, close-on-exec.
pub(crate) fn raise(fd: OwnedFd, floor: RawFd) -> Call<OwnedFd> {
    if fd.as_raw_fd() >= floor {
        return Ok(fd);
    }
    call!(libc::SYS_fcntl, fd.as_raw_fd(), libc::F_DUPFD_CLOEXEC, floor).map(|fd| own(fd as RawFd))
}

pub(crate) fn memfd(name: &CStr, flags: u32) -> Call<OwnedFd> {
    call!(libc::SYS_memfd_create, name.as_ptr(), flags).map(|fd| own(fd as RawFd))
}

pub(crate) fn seal(fd: RawFd) -> Call {
    let seals = libc::F_SEAL_SEAL | libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_WRITE;
    call!(libc::SYS_fcntl, fd, libc::F_ADD_SEALS, seals)
}

pub(crate) fn seals(fd: RawFd) -> Call {
    call!(libc::SYS_fcntl, fd, libc::F_GET_SEALS)
}

pub(crate) fn pidfd_open(pid: u32) -> Call<OwnedFd> {
    call!(PIDFD_OPEN, pid, 0).map(|fd| own(fd as RawFd))
}

/// Whether the process behind a pidfd has not ended: a pidfd is readable when it has.
pub(crate) fn alive(pidfd: BorrowedFd<'_>) -> bool {
    matches!(poll_readable(pidfd.as_raw_fd(), 0), Ok(false))
}

/// Whether the bounding set has a capability.
pub(crate) fn bounding_has(cap: u32) -> bool {
    prctl(libc::PR_CAPBSET_READ, cap as usize, 0) == Ok(1)
}

/// Whether the kernel knows a capability.
pub(crate) fn bounding_knows(cap: u32) -> bool {
    prctl(libc::PR_CAPBSET_READ, cap as usize, 0).is_ok()
}

/// `/proc` of the caller, verified to be a procfs.
pub(crate) fn procfs() -> Result<OwnedFd, Error> {
    let fd = openat(libc::AT_FDCWD, c"/proc", libc::O_PATH | libc::O_DIRECTORY, 0)
        .map(own)
        .map_err(|errno| Error::Procfs { source: error(errno) })?;
    match fstatfs(fd.as_raw_fd()) {
        Ok((PROC_MAGIC, _)) => Ok(fd),
        Ok(_) => Err(Error::Procfs { source: error(libc::ENOTSUP) }),
        Err(errno) => Err(Error::Procfs { source: error(errno) }),
    }
}

/// A file of a verified procfs, with no mount and no magic link on the way.
pub(crate) fn procfs_file(proc: BorrowedFd<'_>, path: &CStr, flags: i32) -> Call<OwnedFd> {
    openat2(proc.as_raw_fd(), path, flags, NO_XDEV | NO_MAGICLINKS | NO_SYMLINKS).map(own)
}

/// The process a pidfd stands for, from its `fdinfo`.
pub(crate) fn pidfd_pid(pidfd: BorrowedFd<'_>) -> Result<u32, Error> {
    use std::io::Read as _;
    let proc = procfs()?;
    let path = std::ffi::CString::new(format!("self/fdinfo/{}", pidfd.as_raw_fd())).unwrap_or_default();
    // `self` is a link of the kernel, not a magic one
    let file =
        openat2(std::os::fd::AsRawFd::as_raw_fd(&proc), &path, libc::O_RDONLY, NO_XDEV | NO_MAGICLINKS)
            .map_err(|errno| Error::Procfs { source: error(errno) })?;
    let mut text = String::new();
    File::from(own(file)).read_to_string(&mut text).map_err(|source| Error::Procfs { source })?;
    let pid = text
        .lines()
        .find_map(|line| line.strip_prefix("Pid:"))
        .and_then(|pid| pid.trim().parse::<i64>().ok());
    match pid {
        Some(pid) if pid > 0 => Ok(pid as u32),
        _ => Err(Error::Gone { pid: 0 }),
    }
}

/// A namespace of a process, or of the calling thread. The last component is a magic link and has to be followed.
pub(crate) fn namespace_file(
    proc: BorrowedFd<'_>,
    pid: Option<u32>,
    kind: NamespaceKind,
) -> io::Result<OwnedFd> {
    let who = pid.map_or_else(|| "thread-self".to_owned(), |pid| pid.to_string());
    let dir = std::ffi::CString::new(format!("{who}/ns")).unwrap_or_default();
    let dir = openat2(proc.as_raw_fd(), &dir, libc::O_PATH | libc::O_DIRECTORY, NO_XDEV | NO_MAGICLINKS)
        .map(own)
        .map_err(error)?;
    let name = std::ffi::CString::new(kind.file_name()).unwrap_or_default();
    openat(dir.as_raw_fd(), &name, libc::O_RDONLY, 0).map(own).map_err(error)
}

/// Whether two descriptors are the same inode.
pub(crate) fn same_file(a: RawFd, b: RawFd) -> bool {
    match (stat(a), stat(b)) {
        (Ok(a), Ok(b)) => a.device == b.device && a.inode == b.inode,
        _ => false,
    }
}

/// Whether the running kernel is at least this version.
pub(crate) fn kernel_at_least(major: u32, minor: u32) -> bool {
    static VERSION: std::sync::OnceLock<(u32, u32)> = std::sync::OnceLock::new();
    *VERSION.get_or_init(|| {
        let mut name = MaybeUninit::<libc::utsname>::zeroed();
        let _ = call!(libc::SYS_uname, name.as_mut_ptr());
        // SAFETY: zeroed, and an array of bytes throughout.
        let name = unsafe { name.assume_init() };
        let text: String =
            name.release.iter().take_while(|&&byte| byte != 0).map(|&byte| byte as u8 as char).collect();
        let mut parts = text.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse().unwrap_or(0));
        (parts.next().unwrap_or(0), parts.next().unwrap_or(0))
    }) >= (major, minor)
}

/// Strings and the null-ended array of pointers to them that `execve(2)` takes.
pub(crate) struct StringArray {
    strings: Vec<std::ffi::CString>,
    pointers: Vec<*const libc::c_char>,
}

// SAFETY: the pointers lead into heap buffers of the strings beside them, which are owned and never changed.
unsafe impl Send for StringArray {}
// SAFETY: as above; nothing is written through them.
unsafe impl Sync for StringArray {}

impl StringArray {
    pub(crate) fn new(strings: Vec<std::ffi::CString>) -> Self {
        let pointers = strings.iter().map(|string| string.as_ptr()).chain([std::ptr::null()]).collect();
        Self { strings, pointers }
    }
}

impl std::fmt::Debug for StringArray {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.strings.fmt(f)
    }
}

/// Executes; returns the errno if that failed.
pub(crate) fn execute(path: &CStr, argv: &StringArray, env: &StringArray) -> i32 {
    // SAFETY: both arrays end with a null pointer and point to C strings that live as long as they.
    unsafe { execve(path, argv.pointers.as_ptr(), env.pointers.as_ptr()) }
}

/// Forks by clone3; the child calls `child` and ends with what that returns, if it returns.
pub(crate) fn fork(args: &CloneArgs, child: impl FnOnce() -> i32) -> Call {
    debug_assert!(args.flags & (libc::CLONE_VM | libc::CLONE_SETTLS) as u64 == 0 && args.stack == 0);
    // SAFETY: no shared memory and no other stack: the child runs on its own copy of everything, so that returning
    // twice is sound; it ends in execve or exit.
    match unsafe { clone3(args) } {
        Ok(0) => exit(child()),
        other => other,
    }
}

/// Registers a descriptor with the current tokio runtime.
#[cfg(feature = "tokio")]
pub(crate) fn watch(fd: BorrowedFd<'_>) -> io::Result<tokio::io::unix::AsyncFd<BorrowedFd<'_>>> {
    // SAFETY: a BorrowedFd always gives the same number, and the borrow keeps the descriptor open for as long as the
    // registration lives.
    unsafe { tokio::io::unix::AsyncFd::register_with_interest(fd, tokio::io::Interest::READABLE) }
        .map_err(Into::into)
}
