use std::fmt;
use std::str::FromStr;

use crate::Error;

/// A container's id: 1 to 255 of letters, digits, `_`, `+`, `-` and `.`, neither `.` nor `..`, so that it is safe as a
/// file name, a cgroup name and a word on a terminal.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ContainerId(String);

impl ContainerId {
    /// Checks an id.
    pub fn new(id: impl Into<String>) -> Result<Self, Error> {
        let id = id.into();
        let good = |b: u8| b.is_ascii_alphanumeric() || b"_+-.".contains(&b);
        // as a file name it is bound to 255 bytes by every file system
        if id.is_empty() || id.len() > 255 || id == "." || id == ".." || !id.bytes().all(good) {
            return Err(Error::Id { id });
        }
        Ok(Self(id))
    }

    /// As a string.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ContainerId {
    type Err = Error;

    fn from_str(id: &str) -> Result<Self, Error> {
        Self::new(id)
    }
}

impl fmt::Display for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
