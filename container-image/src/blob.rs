#[cfg(feature = "registry")]
mod resume;

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::PathBuf;

use rustix::fs::{FlockOperation, flock};

use crate::digest::{Algorithm, Hasher};
use crate::store::{INCOMING, unique_name};
use crate::{Descriptor, Digest, Error, Store};

/// Content on its way into a [`Store`].
///
/// Bytes are hashed as they are written. [`commit`](Self::commit) makes the blob visible; dropping the
/// writer before removes what was written. A writer that was killed leaves a file under `incoming/`
/// whose lock is free, which [`Store::sweep`] removes.
#[derive(Debug)]
pub struct BlobWriter {
    store: Store,
    path: PathBuf,
    file: File,
    hasher: Hasher,
    committed: bool,
    /// What was written stays when the writer is dropped, to be gone on with.
    keep: bool,
}

impl BlobWriter {
    pub(crate) fn create(store: &Store) -> Result<Self, Error> {
        let path = store.root().join(INCOMING).join(unique_name());
        let file =
            File::options().create_new(true).write(true).open(&path).map_err(Error::io("create", &path))?;
        // the lock says that the writer lives; nobody else can have it, so this never waits
        flock(&file, FlockOperation::NonBlockingLockExclusive)
            .map_err(|errno| Error::io("lock", &path)(errno.into()))?;
        let hasher = Hasher::new(Algorithm::Sha256);
        Ok(Self { store: store.clone(), path, file, hasher, committed: false, keep: false })
    }

    /// Bytes written so far.
    pub fn length(&self) -> u64 {
        self.hasher.length()
    }

    /// Makes the blob visible, its bytes durable, and returns its digest and size in bytes. Atomic, and idempotent in
    /// that a blob which is already there stays as it is.
    ///
    /// # Errors
    ///
    /// [`Error::SizeMismatch`] and [`Error::DigestMismatch`] if `expected` promised something else; then
    /// nothing becomes visible.
    pub fn commit(mut self, expected: Option<&Descriptor>) -> Result<(Digest, u64), Error> {
        let (digest, size) = self.verify(expected)?;
        let target = self.store.blob_path(&digest);
        if !target.exists() {
            if digest.algorithm() == Algorithm::Sha512
                && let Some(directory) = target.parent()
            {
                // made when it is first needed: most stores never have one
                fs::create_dir_all(directory).map_err(Error::io("create", directory))?;
            }
            // the directory is synced before an index names what is in it
            self.file
                .sync_data()
                .and_then(|()| fs::rename(&self.path, &target))
                .map_err(Error::io("write", &target))?;
            self.committed = true;
        }
        Ok((digest, size))
    }

    /// Digest and size of what was written, if it is what was promised.
    pub(crate) fn verify(&self, expected: Option<&Descriptor>) -> Result<(Digest, u64), Error> {
        let size = self.hasher.length();
        let digest = self.hasher.clone().finish();
        match expected {
            Some(expected) if expected.size != size => Err(Error::SizeMismatch {
                digest: expected.digest.clone(),
                expected: expected.size,
                found: size,
            }),
            Some(expected) if expected.digest != digest => {
                Err(Error::DigestMismatch { expected: expected.digest.clone(), found: digest })
            }
            _ => Ok((digest, size)),
        }
    }
}

impl Write for BlobWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for BlobWriter {
    fn drop(&mut self) {
        if !self.committed && (!self.keep || self.hasher.length() == 0) {
            let _ = fs::remove_file(&self.path);
        }
    }
}
