//! A container engine as a library: containers, images, networks, volumes and events behind one typed async API.
//!
//! An [`Engine`] works on two directories and needs no daemon. Each container that runs has one small monitor
//! process beside it (`dunnage-oci`), which owns its output, its log, its exit status and its name service, so the
//! program that started it may end at any time. Any number of programs may use the same directories at once.
//!
//! This crate speaks no HTTP, prints nothing and reads no environment variables; `dunnage` is the command line
//! on it.
//!
//! ```no_run
//! use container_engine::{Config, ContainerOptions, Engine, Piece};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let engine = Engine::open(Config {
//!     root: "/var/lib/mine".into(),
//!     run_root: "/run/mine".into(),
//!     monitor: "/usr/bin/dunnage-oci".into(),
//!     reaper: None,
//! })
//! .await?;
//! engine.import_image(std::fs::File::open("rootfs.tar")?, Some(&"base".parse()?), Default::default()).await?;
//! let options =
//!     ContainerOptions { image: "base".into(), command: vec!["date".into()], ..Default::default() };
//! let id = engine.create_container(options).await?;
//! let mut container = engine.start_attached(&id).await?;
//! while let Piece::Stdout(bytes) = container.output.next().await? {
//!     print!("{}", String::from_utf8_lossy(bytes));
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Times are RFC 3339 in UTC, sizes are [`container_cgroup::Bytes`]. Every failure is an [`Error`] that names the object.
#![forbid(unsafe_code)]
#![allow(
    clippy::unused_async,
    reason = "the API is async as a whole: what is a file today may be a network tomorrow"
)]

mod archives;
mod attach;
mod build;
mod bundle;
mod check;
mod commit;
mod compose;
mod containers;
mod copy;
mod database;
mod driver_options;
mod drivers;
mod engine;
mod error;
mod events;
mod exec;
mod explain;
mod graph;
mod health;
mod images;
mod links;
mod live;
mod logs;
mod name;
mod networks;
mod options;
mod poll;
mod publish;
mod registry;
mod remove;
mod rename;
mod secrets;
mod start;
mod stop;
mod system;
mod time;
mod top;
mod update;
mod usage;
mod user;
mod volume_files;
mod volumes;

pub use attach::{Attachment, Input, Output, Piece};
pub use build::Registries;
pub use check::Finding;
pub use commit::CommitOptions;
pub use compose::{
    ComposeEvent, ComposeWorld, NUMBER as COMPOSE_NUMBER, ONE_OFF as COMPOSE_ONE_OFF, OneOff,
    PROJECT as COMPOSE_PROJECT, ProjectSummary, SERVICE as COMPOSE_SERVICE,
    WORKING_DIR as COMPOSE_WORKING_DIR,
};
pub use containers::{Container, ContainerNetwork, Exit, Phase};
pub use copy::FileStat;
pub use engine::{API_SOCKET, Config, Engine};
pub use error::{Error, StartFailure};
pub use events::{Event, EventStream};
pub use exec::{ExecOptions, ExecProcess, Pipes};
pub use graph::Topology;
pub use images::RemovedImage;
pub use logs::{LogLine, LogQuery, LogStream};
pub use name::short_id;
pub use networks::{EndpointOptions, Network, NetworkDriver, NetworkMember, NetworkOptions};
pub use options::{
    ContainerOptions, DeviceSpec, HealthCheck, LogOptions, NetworkMode, Resources, RestartPolicy, Seccomp,
    Ulimit,
};
pub use publish::parse_published;
pub use registry::Pulled;
pub use remove::RemoveOptions;
pub use system::{DiskUsage, Information, Usage as KindUsage};
pub use time::{now, parse_rfc3339, rfc3339};
pub use top::Process;
pub use usage::{Traffic, Usage};
pub use user::Identity;

pub use container_build::{
    Build, BuildCache, Built, Context as BuildContext, Error as BuildError, Event as BuildEvent,
    Output as BuildOutput, Pruned, StepNetwork, open_dockerfile, read_dockerfile,
};
pub use container_cgroup::{Bytes, Cpus, Stats};
pub use container_image::{
    Change, ChangeKind, ContainerConfig, Credential, Credentials, Descriptor, Digest, Empty,
    Error as ImageError, Found, Healthcheck, Helper, Http, HttpOptions, Import, Named, Platform, Progress,
    Pull, Reference, Registry, inflate,
};
pub use container_net::{
    Driver as NetworkKind, InterfaceName, IpvlanMode, MacvlanMode, Protocol, PublishedPort, Subnet,
};
pub use container_runtime::monitor::{Health, HealthProbe, HealthStatus};
pub use container_runtime::{Signal, describe};
pub use container_volume::{
    Error as VolumeError, Mount, MountSpec, Restored, Secret, SecretBytes, Usage as VolumeUsage, Volume,
    pack, unpack,
};
