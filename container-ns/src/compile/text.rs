//! Strings and paths as the kernel takes them.

use std::ffi::{CString, OsStr};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path};

use crate::Error;
use crate::step::Target;
use crate::sys::StringArray;

pub(super) fn display(path: &Path) -> String {
    path.display().to_string()
}

pub(super) fn absolute(what: &'static str, path: &Path) -> Result<(), Error> {
    if path.is_absolute() { Ok(()) } else { Err(Error::NotAbsolute { what, path: path.to_owned() }) }
}

pub(super) fn cstring(what: &'static str, text: &OsStr) -> Result<CString, Error> {
    CString::new(text.as_bytes()).map_err(|_| Error::Nul { what, value: text.to_string_lossy().into_owned() })
}

pub(super) fn strings(what: &'static str, list: Vec<std::ffi::OsString>) -> Result<StringArray, Error> {
    let list = list
        .into_iter()
        .map(|text| {
            CString::new(text.into_vec()).map_err(|error| Error::Nul {
                what,
                value: String::from_utf8_lossy(&error.into_vec()).into_owned(),
            })
        })
        .collect::<Result<_, _>>()?;
    Ok(StringArray::new(list))
}

/// A path in the root, cleaned: `.` and double slashes go, `..` takes its parent away and ends at the root.
pub(super) fn target(what: &'static str, path: &Path, strict: bool) -> Result<Target, Error> {
    absolute(what, path)?;
    let mut names: Vec<&OsStr> = Vec::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => names.push(name),
            Component::ParentDir => {
                names.pop();
            }
            _ => {}
        }
    }
    let mut components = Vec::with_capacity(names.len());
    let mut so_far: Vec<u8> = Vec::new();
    for name in names {
        let parent =
            if so_far.is_empty() { c".".to_owned() } else { cstring(what, OsStr::from_bytes(&so_far))? };
        components.push((parent, cstring(what, name)?));
        if !so_far.is_empty() {
            so_far.push(b'/');
        }
        so_far.extend_from_slice(name.as_bytes());
    }
    let path = if so_far.is_empty() { c".".to_owned() } else { cstring(what, OsStr::from_bytes(&so_far))? };
    Ok(Target { path, components, strict })
}
