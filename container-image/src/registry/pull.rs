use std::collections::HashSet;
use std::io::{Read, Write};
use std::sync::Mutex;
use std::sync::PoisonError;

use super::{Call, Paced, Progress, Registry, is_passing, plain, refused, target};
use crate::document::{Index, Manifest, decode};
use crate::{BlobWriter, Descriptor, Error, Image, Platform, Reference, Store};

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
        let (top, mut bytes) = self.manifest(reference, &target(reference), None)?;
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
                self.manifest(reference, manifest.digest.as_str(), Some(&manifest))?.1
            };
            store.put_blob(&bytes)?;
        }
        let parsed: Manifest = decode("manifest", &manifest.digest, &bytes)?;
        if let Some(foreign) = parsed.layers.iter().find(|layer| !layer.media_type.is_layer()) {
            let media_type = foreign.media_type.as_str().to_owned();
            return Err(Error::MediaType { object: foreign.digest.clone(), media_type });
        }
        progress(Progress::Layers(parsed.layers.clone()));
        let mut seen = HashSet::new();
        let blobs = std::iter::once(&parsed.config).chain(&parsed.layers);
        let queue: Vec<&Descriptor> = blobs.filter(|blob| seen.insert(&blob.digest)).rev().collect();
        self.fetch_all(store, reference, queue, pull.threads, progress)?;
        store.image_for(&top, &pull.platform)
    }

    fn fetch_all(
        &self,
        store: &Store,
        reference: &Reference,
        queue: Vec<&Descriptor>,
        threads: usize,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<(), Error> {
        let queue = Mutex::new(queue);
        let failure = Mutex::new(None);
        std::thread::scope(|scope| {
            for _ in 0..threads.clamp(1, 16) {
                scope.spawn(|| {
                    loop {
                        let next = queue.lock().unwrap_or_else(PoisonError::into_inner).pop();
                        let Some(blob) = next else { return };
                        if let Err(error) = self.fetch(store, reference, blob, progress) {
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
    ) -> Result<(), Error> {
        let digest = &blob.digest;
        if store.has_blob(digest) {
            progress(Progress::Exists(digest.clone()));
            return Ok(());
        }
        let url = format!("{}/v2/{}/blobs/{digest}", self.base(reference.domain()), reference.path());
        let mut writer = store.blob_writer()?;
        let mut tried = 1;
        loop {
            match self.fetch_part(store, reference, &url, blob, &mut writer, progress) {
                Ok(()) => break,
                Err(error) if tried < self.attempts && is_passing(&error) => {
                    self.pause(tried);
                    tried += 1;
                    progress(Progress::Retrying { digest: digest.clone(), attempt: tried });
                }
                Err(error) => return Err(error),
            }
        }
        writer.commit(Some(blob))?;
        progress(Progress::Done(digest.clone()));
        Ok(())
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
            *writer = store.blob_writer()?;
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

/// Start and whole size of `bytes 10-19/20`, if it reaches to the end.
fn content_range(value: &str) -> Option<(u64, u64)> {
    let (range, size) = value.trim().strip_prefix("bytes ")?.split_once('/')?;
    let (start, end) = range.split_once('-')?;
    let (start, end, size): (u64, u64, u64) = (start.parse().ok()?, end.parse().ok()?, size.parse().ok()?);
    (end.checked_add(1) == Some(size)).then_some((start, size))
}
