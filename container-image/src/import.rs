use std::io::{self, BufReader, Read, Write};
use std::sync::OnceLock;

use crate::compression::{Compression, decompress};
use crate::digest::{Algorithm, Hasher};
use crate::document::{Manifest, RootFs};
use crate::{ContainerConfig, Descriptor, Digest, Error, History, Image, ImageConfig, MediaType, Store, tar};

/// What an imported image is to say of itself.
#[derive(Debug, Clone, Default)]
pub struct Import {
    /// How a container of it is run.
    pub config: ContainerConfig,
    /// When it was made, RFC 3339. The caller gives the time, so that the same input can give the same image.
    pub created: Option<String>,
    /// A word on where it came from, for its history.
    pub comment: Option<String>,
}

impl Store {
    /// Makes an image of one layer from an archive of a root file system: tar, plain or packed by gzip or zstd.
    /// The archive is kept as it is, so importing costs one pass. Atomic; the image has no name yet and
    /// is in no index: hold a [`lease`](Store::lease) until it is [`tag`](Store::tag)ged or [kept](Store::keep).
    ///
    /// # Errors
    ///
    /// [`Error::NotAnArchive`] or [`Error::Archive`] if `archive` is not a whole tar archive; nothing stays.
    pub fn import(&self, archive: impl Read + Send, import: Import) -> Result<Image, Error> {
        let mut writer = self.blob_writer()?;
        let mut input = BufReader::with_capacity(256 << 10, archive);
        let start = io::BufRead::fill_buf(&mut input).map_err(read_failed)?;
        let compression = Compression::detect(start)?;
        let write_failed = OnceLock::new();
        let diff_id = {
            let tee = Tee { input, copy: &mut writer, failure: &write_failed };
            let checked = check_archive(tee, compression);
            if let Some(source) = write_failed.into_inner() {
                return Err(Error::io("write a blob in", self.root())(source));
            }
            checked?
        };
        let (digest, size) = writer.commit(None)?;
        let layer = Descriptor::new(compression.layer_media_type(), digest, size);
        let config = ImageConfig {
            created: import.created.clone(),
            architecture: architecture().to_owned(),
            os: "linux".to_owned(),
            config: import.config,
            rootfs: RootFs { diff_ids: vec![diff_id], ..RootFs::default() },
            history: vec![History { created: import.created, comment: import.comment, ..History::default() }],
            ..ImageConfig::default()
        };
        self.put_image(config, vec![layer])
    }

    /// Adds configuration and manifest of an image whose layers are in the store.
    pub fn put_image(&self, config: ImageConfig, layers: Vec<Descriptor>) -> Result<Image, Error> {
        let bytes = encode("configuration", &config)?;
        self.put_image_bytes(config, &bytes, layers)
    }

    /// The same with the configuration as it is to be written.
    pub(crate) fn put_image_bytes(
        &self,
        config: ImageConfig,
        bytes: &[u8],
        layers: Vec<Descriptor>,
    ) -> Result<Image, Error> {
        let id = self.put_blob(bytes)?;
        let descriptor = Descriptor::new(MediaType::ImageConfig, id, bytes.len() as u64);
        self.put_manifest(config, Manifest::new(descriptor, layers))
    }

    /// Adds the manifest of an image whose configuration and layers are in the store.
    pub(crate) fn put_manifest(&self, config: ImageConfig, manifest: Manifest) -> Result<Image, Error> {
        let bytes = encode("manifest", &manifest)?;
        let digest = self.put_blob(&bytes)?;
        let descriptor = Descriptor::new(manifest.media_type.clone(), digest, bytes.len() as u64);
        let id = manifest.config.digest.clone();
        Ok(Image { manifest_descriptor: descriptor.clone(), descriptor, id, manifest, config })
    }
}

pub(crate) fn encode(what: &'static str, value: &impl serde::Serialize) -> Result<Vec<u8>, Error> {
    serde_json::to_vec(value).map_err(|source| Error::Document {
        what,
        object: "to be written".to_owned(),
        source,
    })
}

/// Walks a whole archive and returns the digest of its uncompressed bytes.
fn check_archive(input: impl Read + Send, compression: Compression) -> Result<Digest, Error> {
    let mut packed = BufReader::with_capacity(256 << 10, input);
    let diff_id = {
        let hashing = Hashing { input: decompress(&mut packed)?, hasher: Hasher::new(Algorithm::Sha256) };
        let mut reader = tar::Reader::new(BufReader::with_capacity(256 << 10, hashing));
        while reader.next_entry()?.is_some() {}
        let mut hashing = reader.into_inner();
        io::copy(&mut hashing, &mut io::sink()).map_err(read_failed)?;
        hashing.into_inner().hasher.finish()
    };
    if compression != Compression::None {
        // what may follow the compressed stream is part of the blob too
        io::copy(&mut packed, &mut io::sink()).map_err(read_failed)?;
    }
    Ok(diff_id)
}

fn read_failed(source: io::Error) -> Error {
    Error::Read { object: "the archive".to_owned(), source }
}

/// The processor this was built for, in Go's words.
pub(crate) fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        "powerpc64" => "ppc64le",
        other => other,
    }
}

/// Copies what is read. A failure to write is kept apart, since it is not the archive's.
struct Tee<'a, R, W> {
    input: R,
    copy: W,
    failure: &'a OnceLock<io::Error>,
}

impl<R: Read, W: Write> Read for Tee<'_, R, W> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.input.read(buffer)?;
        if let Err(error) = self.copy.write_all(&buffer[..count]) {
            // only the first failure is the cause
            let _ = self.failure.set(error);
            return Err(io::ErrorKind::Other.into());
        }
        Ok(count)
    }
}

struct Hashing<R> {
    input: R,
    hasher: Hasher,
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.input.read(buffer)?;
        self.hasher.update(&buffer[..count]);
        Ok(count)
    }
}
