use std::fs;
use std::io::BufReader;
use std::path::Path;

use crate::apply::{Form, apply_buffered};
use crate::below::Below;
use crate::beside::{CHUNK, beside};
use crate::compression::decompress;
use crate::{Applied, Error, Image, Limits, Owners, Store};

impl Store {
    /// Unpacks all layers of `image` into one plain tree in the new directory `target`: what a layer deletes is deleted, and
    /// there are no marks of overlayfs. Every layer must be what the configuration promises. With
    /// [`Owners::Caller`] a normal user can do it, in a directory of their own.
    ///
    /// Nothing outside `target` is touched, whatever the layers hold. Not atomic, and nothing is synced: the tree is the
    /// caller's, to rename when it is whole. OCI image specification, *Layer*.
    ///
    /// # Errors
    ///
    /// [`Error::Archive`] and [`Error::Limit`] name the entry, [`Error::DigestMismatch`] the layer; the directory is then
    /// half filled. [`Error::Io`] if it is there already.
    pub fn unpack_tree(
        &self,
        image: &Image,
        target: &Path,
        owners: Owners,
        limits: &Limits,
    ) -> Result<Applied, Error> {
        fs::create_dir(target).map_err(Error::io("create", target))?;
        let mut all = Applied::default();
        for (layer, diff_id) in image.layers() {
            if !layer.media_type.is_layer() {
                let media_type = layer.media_type.as_str().to_owned();
                return Err(Error::MediaType { object: layer.digest.clone(), media_type });
            }
            let blob = BufReader::with_capacity(CHUNK, self.open_blob(&layer.digest)?);
            let (applied, found) = beside(decompress(blob)?, diff_id, |archive| {
                apply_buffered(archive, target, Form::Plain(owners), Below::later(|| Ok(Vec::new())), limits)
            })?;
            if found != *diff_id {
                return Err(Error::DigestMismatch { expected: diff_id.clone(), found });
            }
            all.entries += applied.entries;
            all.bytes = all.bytes.saturating_add(applied.bytes);
            all.attributes_left_out += applied.attributes_left_out;
            all.devices_left_out += applied.devices_left_out;
        }
        Ok(all)
    }
}
