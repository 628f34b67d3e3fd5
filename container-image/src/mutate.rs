use std::collections::BTreeMap;

use crate::commit::{as_oci, keep_unknown};
use crate::document::Manifest;
use crate::{Descriptor, Error, History, Image, ImageConfig, Layer, MediaType, Store};

/// Images made of others without touching a layer. Each is atomic; the new image has no name yet and is in no index: hold
/// a [`lease`](Store::lease) until it is [`tag`](Store::tag)ged or [kept](Store::keep).
impl Store {
    /// `image` with further layers on top, the lowest first, each with a line of history.
    pub fn append(&self, image: &Image, layers: &[(Layer, History)]) -> Result<Image, Error> {
        let mut config = image.config.clone();
        let mut descriptors: Vec<Descriptor> = image.manifest.layers.iter().map(as_oci).collect();
        for (layer, history) in layers {
            config.rootfs.diff_ids.push(layer.diff_id.clone());
            config.history.push(History { empty_layer: false, ..history.clone() });
            descriptors.push(layer.descriptor.clone());
        }
        self.put_changed(image, config, descriptors)
    }

    /// `image`, which was made on `old`, as it would be on `new`: the layers and the history of `new`, then those that
    /// `image` has beyond `old`. How a container of it is run stays as it is.
    ///
    /// # Errors
    ///
    /// [`Error::Inconsistent`] if `image` does not begin with all layers and the whole history of `old`.
    pub fn rebase(&self, image: &Image, old: &Image, new: &Image) -> Result<Image, Error> {
        let (ids, base) = (&image.config.rootfs.diff_ids, &old.config.rootfs.diff_ids);
        if !ids.starts_with(base) || !image.config.history.starts_with(&old.config.history) {
            return Err(Error::Inconsistent {
                what: "image",
                object: image.id.to_string(),
                reason: format!("it was not made on {}", old.id),
            });
        }
        let mut config = image.config.clone();
        config.rootfs.diff_ids = [&new.config.rootfs.diff_ids, &ids[base.len()..]].concat();
        let own = image.config.history.iter().skip(old.config.history.len());
        config.history = new.config.history.iter().chain(own).cloned().collect();
        config.architecture.clone_from(&new.config.architecture);
        config.os.clone_from(&new.config.os);
        let own = image.manifest.layers.iter().skip(base.len());
        let layers = new.manifest.layers.iter().chain(own).map(as_oci).collect();
        self.put_changed(image, config, layers)
    }

    /// `image` with another configuration, as `change` leaves it; its layers are not for `change` to touch.
    ///
    /// # Errors
    ///
    /// [`Error::Inconsistent`] if the diff ids are other ones after it.
    pub fn reconfigure(&self, image: &Image, change: impl FnOnce(&mut ImageConfig)) -> Result<Image, Error> {
        let mut config = image.config.clone();
        change(&mut config);
        if config.rootfs != image.config.rootfs {
            return Err(Error::Inconsistent {
                what: "image",
                object: image.id.to_string(),
                reason: "its new configuration has other layers".to_owned(),
            });
        }
        self.put_changed(image, config, image.manifest.layers.iter().map(as_oci).collect())
    }

    /// `image` with other annotations of its manifest (OCI image specification, *Annotations*), as `change` leaves them.
    /// The image's id stays the same.
    pub fn annotate(
        &self,
        image: &Image,
        change: impl FnOnce(&mut BTreeMap<String, String>),
    ) -> Result<Image, Error> {
        let layers = image.manifest.layers.iter().map(as_oci).collect();
        let config = Descriptor { media_type: MediaType::ImageConfig, ..image.manifest.config.clone() };
        let annotations = image.manifest.annotations.clone();
        let mut manifest = Manifest { annotations, ..Manifest::new(config, layers) };
        change(&mut manifest.annotations);
        self.put_manifest(image.config.clone(), manifest)
    }

    /// What the old configuration says beyond what is known here stays, and so do the annotations.
    fn put_changed(&self, old: &Image, config: ImageConfig, layers: Vec<Descriptor>) -> Result<Image, Error> {
        let bytes = keep_unknown(&self.read_document(&old.id)?, &old.config, &config)?;
        let id = self.put_blob(&bytes)?;
        let descriptor = Descriptor::new(MediaType::ImageConfig, id, bytes.len() as u64);
        let annotations = old.manifest.annotations.clone();
        self.put_manifest(config, Manifest { annotations, ..Manifest::new(descriptor, layers) })
    }
}
