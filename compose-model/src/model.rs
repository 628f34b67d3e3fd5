//! The Compose Specification as types.
mod build;
mod deploy;
mod develop;
mod health;
mod mount;
mod network;
mod port;
mod project;
mod resource;
mod scalar;
mod service;

pub use build::Build;
pub use deploy::{
    Count, Deploy, DeviceRequest, Discrete, GenericResource, Limits, Placement, Preference, Reservations,
    Resources, RestartPolicy, Update,
};
pub use develop::{Develop, Hook, PreStart, Watch};
pub use health::{Healthcheck, Logging, Test};
pub use mount::{Bind, FileMount, ImageMount, Mount, Tmpfs, VolumeMount};
pub use network::{Attachment, Ipam, IpamPool, Network};
pub use port::Port;
pub use project::Project;
pub use resource::{Config, External, Model, Secret, Volume};
pub use scalar::{Command, Hosts, Location, Mode, OneOrMany, Options, Pairs, Scalar};
pub use service::{
    Blkio, BlkioLimit, BlkioWeight, CredentialSpec, Dependencies, Dependency, Device, EnvFile, EnvFiles,
    Extends, Gpus, LabelFiles, ModelUse, ModelUses, Networks, Provider, ProviderValues, Service, Ulimit,
};
