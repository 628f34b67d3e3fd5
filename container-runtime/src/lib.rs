//! An OCI runtime as a library: containers from bundles, created, started, joined, watched and deleted.
//!
//! [`Runtime`] does what the `runc` command does, on directories of its own; the program `dunnage-oci` of this package is
//! its command line, and [`monitor`] the small process that stands beside a running container of `container-engine`.
//! It is *not* an engine: no images, no networks beyond what a bundle or a monitor is given, no daemon.
//!
//! ```no_run
//! use container_runtime::{ContainerId, Create, Runtime};
//!
//! let runtime = Runtime::new("/run/demo");
//! let id = ContainerId::new("one")?;
//! let mut process = runtime.create(&id, Create::new("/bundles/one"))?.start()?;
//! let code = process.wait()?;
//! runtime.delete(&id, true)?;
//! # Ok::<(), container_runtime::Error>(())
//! ```
//!
//! **State** lives in `<root>/<id>/`: `state.json` (replaced by rename), `config.json` as it was at `create`, `lock`. Every process is
//! recognized by number *and* start time and signalled by pidfd, so a number used again is never mistaken. Any call may be killed
//! at any instruction; [`Runtime::delete`] with force clears away what is half-made.
//!
//! **An extension**: a mount whose `destination` is `/` is the root file system itself, made before all others and only in the container's
//! mount namespace, e.g. `{"destination":"/","type":"overlay","options":["lowerdir=a:b","upperdir=u","workdir=w"]}`. No mount
//! ever exists on the host, and `root.path` is not needed.
//!
//! **Errors** are [`Error`]; [`describe`] prints one with its sources. See the
//! [specification](https://github.com/opencontainers/runtime-spec/blob/main/spec.md).

/// An annotation of `config.json` that asks for a built-in seccomp profile where `linux.seccomp` is absent. Its only value is
/// `docker-default`: [`container_ns::Seccomp::docker_default`] for the process's bounding set. Any other value is refused.
pub const SECCOMP_PROFILE_ANNOTATION: &str = "dunnage.seccomp.profile";

mod config;
mod console;
mod create;
mod error;
mod exec;
mod explain;
mod hooks;
mod id;
mod lines;
pub mod monitor;
mod netdevice;
mod process;
mod record;
mod running;
mod runtime;
mod signal;
mod signals;
mod status;
mod sys;
mod time;

pub use container_ns::{Stdio, WindowSize};
pub use create::{Console, Create, Created, NetworkSetup};
pub use error::{Error, HookFailure, describe};
pub use exec::{Exec, ExecUser};
pub use id::ContainerId;
pub use running::Running;
pub use runtime::Runtime;
pub use signal::Signal;
pub use signals::Signals;
pub use status::{State, Status};
pub use sys::{inherited, protect_relocated, reap_orphans_except};
pub use time::Timestamp;
