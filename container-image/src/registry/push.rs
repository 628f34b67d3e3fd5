use super::address::{Origin, resolve};
use super::{Call, Payload, Progress, Registry, plain, refused, target};
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
        let location = response.header("location").and_then(|location| resolve(&start, location));
        let mut url = location.ok_or_else(|| refused(&start, "it does not say where to send the blob"))?;
        let (home, target) = (Origin::of(&base), Origin::of(&url));
        match (home, target) {
            (Some(home), Some(target)) => {
                if let Some(reason) = home.refuses(&target) {
                    return Err(refused(&url, reason));
                }
            }
            _ => return Err(refused(&url, "it is neither http nor https")),
        }
        url.push(if url.contains('?') { '&' } else { '?' });
        url = url + "digest=" + digest.as_str();
        let moved = |done| {
            progress(Progress::Moving { digest: digest.clone(), done, total: blob.size });
        };
        let mut put = Call::new("PUT", url, "pull,push");
        put.headers.push(("content-type", "application/octet-stream".to_owned()));
        put.payload = Payload::Blob(store, blob, &moved);
        let response = self.expect(reference, &put, &[201, 204])?;
        if let Some(other) = response.header("docker-content-digest").filter(|said| *said != digest.as_str())
        {
            let found = other.parse().map_err(|_| refused(&plain(&put.url), "it answers with no digest"))?;
            return Err(Error::DigestMismatch { expected: digest.clone(), found });
        }
        progress(Progress::Done(digest.clone()));
        Ok(())
    }
}
