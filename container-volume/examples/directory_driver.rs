//! A volume driver whose volumes are directories below one: `directory_driver SOCKET DIRECTORY`.
//!
//! With the socket at /run/docker/plugins/directory.sock, Docker, podman and dunnage have a driver `directory`:
//! `docker volume create -d directory data`.

use std::{
    collections::BTreeMap,
    error::Error,
    fs,
    os::unix::net::UnixListener,
    path::{Path, PathBuf},
    sync::atomic::AtomicBool,
};

use container_volume::{DriverVolume, Refusal, VolumeDriver, serve};

struct Directories(PathBuf);

impl Directories {
    /// A name becomes a path only if it is one plain file name.
    fn path(&self, name: &str) -> Result<PathBuf, Refusal> {
        let plain = !name.is_empty()
            && !name.starts_with('.')
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b));
        if plain {
            Ok(self.0.join(name))
        } else {
            Err(Refusal(format!("{name:?} is no name of a directory")))
        }
    }

    fn there(&self, name: &str) -> Result<PathBuf, Refusal> {
        let path = self.path(name)?;
        if path.is_dir() { Ok(path) } else { Err(Refusal(format!("there is no directory {name}"))) }
    }
}

impl VolumeDriver for Directories {
    fn create(&self, name: &str, options: &BTreeMap<String, String>) -> Result<(), Refusal> {
        if let Some(option) = options.keys().next() {
            return Err(Refusal(format!("there is no option {option:?}")));
        }
        Ok(fs::create_dir_all(self.path(name)?)?)
    }

    fn remove(&self, name: &str) -> Result<(), Refusal> {
        Ok(fs::remove_dir_all(self.there(name)?)?)
    }

    fn mount(&self, name: &str, _id: &str) -> Result<PathBuf, Refusal> {
        self.there(name)
    }

    fn unmount(&self, name: &str, _id: &str) -> Result<(), Refusal> {
        self.there(name).map(drop)
    }

    fn volume(&self, name: &str) -> Result<DriverVolume, Refusal> {
        let path = self.there(name)?;
        Ok(DriverVolume { name: name.to_owned(), mountpoint: Some(path), ..DriverVolume::default() })
    }

    fn volumes(&self) -> Result<Vec<DriverVolume>, Refusal> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.0)? {
            if let Ok(name) = entry?.file_name().into_string() {
                found.extend(self.volume(&name));
            }
        }
        Ok(found)
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [socket, directory] = arguments.as_slice() else {
        return Err("usage: directory_driver SOCKET DIRECTORY".into());
    };
    let directory = fs::canonicalize(Path::new(directory))?;
    let listener = UnixListener::bind(socket)?;
    serve(&listener, &Directories(directory), &AtomicBool::new(false))?;
    Ok(())
}
