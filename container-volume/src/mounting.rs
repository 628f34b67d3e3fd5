use std::{
    fs::{self, File, OpenOptions},
    io,
    os::fd::AsFd,
    path::{Path, PathBuf},
};

use rustix::{
    fs::{FlockOperation, flock},
    io::Errno,
    mount::{MountFlags, mount},
};

use crate::{
    Error, Result, Volume, Volumes, bind::open_bind, local::Local, place, quota, volume::check_name,
};

impl Volumes {
    /// Mounts what a volume's options name, unless that is done, notes that the container has it mounted, and returns where its
    /// files are. A plain volume needs no mount; of another driver's volume only the note is made. Idempotent; what fails leaves no mount and no note.
    ///
    /// The volume stays in use until [`unmount`](Self::unmount), whatever happens to the process.
    ///
    /// # Errors
    ///
    /// [`Error::Mount`] with the kernel's own error, [`Error::Quota`] where the file system has no limits.
    pub fn mount(&self, name: &str, container: &str) -> Result<PathBuf> {
        check_name(container)?;
        let note = self.dir.join(name).join("mounted").join(container);
        let (volume, local) = {
            let _lock = self.lock()?;
            let volume = self.inspect(name)?;
            let local = match volume.driver {
                // only the note: the mount is the driver's
                Some(_) => None,
                None => Some(Local::of(name, &volume.options)?),
            };
            if let Some(Local::Plain { size }) = local {
                if let Some(bytes) = size {
                    quota::limit(name, &volume.mountpoint, bytes)?;
                }
                return Ok(volume.mountpoint);
            }
            let notes = self.dir.join(name).join("mounted");
            fs::create_dir_all(&notes).map_err(|e| Error::file("create", &notes, e))?;
            File::create(&note).map_err(|e| Error::file("create", &note, e))?;
            (volume, local)
        };
        let Some(local) = local else { return Ok(volume.mountpoint) };
        // not the store's lock: a server that does not answer must not stop everybody else
        let _lock = self.mount_lock(name)?;
        let mounted = match place::is_mounted(&volume.mountpoint) {
            Ok(true) => Ok(()),
            Ok(false) => self.mount_now(&volume, &local),
            Err(e) => Err(e),
        };
        if let Err(error) = mounted {
            let _ = fs::remove_file(&note);
            return Err(error);
        }
        Ok(volume.mountpoint)
    }

    /// Notes that a container has a volume mounted no more, and unmounts it after the last one. Idempotent; the volume need not be
    /// there.
    pub fn unmount(&self, name: &str, container: &str) -> Result<()> {
        check_name(name)?;
        check_name(container)?;
        let notes = self.dir.join(name).join("mounted");
        if !notes.exists() {
            return Ok(());
        }
        let _lock = self.mount_lock(name)?;
        let note = notes.join(container);
        match fs::remove_file(&note) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(Error::file("remove", note, e)),
            _ => {}
        }
        if self.mounted_by(name)?.is_empty() {
            place::unmount_all(&self.dir.join(name).join("_data"))?;
        }
        Ok(())
    }

    /// The containers that have a volume mounted by its options, in order.
    pub fn mounted_by(&self, name: &str) -> Result<Vec<String>> {
        check_name(name)?;
        let notes = self.dir.join(name).join("mounted");
        let entries = match fs::read_dir(&notes) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.map_err(|e| Error::file("read", &notes, e))?,
        };
        let mut found: Vec<String> =
            entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        found.sort_unstable();
        Ok(found)
    }

    fn mount_now(&self, volume: &Volume, local: &Local) -> Result<()> {
        let failed = |source: io::Error| {
            let text = |key: &str| volume.options.get(key).cloned().unwrap_or_default();
            Error::Mount {
                operation: "mount",
                name: volume.name.clone(),
                kind: text("type"),
                device: text("device"),
                options: text("o"),
                source,
            }
        };
        match local {
            Local::Plain { .. } => Ok(()),
            Local::Bind { device, recursive, flags } => {
                let source = open_bind(device, false, &[&self.dir])?;
                let done = place::bind_at(source.fd.as_fd(), &volume.mountpoint, *recursive, *flags);
                if done.is_err() {
                    let _ = place::unmount_all(&volume.mountpoint);
                }
                done.map_err(|error| match error {
                    Error::Place { source, .. } => failed(source),
                    other => other,
                })
            }
            Local::FileSystem { kind, device, flags, data } => {
                let data = std::ffi::CString::new(data.as_str()).map_err(|e| failed(e.into()))?;
                loop {
                    match mount(
                        device.as_str(),
                        &volume.mountpoint,
                        kind.as_str(),
                        *flags - MountFlags::BIND,
                        data.as_c_str(),
                    ) {
                        Err(Errno::INTR) => {}
                        other => return other.map_err(|e| failed(e.into())),
                    }
                }
            }
        }
    }

    /// Held while one volume is mounted or unmounted.
    fn mount_lock(&self, name: &str) -> Result<File> {
        let path: PathBuf = self.dir.join(name).join("mount.lock");
        lock_file(&path)
    }
}

fn lock_file(path: &Path) -> Result<File> {
    let failed = |e: io::Error| Error::file("lock", path, e);
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(path).map_err(failed)?;
    loop {
        match flock(&file, FlockOperation::LockExclusive) {
            Err(Errno::INTR) => {}
            other => break other.map_err(|e| failed(e.into()))?,
        }
    }
    Ok(file)
}
