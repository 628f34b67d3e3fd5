//! From a description to a plan.

mod cgroup_view;
mod mounts;
mod nodes;
mod process;
mod text;

use std::ffi::CString;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use self::process::{candidates, capability_step};
use self::text::{display, target};
use crate::plan::{Parts, Plan};
use crate::step::{Entry, Step, StepKind, Turn};
use crate::sys::{self, SchedAttr};
use crate::{
    CapSet, Error, IdMaps, IoClass, JoinCgroup, Keyring, Namespace, NamespaceKind, Propagation, Root,
    Sandbox, Setgroups, Terminal, TimeOffsets,
};

/// Collects steps and the descriptors they use.
struct Compiler {
    entries: Vec<Entry>,
    fds: Vec<OwnedFd>,
    /// Descriptors that the process keeps lie at or above this number.
    floor: RawFd,
    proc: Option<RawFd>,
    hook_input: Option<RawFd>,
    /// The directory that [`Step::OpenDir`] opened last.
    dir: Option<CString>,
    /// Whether binds have to be made private one by one.
    quiet: bool,
    /// The mount that is being compiled.
    mount: Option<usize>,
    /// Directories of the groups that are joined.
    groups: Vec<PathBuf>,
    /// `tasks` files that are joined when the caller has made the groups; and whether a cgroup namespace follows.
    late: Option<(Vec<PathBuf>, bool)>,
    /// Whether a cgroup namespace of its own makes the process's groups the roots of what it sees.
    own_cgroups: bool,
}

pub(crate) fn compile(sandbox: Sandbox) -> Result<Plan, Error> {
    check(&sandbox)?;
    let Sandbox { namespaces: ns, .. } = &sandbox;
    let joined = NamespaceKind::ALL.into_iter().any(|kind| ns.entry(kind).is_joined());
    // a process enters another pid namespace only by a child; and what is joined has to be joined before a new user
    // namespace takes the rights to it away
    let second =
        ns.pid.is_joined() || (ns.user.is_joined() && ns.pid.is_new()) || (ns.user.is_new() && joined);
    let new_user = ns.user.is_new();
    let flags = NamespaceKind::ALL
        .into_iter()
        .filter(|kind| !matches!(kind, NamespaceKind::Cgroup | NamespaceKind::Time))
        .filter(|&kind| ns.entry(kind).is_new())
        .fold(0, |flags, kind| flags | kind.flag());
    let later = second || ns.user.is_joined();
    let (new_cgroup, new_time, new_net) = (ns.cgroup.is_new(), ns.time.is_new(), ns.net.is_new());
    let user_joined = ns.user.is_joined();
    let new_mount = ns.mount.is_new();
    let exposed = user_joined || ns.pid.is_joined() || ns.mount.is_joined();

    let mut c = Compiler {
        entries: Vec::with_capacity(96),
        fds: Vec::new(),
        floor: 3 + sandbox.preserved.len() as RawFd,
        proc: None,
        hook_input: None,
        dir: None,
        quiet: false,
        mount: None,
        groups: Vec::new(),
        late: None,
        own_cgroups: !matches!(ns.cgroup, Namespace::Inherit),
    };
    c.plain(StepKind::ResetSignals, Step::ResetSignals);
    c.plain(StepKind::CloseDescriptors, Step::CloseOthers);
    if let Some(cpus) = sandbox.initial_cpu_affinity {
        c.affinity(&cpus)?;
    }
    if matches!(sandbox.cgroup, JoinCgroup::Later(..)) && (later || new_user) {
        let setting = "a control group that is joined later".to_owned();
        return Err(Error::Needs { setting, needs: "neither a new user namespace nor joined ones" });
    }
    let cgroup = c.cgroup(sandbox.cgroup)?;
    if sandbox.keyring == Keyring::New {
        c.plain(StepKind::Keyring, Step::Keyring);
    }
    let mut parent_oom = None;
    if let Some(score) = sandbox.oom_score_adj {
        if new_user && !second {
            // the process has no right over its own score any more, the caller has
            parent_oom = Some(score);
        } else {
            c.procfs()?;
            c.push(StepKind::OomScore, score.to_string(), Step::OomScore(score.to_string().into_bytes()));
        }
    }
    if exposed {
        c.push(StepKind::NotDumpable, "until the program".into(), Step::NotDumpable);
    }
    let drop_groups = !user_joined && sandbox.id_maps.setgroups == Setgroups::Allow;
    let maps_root = |maps: &IdMaps| {
        let covers = |list: &[crate::IdMap]| list.iter().any(|map| map.inside == 0 && map.count > 0);
        covers(&maps.users) && covers(&maps.groups)
    };
    let become_root = (new_user && maps_root(&sandbox.id_maps)) || user_joined;
    c.join(sandbox.namespaces)?;
    let names = flag_names(flags);
    if second {
        c.push(StepKind::SecondClone, with_names(&names), Step::SecondClone(flags));
    } else if later && flags != 0 {
        c.push(StepKind::NewNamespace, names.clone(), Step::Unshare(flags));
    }
    if new_user {
        c.push(StepKind::AwaitIdMaps, map_text(&sandbox.id_maps), Step::AwaitMaps);
    }
    if let Some((_, namespace)) = &mut c.late {
        *namespace = new_cgroup;
    } else if new_cgroup {
        c.push(StepKind::NewNamespace, "cgroup".into(), Step::Unshare(NamespaceKind::Cgroup.flag()));
    }
    if new_time {
        c.procfs()?;
        let text = offsets(sandbox.time_offsets);
        let object = text.trim_end().replace('\n', ", ");
        c.push(StepKind::TimeOffset, object, Step::NewTime(text.into_bytes()));
    }
    if become_root {
        c.plain(StepKind::BecomeRoot, Step::BecomeRoot { drop_groups });
    }
    if sandbox.loopback && new_net {
        c.plain(StepKind::Loopback, Step::Loopback);
    }
    if let Some(name) = sandbox.hostname {
        c.push(StepKind::Hostname, name.clone(), Step::Hostname(name.into_bytes()));
    }
    if let Some(name) = sandbox.domainname {
        c.push(StepKind::Domainname, name.clone(), Step::Domainname(name.into_bytes()));
    }
    c.push(StepKind::Meeting, "if the caller asked for one".into(), Step::Meet);

    // ---- the file system ----
    let new_root = !matches!(sandbox.root, Root::Inherit);
    let private = c.propagation(sandbox.root_propagation, &sandbox.mounts, new_mount);
    c.root(sandbox.root, private)?;
    let mut deferred = Vec::new();
    for (index, mount) in sandbox.mounts.into_iter().enumerate() {
        c.mount = Some(index);
        c.mount(index, mount, &mut deferred)?;
    }
    c.mount = None;
    c.await_groups()?;
    let fake_devices = new_user;
    for device in sandbox.devices {
        c.device(&device, fake_devices)?;
    }
    for link in sandbox.symlinks {
        c.symlink(&link)?;
    }
    let owner = sandbox.user.as_ref().map_or(0, |user| user.uid);
    let mut slave = None;
    let terminal = match sandbox.terminal {
        Terminal::None => false,
        Terminal::Slave(fd) => {
            slave = Some(c.keep(fd)?);
            true
        }
        Terminal::New(size) => {
            let size = size.unwrap_or_default();
            c.push(
                StepKind::Terminal,
                format!("new pair in /dev/pts, {} by {}", size.columns, size.rows),
                Step::NewTerminal { columns: size.columns, rows: size.rows, owner },
            );
            if new_root {
                c.open_dir("/dev")?;
                c.push(StepKind::Terminal, "slave at /dev/console".into(), Step::Console);
            }
            true
        }
    };
    for (name, value) in &sandbox.sysctls {
        c.sysctl(name, value)?;
    }
    for path in &sandbox.masked_paths {
        let target = target("masked path", path, false)?;
        c.push(StepKind::MaskPath, display(path), Step::Mask(target.path));
    }
    for path in &sandbox.read_only_paths {
        let target = target("read-only path", path, false)?;
        c.push(StepKind::ReadOnlyPath, display(path), Step::ReadOnlyPath(target.path));
    }
    for (object, step) in deferred {
        c.push(StepKind::Mount, object, step);
    }
    for hook in sandbox.create_container_hooks {
        c.hook(hook, "createContainer")?;
    }
    let creates = sandbox.create_cwd;
    let cwd = target("working directory", &sandbox.cwd, false)?;
    if new_root {
        if creates && !cwd.components.is_empty() {
            // now, while the root can still be written
            let make = target("working directory", &sandbox.cwd, false)?;
            c.push(
                StepKind::WorkingDirectory,
                format!("{} exists", display(&sandbox.cwd)),
                Step::OpenDir(make),
            );
        }
        if sandbox.read_only_root {
            c.plain(StepKind::ReadOnlyRoot, Step::ReadOnlyRoot);
        }
        if sandbox.no_pivot {
            c.push(StepKind::PivotRoot, "none: chroot, the old root stays below".into(), Step::Chroot);
        } else {
            c.push(StepKind::PivotRoot, "old root detached".into(), Step::Pivot);
        }
        if let Some(propagation @ (Propagation::Shared | Propagation::Unbindable)) = sandbox.root_propagation
        {
            c.push(
                StepKind::RootPropagation,
                propagation.name().into(),
                Step::RootPropagation(propagation.flag()),
            );
        }
    }

    // ---- the process ----
    c.push(StepKind::CloseDescriptors, "what the steps so far have opened".into(), Step::CloseLeft);
    if let Some(domain) = sandbox.personality {
        c.push(StepKind::Personality, format!("{domain:#x}"), Step::Personality(domain));
    }
    if let Some(scheduler) = sandbox.scheduler {
        let attr = SchedAttr {
            size: size_of::<SchedAttr>() as u32,
            policy: scheduler.policy,
            flags: scheduler.flags,
            nice: scheduler.nice,
            priority: scheduler.priority,
            runtime: scheduler.runtime,
            deadline: scheduler.deadline,
            period: scheduler.period,
        };
        let object = format!("policy {} nice {} priority {}", attr.policy, attr.nice, attr.priority);
        c.push(StepKind::Scheduler, object, Step::Scheduler(attr));
    }
    if let Some(priority) = sandbox.io_priority {
        let class = match priority.class {
            IoClass::RealTime => 1,
            IoClass::BestEffort => 2,
            IoClass::Idle => 3,
        };
        let object = format!("{:?} {}", priority.class, priority.level);
        c.push(StepKind::IoPriority, object, Step::IoPriority(class << 13 | u32::from(priority.level)));
    }
    if let Some(cpus) = sandbox.cpu_affinity {
        c.affinity(&cpus)?;
    }
    if let Some(policy) = sandbox.memory_policy {
        c.memory_policy(&policy)?;
    }
    if sandbox.new_session || terminal {
        c.plain(StepKind::NewSession, Step::NewSession);
    }
    if terminal {
        c.push(StepKind::Terminal, "controlling, and stdin, stdout, stderr".into(), Step::Control { slave });
    } else {
        for (to, stdio) in [(0, sandbox.stdin), (1, sandbox.stdout), (2, sandbox.stderr)] {
            c.stdio(to, stdio)?;
        }
    }
    for limit in sandbox.rlimits {
        let object = format!("{} soft {} hard {}", limit.resource.name(), limit.soft, limit.hard);
        let step = Step::Rlimit { resource: limit.resource.number(), soft: limit.soft, hard: limit.hard };
        c.push(StepKind::Rlimit, object, step);
    }
    if let Some(sets) = sandbox.capabilities {
        c.bounding(sets);
    }
    let filter = sandbox.seccomp.map(|seccomp| seccomp.0);
    let no_new_privs = sandbox.no_new_privs;
    if no_new_privs {
        c.plain(StepKind::NoNewPrivileges, Step::NoNewPrivileges);
    }
    // without no_new_privs a filter needs CAP_SYS_ADMIN, which is kept until it is in place
    let mut filter_early = filter.as_ref().is_some_and(|filter| filter.notify);
    let mut filter_before_user = false;
    if filter.is_some() && !no_new_privs && sandbox.capabilities.is_none() {
        filter_before_user = true;
        filter_early = false;
    }
    let push_filter = |c: &mut Compiler| {
        if let Some(program) = &filter {
            c.push(StepKind::Seccomp, program.summary.clone(), Step::Seccomp(std::sync::Arc::clone(program)));
        }
    };
    if filter_before_user {
        push_filter(&mut c);
    }
    let turn = if sandbox.user.is_some() { Turn::First } else { Turn::Only };
    let enter = |turn, c: &mut Compiler| {
        let create =
            if creates && !new_root { target("working directory", &sandbox.cwd, false).ok() } else { None };
        c.push(
            StepKind::WorkingDirectory,
            display(&sandbox.cwd),
            Step::WorkDir { path: cwd.path.clone(), create, turn },
        );
    };
    enter(turn, &mut c);
    let mut umask = u32::MAX;
    if let Some(user) = sandbox.user {
        umask = user.umask.unwrap_or(0o022);
        let groups =
            (!user.additional_gids.is_empty() || !new_user || drop_groups).then_some(user.additional_gids);
        let object =
            format!("uid {} gid {} groups {:?}", user.uid, user.gid, groups.as_deref().unwrap_or_default());
        let keep = sandbox.capabilities.is_some() && user.uid != 0;
        c.push(StepKind::User, object, Step::User { uid: user.uid, gid: user.gid, groups, keep });
        enter(Turn::Second, &mut c);
    }
    let mut last_capabilities = None;
    if let Some(sets) = sandbox.capabilities {
        let final_sets = capability_step(sets, CapSet::EMPTY);
        if filter.is_some() && !no_new_privs && !sets.effective.contains(CapSet::SYS_ADMIN) {
            let (object, step) = capability_step(sets, CapSet::SYS_ADMIN);
            c.push(
                StepKind::Capabilities,
                format!("{object} (CAP_SYS_ADMIN until the filter is in place)"),
                step,
            );
            last_capabilities = Some(final_sets);
        } else {
            c.push(StepKind::Capabilities, final_sets.0, final_sets.1);
        }
        c.push(StepKind::AmbientSet, sets.ambient.to_string(), Step::Ambient(sets.ambient.bits()));
    }
    let object = if umask == u32::MAX { "the caller's".to_owned() } else { format!("{umask:04o}") };
    c.push(StepKind::Umask, object, Step::Umask(umask));
    if let Some(label) = sandbox.label {
        c.label(&label)?;
    }
    if let Some(signal) = sandbox.parent_death_signal {
        c.push(StepKind::ParentDeathSignal, signal.to_string(), Step::DeathSignal(signal));
    }
    c.preserve(sandbox.preserved)?;
    let candidates = std::sync::Arc::new(candidates(&sandbox.argv, &sandbox.env)?);
    if sandbox.start_container_hooks.is_empty() && !filter_before_user {
        // whoever waits for `created` is to hear of a missing program now, not at the start
        let program =
            sandbox.argv.first().map(|word| word.to_string_lossy().into_owned()).unwrap_or_default();
        c.push(StepKind::FindProgram, program, Step::Find(std::sync::Arc::clone(&candidates)));
    }
    if filter_early {
        push_filter(&mut c);
        if let Some((object, step)) = last_capabilities.take() {
            c.push(StepKind::Capabilities, object, step);
        }
    }
    let object = sandbox.gate.as_deref().map_or_else(|| "the caller's word".to_owned(), display);
    c.push(StepKind::StartGate, object, Step::Gate);
    for hook in sandbox.start_container_hooks {
        c.hook(hook, "startContainer")?;
    }
    if filter.is_some() && !filter_early && !filter_before_user {
        push_filter(&mut c);
        if let Some((object, step)) = last_capabilities.take() {
            c.push(StepKind::Capabilities, object, step);
        }
    }
    c.program(sandbox.argv, sandbox.env, candidates)?;

    let mut first = libc::CLONE_PIDFD as u64 | 0x1_0000_0000; // CLONE_CLEAR_SIGHAND
    if !later {
        first |= flags;
    }
    if cgroup.is_some() {
        first |= 0x2_0000_0000; // CLONE_INTO_CGROUP
    }
    Ok(Plan::new(Parts {
        entries: c.entries,
        fds: c.fds,
        proc: c.proc,
        hook_input: c.hook_input,
        floor: c.floor,
        flags: first,
        namespaces: if later { String::new() } else { names },
        cgroup,
        second,
        id_maps: new_user.then_some(sandbox.id_maps),
        oom_score_adj: parent_oom,
        gate: sandbox.gate,
    }))
}

fn check(sandbox: &Sandbox) -> Result<(), Error> {
    let needs = |setting: String, needs| Err(Error::Needs { setting, needs });
    let ns = &sandbox.namespaces;
    if sandbox.argv.is_empty() {
        return needs("argv".into(), "at least the program");
    }
    if ns.user.is_new() && (sandbox.id_maps.users.is_empty() || sandbox.id_maps.groups.is_empty()) {
        return needs("a new user namespace".into(), "id maps for users and groups");
    }
    if !ns.mount.is_new() {
        let what = [
            (!matches!(sandbox.root, Root::Inherit), "root"),
            (!sandbox.mounts.is_empty(), "mounts"),
            (!sandbox.masked_paths.is_empty(), "masked_paths"),
            (!sandbox.read_only_paths.is_empty(), "read_only_paths"),
            (sandbox.read_only_root, "read_only_root"),
            (sandbox.no_pivot, "no_pivot"),
            (sandbox.root_propagation.is_some(), "root_propagation"),
        ];
        if let Some((_, what)) = what.into_iter().find(|(set, _)| *set) {
            return needs(what.into(), "a new mount namespace");
        }
    }
    if matches!(sandbox.root, Root::Inherit) {
        let what = [
            (sandbox.read_only_root, "read_only_root"),
            (!sandbox.devices.is_empty(), "devices"),
            (!sandbox.symlinks.is_empty(), "symlinks"),
        ];
        if let Some((_, what)) = what.into_iter().find(|(set, _)| *set) {
            return needs(what.into(), "a root of its own");
        }
    }
    if matches!(ns.uts, Namespace::Inherit) && (sandbox.hostname.is_some() || sandbox.domainname.is_some()) {
        return needs("hostname or domainname".into(), "a new or joined uts namespace");
    }
    if sandbox.time_offsets != TimeOffsets::default() && !ns.time.is_new() {
        return needs("time_offsets".into(), "a new time namespace");
    }
    if let Some(priority) = sandbox.io_priority
        && priority.level > 7
    {
        return needs(format!("io_priority level {}", priority.level), "to be 0 to 7");
    }
    for (name, _) in &sandbox.sysctls {
        sysctl_namespace(name, ns)?;
    }
    for word in &sandbox.env {
        if !word.as_bytes().contains(&b'=') {
            return needs(format!("environment entry {}", word.display()), "the form NAME=value");
        }
    }
    Ok(())
}

/// A kernel parameter must belong to a namespace that is not the caller's, or the host would be changed.
fn sysctl_namespace(name: &str, ns: &crate::Namespaces) -> Result<(), Error> {
    let dotted = name.replace('/', ".");
    let ipc =
        ["kernel.msgmax", "kernel.msgmnb", "kernel.msgmni", "kernel.sem", "kernel.shmall", "kernel.shmmax"];
    let ipc_rest = [
        "kernel.shmmni",
        "kernel.shm_rmid_forced",
        "kernel.msg_next_id",
        "kernel.sem_next_id",
        "kernel.shm_next_id",
    ];
    let entry = if dotted.starts_with("net.") {
        &ns.net
    } else if dotted.starts_with("fs.mqueue.") || ipc.contains(&&*dotted) || ipc_rest.contains(&&*dotted) {
        &ns.ipc
    } else if matches!(&*dotted, "kernel.domainname" | "kernel.hostname") {
        &ns.uts
    } else if dotted.starts_with("user.") {
        &ns.user
    } else {
        return Err(Error::Needs {
            setting: format!("sysctl {name}"),
            needs: "to be a parameter of a namespace (net.*, fs.mqueue.*, kernel.shm*, kernel.msg*, kernel.sem, user.*)",
        });
    };
    if matches!(entry, Namespace::Inherit) {
        return Err(Error::Needs {
            setting: format!("sysctl {name}"),
            needs: "its namespace to be new or joined",
        });
    }
    Ok(())
}

impl Compiler {
    fn push(&mut self, kind: StepKind, object: String, step: Step) {
        self.entries.push(Entry { step, kind, object, mount: self.mount });
    }

    fn plain(&mut self, kind: StepKind, step: Step) {
        self.push(kind, String::new(), step);
    }

    /// Takes a descriptor for the life of the plan; the number is what steps use.
    fn keep(&mut self, fd: OwnedFd) -> Result<RawFd, Error> {
        let fd = sys::raise(fd, self.floor).map_err(|errno| Error::Prepare {
            what: "a descriptor's number".into(),
            source: sys::error(errno),
        })?;
        let number = fd.as_raw_fd();
        self.fds.push(fd);
        Ok(number)
    }

    fn procfs(&mut self) -> Result<(), Error> {
        if self.proc.is_none() {
            let proc = sys::procfs()?;
            self.proc = Some(self.keep(proc)?);
        }
        Ok(())
    }

    fn cgroup(&mut self, cgroup: JoinCgroup) -> Result<Option<RawFd>, Error> {
        let (v2, v1) = match cgroup {
            JoinCgroup::Inherit => (None, Vec::new()),
            JoinCgroup::V2(dir) => (Some(dir), Vec::new()),
            JoinCgroup::V1(tasks) => (None, tasks),
            JoinCgroup::Hybrid(dir, tasks) => (Some(dir), tasks),
            JoinCgroup::Later(dir, tasks) => {
                self.groups.extend(tasks.iter().filter_map(|path| path.parent().map(PathBuf::from)));
                self.late = Some((tasks, false));
                (dir, Vec::new())
            }
        };
        let place = |fd: &OwnedFd| std::fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd()));
        let v2 = v2.map(|dir| self.keep(dir)).transpose()?;
        if !self.own_cgroups
            && let Some(dir) = v2
        {
            self.groups.extend(std::fs::read_link(format!("/proc/self/fd/{dir}")));
        }
        for tasks in v1 {
            let path = place(&tasks);
            let object = path
                .as_ref()
                .map_or_else(|_| format!("descriptor {}", tasks.as_raw_fd()), |path| display(path));
            self.groups.extend(path.ok().and_then(|path| path.parent().map(PathBuf::from)));
            let fd = self.keep(tasks)?;
            self.push(StepKind::JoinCgroup, object, Step::JoinTasks(fd));
        }
        Ok(v2)
    }

    /// Waits for groups that are joined later, and joins them; once.
    fn await_groups(&mut self) -> Result<(), Error> {
        let Some((tasks, namespace)) = self.late.take() else { return Ok(()) };
        self.plain(StepKind::AwaitGroups, Step::AwaitGroups);
        for path in tasks {
            let step = Step::JoinTasksAt(text::cstring("control group", path.as_os_str())?);
            self.push(StepKind::JoinCgroup, display(&path), step);
        }
        if namespace {
            self.push(StepKind::NewNamespace, "cgroup".into(), Step::Unshare(NamespaceKind::Cgroup.flag()));
        }
        Ok(())
    }

    fn join(&mut self, mut ns: crate::Namespaces) -> Result<(), Error> {
        let mut others = Vec::new();
        let mut user = None;
        for kind in NamespaceKind::ALL {
            if let Namespace::Join(fd) = std::mem::take(ns.slot(kind)) {
                let fd = self.keep(fd)?;
                if kind == NamespaceKind::User { user = Some(fd) } else { others.push((kind, fd)) }
            }
        }
        // the mount namespace last: it changes root and working directory
        others.sort_by_key(|(kind, _)| *kind == NamespaceKind::Mount);
        for (slot, (kind, fd)) in (0..).zip(&others) {
            let step = Step::Enter { fd: *fd, flag: kind.flag(), patient: user.is_some(), slot };
            self.push(StepKind::JoinNamespace, kind.to_string(), step);
        }
        if let Some(fd) = user {
            let flag = NamespaceKind::User.flag();
            let step = Step::Enter { fd, flag, patient: false, slot: 31 };
            self.push(StepKind::JoinNamespace, NamespaceKind::User.to_string(), step);
            for (slot, (kind, fd)) in (0..).zip(&others) {
                let step = Step::EnterAgain { fd: *fd, flag: kind.flag(), slot };
                self.push(StepKind::JoinNamespace, format!("{kind}, if it was refused before"), step);
            }
        }
        Ok(())
    }
}

fn flag_names(flags: u64) -> String {
    let names: Vec<String> = NamespaceKind::ALL
        .into_iter()
        .filter(|kind| flags & kind.flag() != 0)
        .map(|kind| kind.to_string())
        .collect();
    names.join(", ")
}

fn with_names(names: &str) -> String {
    if names.is_empty() { "into the joined namespaces".into() } else { format!("with new {names}") }
}

fn map_text(maps: &IdMaps) -> String {
    let list = |maps: &[crate::IdMap]| {
        maps.iter()
            .map(|map| format!("{} is {} for {}", map.inside, map.outside, map.count))
            .collect::<Vec<_>>()
            .join(", ")
    };
    format!("users {}; groups {}", list(&maps.users), list(&maps.groups))
}

fn offsets(offsets: TimeOffsets) -> String {
    [("monotonic", offsets.monotonic), ("boottime", offsets.boottime)]
        .into_iter()
        .filter_map(|(name, offset)| offset.map(|by| format!("{name} {} {}\n", by.seconds, by.nanoseconds)))
        .collect::<Vec<_>>()
        .concat()
}
