use std::io::Read;

use container_image::{Import, Named, Reference};

use crate::containers::decode;
use crate::{Engine, Error, short_id};

/// What the removal of an image did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RemovedImage {
    /// Names that were taken away.
    pub untagged: Vec<Reference>,
    /// The image's id, if it is gone.
    pub deleted: Option<String>,
}

impl Engine {
    /// Makes an image of an archive of a root file system (tar, plain or packed by gzip or zstd), and gives it a name
    /// if there is one. Returns its id. Atomic.
    ///
    /// Reading and unpacking block the calling thread: give it one of its own where that matters.
    pub async fn import_image(
        &self,
        archive: impl Read + Send,
        name: Option<&Reference>,
        import: Import,
    ) -> Result<String, Error> {
        let lease = self.images.lease()?;
        let image = self.images.import(archive, import)?;
        // unpacked at once: what cannot be is no image to keep
        self.snapshots.unpack(&self.images, &image, &container_image::Limits::default())?;
        match name {
            Some(name) => self.images.tag(name, &image.descriptor)?,
            None => self.images.keep(&image.descriptor)?,
        }
        drop(lease);
        let name = name.map(Reference::familiar).unwrap_or_default();
        self.events.record("image", "import", image.id.as_str(), &[("name", &name)])?;
        Ok(image.id.to_string())
    }

    /// All images, in the order in which they came.
    pub async fn images(&self) -> Result<Vec<Named>, Error> {
        Ok(self.images.images()?)
    }

    /// One image, by name, id, or the first digits of its id.
    pub async fn image(&self, text: &str) -> Result<Named, Error> {
        Ok(self.images.find(text)?)
    }

    /// Gives an image one more name. Idempotent.
    pub async fn tag_image(&self, image: &str, name: &Reference) -> Result<(), Error> {
        let named = self.images.find(image)?;
        self.images.tag(name, &named.image.descriptor)?;
        self.events.record("image", "tag", named.image.id.as_str(), &[("name", &name.familiar())])
    }

    /// Takes a name away, or an image with all its names if it is given by its id; with the last name the image
    /// goes, and all of it that no other image needs.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`] if a container uses it, or if it has several names and is given by its id; with `force`
    /// only a container that runs counts.
    pub async fn remove_image(&self, text: &str, force: bool) -> Result<RemovedImage, Error> {
        let named = self.images.find(text)?;
        let image = &named.image;
        let by_name = text.parse::<Reference>().ok().filter(|name| named.names.contains(name));
        let mut removed = RemovedImage::default();
        if let Some(name) = &by_name
            && named.names.len() > 1
        {
            self.images.remove_name(name)?;
            removed.untagged.push(name.clone());
            self.events.record("image", "untag", image.id.as_str(), &[("name", &name.familiar())])?;
            return Ok(removed);
        }
        if by_name.is_none() && named.names.len() > 1 && !force {
            return Err(Error::setting(
                "image",
                text,
                "it has several names: force its removal, or remove them by name",
            ));
        }
        let rows = self.database().containers()?;
        for row in rows {
            if row.image_id == image.id.as_str() && (!force || self.is_running(&row.id)?) {
                let reason = format!(
                    "container {} ({}) uses it",
                    decode(&row)?.name.unwrap_or_default(),
                    short_id(&row.id)
                );
                return Err(Error::setting("image", text, reason));
            }
        }
        self.images.remove_image(image)?;
        removed.untagged.clone_from(&named.names);
        removed.deleted = Some(image.id.to_string());
        self.events.record("image", "delete", image.id.as_str(), &[])?;
        self.sweep_images()?;
        Ok(removed)
    }

    /// Frees what no image needs, unless somebody is adding one.
    pub(crate) fn sweep_images(&self) -> Result<(), Error> {
        // held to the end: who adds an image now may count on a layer that is about to go
        if let Some(sweeping) = self.images.sweeping()? {
            sweeping.free()?;
            let mut kept: Vec<_> = self.images.images()?.into_iter().map(|named| named.image).collect();
            kept.extend(self.cached_layers()?);
            self.snapshots.sweep(&kept)?;
        }
        Ok(())
    }
}
