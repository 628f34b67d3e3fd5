use container_image::{Digest, Error as ImageError, Limits, Progress, Pull, Reference, Registry};

use crate::{Engine, Error};

/// What a pull did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pulled {
    /// The image's id.
    pub id: String,
    /// The digest that the registry has for the name: of a manifest or of an index.
    pub digest: Digest,
    /// False if the name stood for this image already.
    pub is_new: bool,
}

impl Engine {
    /// Fetches an image, unpacks it and gives it its name. Atomic: the name moves when everything is there.
    ///
    /// Talking to the registry blocks the calling thread, and `progress` is called from several.
    pub async fn pull_image(
        &self,
        registry: &Registry,
        name: &Reference,
        pull: &Pull,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<Pulled, Error> {
        let lease = self.images.lease()?;
        let (image, _) = registry.pull_unpacked(
            &self.images,
            &self.snapshots,
            name,
            pull,
            &Limits::default(),
            progress,
        )?;
        let before = match self.images.find(&name.to_string()) {
            Ok(named) => Some(named.image.descriptor.digest),
            Err(ImageError::ImageMissing(_)) => None,
            Err(error) => return Err(error.into()),
        };
        let digest = image.descriptor.digest.clone();
        self.images.tag(name, &image.descriptor)?;
        drop(lease);
        self.events.record("image", "pull", image.id.as_str(), &[("name", &name.familiar())])?;
        Ok(Pulled { id: image.id.to_string(), is_new: before.as_ref() != Some(&digest), digest })
    }

    /// Brings the image that has the name to the registry of that name, and returns the manifest's digest and its size in
    /// bytes. Blocks as [`pull_image`](Self::pull_image) does.
    pub async fn push_image(
        &self,
        registry: &Registry,
        name: &Reference,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<(Digest, u64), Error> {
        let _lease = self.images.lease()?;
        let named = self.images.find(&name.to_string())?;
        // what another repository of the same registry has need not be sent
        let from = named.names.iter().find(|other| other.domain() == name.domain() && *other != name);
        let digest = registry.push(&self.images, &named.image, name, from, progress)?;
        self.events.record("image", "push", named.image.id.as_str(), &[("name", &name.familiar())])?;
        Ok((digest, named.image.manifest_descriptor.size))
    }
}
