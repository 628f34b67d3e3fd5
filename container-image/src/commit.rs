use std::path::Path;

use serde_json::Value;

use crate::document::{History, ImageConfig, decode};
use crate::import::{architecture, encode};
use crate::pack::Pack;
use crate::{ContainerConfig, Descriptor, Diff, Error, Image, MediaType, Store};

/// What a new image is to say of itself.
#[derive(Debug, Clone, Default)]
pub struct Commit {
    /// How a container of it is run: usually the parent's, changed.
    pub config: ContainerConfig,
    /// When it was made, RFC 3339. The caller gives the time, so that the same input can give the same image.
    pub created: Option<String>,
    /// By which command, for its history.
    pub created_by: Option<String>,
    /// By whom.
    pub author: Option<String>,
    /// What the maker says of it, for its history.
    pub comment: Option<String>,
    /// How its layer is packed.
    pub pack: Pack,
}

/// A line of an image's history, with the layer that belongs to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step<'a> {
    /// How the layer came to be.
    pub history: &'a crate::History,
    /// The layer; none for a step that changed no file.
    pub layer: Option<&'a Descriptor>,
}

impl Image {
    /// The steps in which the image was made, the first one first. Layers beyond what the history tells of are left out.
    pub fn history(&self) -> Vec<Step<'_>> {
        let mut layers = self.manifest.layers.iter();
        let step = |history| {
            let layer = if history_is_empty(history) { None } else { layers.next() };
            Step { history, layer }
        };
        self.config.history.iter().map(step).collect()
    }
}

fn history_is_empty(history: &History) -> bool {
    history.empty_layer
}

impl Store {
    /// Makes an image of `parent` and a layer above it; without a parent, of the layer alone. A difference in which
    /// there is nothing becomes a line of the history and no layer.
    ///
    /// Atomic; the image has no name yet and is in no index: hold a [`lease`](Store::lease) until it is
    /// [`tag`](Store::tag)ged or [kept](Store::keep). What the parent's configuration says beyond what is known
    /// here, such as a health check, stays in the new one.
    pub fn commit(&self, parent: Option<&Image>, diff: &Diff, commit: Commit) -> Result<Image, Error> {
        let mut config = parent.map_or_else(
            || ImageConfig {
                architecture: architecture().to_owned(),
                os: "linux".to_owned(),
                ..ImageConfig::default()
            },
            |parent| parent.config.clone(),
        );
        let mut layers: Vec<Descriptor> =
            parent.map_or_else(Vec::new, |parent| parent.manifest.layers.iter().map(as_oci).collect());
        if !diff.is_empty() {
            let layer = self.pack(diff, &commit.pack)?;
            config.rootfs.diff_ids.push(layer.diff_id);
            layers.push(layer.descriptor);
        }
        config.config = commit.config;
        config.created.clone_from(&commit.created);
        config.author.clone_from(&commit.author);
        config.history.push(History {
            created: commit.created,
            created_by: commit.created_by,
            author: commit.author,
            comment: commit.comment,
            empty_layer: diff.is_empty(),
        });
        let bytes = match parent {
            Some(parent) => keep_unknown(&self.read_document(&parent.id)?, &parent.config, &config)?,
            None => encode("configuration", &config)?,
        };
        self.put_image_bytes(config, &bytes, layers)
    }

    /// Makes an image of one layer that holds what all layers of `image` show together. `layers` are their
    /// directories as [`Snapshots::unpack`](crate::Snapshots::unpack) returns them, the lowest first. Atomic, as
    /// [`commit`](Store::commit) is.
    pub fn flatten(&self, image: &Image, layers: &[impl AsRef<Path>], pack: Pack) -> Result<Image, Error> {
        let top_first: Vec<&Path> = layers.iter().rev().map(AsRef::as_ref).collect();
        let commit = Commit {
            config: image.config.config.clone(),
            created: image.config.created.clone(),
            author: image.config.author.clone(),
            pack,
            ..Commit::default()
        };
        self.commit(None, &Diff::of_layers(&top_first)?, commit)
    }
}

/// Docker's name of a layer's media type is no name in an OCI manifest.
pub(crate) fn as_oci(layer: &Descriptor) -> Descriptor {
    let media_type = match layer.media_type {
        MediaType::DockerLayer => MediaType::LayerTar,
        MediaType::DockerLayerGzip => MediaType::LayerTarGzip,
        MediaType::DockerLayerZstd => MediaType::LayerTarZstd,
        ref other => other.clone(),
    };
    Descriptor { media_type, ..layer.clone() }
}

/// The configuration `new` with the members of the document `old` that the types here do not have.
pub(crate) fn keep_unknown(old: &[u8], known: &ImageConfig, new: &ImageConfig) -> Result<Vec<u8>, Error> {
    let failed =
        |source| Error::Document { what: "configuration", object: "to be written".to_owned(), source };
    let old: Value = decode("configuration", "of the parent", old)?;
    let known = serde_json::to_value(known).map_err(failed)?;
    let mut new = serde_json::to_value(new).map_err(failed)?;
    let mut merge = |pointer: &str| {
        let (Some(old), Some(known)) = (old.pointer(pointer), known.pointer(pointer)) else { return };
        let (Some(old), Some(new)) =
            (old.as_object(), new.pointer_mut(pointer).and_then(Value::as_object_mut))
        else {
            return;
        };
        for (name, value) in old {
            if known.get(name).is_none() && is_foreign(name, value) {
                new.entry(name).or_insert_with(|| value.clone());
            }
        }
    };
    merge("");
    merge("/config");
    encode("configuration", &new)
}

/// True for a member that the types here do not know, and not one that they leave out because it is empty.
fn is_foreign(name: &str, value: &Value) -> bool {
    // the last two are Docker's record of the container of the last commit
    const KNOWN: [&str; 14] = [
        "User",
        "ExposedPorts",
        "Env",
        "Entrypoint",
        "Cmd",
        "Volumes",
        "WorkingDir",
        "Labels",
        "StopSignal",
        "created",
        "author",
        "history",
        "container",
        "container_config",
    ];
    !KNOWN.contains(&name) && !value.is_null()
}
