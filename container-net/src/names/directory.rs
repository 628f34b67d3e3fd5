use std::{
    collections::HashMap,
    fs, io,
    net::IpAddr,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use serde::{Deserialize, Serialize};

use crate::{Attachment, Error, Result, attachment::names_dir, network};

/// Largest record file that is read, in bytes.
const LARGEST: u64 = 65_536;

/// One endpoint's names and addresses, as its file holds them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The container's identifier, and the file's name.
    pub container_id: String,
    /// Its name, which its addresses are resolved to.
    pub container_name: String,
    /// Name of the network; every name is known with this behind it as well.
    pub network: String,
    /// All names: the container's, its aliases, its host name, the first twelve characters of its identifier.
    pub names: Vec<String>,
    /// The addresses.
    pub addresses: Vec<IpAddr>,
}

impl Record {
    /// The record of an attachment with these addresses.
    pub fn of(attachment: &Attachment, addresses: &[IpAddr]) -> Self {
        let endpoint = &attachment.endpoint;
        let short: String = endpoint.container_id.chars().take(12).collect();
        let mut names = vec![endpoint.container_name.clone(), short];
        names.extend(endpoint.aliases.iter().cloned());
        names.extend(endpoint.hostname.clone());
        names.dedup();
        Self {
            container_id: endpoint.container_id.clone(),
            container_name: endpoint.container_name.clone(),
            network: attachment.network.name.clone(),
            names,
            addresses: addresses.to_vec(),
        }
    }

    /// Writes the record into a directory, which is made if it is not there. Atomic; replaces an earlier one.
    pub fn register(&self, dir: &Path) -> Result<()> {
        network::identifier("container id", &self.container_id)?;
        fs::create_dir_all(dir).map_err(|e| Error::file("create", dir, e))?;
        let text = serde_json::to_vec(self)
            .map_err(|e| Error::file("write", dir.join(&self.container_id), io::Error::from(e)))?;
        let staged = dir.join(format!(".{}", self.container_id));
        let path = dir.join(&self.container_id);
        fs::write(&staged, text)
            .and_then(|()| fs::rename(&staged, &path))
            .map_err(|e| Error::file("write", path, e))
    }

    /// Removes a container's record. Idempotent.
    pub fn remove(dir: &Path, container_id: &str) -> Result<()> {
        network::identifier("container id", container_id)?;
        for path in [dir.join(container_id), dir.join(format!(".{container_id}"))] {
            match fs::remove_file(&path) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(Error::file("remove", path, e)),
                _ => {}
            }
        }
        Ok(())
    }

    /// All records of a directory; what cannot be read as one is left out. None if there is no directory.
    pub fn all(dir: &Path) -> Result<Vec<Self>> {
        let entries = match fs::read_dir(dir) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.map_err(|e| Error::file("read", dir, e))?,
        };
        let mut records = Vec::new();
        for entry in entries.flatten() {
            let plain = entry.metadata().is_ok_and(|m| m.is_file() && m.len() <= LARGEST);
            if !plain || entry.file_name().to_string_lossy().starts_with('.') {
                continue;
            }
            // it may be gone by now
            let Ok(text) = fs::read(entry.path()) else { continue };
            records.extend(serde_json::from_slice::<Self>(&text));
        }
        records.sort_by(|a, b| a.container_id.cmp(&b.container_id));
        Ok(records)
    }
}

#[derive(Debug, Default)]
struct Network {
    dir: PathBuf,
    changed: Option<SystemTime>,
    names: HashMap<String, Vec<IpAddr>>,
    owners: HashMap<IpAddr, String>,
}

/// The names of some networks together, as their files say at each moment.
#[derive(Debug)]
pub struct Directory {
    networks: Vec<Network>,
    turn: usize,
}

impl Directory {
    /// The names of the networks with these state directories, the earlier ones first. Reads nothing yet.
    pub fn new<P: AsRef<Path>>(state_dirs: impl IntoIterator<Item = P>) -> Self {
        let networks = state_dirs
            .into_iter()
            .map(|dir| Network { dir: names_dir(dir.as_ref()), ..Network::default() })
            .collect();
        Self { networks, turn: 0 }
    }

    /// Addresses of a name (whatever its case, without a final dot), beginning with another one each time.
    /// None if nobody has the name; of several networks the first that knows it answers.
    pub fn lookup(&mut self, name: &str) -> Option<Vec<IpAddr>> {
        self.refresh();
        let name = name.to_lowercase();
        let found = self.networks.iter().find_map(|n| n.names.get(&name))?;
        self.turn = self.turn.wrapping_add(1);
        let (mut all, mut v6): (Vec<_>, Vec<_>) = found.iter().partition(|a| a.is_ipv4());
        for family in [&mut all, &mut v6] {
            let by = self.turn.checked_rem(family.len()).unwrap_or(0);
            family.rotate_left(by);
        }
        all.extend(v6);
        Some(all)
    }

    /// Who has an address: `container.network`.
    pub fn reverse(&mut self, address: IpAddr) -> Option<String> {
        self.refresh();
        self.networks.iter().find_map(|n| n.owners.get(&address)).cloned()
    }

    fn refresh(&mut self) {
        for network in &mut self.networks {
            network.refresh();
        }
    }
}

impl Network {
    /// Reads the directory again if it changed since. Renaming a file into it changes its time.
    fn refresh(&mut self) {
        let changed = fs::metadata(&self.dir).and_then(|m| m.modified()).ok();
        if changed.is_some() && changed == self.changed {
            return;
        }
        // a time that is not over yet may come a second time: then it is read again at the next question
        let settled = changed.filter(|at| {
            SystemTime::now().duration_since(*at).is_ok_and(|age| age > Duration::from_millis(50))
        });
        self.changed = settled;
        self.names.clear();
        self.owners.clear();
        for record in Record::all(&self.dir).unwrap_or_default() {
            for name in &record.names {
                let name = name.to_lowercase();
                for known in [format!("{name}.{}", record.network.to_lowercase()), name] {
                    let addresses = self.names.entry(known).or_default();
                    for address in &record.addresses {
                        if !addresses.contains(address) {
                            addresses.push(*address);
                        }
                    }
                }
            }
            for address in &record.addresses {
                self.owners.insert(*address, format!("{}.{}", record.container_name, record.network));
            }
        }
    }
}
