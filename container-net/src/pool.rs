use std::{
    fs::{self, File, OpenOptions},
    io,
    net::IpAddr,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use rustix::fs::{FlockOperation, flock};

use crate::{Error, Result, Subnet, SubnetConfig};

/// Bytes of the header page: magic, what the file is for, the cursor.
const HEADER: u64 = 4096;
const CURSOR: u64 = 1024;
/// Addresses a pool hands out by itself, at most; a larger subnet's others can be asked for.
const WINDOW: u64 = 65_536;
/// Places for addresses that were asked for and lie outside the window.
const EXTRA: u64 = 1024;
/// Bytes of a record: length and owner, address, check sum.
const RECORD: u64 = 128;
const OWNER: usize = 96;
const CHUNK: usize = 16_384;

/// The addresses of a subnet and who has them, in one file that any number of processes share.
///
/// For each address the file has a *tag* of four bytes, zero if it is free and a hash of the owner otherwise,
/// and a record. The record is written before its tag, so the one write of an aligned word decides, and a
/// process that is killed at any instruction loses no lease and makes none by half. A lock on the open file
/// (flock) keeps processes and threads apart and ends with its holder. A search reads only tags: a /16 is 256 KiB.
///
/// Addresses are given out in turn (next fit), so that one that was just released is not used again at once.
/// The network's, the broadcast and the gateway's address are never given out.
///
/// After a loss of power a record may be torn; its owner is then reported as empty, and
/// [`check`](crate::check) frees it.
#[derive(Clone, Debug)]
pub struct Pool {
    path: PathBuf,
    config: SubnetConfig,
    first: u128,
    count: u64,
}

impl Pool {
    /// Opens the pool of a subnet in a directory, and makes it (and the directory) if it is not there.
    /// Atomic; several processes may do it at once.
    pub fn open(dir: impl AsRef<Path>, config: &SubnetConfig) -> Result<Self> {
        let dir = dir.as_ref();
        let window = config.ip_range.unwrap_or(config.subnet);
        let first = config.subnet.offset(window.address()).ok_or(Error::AddressUnusable {
            address: window.address(),
            subnet: config.subnet,
            reason: "the range is outside the subnet",
        })?;
        let last = window.offset(window.last()).unwrap_or_default();
        let name = config.subnet.to_string().replace(['/', ':'], "_");
        let pool = Self {
            path: dir.join(format!("{name}.pool")),
            config: config.clone(),
            first,
            count: u64::try_from(last).unwrap_or(u64::MAX).saturating_add(1).min(WINDOW),
        };
        if !pool.path.exists() {
            pool.create(dir)?;
        }
        pool.lock()?;
        Ok(pool)
    }

    /// The subnet.
    pub fn subnet(&self) -> Subnet {
        self.config.subnet
    }

    /// Leases an address to `owner`: the wanted one, or the next free one. An owner has at most one address
    /// of a pool and gets the same again, so a call may be repeated.
    pub fn lease(&self, owner: &str, wanted: Option<IpAddr>) -> Result<IpAddr> {
        check_owner(owner)?;
        if let Some(address) = wanted {
            self.usable(address)?;
        }
        let file = self.lock()?;
        if let Some((_, held)) = self.find_owner(&file, owner)? {
            return match wanted {
                Some(address) if address != held => {
                    Err(Error::AddressTaken { address: held, owner: owner.into() })
                }
                _ => Ok(held),
            };
        }
        let (slot, address) = match wanted {
            Some(address) => (self.slot_for(&file, address)?, address),
            None => self.next_free(&file)?,
        };
        self.write_record(&file, slot, owner, address)?;
        self.write(&file, HEADER + slot * 4, &tag(owner))?;
        if wanted.is_none() {
            self.write(&file, CURSOR, &slot.to_ne_bytes())?;
        }
        Ok(address)
    }

    /// Frees what `owner` has; nothing if that is nothing. Idempotent.
    pub fn release(&self, owner: &str) -> Result<()> {
        let file = self.lock()?;
        while let Some((slot, _)) = self.find_owner(&file, owner)? {
            self.write(&file, HEADER + slot * 4, &[0; 4])?;
        }
        Ok(())
    }

    /// What `owner` has.
    pub fn leased_to(&self, owner: &str) -> Result<Option<IpAddr>> {
        let file = self.lock()?;
        Ok(self.find_owner(&file, owner)?.map(|(_, address)| address))
    }

    /// Frees one address, whoever has it. Idempotent.
    pub fn release_address(&self, address: IpAddr) -> Result<()> {
        let file = self.lock()?;
        for (slot, held, _) in self.taken(&file)? {
            if held == Some(address) {
                self.write(&file, HEADER + slot * 4, &[0; 4])?;
            }
        }
        Ok(())
    }

    /// All leases, in order of address.
    pub fn leases(&self) -> Result<Vec<(IpAddr, String)>> {
        let file = self.lock()?;
        let mut all: Vec<_> = self
            .taken(&file)?
            .into_iter()
            .filter_map(|(_, address, owner)| Some((address?, owner)))
            .collect();
        all.sort_unstable();
        Ok(all)
    }

    fn identity(&self) -> String {
        format!("dunnage pool 1 {} {} {}\n", self.config.subnet, self.first, self.count)
    }

    fn create(&self, dir: &Path) -> Result<()> {
        fs::create_dir_all(dir).map_err(|e| Error::file("create", dir, e))?;
        let staged = dir.join(format!(".new-{}-{:?}", std::process::id(), std::thread::current().id()));
        let made = (|| {
            let file = OpenOptions::new().create(true).truncate(true).write(true).open(&staged)?;
            file.set_len(HEADER + (self.count + EXTRA) * (4 + RECORD))?;
            file.write_all_at(self.identity().as_bytes(), 0)?;
            file.write_all_at(&u64::MAX.to_ne_bytes(), CURSOR)?;
            // a link and not a rename: whoever was first keeps his file
            match fs::hard_link(&staged, &self.path) {
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
                other => other,
            }
        })();
        let _ = fs::remove_file(&staged);
        made.map_err(|e| Error::file("create", &self.path, e))
    }

    /// The file, open and locked until it is dropped. Opened anew each time, as flock belongs to an open file.
    fn lock(&self) -> Result<File> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(&self.path)
            .map_err(|e| Error::file("open", &self.path, e))?;
        loop {
            match flock(&file, FlockOperation::LockExclusive) {
                Err(rustix::io::Errno::INTR) => {}
                other => break other.map_err(|e| Error::file("lock", &self.path, e))?,
            }
        }
        let expected = self.identity();
        let mut found = vec![0; expected.len()];
        self.read(&file, 0, &mut found)?;
        if found != expected.as_bytes() {
            return Err(Error::PoolDamaged {
                path: self.path.clone(),
                subnet: self.config.subnet,
                reason: "its header names another subnet, range or format",
            });
        }
        Ok(file)
    }

    fn usable(&self, address: IpAddr) -> Result<()> {
        let subnet = self.config.subnet;
        let reason = if !subnet.contains(address) {
            "it is outside"
        } else if !subnet.is_host(address) {
            "it is the network's own or the broadcast address"
        } else if address == self.config.gateway {
            "it is the gateway's"
        } else {
            return Ok(());
        };
        Err(Error::AddressUnusable { address, subnet, reason })
    }

    fn address_of(&self, slot: u64) -> Option<IpAddr> {
        self.config.subnet.nth(self.first + u128::from(slot))
    }

    /// Calls `each` with every place whose tag is as wanted; stops when that says so.
    fn scan(
        &self,
        file: &File,
        from: u64,
        to: u64,
        wanted: Tag,
        mut each: impl FnMut(u64) -> bool,
    ) -> Result<()> {
        let mut buffer = [0_u8; CHUNK];
        let mut slot = from;
        while slot < to {
            let length = ((to - slot) * 4).min(CHUNK as u64) as usize;
            let chunk = buffer.get_mut(..length).unwrap_or_default();
            self.read(file, HEADER + slot * 4, chunk)?;
            let (mut words, _) = chunk.as_chunks::<4>();
            let mut first = slot;
            while let Some(next) = match wanted {
                Tag::Free => words.iter().position(|word| *word == [0; 4]),
                Tag::Taken => words.iter().position(|word| *word != [0; 4]),
                Tag::Of(tag) => words.iter().position(|word| *word == tag),
            } {
                if each(first + next as u64) {
                    return Ok(());
                }
                first += next as u64 + 1;
                words = words.get(next + 1..).unwrap_or_default();
            }
            slot += length as u64 / 4;
        }
        Ok(())
    }

    fn find_owner(&self, file: &File, owner: &str) -> Result<Option<(u64, IpAddr)>> {
        let mut candidates = Vec::new();
        self.scan(file, 0, self.count + EXTRA, Tag::Of(tag(owner)), |slot| {
            candidates.push(slot);
            false
        })?;
        for slot in candidates {
            let (held, address) = self.read_record(file, slot)?;
            if held == owner
                && let Some(address) = address
            {
                return Ok(Some((slot, address)));
            }
        }
        Ok(None)
    }

    fn next_free(&self, file: &File) -> Result<(u64, IpAddr)> {
        let mut bytes = [0; 8];
        self.read(file, CURSOR, &mut bytes)?;
        let start = u64::from_ne_bytes(bytes).wrapping_add(1);
        let start = if start < self.count { start } else { 0 };
        for (from, to) in [(start, self.count), (0, start)] {
            let mut found = None;
            self.scan(file, from, to, Tag::Free, |slot| {
                found = self
                    .address_of(slot)
                    .filter(|address| self.usable(*address).is_ok())
                    .map(|address| (slot, address));
                found.is_some()
            })?;
            if let Some(found) = found {
                return Ok(found);
            }
        }
        Err(Error::PoolExhausted { subnet: self.config.subnet })
    }

    /// The free place of a wanted address.
    fn slot_for(&self, file: &File, address: IpAddr) -> Result<u64> {
        let offset = self.config.subnet.offset(address).unwrap_or_default();
        let inside =
            offset.checked_sub(self.first).and_then(|n| u64::try_from(n).ok()).filter(|n| *n < self.count);
        let taken = |slot| -> Result<Error> {
            let (owner, _) = self.read_record(file, slot)?;
            Ok(Error::AddressTaken { address, owner })
        };
        if let Some(slot) = inside {
            let mut bytes = [0; 4];
            self.read(file, HEADER + slot * 4, &mut bytes)?;
            return if bytes == [0; 4] { Ok(slot) } else { Err(taken(slot)?) };
        }
        let (mut used, mut free) = (Vec::new(), None);
        self.scan(file, self.count, self.count + EXTRA, Tag::Taken, |slot| {
            used.push(slot);
            false
        })?;
        self.scan(file, self.count, self.count + EXTRA, Tag::Free, |slot| {
            free = Some(slot);
            true
        })?;
        for slot in used {
            if self.read_record(file, slot)?.1 == Some(address) {
                return Err(taken(slot)?);
            }
        }
        free.ok_or(Error::PoolExhausted { subnet: self.config.subnet })
    }

    fn taken(&self, file: &File) -> Result<Vec<(u64, Option<IpAddr>, String)>> {
        let mut slots = Vec::new();
        self.scan(file, 0, self.count + EXTRA, Tag::Taken, |slot| {
            slots.push(slot);
            false
        })?;
        slots
            .into_iter()
            .map(|slot| {
                let (owner, address) = self.read_record(file, slot)?;
                // in the window the place itself is the address, even if the record is torn
                Ok((slot, if slot < self.count { self.address_of(slot) } else { address }, owner))
            })
            .collect()
    }

    fn record_place(&self, slot: u64) -> u64 {
        HEADER + (self.count + EXTRA) * 4 + slot * RECORD
    }

    fn write_record(&self, file: &File, slot: u64, owner: &str, address: IpAddr) -> Result<()> {
        let offset = self.config.subnet.offset(address).unwrap_or_default();
        let mut record = Vec::with_capacity(RECORD as usize);
        record.push(owner.len() as u8);
        record.extend_from_slice(owner.as_bytes());
        record.resize(1 + OWNER, 0);
        record.extend_from_slice(&offset.to_ne_bytes());
        record.extend_from_slice(&fnv(&record).to_ne_bytes());
        record.resize(RECORD as usize, 0);
        self.write(file, self.record_place(slot), &record)
    }

    /// The owner, empty if the record is torn, and the address.
    fn read_record(&self, file: &File, slot: u64) -> Result<(String, Option<IpAddr>)> {
        let mut record = [0; RECORD as usize];
        self.read(file, self.record_place(slot), &mut record)?;
        let body = record.get(..OWNER + 17).unwrap_or_default();
        let sum = record.get(OWNER + 17..OWNER + 21).unwrap_or_default();
        if fnv(body).to_ne_bytes() != sum {
            return Ok((String::new(), None));
        }
        let length = usize::from(record.first().copied().unwrap_or_default());
        let owner = record.get(1..=length).map(String::from_utf8_lossy).unwrap_or_default().into_owned();
        let offset =
            record.get(OWNER + 1..OWNER + 17).and_then(|b| b.try_into().ok()).map(u128::from_ne_bytes);
        Ok((owner, offset.and_then(|n| self.config.subnet.nth(n))))
    }

    fn read(&self, file: &File, place: u64, into: &mut [u8]) -> Result<()> {
        file.read_exact_at(into, place).map_err(|e| Error::file("read", &self.path, e))
    }

    fn write(&self, file: &File, place: u64, bytes: &[u8]) -> Result<()> {
        file.write_all_at(bytes, place).map_err(|e| Error::file("write", &self.path, e))
    }
}

/// Which places a search is for.
#[derive(Clone, Copy)]
enum Tag {
    Free,
    Taken,
    Of([u8; 4]),
}

fn check_owner(owner: &str) -> Result<()> {
    let reason = if owner.is_empty() {
        "it is empty"
    } else if owner.len() > OWNER {
        "it is longer than 96 bytes"
    } else {
        return Ok(());
    };
    Err(Error::Name { what: "lease owner", value: owner.chars().take(64).collect(), reason })
}

fn fnv(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, &b| (hash ^ u32::from(b)).wrapping_mul(0x0100_0193))
}

fn tag(owner: &str) -> [u8; 4] {
    fnv(owner.as_bytes()).max(1).to_ne_bytes()
}
