//! Volumes and mounts of containers: named and anonymous volumes on disk, the `-v` and `--mount` flags, and bind sources as
//! descriptors.
//!
//! What it is: a directory of volumes that any number of processes share ([`Volumes`]), a typed [`MountSpec`] with parsers of both
//! of Docker's spellings, and ways to turn a spec into an open descriptor ([`Volumes::source`], [`open_bind`]) that a runtime mounts by
//! `open_tree(2)` and `move_mount(2)`, so that no path is walked twice.
//!
//! Volumes with the `local` driver's options `type`, `o` and `device` are mounted while containers run with them
//! ([`Volumes::mount`]); volumes of other programs are reached by Docker's plugin protocol ([`Plugin`]), which [`serve`] speaks from
//! the other side. Volumes go into tar streams and come from them, and are copied. [`Secrets`] are files in memory.
//!
//! What it is not: it enters no container's namespaces. It labels nothing for SELinux ([`check_relabel`]).
//!
//! ```
//! use container_volume::{MountSpec, Mount, NewVolume, Volumes};
//!
//! # let scratch = tempfile::tempdir()?;
//! let volumes = Volumes::open(scratch.path().join("volumes"))?;
//! volumes.create("data", NewVolume::default())?;
//! volumes.take("data", "8d3a")?;
//! let mounted = volumes.source("data", None)?;
//! assert!(volumes.remove("data").is_err()); // in use by 8d3a
//! volumes.release("data", "8d3a")?;
//! volumes.remove("data")?;
//!
//! let spec = MountSpec::from_mount_flag("type=tmpfs,target=/run,tmpfs-size=64m", "/".as_ref())?;
//! assert!(matches!(spec.mount, Mount::Tmpfs { size: Some(67_108_864), .. }));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! **Layout.** `<dir>/<name>/_data` is the volume, `meta.json` beside it, and `users/<container id>` an empty file for each container
//! that uses it. What begins with a dot is half-made or half-removed and never seen as a volume.
//!
//! `mounted/<container id>` is one for each that has it mounted by its
//! options. **Crashes.** A volume appears by one rename and goes by one rename, filling it ends with one exchange of directories; a process killed at
//! any instruction leaves at most something for [`Volumes::check`]. Changes are serialised by a lock on `<dir>/.lock`.
//!
//! **Units.** Sizes are bytes, modes the usual permission bits. See `mount_setattr(2)`, `openat2(2)` and Docker's documentation of `--mount`.

mod archive;
mod bind;
mod check;
mod clone;
mod driver;
mod error;
mod fill;
mod flags;
mod http;
mod local;
mod mounting;
mod pack;
mod place;
mod plugin;
mod quota;
mod relabel;
mod secret;
mod spec;
mod store;
mod sys;
mod tar;
mod unpack;
mod volume;

pub use bind::{BindSource, SourceKind, open_bind};
pub use check::Finding;
pub use driver::{DriverVolume, Refusal, VolumeDriver, serve};
pub use error::{Error, Result};
pub use pack::pack;
pub use place::Places;
pub use plugin::{PLUGIN_DIRECTORIES, Plugin, PluginVolume, Scope};
pub use relabel::check_relabel;
pub use secret::{Secret, SecretBytes, Secrets};
pub use spec::{Mount, MountSpec, Propagation, Recursion, Relabel};
pub use store::{Volumes, open_beneath};
pub use unpack::{Restored, unpack};
pub use volume::{NewVolume, Pruned, Usage, Volume};
