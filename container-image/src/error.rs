use std::io;
use std::path::PathBuf;

use crate::Digest;

/// What can go wrong with images, layers and the store.
///
/// A variant holds the object of the operation; the cause, where there is one, is its [`source`].
///
/// [`source`]: std::error::Error::source
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A digest is not of the form `algorithm:hex` (OCI image specification, *Descriptor*, *Digests*).
    #[error("invalid digest {value:?}: {reason}")]
    Digest {
        /// The text as given.
        value: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A reference is not `[domain/]path[:tag][@digest]`.
    #[error("invalid reference {value:?}: {reason}")]
    Reference {
        /// The text as given.
        value: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Content has another digest than its descriptor says.
    #[error("content of {expected} has the digest {found}")]
    DigestMismatch {
        /// The digest that was promised.
        expected: Digest,
        /// The digest of what came.
        found: Digest,
    },
    /// Content has another size than its descriptor says.
    #[error("content of {digest} has {found} bytes where its descriptor says {expected}")]
    SizeMismatch {
        /// The digest of the descriptor.
        digest: Digest,
        /// Bytes that were promised.
        expected: u64,
        /// Bytes that came.
        found: u64,
    },
    /// A blob is not in the store.
    #[error("blob {0} is not in the store")]
    BlobMissing(Digest),
    /// No image has this name or id.
    #[error("no such image: {0}")]
    ImageMissing(String),
    /// A short id fits several images.
    #[error("image id {0:?} is ambiguous")]
    ImageAmbiguous(String),
    /// A JSON document (manifest, index, configuration) cannot be read.
    #[error("{what} {object} is not valid")]
    Document {
        /// Which kind of document.
        what: &'static str,
        /// Its digest or path.
        object: String,
        /// Where it goes wrong.
        source: serde_json::Error,
    },
    /// A document is valid JSON but contradicts itself or the specification.
    #[error("{what} {object}: {reason}")]
    Inconsistent {
        /// Which kind of document.
        what: &'static str,
        /// Its digest or path.
        object: String,
        /// The contradiction, with the value.
        reason: String,
    },
    /// A directory is an OCI image layout of another version, or none.
    #[error("{path} is not an OCI image layout of version 1.0.0: found {found:?}")]
    LayoutVersion {
        /// The directory.
        path: PathBuf,
        /// What its `oci-layout` says.
        found: String,
    },
    /// Bytes at an archive's start are no tar header and no compression that is known.
    #[error("not a tar archive: {reason}")]
    NotAnArchive {
        /// What was found instead.
        reason: &'static str,
    },
    /// A header of a tar archive is damaged or dangerous.
    #[error("tar entry {entry:?} at byte {offset}: {reason}")]
    Archive {
        /// The name in the header, lossily.
        entry: String,
        /// Offset of its header in the uncompressed archive.
        offset: u64,
        /// What is wrong.
        reason: &'static str,
    },
    /// An archive exceeds a limit of the caller.
    #[error("tar entry {entry:?} exceeds the limit of {limit} {what}")]
    Limit {
        /// The entry at which the limit was passed.
        entry: String,
        /// The limit's unit.
        what: &'static str,
        /// The limit.
        limit: u64,
    },
    /// An entry of an archive cannot be made in the tree.
    #[error("cannot {action} {entry:?} of the layer")]
    Entry {
        /// What was tried.
        action: &'static str,
        /// The path in the archive, lossily.
        entry: String,
        /// Why the kernel refused.
        source: io::Error,
    },
    /// The stream that was read failed.
    #[error("cannot read {object}")]
    Read {
        /// What was read.
        object: String,
        /// Why.
        source: io::Error,
    },
    /// The stream that was written failed.
    #[error("cannot write {object}")]
    Write {
        /// What was written.
        object: String,
        /// Why.
        source: io::Error,
    },
    /// A file or directory of the store cannot be used.
    #[error("cannot {action} {path}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// The path.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A `hosts.toml` says something that is wrong or not supported.
    #[error("hosts.toml, line {line}: {reason}")]
    Hosts {
        /// The line, from 1; 0 for the whole file.
        line: usize,
        /// Why.
        reason: &'static str,
    },
    /// A program that knows credentials cannot be run, or does not answer as such programs do.
    #[error("cannot get credentials from docker-credential-{program}")]
    Helper {
        /// Which one.
        program: String,
        /// Why.
        source: io::Error,
    },
    /// A registry cannot be reached, or the connection broke.
    #[error("cannot talk to {object}")]
    Transport {
        /// The address, without its query.
        object: String,
        /// Why.
        source: io::Error,
    },
    /// A registry answers that it cannot or will not.
    #[error("{object} answers {status}: {reason}")]
    Status {
        /// The address, without its query.
        object: String,
        /// The HTTP status.
        status: u16,
        /// What the registry says.
        reason: String,
    },
    /// A registry has no such manifest or blob.
    #[error("{object} does not exist")]
    NotFound {
        /// The address, without its query.
        object: String,
    },
    /// A registry wants other credentials, or more rights.
    #[error("access to {registry} is denied: {reason}")]
    Unauthorized {
        /// The registry.
        registry: String,
        /// What it says.
        reason: String,
    },
    /// A registry asks for something that is not done.
    #[error("{object} is refused: {reason}")]
    Refused {
        /// The address that it sends us to, without its query.
        object: String,
        /// Why it is not gone to.
        reason: &'static str,
    },
    /// An index has no image for a platform.
    #[error("{object} has no image for {platform}")]
    Platform {
        /// The index.
        object: Digest,
        /// The platform, `os/architecture`.
        platform: String,
    },
    /// A media type is not supported.
    #[error("{object} has the unsupported media type {media_type:?}")]
    MediaType {
        /// The descriptor's digest.
        object: Digest,
        /// Its media type.
        media_type: String,
    },
}

impl Error {
    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }

    /// True if the cause is a file system without room (`ENOSPC`, `EDQUOT`).
    pub fn is_disk_full(&self) -> bool {
        let (Self::Entry { source, .. }
        | Self::Read { source, .. }
        | Self::Write { source, .. }
        | Self::Io { source, .. }) = self
        else {
            return false;
        };
        matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
    }
}
