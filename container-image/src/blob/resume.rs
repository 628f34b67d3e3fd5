//! Downloads that go on where an earlier one broke off.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};

use rustix::fs::FlockOperation;

use super::BlobWriter;
use crate::digest::Hasher;
use crate::store::{INCOMING, lock_file};
use crate::{Descriptor, Error, Store};

impl BlobWriter {
    /// A writer of the blob that a descriptor names, which goes on where another one broke off, in this process or an
    /// earlier one; it waits for one that is at work. None if the blob is there by then.
    ///
    /// What such a writer has written stays under `incoming/` until [`Store::sweep`] finds that nobody goes on.
    pub(crate) fn resume(store: &Store, blob: &Descriptor) -> Result<Option<Self>, Error> {
        let path = store.root().join(INCOMING).join(format!("part-{}", blob.digest.hex()));
        let mut file = lock_file(&path, FlockOperation::LockExclusive)?;
        if store.has_blob(&blob.digest) {
            // whoever waits for the lock sees that the file is another one by then
            fs::remove_file(&path).map_err(Error::io("remove", path))?;
            return Ok(None);
        }
        let mut hasher = Hasher::new(blob.digest.algorithm());
        let mut before = File::open(&path).map_err(Error::io("open", &path))?;
        let mut buffer = vec![0; 256 << 10];
        loop {
            match before.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => hasher.update(&buffer[..count]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::io("read", path)(error)),
            }
        }
        file.seek(SeekFrom::Start(hasher.length())).map_err(Error::io("write", &path))?;
        let store = store.clone();
        let mut writer = Self { store, path, file, hasher, committed: false, keep: true };
        if writer.length() > blob.size {
            writer.restart()?;
        }
        Ok(Some(writer))
    }

    /// Forgets what was written.
    pub(crate) fn restart(&mut self) -> Result<(), Error> {
        self.file
            .set_len(0)
            .and_then(|()| self.file.seek(SeekFrom::Start(0)))
            .map_err(Error::io("write", &self.path))?;
        self.hasher = Hasher::new(self.hasher.algorithm());
        Ok(())
    }

    /// What was written is wrong: it goes with the writer.
    pub(crate) fn discard(mut self) {
        self.keep = false;
    }

    /// What was written, to be read from its start.
    pub(crate) fn reader(&self) -> Result<File, Error> {
        File::open(&self.path).map_err(Error::io("open", &self.path))
    }
}
