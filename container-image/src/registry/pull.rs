use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::sync::{Condvar, Mutex, PoisonError};

use super::{Call, Paced, Progress, Registry, is_passing, plain, refused, target};
use crate::document::{Index, Manifest, decode};
use crate::{BlobWriter, Descriptor, Digest, Error, Image, Limits, Platform, Reference, Snapshots, Store};

/// What is to be fetched, and how.
#[derive(Debug, Clone)]
pub struct Pull {
    /// For which platform.
    pub platform: Platform,
    /// How many blobs come at once.
    pub threads: usize,
}

impl Default for Pull {
    fn default() -> Self {
        Self { platform: Platform::host(), threads: 2 }
    }
}

impl Registry {
    /// Fetches an image into the store: what the store has is not fetched again, and everything is verified while it
    /// streams. The image gets no name here: [`tag`](Store::tag) it, and hold a [`lease`](Store::lease) from before.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`], [`Error::Unauthorized`], [`Error::Platform`]; [`Error::DigestMismatch`] and
    /// [`Error::SizeMismatch`] for a registry that lies; [`Error::MediaType`] for layers that are to come from elsewhere,
    /// whose addresses are never asked.
    pub fn pull(
        &self,
        store: &Store,
        reference: &Reference,
        pull: &Pull,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<Image, Error> {
        let (top, parsed) = self.begin(store, reference, pull, progress)?;
        let queue = std::iter::once(&parsed.config).chain(&parsed.layers).collect();
        self.fetch_all(store, reference, queue, pull.threads, progress, &|_, _| Ok(()))?;
        store.image_for(&top, &pull.platform)
    }

    /// The same, and unpacks each layer as soon as it has come. Returns the directories, too, the lowest first.
    pub fn pull_unpacked(
        &self,
        store: &Store,
        snapshots: &Snapshots,
        reference: &Reference,
        pull: &Pull,
        limits: &Limits,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<(Image, Vec<PathBuf>), Error> {
        let (top, parsed) = self.begin(store, reference, pull, progress)?;
        self.fetch(store, reference, &parsed.config, progress, &|_, _| Ok(()))?;
        let image = store.image_for(&top, &pull.platform)?;
        let arrivals = Arrivals::default();
        let unpacked = std::thread::scope(|scope| {
            let queue = parsed.layers.iter().collect();
            let fetching = scope.spawn(|| {
                let arrived = |layer: &Descriptor, blob: File| {
                    arrivals.add(&layer.digest, blob);
                    Ok(())
                };
                let fetched = self.fetch_all(store, reference, queue, pull.threads, progress, &arrived);
                arrivals.end();
                fetched
            });
            let arrive = |layer: &Descriptor| match arrivals.wait(&layer.digest) {
                Some(blob) => blob.map_err(Error::io("open", store.blob_path(&layer.digest))),
                None => Err(Error::BlobMissing(layer.digest.clone())),
            };
            let done = |layer: &Descriptor| progress(Progress::Unpacked(layer.digest.clone()));
            let unpacked = snapshots.unpack_as_they_come(&image, limits, &arrive, &done);
            let fetched = fetching.join().unwrap_or_else(|_| {
                let source = std::io::ErrorKind::Other.into();
                Err(Error::Read { object: "the registry".to_owned(), source })
            });
            // that a blob never came is only what follows from this
            fetched.and(unpacked)
        })?;
        Ok((image, unpacked))
    }

    /// Fetches and stores what says of which blobs the image consists.
    fn begin(
        &self,
        store: &Store,
        reference: &Reference,
        pull: &Pull,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<(Descriptor, Manifest), Error> {
        let sources = self.sources(reference, reference.digest().is_none())?;
        let (top, mut bytes) = first(&sources, |source| self.manifest(source, &target(source), None))?;
        progress(Progress::Resolved(top.clone()));
        store.put_blob(&bytes)?;
        let mut manifest = top.clone();
        if top.media_type.is_index() {
            let index: Index = decode("index", &top.digest, &bytes)?;
            let platform =
                || Error::Platform { object: top.digest.clone(), platform: pull.platform.to_string() };
            manifest = index.choose(&pull.platform).first().copied().cloned().ok_or_else(platform)?;
            bytes = if store.has_blob(&manifest.digest) {
                store.read_document(&manifest.digest)?
            } else {
                let sources = self.sources(reference, false)?;
                first(&sources, |source| self.manifest(source, manifest.digest.as_str(), Some(&manifest)))?.1
            };
            store.put_blob(&bytes)?;
        }
        let parsed: Manifest = decode("manifest", &manifest.digest, &bytes)?;
        if let Some(foreign) = parsed.layers.iter().find(|layer| !layer.media_type.is_layer()) {
            let media_type = foreign.media_type.as_str().to_owned();
            return Err(Error::MediaType { object: foreign.digest.clone(), media_type });
        }
        progress(Progress::Layers(parsed.layers.clone()));
        Ok((top, parsed))
    }

    /// Fetches blobs, the first one first, and hands on each that is there and verified.
    fn fetch_all(
        &self,
        store: &Store,
        reference: &Reference,
        mut queue: Vec<&Descriptor>,
        threads: usize,
        progress: &(dyn Fn(Progress) + Sync),
        arrived: &Arrived<'_>,
    ) -> Result<(), Error> {
        let mut seen = HashSet::new();
        queue.retain(|blob| seen.insert(&blob.digest));
        queue.reverse();
        let queue = Mutex::new(queue);
        let failure = Mutex::new(None);
        std::thread::scope(|scope| {
            for _ in 0..threads.clamp(1, 16) {
                scope.spawn(|| {
                    loop {
                        let next = queue.lock().unwrap_or_else(PoisonError::into_inner).pop();
                        let Some(blob) = next else { return };
                        if let Err(error) = self.fetch(store, reference, blob, progress, arrived) {
                            // nobody begins another one; the first error is the one to report
                            queue.lock().unwrap_or_else(PoisonError::into_inner).clear();
                            failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                            return;
                        }
                    }
                });
            }
        });
        failure.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
    }

    /// Fetches one blob, going on where an attempt broke off.
    fn fetch(
        &self,
        store: &Store,
        reference: &Reference,
        blob: &Descriptor,
        progress: &(dyn Fn(Progress) + Sync),
        arrived: &Arrived<'_>,
    ) -> Result<(), Error> {
        let digest = &blob.digest;
        if store.has_blob(digest) {
            progress(Progress::Exists(digest.clone()));
            return arrived(blob, store.open_blob(digest)?);
        }
        let Some(mut writer) = BlobWriter::resume(store, blob)? else {
            progress(Progress::Exists(digest.clone()));
            return arrived(blob, store.open_blob(digest)?);
        };
        let sources = self.sources(reference, false)?;
        let fetched = first(&sources, |source| self.fetch_from(store, source, blob, &mut writer, progress));
        if let Err(error) = fetched {
            if !is_passing(&error) {
                writer.discard();
            }
            return Err(error);
        }
        // it can be worked on while the disk takes it
        arrived(blob, writer.reader()?)?;
        writer.commit(Some(blob))?;
        progress(Progress::Done(digest.clone()));
        Ok(())
    }

    /// What is missing of a blob, from one server.
    fn fetch_from(
        &self,
        store: &Store,
        source: &Reference,
        blob: &Descriptor,
        writer: &mut BlobWriter,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<(), Error> {
        let digest = &blob.digest;
        let url = format!("{}/v2/{}/blobs/{digest}", self.base(source.domain()), source.path());
        let mut resumed = writer.length() > 0;
        let mut tried = 1;
        loop {
            let came = if writer.length() == blob.size {
                Ok(())
            } else {
                self.fetch_part(store, source, &url, blob, writer, progress)
            };
            match came.and_then(|()| writer.verify(Some(blob))) {
                Ok(_) => return Ok(()),
                // what an earlier process or another server left may be wrong
                Err(Error::DigestMismatch { .. } | Error::SizeMismatch { .. }) if resumed => {
                    resumed = false;
                    writer.restart()?;
                }
                Err(error) if tried < self.attempts && is_passing(&error) => {
                    self.pause(tried);
                    tried += 1;
                    progress(Progress::Retrying { digest: digest.clone(), attempt: tried });
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn fetch_part(
        &self,
        store: &Store,
        reference: &Reference,
        url: &str,
        blob: &Descriptor,
        writer: &mut BlobWriter,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<(), Error> {
        let offset = writer.length();
        let mut call = Call::new("GET", url.to_owned(), "pull");
        if offset > 0 {
            call.headers.push(("range", format!("bytes={offset}-")));
        }
        let response = self.expect(reference, &call, &[200, 206])?;
        if response.status == 206 {
            let range = response.header("content-range").and_then(content_range);
            if range != Some((offset, blob.size)) {
                return Err(refused(url, "it answers with another range than was asked for"));
            }
        } else if offset > 0 {
            // it knows no ranges: from the start
            writer.restart()?;
        }
        let mut body = Paced::new(response.body, self.stall);
        let mut buffer = vec![0; 128 << 10];
        loop {
            let failed = |source| Error::Transport { object: plain(url), source };
            let count = match body.read(&mut buffer) {
                Ok(count) => count,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(failed(error)),
            };
            let done = writer.length() + count as u64;
            if done > blob.size {
                let digest = blob.digest.clone();
                return Err(Error::SizeMismatch { digest, expected: blob.size, found: done });
            }
            if count == 0 {
                if done < blob.size {
                    return Err(failed(std::io::ErrorKind::UnexpectedEof.into()));
                }
                return Ok(());
            }
            writer.write_all(&buffer[..count]).map_err(Error::io("write a blob in", store.root()))?;
            progress(Progress::Moving { digest: blob.digest.clone(), done, total: blob.size });
        }
    }
}

/// What the first server gives that has it; the last one's error if none does.
fn first<T>(sources: &[Reference], mut ask: impl FnMut(&Reference) -> Result<T, Error>) -> Result<T, Error> {
    let Some((last, mirrors)) = sources.split_last() else {
        return Err(Error::NotFound { object: "a registry to ask".to_owned() });
    };
    for mirror in mirrors {
        match ask(mirror) {
            // a disk that is full does not get better with another server
            Err(error @ (Error::Io { .. } | Error::Limit { .. })) => return Err(error),
            Err(_) => {}
            answer => return answer,
        }
    }
    ask(last)
}

/// Is handed each blob that is verified, to be read from its start.
type Arrived<'a> = dyn Fn(&Descriptor, File) -> Result<(), Error> + Sync + 'a;

/// Blobs that have come and wait to be unpacked.
#[derive(Default)]
struct Arrivals {
    /// And whether no more will come.
    state: Mutex<(HashMap<Digest, File>, bool)>,
    changed: Condvar,
}

impl Arrivals {
    fn add(&self, digest: &Digest, blob: File) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).0.insert(digest.clone(), blob);
        self.changed.notify_all();
    }

    fn end(&self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).1 = true;
        self.changed.notify_all();
    }

    /// Waits until the blob is there; none if it will never be.
    fn wait(&self, digest: &Digest) -> Option<io::Result<File>> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let coming =
            |(there, ended): &mut (HashMap<Digest, File>, bool)| !*ended && !there.contains_key(digest);
        let state = self.changed.wait_while(state, coming).unwrap_or_else(PoisonError::into_inner);
        // an image may have one layer several times: each reader has a position of its own
        state.0.get(digest).map(|blob| File::open(format!("/proc/self/fd/{}", blob.as_raw_fd())))
    }
}

/// Start and whole size of `bytes 10-19/20`, if it reaches to the end.
fn content_range(value: &str) -> Option<(u64, u64)> {
    let (range, size) = value.trim().strip_prefix("bytes ")?.split_once('/')?;
    let (start, end) = range.split_once('-')?;
    let (start, end, size): (u64, u64, u64) = (start.parse().ok()?, end.parse().ok()?, size.parse().ok()?);
    (end.checked_add(1) == Some(size)).then_some((start, size))
}
