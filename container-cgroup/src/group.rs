use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags};

use crate::device::Whitelist;
use crate::hierarchy::Mount;
use crate::setting::{self, Current, Setting};
use crate::{Bytes, Ceiling, Controller, Error, GroupPath, Hierarchy, Limits, Version, file, program};

/// A control group: one directory in each mounted hierarchy, at the same path.
///
/// Dropping the handle does nothing to the group; it is removed by [`Group::remove`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    pub(crate) hierarchy: Hierarchy,
    pub(crate) path: GroupPath,
}

/// Descriptors by which a process enters a group at its birth.
#[derive(Debug)]
pub struct Join {
    /// The group's directory in version 2, for `CLONE_INTO_CGROUP` of `clone3(2)`.
    pub unified: Option<OwnedFd>,
    /// The `tasks` files of version 1, open for writing. The new process writes `0` to each; the kernel
    /// moves a process that moves itself without the grace period that a move by another costs.
    pub tasks: Vec<OwnedFd>,
}

/// A group of which only the part of version 2 is there. Dropping it leaves what is made.
#[derive(Debug)]
pub struct Begun {
    group: Group,
    limits: Limits,
    made: Vec<PathBuf>,
}

impl Begun {
    /// The group.
    pub fn group(&self) -> &Group {
        &self.group
    }

    /// The group's directory of version 2, for `CLONE_INTO_CGROUP`; none if that is not mounted.
    pub fn unified(&self) -> Result<Option<OwnedFd>, Error> {
        self.group.unified_directory().map(|directory| open_directory(&directory)).transpose()
    }

    /// The `tasks` files of version 1, which are there when it is finished.
    pub fn tasks(&self) -> Vec<PathBuf> {
        let mounts = self.group.hierarchy.mounts.iter().filter(|mount| mount.version == Version::V1);
        mounts.map(|mount| self.group.directory(mount).join("tasks")).collect()
    }

    /// Makes the rest, with the limits. What a failing call, or [`Group::begin`] before it, has made it removes.
    pub fn finish(&mut self) -> Result<(), Error> {
        let limits = std::mem::take(&mut self.limits);
        self.each(|group, made| group.make_rest(&limits, made))
    }

    fn each(
        &mut self,
        make: impl FnOnce(&Group, &mut Vec<PathBuf>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let done = make(&self.group, &mut self.made);
        if done.is_err() {
            for directory in self.made.iter().rev() {
                // best effort: the error that led here is the one to report
                let _ = fs::remove_dir(directory);
            }
        }
        done
    }
}

impl Group {
    /// Makes a group in every mounted hierarchy, with these limits, and missing parents without limits.
    ///
    /// A group that exists without processes, as a crash leaves it, is made anew; one with processes is
    /// [`Error::InUse`]. What a failing call has made it removes.
    pub fn create(hierarchy: &Hierarchy, path: &GroupPath, limits: &Limits) -> Result<Self, Error> {
        let mut begun = Self::begin(hierarchy, path, limits)?;
        begun.finish()?;
        Ok(begun.group)
    }

    /// The first half of [`create`](Self::create): checks everything that can be checked, and makes the directory of version 2, in which
    /// a process can be born. The second half, [`Begun::finish`], can be done while that process is at work already.
    pub fn begin(hierarchy: &Hierarchy, path: &GroupPath, limits: &Limits) -> Result<Begun, Error> {
        let group = Self { hierarchy: hierarchy.clone(), path: path.clone() };
        // everything that can be refused without the kernel is refused before it is asked
        setting::settings(&group.hierarchy, limits, &Current::default())?;
        if group.hierarchy.holder(&Controller::Devices).is_some() {
            Whitelist::fold(&limits.devices)?;
        }
        let mut begun = Begun { group, limits: limits.clone(), made: Vec::new() };
        begun.each(|group, made| {
            group.hierarchy.unified_mount().map_or(Ok(()), |mount| group.make_directory(mount, made))
        })?;
        Ok(begun)
    }

    /// Opens a group that exists, in whichever of the hierarchies it does.
    pub fn open(hierarchy: &Hierarchy, path: &GroupPath) -> Result<Self, Error> {
        let mut group = Self { hierarchy: hierarchy.clone(), path: path.clone() };
        group.hierarchy.mounts.retain(|mount| directory(mount, path).is_dir());
        if group.hierarchy.mounts.is_empty() {
            let first = hierarchy.mounts.first();
            let path = first.map_or_else(|| PathBuf::from(path.as_str()), |mount| directory(mount, path));
            return Err(Error::Missing { path });
        }
        Ok(group)
    }

    /// The group's path in each hierarchy.
    pub fn path(&self) -> &GroupPath {
        &self.path
    }

    /// The hierarchies in which the group is.
    pub fn hierarchy(&self) -> &Hierarchy {
        &self.hierarchy
    }

    /// Changes limits of a group with or without processes; absent fields stay as they are. Idempotent.
    /// Not atomic over several files; each file, and the device filter of version 2, changes at once.
    pub fn update(&self, limits: &Limits) -> Result<(), Error> {
        let mut current = Current::default();
        let memory = &limits.memory;
        if memory.check_before_update
            && let Some(Ceiling::At(limit)) = memory.limit
        {
            let used = self.stats()?.memory.map_or(Bytes(0), |stats| stats.usage);
            if used > limit {
                let (limit, value) = ("memory.limit", limit.to_string());
                return Err(Error::Value { limit, value, reason: "is below what is in use" });
            }
        }
        if memory.limit_with_swap.is_some()
            && memory.limit.is_none()
            && let Some(directory) = self.version_2(&Controller::Memory)
        {
            let text = file::read(&directory.join("memory.max"))?;
            current.memory_max =
                Some(text.trim().parse().map_or(Ceiling::Unlimited, |bytes| Ceiling::At(Bytes(bytes))));
        }
        if limits.cpu.period.is_some()
            && limits.cpu.quota.is_none()
            && let Some(directory) = self.version_2(&Controller::Cpu)
        {
            let text = file::read(&directory.join("cpu.max"))?;
            current.cpu_quota = text.split_whitespace().next().map(str::to_owned);
        }
        self.apply(&setting::settings(&self.hierarchy, limits, &current)?)?;
        self.filter_devices(limits, false)
    }

    /// Opens what a new process needs to enter the group.
    pub fn join(&self) -> Result<Join, Error> {
        let mut join = Join { unified: None, tasks: Vec::with_capacity(self.hierarchy.mounts.len()) };
        for mount in &self.hierarchy.mounts {
            let directory = self.directory(mount);
            match mount.version {
                Version::V2 => join.unified = Some(open_directory(&directory)?),
                Version::V1 => join.tasks.push(open(&directory.join("tasks"), OFlags::WRONLY)?),
            }
        }
        Ok(join)
    }

    /// Moves a running process, with all its threads, into the group.
    pub fn add(&self, pid: i32) -> Result<(), Error> {
        for mount in &self.hierarchy.mounts {
            file::write(&self.directory(mount).join("cgroup.procs"), &pid.to_string())?;
        }
        Ok(())
    }

    /// The processes in the group and in groups below it, each once, in no order.
    pub fn processes(&self) -> Result<Vec<i32>, Error> {
        let directory = self.main_directory();
        let mut found = Vec::new();
        collect(&directory, &mut found)?;
        found.sort_unstable();
        found.dedup();
        Ok(found)
    }

    /// The groups directly below this one, in any of the hierarchies, each once, by name.
    pub fn children(&self) -> Result<Vec<GroupPath>, Error> {
        let mut names = BTreeSet::new();
        for mount in &self.hierarchy.mounts {
            let directory = self.directory(mount);
            let failed = |source| Error::Read { path: directory.clone(), source };
            for entry in fs::read_dir(&directory).map_err(failed)? {
                let entry = entry.map_err(failed)?;
                if entry.file_type().map_err(failed)?.is_dir()
                    && let Ok(name) = entry.file_name().into_string()
                {
                    names.insert(name);
                }
            }
        }
        names.iter().map(|name| self.path.join(name)).collect()
    }

    pub(crate) fn directory(&self, mount: &Mount) -> PathBuf {
        directory(mount, &self.path)
    }

    /// The group's directory in the hierarchy that tells best who is in it: the unified one if there is one.
    pub(crate) fn main_directory(&self) -> PathBuf {
        let mounts = &self.hierarchy.mounts;
        let best = self
            .hierarchy
            .unified_mount()
            .or_else(|| self.hierarchy.holder(&Controller::Freezer))
            .or_else(|| self.hierarchy.holder(&Controller::Pids))
            .or_else(|| mounts.first());
        best.map_or_else(|| PathBuf::from(self.path.as_str()), |mount| self.directory(mount))
    }

    /// The group's directory for a controller, if version 2 holds it.
    pub(crate) fn version_2(&self, controller: &Controller) -> Option<PathBuf> {
        let mount = self.hierarchy.holder(controller)?;
        (mount.version == Version::V2).then(|| self.directory(mount))
    }

    /// The group's directory for a controller, if version 1 holds it.
    pub(crate) fn version_1(&self, controller: &Controller) -> Option<PathBuf> {
        let mount = self.hierarchy.holder(controller)?;
        (mount.version == Version::V1).then(|| self.directory(mount))
    }

    /// The group's directory in the unified hierarchy.
    pub(crate) fn unified_directory(&self) -> Option<PathBuf> {
        self.hierarchy.unified_mount().map(|mount| self.directory(mount))
    }

    fn make_rest(&self, limits: &Limits, made: &mut Vec<PathBuf>) -> Result<(), Error> {
        for mount in self.hierarchy.mounts.iter().filter(|mount| mount.version == Version::V1) {
            self.make_directory(mount, made)?;
        }
        self.apply(&setting::settings(&self.hierarchy, limits, &Current::default())?)?;
        self.filter_devices(limits, true)
    }

    fn make_directory(&self, mount: &Mount, made: &mut Vec<PathBuf>) -> Result<(), Error> {
        let leaf = self.directory(mount);
        let create_error = |path: &Path, source| Error::Create { path: path.to_owned(), source };
        match fs::create_dir(&leaf) {
            Ok(()) => made.push(leaf.clone()),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let mut inside = Vec::new();
                collect(&leaf, &mut inside)?;
                if let Some(&pid) = inside.first() {
                    return Err(Error::InUse { path: leaf, pid });
                }
                crate::kill::remove_tree(&leaf)
                    .and_then(|()| fs::create_dir(&leaf))
                    .map_err(|source| create_error(&leaf, source))?;
                made.push(leaf.clone());
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let mut directory = mount.point.clone();
                for component in self.path.relative().split('/') {
                    directory.push(component);
                    match fs::create_dir(&directory) {
                        Ok(()) => {
                            made.push(directory.clone());
                            if mount.holds(&Controller::Cpuset) && mount.version == Version::V1 {
                                inherit_cpuset(&directory)?;
                            }
                        }
                        // made by another container of the same parent
                        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                        Err(source) => return Err(create_error(&directory, source)),
                    }
                }
            }
            Err(source) => return Err(create_error(&leaf, source)),
        }
        match mount.version {
            Version::V1 if mount.holds(&Controller::Cpuset) => inherit_cpuset(&leaf),
            Version::V2 if !mount.controllers.is_empty() => self.enable_controllers(mount),
            _ => Ok(()),
        }
    }

    /// Hands the root's controllers down to the group, level by level.
    ///
    /// One that a parent refuses (it has processes of its own, say) is left out here; a limit that needs it is then an error.
    fn enable_controllers(&self, mount: &Mount) -> Result<(), Error> {
        let words = |path: &Path| -> Result<Vec<String>, Error> {
            Ok(file::read(path)?.split_whitespace().map(str::to_owned).collect())
        };
        if words(&self.directory(mount).join("cgroup.controllers"))?.len() >= mount.controllers.len() {
            return Ok(());
        }
        let mut level = mount.point.clone();
        let mut components = self.path.relative().split('/');
        // the group itself hands nothing down: processes live in it
        components.next_back();
        for component in std::iter::once("").chain(components) {
            if !component.is_empty() {
                level.push(component);
            }
            let control = level.join("cgroup.subtree_control");
            let enabled = words(&control)?;
            let missing: Vec<String> = words(&level.join("cgroup.controllers"))?
                .into_iter()
                .filter(|word| !enabled.contains(word))
                .map(|word| format!("+{word}"))
                .collect();
            if !missing.is_empty() && file::write_raw(&control, &missing.join(" ")).is_err() {
                for one in &missing {
                    let _ = file::write_raw(&control, one);
                }
            }
        }
        Ok(())
    }

    /// Writes settings in order. Some bound each other (memory and memory with swap, quota and period), so what is
    /// refused at first is tried once more after the others.
    fn apply(&self, settings: &[Setting<'_>]) -> Result<(), Error> {
        let mut again = Vec::new();
        for setting in settings {
            match self.write(setting) {
                Err(Error::Write { source, .. })
                    if settings.len() > 1
                        && matches!(source.raw_os_error(), Some(libc::EINVAL | libc::EBUSY)) =>
                {
                    again.push(setting);
                }
                done => done?,
            }
        }
        again.into_iter().try_for_each(|setting| self.write(setting))
    }

    fn write(&self, setting: &Setting<'_>) -> Result<(), Error> {
        let directory = self.directory(setting.mount);
        for (name, value) in &setting.tries {
            match file::write_raw(&directory.join(name), value) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(source) => {
                    return Err(Error::Write { path: directory.join(name), value: value.clone(), source });
                }
                Ok(()) => return Ok(()),
            }
        }
        let names: Vec<&str> = setting.tries.iter().map(|(name, _)| name.as_str()).collect();
        let reason = format!("{} has no file {}", directory.display(), names.join(" or "));
        Err(Error::Unsupported { limit: setting.limit.clone(), reason })
    }

    fn filter_devices(&self, limits: &Limits, fresh: bool) -> Result<(), Error> {
        if limits.devices.is_empty() {
            return Ok(());
        }
        if let Some(directory) = self.version_1(&Controller::Devices) {
            return filter_version_1(&directory, &Whitelist::fold(&limits.devices)?, fresh);
        }
        let Some(directory) = self.unified_directory() else {
            let reason = "neither the devices controller nor version 2 is mounted".to_owned();
            return Err(Error::Unsupported { limit: "devices".to_owned(), reason });
        };
        let fd = open_directory(&directory)?;
        program::install(&directory, fd.as_fd(), &limits.devices)
    }
}

fn open(path: &Path, flags: OFlags) -> Result<OwnedFd, Error> {
    rustix::fs::openat(CWD, path, flags | OFlags::CLOEXEC, Mode::empty())
        .map_err(|errno| Error::Read { path: path.to_owned(), source: errno.into() })
}

fn open_directory(path: &Path) -> Result<OwnedFd, Error> {
    open(path, OFlags::RDONLY | OFlags::DIRECTORY)
}

fn directory(mount: &Mount, path: &GroupPath) -> PathBuf {
    mount.point.join(path.relative())
}

/// A cpuset of version 1 starts empty and takes no process until it has processors and nodes.
fn inherit_cpuset(directory: &Path) -> Result<(), Error> {
    let Some(parent) = directory.parent() else { return Ok(()) };
    for name in ["cpuset.cpus", "cpuset.mems"] {
        // without the prefix when mounted with `noprefix`, as by Android and old LXC
        let mut above = file::read(&parent.join(name))?;
        if above.trim().is_empty() {
            // somebody else has made it this moment, and got no further
            inherit_cpuset(parent)?;
            above = file::read(&parent.join(name))?;
        }
        file::write(&directory.join(name), above.trim())?;
    }
    Ok(())
}

/// Changes the list of version 1 by differences, so that a running container never loses what it keeps.
fn filter_version_1(directory: &Path, target: &Whitelist, fresh: bool) -> Result<(), Error> {
    let (allow, deny) = (directory.join("devices.allow"), directory.join("devices.deny"));
    if target.default_allow {
        file::write(&allow, "a")?;
        return file::write_each(&deny, target.exceptions.iter().map(ToString::to_string));
    }
    let now = if fresh { None } else { Whitelist::parse_list(&file::read(&directory.join("devices.list"))?) };
    let Some(now) = now else {
        file::write(&deny, "a")?;
        return file::write_each(&allow, target.exceptions.iter().map(ToString::to_string));
    };
    let within = |rule: &&crate::DeviceRule, list: &[crate::DeviceRule]| list.contains(rule);
    for rule in target.exceptions.iter().filter(|rule| !within(rule, &now)) {
        file::write(&allow, &rule.to_string())?;
    }
    for rule in now.iter().filter(|rule| !within(rule, &target.exceptions)) {
        file::write(&deny, &rule.to_string())?;
        // a rule narrowed in its accesses loses all of them by the line above
        for kept in target
            .exceptions
            .iter()
            .filter(|kept| (kept.kind, kept.major, kept.minor) == (rule.kind, rule.major, rule.minor))
        {
            file::write(&allow, &kept.to_string())?;
        }
    }
    Ok(())
}

pub(crate) fn collect(directory: &Path, found: &mut Vec<i32>) -> Result<(), Error> {
    let procs = directory.join("cgroup.procs");
    let text = match file::read(&procs) {
        // a group that went meanwhile, or a threaded one, whose processes its parent lists
        Err(Error::Read { source, .. })
            if matches!(source.raw_os_error(), Some(libc::ENOENT | libc::ENODEV | libc::EOPNOTSUPP)) =>
        {
            return Ok(());
        }
        text => text?,
    };
    found.extend(text.lines().filter_map(|line| line.parse::<i32>().ok()).filter(|&pid| pid > 0));
    for child in children(directory) {
        collect(&child, found)?;
    }
    Ok(())
}

/// The groups directly below one; none if it went meanwhile.
pub(crate) fn children(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let directories =
        entries.filter_map(Result::ok).filter(|entry| entry.file_type().is_ok_and(|t| t.is_dir()));
    directories.map(|entry| entry.path()).collect()
}
