//! Which namespaces a sandbox gets, and those of a running process.

use std::fmt;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use crate::{Error, sys};

/// What a sandbox does about one kind of namespace (`namespaces(7)`).
#[derive(Debug, Default)]
pub enum Namespace {
    /// Stay in the caller's.
    #[default]
    Inherit,
    /// Make a new one.
    New,
    /// Enter an existing one by a descriptor of `/proc/PID/ns/*`, see [`Namespaces::of`].
    Join(OwnedFd),
}

impl Namespace {
    /// Whether it is [`Namespace::New`].
    pub const fn is_new(&self) -> bool {
        matches!(self, Self::New)
    }

    /// Whether it is [`Namespace::Join`].
    pub const fn is_joined(&self) -> bool {
        matches!(self, Self::Join(_))
    }
}

/// The eight kinds of namespaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum NamespaceKind {
    /// Users, groups and capabilities, `user_namespaces(7)`.
    User,
    /// Mounts, `mount_namespaces(7)`.
    Mount,
    /// Process ids, `pid_namespaces(7)`.
    Pid,
    /// Network, `network_namespaces(7)`.
    Net,
    /// System V IPC and POSIX message queues, `ipc_namespaces(7)`.
    Ipc,
    /// Host and domain name, `uts_namespaces(7)`.
    Uts,
    /// The view of the cgroup tree, `cgroup_namespaces(7)`.
    Cgroup,
    /// Monotonic and boot clocks, `time_namespaces(7)`.
    Time,
}

impl NamespaceKind {
    /// All eight.
    pub const ALL: [Self; 8] =
        [Self::User, Self::Mount, Self::Pid, Self::Net, Self::Ipc, Self::Uts, Self::Cgroup, Self::Time];

    /// The `CLONE_NEW*` flag.
    pub(crate) const fn flag(self) -> u64 {
        match self {
            Self::User => 0x1000_0000,
            Self::Mount => 0x0002_0000,
            Self::Pid => 0x2000_0000,
            Self::Net => 0x4000_0000,
            Self::Ipc => 0x0800_0000,
            Self::Uts => 0x0400_0000,
            Self::Cgroup => 0x0200_0000,
            Self::Time => 0x80,
        }
    }

    /// The name of its file below `/proc/PID/ns`.
    pub const fn file_name(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Mount => "mnt",
            Self::Pid => "pid",
            Self::Net => "net",
            Self::Ipc => "ipc",
            Self::Uts => "uts",
            Self::Cgroup => "cgroup",
            Self::Time => "time",
        }
    }
}

impl fmt::Display for NamespaceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Mount => "mount",
            other => other.file_name(),
        })
    }
}

/// What a sandbox does about each kind of namespace. The default inherits all.
#[derive(Debug, Default)]
pub struct Namespaces {
    /// Users and capabilities. A new one needs [`IdMaps`](crate::IdMaps).
    pub user: Namespace,
    /// Mounts. Any root, mount, mask or device needs a new one.
    pub mount: Namespace,
    /// Process ids. In a new one the process is number 1.
    pub pid: Namespace,
    /// Network.
    pub net: Namespace,
    /// System V IPC and message queues.
    pub ipc: Namespace,
    /// Host and domain name.
    pub uts: Namespace,
    /// View of the cgroup tree; a new one is made after the cgroup is joined.
    pub cgroup: Namespace,
    /// Clocks, see [`Sandbox::time_offsets`](crate::Sandbox::time_offsets).
    pub time: Namespace,
}

impl Namespaces {
    /// New mount, pid, net, ipc, uts and cgroup namespaces: what a container has by default.
    pub const fn container() -> Self {
        Self {
            user: Namespace::Inherit,
            mount: Namespace::New,
            pid: Namespace::New,
            net: Namespace::New,
            ipc: Namespace::New,
            uts: Namespace::New,
            cgroup: Namespace::New,
            time: Namespace::Inherit,
        }
    }

    /// Opens all namespaces of the process behind `pidfd`, to be joined.
    ///
    /// Kinds in which the process shares the caller's namespace are left [`Namespace::Inherit`], so that nothing is
    /// joined for nothing (and a user namespace cannot be re-entered at all). After opening, the pidfd is asked
    /// whether the process still lives: so what was opened is of that process and not of a later one with its number.
    ///
    /// # Errors
    /// [`Error::Gone`] if the process has ended, [`Error::Namespace`] if a file cannot be opened, [`Error::Procfs`]
    /// if `/proc` is not a procfs.
    pub fn of(pidfd: BorrowedFd<'_>) -> Result<Self, Error> {
        let pid = sys::pidfd_pid(pidfd)?;
        let mut out = Self::default();
        let proc = sys::procfs()?;
        for kind in NamespaceKind::ALL {
            let theirs = sys::namespace_file(proc.as_fd(), Some(pid), kind);
            let theirs = match theirs {
                Ok(fd) => fd,
                // a kernel without this kind
                Err(error) if error.raw_os_error() == Some(libc::ENOENT) && sys::alive(pidfd) => continue,
                Err(_) if !sys::alive(pidfd) => return Err(Error::Gone { pid }),
                Err(source) => return Err(Error::Namespace { kind, pid, source }),
            };
            let ours = sys::namespace_file(proc.as_fd(), None, kind).map_err(|source| Error::Namespace {
                kind,
                pid,
                source,
            })?;
            if sys::same_file(theirs.as_raw_fd(), ours.as_raw_fd()) {
                continue;
            }
            *out.slot(kind) = Namespace::Join(theirs);
        }
        if sys::alive(pidfd) { Ok(out) } else { Err(Error::Gone { pid }) }
    }

    /// [`Namespaces::of`] for a process number. The pidfd is opened first and everything else verified by it; that
    /// the number means the process the caller has in mind is the caller's to know.
    pub fn of_pid(pid: u32) -> Result<Self, Error> {
        let pidfd = sys::pidfd_open(pid).map_err(|_| Error::Gone { pid })?;
        Self::of(pidfd.as_fd())
    }

    /// The entry of one kind.
    pub const fn entry(&self, kind: NamespaceKind) -> &Namespace {
        match kind {
            NamespaceKind::User => &self.user,
            NamespaceKind::Mount => &self.mount,
            NamespaceKind::Pid => &self.pid,
            NamespaceKind::Net => &self.net,
            NamespaceKind::Ipc => &self.ipc,
            NamespaceKind::Uts => &self.uts,
            NamespaceKind::Cgroup => &self.cgroup,
            NamespaceKind::Time => &self.time,
        }
    }

    /// The entry of one kind, to be changed.
    pub const fn slot(&mut self, kind: NamespaceKind) -> &mut Namespace {
        match kind {
            NamespaceKind::User => &mut self.user,
            NamespaceKind::Mount => &mut self.mount,
            NamespaceKind::Pid => &mut self.pid,
            NamespaceKind::Net => &mut self.net,
            NamespaceKind::Ipc => &mut self.ipc,
            NamespaceKind::Uts => &mut self.uts,
            NamespaceKind::Cgroup => &mut self.cgroup,
            NamespaceKind::Time => &mut self.time,
        }
    }
}

/// How far a clock of a new time namespace is moved, seconds and nanoseconds (0 to 999,999,999).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TimeOffset {
    /// Whole seconds, may be negative.
    pub seconds: i64,
    /// Nanoseconds on top.
    pub nanoseconds: u32,
}

/// Offsets of a new time namespace, `time_namespaces(7)`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TimeOffsets {
    /// `CLOCK_MONOTONIC`
    pub monotonic: Option<TimeOffset>,
    /// `CLOCK_BOOTTIME`
    pub boottime: Option<TimeOffset>,
}
