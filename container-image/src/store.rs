use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use crate::blob::BlobWriter;
use crate::document::{Index, MAX_DOCUMENT, check_kind, decode};
use crate::{Descriptor, Digest, Error, Image, ImageConfig, Manifest, Platform};

const LAYOUT: &str = "oci-layout";
const LAYOUT_VERSION: &str = "1.0.0";
pub(crate) const INCOMING: &str = "incoming";

/// A directory that holds images: an OCI image layout, as the *OCI Image Layout Specification* 1.0.0
/// describes it, which skopeo, umoci and crane read as it is.
///
/// Several processes may use one store at once. Content enters through a file under `incoming/`, is
/// verified while it streams, and appears under `blobs/` by rename; a blob that does not match its
/// digest is never visible. Names are in `index.json`, which is replaced whole under a lock.
#[derive(Debug, Clone)]
pub struct Store {
    root: PathBuf,
}

/// A hold on the store's content: while one is kept, no blob is removed by [`Store::sweep`].
///
/// Everything that adds blobs before it names them needs one. Dropping it lets go.
#[derive(Debug)]
pub struct Lease {
    _lock: File,
}

impl Store {
    /// Opens the store at `root`, and makes it if it is not there. Idempotent.
    ///
    /// # Errors
    ///
    /// [`Error::LayoutVersion`] if the directory holds something else.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self, Error> {
        let root = root.into();
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true).mode(0o700);
        for directory in ["blobs/sha256", INCOMING] {
            let path = root.join(directory);
            builder.create(&path).map_err(Error::io("create", path))?;
        }
        let store = Self { root };
        let marker = store.root.join(LAYOUT);
        match fs::read_to_string(&marker) {
            Ok(text) => {
                let found = serde_json::from_str::<serde_json::Value>(&text)
                    .ok()
                    .and_then(|value| Some(value.get("imageLayoutVersion")?.as_str()?.to_owned()))
                    .unwrap_or(text);
                if found != LAYOUT_VERSION {
                    return Err(Error::LayoutVersion {
                        path: store.root,
                        found: found.chars().take(100).collect(),
                    });
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                store.write_json(LAYOUT, &serde_json::json!({ "imageLayoutVersion": LAYOUT_VERSION }))?;
            }
            Err(error) => return Err(Error::io("read", marker)(error)),
        }
        Ok(store)
    }

    /// The store's directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Keeps [`Store::sweep`] away while content is being added. Waits while a sweep is under way.
    pub fn lease(&self) -> Result<Lease, Error> {
        let lock = self.open_lock("sweep.lock", FlockOperation::LockShared)?;
        Ok(Lease { _lock: lock })
    }

    /// The lock that [`Store::sweep`] holds; none if somebody has a lease.
    pub(crate) fn sweep_lock(&self) -> Result<Option<File>, Error> {
        match self.open_lock("sweep.lock", FlockOperation::NonBlockingLockExclusive) {
            Ok(lock) => Ok(Some(lock)),
            Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(crate) fn open_lock(&self, name: &str, operation: FlockOperation) -> Result<File, Error> {
        lock_file(&self.root.join(name), operation)
    }

    /// Where a blob lies, whether it is there or not.
    pub fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.root.join("blobs").join(digest.algorithm().name()).join(digest.hex())
    }

    /// Opens a blob for reading.
    ///
    /// # Errors
    ///
    /// [`Error::BlobMissing`]
    pub fn open_blob(&self, digest: &Digest) -> Result<File, Error> {
        let path = self.blob_path(digest);
        File::open(&path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Error::BlobMissing(digest.clone()),
            _ => Error::io("open", path)(error),
        })
    }

    /// True if the blob is in the store.
    pub fn has_blob(&self, digest: &Digest) -> bool {
        self.blob_path(digest).exists()
    }

    /// Begins a new blob. Nothing is visible until [`BlobWriter::commit`].
    pub fn blob_writer(&self) -> Result<BlobWriter, Error> {
        BlobWriter::create(self)
    }

    /// Adds `bytes` as a blob, durably, and returns its digest. Idempotent and atomic.
    pub fn put_blob(&self, bytes: &[u8]) -> Result<Digest, Error> {
        let mut writer = self.blob_writer()?;
        io::Write::write_all(&mut writer, bytes).map_err(Error::io("write a blob in", &self.root))?;
        Ok(writer.commit(None)?.0)
    }

    /// Reads a document (manifest, index, configuration) whole and verifies its digest.
    ///
    /// # Errors
    ///
    /// [`Error::SizeMismatch`] for one beyond 4 MiB, [`Error::DigestMismatch`] for a damaged one.
    pub fn read_document(&self, digest: &Digest) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::new();
        self.open_blob(digest)?
            .take(MAX_DOCUMENT + 1)
            .read_to_end(&mut bytes)
            .map_err(Error::io("read", self.blob_path(digest)))?;
        let found = bytes.len() as u64;
        if found > MAX_DOCUMENT {
            return Err(Error::SizeMismatch { digest: digest.clone(), expected: MAX_DOCUMENT, found });
        }
        let mut hasher = crate::digest::Hasher::new(digest.algorithm());
        hasher.update(&bytes);
        let found = hasher.finish();
        if found == *digest {
            Ok(bytes)
        } else {
            Err(Error::DigestMismatch { expected: digest.clone(), found })
        }
    }

    /// Reads the image that a descriptor names: the manifest and its configuration. Of an index, the best manifest
    /// for this machine's platform that is in the store.
    ///
    /// # Errors
    ///
    /// [`Error::Inconsistent`] if layers and diff ids do not match in number, or the document is not what its
    /// descriptor says; [`Error::MediaType`] if the descriptor is of neither; [`Error::Platform`] if the index has
    /// nothing for this platform.
    pub fn image(&self, descriptor: &Descriptor) -> Result<Image, Error> {
        self.image_for(descriptor, &Platform::host())
    }

    /// The same for another platform.
    pub fn image_for(&self, descriptor: &Descriptor, platform: &Platform) -> Result<Image, Error> {
        if descriptor.media_type.is_index() {
            let digest = &descriptor.digest;
            let bytes = self.read_document(digest)?;
            check_kind(&descriptor.media_type, digest, &bytes)?;
            let index: Index = decode("index", digest, &bytes)?;
            let present = |entry: &&Descriptor| self.has_blob(&entry.digest);
            let manifest = index
                .choose(platform)
                .into_iter()
                .find(present)
                // what was asked for by name when it came is what there is
                .or_else(|| index.manifests.iter().find(|m| m.media_type.is_manifest() && present(m)))
                .ok_or_else(|| Error::Platform { object: digest.clone(), platform: platform.to_string() })?;
            let manifest = Descriptor { annotations: BTreeMap::new(), platform: None, ..manifest.clone() };
            return Ok(Image { descriptor: descriptor.clone(), ..self.manifest_image(&manifest)? });
        }
        self.manifest_image(descriptor)
    }

    fn manifest_image(&self, descriptor: &Descriptor) -> Result<Image, Error> {
        let digest = &descriptor.digest;
        if !descriptor.media_type.is_manifest() {
            let media_type = descriptor.media_type.as_str().to_owned();
            return Err(Error::MediaType { object: digest.clone(), media_type });
        }
        let bytes = self.read_document(digest)?;
        check_kind(&descriptor.media_type, digest, &bytes)?;
        let manifest: Manifest = decode("manifest", digest, &bytes)?;
        let id = manifest.config.digest.clone();
        let config: ImageConfig = decode("configuration", &id, &self.read_document(&id)?)?;
        if manifest.layers.len() != config.rootfs.diff_ids.len() {
            return Err(Error::Inconsistent {
                what: "image",
                object: digest.to_string(),
                reason: format!(
                    "the manifest has {} layers, the configuration {} diff ids",
                    manifest.layers.len(),
                    config.rootfs.diff_ids.len()
                ),
            });
        }
        let descriptor = descriptor.clone();
        Ok(Image { manifest_descriptor: descriptor.clone(), descriptor, id, manifest, config })
    }

    /// Replaces a JSON file of the layout, durably.
    pub(crate) fn write_json(&self, name: &str, value: &impl serde::Serialize) -> Result<(), Error> {
        let path = self.root.join(name);
        let bytes = serde_json::to_vec(value).map_err(|source| Error::Document {
            what: "layout file",
            object: path.display().to_string(),
            source,
        })?;
        replace_file(&self.root.join(INCOMING), &path, &bytes)
    }
}

/// Opens `path`, made if it is missing, and locks it. A lock file that was removed while this waited for it
/// protects nothing any more, so the new one is taken.
pub(crate) fn lock_file(path: &Path, operation: FlockOperation) -> Result<File, Error> {
    loop {
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path)
            .map_err(Error::io("open", path))?;
        match flock(&file, operation) {
            Ok(()) => {}
            Err(rustix::io::Errno::INTR) => continue,
            Err(errno) => return Err(Error::io("lock", path)(errno.into())),
        }
        let own = file.metadata().map_err(Error::io("look at", path))?;
        if fs::metadata(path).is_ok_and(|current| (current.dev(), current.ino()) == (own.dev(), own.ino())) {
            return Ok(file);
        }
    }
}

/// Writes `bytes` to a file in `incoming`, syncs it, and renames it to `path`.
pub(crate) fn replace_file(incoming: &Path, path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let temporary = incoming.join(unique_name());
    let written = fs::write(&temporary, bytes)
        .and_then(|()| File::open(&temporary)?.sync_all())
        .and_then(|()| fs::rename(&temporary, path))
        .and_then(|()| sync_parent(path));
    if written.is_err() {
        // the first error is the one to report
        let _ = fs::remove_file(&temporary);
    }
    written.map_err(Error::io("write", path))
}

pub(crate) fn sync_parent(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), |parent| File::open(parent)?.sync_all())
}

/// A name nobody else uses: process, time and a counter.
pub(crate) fn unique_name() -> String {
    use std::sync::atomic::{AtomicU64, Ordering};
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let time = std::time::UNIX_EPOCH.elapsed().map_or(0, |elapsed| elapsed.as_nanos());
    format!("{}-{time:x}-{}", std::process::id(), COUNTER.fetch_add(1, Ordering::Relaxed))
}
