//! Digests of the contents of files, remembered by what `stat(2)` says of them.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use container_image::{Algorithm, Hasher};
use rustix::fs::Stat;

/// Says of which file, and in which state it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Fact {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

const FACT: usize = 7 * 8;
const DIGEST: usize = 32;
const MAGIC: &[u8; 8] = b"dnfacts1";
/// The file keeps so many; beyond, it begins anew.
const MOST: usize = 1_000_000;

/// Digests that are known, kept in one file.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    digests: HashMap<Fact, [u8; DIGEST]>,
    is_new: bool,
}

impl Fact {
    #[allow(
        clippy::useless_conversion,
        clippy::unnecessary_cast,
        reason = "the widths differ between processors"
    )]
    pub(crate) fn of(stat: &Stat) -> Self {
        Self {
            device: stat.st_dev.into(),
            inode: stat.st_ino.into(),
            size: stat.st_size as u64,
            modified: (stat.st_mtime.into(), stat.st_mtime_nsec as i64),
            changed: (stat.st_ctime.into(), stat.st_ctime_nsec as i64),
        }
    }

    /// A file that was changed just now may change again without a sign: the kernel's clock for files is coarse.
    fn is_settled(&self, now: i64) -> bool {
        self.changed.0 + 1 < now && self.modified.0 + 1 < now
    }

    fn to_bytes(self) -> [u8; FACT] {
        let mut bytes = [0; FACT];
        let words = [
            self.device,
            self.inode,
            self.size,
            self.modified.0 as u64,
            self.modified.1 as u64,
            self.changed.0 as u64,
            self.changed.1 as u64,
        ];
        for (to, from) in bytes.chunks_exact_mut(8).zip(words) {
            to.copy_from_slice(&from.to_le_bytes());
        }
        bytes
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut words =
            bytes.chunks_exact(8).filter_map(|word| Some(u64::from_le_bytes(word.try_into().ok()?)));
        let mut next = || words.next();
        Some(Self {
            device: next()?,
            inode: next()?,
            size: next()?,
            modified: (next()? as i64, next()? as i64),
            changed: (next()? as i64, next()? as i64),
        })
    }
}

impl Facts {
    /// Reads the file; one that is damaged or not there tells nothing.
    pub(crate) fn load(path: &Path) -> Self {
        let bytes = fs::read(path).unwrap_or_default();
        let mut digests = HashMap::new();
        if let Some(rest) = bytes.strip_prefix(MAGIC) {
            let entries = rest.chunks_exact(FACT + DIGEST);
            digests.reserve(entries.len());
            for entry in entries {
                let (fact, digest) = entry.split_at(FACT);
                if let (Some(fact), Ok(digest)) = (Fact::from_bytes(fact), digest.try_into()) {
                    digests.insert(fact, digest);
                }
            }
        }
        Self { known: Mutex::new(Known { digests, is_new: false }) }
    }

    /// The file's new content; none if there is nothing new.
    pub(crate) fn save(&self) -> Option<Vec<u8>> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if !known.is_new {
            return None;
        }
        let mut bytes = MAGIC.to_vec();
        bytes.reserve(known.digests.len() * (FACT + DIGEST));
        for (fact, digest) in &known.digests {
            bytes.extend_from_slice(&fact.to_bytes());
            bytes.extend_from_slice(digest);
        }
        Some(bytes)
    }

    pub(crate) fn find(&self, fact: &Fact) -> Option<[u8; DIGEST]> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).digests.get(fact).copied()
    }

    pub(crate) fn remember(&self, fact: Fact, digest: [u8; DIGEST]) {
        let now = std::time::UNIX_EPOCH.elapsed().map_or(0, |elapsed| elapsed.as_secs() as i64);
        if !fact.is_settled(now) {
            return;
        }
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.digests.len() >= MOST {
            known.digests.clear();
        }
        known.digests.insert(fact, digest);
        known.is_new = true;
    }
}

/// The SHA-256 of what is left of a file.
pub(crate) fn digest(mut file: &File, buffer: &mut Vec<u8>) -> std::io::Result<[u8; DIGEST]> {
    buffer.resize(128 << 10, 0);
    let mut hasher = Hasher::new(Algorithm::Sha256);
    loop {
        match file.read(buffer)? {
            0 => break,
            count => hasher.update(buffer.get(..count).unwrap_or_default()),
        }
    }
    let text = hasher.finish();
    let mut bytes = [0; DIGEST];
    for (to, pair) in bytes.iter_mut().zip(text.hex().as_bytes().chunks_exact(2)) {
        let digits = std::str::from_utf8(pair).unwrap_or_default();
        *to = u8::from_str_radix(digits, 16).unwrap_or_default();
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fact(path: &Path) -> Fact {
        Fact::of(&rustix::fs::stat(path).unwrap())
    }

    #[test]
    fn what_was_remembered_is_found_until_the_file_changes() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        fs::write(&path, "one").unwrap();
        let old = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000);
        File::options().write(true).open(&path).unwrap().set_modified(old).unwrap();
        let mut known = fact(&path);
        known.changed.0 -= 10;
        let facts = Facts::default();
        facts.remember(known, [7; 32]);
        let store = directory.path().join("facts");
        fs::write(&store, facts.save().unwrap()).unwrap();
        let facts = Facts::load(&store);
        assert_eq!(facts.find(&known), Some([7; 32]));
        assert!(facts.save().is_none(), "nothing is new");
        for change in [
            Fact { size: 4, ..known },
            Fact { inode: 1, ..known },
            Fact { device: 1, ..known },
            Fact { modified: (0, 0), ..known },
            Fact { changed: (0, 0), ..known },
        ] {
            assert_eq!(facts.find(&change), None);
        }
        fs::write(&store, b"dnfacts1 and then nonsense").unwrap();
        assert_eq!(Facts::load(&store).find(&known), None);
    }

    #[test]
    fn a_file_that_was_changed_just_now_is_not_remembered() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        fs::write(&path, "one").unwrap();
        let facts = Facts::default();
        facts.remember(fact(&path), [7; 32]);
        assert_eq!(facts.find(&fact(&path)), None);
    }
}
