//! Device nodes and links.

use std::ffi::OsStr;
use std::path::Path;

use super::Compiler;
use super::text::{absolute, cstring, display, target};
use crate::step::{DeviceNode, Step, StepKind};
use crate::{Device, DeviceKind, Error, Symlink};

impl Compiler {
    /// Opens the directory in which the next nodes are made, unless it is open.
    pub(super) fn open_dir(&mut self, path: impl AsRef<Path>) -> Result<(), Error> {
        let path = path.as_ref();
        let target = target("directory", path, false)?;
        if self.dir.as_ref() != Some(&target.path) {
            self.dir = Some(target.path.clone());
            self.push(StepKind::Device, format!("in {}", display(path)), Step::OpenDir(target));
        }
        Ok(())
    }

    pub(super) fn node<'a>(&mut self, what: &'static str, path: &'a Path) -> Result<&'a OsStr, Error> {
        absolute(what, path)?;
        match (path.parent(), path.file_name()) {
            (Some(parent), Some(name)) => {
                self.open_dir(parent)?;
                Ok(name)
            }
            _ => Err(Error::Needs { setting: format!("{what} {}", display(path)), needs: "a name" }),
        }
    }

    pub(super) fn device(&mut self, device: &Device, bind: bool) -> Result<(), Error> {
        let name = cstring("device", self.node("device", &device.path)?)?;
        let (format, letter) = match device.kind {
            DeviceKind::Character => (libc::S_IFCHR, 'c'),
            DeviceKind::Block => (libc::S_IFBLK, 'b'),
            DeviceKind::Fifo => (libc::S_IFIFO, 'p'),
        };
        let object = format!(
            "{} {letter} {}:{} mode {:04o} owner {}:{}",
            display(&device.path),
            device.major,
            device.minor,
            device.mode,
            device.uid,
            device.gid
        );
        let fifo = device.kind == DeviceKind::Fifo;
        let node = DeviceNode {
            name,
            format,
            mode: device.mode & 0o7777,
            major: if fifo { 0 } else { device.major },
            minor: if fifo { 0 } else { device.minor },
            uid: device.uid,
            gid: device.gid,
            host: cstring("device", device.path.as_os_str())?,
            bind: bind && !fifo,
        };
        self.push(StepKind::Device, object, Step::Device(node));
        Ok(())
    }

    pub(super) fn symlink(&mut self, link: &Symlink) -> Result<(), Error> {
        let name = cstring("symlink", self.node("symlink", &link.path)?)?;
        let target = cstring("symlink", link.target.as_os_str())?;
        let object = format!("{} -> {}", display(&link.path), display(&link.target));
        self.push(StepKind::Symlink, object, Step::Symlink { name, target });
        Ok(())
    }
}
