//! What builds keep for the next one.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use container_image::{
    Descriptor, Digest, Image, ImageConfig, Manifest, MediaType, RootFs, Store, remove_tree,
};
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use crate::Error;

/// A folder that keeps the results of steps, the folders of `RUN --mount=type=cache`, and builds' scratch space.
///
/// Any number of builds may use it at once. Everything appears by rename; what a killed build has left is
/// removed by [`BuildCache::sweep`]. Layers are kept as hard links beside an image store, so the folder must be on the
/// store's file system; the collector of the store never takes what the cache has.
#[derive(Debug, Clone)]
pub struct BuildCache {
    root: PathBuf,
}

/// What a prune freed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Steps that are forgotten.
    pub steps: usize,
    /// Bytes of layers and of cache mounts that went. A layer that an image has too still takes its place.
    pub bytes: u64,
}

/// A layer in the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StoredLayer {
    pub(crate) descriptor: Descriptor,
    pub(crate) diff_id: Digest,
}

/// What a step made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// The step's own key; the record may lie under others too.
    pub(crate) key: String,
    /// When, RFC 3339.
    pub(crate) created: String,
    /// The layer; none if no file changed.
    pub(crate) layer: Option<StoredLayer>,
    /// The diff ids of all layers, this one last.
    pub(crate) chain: Vec<Digest>,
}

/// Scratch space of one step. Dropping it removes it.
#[derive(Debug)]
pub(crate) struct Work {
    path: PathBuf,
    _lock: File,
}

impl BuildCache {
    /// Opens the folder, and makes it if it is not there. Idempotent.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self, Error> {
        use std::os::unix::fs::DirBuilderExt;
        let root = root.into();
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true).mode(0o700);
        for name in ["steps", "blobs", "mounts", "work"] {
            let path = root.join(name);
            builder.create(&path).map_err(Error::io("create", path))?;
        }
        let empty = root.join("empty");
        // the root of a step that begins with nothing looks like this
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(&empty)
            .map_err(Error::io("create", empty))?;
        Ok(Self { root })
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Images, without name or configuration, whose layers the cached steps stand on: what a collector of unpacked
    /// layers must leave ([`container_image::Snapshots::sweep`]).
    pub fn images(&self) -> Result<Vec<Image>, Error> {
        let mut images = Vec::new();
        for (_, path) in list(&self.root.join("steps"))? {
            if let Some(record) = read(&path) {
                images.push(chain_image(record.chain));
            }
        }
        Ok(images)
    }

    /// Scratch space of builds that were killed.
    pub fn abandoned(&self) -> Result<Vec<PathBuf>, Error> {
        let mut found = Vec::new();
        for (name, path) in list(&self.root.join("work"))? {
            if !name.contains('.') && lock(&path.with_extension("lock"), false)?.is_some() {
                found.push(path);
            }
        }
        Ok(found)
    }

    /// Removes what [`abandoned`](Self::abandoned) finds. Idempotent.
    pub fn sweep(&self) -> Result<(), Error> {
        for path in self.abandoned()? {
            let mark = path.with_extension("lock");
            let Some(_lock) = lock(&mark, false)? else { continue };
            remove_tree(&path).map_err(Error::io("remove", &path))?;
            remove_file(&mark)?;
        }
        for (_, path) in list(&self.root.join("work"))? {
            // a lock whose scratch space went, or was never made
            if is_lock(&path)
                && !path.with_extension("").exists()
                && let Some(_lock) = lock(&path, false)?
                && !path.with_extension("").exists()
            {
                remove_file(&path)?;
            }
        }
        Ok(())
    }

    /// Forgets every step and every cache mount that no build uses at this moment.
    pub fn prune(&self) -> Result<Pruned, Error> {
        self.sweep()?;
        let mut pruned = Pruned::default();
        for (_, path) in list(&self.root.join("steps"))? {
            remove_file(&path)?;
            pruned.steps += 1;
        }
        for (_, path) in list(&self.root.join("blobs"))? {
            pruned.bytes += fs::metadata(&path).map_or(0, |metadata| metadata.len());
            remove_file(&path)?;
        }
        for (_, path) in list(&self.root.join("mounts"))? {
            if is_lock(&path) {
                continue;
            }
            let mark = path.with_extension("lock");
            let Some(_lock) = lock(&mark, false)? else { continue };
            pruned.bytes += size(&path);
            remove_tree(&path).map_err(Error::io("remove", &path))?;
            remove_file(&mark)?;
        }
        remove_file(&self.root.join("facts"))?;
        Ok(pruned)
    }

    pub(crate) fn empty(&self) -> PathBuf {
        self.root.join("empty")
    }

    pub(crate) fn facts(&self) -> PathBuf {
        self.root.join("facts")
    }

    pub(crate) fn work(&self) -> Result<Work, Error> {
        let path = self.root.join("work").join(unique());
        let mark = path.with_extension("lock");
        let held =
            lock(&mark, true)?.ok_or_else(|| Error::io("lock", &mark)(io::ErrorKind::WouldBlock.into()))?;
        fs::create_dir(&path).map_err(Error::io("create", &path))?;
        Ok(Work { path, _lock: held })
    }

    /// What a step made, if its layer can still be had: the blob is brought back to the store if it went from there.
    pub(crate) fn find(&self, key: &str, store: &Store) -> Option<Record> {
        let record = read(&self.root.join("steps").join(key))?;
        if let Some(layer) = &record.layer {
            self.restore(&layer.descriptor.digest, store)?;
        }
        Some(record)
    }

    fn restore(&self, digest: &Digest, store: &Store) -> Option<()> {
        let kept = self.root.join("blobs").join(digest.hex());
        match fs::hard_link(&kept, store.blob_path(digest)) {
            Ok(()) => Some(()),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Some(()),
            Err(_) => store.has_blob(digest).then_some(()),
        }
    }

    pub(crate) fn keep(&self, key: &str, record: &Record, store: &Store) -> Result<(), Error> {
        if let Some(layer) = &record.layer {
            let kept = self.root.join("blobs").join(layer.descriptor.digest.hex());
            match fs::hard_link(store.blob_path(&layer.descriptor.digest), &kept) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                    return Err(Error::io("write", kept)(error));
                }
                _ => {}
            }
        }
        let path = self.root.join("steps").join(key);
        let bytes = serde_json::to_vec(record).map_err(|error| Error::io("write", &path)(error.into()))?;
        self.replace(&path, &bytes)
    }

    /// Writes a file by rename. Not synced: one that a power failure cut off cannot be read, and counts as not there.
    pub(crate) fn replace(&self, path: &Path, bytes: &[u8]) -> Result<(), Error> {
        let temporary = self.root.join("work").join(format!("{}.new", unique()));
        fs::write(&temporary, bytes)
            .and_then(|()| fs::rename(&temporary, path))
            .inspect_err(|_| drop(fs::remove_file(&temporary)))
            .map_err(Error::io("write", path))
    }

    /// The folder of a cache mount, and the lock that says that it is used. With `alone` nobody else may use it:
    /// then either this waits or, with `own`, another folder is taken.
    pub(crate) fn mount(&self, id: &str, alone: bool, own: bool) -> Result<(PathBuf, File, bool), Error> {
        let name = Digest::of(id.as_bytes()).hex().to_owned();
        for number in 0.. {
            let path = self.root.join("mounts").join(format!("{name}-{number}"));
            let mark = path.with_extension("lock");
            let held = if own {
                match lock(&mark, false)? {
                    Some(held) => held,
                    None => continue,
                }
            } else {
                wait_lock(&mark, alone)?
            };
            let is_new = !path.exists();
            if is_new {
                match fs::create_dir(&path) {
                    Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                        return Err(Error::io("create", path)(error));
                    }
                    _ => {}
                }
            }
            return Ok((path, held, is_new));
        }
        Err(Error::io("use", self.root.join("mounts"))(io::ErrorKind::Other.into()))
    }
}

impl Work {
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        // what cannot be removed now is swept later
        if remove_tree(&self.path).is_ok() {
            let _ = fs::remove_file(self.path.with_extension("lock"));
        }
    }
}

/// An image that has nothing but layers.
pub(crate) fn chain_image(diff_ids: Vec<Digest>) -> Image {
    let nothing = || Descriptor::new(MediaType::ImageConfig, Digest::of(b""), 0);
    let layers = diff_ids.iter().map(|id| Descriptor::new(MediaType::LayerTar, id.clone(), 0)).collect();
    Image {
        descriptor: nothing(),
        manifest_descriptor: nothing(),
        id: Digest::of(b""),
        manifest: Manifest::new(nothing(), layers),
        config: ImageConfig { rootfs: RootFs { diff_ids, ..RootFs::default() }, ..ImageConfig::default() },
    }
}

fn is_lock(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "lock")
}

fn read(path: &Path) -> Option<Record> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

fn list(directory: &Path) -> Result<Vec<(String, PathBuf)>, Error> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).map_err(Error::io("list", directory))? {
        let entry = entry.map_err(Error::io("list", directory))?;
        if let Ok(name) = entry.file_name().into_string() {
            found.push((name, entry.path()));
        }
    }
    Ok(found)
}

fn remove_file(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::io("remove", path)(error)),
        _ => Ok(()),
    }
}

/// A lock that nobody else has; none if somebody has it.
fn lock(path: &Path, new: bool) -> Result<Option<File>, Error> {
    let file = File::options()
        .create(true)
        .create_new(new)
        .truncate(false)
        .write(true)
        .open(path)
        .map_err(Error::io("open", path))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(file)),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(errno) => Err(Error::io("lock", path)(errno.into())),
    }
}

fn wait_lock(path: &Path, alone: bool) -> Result<File, Error> {
    use std::os::unix::fs::MetadataExt;
    let operation = if alone { FlockOperation::LockExclusive } else { FlockOperation::LockShared };
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
        // one that was pruned meanwhile protects nothing
        let own = file.metadata().map_err(Error::io("look at", path))?;
        if fs::metadata(path).is_ok_and(|now| (now.dev(), now.ino()) == (own.dev(), own.ino())) {
            return Ok(file);
        }
    }
}

pub(crate) fn unique() -> String {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let time = std::time::UNIX_EPOCH.elapsed().map_or(0, |elapsed| elapsed.as_nanos());
    format!("{}-{time:x}-{}", std::process::id(), COUNTER.fetch_add(1, Ordering::Relaxed))
}

/// Bytes of all files under a path, links not followed.
fn size(path: &Path) -> u64 {
    let mut bytes = 0;
    let mut open = vec![path.to_owned()];
    while let Some(path) = open.pop() {
        let Ok(metadata) = fs::symlink_metadata(&path) else { continue };
        if metadata.is_dir() {
            open.extend(fs::read_dir(&path).into_iter().flatten().flatten().map(|entry| entry.path()));
        } else {
            bytes += metadata.len();
        }
    }
    bytes
}
