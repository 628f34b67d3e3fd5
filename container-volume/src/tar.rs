//! The tar format as far as a volume needs it: POSIX pax (`pax(1)`), with GNU's long names read too.

use std::io::{self, Read, Write};

use crate::{Error, Result};

pub(crate) const BLOCK: usize = 512;
/// Largest body of an extended header.
const LARGEST_HEADER: u64 = 1 << 20;

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    File,
    HardLink,
    Symlink,
    Character,
    Block,
    Directory,
    Fifo,
}

/// One entry of an archive.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) path: Vec<u8>,
    pub(crate) kind: Kind,
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) size: u64,
    pub(crate) seconds: i64,
    pub(crate) nanoseconds: u32,
    pub(crate) link: Vec<u8>,
    pub(crate) device: (u32, u32),
    pub(crate) attributes: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Entry {
    pub(crate) fn refuse(&self, reason: &'static str) -> Error {
        Error::Archive { entry: shown(&self.path), reason }
    }
}

fn shown(path: &[u8]) -> String {
    String::from_utf8_lossy(path).chars().take(200).collect()
}

pub(crate) struct Writer<W> {
    output: W,
}

impl<W: Write> Writer<W> {
    pub(crate) fn new(output: W) -> Self {
        Self { output }
    }

    /// Writes the header; exactly `size` bytes of data follow by [`data`](Self::data), then [`pad`](Self::pad).
    pub(crate) fn entry(&mut self, entry: &Entry) -> io::Result<()> {
        let mut records = Vec::new();
        if entry.path.len() > 100 || !entry.path.is_ascii() {
            record(&mut records, b"path", &entry.path);
        }
        if entry.link.len() > 100 || !entry.link.is_ascii() {
            record(&mut records, b"linkpath", &entry.link);
        }
        if entry.size >= 1 << 33 {
            record(&mut records, b"size", entry.size.to_string().as_bytes());
        }
        for (name, number) in [(b"uid", entry.uid), (b"gid", entry.gid)] {
            if number >= 1 << 21 {
                record(&mut records, name, number.to_string().as_bytes());
            }
        }
        if entry.nanoseconds > 0 || !(0..1 << 33).contains(&entry.seconds) {
            // before 1970, the fraction counts towards the past in decimal
            let text = match (entry.seconds, entry.nanoseconds) {
                (seconds, nanos) if seconds < 0 && nanos > 0 => {
                    format!("-{}.{:09}", -(seconds + 1), 1_000_000_000 - nanos)
                }
                (seconds, nanos) => format!("{seconds}.{nanos:09}"),
            };
            record(&mut records, b"mtime", text.as_bytes());
        }
        for (name, value) in &entry.attributes {
            record(&mut records, &[b"SCHILY.xattr.", name.as_slice()].concat(), value);
        }
        if !records.is_empty() {
            self.header(entry, b'x', records.len() as u64)?;
            self.output.write_all(&records)?;
            self.pad(records.len() as u64)?;
        }
        let kind = match entry.kind {
            Kind::File => b'0',
            Kind::HardLink => b'1',
            Kind::Symlink => b'2',
            Kind::Character => b'3',
            Kind::Block => b'4',
            Kind::Directory => b'5',
            Kind::Fifo => b'6',
        };
        self.header(entry, kind, entry.size)
    }

    fn header(&mut self, entry: &Entry, kind: u8, size: u64) -> io::Result<()> {
        let mut block = [0_u8; BLOCK];
        let mut put = |at: usize, text: &[u8]| {
            for (byte, value) in block.iter_mut().skip(at).zip(text) {
                *byte = *value;
            }
        };
        put(0, entry.path.get(..100).unwrap_or(&entry.path));
        put(100, format!("{:07o}", entry.mode & 0o7777).as_bytes());
        put(108, format!("{:07o}", entry.uid & 0o7_777_777).as_bytes());
        put(116, format!("{:07o}", entry.gid & 0o7_777_777).as_bytes());
        put(124, format!("{:011o}", size & 0o77_777_777_777).as_bytes());
        put(136, format!("{:011o}", entry.seconds.clamp(0, (1 << 33) - 1)).as_bytes());
        put(148, b"        ");
        put(156, &[kind]);
        put(157, entry.link.get(..100).unwrap_or(&entry.link));
        put(257, b"ustar\x0000");
        put(329, format!("{:07o}", entry.device.0).as_bytes());
        put(337, format!("{:07o}", entry.device.1).as_bytes());
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        for (byte, value) in block.iter_mut().skip(148).zip(format!("{sum:06o}\0 ").bytes()) {
            *byte = value;
        }
        self.output.write_all(&block)
    }

    pub(crate) fn data(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.output.write_all(bytes)
    }

    /// Fills the last block after `size` bytes of data.
    pub(crate) fn pad(&mut self, size: u64) -> io::Result<()> {
        let rest = (BLOCK as u64 - size % BLOCK as u64) % BLOCK as u64;
        self.output.write_all([0; BLOCK].get(..rest as usize).unwrap_or_default())
    }

    pub(crate) fn finish(mut self) -> io::Result<()> {
        self.output.write_all(&[0; 2 * BLOCK])?;
        self.output.flush()
    }
}

/// `LENGTH NAME=VALUE\n`, where the length counts itself.
fn record(records: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    let rest = name.len() + value.len() + 3;
    let mut length = rest;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    records.extend_from_slice(length.to_string().as_bytes());
    records.push(b' ');
    records.extend_from_slice(name);
    records.push(b'=');
    records.extend_from_slice(value);
    records.push(b'\n');
}

pub(crate) struct Reader<R> {
    input: R,
    /// Data of the current entry that was not read, and the padding behind it.
    left: u64,
    padding: u64,
    name: String,
}

impl<R: Read> Reader<R> {
    pub(crate) fn new(input: R, volume: &str) -> Self {
        Self { input, left: 0, padding: 0, name: volume.into() }
    }

    fn failed(&self, source: io::Error) -> Error {
        if source.kind() == io::ErrorKind::UnexpectedEof {
            return broken("it ends in the middle");
        }
        Error::Backup { operation: "read the archive for", path: "".into(), of: self.name.clone(), source }
    }

    /// The next entry, with what extended headers say of it; what was not read of the one before is passed over.
    pub(crate) fn next_entry(&mut self) -> Result<Option<Entry>> {
        let (mut pax, mut long_name, mut long_link) = (Vec::new(), None, None);
        loop {
            let skip = self.left + self.padding;
            let skipped = io::copy(&mut (&mut self.input).take(skip), &mut io::sink());
            if skipped.map_err(|e| self.failed(e))? < skip {
                return Err(broken("it ends in the middle"));
            }
            (self.left, self.padding) = (0, 0);
            let mut block = [0_u8; BLOCK];
            match self.input.read(&mut block).map_err(|e| self.failed(e))? {
                // some writers leave the last two blocks out
                0 if pax.is_empty() && long_name.is_none() && long_link.is_none() => return Ok(None),
                0 => return Err(broken("it ends in the middle")),
                read => {
                    let rest = block.get_mut(read..).unwrap_or_default();
                    self.input.read_exact(rest).map_err(|e| self.failed(e))?;
                }
            }
            if block.iter().all(|byte| *byte == 0) {
                return Ok(None);
            }
            let field = |at: usize, length: usize| block.get(at..at + length).unwrap_or_default();
            let sum: u64 = block
                .iter()
                .enumerate()
                .map(|(at, byte)| if (148..156).contains(&at) { 32 } else { u64::from(*byte) })
                .sum();
            if number(field(148, 8)) != Some(sum) {
                return Err(broken("a header's sum is wrong"));
            }
            let size = number(field(124, 12)).ok_or_else(|| broken("a header's size is wrong"))?;
            let flag = field(156, 1).first().copied().unwrap_or_default();
            if matches!(flag, b'x' | b'g' | b'L' | b'K') {
                if size > LARGEST_HEADER {
                    return Err(broken("an extended header is too long"));
                }
                let mut body = vec![0; size as usize];
                self.input.read_exact(&mut body).map_err(|e| self.failed(e))?;
                self.padding = (BLOCK as u64 - size % BLOCK as u64) % BLOCK as u64;
                match flag {
                    b'x' => pax = records(&body).ok_or_else(|| broken("an extended header is wrong"))?,
                    b'L' => long_name = Some(until_nul(&body)),
                    b'K' => long_link = Some(until_nul(&body)),
                    // a global header says nothing that a volume keeps
                    _ => {}
                }
                continue;
            }
            let ustar = field(257, 5) == b"ustar";
            let mut path = until_nul(field(0, 100));
            let prefix = until_nul(field(345, 155));
            if ustar && field(263, 2) == b"00" && !prefix.is_empty() {
                path = [prefix.as_slice(), b"/", &path].concat();
            }
            let kind = match flag {
                b'0' | 0 | b'7' if path.last() == Some(&b'/') => Kind::Directory,
                b'0' | 0 | b'7' => Kind::File,
                b'1' => Kind::HardLink,
                b'2' => Kind::Symlink,
                b'3' => Kind::Character,
                b'4' => Kind::Block,
                b'5' => Kind::Directory,
                b'6' => Kind::Fifo,
                _ => {
                    return Err(Error::Archive { entry: shown(&path), reason: "its kind is not known here" });
                }
            };
            let whole = |at, length, what| {
                number(field(at, length))
                    .and_then(|value| u32::try_from(value).ok())
                    .ok_or(Error::Archive { entry: shown(&path), reason: what })
            };
            let device = match kind {
                Kind::Character | Kind::Block => {
                    (whole(329, 8, "its device is wrong")?, whole(337, 8, "its device is wrong")?)
                }
                _ => (0, 0),
            };
            let mut entry = Entry {
                kind,
                mode: whole(100, 8, "its mode is wrong")? & 0o7777,
                uid: whole(108, 8, "its owner is wrong")?,
                gid: whole(116, 8, "its group is wrong")?,
                size: if kind == Kind::File { size } else { 0 },
                seconds: number(field(136, 12)).and_then(|value| i64::try_from(value).ok()).unwrap_or(0),
                nanoseconds: 0,
                link: long_link.unwrap_or_else(|| until_nul(field(157, 100))),
                device,
                attributes: Vec::new(),
                path: long_name.unwrap_or(path),
            };
            apply(&mut entry, pax)?;
            if kind != Kind::File && size > 0 {
                // hard links of some writers carry the data again
                entry.size = 0;
                self.left = size;
                self.padding = (BLOCK as u64 - size % BLOCK as u64) % BLOCK as u64;
            } else {
                self.left = entry.size;
                self.padding = (BLOCK as u64 - entry.size % BLOCK as u64) % BLOCK as u64;
            }
            return Ok(Some(entry));
        }
    }

    /// Data of the current entry; 0 at its end.
    pub(crate) fn data(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let most = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let Some(room) = buffer.get_mut(..most).filter(|room| !room.is_empty()) else { return Ok(0) };
        match self.input.read(room).map_err(|e| self.failed(e))? {
            0 => Err(broken("it ends in the middle")),
            read => {
                self.left -= read as u64;
                Ok(read)
            }
        }
    }
}

fn broken(reason: &'static str) -> Error {
    Error::Archive { entry: String::new(), reason }
}

fn apply(entry: &mut Entry, pax: Vec<(Vec<u8>, Vec<u8>)>) -> Result<()> {
    for (name, value) in pax {
        let text = std::str::from_utf8(&value).ok();
        let whole = text.and_then(|text| text.parse::<u64>().ok());
        let wrong = |entry: &Entry| entry.refuse("its extended header is wrong");
        match name.as_slice() {
            b"path" => entry.path = value,
            b"linkpath" => entry.link = value,
            b"size" if entry.kind == Kind::File => entry.size = whole.ok_or_else(|| wrong(entry))?,
            b"uid" | b"gid" => {
                let id = whole.and_then(|id| u32::try_from(id).ok()).ok_or_else(|| wrong(entry))?;
                if name == b"uid" { entry.uid = id } else { entry.gid = id }
            }
            b"mtime" => {
                (entry.seconds, entry.nanoseconds) = text.and_then(time).ok_or_else(|| wrong(entry))?;
            }
            name if name.starts_with(b"GNU.sparse.") => {
                return Err(entry.refuse("sparse files in GNU's format are not known here"));
            }
            name => {
                if let Some(name) = name.strip_prefix(b"SCHILY.xattr.") {
                    entry.attributes.push((name.to_vec(), value));
                }
            }
        }
    }
    Ok(())
}

fn time(text: &str) -> Option<(i64, u32)> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let seconds: i64 = whole.parse().ok()?;
    let nine: String = fraction.chars().chain("000000000".chars()).take(9).collect();
    let nanos: u32 = if nine.bytes().all(|b| b.is_ascii_digit()) { nine.parse().ok()? } else { return None };
    Some(match (whole.starts_with('-'), nanos) {
        (true, 1..) => (seconds.checked_sub(1)?, 1_000_000_000 - nanos),
        _ => (seconds, nanos),
    })
}

fn records(mut body: &[u8]) -> Option<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut found = Vec::new();
    while !body.is_empty() {
        let space = body.iter().take(20).position(|byte| *byte == b' ')?;
        let length: usize = std::str::from_utf8(body.get(..space)?).ok()?.parse().ok()?;
        let record = body.get(space + 1..length)?.strip_suffix(b"\n")?;
        let equals = record.iter().position(|byte| *byte == b'=')?;
        found.push((record.get(..equals)?.to_vec(), record.get(equals + 1..)?.to_vec()));
        body = body.get(length..)?;
    }
    Some(found)
}

fn until_nul(field: &[u8]) -> Vec<u8> {
    field.split(|byte| *byte == 0).next().unwrap_or_default().to_vec()
}

/// An octal number, or GNU's base 256 of up to eight bytes.
fn number(field: &[u8]) -> Option<u64> {
    if let Some((0x80, rest)) = field.split_first().map(|(first, rest)| (*first, rest)) {
        let (high, low) = rest.split_at_checked(rest.len().saturating_sub(8)).unwrap_or((&[], rest));
        if high.iter().any(|byte| *byte != 0) {
            return None;
        }
        return Some(low.iter().fold(0, |sum, byte| (sum << 8) | u64::from(*byte)));
    }
    let text = std::str::from_utf8(field).ok()?.trim_matches(['\0', ' ']);
    if text.is_empty() {
        return Some(0);
    }
    u64::from_str_radix(text, 8).ok().filter(|_| !text.starts_with('+'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let entry = Entry {
            path: vec![b'p'; 150],
            kind: Kind::File,
            mode: 0o4755,
            uid: 3_000_000_000,
            gid: 7,
            size: 700,
            seconds: -5,
            nanoseconds: 250_000_000,
            link: Vec::new(),
            device: (0, 0),
            attributes: vec![(b"user.x".to_vec(), b"a\0=\n".to_vec())],
        };
        let mut archive = Vec::new();
        let mut writer = Writer::new(&mut archive);
        writer.entry(&entry).unwrap();
        writer.data(&[5; 700]).unwrap();
        writer.pad(700).unwrap();
        writer.finish().unwrap();
        let mut reader = Reader::new(archive.as_slice(), "vv");
        let read = reader.next_entry().unwrap().unwrap();
        assert_eq!((&read.path, read.mode, read.uid, read.gid), (&entry.path, 0o4755, 3_000_000_000, 7));
        assert_eq!((read.seconds, read.nanoseconds, read.size), (-5, 250_000_000, 700));
        assert_eq!(read.attributes, entry.attributes);
        assert!(reader.next_entry().unwrap().is_none());
        // cut anywhere, it is an error or an earlier end, never a wrong entry
        for length in 1..archive.len() - 1024 {
            let mut reader = Reader::new(archive.get(..length).unwrap(), "vv");
            match reader.next_entry() {
                Ok(Some(read)) => {
                    assert_eq!(read.path, entry.path);
                    assert!(reader.next_entry().is_err());
                }
                Ok(None) => panic!("{length}"),
                Err(_) => {}
            }
        }
    }
}
