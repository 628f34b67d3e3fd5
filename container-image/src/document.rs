#![allow(
    clippy::zero_sized_map_values,
    reason = "the documents have maps to empty objects where a set is meant"
)]

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Digest, Error};

/// Documents larger than this are refused unread: 4 MiB, what registries accept for a manifest.
pub const MAX_DOCUMENT: u64 = 4 << 20;

/// A reference to content by digest (OCI image specification, *Descriptor*).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// The content's media type.
    pub media_type: MediaType,
    /// The content's digest.
    pub digest: Digest,
    /// The content's size in bytes.
    pub size: u64,
    /// Further facts, such as the reference name in an index.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// For which platform the content is, in an index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// What kind of thing the content describes, where it is no image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
}

impl Descriptor {
    /// A descriptor without annotations.
    pub fn new(media_type: MediaType, digest: Digest, size: u64) -> Self {
        Self { media_type, digest, size, annotations: BTreeMap::new(), platform: None, artifact_type: None }
    }
}

/// A platform of an index entry (OCI image specification, *Image Index*).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Platform {
    /// The processor, in Go's words: `amd64`, `arm64`.
    pub architecture: String,
    /// The system: `linux`.
    pub os: String,
    /// The variant of the processor: `v7`, `v8`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

/// A media type of the OCI image specification, or of Docker's schema 2.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
#[non_exhaustive]
pub enum MediaType {
    /// `application/vnd.oci.image.index.v1+json`
    ImageIndex,
    /// `application/vnd.oci.image.manifest.v1+json`
    ImageManifest,
    /// `application/vnd.oci.image.config.v1+json`
    ImageConfig,
    /// `application/vnd.oci.image.layer.v1.tar`
    LayerTar,
    /// `application/vnd.oci.image.layer.v1.tar+gzip`
    LayerTarGzip,
    /// `application/vnd.oci.image.layer.v1.tar+zstd`
    LayerTarZstd,
    /// `application/vnd.docker.distribution.manifest.list.v2+json`
    DockerManifestList,
    /// `application/vnd.docker.distribution.manifest.v2+json`
    DockerManifest,
    /// `application/vnd.docker.container.image.v1+json`
    DockerConfig,
    /// `application/vnd.docker.image.rootfs.diff.tar`
    DockerLayer,
    /// `application/vnd.docker.image.rootfs.diff.tar.gzip`
    DockerLayerGzip,
    /// `application/vnd.docker.image.rootfs.diff.tar.zstd`
    DockerLayerZstd,
    /// Any other, as it is written.
    Unknown(String),
}

const MEDIA_TYPES: [(&str, MediaType); 12] = [
    ("application/vnd.oci.image.index.v1+json", MediaType::ImageIndex),
    ("application/vnd.oci.image.manifest.v1+json", MediaType::ImageManifest),
    ("application/vnd.oci.image.config.v1+json", MediaType::ImageConfig),
    ("application/vnd.oci.image.layer.v1.tar", MediaType::LayerTar),
    ("application/vnd.oci.image.layer.v1.tar+gzip", MediaType::LayerTarGzip),
    ("application/vnd.oci.image.layer.v1.tar+zstd", MediaType::LayerTarZstd),
    ("application/vnd.docker.distribution.manifest.list.v2+json", MediaType::DockerManifestList),
    ("application/vnd.docker.distribution.manifest.v2+json", MediaType::DockerManifest),
    ("application/vnd.docker.container.image.v1+json", MediaType::DockerConfig),
    ("application/vnd.docker.image.rootfs.diff.tar", MediaType::DockerLayer),
    ("application/vnd.docker.image.rootfs.diff.tar.gzip", MediaType::DockerLayerGzip),
    ("application/vnd.docker.image.rootfs.diff.tar.zstd", MediaType::DockerLayerZstd),
];

impl MediaType {
    /// The media type as documents write it.
    pub fn as_str(&self) -> &str {
        if let Self::Unknown(text) = self {
            return text;
        }
        MEDIA_TYPES.iter().find(|(_, known)| known == self).map_or("", |(text, _)| text)
    }

    /// True for a layer: a tar archive, compressed or not.
    pub fn is_layer(&self) -> bool {
        matches!(
            self,
            Self::LayerTar
                | Self::LayerTarGzip
                | Self::LayerTarZstd
                | Self::DockerLayer
                | Self::DockerLayerGzip
                | Self::DockerLayerZstd
        )
    }

    /// True for an index of manifests.
    pub fn is_index(&self) -> bool {
        matches!(self, Self::ImageIndex | Self::DockerManifestList)
    }

    /// True for a manifest of one image.
    pub fn is_manifest(&self) -> bool {
        matches!(self, Self::ImageManifest | Self::DockerManifest)
    }
}

impl From<String> for MediaType {
    fn from(text: String) -> Self {
        MEDIA_TYPES
            .iter()
            .find(|(known, _)| *known == text)
            .map_or_else(|| Self::Unknown(text), |(_, known)| known.clone())
    }
}

impl From<MediaType> for String {
    fn from(media_type: MediaType) -> Self {
        match media_type {
            MediaType::Unknown(text) => text,
            known => known.as_str().to_owned(),
        }
    }
}

/// The manifest of one image (OCI image specification, *Image Manifest*).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// Always 2.
    pub schema_version: u32,
    /// What this document is.
    #[serde(default = "manifest_media_type")]
    pub media_type: MediaType,
    /// The configuration.
    pub config: Descriptor,
    /// The layers, lowest first.
    pub layers: Vec<Descriptor>,
    /// Further facts.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

impl Manifest {
    /// An OCI manifest without annotations.
    pub fn new(config: Descriptor, layers: Vec<Descriptor>) -> Self {
        Self {
            schema_version: 2,
            media_type: MediaType::ImageManifest,
            config,
            layers,
            annotations: BTreeMap::new(),
        }
    }
}

fn manifest_media_type() -> MediaType {
    MediaType::ImageManifest
}

/// An index of manifests (OCI image specification, *Image Index*).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    /// Always 2.
    pub schema_version: u32,
    /// What this document is.
    #[serde(default = "index_media_type")]
    pub media_type: MediaType,
    /// What it lists.
    #[serde(default)]
    pub manifests: Vec<Descriptor>,
    /// Further facts.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

fn index_media_type() -> MediaType {
    MediaType::ImageIndex
}

impl Default for Index {
    fn default() -> Self {
        Self {
            schema_version: 2,
            media_type: MediaType::ImageIndex,
            manifests: Vec::new(),
            annotations: BTreeMap::new(),
        }
    }
}

/// An image's configuration (OCI image specification, *Image Configuration*). The digest of its bytes is
/// the image's id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct ImageConfig {
    /// When it was made, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// Who made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// The processor, in Go's words.
    #[serde(default)]
    pub architecture: String,
    /// The system.
    #[serde(default)]
    pub os: String,
    /// How a container of it is run.
    #[serde(default)]
    pub config: ContainerConfig,
    /// The layers' diff ids.
    pub rootfs: RootFs,
    /// How each layer came to be.
    #[serde(default)]
    pub history: Vec<History>,
}

/// How a container of an image is run: the `config` of an [`ImageConfig`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
pub struct ContainerConfig {
    /// User and group: `user`, `uid`, `user:group`.
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "null_is_default")]
    pub user: String,
    /// Ports the service listens on, `80/tcp`; the values are empty objects.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "null_is_default")]
    pub exposed_ports: BTreeMap<String, Empty>,
    /// `NAME=value` each.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_is_default")]
    pub env: Vec<String>,
    /// The first words of the command.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entrypoint: Option<Vec<String>>,
    /// Default arguments, or the whole command.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cmd: Option<Vec<String>>,
    /// Where data outlives a container; the values are empty objects.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "null_is_default")]
    pub volumes: BTreeMap<String, Empty>,
    /// The working directory.
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "null_is_default")]
    pub working_dir: String,
    /// Labels.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "null_is_default")]
    pub labels: BTreeMap<String, String>,
    /// The signal that asks the container to stop, `SIGTERM` or a number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_signal: Option<String>,
    /// How the container is asked whether it is well. Docker's; the OCI specification has it not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<Healthcheck>,
    /// Instructions for a build that begins with this image. Docker's.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_is_default")]
    pub on_build: Vec<String>,
    /// What the shell form of commands is given to. Docker's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shell: Option<Vec<String>>,
}

/// Docker's health check of an image. Times are nanoseconds; 0 is the default of whoever runs it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
pub struct Healthcheck {
    /// `NONE`; `CMD` and a command; `CMD-SHELL` and a line for the shell; nothing for what the image below has.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_is_default")]
    pub test: Vec<String>,
    /// From one check to the next.
    #[serde(skip_serializing_if = "is_zero")]
    pub interval: u64,
    /// How long a check may take.
    #[serde(skip_serializing_if = "is_zero")]
    pub timeout: u64,
    /// Failures in this time after the start do not count.
    #[serde(skip_serializing_if = "is_zero")]
    pub start_period: u64,
    /// From one check to the next within that time.
    #[serde(skip_serializing_if = "is_zero")]
    pub start_interval: u64,
    /// So many failures in a row make a container unhealthy.
    #[serde(skip_serializing_if = "is_zero_count")]
    pub retries: u32,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde gives the field")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde gives the field")]
fn is_zero_count(number: &u32) -> bool {
    *number == 0
}

/// The empty object `{}` that stands for "a member of this set".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct Empty {}

fn null_is_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// The layers of an image, as diff ids, lowest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootFs {
    /// Always `layers`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Digests of the uncompressed layers.
    pub diff_ids: Vec<Digest>,
}

impl Default for RootFs {
    fn default() -> Self {
        Self { kind: "layers".to_owned(), diff_ids: Vec::new() }
    }
}

/// How a layer came to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct History {
    /// When, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// By which command.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_by: Option<String>,
    /// By whom.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// What the maker said of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// True if the step changed no file, so no layer belongs to it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub empty_layer: bool,
}

/// The chain id of a layer: the digest that names it together with all below it (OCI image
/// specification, *Layer ChainID*).
pub(crate) fn chain_id(below: Option<&Digest>, diff_id: &Digest) -> Digest {
    below.map_or_else(|| diff_id.clone(), |below| Digest::of(format!("{below} {diff_id}").as_bytes()))
}

/// What tells a manifest and an index apart.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Probe {
    schema_version: Option<u32>,
    media_type: Option<MediaType>,
    manifests: Option<serde::de::IgnoredAny>,
    layers: Option<serde::de::IgnoredAny>,
    config: Option<serde::de::IgnoredAny>,
}

/// Refuses a document that others could take for something else than its descriptor says: a manifest and an index in
/// one (CVE-2021-41190), another media type inside, or Docker's schema 1.
pub(crate) fn check_kind(expected: &MediaType, digest: &Digest, bytes: &[u8]) -> Result<(), Error> {
    let probe: Probe = decode("document", digest, bytes)?;
    let refuse =
        |reason: String| Err(Error::Inconsistent { what: "document", object: digest.to_string(), reason });
    match probe.schema_version {
        Some(2) => {}
        Some(1) => return refuse("it is of Docker's schema 1, which nobody can verify".to_owned()),
        _ => return refuse("its schemaVersion is not 2".to_owned()),
    }
    if let Some(own) = probe.media_type.filter(|own| own != expected) {
        return refuse(format!("it says it is {:?}, its descriptor {:?}", own.as_str(), expected.as_str()));
    }
    let is_index = probe.manifests.is_some();
    let is_manifest = probe.layers.is_some() || probe.config.is_some();
    match (expected.is_index(), is_index, is_manifest) {
        (_, true, true) => refuse("it is a manifest and an index at once".to_owned()),
        (true, false, _) | (false, true, _) => {
            refuse(format!("it is not what its descriptor says, {:?}", expected.as_str()))
        }
        _ => Ok(()),
    }
}

/// What a document in the store consists of: an index's manifests, a manifest's configuration and layers.
pub(crate) fn parts(store: &crate::Store, descriptor: &Descriptor) -> Result<Vec<Descriptor>, Error> {
    let digest = &descriptor.digest;
    if descriptor.media_type.is_index() {
        let bytes = store.read_document(digest)?;
        check_kind(&descriptor.media_type, digest, &bytes)?;
        return Ok(decode::<Index>("index", digest, &bytes)?.manifests);
    }
    if descriptor.media_type.is_manifest() {
        let bytes = store.read_document(digest)?;
        check_kind(&descriptor.media_type, digest, &bytes)?;
        let manifest: Manifest = decode("manifest", digest, &bytes)?;
        return Ok(std::iter::once(manifest.config).chain(manifest.layers).collect());
    }
    Ok(Vec::new())
}

pub(crate) fn decode<T: serde::de::DeserializeOwned>(
    what: &'static str,
    object: impl std::fmt::Display,
    bytes: &[u8],
) -> Result<T, Error> {
    serde_json::from_slice(bytes).map_err(|source| Error::Document {
        what,
        object: object.to_string(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_id_is_made_as_the_specification_says() {
        let (a, b) = (Digest::of(b"a"), Digest::of(b"b"));
        assert_eq!(chain_id(None, &a), a);
        assert_eq!(chain_id(Some(&a), &b), Digest::of(format!("{a} {b}").as_bytes()));
    }

    #[test]
    fn a_config_with_null_lists_reads_as_docker_writes_it() {
        let text = r#"{"architecture":"amd64","os":"linux","config":{"Env":null,"Cmd":["sh"],"Volumes":null,"Labels":null},
            "rootfs":{"type":"layers","diff_ids":[]},"history":[]}"#;
        let config: ImageConfig = decode("configuration", "x", text.as_bytes()).unwrap();
        assert_eq!(config.config.cmd, Some(vec!["sh".to_owned()]));
        assert!(config.config.env.is_empty());
    }
}
