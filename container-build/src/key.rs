//! Keys of steps: a digest over everything that decides what a step makes.

use container_image::{Algorithm, Digest, Hasher};

/// Changed when what a step makes of the same input changes.
const GENERATION: &str = "dunnage build 1";

/// Collects what decides a step. Every part has its name and its length, so no two lists of parts are the same bytes.
#[derive(Debug, Clone)]
pub(crate) struct Key(Hasher);

impl Key {
    pub(crate) fn new(kind: &str) -> Self {
        Self(Hasher::new(Algorithm::Sha256)).with("generation", GENERATION).with("kind", kind)
    }

    #[must_use]
    pub(crate) fn with(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.add(name, value);
        self
    }

    pub(crate) fn add(&mut self, name: &str, value: impl AsRef<[u8]>) {
        for part in [name.as_bytes(), value.as_ref()] {
            self.0.update(&(part.len() as u64).to_le_bytes());
            self.0.update(part);
        }
    }

    pub(crate) fn list<T: AsRef<[u8]>>(&mut self, name: &str, values: impl IntoIterator<Item = T>) {
        let mut count = 0u64;
        for value in values {
            self.add(name, value);
            count += 1;
        }
        self.add("count", count.to_le_bytes());
    }

    /// 64 hexadecimal digits.
    pub(crate) fn finish(self) -> String {
        let digest: Digest = self.0.finish();
        digest.hex().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_one_part_ends_and_the_next_begins_matters() {
        let of = |parts: &[&str]| {
            let mut key = Key::new("test");
            key.list("part", parts);
            key.finish()
        };
        assert_ne!(of(&["ab", "c"]), of(&["a", "bc"]));
        assert_ne!(of(&["a", ""]), of(&["a"]));
        assert_ne!(of(&[]), of(&[""]));
        assert_eq!(of(&["a", "b"]), of(&["a", "b"]));
        assert_ne!(Key::new("a").with("b", "c").finish(), Key::new("b").with("a", "c").finish());
    }
}
