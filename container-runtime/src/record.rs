//! What is kept of a container: `<root>/<id>/state.json`, written whole by rename.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::process::Identity;

/// `state.json`. Unknown fields are passed over, so that an older program can delete what a newer one made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Record {
    pub(crate) oci_version: String,
    pub(crate) id: String,
    /// Zero until the process exists.
    pub(crate) pid: i32,
    #[serde(default)]
    pub(crate) start_time: u64,
    pub(crate) bundle: PathBuf,
    pub(crate) rootfs: PathBuf,
    pub(crate) created: String,
    #[serde(default)]
    pub(crate) annotations: BTreeMap<String, String>,
    /// The group's path in each hierarchy.
    pub(crate) cgroup: String,
    /// Whether `start` has let the process go.
    #[serde(default)]
    pub(crate) started: bool,
}

impl Record {
    pub(crate) fn identity(&self) -> Identity {
        Identity { pid: self.pid, start_time: self.start_time }
    }

    pub(crate) fn read(directory: &Path) -> Result<Self, Error> {
        let path = directory.join("state.json");
        let bytes = fs::read(&path).map_err(Error::file("read", &path))?;
        serde_json::from_slice(&bytes).map_err(|source| Error::Json { kind: "state", path, source })
    }

    pub(crate) fn write(&self, directory: &Path) -> Result<(), Error> {
        let path = directory.join("state.json");
        let bytes = serde_json::to_vec(self).map_err(|source| Error::Json {
            kind: "state",
            path: path.clone(),
            source,
        })?;
        write_atomic(&path, &bytes).map_err(Error::file("write", path))
    }
}

/// Puts one file in the place of another. Where there is one already the two change places and the old one goes: ext4 takes a plain
/// rename over a file for a wish to have the new one on the disk, and writes it out at once.
fn replace(new: &Path, path: &Path) -> io::Result<()> {
    match renameat_with(CWD, new, CWD, path, RenameFlags::EXCHANGE) {
        Ok(()) => fs::remove_file(new),
        // nothing there yet, or a file system that cannot exchange
        Err(_) => fs::rename(new, path),
    }
}

/// Replaces a file by rename: a reader sees the old or the new content. The state lives on a tmpfs as a rule and says
/// nothing after a power loss, when its processes are gone too, so nothing is synced.
pub(crate) fn write_atomic(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    let temporary = PathBuf::from(name);
    let done = (|| {
        let mut file =
            fs::File::options().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        file.write_all(bytes)?;
        replace(&temporary, path)
    })();
    if done.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    done
}
