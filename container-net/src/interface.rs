use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{Error, Result, address::fnv64};

/// The name of a network interface: 1 to 15 bytes without slash, colon, space or control characters,
/// and not `.` or `..` (the kernel's `dev_valid_name`, and what sysctl paths and rules can carry).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct InterfaceName(String);

impl InterfaceName {
    /// Checks and takes a name.
    pub fn new(name: impl Into<String>) -> Result<Self> {
        let name = name.into();
        let reason = if name.is_empty() {
            "it is empty"
        } else if name.len() > 15 {
            "it is longer than 15 bytes"
        } else if name == "." || name == ".." {
            "it is a directory's name"
        } else if !name.bytes().all(|b| b.is_ascii_graphic()) {
            "only visible ASCII characters are allowed"
        } else if name.contains(['/', ':', '%', '"', '*', '\\']) {
            "a character in it has a meaning for paths or rules"
        } else {
            return Ok(Self(name));
        };
        Err(Error::Name { what: "interface name", value: name.chars().take(64).collect(), reason })
    }

    /// A name that is the same each time for the same parts, for an interface nobody types:
    /// two letters and 13 of base 32, from a 64-bit FNV-1a hash.
    pub(crate) fn hashed(prefix: [u8; 2], parts: &[&str]) -> Self {
        let mut hash = fnv64(parts.iter().flat_map(|part| part.bytes().chain([0])));
        let mut name: String = prefix.iter().map(|&b| char::from(b)).collect();
        for _ in 0..13 {
            let digit = (hash & 31) as u8;
            name.push(char::from(if digit < 10 { b'0' + digit } else { b'a' + digit - 10 }));
            hash >>= 5;
        }
        Self(name)
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name as the kernel keys it: 16 bytes, padded with zeros.
    pub(crate) fn key(&self) -> [u8; 16] {
        let mut key = [0; 16];
        for (to, from) in key.iter_mut().zip(self.0.bytes()) {
            *to = from;
        }
        key
    }
}

impl fmt::Display for InterfaceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for InterfaceName {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        Self::new(text)
    }
}

impl TryFrom<String> for InterfaceName {
    type Error = Error;
    fn try_from(text: String) -> Result<Self> {
        Self::new(text)
    }
}

impl From<InterfaceName> for String {
    fn from(name: InterfaceName) -> Self {
        name.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_the_kernel_or_a_rule_would_choke_on_are_refused() {
        for name in [
            "",
            ".",
            "..",
            "a/b",
            "a b",
            "a\n",
            "a:1",
            "sixteen-bytes-xx",
            "br%d",
            "q\"",
            "é",
            "a\u{202e}b",
            "br*",
        ] {
            assert!(InterfaceName::new(name).is_err(), "{name:?}");
        }
        assert!(InterfaceName::new("fifteen-bytes-x").is_ok());
        assert_eq!(InterfaceName::hashed(*b"dv", &["a", "b"]).as_str().len(), 15);
        assert_ne!(InterfaceName::hashed(*b"dv", &["ab"]), InterfaceName::hashed(*b"dv", &["a", "b"]));
    }
}
