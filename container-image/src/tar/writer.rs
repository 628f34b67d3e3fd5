//! A streaming writer of tar archives: ustar, with PAX headers where it does not suffice. The same entries
//! always give the same bytes.

use std::io::{self, Write};

use super::header::BLOCK;
use super::{Entry, Kind};

/// Writes entries to `output` one after the other.
pub(crate) struct Writer<W> {
    output: W,
    /// Bytes of the current entry's data that are still to come, and the padding after them.
    data: u64,
    padding: usize,
}

impl<W: Write> Writer<W> {
    pub(crate) fn new(output: W) -> Self {
        Self { output, data: 0, padding: 0 }
    }

    /// Begins an entry, whose `size` bytes of data are to follow. Sparse files are written whole.
    pub(crate) fn entry(&mut self, entry: &Entry) -> io::Result<()> {
        let size = if entry.kind == Kind::File { entry.size } else { 0 };
        let mut path = entry.path.clone();
        if entry.kind == Kind::Directory && path.last() != Some(&b'/') {
            path.push(b'/');
        }
        let mut records = Vec::new();
        if path.len() > 100 {
            record(&mut records, b"path", &path);
        }
        if entry.link.len() > 100 {
            record(&mut records, b"linkpath", &entry.link);
        }
        if size > octal_limit(12) {
            record(&mut records, b"size", size.to_string().as_bytes());
        }
        for (key, value) in [(&b"uid"[..], entry.uid), (b"gid", entry.gid)] {
            if u64::from(value) > octal_limit(8) {
                record(&mut records, key, value.to_string().as_bytes());
            }
        }
        let (seconds, nanoseconds) = entry.mtime;
        if nanoseconds != 0 || !u64::try_from(seconds).is_ok_and(|seconds| seconds <= octal_limit(12)) {
            record(&mut records, b"mtime", time(seconds, nanoseconds).as_bytes());
        }
        for (name, value) in &entry.xattrs {
            if name.contains(&b'=') {
                return Err(io::Error::new(
                    io::ErrorKind::Unsupported,
                    "the name of an extended attribute has an =, which PAX headers cannot hold",
                ));
            }
            record(&mut records, &[b"SCHILY.xattr.", name.as_slice()].concat(), value);
        }
        if !records.is_empty() {
            let name = path.strip_suffix(b"/").unwrap_or(&path);
            let name = name.rsplit(|&byte| byte == b'/').next().unwrap_or_default();
            let name = [b"PaxHeaders.0/", name].concat();
            let extension = Header { path: &name, mode: 0o644, flag: b'x', ..Header::default() };
            self.output.write_all(&extension.block(records.len() as u64))?;
            self.begin(records.len() as u64);
            self.data(&records)?;
            self.end_data()?;
        }
        let header = Header {
            path: &path,
            link: &entry.link,
            mode: entry.mode,
            uid: entry.uid,
            gid: entry.gid,
            seconds: u64::try_from(seconds).unwrap_or(0),
            device: entry.device,
            flag: match entry.kind {
                Kind::File => b'0',
                Kind::HardLink => b'1',
                Kind::SymbolicLink => b'2',
                Kind::CharacterDevice => b'3',
                Kind::BlockDevice => b'4',
                Kind::Directory => b'5',
                Kind::Fifo => b'6',
            },
        };
        self.output.write_all(&header.block(size))?;
        self.begin(size);
        Ok(())
    }

    /// Data of the current entry. What exceeds its size is an error.
    pub(crate) fn data(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.data = self.data.checked_sub(bytes.len() as u64).ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidData, "it has more data than its header says")
        })?;
        self.output.write_all(bytes)
    }

    /// Ends the current entry's data.
    pub(crate) fn end_data(&mut self) -> io::Result<()> {
        if self.data > 0 {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "it has less data than its header says",
            ));
        }
        self.output.write_all(&[0; BLOCK][..self.padding])
    }

    /// The two blocks of zeros at the end.
    pub(crate) fn finish(mut self) -> io::Result<W> {
        self.output.write_all(&[0; 2 * BLOCK])?;
        self.output.flush()?;
        Ok(self.output)
    }

    fn begin(&mut self, size: u64) {
        self.data = size;
        self.padding = ((BLOCK as u64 - size % BLOCK as u64) % BLOCK as u64) as usize;
    }
}

#[derive(Default)]
struct Header<'a> {
    path: &'a [u8],
    link: &'a [u8],
    mode: u32,
    uid: u32,
    gid: u32,
    seconds: u64,
    device: (u32, u32),
    flag: u8,
}

impl Header<'_> {
    fn block(&self, size: u64) -> [u8; BLOCK] {
        let mut block = [0; BLOCK];
        text(&mut block[..100], self.path);
        octal(&mut block[100..108], self.mode.into());
        octal(&mut block[108..116], self.uid.into());
        octal(&mut block[116..124], self.gid.into());
        octal(&mut block[124..136], size);
        octal(&mut block[136..148], self.seconds);
        block[156] = self.flag;
        text(&mut block[157..257], self.link);
        block[257..265].copy_from_slice(b"ustar\x0000");
        octal(&mut block[329..337], self.device.0.into());
        octal(&mut block[337..345], self.device.1.into());
        block[148..156].fill(b' ');
        let sum: u64 = block.iter().map(|&byte| u64::from(byte)).sum();
        octal(&mut block[148..155], sum);
        block
    }
}

fn text(field: &mut [u8], value: &[u8]) {
    let length = value.len().min(field.len());
    field[..length].copy_from_slice(&value[..length]);
}

/// The largest number that a field of `width` bytes holds in octal digits and a NUL.
fn octal_limit(width: u32) -> u64 {
    (1 << (3 * (width - 1))) - 1
}

/// Octal digits and a NUL; zero where the number does not fit, for then a PAX record has it.
fn octal(field: &mut [u8], value: u64) {
    let value = if value > octal_limit(field.len() as u32) { 0 } else { value };
    let mut rest = value;
    let digits = field.len() - 1;
    for byte in field[..digits].iter_mut().rev() {
        *byte = b'0' + (rest & 7) as u8;
        rest >>= 3;
    }
    field[digits] = 0;
}

/// `LENGTH KEY=VALUE\n`, where the length counts itself.
fn record(records: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    records.extend_from_slice(format!("{length} ").as_bytes());
    records.extend_from_slice(key);
    records.push(b'=');
    records.extend_from_slice(value);
    records.push(b'\n');
}

/// Seconds with a fraction that has no zeros at its end; before 1970 it counts downwards.
fn time(seconds: i64, nanoseconds: u32) -> String {
    let (sign, seconds, nanoseconds) = match (seconds < 0, nanoseconds) {
        (false, _) => ("", seconds.unsigned_abs(), nanoseconds),
        (true, 0) => ("-", seconds.unsigned_abs(), 0),
        (true, _) => ("-", (seconds + 1).unsigned_abs(), 1_000_000_000 - nanoseconds),
    };
    let text = format!("{sign}{seconds}.{nanoseconds:09}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use std::io::Read;

    #[test]
    fn what_is_written_reads_back_the_same_at_the_edges_of_every_field() {
        for (path, size, uid, mtime, link) in [
            ("a", 0, 0, (0, 0), ""),
            (&"p".repeat(100)[..], 511, 0o7_777_777, (1 << 33, 0), ""),
            (&"p".repeat(101)[..], 512, 0o10_000_000, (-5, 250_000_000), ""),
            (&format!("d/{}", "q".repeat(255))[..], 513, u32::MAX - 1, (1, 1), &"l".repeat(300)[..]),
        ] {
            let entry = Entry {
                path: path.as_bytes().to_vec(),
                kind: if link.is_empty() { Kind::File } else { Kind::SymbolicLink },
                mode: 0o4755,
                uid,
                gid: uid,
                mtime,
                link: link.as_bytes().to_vec(),
                size: if link.is_empty() { size } else { 0 },
                device: (0, 0),
                xattrs: BTreeMap::from([(b"user.x".to_vec(), b"\n\0=".to_vec())]),
                segments: None,
                offset: 0,
            };
            let mut writer = Writer::new(Vec::new());
            writer.entry(&entry).unwrap();
            writer.data(&vec![7; entry.size as usize]).unwrap();
            assert!(writer.data(b"x").is_err() || link.is_empty() && size == u64::MAX);
            let mut writer = Writer::new(Vec::new());
            writer.entry(&entry).unwrap();
            writer.data(&vec![7; entry.size as usize]).unwrap();
            writer.end_data().unwrap();
            let bytes = writer.finish().unwrap();
            assert_eq!(bytes.len() % BLOCK, 0);
            let mut reader = super::super::Reader::new(bytes.as_slice());
            let read = reader.next_entry().unwrap().unwrap();
            assert_eq!(read.path, entry.path);
            assert_eq!(
                (read.size, read.uid, read.gid, read.mtime),
                (entry.size, entry.uid, entry.gid, entry.mtime)
            );
            assert_eq!((read.link, read.xattrs, read.mode), (entry.link, entry.xattrs, entry.mode));
            assert!(reader.next_entry().unwrap().is_none());
            let mut rest = Vec::new();
            reader.into_inner().read_to_end(&mut rest).unwrap();
            assert_eq!(rest.len(), BLOCK);
        }
    }
}
