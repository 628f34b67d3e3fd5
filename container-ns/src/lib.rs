//! Puts a process into a container: namespaces, id maps, mounts, capabilities, system call filter, terminal, limits.
//!
//! A [`Sandbox`] is a plain description. [`Sandbox::compile`] turns it into a [`Plan`]: a flat list of steps for which every
//! string, path, table, BPF program and descriptor has been made and checked. Only then is the process cloned. After
//! `clone3(2)` it walks the plan by straight system calls: no allocation, no lock, no panic, no callback. So spawning is sound in a
//! program with threads, tokio's included, and [`Plan::explain`] says in advance what will happen, in order.
//!
//! ```
//! use container_ns::{Root, Sandbox};
//!
//! let mut sandbox = Sandbox::container(Root::Path("/srv/rootfs".into()), ["/bin/true"]);
//! sandbox.hostname = Some("box".into());
//! let plan = sandbox.compile()?;
//! let text = plan.explain();
//! assert!(text.contains("hostname: box"));
//! assert!(text.contains("root: /srv/rootfs"));
//! // plan.run()?.wait()? makes the process; it needs root, or a user namespace with id maps
//! # Ok::<(), container_ns::Error>(())
//! ```
//!
//! # Stops on the way
//!
//! - [`Plan::run`]: no stop, returns when the program has been executed.
//! - [`Plan::spawn`]: stops right before the program, at the *start gate* (OCI's `created`); [`Child::release`] opens it, or
//!   [`open_gate`] from another process if [`Sandbox::gate`] gives it a path.
//! - [`Plan::meet`]: stops also where namespaces and id maps exist and nothing is mounted yet ([`Meeting`]), the point for network
//!   interfaces and runtime hooks.
//!
//! # What it is not
//!
//! No cgroup limits (join one by descriptor: [`JoinCgroup`]), no images, no networks, no state on disk, no user or group
//! names (they would have to be read from files of the image). It reads no environment variable, prints nothing, and does not change the caller's working directory, umask,
//! signal mask, namespaces, dumpable flag or environment; signals are blocked in the calling thread for the instant of the clone.
//!
//! # Safety of the host
//!
//! - Paths of the root are resolved by `openat2(2)` with `RESOLVE_IN_ROOT` and mounted on by descriptor; targets of `proc` and `sysfs`
//!   must not have a link on the way.
//! - Writes to procfs go through a descriptor that is known to be procfs, across no mount and no magic link.
//! - The root is attached in the new mount namespace only, which is made private or slave before.
//! - All descriptors but the sandbox's own are closed at once, so that a container that waits at its gate holds no lock or pipe of the caller.
//! - A process that joins namespaces is not dumpable until its program runs.
//! - **The runtime's own binary** (CVE-2019-5736): a program named `/proc/self/exe` makes the kernel run the caller's binary in the container.
//!   See [`sealed_exe`].
//!
//! # Errors, units, standards
//!
//! One [`Error`]; [`Error::Step`] names the step, its object, the system call and the errno. Sizes are bytes, times are
//! `Duration`, ids are those of the process's user namespace. Terms are those of the
//! [OCI runtime specification](https://github.com/opencontainers/runtime-spec/blob/main/config-linux.md), of `namespaces(7)`,
//! `capabilities(7)`, `mount_setattr(2)` and `seccomp(2)`. Linux 5.15 or newer, on x86-64, aarch64 or riscv64.
//!
//! # Features
//!
//! `oci` (default): [`Sandbox::from_oci`]. `tokio`: [`Child::finished`].
#![cfg_attr(not(feature = "oci"), allow(rustdoc::broken_intra_doc_links))]
#![cfg_attr(not(feature = "tokio"), allow(rustdoc::broken_intra_doc_links))]

mod capability;
mod child;
mod compile;
mod device;
mod error;
mod execute;
mod gate;
mod hook;
mod idle;
mod idmap;
mod mount;
mod namespaces;
#[cfg(feature = "oci")]
mod oci;
#[cfg(feature = "oci")]
mod oci_mount;
mod plan;
mod process;
mod report;
mod root;
mod sandbox;
mod seal;
mod seccomp;
mod spawn;
mod step;
mod sys;

pub use capability::{CapSet, Capabilities};
pub use child::{Child, Meeting};
pub use device::{Device, DeviceKind, Symlink, default_devices, default_symlinks};
pub use error::Error;
pub use gate::open_gate;
pub use hook::Hook;
pub use idmap::{IdMap, IdMaps, MapWriter, Setgroups};
pub use mount::{
    Attributes, BindSource, Filesystem, FsOption, Mount, MountFlags, MountIdMap, MountKind, default_mounts,
};
pub use namespaces::{Namespace, NamespaceKind, Namespaces, TimeOffset, TimeOffsets};
pub use plan::{Plan, StepLine};
pub use process::{
    IoClass, IoPriority, JoinCgroup, Keyring, Label, MemoryPolicy, Resource, Rlimit, Scheduler, Stdio,
    Terminal, User, WindowSize,
};
pub use root::{Propagation, Root};
pub use sandbox::Sandbox;
pub use seal::{is_exposed, sealed_exe};
pub use seccomp::{
    Action, Arch, Comparison, Condition, Filter, FilterFlags, Instruction, Program, Rule, Seccomp,
};
pub use step::StepKind;
