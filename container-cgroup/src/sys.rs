//! `bpf(2)`, which no safe wrapper of ours offers. The attributes are laid out as in `linux/bpf.h`.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};

const PROG_LOAD: libc::c_int = 5;
const PROG_ATTACH: libc::c_int = 8;
const PROG_DETACH: libc::c_int = 9;
const PROG_GET_FD_BY_ID: libc::c_int = 13;
const PROG_QUERY: libc::c_int = 16;
const TYPE_CGROUP_DEVICE: u32 = 15;
const ATTACH_CGROUP_DEVICE: u32 = 6;
const ALLOW_MULTI: u32 = 2;
const REPLACE: u32 = 4;

#[repr(C)]
#[derive(Default)]
struct Load {
    kind: u32,
    count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
    name: [u8; 16],
    interface: u32,
    hook: u32,
}

#[repr(C)]
#[derive(Default)]
struct Attach {
    target: u32,
    program: u32,
    hook: u32,
    flags: u32,
    replaced: u32,
}

#[repr(C)]
#[derive(Default)]
struct Query {
    target: u32,
    hook: u32,
    flags: u32,
    found_flags: u32,
    ids: u64,
    count: u32,
    padding: u32,
}

#[repr(C)]
#[derive(Default)]
struct ById {
    id: u32,
    next: u32,
    flags: u32,
}

/// Calls `bpf(2)`.
///
/// # Safety
/// `T` must be the attribute structure of `command`, and every address in it valid for what the command does with it.
unsafe fn bpf<T>(command: libc::c_int, attributes: &mut T) -> io::Result<libc::c_int> {
    // SAFETY: the pointer and length describe one live `T`; the caller vouches for the rest.
    let answer = unsafe {
        libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attributes), std::mem::size_of::<T>())
    };
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(answer as libc::c_int) }
}

/// Loads a device filter.
pub(crate) fn bpf_load_device(program: &[u64]) -> io::Result<OwnedFd> {
    let mut name = [0; 16];
    name[..7].copy_from_slice(b"dunnage");
    let mut load = Load {
        kind: TYPE_CGROUP_DEVICE,
        count: program.len() as u32,
        instructions: program.as_ptr() as u64,
        license: c"Apache-2.0".as_ptr() as u64,
        name,
        hook: ATTACH_CGROUP_DEVICE,
        ..Load::default()
    };
    // SAFETY: `Load` is the head of PROG_LOAD's attributes; program and licence outlive the call, which only reads them.
    let fd = unsafe { bpf(PROG_LOAD, &mut load) }?;
    // SAFETY: a descriptor just returned by the kernel, owned by nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// The ids of the device filters attached to a group itself.
pub(crate) fn bpf_query_device(group: BorrowedFd<'_>) -> io::Result<Vec<u32>> {
    let mut ids = [0_u32; 64];
    let mut query = Query {
        target: group.as_raw_fd() as u32,
        hook: ATTACH_CGROUP_DEVICE,
        ids: ids.as_mut_ptr() as u64,
        count: ids.len() as u32,
        ..Query::default()
    };
    // SAFETY: `Query` is the head of PROG_QUERY's attributes; `ids` has room for `count` numbers.
    unsafe { bpf(PROG_QUERY, &mut query) }?;
    Ok(ids.iter().copied().take(query.count as usize).collect())
}

/// A descriptor for a loaded program.
pub(crate) fn bpf_program(id: u32) -> io::Result<OwnedFd> {
    let mut by_id = ById { id, ..ById::default() };
    // SAFETY: `ById` is the head of PROG_GET_FD_BY_ID's attributes and holds no address.
    let fd = unsafe { bpf(PROG_GET_FD_BY_ID, &mut by_id) }?;
    // SAFETY: a descriptor just returned by the kernel, owned by nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Attaches a device filter to a group, beside others or in place of one.
pub(crate) fn bpf_attach_device(
    group: BorrowedFd<'_>,
    program: BorrowedFd<'_>,
    replaced: Option<BorrowedFd<'_>>,
) -> io::Result<()> {
    let mut attach = Attach {
        target: group.as_raw_fd() as u32,
        program: program.as_raw_fd() as u32,
        hook: ATTACH_CGROUP_DEVICE,
        flags: ALLOW_MULTI | if replaced.is_some() { REPLACE } else { 0 },
        replaced: replaced.map_or(0, |fd| fd.as_raw_fd() as u32),
    };
    // SAFETY: `Attach` is the head of PROG_ATTACH's attributes and holds no address.
    unsafe { bpf(PROG_ATTACH, &mut attach) }.map(drop)
}

/// Takes a device filter off a group.
pub(crate) fn bpf_detach_device(group: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    let mut detach = Attach {
        target: group.as_raw_fd() as u32,
        program: program.as_raw_fd() as u32,
        hook: ATTACH_CGROUP_DEVICE,
        ..Attach::default()
    };
    // SAFETY: as above.
    unsafe { bpf(PROG_DETACH, &mut detach) }.map(drop)
}
