use crate::{Descriptor, Digest, ImageConfig, Manifest};

/// One image in a store: its manifest and its configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// What names point to: the manifest's descriptor, or that of the index it was chosen from.
    pub descriptor: Descriptor,
    /// The manifest's descriptor.
    pub manifest_descriptor: Descriptor,
    /// The image's id: the digest of its configuration.
    pub id: Digest,
    /// The manifest.
    pub manifest: Manifest,
    /// The configuration.
    pub config: ImageConfig,
}

impl Image {
    /// The layers, lowest first: where each lies as a blob, and the digest of its uncompressed archive.
    pub fn layers(&self) -> impl Iterator<Item = (&Descriptor, &Digest)> {
        self.manifest.layers.iter().zip(&self.config.rootfs.diff_ids)
    }

    /// Bytes of all layers as they lie in the store.
    pub fn stored_size(&self) -> u64 {
        self.manifest.layers.iter().map(|layer| layer.size).fold(0, u64::saturating_add)
    }
}
