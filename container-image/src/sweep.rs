use std::collections::HashSet;
use std::fs::{self, File};
use std::io;
use std::path::PathBuf;

use rustix::fs::FlockOperation;

use crate::store::{INCOMING, lock_file};
use crate::{Descriptor, Digest, Error, Store, document};

/// Something in a store that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Finding {
    /// A blob that an image needs is not there.
    Missing {
        /// The blob.
        digest: Digest,
        /// The manifest that needs it.
        needed_by: Digest,
    },
    /// A blob's bytes do not have its digest.
    Damaged(Digest),
    /// A blob that no image needs.
    Unneeded(Digest),
    /// A file of a writer that was killed.
    Abandoned(PathBuf),
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Missing { digest, needed_by } => {
                write!(f, "blob {digest} is missing, {needed_by} needs it")
            }
            Self::Damaged(digest) => write!(f, "blob {digest} is damaged"),
            Self::Unneeded(digest) => write!(f, "blob {digest} belongs to no image"),
            Self::Abandoned(path) => write!(f, "{} was left by a writer that is gone", path.display()),
        }
    }
}

/// A hold on the store while it is swept: nobody adds content until it is dropped.
#[derive(Debug)]
pub struct Sweeping<'s> {
    store: &'s Store,
    _lock: File,
}

impl Sweeping<'_> {
    /// Removes what [`Store::sweep`] removes. Returns the bytes that were freed.
    pub fn free(&self) -> Result<u64, Error> {
        let mut freed = 0;
        for finding in self.store.leftovers()? {
            let path = match finding {
                Finding::Unneeded(digest) => self.store.blob_path(&digest),
                Finding::Abandoned(path) => path,
                Finding::Missing { .. } | Finding::Damaged(_) => continue,
            };
            freed += fs::metadata(&path).map_or(0, |metadata| metadata.len());
            fs::remove_file(&path).map_err(Error::io("remove", path))?;
        }
        Ok(freed)
    }
}

impl Store {
    /// Removes blobs that no image needs and files that killed writers left. Returns the bytes that were
    /// freed; none if somebody holds a [`lease`](Store::lease), then nothing is removed. Idempotent.
    pub fn sweep(&self) -> Result<Option<u64>, Error> {
        self.sweeping()?.map(|sweeping| sweeping.free()).transpose()
    }

    /// Keeps every new [`lease`](Store::lease) waiting, for those who sweep more than the store: its
    /// [`Snapshots`](crate::Snapshots), a build cache. None if somebody holds a lease or sweeps.
    pub fn sweeping(&self) -> Result<Option<Sweeping<'_>>, Error> {
        Ok(self.sweep_lock()?.map(|lock| Sweeping { store: self, _lock: lock }))
    }

    /// Looks for what is missing, unneeded and abandoned; with `thorough`, reads every blob and checks its digest too.
    pub fn check(&self, thorough: bool) -> Result<Vec<Finding>, Error> {
        let mut findings = Vec::new();
        for entry in self.index()?.manifests {
            for digest in self.needs(&entry)? {
                if !self.has_blob(&digest) {
                    findings.push(Finding::Missing { digest, needed_by: entry.digest.clone() });
                }
            }
        }
        // while somebody adds, what is not needed yet may be needed in a moment
        if let Some(_lock) = self.sweep_lock()? {
            findings.extend(self.leftovers()?);
        }
        if thorough {
            for digest in self.blobs()? {
                let mut hasher = crate::digest::Hasher::new(digest.algorithm());
                let mut blob = self.open_blob(&digest)?;
                io::copy(&mut blob, &mut HashSink(&mut hasher))
                    .map_err(Error::io("read", self.blob_path(&digest)))?;
                if hasher.finish() != digest {
                    findings.push(Finding::Damaged(digest));
                }
            }
        }
        Ok(findings)
    }

    fn leftovers(&self) -> Result<Vec<Finding>, Error> {
        let mut needed = HashSet::new();
        for entry in self.index()?.manifests {
            needed.extend(self.needs(&entry)?);
        }
        let unneeded =
            self.blobs()?.into_iter().filter(|digest| !needed.contains(digest)).map(Finding::Unneeded);
        let mut findings: Vec<_> = unneeded.collect();
        let incoming = self.root().join(INCOMING);
        for entry in fs::read_dir(&incoming).map_err(Error::io("list", &incoming))? {
            let path = entry.map_err(Error::io("list", &incoming))?.path();
            // a writer that lives holds its file's lock
            if let Ok(_lock) = lock_file(&path, FlockOperation::NonBlockingLockExclusive) {
                findings.push(Finding::Abandoned(path));
            }
        }
        Ok(findings)
    }

    /// All blobs that an entry of the index needs, itself first. An index inside is followed once, to its manifests.
    fn needs(&self, entry: &Descriptor) -> Result<Vec<Digest>, Error> {
        let mut needs = vec![entry.digest.clone()];
        let mut seen = HashSet::from([entry.digest.clone()]);
        let mut open = vec![entry.clone()];
        while let Some(descriptor) = open.pop() {
            if !self.has_blob(&descriptor.digest) {
                continue;
            }
            let mut found = document::parts(self, &descriptor)?;
            if descriptor.media_type.is_index() {
                // an index may tell of platforms that were never fetched
                found.retain(|manifest| self.has_blob(&manifest.digest));
            }
            for next in found {
                if seen.insert(next.digest.clone()) {
                    needs.push(next.digest.clone());
                    open.push(next);
                }
            }
        }
        Ok(needs)
    }

    fn blobs(&self) -> Result<Vec<Digest>, Error> {
        let mut digests = Vec::new();
        for algorithm in ["sha256", "sha512"] {
            let directory = self.root().join("blobs").join(algorithm);
            let entries = match fs::read_dir(&directory) {
                Ok(entries) => entries,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(Error::io("list", directory)(error)),
            };
            for entry in entries {
                let name = entry.map_err(Error::io("list", &directory))?.file_name();
                // a file by another name is not ours
                if let Ok(digest) = format!("{algorithm}:{}", name.to_string_lossy()).parse() {
                    digests.push(digest);
                }
            }
        }
        Ok(digests)
    }
}

struct HashSink<'a>(&'a mut crate::digest::Hasher);

impl io::Write for HashSink<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
