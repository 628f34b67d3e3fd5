use std::fs::{self, File};
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, PoisonError};

use rustix::fs::FlockOperation;

use crate::apply::{Form, apply_buffered};
use crate::below::Below;
use crate::beside::{CHUNK, beside};
use crate::compression::decompress;
use crate::document::chain_id;
use crate::fresh;
use crate::store::{lock_file, unique_name};
use crate::tree::remove_tree;
use crate::{Applied, Descriptor, Digest, Error, Image, Limits, Store};

/// So many layers of an image are unpacked side by side at most; each takes two threads.
const SIDE_BY_SIDE: usize = 4;

/// Unpacked layers on disk, each once, ready to be lower directories of an overlay.
///
/// A layer lies under the hexadecimal digits of its chain id, which names it together with all layers below it.
/// It appears by rename when it is whole; processes that want the same layer do the work once.
///
/// Nothing waits for the disk: all of it can be made again of the blobs, which are safe there. Until the kernel has
/// written everything a mark beside the layer names the boot it was unpacked in; after a power failure, the next
/// [`unpack`](Self::unpack) does it anew.
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
    /// Layers are unpacked side by side. Idempotent; each layer is atomic.
    ///
    /// # Errors
    ///
    /// [`Error::DigestMismatch`] if a layer is not what the configuration promised; nothing of it is left.
    pub fn unpack(&self, store: &Store, image: &Image, limits: &Limits) -> Result<Vec<PathBuf>, Error> {
        self.unpack_as_they_come(image, limits, &|layer| store.open_blob(&layer.digest), &|_| {})
    }

    /// The same while the layers are still on their way into a store: `arrive` returns when the blob is there, and `done`
    /// is told of each layer that is unpacked by then.
    pub(crate) fn unpack_as_they_come(
        &self,
        image: &Image,
        limits: &Limits,
        arrive: &(dyn Fn(&Descriptor) -> Result<File, Error> + Sync),
        done: &(dyn Fn(&Descriptor) + Sync),
    ) -> Result<Vec<PathBuf>, Error> {
        let mut chain = None;
        let mut jobs: Vec<Job<'_>> = Vec::new();
        for (layer, diff_id) in image.layers() {
            let id = chain_id(chain.as_ref(), diff_id);
            jobs.push(Job { layer, diff_id, path: self.path(&id) });
            chain = Some(id);
        }
        let paths: Vec<PathBuf> = jobs.iter().map(|job| job.path.clone()).collect();
        let missing = jobs.iter().filter(|job| !fresh::is_there(&job.path)).count();
        if missing == 0 {
            fresh::settle(&self.root, fresh::WRITTEN_BY_THEN)?;
            for job in &jobs {
                done(job.layer);
            }
            return Ok(paths);
        }
        let states = States::default();
        let work = || {
            // the lowest first: whoever waits for a layer below waits for one that somebody has begun
            while let Some(index) = states.begin(jobs.len()) {
                let lower = || {
                    if !states.wait(index) {
                        return Err(io::Error::other("a layer below cannot be unpacked"));
                    }
                    Ok(paths[..index].iter().rev().cloned().collect())
                };
                let job = &jobs[index];
                let made = if fresh::is_there(&job.path) {
                    Ok(())
                } else {
                    arrive(job.layer)
                        .and_then(|blob| self.unpack_layer(blob, job, Below::later(lower), limits))
                };
                if made.is_ok() {
                    done(job.layer);
                }
                states.end(index, made);
            }
        };
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        std::thread::scope(|scope| {
            for _ in 1..missing.min(cores).min(SIDE_BY_SIDE) {
                scope.spawn(work);
            }
            work();
        });
        states.outcome().map(|()| paths)
    }

    /// Directories of the layers of `image`, the lowest first; none if one is not unpacked.
    pub fn layers(&self, image: &Image) -> Option<Vec<PathBuf>> {
        let paths: Vec<_> = chain(image).iter().map(|id| self.path(id)).collect();
        paths.iter().all(|path| fresh::is_there(path)).then_some(paths)
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
            self.put_away(&self.root.join(&name))?;
            fresh::forget(&self.root.join(&name))?;
            let lock = self.root.join(format!("{name}.lock"));
            fs::remove_file(&lock).map_err(Error::io("remove", lock))?;
            removed += 1;
        }
        for path in self.abandoned()? {
            remove_tree(&path).map_err(Error::io("remove", &path))?;
        }
        for directory in [&self.root, &self.root.join(INCOMING)] {
            remove_orphans(directory)?;
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

    fn put_away(&self, path: &Path) -> Result<(), Error> {
        // out of sight first, so that a kill in the middle leaves no layer half there
        let aside = self.root.join(INCOMING).join(unique_name());
        fs::rename(path, &aside).map_err(Error::io("remove", path))?;
        remove_tree(&aside).map_err(Error::io("remove", &aside))
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

    fn unpack_layer<'a>(
        &self,
        blob: File,
        job: &Job<'_>,
        below: Below<'a>,
        limits: &'a Limits,
    ) -> Result<(), Error> {
        let Job { layer, diff_id, path } = job;
        if !layer.media_type.is_layer() {
            let media_type = layer.media_type.as_str().to_owned();
            return Err(Error::MediaType { object: layer.digest.clone(), media_type });
        }
        let _lock = lock_file(&path.with_extension("lock"), FlockOperation::LockExclusive)?;
        if fresh::is_there(path) {
            return Ok(());
        }
        if path.exists() {
            // unpacked before the machine went down, and perhaps not all of it was written
            self.put_away(path)?;
        }
        let temporary = self.root.join(INCOMING).join(unique_name());
        let marker = temporary.with_extension("lock");
        let _alive = lock_file(&marker, FlockOperation::LockExclusive)?;
        let made = unpack_into(blob, diff_id, &temporary, below, limits).and_then(|_| {
            fresh::mark(path)?;
            fs::rename(&temporary, path).map_err(Error::io("write", path))
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

/// A layer that is to be unpacked.
struct Job<'a> {
    layer: &'a Descriptor,
    diff_id: &'a Digest,
    path: PathBuf,
}

/// How far the layers of one image are.
#[derive(Default)]
struct States {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    begun: usize,
    /// A place for each layer that was begun: none while it is worked on, then whether it is there.
    ended: Vec<Option<bool>>,
    /// The first failure of the lowest layer that has one.
    failure: Option<(usize, Error)>,
}

impl States {
    /// The next layer to work on; none when all are begun or one has failed.
    fn begin(&self, count: usize) -> Option<usize> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.begun == count || state.failure.is_some() {
            return None;
        }
        state.begun += 1;
        state.ended.push(None);
        Some(state.begun - 1)
    }

    fn end(&self, index: usize, made: Result<(), Error>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(ended) = state.ended.get_mut(index) {
            *ended = Some(made.is_ok());
        }
        if let Err(error) = made
            && state.failure.as_ref().is_none_or(|(other, _)| index < *other)
        {
            state.failure = Some((index, error));
        }
        self.changed.notify_all();
    }

    /// Waits until all layers below are there; false if one will never be.
    fn wait(&self, index: usize) -> bool {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let working = |state: &mut State| {
            let below = &state.ended[..index];
            !below.contains(&Some(false)) && below.contains(&None)
        };
        let state = self.changed.wait_while(state, working).unwrap_or_else(PoisonError::into_inner);
        state.ended[..index].iter().all(|ended| *ended == Some(true))
    }

    fn outcome(self) -> Result<(), Error> {
        let state = self.state.into_inner().unwrap_or_else(PoisonError::into_inner);
        state.failure.map_or(Ok(()), |(_, error)| Err(error))
    }
}

/// Unpacks a layer into the new directory `target` and verifies what it was.
fn unpack_into<'a>(
    blob: File,
    diff_id: &Digest,
    target: &Path,
    below: Below<'a>,
    limits: &'a Limits,
) -> Result<Applied, Error> {
    fs::create_dir(target).map_err(Error::io("create", target))?;
    let blob = BufReader::with_capacity(CHUNK, blob);
    let (applied, found) = beside(decompress(blob)?, diff_id, |archive| {
        apply_buffered(archive, target, Form::Overlay, below, limits)
    })?;
    if found == *diff_id {
        Ok(applied)
    } else {
        Err(Error::DigestMismatch { expected: diff_id.clone(), found })
    }
}

/// Removes locks and marks beside which no layer is, unless somebody holds the lock: they are about to make it.
fn remove_orphans(directory: &Path) -> Result<(), Error> {
    for name in list(directory)? {
        let path = directory.join(&name);
        if path.extension().is_none() || path.with_extension("").exists() {
            continue;
        }
        let lock = path.with_extension("lock");
        let Ok(_lock) = lock_file(&lock, FlockOperation::NonBlockingLockExclusive) else { continue };
        if path.with_extension("").exists() {
            continue;
        }
        fresh::forget(&path)?;
        fs::remove_file(&lock).map_err(Error::io("remove", lock))?;
    }
    Ok(())
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
