//! A volume's files as a tar stream, and back. Paths of an archive are resolved beneath the new directory and through no link.

use std::{
    io::{Read, Write},
    os::fd::AsFd,
    path::Path,
};

use rustix::fs::Dir;

use crate::{Error, Restored, Result, Volumes, local::Local, pack, unpack};

impl Volumes {
    /// Writes a volume's files as a tar stream (POSIX pax) with owners, modes, times to the nanosecond, hard links, devices and
    /// extended attributes. Holes are written as zeros; sockets are left out. Names are as `./a/b`.
    ///
    /// Files that change meanwhile are written as they are found, each with the size it had at first.
    pub fn backup(&self, name: &str, output: impl Write) -> Result<()> {
        let top = self.files(name)?;
        pack(&format!("volume {name}"), top.as_fd(), c".", Path::new("."), output)
    }

    /// Fills an empty volume that no container has from a tar stream. Atomic for a plain volume: all files come at once, or none.
    ///
    /// # Errors
    ///
    /// [`Error::NotEmpty`], [`Error::InUse`], and [`Error::Archive`] for what no honest archive has: absolute names and `..`, a
    /// path through a link, a hard link to what is not there. Attributes `trusted.*`, `user.overlay.*` and labels of security
    /// modules are left out; capabilities of files are kept.
    pub fn restore(&self, name: &str, input: impl Read) -> Result<Restored> {
        let _lock = self.lock()?;
        let volume = self.inspect(name)?;
        let users = self.users(name)?;
        if !users.is_empty() {
            return Err(Error::InUse { name: name.into(), users });
        }
        let of = format!("volume {name}");
        let top = self.files(name)?;
        let is_empty = Dir::read_from(&top)
            .map_err(|e| Error::file("read", &volume.mountpoint, e))?
            .all(|entry| entry.is_ok_and(|entry| matches!(entry.file_name().to_bytes(), b"." | b"..")));
        if !is_empty {
            return Err(Error::NotEmpty { name: name.into() });
        }
        if matches!(Local::of(name, &volume.options)?, Local::Plain { .. }) {
            self.replace(&volume, |target| unpack(&of, target, input, None))
        } else {
            unpack(&of, top.as_fd(), input, None)
        }
    }
}
