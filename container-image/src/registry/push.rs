use super::address::{Origin, resolve};
use super::{Call, Payload, Progress, Registry, Response, is_passing, plain, refused, target};
use crate::{Descriptor, Digest, Error, Image, Reference, Store};

impl Registry {
    /// Brings an image to a registry under a name, and returns the manifest's digest there. Blobs that the registry has
    /// are not sent again; if `from` names another repository of the registry, it is asked to take them from there.
    /// Blobs go as they lie in the store, so nothing is packed again. The name appears when all the rest is there.
    ///
    /// # Errors
    ///
    /// [`Error::Unauthorized`], [`Error::Status`], [`Error::BlobMissing`].
    pub fn push(
        &self,
        store: &Store,
        image: &Image,
        reference: &Reference,
        from: Option<&Reference>,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<Digest, Error> {
        let from = from.filter(|from| from.domain() == reference.domain() && from.path() != reference.path());
        progress(Progress::Layers(image.manifest.layers.clone()));
        for blob in image.manifest.layers.iter().chain([&image.manifest.config]) {
            self.again(|| self.push_blob(store, blob, reference, from, progress))?;
        }
        let bytes = store.read_document(&image.manifest_descriptor.digest)?;
        let url = format!(
            "{}/v2/{}/manifests/{}",
            self.base(reference.domain()),
            reference.path(),
            // a manifest cannot be put under another digest
            if reference.digest().is_some() {
                image.manifest_descriptor.digest.to_string()
            } else {
                target(reference)
            }
        );
        let mut call = Call::new("PUT", url, "pull,push");
        call.headers.push(("content-type", image.manifest_descriptor.media_type.as_str().to_owned()));
        call.payload = Payload::Bytes(&bytes);
        self.again(|| self.expect(reference, &call, &[201, 200]))?;
        progress(Progress::Done(image.manifest_descriptor.digest.clone()));
        Ok(image.manifest_descriptor.digest.clone())
    }

    fn push_blob(
        &self,
        store: &Store,
        blob: &Descriptor,
        reference: &Reference,
        from: Option<&Reference>,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<(), Error> {
        let digest = &blob.digest;
        let base = self.base(reference.domain());
        let repository = format!("{base}/v2/{}", reference.path());
        let head = Call::new("HEAD", format!("{repository}/blobs/{digest}"), "pull,push");
        match self.expect(reference, &head, &[200]) {
            Ok(_) => {
                progress(Progress::Exists(digest.clone()));
                return Ok(());
            }
            Err(Error::NotFound { .. }) => {}
            Err(error) => return Err(error),
        }
        let mut start = format!("{repository}/blobs/uploads/");
        if let Some(from) = from {
            start = format!("{start}?mount={digest}&from={}", from.path());
        }
        let mut call = Call::new("POST", start.clone(), "pull,push");
        call.also = from.map(Reference::path);
        let response = self.expect(reference, &call, &[202, 201])?;
        if response.status == 201 {
            progress(Progress::Mounted(digest.clone()));
            return Ok(());
        }
        let home = Origin::of(&base).ok_or_else(|| refused(&base, "it is no address of a registry"))?;
        let url = next(&home, &start, &response)?;
        self.upload(store, blob, reference, &home, url, progress)?;
        progress(Progress::Done(digest.clone()));
        Ok(())
    }

    /// Sends a blob to the address of an upload that has begun: whole, or in pieces; and goes on where it broke off as far
    /// as the registry says it came (distribution specification, *Pushing a blob in chunks*).
    fn upload(
        &self,
        store: &Store,
        blob: &Descriptor,
        reference: &Reference,
        home: &Origin,
        mut url: String,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<(), Error> {
        let digest = &blob.digest;
        let moved = |done| progress(Progress::Moving { digest: digest.clone(), done, total: blob.size });
        let mut at = 0;
        let mut tried = 1;
        // in one piece only from the start, for then nothing must be told of where it goes
        let mut whole = blob.size <= self.chunk;
        loop {
            let sent = if whole || at == blob.size {
                self.put_last(store, blob, reference, &url, at, &moved).map(|()| None)
            } else {
                let length = self.chunk.min(blob.size - at);
                let mut patch = Call::new("PATCH", url.clone(), "pull,push");
                patch.headers.push(("content-type", "application/octet-stream".to_owned()));
                patch.headers.push(("content-range", format!("{at}-{}", at + length - 1)));
                patch.payload = Payload::Part(store, blob, at, length, &moved);
                let sent = self.expect(reference, &patch, &[202]);
                sent.and_then(|response| Ok(Some((next(home, &url, &response)?, at + length))))
            };
            match sent {
                Ok(None) => return Ok(()),
                Ok(Some(step)) => (url, at) = step,
                Err(error) if tried < self.attempts && is_passing(&error) => {
                    self.pause(tried);
                    tried += 1;
                    progress(Progress::Retrying { digest: digest.clone(), attempt: tried });
                    // a registry that does not know it any more begins anew, with whoever called
                    let Ok(step) = self.came_to(reference, home, &url) else { return Err(error) };
                    if step.1 > blob.size {
                        return Err(refused(&url, "it says it has more than was sent"));
                    }
                    (url, at) = step;
                    whole = false;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Where to go on, and how many bytes the registry has.
    fn came_to(&self, reference: &Reference, home: &Origin, url: &str) -> Result<(String, u64), Error> {
        let response = self.expect(reference, &Call::new("GET", url.to_owned(), "pull,push"), &[204, 202])?;
        let last =
            response.header("range").and_then(|range| range.rsplit_once('-')?.1.trim().parse::<u64>().ok());
        // `0-0` is what registries say of nothing as well as of one byte: then all of it goes again
        let at = last.filter(|last| *last > 0).map_or(0, |last| last.saturating_add(1));
        Ok((next(home, url, &response)?, at))
    }

    /// Ends an upload, with all of the blob or with nothing more.
    fn put_last(
        &self,
        store: &Store,
        blob: &Descriptor,
        reference: &Reference,
        url: &str,
        at: u64,
        moved: &(dyn Fn(u64) + Sync),
    ) -> Result<(), Error> {
        let digest = &blob.digest;
        let mark = if url.contains('?') { '&' } else { '?' };
        let mut put = Call::new("PUT", format!("{url}{mark}digest={digest}"), "pull,push");
        put.headers.push(("content-type", "application/octet-stream".to_owned()));
        put.payload = Payload::Part(store, blob, at, blob.size - at, moved);
        let response = self.expect(reference, &put, &[201, 204])?;
        match response.header("docker-content-digest").filter(|said| *said != digest.as_str()) {
            None => Ok(()),
            Some(other) => {
                let found = other.parse().map_err(|_| refused(&plain(url), "it answers with no digest"))?;
                Err(Error::DigestMismatch { expected: digest.clone(), found })
            }
        }
    }
}

/// The address at which an upload goes on, which must be one we may send to.
fn next(home: &Origin, url: &str, response: &Response) -> Result<String, Error> {
    let location = response.header("location").and_then(|location| resolve(url, location));
    let location = location.ok_or_else(|| refused(url, "it does not say where to send the blob"))?;
    let target = Origin::of(&location).ok_or_else(|| refused(&location, "it is neither http nor https"))?;
    match home.refuses(&target) {
        Some(reason) => Err(refused(&location, reason)),
        None => Ok(location),
    }
}
