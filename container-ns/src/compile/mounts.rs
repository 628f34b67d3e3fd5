//! Root and mounts.

use std::ffi::{CString, OsStr};
use std::os::fd::AsRawFd;
use std::path::Path;

use super::Compiler;
use super::text::{absolute, cstring, display, target};
use crate::mount::{BindSource, FsOption, Mount, MountFlags, MountIdMap, MountKind};
use crate::step::{BindFrom, Fs, FsValue, RootFrom, Settings, Step, StepKind};
use crate::sys::{self, EMPTY_PATH, MountAttr, RECURSIVE, TREE_CLONE};
use crate::{Error, Filesystem, IdMaps, Propagation, Root, idle};

/// `MOUNT_ATTR__ATIME`
const ATIME: u64 = 0x70;

impl Compiler {
    /// What the caller's mounts, of which the new namespace has copies, are made. Returns whether the copies are private.
    pub(super) fn propagation(
        &mut self,
        root: Option<Propagation>,
        mounts: &[Mount],
        new_mount: bool,
    ) -> bool {
        let wants = |wanted: &[Propagation]| {
            root.is_some_and(|root| wanted.contains(&root))
                || mounts.iter().any(|mount| mount.propagation.iter().any(|(kind, _)| wanted.contains(kind)))
        };
        // also with the caller's root and no mounts: a mask, or what the program mounts, must not be seen on the host
        if !new_mount {
            return false;
        }
        // slave does not send either, so that neither the root over `/` nor a umount is seen on the host
        let private = !wants(&[Propagation::Slave, Propagation::Shared]);
        let (object, kind) =
            if private { ("private, all", Propagation::Private) } else { ("slave, all", Propagation::Slave) };
        let settings = vec![(MountAttr { propagation: kind.flag(), ..MountAttr::default() }, RECURSIVE)];
        self.push(StepKind::HostPropagation, object.into(), Step::HostPropagation(settings));
        self.quiet = !private;
        private
    }

    pub(super) fn root(&mut self, root: Root, private: bool) -> Result<(), Error> {
        let prepare = |what: &str, errno| Error::Prepare { what: what.into(), source: sys::error(errno) };
        let quiet = MountAttr { propagation: Propagation::Private.flag(), ..MountAttr::default() };
        let settings = if private { Vec::new() } else { vec![(quiet, RECURSIVE)] };
        let (object, from, settings) = match root {
            Root::Inherit => {
                self.push(
                    StepKind::Root,
                    "as inherited or joined".into(),
                    Step::Root { from: RootFrom::Here, settings: Vec::new() },
                );
                return Ok(());
            }
            Root::Path(path) => {
                absolute("root", &path)?;
                (display(&path), RootFrom::Path(cstring("root", path.as_os_str())?), settings)
            }
            Root::Directory(fd) => {
                let tree = sys::open_tree(fd.as_raw_fd(), c"", TREE_CLONE | EMPTY_PATH | RECURSIVE)
                    .map_err(|errno| prepare("a copy of the root's mounts", errno))?;
                let tree = self.keep(sys::own(tree))?;
                // cloned in the caller's namespace, where it may be shared
                ("directory by descriptor".into(), RootFrom::Tree(tree), vec![(quiet, RECURSIVE)])
            }
            Root::Detached(fd) => {
                let fd = self.keep(fd)?;
                ("detached mount".into(), RootFrom::Tree(fd), vec![(quiet, RECURSIVE)])
            }
            Root::Filesystem(fs) => {
                let (object, fs) = self.filesystem(fs, MountFlags::empty())?;
                (object, RootFrom::Fs(fs), Vec::new())
            }
        };
        self.push(StepKind::Root, object, Step::Root { from, settings });
        Ok(())
    }

    pub(super) fn filesystem(&mut self, fs: Filesystem, flags: MountFlags) -> Result<(String, Fs), Error> {
        let mut object = fs.kind.clone();
        let mut options = Vec::with_capacity(fs.options.len() + 1);
        if let Some(source) = fs.source {
            if source != fs.kind {
                object.push_str(" from ");
                object.push_str(&source);
            }
            options
                .push((c"source".to_owned(), FsValue::Text(cstring("mount source", OsStr::new(&source))?)));
        }
        self.options(fs.options, &mut options, &mut object)?;
        let attributes = flags.difference(MountFlags::RELATIME).bits();
        Ok((object, Fs { kind: cstring("file system type", OsStr::new(&fs.kind))?, options, attributes }))
    }

    pub(super) fn options(
        &mut self,
        from: Vec<FsOption>,
        to: &mut Vec<(CString, FsValue)>,
        object: &mut String,
    ) -> Result<(), Error> {
        for option in from {
            let (key, value) = match option {
                FsOption::Flag(key) => {
                    object.push(' ');
                    object.push_str(&key);
                    (key, FsValue::Flag)
                }
                FsOption::Value(key, value) => {
                    for part in [" ", &key, "=", &value] {
                        object.push_str(part);
                    }
                    if value.len() > 255 {
                        return Err(Error::Needs {
                            setting: format!("mount option {key} of {} bytes", value.len()),
                            needs: "to be at most 255 bytes, the limit of fsconfig(2)",
                        });
                    }
                    let value = cstring("mount option", OsStr::new(&value))?;
                    (key, FsValue::Text(value))
                }
                FsOption::Descriptor(key, fd) => {
                    for part in [" ", &key, "=(descriptor)"] {
                        object.push_str(part);
                    }
                    (key, FsValue::Descriptor(self.keep(fd)?))
                }
            };
            to.push((cstring("mount option", OsStr::new(&key))?, value));
        }
        Ok(())
    }

    pub(super) fn mount(
        &mut self,
        index: usize,
        mount: Mount,
        deferred: &mut Vec<(String, Step)>,
    ) -> Result<(), Error> {
        let Mount { target: path, kind, mut attributes, propagation, idmap } = mount;
        let at = display(&path);
        let recursive_bind = matches!(kind, MountKind::Bind { .. });
        match kind {
            MountKind::Filesystem(fs) | MountKind::TmpCopyUp(fs) if idmap.is_some() => Err(Error::Needs {
                setting: format!("id-mapping of {} at {at}", fs.kind),
                needs: "a bind mount",
            }),
            MountKind::Filesystem(fs) => {
                // nodes and links have yet to be made in it
                if path == Path::new("/dev") && attributes.set.contains(MountFlags::READ_ONLY) {
                    attributes.set.remove(MountFlags::READ_ONLY);
                    let settings = vec![(MountAttr { set: 1, ..MountAttr::default() }, 0)];
                    let target = target("mount target", &path, false)?;
                    deferred.push((
                        format!("{at} read-only"),
                        Step::Remount { target, options: Vec::new(), settings },
                    ));
                }
                let strict = matches!(&*fs.kind, "proc" | "sysfs");
                let (object, fs) = self.filesystem(fs, attributes.set)?;
                let settings = self.settings(&attributes, &propagation, true, recursive_bind);
                let object = format!("{object} at {at}{}", describe(attributes.set));
                let target = target("mount target", &path, strict)?;
                self.push(StepKind::Mount, object, Step::MountFs { target, fs, settings });
                Ok(())
            }
            MountKind::TmpCopyUp(fs) => {
                let flags = attributes.set.difference(MountFlags::READ_ONLY);
                let (object, fs) = self.filesystem(fs, flags)?;
                let settings = self.settings(&attributes, &propagation, false, recursive_bind);
                let object =
                    format!("{object}, a copy of what is there, at {at}{}", describe(attributes.set));
                let target = target("mount target", &path, false)?;
                self.push(StepKind::Mount, object, Step::TmpCopyUp { target, fs, settings });
                Ok(())
            }
            MountKind::Bind { source, recursive } => {
                self.bind(index, &path, (source, recursive), &attributes, &propagation, idmap)
            }
            MountKind::Cgroup => self.cgroup_mounts(&path, &attributes),
            MountKind::Remount(options) => {
                let mut object = format!("remount {at}{}", describe(attributes.set));
                let mut compiled = Vec::new();
                self.options(options, &mut compiled, &mut object)?;
                let settings = self.settings(&attributes, &propagation, false, recursive_bind);
                let target = target("mount target", &path, false)?;
                self.push(StepKind::Mount, object, Step::Remount { target, options: compiled, settings });
                Ok(())
            }
        }
    }

    pub(super) fn bind(
        &mut self,
        index: usize,
        path: &Path,
        (source, recursive): (BindSource, bool),
        attributes: &crate::Attributes,
        propagation: &[(Propagation, bool)],
        idmap: Option<(MountIdMap, bool)>,
    ) -> Result<(), Error> {
        let at = display(path);
        let prepare = |what: String| move |errno: i32| Error::Prepare { what, source: sys::error(errno) };
        let deep = if recursive { RECURSIVE } else { 0 };
        let (object, tree) = match source {
            BindSource::Path(source) => {
                absolute("bind source", &source)?;
                let object = display(&source);
                let source = cstring("bind source", source.as_os_str())?;
                // to be a peer or slave of the host's mount, it is cloned in the caller's namespace, if that may
                let peer = propagation
                    .iter()
                    .any(|(kind, _)| matches!(kind, Propagation::Slave | Propagation::Shared));
                if idmap.is_none() && peer {
                    match sys::open_tree(libc::AT_FDCWD, &source, TREE_CLONE | deep) {
                        Ok(tree) => (object, BindFrom::Tree(self.keep(sys::own(tree))?)),
                        Err(libc::EPERM | libc::ENOENT) => (object, BindFrom::Path(source)),
                        Err(errno) => {
                            return Err(prepare(format!("bind source {object} of mount {index}"))(errno));
                        }
                    }
                } else if idmap.is_none() {
                    (object, BindFrom::Path(source))
                } else {
                    let tree = sys::open_tree(libc::AT_FDCWD, &source, TREE_CLONE | deep)
                        .map_err(prepare(format!("bind source {object} of mount {index}")))?;
                    (object, BindFrom::Tree(self.keep(sys::own(tree))?))
                }
            }
            BindSource::Descriptor(fd) => {
                let tree = sys::open_tree(fd.as_raw_fd(), c"", TREE_CLONE | EMPTY_PATH | deep)
                    .map_err(prepare(format!("bind source (descriptor) of mount {index} at {at}")))?;
                ("descriptor".into(), BindFrom::Tree(self.keep(sys::own(tree))?))
            }
            BindSource::Detached(fd) => ("detached mount".into(), BindFrom::Tree(self.keep(fd)?)),
        };
        let mut mapped = "";
        if let Some((map, deep)) = idmap {
            let userns = match map {
                MountIdMap::UserNamespace(fd) => fd,
                MountIdMap::Maps { users, groups } => {
                    idle::user_namespace(&IdMaps { users, groups, ..IdMaps::default() })?
                }
            };
            let attr =
                MountAttr { set: 0x0010_0000, userns: userns.as_raw_fd() as u64, ..MountAttr::default() };
            let BindFrom::Tree(tree) = &tree else {
                return Err(Error::Needs {
                    setting: format!("id-mapping of {at}"),
                    needs: "a copy of the source",
                });
            };
            sys::mount_setattr(*tree, c"", EMPTY_PATH | if deep { RECURSIVE } else { 0 }, &attr)
                .map_err(prepare(format!("id-mapping of mount {index} at {at}")))?;
            mapped = " id-mapped";
        }
        let from_tree = matches!(tree, BindFrom::Tree(_));
        let settings = self.settings(attributes, propagation, false, true);
        let settings = if from_tree && propagation.is_empty() && !self.quiet {
            // cloned in the caller's namespace, where it may be shared
            let attr = MountAttr { propagation: Propagation::Private.flag(), ..MountAttr::default() };
            [(attr, RECURSIVE)].into_iter().chain(settings).collect()
        } else {
            settings
        };
        let object = format!(
            "{}bind of {object} at {at}{}{mapped}",
            if recursive { "recursive " } else { "" },
            describe(attributes.set | attributes.set_recursive)
        );
        let target = target("mount target", path, false)?;
        self.push(StepKind::Mount, object, Step::Bind { target, from: tree, recursive, settings });
        Ok(())
    }

    /// The `mount_setattr` calls for a mount; `made` if its own attributes were given to `fsmount`.
    pub(super) fn settings(
        &self,
        attributes: &crate::Attributes,
        propagation: &[(Propagation, bool)],
        made: bool,
        bind: bool,
    ) -> Settings {
        let mut settings = Settings::new();
        let attr = |set: MountFlags, clear: MountFlags| {
            let atime = MountFlags::NO_ATIME | MountFlags::STRICT_ATIME | MountFlags::RELATIME;
            let mut attr = MountAttr {
                set: set.difference(MountFlags::RELATIME).bits(),
                clear: clear.difference(atime).bits(),
                ..MountAttr::default()
            };
            if (set | clear).intersects(atime) {
                attr.clear |= ATIME;
            }
            attr
        };
        let recursive = attr(attributes.set_recursive, attributes.clear_recursive);
        if recursive != MountAttr::default() {
            settings.push((recursive, RECURSIVE));
        }
        let set = if made { MountFlags::empty() } else { attributes.set };
        let own = attr(set, attributes.clear);
        if own != MountAttr::default() {
            settings.push((own, 0));
        }
        for (kind, deep) in propagation {
            let attr = MountAttr { propagation: kind.flag(), ..MountAttr::default() };
            settings.push((attr, if *deep { RECURSIVE } else { 0 }));
        }
        if bind && propagation.is_empty() && self.quiet {
            let attr = MountAttr { propagation: Propagation::Private.flag(), ..MountAttr::default() };
            settings.push((attr, RECURSIVE));
        }
        settings
    }
}

pub(super) fn describe(flags: MountFlags) -> String {
    let names = [
        (MountFlags::READ_ONLY, "ro"),
        (MountFlags::NO_SUID, "nosuid"),
        (MountFlags::NO_DEV, "nodev"),
        (MountFlags::NO_EXEC, "noexec"),
        (MountFlags::NO_ATIME, "noatime"),
        (MountFlags::STRICT_ATIME, "strictatime"),
        (MountFlags::NO_DIR_ATIME, "nodiratime"),
        (MountFlags::NO_SYMLINK_FOLLOW, "nosymfollow"),
    ];
    let list: Vec<&str> =
        names.into_iter().filter(|(flag, _)| flags.contains(*flag)).map(|(_, name)| name).collect();
    if list.is_empty() { String::new() } else { format!(" ({})", list.join(",")) }
}
