//! Images on disk: references and digests, a content store, layers and their snapshots.
//!
//! The store is an OCI image layout, so skopeo, umoci and crane read it as it is. Content is verified while it
//! streams in and appears by rename; any process may be killed at any instruction, and the next one finds
//! a consistent store. Layers unpack into directories that overlayfs takes as they are, and nothing in an archive
//! reaches outside its directory.
//!
//! Layers are made, too: [`Diff`] is what an overlay's upper directory or one tree has over another, and
//! [`Store::commit`] makes an image of it. [`Store::save`] and [`Store::load`] speak Docker's archives and OCI layouts;
//! with the feature `registry`, `Registry` fetches images from registries and brings them there.
//!
//! This crate does not mount anything and runs nothing: the directories of [`Snapshots`] are what a
//! caller gives to overlayfs. It needs no async runtime.
//!
//! ```
//! use container_image::{Import, Limits, Reference, Snapshots, Store};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let directory = tempfile::tempdir()?;
//! # let mut archive = vec![0u8; 1024];
//! let store = Store::open(directory.path().join("images"))?;
//! let lease = store.lease()?;
//! let image = store.import(archive.as_slice(), Import::default())?;
//! store.tag(&"mine:1".parse::<Reference>()?, &image.descriptor)?;
//! drop(lease);
//!
//! let image = store.find("mine:1")?.image;
//! let snapshots = Snapshots::open(directory.path().join("snapshots"))?;
//! let layers = snapshots.unpack(&store, &image, &Limits::default())?;
//! assert_eq!(layers.len(), 1);
//! # Ok(())
//! # }
//! ```
//!
//! Sizes are in bytes, times are RFC 3339 texts as the image specification has them. Every failure is an
//! [`Error`], which names the object. The formats are those of the [OCI image specification] 1.1.
//!
//! [OCI image specification]: https://github.com/opencontainers/image-spec/blob/main/spec.md
#![forbid(unsafe_code)]

mod apply;
mod below;
mod beside;
mod blob;
mod commit;
mod compression;
mod diff;
mod digest;
mod document;
mod error;
mod fresh;
mod graft;
mod gzip;
mod image;
mod import;
mod layers;
mod load;
mod mutate;
mod names;
mod pack;
mod platform;
mod reference;
#[cfg(feature = "registry")]
mod registry;
mod rootfs;
mod save;
mod snapshots;
mod store;
mod sweep;
mod tar;
mod tree;
mod walk;

pub use apply::{Applied, Limits, Owners, apply};
pub use blob::BlobWriter;
pub use commit::{Commit, Step};
pub use compression::{Compression, inflate};
pub use diff::{Change, ChangeKind, Diff};
pub use digest::{Algorithm, Digest, Hasher};
pub use document::{
    ContainerConfig, Descriptor, Empty, Healthcheck, History, ImageConfig, Index, MAX_DOCUMENT, Manifest,
    MediaType, Platform, RootFs,
};
pub use error::Error;
pub use image::Image;
pub use import::Import;
pub use layers::{Layers, make_upper};
pub use names::Named;
pub use pack::{Layer, Pack};
pub use reference::Reference;
#[cfg(feature = "registry")]
pub use registry::{
    Body, Challenge, Credential, Credentials, Found, Helper, Hosts, Http, HttpOptions, Progress, Pull,
    Registry, Request, Response, Transport, challenges,
};
pub use snapshots::Snapshots;
pub use store::{Lease, Store};
pub use sweep::{Finding, Sweeping};
pub use tree::remove_tree;
