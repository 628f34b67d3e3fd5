use std::{
    fmt,
    fs::{self, File},
    io::{self, Write},
    os::fd::AsFd,
    os::unix::fs::{DirBuilderExt, fchown},
    path::{Path, PathBuf},
};

use rustix::{
    fs::Mode,
    io::Errno,
    mount::{
        FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, fsconfig_create, fsconfig_set_flag,
        fsconfig_set_string, fsmount, fsopen, move_mount,
    },
};
use serde::{Deserialize, Serialize};

use crate::{Error, Result, place, volume::check_name};

/// Most bytes of one secret, as in Swarm.
const LARGEST: usize = 500 * 1024;

/// The content of a secret: never printed, never serialized, overwritten when it is dropped.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct SecretBytes(Vec<u8>);

impl SecretBytes {
    /// Takes the content.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// The content, to be put where it belongs.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for SecretBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{} bytes]", self.0.len())
    }
}

impl Drop for SecretBytes {
    fn drop(&mut self) {
        self.0.fill(0);
        // or the compiler sees that nobody looks
        std::hint::black_box(&mut self.0);
    }
}

/// A file in memory: a secret or a config.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Secret {
    /// Its name, for messages.
    pub name: String,
    /// Where it is in the container, absolute.
    pub target: PathBuf,
    /// Its owner.
    #[serde(default)]
    pub uid: u32,
    /// Its group.
    #[serde(default)]
    pub gid: u32,
    /// Its mode: 0444 in Docker, if nothing else is said.
    pub mode: u32,
    /// The content. It is in no serialized form: a record of a container does not hold it.
    #[serde(skip)]
    pub content: SecretBytes,
}

/// Files in memory for containers: a tmpfs for each, in a directory whose file system does not matter.
///
/// The content is there from [`put`](Self::put) to [`remove`](Self::remove), through restarts of the container and of every process,
/// and is gone with the machine's memory. It is never on a disk: where the kernel can (Linux 6.4), not in swap either.
#[derive(Debug, Clone)]
pub struct Secrets {
    dir: PathBuf,
}

impl Secrets {
    /// Secrets below a directory; nothing is made yet.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    /// Keeps the secrets of a container. What it had before is replaced; what fails leaves nothing.
    pub fn put(&self, container: &str, secrets: &[Secret]) -> Result<()> {
        check_name(container)?;
        self.remove(container)?;
        if secrets.is_empty() {
            return Ok(());
        }
        for secret in secrets {
            let refuse = |reason| Error::Secret { name: secret.name.chars().take(200).collect(), reason };
            if secret.content.0.len() > LARGEST {
                return Err(refuse("it is larger than 500 KiB"));
            }
            if secret.mode > 0o777 {
                return Err(refuse("its mode is more than permission bits"));
            }
            crate::spec::target(&secret.name, &secret.target.to_string_lossy())?;
        }
        let dir = self.dir.join(container);
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&dir)
            .map_err(|e| Error::file("create", &dir, e))?;
        let kept = memory(&dir, secrets).and_then(|()| {
            secrets.iter().enumerate().try_for_each(|(number, secret)| {
                let path = dir.join(number.to_string());
                write(&path, secret).map_err(|e| Error::file("write", path, e))
            })
        });
        if kept.is_err() {
            // what matters is the first error; check() finds the rest
            let _ = self.remove(container);
        }
        kept
    }

    /// Where the container's n-th secret is.
    ///
    /// # Errors
    ///
    /// [`Error::Secret`] if it is no more: the machine was started again since the container was made.
    pub fn path(&self, container: &str, number: usize, name: &str) -> Result<PathBuf> {
        check_name(container)?;
        let dir = self.dir.join(container);
        let path = dir.join(number.to_string());
        if place::is_mounted(&dir)? && path.exists() {
            return Ok(path);
        }
        Err(Error::Secret {
            name: name.chars().take(200).collect(),
            reason: "its content was in memory, and is gone: make the container anew",
        })
    }

    /// Forgets a container's secrets. Idempotent.
    pub fn remove(&self, container: &str) -> Result<()> {
        check_name(container)?;
        let dir = self.dir.join(container);
        place::unmount_all(&dir)?;
        match fs::remove_dir(&dir) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Error::file("remove", dir, e)),
            _ => Ok(()),
        }
    }

    /// The containers that have secrets, dead or alive.
    pub fn containers(&self) -> Result<Vec<String>> {
        let entries = match fs::read_dir(&self.dir) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.map_err(|e| Error::file("read", &self.dir, e))?,
        };
        let mut found: Vec<String> =
            entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        found.sort_unstable();
        Ok(found)
    }
}

/// Mounts memory at a directory, enough for the secrets.
fn memory(dir: &Path, secrets: &[Secret]) -> Result<()> {
    let failed = |e: Errno| Error::Place { operation: "mount memory", path: dir.into(), source: e.into() };
    let bytes: usize = secrets.iter().map(|secret| secret.content.0.len() + 8192).sum();
    let make = |no_swap: bool| {
        let memory = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
        fsconfig_set_string(memory.as_fd(), "mode", "0700")?;
        fsconfig_set_string(memory.as_fd(), "size", bytes.to_string())?;
        fsconfig_set_string(memory.as_fd(), "nr_inodes", (secrets.len() + 2).to_string())?;
        if no_swap {
            fsconfig_set_flag(memory.as_fd(), "noswap")?;
        }
        fsconfig_create(memory.as_fd())?;
        Ok(memory)
    };
    let memory = make(true).or_else(|_: Errno| make(false)).map_err(failed)?;
    let flags = MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let mount = fsmount(memory.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, flags).map_err(failed)?;
    let empty = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    move_mount(mount.as_fd(), "", rustix::fs::CWD, dir, empty).map_err(failed)
}

fn write(path: &Path, secret: &Secret) -> io::Result<()> {
    let mut file = File::create_new(path)?;
    file.write_all(&secret.content.0)?;
    fchown(&file, Some(secret.uid), Some(secret.gid))?;
    // the umask has no say
    rustix::fs::fchmod(&file, Mode::from_raw_mode(secret.mode))?;
    Ok(())
}
