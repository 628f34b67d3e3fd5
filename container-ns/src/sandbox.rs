//! The description of a sandbox.

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use crate::{
    Capabilities, Device, Error, Hook, IdMaps, IoPriority, JoinCgroup, Keyring, Label, MemoryPolicy, Mount,
    Namespaces, Plan, Propagation, Rlimit, Root, Scheduler, Seccomp, Stdio, Symlink, Terminal, TimeOffsets,
    User,
};

/// Everything about a process that is to be put into a container: plain data, nothing happens until it is compiled.
///
/// [`Sandbox::new`] describes an ordinary child process: every namespace inherited, no mounts, nothing dropped. A field
/// left alone costs no system call. [`Sandbox::container`] is what Docker would give.
#[derive(Debug, Default)]
pub struct Sandbox {
    /// Namespaces to make or join.
    pub namespaces: Namespaces,
    /// Id maps of a new user namespace.
    pub id_maps: IdMaps,
    /// Clock offsets of a new time namespace.
    pub time_offsets: TimeOffsets,
    /// Bring `lo` up in a new net namespace.
    pub loopback: bool,
    /// Cgroup to be in.
    pub cgroup: JoinCgroup,
    /// Session keyring.
    pub keyring: Keyring,

    /// Root file system.
    pub root: Root,
    /// Propagation of the root mount, `rootfsPropagation` of the OCI specification. `None` is private. The caller's mounts are never
    /// shared with the new namespace as a whole: a bind that is to receive or exchange mounts with the host says so itself.
    pub root_propagation: Option<Propagation>,
    /// Enter the root by `chroot(2)` where it lies over the old one, instead of `pivot_root(2)`: the only way on an initramfs, which cannot
    /// be pivoted away from. **Weaker**: the host's mounts stay below, and a process with `CAP_SYS_CHROOT` or `CAP_SYS_ADMIN` gets at them.
    pub no_pivot: bool,
    /// Mount the root read-only, after everything in it is made.
    pub read_only_root: bool,
    /// Mounts in this order.
    pub mounts: Vec<Mount>,
    /// Device nodes, made after the mounts.
    pub devices: Vec<Device>,
    /// Symbolic links, made after the mounts. One that exists is kept.
    pub symlinks: Vec<Symlink>,
    /// Paths that are covered: a file by `/dev/null`, a directory by an empty read-only tmpfs. Missing ones are fine.
    pub masked_paths: Vec<PathBuf>,
    /// Paths that are made read-only with all below. Missing ones are fine.
    pub read_only_paths: Vec<PathBuf>,
    /// Kernel parameters as in `sysctl(8)` (`net.ipv4.ip_forward`), and values.
    pub sysctls: Vec<(String, String)>,
    /// Host name in the uts namespace, which must be new or joined.
    pub hostname: Option<String>,
    /// NIS domain name, likewise.
    pub domainname: Option<String>,

    /// Program and arguments; the first without a slash is searched in `PATH` of [`Sandbox::env`].
    pub argv: Vec<OsString>,
    /// The environment, whole: nothing of the caller's is added. `NAME=value` each.
    pub env: Vec<OsString>,
    /// Working directory in the root, absolute.
    pub cwd: PathBuf,
    /// Make a missing working directory, mode 0755.
    pub create_cwd: bool,
    /// User and groups. `None` leaves the caller's, groups included.
    pub user: Option<User>,
    /// Capability sets. `None` leaves what the user change leaves.
    pub capabilities: Option<Capabilities>,
    /// `no_new_privs`: no set-uid program or file capability gives anything.
    pub no_new_privs: bool,
    /// Seccomp filter.
    pub seccomp: Option<Seccomp>,
    /// Resource limits.
    pub rlimits: Vec<Rlimit>,
    /// How willingly the kernel kills it when memory is short, −1000 to 1000.
    pub oom_score_adj: Option<i32>,
    /// Scheduling policy.
    pub scheduler: Option<Scheduler>,
    /// I/O priority.
    pub io_priority: Option<IoPriority>,
    /// CPUs it may run on before it enters its cgroup, by number.
    pub initial_cpu_affinity: Option<Vec<u32>>,
    /// CPUs it may run on, by number.
    pub cpu_affinity: Option<Vec<u32>>,
    /// NUMA memory policy.
    pub memory_policy: Option<MemoryPolicy>,
    /// Execution domain, `personality(2)`.
    pub personality: Option<u32>,
    /// Label of a security module.
    pub label: Option<Label>,

    /// Controlling terminal.
    pub terminal: Terminal,
    /// stdin.
    pub stdin: Stdio,
    /// stdout.
    pub stdout: Stdio,
    /// stderr.
    pub stderr: Stdio,
    /// Descriptors that the process gets as 3, 4, …; all others are closed.
    pub preserved: Vec<OwnedFd>,
    /// Lead a new session (`setsid(2)`); a terminal implies it.
    pub new_session: bool,
    /// Signal the process gets when the *thread* that spawned it ends, `PR_SET_PDEATHSIG`.
    pub parent_death_signal: Option<i32>,
    /// Open the start gate as a unix socket at this path, so that another process can release it with
    /// [`open_gate`](crate::open_gate). The file is made by `spawn` and must not exist.
    pub gate: Option<PathBuf>,
    /// Programs run in the new namespaces before the root is changed: OCI `createContainer`.
    pub create_container_hooks: Vec<Hook>,
    /// Programs run in the container right before its own, after the start gate: OCI `startContainer`.
    pub start_container_hooks: Vec<Hook>,
}

impl Sandbox {
    /// An ordinary child process in `/`, with an empty environment.
    pub fn new<S: Into<OsString>>(argv: impl IntoIterator<Item = S>) -> Self {
        Self { argv: argv.into_iter().map(Into::into).collect(), cwd: "/".into(), ..Self::default() }
    }

    /// A container as Docker makes it by default: new mount, pid, net, ipc, uts and cgroup namespaces, the usual mounts,
    /// devices, masked and read-only paths, 14 capabilities, `no_new_privs`, Docker's system call filter, user 0, a
    /// session of its own.
    pub fn container<S: Into<OsString>>(root: Root, argv: impl IntoIterator<Item = S>) -> Self {
        Self {
            namespaces: Namespaces::container(),
            loopback: true,
            root,
            mounts: crate::default_mounts(),
            devices: crate::default_devices(),
            symlinks: crate::default_symlinks(),
            masked_paths: MASKED.iter().map(PathBuf::from).collect(),
            read_only_paths: READ_ONLY.iter().map(PathBuf::from).collect(),
            env: vec!["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".into()],
            create_cwd: true,
            user: Some(User::default()),
            capabilities: Some(Capabilities::bounded(crate::CapSet::DOCKER_DEFAULT)),
            no_new_privs: true,
            seccomp: Some(Seccomp::docker_default(crate::CapSet::DOCKER_DEFAULT)),
            new_session: true,
            ..Self::new(argv)
        }
    }

    /// Compiles the description: makes and checks every string, path, table, program and descriptor that the new process
    /// will need. Nothing of the host is changed and no process is left; dropping the plan closes what was opened.
    ///
    /// # Errors
    /// A setting that is malformed ([`Error::Nul`], [`Error::NotAbsolute`], [`Error::Filter`]), that lacks what it needs
    /// ([`Error::Needs`]), or a descriptor that cannot be prepared ([`Error::Prepare`]).
    pub fn compile(self) -> Result<Plan, Error> {
        crate::compile::compile(self)
    }
}

/// What Docker masks.
pub(crate) const MASKED: [&str; 11] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];

/// What Docker makes read-only.
pub(crate) const READ_ONLY: [&str; 5] =
    ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];
