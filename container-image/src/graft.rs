//! Layers that were made here, and need no unpacking.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;

use crate::document::chain_id;
use crate::store::{lock_file, unique_name};
use crate::{Digest, Error, Snapshots, fresh, tree};

impl Snapshots {
    /// Takes the directory `made` in as the layer `diff_id` above the layers `below`, the lowest first, and returns where
    /// it lies from then on. `made` is on the same file system and in the form overlayfs gives an upper directory.
    ///
    /// Atomic, by rename. A layer that is there already stays as it is, and so does `made` then.
    pub fn adopt(&self, below: &[Digest], diff_id: &Digest, made: &Path) -> Result<PathBuf, Error> {
        let mut chain: Option<Digest> = None;
        for id in below.iter().chain([diff_id]) {
            chain = Some(chain_id(chain.as_ref(), id));
        }
        let path = self.root().join(chain.as_ref().unwrap_or(diff_id).hex());
        let _lock = lock_file(&path.with_extension("lock"), FlockOperation::LockExclusive)?;
        if fresh::is_there(&path) {
            return Ok(path);
        }
        if path.exists() {
            // unpacked before the machine went down, and perhaps not all of it was written
            let aside = self.root().join("incoming").join(unique_name());
            fs::rename(&path, &aside).map_err(Error::io("remove", &path))?;
            tree::remove_tree(&aside).map_err(Error::io("remove", &aside))?;
        }
        fresh::mark(&path)?;
        fs::rename(made, &path).map_err(Error::io("write", &path))?;
        Ok(path)
    }
}
