//! Dockerfiles to images: stages, steps, a content-addressed cache, and runs in containers.
//!
//! A [`Build`] is a description; a [`Builder`] has what it works with: an image store, its unpacked layers, a
//! [`BuildCache`], where base images come from ([`Images`]) and who runs commands ([`Runner`]). Stages that do not need
//! each other are built side by side. Each step's key is a digest over everything that decides what it makes, so a step
//! that was carried out once is found again, in any build; a file counts by its name, mode and content, not by its times.
//!
//! ```no_run
//! use container_build::{Build, BuildCache, Builder, Context, Event, Isolated};
//! use container_image::{Snapshots, Store};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let store = Store::open("/srv/images")?;
//! let (snapshots, cache) = (Snapshots::open("/srv/snapshots")?, BuildCache::open("/srv/build")?);
//! let context = Context::directory(".")?;
//! let build = Build::new(context.dockerfile("Dockerfile")?, context);
//! let show = |event: Event<'_>| {
//!     if let Event::Begin { step, name } = event {
//!         println!("#{step} {name}");
//!     }
//! };
//! let builder = Builder {
//!     store: &store,
//!     snapshots: &snapshots,
//!     cache: &cache,
//!     images: &store,
//!     runner: &Isolated::default(),
//!     fetch: None,
//!     output: &show,
//! };
//! let lease = store.lease()?;
//! let built = builder.build(&build)?;
//! store.tag(&"mine:1".parse()?, &built.image.descriptor)?;
//! drop(lease);
//! # Ok(())
//! # }
//! ```
//!
//! # What it is not
//!
//! No registry client and no engine: images and networks are the caller's. No emulation: images are for the machine's own
//! platform. It needs root: `mount` and `clone` in the initial user namespace. It reads no environment variable and prints nothing.
//!
//! # Safety of the host
//!
//! The root of a step is an overlay that is attached nowhere: it exists by its descriptor, and paths in it are resolved by
//! `openat2(2)` with `RESOLVE_IN_ROOT`. So are those of the context. Archives are unpacked beside the root, where nothing leads
//! anywhere, and copied. A command runs confined as Docker confines a container ([`Isolated`]). Secrets lie in memory, and no
//! layer, key or line of the history has them.
//!
//! # Kills and errors
//!
//! Everything appears by rename. A build that is killed leaves the steps it has finished, and scratch space that the next one
//! removes. Every failure is an [`Error`] that names the object; sizes are in bytes, times RFC 3339 in UTC.
//!
//! # References
//!
//! [Dockerfile reference](https://docs.docker.com/reference/dockerfile/),
//! [OCI image specification](https://github.com/opencontainers/image-spec/blob/main/spec.md), `overlayfs` and `fsopen(2)`.
#![forbid(unsafe_code)]

mod build;
mod cache;
mod context;
mod copying;
mod effect;
mod error;
mod facts;
mod fetch;
mod key;
mod mode;
mod owner;
mod progress;
mod runner;
mod running;
mod select;
mod stage;
mod stubs;
mod time;
mod transfer;
mod view;

pub use build::{Build, Builder, Built, Images};
pub use cache::{BuildCache, Pruned};
pub use context::{Context, MAX_DOCKERFILE, open_dockerfile, read_dockerfile};
pub use error::Error;
pub use fetch::{Fetch, Fetched};
pub use progress::{Event, Output};
pub use runner::{Confinement, Connector, Isolated, RunStep, Runner, StepNetwork};
