use std::io::{Read, Write};

use container_image::{Diff, Limits, Named, Reference};

use crate::{Engine, Error};

impl Engine {
    /// Writes images as an archive that `docker load` and [`load_images`](Self::load_images) take. An image that is
    /// given by a name goes with that name alone; one that is given by its id goes without a name.
    pub async fn save_images(&self, images: &[String], output: impl Write) -> Result<(), Error> {
        let _lease = self.images.lease()?;
        let mut chosen: Vec<Named> = Vec::new();
        for text in images {
            let mut named = self.images.find(text)?;
            let names = named.names.clone();
            named.names.retain(|name| text.parse::<Reference>().is_ok_and(|wanted| wanted == *name));
            // a repository without a tag stands for all its names
            if named.names.is_empty() && !text.contains([':', '@']) {
                let whole = |name: &&Reference| name.familiar_repository() == *text;
                named.names = names.iter().filter(whole).cloned().collect();
            }
            match chosen.iter_mut().find(|other| other.image.id == named.image.id) {
                Some(other) => other.names.extend(named.names),
                None => chosen.push(named),
            }
        }
        self.images.save(&chosen, output)?;
        for named in &chosen {
            self.events.record("image", "save", named.image.id.as_str(), &[])?;
        }
        Ok(())
    }

    /// Takes in the images of an archive with their names; one that has none stays without.
    pub async fn load_images(&self, archive: impl Read + Send) -> Result<Vec<Named>, Error> {
        let lease = self.images.lease()?;
        let loaded = self.images.load(archive, &Limits::default())?;
        for named in &loaded {
            // unpacked first: what cannot be is no image to keep
            self.snapshots.unpack(&self.images, &named.image, &Limits::default())?;
            for name in &named.names {
                self.images.tag(name, &named.image.descriptor)?;
            }
            if named.names.is_empty() {
                self.images.keep(&named.image.descriptor)?;
            }
        }
        drop(lease);
        for named in &loaded {
            self.events.record("image", "load", named.image.id.as_str(), &[])?;
        }
        Ok(loaded)
    }

    /// Writes all files of a container, its image's and its own, as one archive. Volumes are not in it.
    pub async fn export(&self, text: &str, output: impl Write) -> Result<(), Error> {
        let row = self.find_row(text)?;
        let (upper, layers) = self.container_layers(&row)?;
        let layers: Vec<_> = upper.into_iter().chain(layers).collect();
        Diff::of_layers(&layers)?.write(output, None)?;
        self.events.record("container", "export", &row.id, &[("name", &row.name)])
    }
}
