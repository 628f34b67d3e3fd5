use std::{collections::HashSet, fmt, fs, io, path::PathBuf};

use crate::{Error, Result, Volumes, store::remove_tree, volume::check_name};

/// Something a crash left.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Finding {
    /// A volume that was half-made, half-removed or half-filled.
    Remnant {
        /// The directory.
        path: PathBuf,
    },
    /// A container that is no more is noted as a volume's user.
    StaleUser {
        /// The volume.
        volume: String,
        /// The container.
        container: String,
    },
    /// A container that is no more is noted as having a volume mounted.
    StaleMount {
        /// The volume.
        volume: String,
        /// The container.
        container: String,
    },
    /// A directory among the volumes that is none. Never removed, as its files may be somebody's.
    NoVolume {
        /// The directory.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Remnant { path } => write!(f, "{} is left of a change that was cut short", path.display()),
            Self::StaleUser { volume, container } => {
                write!(f, "volume {volume} is noted as used by {container}, which is no more")
            }
            Self::StaleMount { volume, container } => {
                write!(f, "volume {volume} is mounted for {container}, which is no more")
            }
            Self::NoVolume { path, reason } => write!(f, "{} is no volume: {reason}", path.display()),
        }
    }
}

impl Volumes {
    /// Finds what crashes left; `live` are the identifiers of the containers that exist. Waits for changes that are under way.
    pub fn check(&self, live: &[&str]) -> Result<Vec<Finding>> {
        let _lock = self.lock()?;
        let live: HashSet<&str> = live.iter().copied().collect();
        let mut findings = Vec::new();
        let mut names = self.entries()?;
        names.sort_unstable();
        for name in names {
            let path = self.dir.join(&name);
            if name == ".lock" {
                continue;
            }
            if name.starts_with(".new-") || name.starts_with(".gone-") {
                findings.push(Finding::Remnant { path });
                continue;
            }
            match self.inspect(&name) {
                Ok(_) => {}
                Err(error @ (Error::NotFound { .. } | Error::Name { .. } | Error::Metadata { .. })) => {
                    findings.push(Finding::NoVolume { path, reason: error.to_string() });
                    continue;
                }
                Err(error) => return Err(error),
            }
            if path.join(".fill").exists() {
                findings.push(Finding::Remnant { path: path.join(".fill") });
            }
            findings.extend(
                self.mounted_by(&name)?
                    .into_iter()
                    .filter(|user| !live.contains(user.as_str()))
                    .map(|container| Finding::StaleMount { volume: name.clone(), container }),
            );
            let users = self.users(&name)?;
            findings.extend(
                users
                    .into_iter()
                    .filter(|user| !live.contains(user.as_str()))
                    .map(|container| Finding::StaleUser { volume: name.clone(), container }),
            );
        }
        Ok(findings)
    }

    /// Puts a finding right; one that is not ours to settle changes nothing and gives false. Idempotent.
    pub fn repair(&self, finding: &Finding) -> Result<bool> {
        match finding {
            Finding::Remnant { path } if path.starts_with(&self.dir) => {
                let _lock = self.lock()?;
                remove_tree(path).map(|()| true)
            }
            Finding::StaleUser { volume, container } => {
                check_name(volume)?;
                // not by release(): the name of a user that nobody checked may be anything but a path
                let path = self.dir.join(volume).join("users").join(container);
                if container.contains('/') {
                    return Ok(false);
                }
                match fs::remove_file(&path) {
                    Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Error::file("remove", path, e)),
                    _ => Ok(true),
                }
            }
            Finding::StaleMount { volume, container } => self.unmount(volume, container).map(|()| true),
            _ => Ok(false),
        }
    }
}
