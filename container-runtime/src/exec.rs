use std::os::fd::{AsFd as _, OwnedFd};
use std::path::PathBuf;
use std::str::FromStr;

use container_cgroup::{Group, GroupPath, Layout};
use container_ns::{CapSet, Namespaces, Root, Sandbox, Stdio, WindowSize};
use oci_spec::runtime::{Process, Spec};

use crate::create::{agree, join, resize};
use crate::{Console, ContainerId, Error, Running, Runtime, Status, config, console};

/// A user and group by number: `UID` or `UID:GID`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExecUser {
    /// User.
    pub uid: u32,
    /// Group; 0 if absent.
    pub gid: Option<u32>,
}

impl FromStr for ExecUser {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = || Error::Config {
            pointer: "/process/user".to_owned(),
            value: text.to_owned(),
            reason: "is not UID or UID:GID",
        };
        let (uid, gid) = match text.split_once(':') {
            Some((uid, gid)) => (uid, Some(gid.parse().map_err(|_| wrong())?)),
            None => (text, None),
        };
        Ok(Self { uid: uid.parse().map_err(|_| wrong())?, gid })
    }
}

/// A further process in a container. What is not said is as in the container's own process.
#[derive(Debug, Default)]
pub struct Exec {
    /// The process as in `config.json`, whole; the fields from `args` to `apparmor` change it.
    pub process: Option<Process>,
    /// Program and arguments.
    pub args: Vec<String>,
    /// Whether it has a terminal; without `process` it has none unless said.
    pub terminal: Option<bool>,
    /// User and group.
    pub user: Option<ExecUser>,
    /// Further groups.
    pub additional_gids: Vec<u32>,
    /// More environment, `NAME=value` each.
    pub env: Vec<String>,
    /// Working directory.
    pub cwd: Option<PathBuf>,
    /// More capabilities, by name.
    pub capabilities: Vec<String>,
    /// No more privileges by set-uid programs.
    pub no_new_privs: bool,
    /// A group below the container's own to run in.
    pub cgroup: Option<String>,
    /// AppArmor profile.
    pub apparmor: Option<String>,
    /// Start it in a paused container, where it runs only after `resume`.
    pub ignore_paused: bool,
    /// What happens to the terminal's master.
    pub console: Console,
    /// Size that a terminal has from the start, in place of `consoleSize`.
    pub window: Option<WindowSize>,
    /// Descriptors that it gets as 3, 4, ….
    pub preserved: Vec<OwnedFd>,
    /// stdin, unless there is a terminal.
    pub stdin: Stdio,
    /// stdout, unless there is a terminal.
    pub stdout: Stdio,
    /// stderr, unless there is a terminal.
    pub stderr: Stdio,
    /// Signal it gets when the thread that makes it ends.
    pub parent_death_signal: Option<i32>,
}

impl Exec {
    /// A program with its arguments.
    pub fn new<S: Into<String>>(args: impl IntoIterator<Item = S>) -> Self {
        Self { args: args.into_iter().map(Into::into).collect(), ..Self::default() }
    }

    fn process(&self, spec: &Spec) -> Process {
        let base = self.process.clone().or_else(|| {
            let mut base = spec.process().clone()?;
            base.set_terminal(Some(false));
            Some(base)
        });
        let mut process = base.unwrap_or_default();
        if !self.args.is_empty() {
            process.set_args(Some(self.args.clone()));
        }
        if let Some(terminal) = self.terminal {
            process.set_terminal(Some(terminal));
        }
        if let Some(user) = self.user {
            process.user_mut().set_uid(user.uid);
            process.user_mut().set_gid(user.gid.unwrap_or(0));
            process.user_mut().set_additional_gids(None);
        }
        if !self.additional_gids.is_empty() {
            let mut gids = process.user().additional_gids().clone().unwrap_or_default();
            gids.extend(&self.additional_gids);
            process.user_mut().set_additional_gids(Some(gids));
        }
        if !self.env.is_empty() {
            let mut env = process.env().clone().unwrap_or_default();
            env.extend(self.env.iter().cloned());
            process.set_env(Some(env));
        }
        if let Some(cwd) = &self.cwd {
            process.set_cwd(cwd.clone());
        }
        if self.no_new_privs {
            process.set_no_new_privileges(Some(true));
        }
        if let Some(profile) = &self.apparmor {
            process.set_apparmor_profile(Some(profile.clone()));
        }
        process
    }
}

impl Runtime {
    /// Runs a further process in a container that is created, running, or, if asked for, paused. Returns when its program has been
    /// executed; it is a child of this process.
    pub fn exec(&self, id: &ContainerId, exec: Exec) -> Result<Running, Error> {
        let record = self.record(id)?;
        let status = self.status(id, &record);
        let refused = |status| Error::Status { operation: "exec in", id: id.to_string(), status };
        match status {
            Status::Running | Status::Created => {}
            Status::Paused if exec.ignore_paused => {}
            status => return Err(refused(status)),
        }
        let held = record.identity().hold()?.ok_or_else(|| refused(Status::Stopped))?;
        let spec = config::load_kept(&self.directory(id))?;
        let mut sandbox = sandbox(&spec, &exec, &record.bundle)?;
        agree(&sandbox, &exec.console)?;
        sandbox.namespaces = Namespaces::of(held.pidfd.as_fd())?;
        let mut path: GroupPath = record.cgroup.parse()?;
        if let Some(below) = &exec.cgroup {
            for name in below.trim_matches('/').split('/').filter(|name| !name.is_empty()) {
                path = path.join(name)?;
            }
        }
        let hierarchy = container_cgroup::Hierarchy::of_host()?;
        if exec.cgroup.is_none() && hierarchy.layout() == Layout::Unified {
            // a container that hands controllers down (systemd) has no processes in its own group: join the first one's
            path = group_of(held.pid, &path).unwrap_or(path);
        }
        let group = Group::open(&hierarchy, &path)?;
        sandbox.cgroup = join(group.join()?);
        sandbox.stdin = exec.stdin;
        sandbox.stdout = exec.stdout;
        sandbox.stderr = exec.stderr;
        sandbox.preserved = exec.preserved;
        resize(&mut sandbox, exec.window);
        sandbox.parent_death_signal = exec.parent_death_signal;
        let plan = sandbox.compile()?;
        // a terminal and a listener are with their receivers before the program says anything
        let mut child = plan.spawn()?;
        if let Console::Socket(path) = &exec.console
            && let Some(master) = child.take_terminal()
        {
            console::send(path, &master)?;
        }
        if let Some(listener) = child.take_listener() {
            console::send_listener(&spec, &listener, child.pid().cast_signed(), &record.state(status))?;
        }
        child.release()?;
        Ok(Running { child, warnings: Vec::new(), made: None })
    }
}

/// The group of version 2 that a process is in, if it is below another.
fn group_of(pid: i32, top: &GroupPath) -> Option<GroupPath> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    let path = text.lines().find_map(|line| line.strip_prefix("0::"))?;
    let below = path.strip_prefix(top.as_str())?.starts_with('/');
    if below { path.parse().ok() } else { None }
}

/// What the process is, without what the container has made already.
fn sandbox(spec: &Spec, exec: &Exec, bundle: &std::path::Path) -> Result<Sandbox, Error> {
    let mut reduced = Spec::default();
    reduced.set_version(spec.version().clone());
    reduced.set_process(Some(exec.process(spec)));
    reduced.set_root(None);
    reduced.set_mounts(None);
    reduced.set_hostname(None);
    reduced.set_hooks(None);
    let mut linux = spec.linux().clone().unwrap_or_default();
    linux.set_namespaces(Some(Vec::new()));
    linux.set_uid_mappings(None);
    linux.set_gid_mappings(None);
    linux.set_devices(None);
    linux.set_masked_paths(None);
    linux.set_readonly_paths(None);
    linux.set_rootfs_propagation(None);
    linux.set_sysctl(None);
    linux.set_time_offsets(None);
    linux.set_resources(None);
    linux.set_net_devices(None);
    // the mounts are made, and a class of service is the whole container's
    linux.set_mount_label(None);
    linux.set_intel_rdt(None);
    reduced.set_linux(Some(linux));
    let mut sandbox = Sandbox::from_oci(&reduced, bundle)?;
    config::built_in_seccomp(spec, &mut sandbox)?;
    config::possible_ambient(&mut sandbox);
    sandbox.root = Root::Inherit;
    sandbox.mounts.clear();
    sandbox.devices.clear();
    sandbox.symlinks.clear();
    if !exec.capabilities.is_empty() {
        let more: CapSet = exec.capabilities.join(",").parse()?;
        if let Some(sets) = &mut sandbox.capabilities {
            for set in [&mut sets.bounding, &mut sets.effective, &mut sets.permitted] {
                *set = set.union(more);
            }
        }
    }
    Ok(sandbox)
}
