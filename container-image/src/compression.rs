use std::io::{self, BufRead, Read};

use flate2::bufread::MultiGzDecoder;

use crate::{Error, MediaType};

/// How a layer's archive is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Compression {
    /// Not at all.
    None,
    /// RFC 1952, any number of members.
    Gzip,
    /// RFC 8878, any number of frames.
    Zstd,
}

impl Compression {
    /// Tells by the first bytes. Whatever has no known magic number counts as not compressed, save those
    /// that Docker once took and we refuse.
    ///
    /// # Errors
    ///
    /// [`Error::NotAnArchive`] for bzip2 and xz, which the OCI specification does not have.
    pub fn detect(start: &[u8]) -> Result<Self, Error> {
        let refuse = |reason| Err(Error::NotAnArchive { reason });
        match start {
            [0x1f, 0x8b, ..] => Ok(Self::Gzip),
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Ok(Self::Zstd),
            [b'B', b'Z', b'h', ..] => {
                refuse("it is compressed with bzip2; gzip, zstd and none are supported")
            }
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => {
                refuse("it is compressed with xz; gzip, zstd and none are supported")
            }
            _ => Ok(Self::None),
        }
    }

    /// The media type of a layer that is packed so.
    pub fn layer_media_type(self) -> MediaType {
        match self {
            Self::None => MediaType::LayerTar,
            Self::Gzip => MediaType::LayerTarGzip,
            Self::Zstd => MediaType::LayerTarZstd,
        }
    }
}

/// The plain bytes of a layer's blob, gzip, zstd or neither, as its first bytes tell. How much comes out is not bounded.
///
/// # Errors
///
/// [`Error::NotAnArchive`] for bzip2 and xz, [`Error::Read`] if `input` cannot be read.
pub fn inflate<'a>(input: impl BufRead + Send + 'a) -> Result<impl Read + Send + 'a, Error> {
    decompress(input)
}

/// The uncompressed bytes of `input`, whose packing is told by its first bytes.
pub(crate) fn decompress<'a>(
    mut input: impl BufRead + Send + 'a,
) -> Result<Box<dyn Read + Send + 'a>, Error> {
    let start =
        input.fill_buf().map_err(|source| Error::Read { object: "the archive".to_owned(), source })?;
    Ok(match Compression::detect(start)? {
        Compression::None => Box::new(input),
        Compression::Gzip => Box::new(MultiGzDecoder::new(input)),
        Compression::Zstd => Box::new(
            zstd_decoder(input).map_err(|source| Error::Read { object: "the archive".to_owned(), source })?,
        ),
    })
}

fn zstd_decoder<'a>(input: impl BufRead + Send + 'a) -> io::Result<impl Read + Send + 'a> {
    let mut decoder = zstd::Decoder::with_buffer(input)?;
    // a frame must not make us allocate more than 128 MiB, whatever its header says
    decoder.window_log_max(27)?;
    Ok(decoder)
}
