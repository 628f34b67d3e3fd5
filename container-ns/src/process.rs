//! What the process itself gets: user, limits, terminal, descriptors.

use std::os::fd::OwnedFd;

/// Who the process runs as, in ids of its user namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct User {
    /// Real, effective and saved user.
    pub uid: u32,
    /// Real, effective and saved group.
    pub gid: u32,
    /// Supplementary groups; the caller's are always dropped.
    pub additional_gids: Vec<u32>,
    /// File mode creation mask; `None` is 0022.
    pub umask: Option<u32>,
}

/// A resource of `prlimit(2)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names are those of prlimit(2)")]
pub enum Resource {
    Cpu,
    Fsize,
    Data,
    Stack,
    Core,
    Rss,
    Nproc,
    Nofile,
    Memlock,
    As,
    Locks,
    Sigpending,
    Msgqueue,
    Nice,
    Rtprio,
    Rttime,
}

impl Resource {
    /// The kernel's number.
    pub(crate) const fn number(self) -> u32 {
        self as u32
    }

    /// `RLIMIT_NOFILE` and so on.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cpu => "RLIMIT_CPU",
            Self::Fsize => "RLIMIT_FSIZE",
            Self::Data => "RLIMIT_DATA",
            Self::Stack => "RLIMIT_STACK",
            Self::Core => "RLIMIT_CORE",
            Self::Rss => "RLIMIT_RSS",
            Self::Nproc => "RLIMIT_NPROC",
            Self::Nofile => "RLIMIT_NOFILE",
            Self::Memlock => "RLIMIT_MEMLOCK",
            Self::As => "RLIMIT_AS",
            Self::Locks => "RLIMIT_LOCKS",
            Self::Sigpending => "RLIMIT_SIGPENDING",
            Self::Msgqueue => "RLIMIT_MSGQUEUE",
            Self::Nice => "RLIMIT_NICE",
            Self::Rtprio => "RLIMIT_RTPRIO",
            Self::Rttime => "RLIMIT_RTTIME",
        }
    }
}

/// A resource limit; `u64::MAX` is unlimited. Units are the resource's (bytes, files, seconds, microseconds).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rlimit {
    /// Of what.
    pub resource: Resource,
    /// What is enforced.
    pub soft: u64,
    /// How far the process may raise it.
    pub hard: u64,
}

/// One of the three standard descriptors.
#[derive(Debug, Default)]
pub enum Stdio {
    /// The caller's.
    #[default]
    Inherit,
    /// `/dev/null` of the host, opened and verified at compile time.
    Null,
    /// This one.
    Descriptor(OwnedFd),
}

/// Columns and rows of a terminal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WindowSize {
    /// Characters in a line.
    pub columns: u16,
    /// Lines.
    pub rows: u16,
}

/// The controlling terminal. With one, stdin, stdout and stderr are the terminal whatever [`Stdio`] says, and the process
/// leads a new session.
#[derive(Debug, Default)]
pub enum Terminal {
    /// None.
    #[default]
    None,
    /// A slave made by the caller.
    Slave(OwnedFd),
    /// A new pair in the container's own `/dev/pts`, verified to be a devpts; the master comes back by
    /// [`Child::take_terminal`](crate::Child::take_terminal). In a new root the slave is bound to `/dev/console`.
    New(Option<WindowSize>),
}

/// How the process gets into its cgroup, as its first act but for [`JoinCgroup::Later`].
#[derive(Debug, Default)]
pub enum JoinCgroup {
    /// Stays in the caller's.
    #[default]
    Inherit,
    /// Born in the v2 group of this directory (`CLONE_INTO_CGROUP`).
    V2(OwnedFd),
    /// Writes `0` to each of these open v1 `tasks` (or v2 `cgroup.procs`) files.
    V1(Vec<OwnedFd>),
    /// Hybrid: born in the v2 group, then writes `0` to each of the v1 files.
    Hybrid(OwnedFd, Vec<OwnedFd>),
    /// Groups that the caller makes while the process is at work already ([`Plan::spawn_while`](crate::Plan::spawn_while)): it is
    /// born in the v2 group, waits before its first cgroup mount, or before it enters its root, and then writes `0` to each of these
    /// v1 `tasks` files, which are paths of the host. Not with a new user namespace, nor with joined ones.
    Later(Option<OwnedFd>, Vec<std::path::PathBuf>),
}

/// The session keyring, `session-keyring(7)`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Keyring {
    /// A new empty one, so that no key of the host is reached. A kernel without keyrings is fine.
    #[default]
    New,
    /// The caller's.
    Inherit,
}

/// Scheduling policy, `sched_setattr(2)`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scheduler {
    /// `SCHED_*` number.
    pub policy: u32,
    /// `SCHED_FLAG_*` bits.
    pub flags: u64,
    /// Nice value, −20 to 19, for the ordinary policies.
    pub nice: i32,
    /// Priority, 1 to 99, for the real-time policies.
    pub priority: u32,
    /// Nanoseconds, `SCHED_DEADLINE`.
    pub runtime: u64,
    /// Nanoseconds, `SCHED_DEADLINE`.
    pub deadline: u64,
    /// Nanoseconds, `SCHED_DEADLINE`.
    pub period: u64,
}

/// Where memory comes from on a NUMA host, `set_mempolicy(2)`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemoryPolicy {
    /// `MPOL_*` number.
    pub mode: u32,
    /// `MPOL_F_*` bits.
    pub flags: u32,
    /// Nodes, by number, below 1024.
    pub nodes: Vec<u32>,
}

/// I/O priority class, `ioprio_set(2)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IoClass {
    /// Real time.
    RealTime,
    /// Best effort.
    BestEffort,
    /// Idle.
    Idle,
}

/// I/O priority: class and level, 0 (highest) to 7.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IoPriority {
    /// Class.
    pub class: IoClass,
    /// Level in the class.
    pub level: u8,
}

/// A label for a Linux security module, written to `/proc/self/attr` right before `execve`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Label {
    /// An AppArmor profile for the program (`exec PROFILE` to `attr/apparmor/exec`).
    AppArmor(String),
    /// An SELinux context for the program (`attr/exec`).
    SeLinux(String),
}
