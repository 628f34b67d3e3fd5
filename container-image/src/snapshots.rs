use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::mpsc;

use rustix::fs::FlockOperation;

use crate::compression::decompress;
use crate::digest::Hasher;
use crate::document::chain_id;
use crate::store::{lock_file, sync_parent, unique_name};
use crate::tree::remove_tree;
use crate::{Applied, Descriptor, Digest, Error, Image, Limits, Store, apply};

/// Bytes that pass between the thread that inflates and the one that makes files.
const CHUNK: usize = 256 << 10;

/// Unpacked layers on disk, each once, ready to be lower directories of an overlay.
///
/// A layer lies under the hexadecimal digits of its chain id, which names it together with all layers below it.
/// It appears by rename when it is whole and on disk; processes that want the same layer do the work once.
#[derive(Debug, Clone)]
pub struct Snapshots {
    root: PathBuf,
}

impl Snapshots {
    /// Uses the directory `root`, which is made if it is not there.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self, Error> {
        let root = root.into();
        for directory in [root.clone(), root.join(INCOMING)] {
            fs::create_dir_all(&directory).map_err(Error::io("create", directory))?;
        }
        Ok(Self { root })
    }

    /// The directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Unpacks all layers of `image` that are not there yet, and returns their directories, the lowest first.
    /// Idempotent; each layer is atomic.
    ///
    /// # Errors
    ///
    /// [`Error::DigestMismatch`] if a layer is not what the configuration promised; nothing of it is left.
    pub fn unpack(&self, store: &Store, image: &Image, limits: &Limits) -> Result<Vec<PathBuf>, Error> {
        let mut paths: Vec<PathBuf> = Vec::new();
        let mut chain = None;
        for (layer, diff_id) in image.layers() {
            let id = chain_id(chain.as_ref(), diff_id);
            let path = self.path(&id);
            if !path.exists() {
                self.unpack_layer(store, layer, diff_id, &path, &paths, limits)?;
            }
            paths.push(path);
            chain = Some(id);
        }
        Ok(paths)
    }

    /// Directories of the layers of `image`, the lowest first; none if one is not unpacked.
    pub fn layers(&self, image: &Image) -> Option<Vec<PathBuf>> {
        let paths: Vec<_> = chain(image).iter().map(|id| self.path(id)).collect();
        paths.iter().all(|path| path.exists()).then_some(paths)
    }

    /// Removes every layer that none of `images` has, and what unpacking that was killed has left.
    /// Returns how many layers went. Idempotent.
    pub fn sweep(&self, images: &[Image]) -> Result<usize, Error> {
        let keep: Vec<String> = images.iter().flat_map(chain).map(|id| id.hex().to_owned()).collect();
        let mut removed = 0;
        for name in list(&self.root)? {
            if name == INCOMING || name.contains('.') || keep.contains(&name) {
                continue;
            }
            let Some(_lock) = self.try_lock(&name)? else { continue };
            // out of sight first, so that a kill in the middle leaves no layer half there
            let aside = self.root.join(INCOMING).join(unique_name());
            fs::rename(self.root.join(&name), &aside).map_err(Error::io("remove", self.root.join(&name)))?;
            remove_tree(&aside).map_err(Error::io("remove", &aside))?;
            let lock = self.root.join(format!("{name}.lock"));
            fs::remove_file(&lock).map_err(Error::io("remove", lock))?;
            removed += 1;
        }
        for path in self.abandoned()? {
            remove_tree(&path).map_err(Error::io("remove", &path))?;
            let lock = path.with_extension("lock");
            match fs::remove_file(&lock) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(Error::io("remove", lock)(error));
                }
                _ => {}
            }
        }
        Ok(removed)
    }

    /// Half-made trees whose maker is gone.
    pub fn abandoned(&self) -> Result<Vec<PathBuf>, Error> {
        let incoming = self.root.join(INCOMING);
        let mut found = Vec::new();
        for name in list(&incoming)? {
            if name.contains('.') {
                continue;
            }
            let path = incoming.join(&name);
            match lock_file(&path.with_extension("lock"), FlockOperation::NonBlockingLockExclusive) {
                Ok(_) => found.push(path),
                Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    }

    fn path(&self, chain_id: &Digest) -> PathBuf {
        self.root.join(chain_id.hex())
    }

    fn try_lock(&self, name: &str) -> Result<Option<File>, Error> {
        match lock_file(&self.root.join(format!("{name}.lock")), FlockOperation::NonBlockingLockExclusive) {
            Ok(lock) => Ok(Some(lock)),
            Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn unpack_layer(
        &self,
        store: &Store,
        layer: &Descriptor,
        diff_id: &Digest,
        path: &Path,
        below: &[PathBuf],
        limits: &Limits,
    ) -> Result<(), Error> {
        if !layer.media_type.is_layer() {
            let media_type = layer.media_type.as_str().to_owned();
            return Err(Error::MediaType { object: layer.digest.clone(), media_type });
        }
        let _lock = lock_file(&path.with_extension("lock"), FlockOperation::LockExclusive)?;
        if path.exists() {
            return Ok(());
        }
        let temporary = self.root.join(INCOMING).join(unique_name());
        let marker = temporary.with_extension("lock");
        let _alive = lock_file(&marker, FlockOperation::LockExclusive)?;
        let made = unpack_into(store, layer, diff_id, &temporary, below, limits).and_then(|_| {
            let file = File::open(&temporary).map_err(Error::io("open", &temporary))?;
            rustix::fs::syncfs(&file).map_err(|errno| Error::io("sync", &temporary)(errno.into()))?;
            fs::rename(&temporary, path).and_then(|()| sync_parent(path)).map_err(Error::io("write", path))
        });
        if made.is_err() {
            // the first error is the one to report
            let _ = remove_tree(&temporary);
        }
        let _ = fs::remove_file(&marker);
        made
    }
}

/// The chain ids of an image's layers, the lowest first.
fn chain(image: &Image) -> Vec<Digest> {
    let mut ids: Vec<Digest> = Vec::new();
    for diff_id in &image.config.rootfs.diff_ids {
        ids.push(chain_id(ids.last(), diff_id));
    }
    ids
}

/// Unpacks a layer into the new directory `target` and verifies what it was.
fn unpack_into(
    store: &Store,
    layer: &Descriptor,
    diff_id: &Digest,
    target: &Path,
    below: &[PathBuf],
    limits: &Limits,
) -> Result<Applied, Error> {
    fs::create_dir(target).map_err(Error::io("create", target))?;
    let blob = BufReader::with_capacity(CHUNK, store.open_blob(&layer.digest)?);
    let below: Vec<&PathBuf> = below.iter().rev().collect();
    let (applied, found) =
        beside(decompress(blob)?, diff_id, |archive| apply(archive, target, &below, limits))?;
    if found == *diff_id {
        Ok(applied)
    } else {
        Err(Error::DigestMismatch { expected: diff_id.clone(), found })
    }
}

const INCOMING: &str = "incoming";

fn list(directory: &Path) -> Result<Vec<String>, Error> {
    let entries = fs::read_dir(directory).map_err(Error::io("list", directory))?;
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(Error::io("list", directory))?;
        names.extend(entry.file_name().into_string());
    }
    Ok(names)
}

/// Reads and hashes `input` in a thread of its own while `consume` works on what has been read.
fn beside<T>(
    mut input: Box<dyn Read + Send + '_>,
    like: &Digest,
    consume: impl FnOnce(ChunkReader) -> Result<T, Error>,
) -> Result<(T, Digest), Error> {
    let (sender, receiver) = mpsc::sync_channel::<io::Result<Vec<u8>>>(8);
    let mut hasher = Hasher::new(like.algorithm());
    std::thread::scope(|scope| {
        let reader = scope.spawn(move || {
            loop {
                let mut chunk = vec![0; CHUNK];
                match fill(&mut input, &mut chunk) {
                    Ok(0) => return hasher.finish(),
                    Ok(count) => {
                        chunk.truncate(count);
                        hasher.update(&chunk);
                        // the consumer went away with an error of its own
                        if sender.send(Ok(chunk)).is_err() {
                            return hasher.finish();
                        }
                    }
                    Err(error) => {
                        let _ = sender.send(Err(error));
                        return hasher.finish();
                    }
                }
            }
        });
        let consumed = consume(ChunkReader { receiver, chunk: Vec::new(), at: 0 });
        let digest = reader.join().map_err(|_| Error::Read {
            object: "the archive".to_owned(),
            source: io::ErrorKind::Other.into(),
        })?;
        Ok((consumed?, digest))
    })
}

/// Reads until `buffer` is full or the input ends.
fn fill(input: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match input.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

struct ChunkReader {
    receiver: mpsc::Receiver<io::Result<Vec<u8>>>,
    chunk: Vec<u8>,
    at: usize,
}

impl Read for ChunkReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.at == self.chunk.len() {
            match self.receiver.recv() {
                Ok(chunk) => (self.chunk, self.at) = (chunk?, 0),
                Err(mpsc::RecvError) => return Ok(0),
            }
        }
        let count = buffer.len().min(self.chunk.len() - self.at);
        buffer[..count].copy_from_slice(&self.chunk[self.at..self.at + count]);
        self.at += count;
        Ok(count)
    }
}
