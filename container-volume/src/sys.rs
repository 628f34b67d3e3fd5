//! The two calls that have no safe wrapper: a project number for a directory, and a limit for a project.
#![allow(unsafe_code)]

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd},
};

/// `struct fsxattr` of `linux/fs.h`.
#[repr(C)]
#[derive(Default)]
struct Attributes {
    flags: u32,
    extent_size: u32,
    extents: u32,
    project: u32,
    cow_extent_size: u32,
    padding: [u8; 8],
}

/// `struct if_dqblk` of `linux/quota.h`; blocks are of 1,024 bytes.
#[repr(C)]
#[derive(Default)]
struct Limits {
    hard_blocks: u64,
    soft_blocks: u64,
    bytes: u64,
    hard_inodes: u64,
    soft_inodes: u64,
    inodes: u64,
    block_time: u64,
    inode_time: u64,
    valid: u32,
}

const FS_IOC_FSGETXATTR: libc::c_ulong = 0x801c_581f;
const FS_IOC_FSSETXATTR: libc::c_ulong = 0x401c_5820;
const FS_XFLAG_PROJINHERIT: u32 = 0x200;
/// `QCMD(Q_SETQUOTA, PRJQUOTA)`
const SET_PROJECT_QUOTA: libc::c_int = (0x80_0008 << 8) | 2;
const QIF_BLIMITS: u32 = 1;

/// Gives a directory a project number, which what is made in it inherits.
pub(crate) fn set_project(dir: BorrowedFd<'_>, project: u32) -> io::Result<()> {
    let mut attributes = Attributes::default();
    // SAFETY: the descriptor is open, and the kernel writes one `struct fsxattr` where one is.
    if unsafe { libc::ioctl(dir.as_raw_fd(), FS_IOC_FSGETXATTR as _, &raw mut attributes) } < 0 {
        return Err(io::Error::last_os_error());
    }
    attributes.project = project;
    attributes.flags |= FS_XFLAG_PROJINHERIT;
    // SAFETY: the descriptor is open, and the kernel reads one `struct fsxattr`, which was filled above.
    if unsafe { libc::ioctl(dir.as_raw_fd(), FS_IOC_FSSETXATTR as _, &raw const attributes) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Limits what a project takes on the descriptor's file system (`quotactl_fd(2)`, Linux 5.14).
pub(crate) fn limit_project(dir: BorrowedFd<'_>, project: u32, bytes: u64) -> io::Result<()> {
    let limits = Limits { hard_blocks: bytes.div_ceil(1024), valid: QIF_BLIMITS, ..Limits::default() };
    // SAFETY: the descriptor is open, and the kernel reads one `struct if_dqblk`, which lives until the call returns.
    let done = unsafe {
        libc::syscall(libc::SYS_quotactl_fd, dir.as_raw_fd(), SET_PROJECT_QUOTA, project, &raw const limits)
    };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
