//! The steps of a compiled plan, as the new process walks them.

use std::ffi::CString;
use std::fmt;
use std::os::fd::RawFd;
use std::sync::Arc;

use crate::seccomp::Program;
use crate::sys::{MountAttr, SchedAttr, StringArray};

/// What kind of step, as named in errors and by `explain`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[expect(missing_docs, reason = "each is the word that Display prints")]
pub enum StepKind {
    ResetSignals,
    CloseDescriptors,
    JoinCgroup,
    NotDumpable,
    Keyring,
    JoinNamespace,
    NewNamespace,
    SecondClone,
    AwaitIdMaps,
    AwaitGroups,
    TimeOffset,
    BecomeRoot,
    OomScore,
    Loopback,
    Hostname,
    Domainname,
    Meeting,
    HostPropagation,
    Root,
    Mount,
    Device,
    Symlink,
    Terminal,
    MaskPath,
    ReadOnlyPath,
    ReadOnlyRoot,
    Hook,
    PivotRoot,
    RootPropagation,
    Sysctl,
    WorkingDirectory,
    Personality,
    Scheduler,
    IoPriority,
    CpuAffinity,
    MemoryPolicy,
    NewSession,
    Stdio,
    Rlimit,
    BoundingSet,
    User,
    Capabilities,
    AmbientSet,
    NoNewPrivileges,
    Umask,
    Label,
    ParentDeathSignal,
    PreserveDescriptors,
    Seccomp,
    FindProgram,
    StartGate,
    Execute,
}

impl fmt::Display for StepKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ResetSignals => "reset signals",
            Self::CloseDescriptors => "close descriptors",
            Self::JoinCgroup => "join cgroup",
            Self::NotDumpable => "not dumpable",
            Self::Keyring => "new session keyring",
            Self::JoinNamespace => "join namespace",
            Self::NewNamespace => "new namespace",
            Self::SecondClone => "second clone",
            Self::AwaitIdMaps => "await id maps",
            Self::AwaitGroups => "await control groups",
            Self::TimeOffset => "time offset",
            Self::BecomeRoot => "become root inside",
            Self::OomScore => "oom score",
            Self::Loopback => "loopback up",
            Self::Hostname => "hostname",
            Self::Domainname => "domainname",
            Self::Meeting => "meeting",
            Self::HostPropagation => "host propagation",
            Self::Root => "root",
            Self::Mount => "mount",
            Self::Device => "device",
            Self::Symlink => "symlink",
            Self::Terminal => "terminal",
            Self::MaskPath => "mask",
            Self::ReadOnlyPath => "read-only path",
            Self::ReadOnlyRoot => "read-only root",
            Self::Hook => "hook",
            Self::PivotRoot => "pivot root",
            Self::RootPropagation => "root propagation",
            Self::Sysctl => "sysctl",
            Self::WorkingDirectory => "working directory",
            Self::Personality => "personality",
            Self::Scheduler => "scheduler",
            Self::IoPriority => "io priority",
            Self::CpuAffinity => "cpu affinity",
            Self::MemoryPolicy => "memory policy",
            Self::NewSession => "new session",
            Self::Stdio => "stdio",
            Self::Rlimit => "rlimit",
            Self::BoundingSet => "bounding set",
            Self::User => "user",
            Self::Capabilities => "capabilities",
            Self::AmbientSet => "ambient set",
            Self::NoNewPrivileges => "no new privileges",
            Self::Umask => "umask",
            Self::Label => "label",
            Self::ParentDeathSignal => "parent death signal",
            Self::PreserveDescriptors => "preserve descriptors",
            Self::Seccomp => "seccomp",
            Self::FindProgram => "find program",
            Self::StartGate => "start gate",
            Self::Execute => "execute",
        })
    }
}

/// A step with what `explain` and errors say of it.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) step: Step,
    pub(crate) kind: StepKind,
    pub(crate) object: String,
    /// Which of the sandbox's mounts it belongs to.
    pub(crate) mount: Option<usize>,
}

/// A place in the root: the path relative to it, and what it takes to make it.
#[derive(Debug)]
pub(crate) struct Target {
    /// Whole, without the leading slash; `.` is the root.
    pub(crate) path: CString,
    /// For each component the path of its parent, and its name.
    pub(crate) components: Vec<(CString, CString)>,
    /// No symbolic link may be on the way.
    pub(crate) strict: bool,
}

/// A value of an option of a file system.
#[derive(Debug)]
pub(crate) enum FsValue {
    Flag,
    Text(CString),
    Descriptor(RawFd),
}

/// A file system to be made.
#[derive(Debug)]
pub(crate) struct Fs {
    pub(crate) kind: CString,
    pub(crate) options: Vec<(CString, FsValue)>,
    pub(crate) attributes: u64,
}

/// `mount_setattr` calls.
pub(crate) type Settings = Vec<(MountAttr, u32)>;

/// Which of up to two tries to enter the working directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// The only one.
    Only,
    /// Before the user change; no access is not yet an error.
    First,
    /// After it, if the first failed.
    Second,
}

#[derive(Debug)]
pub(crate) enum BindFrom {
    Path(CString),
    Tree(RawFd),
}

#[derive(Debug)]
pub(crate) enum RootFrom {
    Here,
    Path(CString),
    Tree(RawFd),
    Fs(Fs),
}

#[derive(Debug)]
pub(crate) struct DeviceNode {
    pub(crate) name: CString,
    pub(crate) format: u32,
    pub(crate) mode: u32,
    pub(crate) major: u32,
    pub(crate) minor: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// The host's node, to be bound where `mknod` is not permitted.
    pub(crate) host: CString,
    pub(crate) bind: bool,
}

#[derive(Debug)]
pub(crate) struct HookRun {
    pub(crate) path: CString,
    pub(crate) argv: StringArray,
    pub(crate) env: StringArray,
    /// −1 is for ever.
    pub(crate) milliseconds: i64,
    pub(crate) input: RawFd,
}

/// One step. What it holds is all that it needs.
#[derive(Debug)]
pub(crate) enum Step {
    ResetSignals,
    CloseOthers,
    /// What steps before this one have opened for themselves.
    CloseLeft,
    JoinTasks(RawFd),
    /// The caller says when the groups are there.
    AwaitGroups,
    /// Likewise a `tasks` file that is there only then.
    JoinTasksAt(CString),
    NotDumpable,
    Keyring,
    /// `setns`; a failure with `EPERM` is kept for [`Step::EnterAgain`] if `patient`.
    Enter {
        fd: RawFd,
        flag: u64,
        patient: bool,
        slot: u32,
    },
    EnterAgain {
        fd: RawFd,
        flag: u64,
        slot: u32,
    },
    Unshare(u64),
    SecondClone(u64),
    AwaitMaps,
    NewTime(Vec<u8>),
    BecomeRoot {
        drop_groups: bool,
    },
    OomScore(Vec<u8>),
    Loopback,
    Hostname(Vec<u8>),
    Domainname(Vec<u8>),
    Meet,
    HostPropagation(Settings),
    Root {
        from: RootFrom,
        settings: Settings,
    },
    MountFs {
        target: Target,
        fs: Fs,
        settings: Settings,
    },
    /// Mounts at a name, made if missing, in the directory that [`Step::OpenDir`] opened: one that is a file system of ours.
    MountIn {
        name: CString,
        fs: Fs,
    },
    /// Likewise a bind of a path of the host.
    BindIn {
        name: CString,
        from: CString,
        settings: Settings,
    },
    TmpCopyUp {
        target: Target,
        fs: Fs,
        settings: Settings,
    },
    Bind {
        target: Target,
        from: BindFrom,
        recursive: bool,
        settings: Settings,
    },
    Remount {
        target: Target,
        options: Vec<(CString, FsValue)>,
        settings: Settings,
    },
    OpenDir(Target),
    Device(DeviceNode),
    Symlink {
        name: CString,
        target: CString,
    },
    NewTerminal {
        columns: u16,
        rows: u16,
        owner: u32,
    },
    Console,
    Mask(CString),
    ReadOnlyPath(CString),
    ReadOnlyRoot,
    Hook(HookRun),
    Pivot,
    /// The root lies over the old one and is entered as it is.
    Chroot,
    RootPropagation(u64),
    Sysctl {
        path: CString,
        value: Vec<u8>,
    },
    WorkDir {
        path: CString,
        create: Option<Target>,
        turn: Turn,
    },
    Personality(u32),
    Scheduler(SchedAttr),
    IoPriority(u32),
    CpuAffinity(Vec<u64>),
    MemoryPolicy {
        mode: u32,
        nodes: Vec<u64>,
    },
    NewSession,
    Control {
        slave: Option<RawFd>,
    },
    Stdio {
        from: RawFd,
        to: RawFd,
    },
    Rlimit {
        resource: u32,
        soft: u64,
        hard: u64,
    },
    Bounding(u64),
    User {
        uid: u32,
        gid: u32,
        groups: Option<Vec<u32>>,
        keep: bool,
    },
    Capabilities {
        effective: u64,
        permitted: u64,
        inheritable: u64,
    },
    Ambient(u64),
    NoNewPrivileges,
    Umask(u32),
    Label {
        path: CString,
        value: Vec<u8>,
    },
    DeathSignal(i32),
    Preserve(Vec<(RawFd, RawFd)>),
    CloseOnExec(u32),
    Seccomp(Arc<Program>),
    /// Whether one of these can be executed, if there will be a wait before it is.
    Find(Arc<Vec<CString>>),
    Gate,
    Execute {
        candidates: Arc<Vec<CString>>,
        argv: StringArray,
        env: StringArray,
    },
}
