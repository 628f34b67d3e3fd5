use std::{
    fs::{self, File, OpenOptions},
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use rustix::fs::{
    CWD, FlockOperation, Mode, OFlags, RenameFlags, ResolveFlags, flock, openat, renameat_with,
};

use crate::{Error, NewVolume, Pruned, Result, Volume, fill, local::Local, place, quota, volume::check_name};

/// A directory of volumes, shared by any number of processes.
#[derive(Clone, Debug)]
pub struct Volumes {
    pub(crate) dir: PathBuf,
}

impl Volumes {
    /// Opens a directory of volumes, and makes it if it is not there.
    pub fn open(dir: impl Into<PathBuf>) -> Result<Self> {
        let dir = dir.into();
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o701)
            .create(&dir)
            .map_err(|e| Error::file("create", &dir, e))?;
        Ok(Self { dir })
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Makes a volume, or gives the one of this name if its options are the same (its labels stay). Atomic, idempotent.
    pub fn create(&self, name: &str, new: NewVolume) -> Result<Volume> {
        check_name(name)?;
        judge(name, &new)?;
        let _lock = self.lock()?;
        match self.inspect(name) {
            Ok(there) if there.options == new.options && there.driver == new.driver => return Ok(there),
            Ok(_) => return Err(Error::Exists { name: name.into() }),
            Err(Error::NotFound { .. }) => {}
            Err(e) => return Err(e),
        }
        self.make(name, new, false, |_| Ok(()))
    }

    /// Makes a volume nobody names: 64 random hexadecimal digits.
    pub fn create_anonymous(&self, new: NewVolume) -> Result<Volume> {
        let name = random_hex(&self.dir)?;
        judge(&name, &new)?;
        let _lock = self.lock()?;
        self.make(&name, new, true, |_| Ok(()))
    }

    /// Makes a volume under the lock; `fill` gets its directory before anybody sees it.
    pub(crate) fn make(
        &self,
        name: &str,
        new: NewVolume,
        anonymous: bool,
        fill: impl FnOnce(OwnedFd) -> Result<()>,
    ) -> Result<Volume> {
        let staged = self.dir.join(format!(".new-{name}"));
        // what an earlier attempt left; nobody else is at it, as we have the lock
        remove_tree(&staged)?;
        let created = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
        let mut volume = Volume {
            name: name.into(),
            created,
            anonymous,
            labels: new.labels,
            options: new.options,
            driver: new.driver,
            mountpoint: PathBuf::new(),
        };
        let folders = (|| {
            let folder = |path: &Path, mode| fs::DirBuilder::new().mode(mode).create(path);
            folder(&staged, 0o701)?;
            folder(&staged.join("_data"), 0o755)?;
            folder(&staged.join("users"), 0o700)?;
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            Ok(openat(CWD, staged.join("_data"), flags, Mode::empty())?)
        })();
        let data = folders.map_err(|e: io::Error| Error::file("create", &staged, e))?;
        let filled = match Local::of(name, &volume.options) {
            Ok(Local::Plain { size: Some(bytes) }) if volume.driver.is_none() => {
                quota::limit(name, &staged.join("_data"), bytes)
            }
            _ => Ok(()),
        };
        if let Err(error) = filled.and_then(|()| fill(data)) {
            // what matters is the first error; check() finds the rest
            let _ = remove_tree(&staged);
            return Err(error);
        }
        let written = (|| {
            let meta = File::create_new(staged.join("meta.json"))?;
            serde_json::to_writer_pretty(&meta, &volume)?;
            meta.sync_all()?;
            File::open(&staged)?.sync_all()
        })();
        written.map_err(|e| Error::file("create", &staged, e))?;
        let place = self.dir.join(name);
        renameat_with(CWD, &staged, CWD, &place, RenameFlags::NOREPLACE)
            .map_err(|e| Error::file("create", &place, e))?;
        self.sync();
        volume.mountpoint = place.join("_data");
        Ok(volume)
    }

    /// A volume.
    pub fn inspect(&self, name: &str) -> Result<Volume> {
        check_name(name)?;
        let path = self.dir.join(name).join("meta.json");
        let text = match fs::read(&path) {
            Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Err(Error::NotFound { name: name.into() });
            }
            other => other.map_err(|e| Error::file("read", &path, e))?,
        };
        let mut volume: Volume =
            serde_json::from_slice(&text).map_err(|source| Error::Metadata { path, source })?;
        name.clone_into(&mut volume.name);
        volume.mountpoint = self.dir.join(name).join("_data");
        Ok(volume)
    }

    /// All volumes, in order of name. What is no volume is passed over.
    pub fn list(&self) -> Result<Vec<Volume>> {
        let mut all = Vec::new();
        for name in self.entries()? {
            match self.inspect(&name) {
                Ok(volume) => all.push(volume),
                Err(Error::NotFound { .. } | Error::Name { .. }) => {}
                Err(e) => return Err(e),
            }
        }
        all.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(all)
    }

    /// Removes a volume with its files. Atomic: it is there whole or not at all. In use: [`Error::InUse`].
    pub fn remove(&self, name: &str) -> Result<()> {
        let _lock = self.lock()?;
        self.inspect(name)?;
        let users = self.holders(name)?;
        if !users.is_empty() {
            return Err(Error::InUse { name: name.into(), users });
        }
        self.take_down(name)
    }

    /// Who has it, running or not.
    fn holders(&self, name: &str) -> Result<Vec<String>> {
        let mut all = self.users(name)?;
        all.extend(self.mounted_by(name)?);
        all.sort_unstable();
        all.dedup();
        Ok(all)
    }

    fn take_down(&self, name: &str) -> Result<()> {
        let place = self.dir.join(name);
        // what is mounted there is somebody's, and is not removed with the directory
        place::unmount_all(&place.join("_data"))?;
        let gone = self.dir.join(format!(".gone-{}", random_hex(&self.dir)?));
        fs::rename(&place, &gone).map_err(|e| Error::file("remove", &place, e))?;
        self.sync();
        remove_tree(&gone)
    }

    /// Removes what no container uses: the anonymous ones, or `all`. Volumes of other drivers stay: only those can remove them.
    pub fn prune(&self, all: bool) -> Result<Pruned> {
        let _lock = self.lock()?;
        let mut pruned = Pruned::default();
        for volume in self.list()? {
            if (all || volume.anonymous) && volume.driver.is_none() && self.holders(&volume.name)?.is_empty()
            {
                pruned.bytes += self.usage(&volume.name)?.unwrap_or_default().bytes;
                self.take_down(&volume.name)?;
                pruned.volumes.push(volume.name);
            }
        }
        Ok(pruned)
    }

    /// Notes that a container uses a volume. Idempotent and atomic.
    pub fn take(&self, name: &str, container: &str) -> Result<()> {
        check_name(container)?;
        let _lock = self.lock()?;
        self.inspect(name)?;
        let path = self.dir.join(name).join("users").join(container);
        OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map(drop)
            .map_err(|e| Error::file("create", path, e))
    }

    /// Notes that a container uses a volume no more. Idempotent; the volume need not be there.
    pub fn release(&self, name: &str, container: &str) -> Result<()> {
        check_name(name)?;
        check_name(container)?;
        let path = self.dir.join(name).join("users").join(container);
        match fs::remove_file(&path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Error::file("remove", path, e)),
            _ => Ok(()),
        }
    }

    /// The containers that use a volume, in order.
    pub fn users(&self, name: &str) -> Result<Vec<String>> {
        check_name(name)?;
        let path = self.dir.join(name).join("users");
        let entries = fs::read_dir(&path).map_err(|e| Error::file("read", &path, e))?;
        let mut users: Vec<String> =
            entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        users.sort_unstable();
        Ok(users)
    }

    /// The volume, or a path inside it, as a descriptor (`O_PATH`) to be mounted. Links inside the volume are followed as if the
    /// volume were the root: nothing outside is reached. For a bind volume that is not mounted it is its device; other volumes
    /// with driver options are [mounted](Self::mount) before.
    pub fn source(&self, name: &str, subpath: Option<&Path>) -> Result<OwnedFd> {
        let volume = self.inspect(name)?;
        let top = match Local::of(name, &volume.options) {
            Ok(Local::Bind { device, .. }) if !place::is_mounted(&volume.mountpoint)? => device,
            _ => volume.mountpoint.clone(),
        };
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let root = openat(CWD, &top, flags | OFlags::DIRECTORY, Mode::empty())
            .map_err(|e| Error::file("open", &top, e))?;
        let Some(subpath) = subpath else { return Ok(root) };
        open_beneath(name, root.as_fd(), subpath)
    }

    /// Fills an empty volume with what an image has at `path`: owners, modes, times, links, hard links, holes and extended
    /// attributes, the directory's own included. `root` is the image's root; its links are resolved inside it.
    ///
    /// True if the volume was filled. Not if it has files already, is a bind volume, the image has no directory there, or another
    /// container has taken the volume meanwhile (whose mount would stay with the empty directory). Atomic: all files come at once.
    pub fn fill(&self, name: &str, root: BorrowedFd<'_>, path: &Path) -> Result<bool> {
        let _lock = self.lock()?;
        let volume = self.inspect(name)?;
        let local = Local::of(name, &volume.options);
        let occupied = volume.driver.is_some()
            || matches!(local, Ok(Local::Bind { .. }) | Err(_))
            || self.users(name)?.len() > 1
            || fs::read_dir(&volume.mountpoint)
                .map_err(|e| Error::file("read", &volume.mountpoint, e))?
                .next()
                .is_some();
        if occupied {
            return Ok(false);
        }
        let Some(source) = fill::open_source(name, root, path)? else { return Ok(false) };
        if let Ok(Local::FileSystem { .. }) = local {
            // two file systems cannot exchange directories: an error may leave a part here, which is the mount's own
            if !place::is_mounted(&volume.mountpoint)? {
                return Ok(false);
            }
            let target = self.files(name)?;
            return fill::copy(name, path, source, target.as_fd()).map(|()| true);
        }
        self.replace(&volume, |target| fill::copy(name, path, source, target))?;
        Ok(true)
    }

    /// Puts a directory that `fill` has filled in the place of a plain volume's own, at once. Under the lock.
    pub(crate) fn replace<T>(
        &self,
        volume: &Volume,
        fill: impl FnOnce(BorrowedFd<'_>) -> Result<T>,
    ) -> Result<T> {
        let staged = self.dir.join(&volume.name).join(".fill");
        remove_tree(&staged)?;
        fs::DirBuilder::new().mode(0o700).create(&staged).map_err(|e| Error::file("create", &staged, e))?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let target =
            openat(CWD, &staged, flags, Mode::empty()).map_err(|e| Error::file("open", &staged, e))?;
        let limited = match Local::of(&volume.name, &volume.options)? {
            Local::Plain { size: Some(bytes) } => quota::limit(&volume.name, &staged, bytes),
            _ => Ok(()),
        };
        let copied = match limited.and_then(|()| fill(target.as_fd())) {
            Ok(copied) => copied,
            Err(error) => {
                // what matters is the first error; check() finds the rest
                let _ = remove_tree(&staged);
                return Err(error);
            }
        };
        rustix::fs::syncfs(&target).map_err(|e| Error::file("write", &staged, e))?;
        renameat_with(CWD, &staged, CWD, &volume.mountpoint, RenameFlags::EXCHANGE)
            .map_err(|e| Error::file("fill", &volume.mountpoint, e))?;
        // the empty directory that was there
        remove_tree(&staged)?;
        Ok(copied)
    }

    pub(crate) fn entries(&self) -> Result<Vec<String>> {
        let entries = fs::read_dir(&self.dir).map_err(|e| Error::file("read", &self.dir, e))?;
        Ok(entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect())
    }

    /// Held while the store is changed; ends with the descriptor, so with the process at the latest.
    pub(crate) fn lock(&self) -> Result<File> {
        let path = self.dir.join(".lock");
        let failed = |e: io::Error| Error::file("lock", &path, e);
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path).map_err(failed)?;
        loop {
            match flock(&file, FlockOperation::LockExclusive) {
                Err(rustix::io::Errno::INTR) => {}
                other => break other.map_err(|e| failed(e.into()))?,
            }
        }
        Ok(file)
    }

    /// Brings names to disk; a file system that cannot has its own way.
    fn sync(&self) {
        if let Ok(dir) = File::open(&self.dir) {
            let _ = dir.sync_all();
        }
    }
}

/// A path inside a volume's directory, as a descriptor (`O_PATH`). Links are followed as if the directory were the root.
pub fn open_beneath(name: &str, top: BorrowedFd<'_>, subpath: &Path) -> Result<OwnedFd> {
    let inside = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    fill::resolve(top, subpath, OFlags::PATH | OFlags::CLOEXEC, inside).map_err(|e| Error::Subpath {
        name: name.into(),
        subpath: subpath.into(),
        source: e.into(),
    })
}

/// Removes a directory with what is in it, following no link. Idempotent.
pub(crate) fn remove_tree(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Error::file("remove", path, e)),
        _ => Ok(()),
    }
}

fn random_hex(dir: &Path) -> Result<String> {
    let mut bytes = [0_u8; 32];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
        .map_err(|e| Error::file("read random bytes for", dir, e))?;
    let digit = |n: u8| char::from(if n < 10 { b'0' + n } else { b'a' + n - 10 });
    Ok(bytes.iter().flat_map(|b| [digit(b >> 4), digit(b & 15)]).collect())
}

/// Whether the options are the `local` driver's; those of another driver are its own to judge.
fn judge(name: &str, new: &NewVolume) -> Result<()> {
    match new.driver {
        Some(_) => Ok(()),
        None => Local::of(name, &new.options).map(drop),
    }
}
