use std::io::{self, Read, Write};
use std::sync::mpsc;

use crate::digest::{Algorithm, Hasher};
use crate::gzip::Gzip;
use crate::{Compression, Descriptor, Diff, Digest, Error, Store};

/// Bytes that pass between the thread that reads files and the one that packs them.
const CHUNK: usize = 256 << 10;

/// How a layer is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pack {
    /// The compression. gzip is what every registry and engine takes.
    pub compression: Compression,
    /// No time in the archive is later than this, in seconds since 1970: the value of `SOURCE_DATE_EPOCH`.
    pub not_after: Option<i64>,
}

impl Default for Pack {
    fn default() -> Self {
        Self { compression: Compression::Gzip, not_after: None }
    }
}

/// A layer in a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    /// The blob: packed.
    pub descriptor: Descriptor,
    /// The digest of the archive before it was packed.
    pub diff_id: Digest,
}

impl Store {
    /// Makes a layer of a difference, in one pass: files are read in one thread, hashed and packed in another.
    /// Atomic. The layer belongs to no image yet: hold a [`lease`](Store::lease) until it does.
    pub fn pack(&self, diff: &Diff, pack: &Pack) -> Result<Layer, Error> {
        let mut blob = self.blob_writer()?;
        let failed = |source| Error::io("write a blob in", self.root())(source);
        let diff_id = std::thread::scope(|scope| {
            let (sender, receiver) = mpsc::sync_channel::<Vec<u8>>(8);
            let reader = scope.spawn(move || diff.write(Chunks { sender }, pack.not_after));
            let mut hasher = Hasher::new(Algorithm::Sha256);
            let mut encoder = Encoder::new(&mut blob, pack.compression).map_err(failed)?;
            let packed = receiver.iter().try_for_each(|chunk| {
                hasher.update(&chunk);
                encoder.write_all(&chunk)
            });
            // the reader ends once nobody takes its chunks
            drop(receiver);
            let read = reader.join().map_err(|_| Error::Read {
                object: "the tree".to_owned(),
                source: io::ErrorKind::Other.into(),
            })?;
            packed.map_err(failed)?;
            read?;
            encoder.finish().map_err(failed)?;
            Ok::<_, Error>(hasher.finish())
        })?;
        let (digest, size) = blob.commit(None)?;
        let media_type = pack.compression.layer_media_type();
        Ok(Layer { descriptor: Descriptor::new(media_type, digest, size), diff_id })
    }
}

/// Sends what is written, in the pieces in which it comes: a diff buffers itself.
struct Chunks {
    sender: mpsc::SyncSender<Vec<u8>>,
}

impl Write for Chunks {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let chunk = bytes[..bytes.len().min(CHUNK)].to_vec();
        let length = chunk.len();
        self.sender.send(chunk).map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Packs what is written.
enum Encoder<W: Write> {
    Plain(W),
    Gzip(Gzip<W>),
    Zstd(zstd::Encoder<'static, W>),
}

impl<W: Write> Encoder<W> {
    fn new(output: W, compression: Compression) -> io::Result<Self> {
        Ok(match compression {
            Compression::None => Self::Plain(output),
            Compression::Gzip => Self::Gzip(Gzip::new(output)?),
            Compression::Zstd => Self::Zstd(zstd::Encoder::new(output, 3)?),
        })
    }

    fn finish(self) -> io::Result<()> {
        match self {
            Self::Plain(mut output) => output.flush(),
            Self::Gzip(encoder) => encoder.finish(),
            Self::Zstd(encoder) => encoder.finish().map(drop),
        }
    }
}

impl<W: Write> Write for Encoder<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(output) => output.write(bytes),
            Self::Gzip(encoder) => encoder.write(bytes),
            Self::Zstd(encoder) => encoder.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The digest of the bytes of a layer's blob once they are unpacked, at most `limit` of them.
pub(crate) fn diff_id(store: &Store, blob: &Digest, limit: u64) -> Result<(Compression, Digest), Error> {
    let mut input = io::BufReader::with_capacity(CHUNK, store.open_blob(blob)?);
    let failed = |source| Error::Read { object: format!("layer {blob}"), source };
    let compression = Compression::detect(io::BufRead::fill_buf(&mut input).map_err(failed)?)?;
    if compression == Compression::None {
        return Ok((compression, blob.clone()));
    }
    let mut hasher = Hasher::new(Algorithm::Sha256);
    let mut reader = crate::compression::decompress(input)?;
    let mut buffer = vec![0; CHUNK];
    loop {
        match reader.read(&mut buffer).map_err(failed)? {
            0 => return Ok((compression, hasher.finish())),
            count => hasher.update(&buffer[..count]),
        }
        if hasher.length() > limit {
            return Err(Error::Limit { entry: format!("layer {blob}"), what: "bytes", limit });
        }
    }
}
