//! From the OCI runtime specification's `config.json`.

use std::borrow::Cow;
use std::fs::File;
use std::path::Path;

use oci_spec::runtime as spec;

use crate::{
    Action, Arch, CapSet, Capabilities, Comparison, Condition, Device, DeviceKind, Error, Filesystem, Filter,
    FilterFlags, IdMap, IdMaps, IoClass, IoPriority, Label, MemoryPolicy, Namespace, NamespaceKind,
    Namespaces, Propagation, Resource, Rlimit, Root, Rule, Sandbox, Scheduler, Seccomp, Terminal, TimeOffset,
    User, WindowSize, default_devices, default_symlinks, oci_mount,
};

impl Sandbox {
    /// What an OCI configuration asks of this crate: process, root, mounts, and of `linux` everything but resources, the
    /// cgroup path and net devices (Intel RDT is refused). Hooks, annotations and the cgroup are the runtime's to add.
    ///
    /// Relative paths (`root.path`, sources of binds) are relative to `bundle`, an absolute path. As runc does, the default
    /// devices and links of the specification are added unless `/dev` is a bind; capabilities that the caller does not have are left out.
    /// A mount with destination `/` *is* the root file system (an extension: an overlay that is made in the
    /// container's mount namespace only); `root.path` is not used then.
    ///
    /// # Errors
    /// [`Error::Spec`] and [`Error::SpecPath`] with the place in the document, such as `mounts[2].options[1]`.
    pub fn from_oci(config: &spec::Spec, bundle: &Path) -> Result<Self, Error> {
        let Some(process) = config.process() else { return Err(bad("process", "", "is missing")) };
        let mut sandbox = Self { new_session: true, create_cwd: true, ..Self::default() };
        let linux = config.linux().as_ref();
        if let Some(list) = linux.and_then(|linux| linux.namespaces().as_ref()) {
            sandbox.namespaces = namespaces(list)?;
        }
        sandbox.loopback = sandbox.namespaces.net.is_new();
        sandbox.set_process(process)?;
        sandbox.hostname.clone_from(config.hostname());
        sandbox.domainname.clone_from(config.domainname());

        if let Some(root) = config.root() {
            sandbox.read_only_root = root.readonly().unwrap_or(false);
            sandbox.root = Root::Path(bundle.join(root.path()));
        }
        let label = linux.and_then(|linux| linux.mount_label().as_deref()).filter(|label| !label.is_empty());
        if let Some(label) = label
            && !selinux()
        {
            return Err(bad("linux.mountLabel", label, NO_SELINUX));
        }
        let maps = linux.filter(|_| sandbox.namespaces.user.is_new());
        for (index, mount) in config.mounts().iter().flatten().enumerate() {
            let pointer = format!("mounts[{index}]");
            let converted = oci_mount::convert(mount, bundle, &pointer, label, maps)?;
            if mount.destination() == Path::new("/")
                && !matches!(converted.kind, crate::MountKind::Remount(_))
            {
                if index > 0 {
                    return Err(bad(&format!("{pointer}.destination"), "/", "must be the first mount"));
                }
                sandbox.root = oci_mount::as_root(converted, &pointer)?;
            } else {
                sandbox.mounts.push(converted);
            }
        }
        let Some(linux) = linux else { return Ok(sandbox) };
        let list = |mappings: &Option<Vec<spec::LinuxIdMapping>>| {
            mappings.iter().flatten().map(id_map).collect::<Vec<_>>()
        };
        sandbox.id_maps = IdMaps {
            users: list(linux.uid_mappings()),
            groups: list(linux.gid_mappings()),
            ..IdMaps::default()
        };
        if let Some(offsets) = linux.time_offsets() {
            for (clock, offset) in offsets {
                let slot = match clock.as_str() {
                    "monotonic" => &mut sandbox.time_offsets.monotonic,
                    "boottime" => &mut sandbox.time_offsets.boottime,
                    _ => return Err(bad("linux.timeOffsets", clock, "is no clock of a time namespace")),
                };
                *slot = Some(TimeOffset {
                    seconds: offset.secs().unwrap_or(0),
                    nanoseconds: offset.nanosecs().unwrap_or(0),
                });
            }
        }
        if let Some(text) = linux.rootfs_propagation()
            && !text.is_empty()
        {
            sandbox.root_propagation = Some(
                propagation(text).ok_or_else(|| bad("linux.rootfsPropagation", text, "is no propagation"))?.0,
            );
        }
        devices(&mut sandbox, linux.devices().as_deref().unwrap_or_default())?;
        // the specification wants absolute paths; a relative one can only mean one of the root, and runc takes it
        let in_root = |path: &String| Path::new("/").join(path);
        sandbox.masked_paths = linux.masked_paths().iter().flatten().map(in_root).collect();
        sandbox.read_only_paths = linux.readonly_paths().iter().flatten().map(in_root).collect();
        sandbox.sysctls =
            linux.sysctl().iter().flatten().map(|(key, value)| (key.clone(), value.clone())).collect();
        sandbox.sysctls.sort();
        if let Some(personality) = linux.personality() {
            if personality.flags().as_ref().is_some_and(|flags| !flags.is_empty()) {
                let flags = personality.flags().iter().flatten().cloned().collect::<Vec<_>>().join(" ");
                return Err(bad("linux.personality.flags", &flags, "the specification defines none"));
            }
            sandbox.personality = Some(match personality.domain() {
                spec::LinuxPersonalityDomain::PerLinux => 0,
                spec::LinuxPersonalityDomain::PerLinux32 => 8,
            });
        }
        sandbox.memory_policy = linux.memory_policy().as_ref().map(memory_policy).transpose()?;
        if linux.intel_rdt().is_some() {
            // a class of service is the host's to give: nothing of this suite makes one
            let mounted = Path::new("/sys/fs/resctrl/schemata").exists();
            let reason = if mounted { "is not supported" } else { "resctrl is not mounted on this host" };
            return Err(bad("linux.intelRdt", "", reason));
        }
        if let Some(filter) = linux.seccomp() {
            sandbox.seccomp = Some(Seccomp::new(&filter_from_oci(filter)?)?);
        }
        Ok(sandbox)
    }

    /// What `process` of a configuration (or of `exec`) asks: arguments, environment, user, capabilities, limits, terminal and the
    /// rest. The namespaces of the sandbox should be set before: with a new or joined user namespace capabilities that the
    /// caller lacks are kept.
    ///
    /// # Errors
    /// [`Error::Spec`] with the place in the document.
    pub fn set_process(&mut self, process: &spec::Process) -> Result<(), Error> {
        let args = process.args().as_deref().unwrap_or_default();
        if args.is_empty() {
            return Err(bad("process.args", "", "is empty"));
        }
        self.argv = args.iter().map(Into::into).collect();
        self.env = Vec::new();
        for (index, word) in process.env().iter().flatten().enumerate() {
            if !word.contains('=') || word.starts_with('=') {
                return Err(bad(&format!("process.env[{index}]"), word, "is not NAME=value"));
            }
            self.env.push(word.into());
        }
        if !process.cwd().is_absolute() {
            return Err(bad("process.cwd", &process.cwd().to_string_lossy(), "is not an absolute path"));
        }
        self.cwd.clone_from(process.cwd());
        let user = process.user();
        self.user = Some(User {
            uid: user.uid(),
            gid: user.gid(),
            additional_gids: distinct(user.additional_gids().as_deref().unwrap_or_default()),
            umask: user.umask(),
        });
        let sets = capabilities(process.capabilities().as_ref())?;
        let inherits_user = matches!(self.namespaces.user, Namespace::Inherit);
        let available = |sets: Capabilities| sets.within(sets.anywhere().within_bounding());
        self.capabilities = Some(if inherits_user { available(sets) } else { sets });
        self.no_new_privs = process.no_new_privileges().unwrap_or(false);
        self.oom_score_adj = process.oom_score_adj();
        self.rlimits = rlimits(process.rlimits().as_deref().unwrap_or_default())?;
        self.terminal = if process.terminal().unwrap_or(false) {
            let size = process.console_size().map(|size| WindowSize {
                columns: u16::try_from(size.width()).unwrap_or(u16::MAX),
                rows: u16::try_from(size.height()).unwrap_or(u16::MAX),
            });
            Terminal::New(size)
        } else {
            Terminal::None
        };
        let filled = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        let (profile, label) = (filled(process.apparmor_profile()), filled(process.selinux_label()));
        if let Some(label) = &label
            && !selinux()
        {
            return Err(bad("process.selinuxLabel", label, NO_SELINUX));
        }
        let profile = match profile {
            // what there is without AppArmor
            Some(name) if name == "unconfined" && !app_armor() => None,
            Some(name) if !app_armor() => {
                return Err(bad(
                    "process.apparmorProfile",
                    &name,
                    "the kernel has no AppArmor, or it is off",
                ));
            }
            other => other,
        };
        self.label = match (profile, label) {
            (Some(_), Some(label)) => {
                return Err(bad(
                    "process.selinuxLabel",
                    &label,
                    "cannot be combined with an AppArmor profile",
                ));
            }
            (Some(profile), None) => Some(Label::AppArmor(profile)),
            (None, Some(label)) => Some(Label::SeLinux(label)),
            (None, None) => None,
        };
        self.io_priority = process.io_priority().map(io_priority).transpose()?;
        self.scheduler = process.scheduler().as_ref().map(scheduler);
        let list = |text: &Option<String>| {
            filled(text).map(|text| numbers("process.execCPUAffinity", &text)).transpose()
        };
        if let Some(affinity) = process.exec_cpu_affinity() {
            self.initial_cpu_affinity = list(affinity.initial())?;
            self.cpu_affinity = list(affinity.cpu_affinity_final())?;
        }
        Ok(())
    }
}

impl Filter {
    /// `linux.seccomp` of a configuration. As runc does, several conditions on one argument are alternatives, and calls newer than all
    /// that are named fail with `ENOSYS`. The listener path is the runtime's.
    ///
    /// # Errors
    /// [`Error::Spec`] with the place in the document.
    pub fn from_oci(filter: &spec::LinuxSeccomp) -> Result<Self, Error> {
        filter_from_oci(filter)
    }
}

pub(crate) fn bad(pointer: &str, value: &str, reason: &'static str) -> Error {
    Error::Spec { pointer: pointer.to_owned(), value: value.to_owned(), reason }
}

pub(crate) fn id_map(map: &spec::LinuxIdMapping) -> IdMap {
    IdMap { inside: map.container_id(), outside: map.host_id(), count: map.size() }
}

fn namespaces(list: &[spec::LinuxNamespace]) -> Result<Namespaces, Error> {
    let mut out = Namespaces::default();
    for (index, namespace) in list.iter().enumerate() {
        let kind = match namespace.typ() {
            spec::LinuxNamespaceType::Mount => NamespaceKind::Mount,
            spec::LinuxNamespaceType::Cgroup => NamespaceKind::Cgroup,
            spec::LinuxNamespaceType::Uts => NamespaceKind::Uts,
            spec::LinuxNamespaceType::Ipc => NamespaceKind::Ipc,
            spec::LinuxNamespaceType::User => NamespaceKind::User,
            spec::LinuxNamespaceType::Pid => NamespaceKind::Pid,
            spec::LinuxNamespaceType::Network => NamespaceKind::Net,
            spec::LinuxNamespaceType::Time => NamespaceKind::Time,
        };
        let slot = out.slot(kind);
        if !matches!(slot, Namespace::Inherit) {
            return Err(bad(&format!("linux.namespaces[{index}].type"), kind.file_name(), "comes twice"));
        }
        *slot = match namespace.path() {
            Some(path) if !path.as_os_str().is_empty() => {
                let file = File::open(path).map_err(|source| Error::SpecPath {
                    pointer: format!("linux.namespaces[{index}].path"),
                    path: path.clone(),
                    source,
                })?;
                Namespace::Join(file.into())
            }
            _ => Namespace::New,
        };
    }
    Ok(out)
}

fn capabilities(sets: Option<&spec::LinuxCapabilities>) -> Result<Capabilities, Error> {
    let Some(sets) = sets else { return Ok(Capabilities::default()) };
    let set = |name: &str, set: &Option<spec::Capabilities>| {
        set.iter()
            .flatten()
            .map(|capability| {
                let text = capability.to_string();
                text.parse::<CapSet>()
                    .map_err(|_| bad(&format!("process.capabilities.{name}"), &text, "is unknown"))
            })
            .collect::<Result<CapSet, _>>()
    };
    Ok(Capabilities {
        bounding: set("bounding", sets.bounding())?,
        effective: set("effective", sets.effective())?,
        inheritable: set("inheritable", sets.inheritable())?,
        permitted: set("permitted", sets.permitted())?,
        ambient: set("ambient", sets.ambient())?,
    })
}

fn rlimits(list: &[spec::PosixRlimit]) -> Result<Vec<Rlimit>, Error> {
    use spec::PosixRlimitType as T;
    let mut out: Vec<Rlimit> = Vec::with_capacity(list.len());
    for (index, limit) in list.iter().enumerate() {
        let resource = match limit.typ() {
            T::RlimitCpu => Resource::Cpu,
            T::RlimitFsize => Resource::Fsize,
            T::RlimitData => Resource::Data,
            T::RlimitStack => Resource::Stack,
            T::RlimitCore => Resource::Core,
            T::RlimitRss => Resource::Rss,
            T::RlimitNproc => Resource::Nproc,
            T::RlimitNofile => Resource::Nofile,
            T::RlimitMemlock => Resource::Memlock,
            T::RlimitAs => Resource::As,
            T::RlimitLocks => Resource::Locks,
            T::RlimitSigpending => Resource::Sigpending,
            T::RlimitMsgqueue => Resource::Msgqueue,
            T::RlimitNice => Resource::Nice,
            T::RlimitRtprio => Resource::Rtprio,
            T::RlimitRttime => Resource::Rttime,
        };
        if out.iter().any(|other| other.resource == resource) {
            return Err(bad(&format!("process.rlimits[{index}].type"), resource.name(), "comes twice"));
        }
        out.push(Rlimit { resource, soft: limit.soft(), hard: limit.hard() });
    }
    Ok(out)
}

fn io_priority(priority: spec::LinuxIOPriority) -> Result<IoPriority, Error> {
    let class = match priority.class() {
        spec::IOPriorityClass::IoprioClassRt => IoClass::RealTime,
        spec::IOPriorityClass::IoprioClassBe => IoClass::BestEffort,
        spec::IOPriorityClass::IoprioClassIdle => IoClass::Idle,
    };
    match u8::try_from(priority.priority()) {
        Ok(level) if level < 8 => Ok(IoPriority { class, level }),
        _ => Err(bad("process.ioPriority.priority", &priority.priority().to_string(), "is not 0 to 7")),
    }
}

fn scheduler(scheduler: &spec::Scheduler) -> Scheduler {
    use spec::{LinuxSchedulerFlag as F, LinuxSchedulerPolicy as P};
    let policy = match scheduler.policy() {
        P::SchedOther => 0,
        P::SchedFifo => 1,
        P::SchedRr => 2,
        P::SchedBatch => 3,
        P::SchedIso => 4,
        P::SchedIdle => 5,
        P::SchedDeadline => 6,
    };
    let flags = scheduler.flags().iter().flatten().fold(0, |flags, flag| {
        flags
            | match flag {
                F::SchedResetOnFork => 0x01,
                F::SchedFlagReclaim => 0x02,
                F::SchedFlagDLOverrun => 0x04,
                F::SchedFlagKeepPolicy => 0x08,
                F::SchedFlagKeepParams => 0x10,
                F::SchedFlagUtilClampMin => 0x20,
                F::SchedFlagUtilClampMax => 0x40,
            }
    });
    Scheduler {
        policy,
        flags,
        nice: scheduler.nice().unwrap_or(0),
        priority: scheduler.priority().unwrap_or(0) as u32,
        runtime: scheduler.runtime().unwrap_or(0),
        deadline: scheduler.deadline().unwrap_or(0),
        period: scheduler.period().unwrap_or(0),
    }
}

fn memory_policy(policy: &spec::LinuxMemoryPolicy) -> Result<MemoryPolicy, Error> {
    use spec::{MemoryPolicyFlagType as F, MemoryPolicyModeType as M};
    let mode = match policy.mode() {
        M::MpolDefault => 0,
        M::MpolPreferred => 1,
        M::MpolBind => 2,
        M::MpolInterleave => 3,
        M::MpolLocal => 4,
        M::MpolPreferredMany => 5,
        M::MpolWeightedInterleave => 6,
    };
    let flags = policy.flags().iter().flatten().fold(0, |flags, flag| {
        flags
            | match flag {
                F::MpolFNumaBalancing => 1 << 13,
                F::MpolFRelativeNodes => 1 << 14,
                F::MpolFStaticNodes => 1 << 15,
            }
    });
    let nodes = policy.nodes().as_deref().filter(|nodes| !nodes.is_empty());
    let nodes =
        nodes.map(|nodes| numbers("linux.memoryPolicy.nodes", nodes)).transpose()?.unwrap_or_default();
    Ok(MemoryPolicy { mode, flags, nodes })
}

const NO_SELINUX: &str = "the kernel has no SELinux, or it is off";

/// Whether SELinux is there: its file system is registered only then.
fn selinux() -> bool {
    std::fs::read_to_string("/proc/filesystems").is_ok_and(|text| text.contains("selinuxfs"))
}

fn app_armor() -> bool {
    std::fs::read_to_string("/sys/module/apparmor/parameters/enabled").is_ok_and(|text| text.starts_with('Y'))
}

/// Without what comes a second time.
fn distinct(groups: &[u32]) -> Vec<u32> {
    let mut out: Vec<u32> = Vec::with_capacity(groups.len());
    for group in groups {
        if !out.contains(group) {
            out.push(*group);
        }
    }
    out
}

/// `0-3,7`
fn numbers(pointer: &str, text: &str) -> Result<Vec<u32>, Error> {
    let fail = || bad(pointer, text, "is not a list of numbers below 1024");
    let mut out = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) =
            (first.parse::<u32>().map_err(|_| fail())?, last.parse::<u32>().map_err(|_| fail())?);
        if last >= 1024 || first > last {
            return Err(fail());
        }
        out.extend(first..=last);
    }
    Ok(out)
}

/// A propagation word, and whether it is recursive.
pub(crate) fn propagation(word: &str) -> Option<(Propagation, bool)> {
    Some(match word {
        "private" => (Propagation::Private, false),
        "rprivate" => (Propagation::Private, true),
        "slave" => (Propagation::Slave, false),
        "rslave" => (Propagation::Slave, true),
        "shared" => (Propagation::Shared, false),
        "rshared" => (Propagation::Shared, true),
        "unbindable" => (Propagation::Unbindable, false),
        "runbindable" => (Propagation::Unbindable, true),
        _ => return None,
    })
}

fn devices(sandbox: &mut Sandbox, list: &[spec::LinuxDevice]) -> Result<(), Error> {
    let bound = sandbox.mounts.iter().any(|mount| {
        mount.target.components().eq(Path::new("/dev").components())
            && matches!(mount.kind, crate::MountKind::Bind { .. })
    });
    if bound || matches!(sandbox.root, Root::Inherit) {
        return Ok(());
    }
    let mut out: Vec<Device> = Vec::new();
    for (index, device) in list.iter().enumerate() {
        let kind = match device.typ() {
            spec::LinuxDeviceType::C | spec::LinuxDeviceType::U => DeviceKind::Character,
            spec::LinuxDeviceType::B => DeviceKind::Block,
            spec::LinuxDeviceType::P => DeviceKind::Fifo,
            spec::LinuxDeviceType::A => {
                return Err(bad(&format!("linux.devices[{index}].type"), "a", "is no node that can be made"));
            }
        };
        let number = |name: &str, value: i64| {
            u32::try_from(value).map_err(|_| {
                bad(&format!("linux.devices[{index}].{name}"), &value.to_string(), "is no device number")
            })
        };
        let fifo = kind == DeviceKind::Fifo;
        out.push(Device {
            path: device.path().clone(),
            kind,
            major: if fifo { 0 } else { number("major", device.major())? },
            minor: if fifo { 0 } else { number("minor", device.minor())? },
            mode: device.file_mode().unwrap_or(0o666) & 0o7777,
            uid: device.uid().unwrap_or(0),
            gid: device.gid().unwrap_or(0),
        });
    }
    for device in default_devices() {
        if !out.iter().any(|other| other.path == device.path) {
            out.push(device);
        }
    }
    // one open of each directory
    out.sort_by(|a, b| a.path.parent().cmp(&b.path.parent()));
    sandbox.devices = out;
    sandbox.symlinks = default_symlinks();
    Ok(())
}

fn filter_from_oci(filter: &spec::LinuxSeccomp) -> Result<Filter, Error> {
    let mut architectures: Vec<Arch> = Arch::native().into_iter().take(1).collect();
    for (index, arch) in filter.architectures().iter().flatten().enumerate() {
        architectures.push(match arch {
            spec::Arch::ScmpArchNative => continue,
            spec::Arch::ScmpArchX86 => Arch::X86,
            spec::Arch::ScmpArchX86_64 => Arch::X86_64,
            spec::Arch::ScmpArchX32 => Arch::X32,
            spec::Arch::ScmpArchArm => Arch::Arm,
            spec::Arch::ScmpArchAarch64 => Arch::Aarch64,
            spec::Arch::ScmpArchRiscv64 => Arch::Riscv64,
            other => {
                let pointer = format!("linux.seccomp.architectures[{index}]");
                return Err(bad(
                    &pointer,
                    &format!("{other:?}"),
                    "is an architecture without a table of calls",
                ));
            }
        });
    }
    let mut rules = Vec::new();
    for (index, rule) in filter.syscalls().iter().flatten().enumerate() {
        let pointer = format!("linux.seccomp.syscalls[{index}]");
        let action = action(rule.action(), rule.errno_ret(), &pointer)?;
        let names: Vec<Cow<'static, str>> = rule.names().iter().cloned().map(Cow::Owned).collect();
        if names.is_empty() {
            return Err(bad(&format!("{pointer}.names"), "", "is empty"));
        }
        let mut conditions = Vec::new();
        for (index, argument) in rule.args().iter().flatten().enumerate() {
            conditions.push(condition(*argument, &format!("{pointer}.args[{index}]"))?);
        }
        let mut seen = conditions.iter().map(|condition| condition.argument).collect::<Vec<_>>();
        seen.sort_unstable();
        seen.dedup();
        if seen.len() == conditions.len() {
            rules.push(Rule { names, conditions, action });
        } else {
            rules.extend(conditions.into_iter().map(|condition| Rule {
                names: names.clone(),
                conditions: vec![condition],
                action,
            }));
        }
    }
    let mut flags = FilterFlags::empty();
    for flag in filter.flags().iter().flatten() {
        flags |= match flag {
            spec::LinuxSeccompFilterFlag::SeccompFilterFlagLog => FilterFlags::LOG,
            spec::LinuxSeccompFilterFlag::SeccompFilterFlagTsync => FilterFlags::TSYNC,
            spec::LinuxSeccompFilterFlag::SeccompFilterFlagSpecAllow => FilterFlags::SPEC_ALLOW,
            spec::LinuxSeccompFilterFlag::SeccompFilterFlagWaitKillableRecv => FilterFlags::WAIT_KILLABLE,
        };
    }
    Ok(Filter {
        default: action(filter.default_action(), filter.default_errno_ret(), "linux.seccomp.defaultAction")?,
        architectures,
        rules,
        flags,
        unknown_is_enosys: true,
    })
}

fn action(action: spec::LinuxSeccompAction, errno: Option<u32>, pointer: &str) -> Result<Action, Error> {
    let number = errno.unwrap_or(libc::EPERM as u32);
    let data = u16::try_from(number)
        .map_err(|_| bad(&format!("{pointer}.errnoRet"), &number.to_string(), "is more than 65535"))?;
    Ok(match action {
        spec::LinuxSeccompAction::ScmpActKill | spec::LinuxSeccompAction::ScmpActKillThread => {
            Action::KillThread
        }
        spec::LinuxSeccompAction::ScmpActKillProcess => Action::KillProcess,
        spec::LinuxSeccompAction::ScmpActTrap => Action::Trap,
        spec::LinuxSeccompAction::ScmpActErrno => Action::Errno(data),
        spec::LinuxSeccompAction::ScmpActNotify => Action::Notify,
        spec::LinuxSeccompAction::ScmpActTrace => Action::Trace(data),
        spec::LinuxSeccompAction::ScmpActLog => Action::Log,
        spec::LinuxSeccompAction::ScmpActAllow => Action::Allow,
    })
}

fn condition(argument: spec::LinuxSeccompArg, pointer: &str) -> Result<Condition, Error> {
    use spec::LinuxSeccompOperator as O;
    let index = u8::try_from(argument.index()).ok().filter(|index| *index < 6);
    let Some(index) = index else {
        return Err(bad(&format!("{pointer}.index"), &argument.index().to_string(), "is not 0 to 5"));
    };
    let (comparison, value) = match argument.op() {
        O::ScmpCmpNe => (Comparison::NotEqual, argument.value()),
        O::ScmpCmpLt => (Comparison::Less, argument.value()),
        O::ScmpCmpLe => (Comparison::LessOrEqual, argument.value()),
        O::ScmpCmpEq => (Comparison::Equal, argument.value()),
        O::ScmpCmpGe => (Comparison::GreaterOrEqual, argument.value()),
        O::ScmpCmpGt => (Comparison::Greater, argument.value()),
        O::ScmpCmpMaskedEq => (Comparison::Masked(argument.value()), argument.value_two().unwrap_or(0)),
    };
    Ok(Condition { argument: index, comparison, value })
}

/// For `mounts`: a file system of the configuration as ours.
pub(crate) fn filesystem(kind: &str, source: Option<&Path>) -> Filesystem {
    let mut fs = Filesystem::new(kind);
    if let Some(source) = source {
        fs.source = Some(source.to_string_lossy().into_owned());
    }
    fs
}
