use std::fmt;
use std::str::FromStr;

use crate::Error;

/// The place of a group below the root of each mounted hierarchy, e.g. `/dunnage/3f2a`.
///
/// Absolute; components are non-empty, at most 255 bytes, neither `.` nor `..`, without control characters,
/// and do not begin with `cgroup.`, which the kernel keeps for its own files. The root itself is not a group that one makes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GroupPath(String);

impl GroupPath {
    /// Checks a path.
    pub fn new(path: impl Into<String>) -> Result<Self, Error> {
        let path = path.into();
        let reason = match path.strip_prefix('/') {
            None => Some("is not absolute"),
            Some(relative) if path.len() > 4000 || relative.is_empty() => Some("is the root, or too long"),
            Some(relative) => relative.split('/').find_map(fault),
        };
        match reason {
            Some(reason) => Err(Error::Path { path, reason }),
            None => Ok(Self(path)),
        }
    }

    /// The path, with its leading slash.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The group one level up; none at the top.
    pub fn parent(&self) -> Option<Self> {
        self.0
            .rsplit_once('/')
            .filter(|(parent, _)| !parent.is_empty())
            .map(|(parent, _)| Self(parent.to_owned()))
    }

    /// A group directly below this one.
    pub fn join(&self, name: &str) -> Result<Self, Error> {
        match if name.contains('/') { Some("a name holds a slash") } else { fault(name) } {
            Some(reason) => Err(Error::Path { path: name.to_owned(), reason }),
            None => Self::new(format!("{}/{name}", self.0)),
        }
    }

    pub(crate) fn relative(&self) -> &str {
        &self.0[1..]
    }
}

fn fault(component: &str) -> Option<&'static str> {
    if component.is_empty() {
        Some("holds an empty component")
    } else if component == "." || component == ".." {
        Some("holds `.` or `..`")
    } else if component.len() > 255 {
        Some("holds a component of more than 255 bytes")
    } else if component.chars().any(char::is_control) {
        Some("holds a control character")
    } else if component.starts_with("cgroup.") {
        Some("holds a component that begins with `cgroup.`")
    } else {
        None
    }
}

impl FromStr for GroupPath {
    type Err = Error;

    fn from_str(path: &str) -> Result<Self, Error> {
        Self::new(path)
    }
}

impl fmt::Display for GroupPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
