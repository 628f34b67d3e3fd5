//! `/sys/fs/cgroup` of a container.
//!
//! With a cgroup namespace, new or joined, the file systems are mounted anew, and the namespace makes the container's own groups their
//! roots. Without one a new mount would show the whole host; so the container's own group of each hierarchy is bound instead.

use std::ffi::OsStr;
use std::os::fd::{AsFd, AsRawFd};
use std::path::{Component, Path, PathBuf};

use super::Compiler;
use super::mounts::describe;
use super::text::{cstring, display, target};
use crate::mount::MountFlags;
use crate::step::{BindFrom, Step, StepKind};
use crate::sys::{self, MountAttr};
use crate::{Attributes, Error, Filesystem, Symlink};

/// A mounted hierarchy as `mountinfo` has it.
struct Hierarchy {
    /// The part of it that is mounted.
    root: PathBuf,
    point: PathBuf,
    /// Controllers or `name=…`; none in version 2.
    options: Vec<String>,
    unified: bool,
}

impl Compiler {
    pub(super) fn cgroup_mounts(&mut self, path: &Path, attributes: &Attributes) -> Result<(), Error> {
        self.await_groups()?;
        let unified = sys::openat(libc::AT_FDCWD, c"/sys/fs/cgroup", libc::O_PATH, 0)
            .map(sys::own)
            .and_then(|fd| sys::fstatfs(fd.as_raw_fd()))
            .is_ok_and(|(magic, _)| magic == 0x6367_7270);
        let flags = attributes.set;
        let mounted = if self.own_cgroups { Vec::new() } else { hierarchies()? };
        if unified {
            let own =
                mounted.iter().find(|one| one.unified).zip((!self.own_cgroups).then(membership).transpose()?);
            if let Some((hierarchy, list)) = own
                && let Some(group) =
                    self.group(hierarchy, list.lines().find_map(|line| line.strip_prefix("0::")))
            {
                let object = format!("bind of {} at {}{}", display(&group), display(path), describe(flags));
                let from = BindFrom::Path(cstring("control group", group.as_os_str())?);
                let settings = self.settings(attributes, &[], false, true);
                let target = target("mount target", path, true)?;
                self.push(StepKind::Mount, object, Step::Bind { target, from, recursive: false, settings });
                return Ok(());
            }
            return self.simple(path, Filesystem::new("cgroup2"), flags);
        }
        let list = membership()?;
        let tmpfs = Filesystem::new("tmpfs").option("mode", "755").option("size", "64k");
        self.simple(path, tmpfs, flags.difference(MountFlags::READ_ONLY))?;
        // the hierarchies' places are made in this tmpfs alone, so nothing has to be looked for, and no link can lie there
        self.push(
            StepKind::Mount,
            format!("in {}", display(path)),
            Step::OpenDir(target("mount target", path, true)?),
        );
        self.dir = Some(target("mount target", path, true)?.path);
        for line in list.lines() {
            let mut words = line.splitn(3, ':').skip(1);
            let (Some(controllers), Some(group)) = (words.next(), words.next()) else { continue };
            let name = match controllers {
                "" => "unified",
                other => other.strip_prefix("name=").unwrap_or(other),
            };
            if self.own_cgroups {
                let fs = match controllers {
                    "" => Filesystem::new("cgroup2"),
                    _ if name != controllers => Filesystem::new("cgroup").flag("none").option("name", name),
                    _ => controllers.split(',').fold(Filesystem::new("cgroup"), Filesystem::flag),
                };
                let (kind, fs) = self.filesystem(fs, flags)?;
                let object = format!("{kind} at {}{}", display(&path.join(name)), describe(flags));
                let name = cstring("mount target", OsStr::new(name))?;
                self.push(StepKind::Mount, object, Step::MountIn { name, fs });
            } else {
                let of = |one: &&Hierarchy| {
                    let mut names = controllers.split(',');
                    one.unified == controllers.is_empty()
                        && (one.unified || names.all(|name| one.options.iter().any(|option| option == name)))
                };
                // a hierarchy that is not mounted, or whose group lies outside of what is, is not shown
                let Some(group) = mounted.iter().find(of).and_then(|one| self.group(one, Some(group))) else {
                    continue;
                };
                let at = display(&path.join(name));
                let object = format!("bind of {} at {at}{}", display(&group), describe(flags));
                let settings = self.settings(attributes, &[], false, true);
                let from = cstring("control group", group.as_os_str())?;
                let name = cstring("mount target", OsStr::new(name))?;
                self.push(StepKind::Mount, object, Step::BindIn { name, from, settings });
            }
            if controllers.contains(',') {
                for controller in controllers.split(',') {
                    self.symlink(&Symlink { path: path.join(controller), target: controllers.into() })?;
                }
            }
        }
        if flags.contains(MountFlags::READ_ONLY) {
            let settings = vec![(MountAttr { set: 1, ..MountAttr::default() }, 0)];
            let target = target("mount target", path, true)?;
            let step = Step::Remount { target, options: Vec::new(), settings };
            self.push(StepKind::Mount, format!("{} read-only", display(path)), step);
        }
        // a later mount may cover the directory
        self.dir = None;
        Ok(())
    }

    fn simple(&mut self, at: &Path, fs: Filesystem, flags: MountFlags) -> Result<(), Error> {
        let (kind, fs) = self.filesystem(fs, flags)?;
        let target = target("mount target", at, true)?;
        let object = format!("{kind} at {}{}", display(at), describe(flags));
        self.push(StepKind::Mount, object, Step::MountFs { target, fs, settings: Vec::new() });
        Ok(())
    }

    /// The directory of the group that the process will be in: the one it joins, else the caller's.
    fn group(&self, hierarchy: &Hierarchy, callers: Option<&str>) -> Option<PathBuf> {
        // the joined one may have been opened at another mount point of the hierarchy
        let joined = self.groups.iter().find(|group| group.starts_with(&hierarchy.point));
        let group = if let Some(group) = joined {
            // it is there, or will be by then
            return Some(group.clone());
        } else {
            let below = Path::new(callers?).strip_prefix(&hierarchy.root).ok()?;
            if below.components().any(|part| !matches!(part, Component::Normal(_))) {
                return None;
            }
            hierarchy.point.join(below)
        };
        group.is_dir().then_some(group)
    }
}

fn unprepared(source: std::io::Error) -> Error {
    Error::Prepare { what: "the list of cgroup hierarchies".into(), source }
}

fn procfs_text(path: &std::ffi::CStr) -> Result<String, Error> {
    let proc = sys::procfs()?;
    let file = sys::openat2(proc.as_fd().as_raw_fd(), path, libc::O_RDONLY, sys::NO_MAGICLINKS)
        .map_err(|errno| unprepared(sys::error(errno)))?;
    // names of other mounts need not be UTF-8
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut std::fs::File::from(sys::own(file)), &mut bytes).map_err(unprepared)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// `/proc/self/cgroup`
fn membership() -> Result<String, Error> {
    procfs_text(c"self/cgroup")
}

fn hierarchies() -> Result<Vec<Hierarchy>, Error> {
    Ok(procfs_text(c"thread-self/mountinfo")?.lines().filter_map(hierarchy).collect())
}

fn hierarchy(line: &str) -> Option<Hierarchy> {
    // ID PARENT MAJ:MIN ROOT POINT OPTIONS [TAG...] - TYPE SOURCE SUPER-OPTIONS; a path with an escape is none of a hierarchy
    let (front, back) = line.split_once(" - ")?;
    let mut back = back.split(' ');
    let unified = match back.next()? {
        "cgroup" => false,
        "cgroup2" => true,
        _ => return None,
    };
    let options = back.nth(1)?.split(',').map(str::to_owned).collect();
    let mut front = front.split(' ').skip(3);
    Some(Hierarchy { root: front.next()?.into(), point: front.next()?.into(), options, unified })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_mountinfo_is_a_hierarchy_only_if_its_type_says_so() {
        let line = "35 31 0:32 /a /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory";
        let one = hierarchy(line).unwrap();
        assert_eq!(
            (one.root.as_path(), one.point.as_path()),
            (Path::new("/a"), Path::new("/sys/fs/cgroup/memory"))
        );
        assert_eq!((one.options, one.unified), (vec!["rw".to_owned(), "memory".to_owned()], false));
        assert!(hierarchy("1 2 0:3 / /proc rw - proc proc rw").is_none());
        assert!(hierarchy("garbage - cgroup").is_none());
    }
}
