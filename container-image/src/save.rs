use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufWriter, Read, Write};

use serde::Serialize;

use crate::import::encode;
use crate::tar::{Entry, Kind, Writer};
use crate::{Descriptor, Digest, Error, Index, Named, Store};

/// The annotation by which containerd and Docker name an image in a layout's index.
pub(crate) const IMAGE_NAME: &str = "io.containerd.image.name";
/// The annotation of the OCI image specification.
pub(crate) const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// An entry of Docker's `manifest.json`.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Item {
    config: String,
    repo_tags: Vec<String>,
    layers: Vec<String>,
}

impl Store {
    /// Writes images with their names as an archive, as `docker save` of version 25 and later does: an OCI image
    /// layout that also holds Docker's `manifest.json` and `repositories`. Every blob is in it once, as it lies in
    /// the store, and the same images give the same bytes.
    ///
    /// # Errors
    ///
    /// [`Error::Write`] if `output` fails, [`Error::BlobMissing`] and [`Error::SizeMismatch`] for a damaged store.
    pub fn save(&self, images: &[Named], output: impl Write) -> Result<(), Error> {
        let mut index = Index::default();
        let mut items = Vec::new();
        let mut repositories: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
        let mut blobs: BTreeMap<&Digest, u64> = BTreeMap::new();
        for Named { image, names } in images {
            let manifest = &image.manifest_descriptor;
            for part in [manifest, &image.manifest.config].into_iter().chain(&image.manifest.layers) {
                blobs.insert(&part.digest, part.size);
            }
            let mut repo_tags = Vec::new();
            for name in names {
                let Some(tag) = name.tag() else { continue };
                let mut entry = Descriptor { annotations: BTreeMap::new(), ..manifest.clone() };
                entry.annotations.insert(IMAGE_NAME.to_owned(), name.to_string());
                entry.annotations.insert(REF_NAME.to_owned(), tag.to_owned());
                index.manifests.push(entry);
                repo_tags.push(name.familiar());
                if let Some(top) = image.manifest.layers.last() {
                    let tags = repositories.entry(name.familiar_repository()).or_default();
                    tags.insert(tag.to_owned(), top.digest.hex().to_owned());
                }
            }
            if repo_tags.is_empty() {
                index.manifests.push(Descriptor { annotations: BTreeMap::new(), ..manifest.clone() });
            }
            let layers = image.manifest.layers.iter().map(|layer| member(&layer.digest)).collect();
            items.push(Item { config: member(&image.manifest.config.digest), repo_tags, layers });
        }
        let mut writer = Writer::new(BufWriter::with_capacity(256 << 10, output));
        let algorithms: BTreeSet<_> = blobs.keys().map(|digest| digest.algorithm().name()).collect();
        let mut directories = vec!["blobs".to_owned()];
        directories.extend(algorithms.iter().map(|name| format!("blobs/{name}")));
        for path in directories {
            let entry = Entry { mode: 0o755, kind: Kind::Directory, ..entry(&path, 0) };
            writer.entry(&entry).map_err(failed)?;
        }
        for (digest, size) in blobs {
            let blob = self.open_blob(digest)?;
            let found = blob.metadata().map_err(Error::io("look at", self.blob_path(digest)))?.len();
            if found != size {
                return Err(Error::SizeMismatch { digest: digest.clone(), expected: size, found });
            }
            writer.entry(&entry(&member(digest), size)).map_err(failed)?;
            let mut blob = blob.take(size);
            let mut buffer = vec![0; 256 << 10];
            loop {
                match blob.read(&mut buffer).map_err(Error::io("read", self.blob_path(digest)))? {
                    0 => break,
                    count => writer.data(&buffer[..count]).map_err(failed)?,
                }
            }
            writer.end_data().map_err(failed)?;
        }
        for (path, bytes) in [
            ("index.json", encode("index", &index)?),
            ("manifest.json", encode("manifest.json", &items)?),
            ("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec()),
            ("repositories", encode("repositories", &repositories)?),
        ] {
            writer.entry(&entry(path, bytes.len() as u64)).map_err(failed)?;
            writer.data(&bytes).and_then(|()| writer.end_data()).map_err(failed)?;
        }
        writer.finish().map(drop).map_err(failed)
    }
}

fn member(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm().name(), digest.hex())
}

fn entry(path: &str, size: u64) -> Entry {
    Entry {
        path: path.as_bytes().to_vec(),
        kind: Kind::File,
        mode: 0o644,
        uid: 0,
        gid: 0,
        mtime: (0, 0),
        link: Vec::new(),
        size,
        device: (0, 0),
        xattrs: BTreeMap::new(),
        segments: None,
        offset: 0,
    }
}

fn failed(source: io::Error) -> Error {
    Error::Write { object: "the archive".to_owned(), source }
}
