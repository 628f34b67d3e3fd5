//! A streaming reader of tar archives: ustar, GNU and PAX, as POSIX.1-2001 `pax` and the GNU tar manual
//! describe them. It checks everything, allocates within limits, and leaves the meaning of paths to its caller.

mod header;
mod pax;
mod sparse;
mod writer;

use std::collections::BTreeMap;
use std::io::{self, BufRead, Read};

use crate::Error;
pub(crate) use header::Kind;
use header::{BLOCK, Header};
pub(crate) use writer::Writer;

/// A path in an archive may have so many bytes: what the kernel takes in one system call.
pub(crate) const MAX_PATH: u64 = 4095;
/// A PAX header or GNU long name may have so many bytes.
const MAX_EXTENSION: u64 = 1 << 20;

/// One entry, its data not yet read.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    /// The name as it is written, leading slashes and all.
    pub(crate) path: Vec<u8>,
    pub(crate) kind: Kind,
    /// Permission bits, with set-id and sticky.
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Modification time: seconds since 1970, nanoseconds.
    pub(crate) mtime: (i64, u32),
    /// Target of a hard or symbolic link.
    pub(crate) link: Vec<u8>,
    /// Bytes of the file once it is there, holes included.
    pub(crate) size: u64,
    pub(crate) device: (u32, u32),
    pub(crate) xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Where data lies in a sparse file: offset and length. None for an ordinary one.
    pub(crate) segments: Option<Vec<(u64, u64)>>,
    /// Offset of the header in the uncompressed archive.
    pub(crate) offset: u64,
}

impl Entry {
    /// The name for messages.
    pub(crate) fn shown(&self) -> String {
        shown(&self.path)
    }

    pub(crate) fn refuse(&self, reason: &'static str) -> Error {
        Error::Archive { entry: self.shown(), offset: self.offset, reason }
    }
}

/// A name of an archive for messages: at most 200 characters, without control characters.
pub(crate) fn shown(path: &[u8]) -> String {
    String::from_utf8_lossy(path).chars().take(200).flat_map(char::escape_debug).collect()
}

/// Reads entries from `input` one after the other.
pub(crate) struct Reader<R> {
    input: R,
    /// Bytes read so far.
    position: u64,
    /// Stored bytes of the current entry that are not read yet, and the padding after them.
    data: u64,
    padding: u64,
    any: bool,
}

impl<R: BufRead> Reader<R> {
    pub(crate) fn new(input: R) -> Self {
        Self { input, position: 0, data: 0, padding: 0, any: false }
    }

    /// The stream, where the archive ended.
    pub(crate) fn into_inner(self) -> R {
        self.input
    }

    /// The next entry; none at the archive's end. What is left of the entry before is passed over.
    pub(crate) fn next_entry(&mut self) -> Result<Option<Entry>, Error> {
        let mut pax = pax::Records::default();
        let mut long_name = None;
        let mut long_link = None;
        loop {
            self.skip_rest()?;
            let offset = self.position;
            let Some(header) = self.next_header()? else {
                return Ok(None);
            };
            let name = header.path();
            let refuse = |reason| Error::Archive { entry: shown(&name), offset, reason };
            match header.type_flag() {
                // a global header could change every later entry: none of its keys is needed, all are passed over
                b'g' => self.begin_data(header.size().map_err(refuse)?),
                b'x' => {
                    let body = self.read_extension(&header, offset)?;
                    pax = pax::Records::parse(&body).map_err(refuse)?;
                }
                b'L' => long_name = Some(trim_nul(self.read_extension(&header, offset)?)),
                b'K' => long_link = Some(trim_nul(self.read_extension(&header, offset)?)),
                _ => return self.entry(&header, offset, pax, long_name, long_link).map(Some),
            }
        }
    }

    /// Reads data of the current entry: for a sparse one its segments, one after the other.
    pub(crate) fn read_data(&mut self, buffer: &mut [u8]) -> Result<usize, Error> {
        let wanted = usize::try_from(self.data).unwrap_or(usize::MAX).min(buffer.len());
        let count = read_some(&mut self.input, &mut buffer[..wanted])?;
        if count == 0 && wanted > 0 {
            return Err(truncated());
        }
        self.position += count as u64;
        self.data -= count as u64;
        Ok(count)
    }

    /// The next piece of the current entry's data as it lies in the input's buffer; empty when there is no more.
    /// [`consume`](Self::consume) what was used of it.
    pub(crate) fn data(&mut self) -> Result<&[u8], Error> {
        if self.data == 0 {
            return Ok(&[]);
        }
        if buffered(&mut self.input)? == 0 {
            return Err(truncated());
        }
        let piece = self.input.fill_buf().map_err(read_error)?;
        let wanted = usize::try_from(self.data).unwrap_or(usize::MAX).min(piece.len());
        Ok(&piece[..wanted])
    }

    /// Passes over so much of what [`data`](Self::data) returned.
    pub(crate) fn consume(&mut self, count: usize) {
        self.input.consume(count);
        self.position += count as u64;
        self.data = self.data.saturating_sub(count as u64);
    }

    fn entry(
        &mut self,
        header: &Header,
        offset: u64,
        pax: pax::Records,
        long_name: Option<Vec<u8>>,
        long_link: Option<Vec<u8>>,
    ) -> Result<Entry, Error> {
        let path = pax.path.or(long_name).unwrap_or_else(|| header.path());
        let refuse = |reason| Error::Archive { entry: shown(&path), offset, reason };
        let kind = header.kind().ok_or_else(|| refuse("the type of the entry is unknown"))?;
        // links and directories have no data, whatever some writers put into the field
        let stored = match kind {
            Kind::File => pax.size.map_or_else(|| header.size(), Ok).map_err(refuse)?,
            _ => 0,
        };
        self.begin_data(stored);
        let (size, segments) = if header.is_gnu_sparse() {
            let map =
                sparse::read_gnu(header, |block| self.read_block(block)).map_err(|error| error.at(refuse))?;
            (map.size, Some(map.segments))
        } else if let Some(wanted) = &pax.sparse {
            let map = sparse::read_pax(wanted, |block| self.read_data_block(block))
                .map_err(|error| error.at(refuse))?;
            (map.size, Some(map.segments))
        } else {
            (stored, None)
        };
        if let Some(segments) = &segments {
            sparse::check(segments, size, self.data).map_err(refuse)?;
        }
        let id = |value: Option<u64>, field: Result<u64, &'static str>| {
            let value = value.map_or(field, Ok).map_err(refuse)?;
            u32::try_from(value)
                .ok()
                .filter(|&id| id != u32::MAX)
                .ok_or_else(|| refuse("the owner's number does not fit 32 bits"))
        };
        Ok(Entry {
            uid: id(pax.uid, header.uid())?,
            gid: id(pax.gid, header.gid())?,
            mode: header.mode().map_err(refuse)?,
            mtime: pax
                .mtime
                .map_or_else(|| header.mtime().map(|seconds| (seconds, 0)), Ok)
                .map_err(refuse)?,
            link: pax.link.or(long_link).unwrap_or_else(|| header.link()),
            device: header.device().map_err(refuse)?,
            path: pax.sparse.and_then(|sparse| sparse.name).unwrap_or_else(|| path.clone()),
            kind,
            size,
            xattrs: pax.xattrs,
            segments,
            offset,
        })
    }

    /// The next header that is not zeros; none at the end: a block of zeros or the stream's end.
    fn next_header(&mut self) -> Result<Option<Header>, Error> {
        let mut block = [0; BLOCK];
        let mut filled = 0;
        while filled < BLOCK {
            match read_some(&mut self.input, &mut block[filled..])? {
                0 => break,
                count => filled += count,
            }
        }
        self.position += filled as u64;
        match filled {
            // GNU tar and Go take a missing end marker, too, but not an empty input
            0 if self.any => return Ok(None),
            0 => return Err(Error::NotAnArchive { reason: "it is empty" }),
            BLOCK => {}
            _ if self.any => return Err(truncated()),
            _ => return Err(Error::NotAnArchive { reason: "it is shorter than a header" }),
        }
        if block.iter().all(|&byte| byte == 0) {
            self.any = true;
            return Ok(None);
        }
        let Some(header) = Header::new(&block) else {
            if !self.any {
                return Err(Error::NotAnArchive { reason: "the first 512 bytes are no tar header" });
            }
            return Err(Error::Archive {
                entry: String::new(),
                offset: self.position - BLOCK as u64,
                reason: "the header's check sum is wrong",
            });
        };
        self.any = true;
        Ok(Some(header))
    }

    fn begin_data(&mut self, size: u64) {
        self.data = size;
        self.padding = (BLOCK as u64 - size % BLOCK as u64) % BLOCK as u64;
    }

    fn skip_rest(&mut self) -> Result<(), Error> {
        let mut left = self.data.checked_add(self.padding).ok_or_else(truncated)?;
        while left > 0 {
            let count = buffered(&mut self.input)?;
            if count == 0 {
                return Err(truncated());
            }
            let count = usize::try_from(left).unwrap_or(usize::MAX).min(count);
            self.input.consume(count);
            self.position += count as u64;
            left -= count as u64;
        }
        (self.data, self.padding) = (0, 0);
        Ok(())
    }

    fn read_extension(&mut self, header: &Header, offset: u64) -> Result<Vec<u8>, Error> {
        let refuse = |reason| Error::Archive { entry: shown(&header.path()), offset, reason };
        let size = header.size().map_err(refuse)?;
        if size > MAX_EXTENSION {
            return Err(Error::Limit {
                entry: shown(&header.path()),
                what: "bytes of extended header",
                limit: MAX_EXTENSION,
            });
        }
        self.begin_data(size);
        let mut body = vec![0; size as usize];
        let mut filled = 0;
        while filled < body.len() {
            filled += self.read_data(&mut body[filled..])?;
        }
        Ok(body)
    }

    /// A block of the header itself, which is not counted as data.
    fn read_block(&mut self, block: &mut [u8; BLOCK]) -> Result<(), Error> {
        self.input.read_exact(block).map_err(read_error)?;
        self.position += BLOCK as u64;
        Ok(())
    }

    /// A block from the start of the entry's data.
    fn read_data_block(&mut self, block: &mut [u8; BLOCK]) -> Result<(), Error> {
        if self.data < BLOCK as u64 {
            return Err(truncated());
        }
        self.data -= BLOCK as u64;
        self.read_block(block)
    }
}

fn trim_nul(mut name: Vec<u8>) -> Vec<u8> {
    while name.last() == Some(&0) {
        name.pop();
    }
    name
}

/// How many bytes lie in the input's buffer, which is filled if it is empty; none at the input's end.
fn buffered(input: &mut impl BufRead) -> Result<usize, Error> {
    loop {
        match input.fill_buf() {
            Ok(piece) => return Ok(piece.len()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(read_error(error)),
        }
    }
}

fn read_some(input: &mut impl Read, buffer: &mut [u8]) -> Result<usize, Error> {
    loop {
        match input.read(buffer) {
            Ok(count) => return Ok(count),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(read_error(error)),
        }
    }
}

fn read_error(source: io::Error) -> Error {
    Error::Read { object: "the archive".to_owned(), source }
}

fn truncated() -> Error {
    read_error(io::Error::new(io::ErrorKind::UnexpectedEof, "it ends in the middle of an entry"))
}
