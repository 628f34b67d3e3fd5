//! Protection of the running program from the containers it starts (CVE-2019-5736).

use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};

use crate::Error;
use crate::sys::{self, EMPTY_PATH, MountAttr, TREE_CLONE};

/// Whether the running program could be written to by way of `/proc/self/exe`: `false` if it lies on a read-only mount or in a
/// sealed memory file.
///
/// A container whose program is `#!/proc/self/exe`, or a link to it, makes the kernel execute the runtime's own binary
/// inside the container, where root can then open it for writing as soon as nobody runs it any more.
pub fn is_exposed() -> Result<bool, Error> {
    let exe = open()?;
    if let Ok(seals) = sys::seals(exe.as_raw_fd())
        && seals & libc::F_SEAL_WRITE as usize != 0
    {
        return Ok(false);
    }
    let (_, flags) = sys::fstatfs(exe.as_raw_fd())
        .map_err(|errno| Error::Seal { what: "fstatfs", source: sys::error(errno) })?;
    Ok(flags & libc::ST_RDONLY == 0)
}

/// The running program as a file that no container can write to: a runtime executes it (`fexecve`) as its first act, unless
/// [`is_exposed`] says that there is no need, and starts containers from there.
///
/// The file is the same one, seen through a detached read-only mount that exists nowhere but in this descriptor. That
/// takes two system calls and no copy, and a container cannot remount what is in none of its namespaces. Without the right
/// to clone a mount it is a copy in a sealed memory file.
///
/// A program that embeds this crate and cannot re-execute itself is safe if it starts containers in user namespaces
/// to which the owner of its binary is not mapped, or lies on a read-only mount.
pub fn sealed_exe() -> Result<OwnedFd, Error> {
    let error = |what| move |errno| Error::Seal { what, source: sys::error(errno) };
    let exe = open()?;
    if let Ok(tree) = sys::open_tree(exe.as_raw_fd(), c"", TREE_CLONE | EMPTY_PATH).map(sys::own) {
        let attr = MountAttr { set: 1, ..MountAttr::default() };
        if sys::mount_setattr(tree.as_raw_fd(), c"", EMPTY_PATH, &attr).is_ok() {
            return Ok(tree);
        }
    }
    let copy = sys::memfd(c"sealed program", libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING)
        .map_err(error("memfd_create"))?;
    while sys::sendfile(copy.as_raw_fd(), exe.as_raw_fd(), 1 << 24).map_err(error("sendfile"))? > 0 {}
    sys::seal(copy.as_raw_fd()).map_err(error("fcntl(F_ADD_SEALS)"))?;
    Ok(copy)
}

fn open() -> Result<OwnedFd, Error> {
    File::open("/proc/self/exe")
        .map(Into::into)
        .map_err(|source| Error::Seal { what: "open of /proc/self/exe", source })
}
