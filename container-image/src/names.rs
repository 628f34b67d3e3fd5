use std::collections::BTreeMap;
use std::fs;
use std::io;

use rustix::fs::FlockOperation;

use crate::document::{Index, MAX_DOCUMENT, decode};
use crate::{Descriptor, Digest, Error, Image, Reference, Store};

const INDEX: &str = "index.json";
/// The annotation by which a layout's index names an image (OCI image specification, *Annotations*).
const REFERENCE_NAME: &str = "org.opencontainers.image.ref.name";

/// An image of a store with the names it has.
#[derive(Debug, Clone)]
pub struct Named {
    /// The image.
    pub image: Image,
    /// Its names; none for a dangling image.
    pub names: Vec<Reference>,
}

impl Store {
    /// Gives the image at `descriptor` the name `reference`. An image that had the name before keeps its
    /// place without it, as a dangling image. Atomic and idempotent.
    pub fn tag(&self, reference: &Reference, descriptor: &Descriptor) -> Result<(), Error> {
        let name = reference.to_string();
        self.edit_index(|index| {
            untag(index, &name);
            // a nameless entry of the same image is no longer needed
            index.manifests.retain(|entry| entry.digest != descriptor.digest || ref_name(entry).is_some());
            let mut entry = descriptor.clone();
            entry.annotations.insert(REFERENCE_NAME.to_owned(), name.clone());
            index.manifests.push(entry);
            Ok(())
        })
    }

    /// Adds an image without a name. Atomic and idempotent.
    pub fn keep(&self, descriptor: &Descriptor) -> Result<(), Error> {
        self.edit_index(|index| {
            if index.manifests.iter().all(|entry| entry.digest != descriptor.digest) {
                index.manifests.push(descriptor.clone());
            }
            Ok(())
        })
    }

    /// Takes the name away. An image whose last name it was leaves the store; its blobs go with the next
    /// [`Store::sweep`]. Atomic.
    ///
    /// # Errors
    ///
    /// [`Error::ImageMissing`] if nothing has the name.
    pub fn remove_name(&self, reference: &Reference) -> Result<(), Error> {
        let name = reference.to_string();
        self.edit_index(|index| {
            let before = index.manifests.len();
            index.manifests.retain(|entry| ref_name(entry) != Some(&name));
            if index.manifests.len() == before {
                return Err(Error::ImageMissing(reference.familiar()));
            }
            Ok(())
        })
    }

    /// Removes an image with all its names. Its blobs go with the next [`Store::sweep`]. Atomic.
    pub fn remove_image(&self, image: &Image) -> Result<(), Error> {
        self.edit_index(|index| {
            index.manifests.retain(|entry| entry.digest != image.descriptor.digest);
            Ok(())
        })
    }

    /// All images, each once, in the order in which they came.
    pub fn images(&self) -> Result<Vec<Named>, Error> {
        let mut order = Vec::new();
        let mut names: BTreeMap<Digest, Vec<Reference>> = BTreeMap::new();
        for entry in self.index()?.manifests {
            if !order.iter().any(|known: &Descriptor| known.digest == entry.digest) {
                order.push(entry.clone());
            }
            if let Some(name) = ref_name(&entry).and_then(|name| name.parse().ok()) {
                names.entry(entry.digest).or_default().push(name);
            }
        }
        order
            .into_iter()
            .map(|mut descriptor| {
                descriptor.annotations.remove(REFERENCE_NAME);
                let names = names.remove(&descriptor.digest).unwrap_or_default();
                Ok(Named { image: self.image(&descriptor)?, names })
            })
            .collect()
    }

    /// Finds an image by what a person types: a name, an id (`sha256:…`, whole or the first digits, two at
    /// least), or a manifest's digest. A name wins over an id.
    ///
    /// # Errors
    ///
    /// [`Error::ImageMissing`] and [`Error::ImageAmbiguous`].
    pub fn find(&self, text: &str) -> Result<Named, Error> {
        let images = self.images()?;
        if let Ok(reference) = text.parse::<Reference>() {
            let wanted = |named: &&Named| match reference.digest() {
                Some(_) if named.names.contains(&reference) => true,
                Some(digest) => {
                    named.image.descriptor.digest == *digest
                        && named.names.iter().any(|name| {
                            name.domain() == reference.domain() && name.path() == reference.path()
                        })
                }
                None => named.names.contains(&reference),
            };
            if let Some(named) = images.iter().find(wanted) {
                return Ok(named.clone());
            }
        }
        let digits = text.strip_prefix("sha256:").unwrap_or(text);
        let plausible = digits.len() >= 2 && digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        let mut fits = images.into_iter().filter(|named| {
            plausible
                && (named.image.id.hex().starts_with(digits) || named.image.descriptor.digest.hex() == digits)
        });
        match (fits.next(), fits.next()) {
            (Some(named), None) => Ok(named),
            (Some(_), Some(_)) => Err(Error::ImageAmbiguous(text.to_owned())),
            (None, _) => Err(Error::ImageMissing(text.chars().take(300).collect())),
        }
    }

    /// The layout's index; an empty one if there is none yet.
    pub(crate) fn index(&self) -> Result<Index, Error> {
        let path = self.root().join(INDEX);
        let bytes = match fs::metadata(&path) {
            Ok(metadata) if metadata.len() > MAX_DOCUMENT * 16 => {
                return Err(Error::Inconsistent {
                    what: "index",
                    object: path.display().to_string(),
                    reason: format!("{} bytes are too many", metadata.len()),
                });
            }
            Ok(_) => fs::read(&path).map_err(Error::io("read", &path))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Index::default()),
            Err(error) => return Err(Error::io("read", path)(error)),
        };
        decode("index", path.display(), &bytes)
    }

    fn edit_index(&self, edit: impl FnOnce(&mut Index) -> Result<(), Error>) -> Result<(), Error> {
        let _lock = self.open_lock("index.lock", FlockOperation::LockExclusive)?;
        let before = self.index()?;
        let mut index = before.clone();
        edit(&mut index)?;
        if index == before {
            return Ok(());
        }
        // what the index names is there, whatever happens to the machine after it says so
        for algorithm in ["sha256", "sha512"] {
            let directory = self.root().join("blobs").join(algorithm);
            match fs::File::open(&directory).and_then(|directory| directory.sync_all()) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(Error::io("sync", directory)(error));
                }
                _ => {}
            }
        }
        self.write_json(INDEX, &index)
    }
}

fn ref_name(entry: &Descriptor) -> Option<&String> {
    entry.annotations.get(REFERENCE_NAME)
}

/// Removes the name from whoever has it, and keeps the image.
fn untag(index: &mut Index, name: &str) {
    let Some(position) =
        index.manifests.iter().position(|entry| ref_name(entry).is_some_and(|own| own == name))
    else {
        return;
    };
    let mut entry = index.manifests.remove(position);
    if index.manifests.iter().all(|other| other.digest != entry.digest) {
        entry.annotations.remove(REFERENCE_NAME);
        index.manifests.insert(position, entry);
    }
}
