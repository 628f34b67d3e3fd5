use std::collections::{BTreeMap, HashSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{Mode, OFlags, ResolveFlags};
use serde::Deserialize;

use crate::compression::decompress;
use crate::document::{self, Index, Manifest, decode};
use crate::save::{IMAGE_NAME, REF_NAME};
use crate::tar::{self, Entry, Kind};
use crate::{
    Descriptor, Digest, Error, Image, ImageConfig, Limits, MAX_DOCUMENT, MediaType, Named, Reference, Store,
    pack, tree,
};

/// An archive of images may have so many members: a thousand images of Docker's old form.
const MAX_MEMBERS: u64 = 20_000;
/// A name of a member may point to another one over so many links.
const MAX_LINKS: usize = 8;

/// An entry of Docker's `manifest.json`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Item {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    #[serde(default)]
    layers: Option<Vec<String>>,
}

/// What was in an archive, by its names there. Nothing in it is a path of the file system.
#[derive(Default)]
struct Members {
    blobs: BTreeMap<String, (Digest, u64)>,
    links: BTreeMap<String, String>,
    index: Option<Vec<u8>>,
    manifest: Option<Vec<u8>>,
    is_layout: bool,
}

impl Store {
    /// Takes in the images of an archive, plain or packed: what `docker save` of any version since 1.10 writes, and an
    /// OCI image layout as tar. Read in one pass, as a stream; every blob is verified. The images get no names here:
    /// [`tag`](Store::tag) or [`keep`](Store::keep) them, and hold a [`lease`](Store::lease) until then.
    ///
    /// The names in the archive are keys, not paths: a link is followed only to another member. Layers of Docker's form
    /// must have the diff ids of their configuration.
    ///
    /// # Errors
    ///
    /// [`Error::Archive`], [`Error::Limit`], [`Error::Inconsistent`], [`Error::DigestMismatch`]. What has been
    /// taken in by then belongs to no image, and goes with the next [`sweep`](Store::sweep).
    pub fn load(&self, archive: impl Read + Send, limits: &Limits) -> Result<Vec<Named>, Error> {
        let input = BufReader::with_capacity(256 << 10, archive);
        let mut reader = tar::Reader::new(BufReader::with_capacity(256 << 10, decompress(input)?));
        let mut members = Members::default();
        let (mut count, mut bytes) = (0u64, 0u64);
        while let Some(entry) = reader.next_entry()? {
            count += 1;
            bytes = bytes.saturating_add(entry.size);
            let over = |what, limit| Err(Error::Limit { entry: entry.shown(), what, limit });
            if count > MAX_MEMBERS {
                return over("members", MAX_MEMBERS);
            }
            if bytes > limits.bytes {
                return over("bytes", limits.bytes);
            }
            self.member(&entry, &mut reader, &mut members)?;
        }
        match (&members.index, &members.manifest) {
            (Some(index), manifest) if members.is_layout => {
                let mut found = self.of_index(index)?;
                if let Some(manifest) = manifest {
                    add_docker_names(manifest, &members, &mut found);
                }
                Ok(found)
            }
            (_, Some(manifest)) => self.of_docker(manifest, &members, limits),
            (Some(_), None) => {
                Err(inconsistent("oci-layout", "the archive has an index.json, and not this".into()))
            }
            (None, None) => Err(Error::NotAnArchive {
                reason: "it holds neither manifest.json nor index.json, so no images of docker save or an OCI layout",
            }),
        }
    }

    /// Takes in the images of an OCI image layout in a directory, which may be a mirror of somebody else: links
    /// in it are not followed. Only what the images for this platform need is copied, and verified. Names and leases
    /// as with [`load`](Store::load).
    pub fn load_layout(&self, directory: &Path) -> Result<Vec<Named>, Error> {
        let root = tree::open_root(directory).map_err(Error::io("open", directory))?;
        let read = |name: &str| {
            let mut bytes = Vec::new();
            let file = open_member(&root, name).map_err(Error::io("open", directory.join(name)))?;
            file.take(MAX_DOCUMENT)
                .read_to_end(&mut bytes)
                .map_err(Error::io("read", directory.join(name)))?;
            Ok::<_, Error>(bytes)
        };
        let layout = read("oci-layout")?;
        check_layout(&layout, directory)?;
        let index = read("index.json")?;
        let parsed: Index = decode("index", directory.join("index.json").display(), &index)?;
        let mut open = parsed.manifests;
        let mut seen = HashSet::new();
        while let Some(descriptor) = open.pop() {
            if !seen.insert(descriptor.digest.clone()) {
                continue;
            }
            if !self.has_blob(&descriptor.digest) {
                let name =
                    format!("blobs/{}/{}", descriptor.digest.algorithm().name(), descriptor.digest.hex());
                let mut file = match open_member(&root, &name) {
                    // an index may tell of platforms that were not copied
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                    file => file.map_err(Error::io("open", directory.join(&name)))?,
                };
                let mut writer = self.blob_writer()?;
                std::io::copy(&mut file, &mut writer).map_err(Error::io("copy", directory.join(&name)))?;
                writer.commit(Some(&descriptor))?;
            }
            open.extend(document::parts(self, &descriptor)?);
        }
        self.of_index(&index)
    }

    fn member<R: BufRead>(
        &self,
        entry: &Entry,
        reader: &mut tar::Reader<R>,
        members: &mut Members,
    ) -> Result<(), Error> {
        let name = key(entry, &entry.path, "")?;
        match entry.kind {
            Kind::Directory => return Ok(()),
            Kind::SymbolicLink => {
                let above = name.rsplit_once('/').map_or("", |(above, _)| above);
                let target = key(entry, &entry.link, above)?;
                members.links.insert(name, target);
                return Ok(());
            }
            Kind::HardLink => {
                let target = key(entry, &entry.link, "")?;
                members.links.insert(name, target);
                return Ok(());
            }
            Kind::File => {}
            _ => return Err(entry.refuse("an archive of images holds files, directories and links only")),
        }
        if entry.segments.is_some() {
            return Err(entry.refuse("an archive of images holds no sparse files"));
        }
        let document = match name.as_str() {
            "index.json" => Some(&mut members.index),
            "manifest.json" => Some(&mut members.manifest),
            _ => None,
        };
        if let Some(document) = document {
            if entry.size > MAX_DOCUMENT {
                let limit = MAX_DOCUMENT;
                return Err(Error::Limit { entry: entry.shown(), what: "bytes of document", limit });
            }
            let mut bytes = Vec::new();
            copy(reader, entry.size, &mut bytes, self)?;
            *document = Some(bytes);
            return Ok(());
        }
        if name == "oci-layout" {
            let mut bytes = Vec::new();
            copy(reader, entry.size.min(4096), &mut bytes, self)?;
            check_layout(&bytes, Path::new("the archive"))?;
            members.is_layout = true;
            return Ok(());
        }
        // the facts of Docker's oldest form, which nothing needs
        if name == "repositories" || name.ends_with("/VERSION") || name.ends_with("/json") {
            return Ok(());
        }
        let expected = match name.strip_prefix("blobs/") {
            Some(rest) => Some(rest.replacen('/', ":", 1).parse::<Digest>()?),
            None => None,
        };
        let mut writer = self.blob_writer()?;
        copy(reader, entry.size, &mut writer, self)?;
        let expected =
            expected.map(|digest| Descriptor::new(MediaType::Unknown(String::new()), digest, entry.size));
        members.blobs.insert(name, writer.commit(expected.as_ref())?);
        Ok(())
    }

    /// The images of a layout's index, whose blobs are in the store by now.
    fn of_index(&self, index: &[u8]) -> Result<Vec<Named>, Error> {
        let index: Index = decode("index", "index.json", index)?;
        let mut found: Vec<Named> = Vec::new();
        for mut entry in index.manifests {
            let names = [IMAGE_NAME, REF_NAME].map(|key| entry.annotations.remove(key));
            let name = names.into_iter().flatten().find_map(|name| {
                // a bare word is a tag of an image that is not named
                name.contains(['/', ':']).then(|| name.parse::<Reference>().ok()).flatten()
            });
            let image = self.image(&entry)?;
            self.check_parts(&image)?;
            match found.iter_mut().find(|named| named.image.descriptor.digest == entry.digest) {
                Some(named) => named.names.extend(name),
                None => found.push(Named { image, names: name.into_iter().collect() }),
            }
        }
        Ok(found)
    }

    /// True sizes, and nothing missing.
    fn check_parts(&self, image: &Image) -> Result<(), Error> {
        for part in
            [&image.manifest_descriptor, &image.manifest.config].into_iter().chain(&image.manifest.layers)
        {
            let blob = self.open_blob(&part.digest)?;
            let found = blob.metadata().map_err(Error::io("look at", self.blob_path(&part.digest)))?.len();
            if found != part.size {
                return Err(Error::SizeMismatch { digest: part.digest.clone(), expected: part.size, found });
            }
        }
        Ok(())
    }

    fn of_docker(&self, manifest: &[u8], members: &Members, limits: &Limits) -> Result<Vec<Named>, Error> {
        let items: Vec<Item> = decode("manifest.json", "of the archive", manifest)?;
        let mut found = Vec::new();
        for item in items {
            let (id, config_size) = members.find(&item.config)?;
            let config: ImageConfig = decode("configuration", id, &self.read_document(id)?)?;
            let layers = item.layers.unwrap_or_default();
            if layers.len() != config.rootfs.diff_ids.len() {
                let (names, ids) = (layers.len(), config.rootfs.diff_ids.len());
                let reason = format!("it has {names} layers, and its configuration {ids} diff ids");
                return Err(inconsistent(&item.config, reason));
            }
            let mut descriptors = Vec::new();
            for (layer, expected) in layers.iter().zip(&config.rootfs.diff_ids) {
                let (digest, size) = members.find(layer)?;
                let (compression, diff_id) = pack::diff_id(self, digest, limits.bytes)?;
                if diff_id != *expected {
                    return Err(Error::DigestMismatch { expected: expected.clone(), found: diff_id });
                }
                descriptors.push(Descriptor::new(compression.layer_media_type(), digest.clone(), *size));
            }
            let config_descriptor = Descriptor::new(MediaType::ImageConfig, id.clone(), *config_size);
            let image = self.put_manifest(config, Manifest::new(config_descriptor, descriptors))?;
            let mut names = Vec::new();
            for tag in item.repo_tags.unwrap_or_default() {
                names.push(tag.parse()?);
            }
            found.push(Named { image, names });
        }
        Ok(found)
    }
}

impl Members {
    fn find(&self, name: &str) -> Result<&(Digest, u64), Error> {
        let mut name = name.strip_prefix("./").unwrap_or(name);
        for _ in 0..MAX_LINKS {
            if let Some(blob) = self.blobs.get(name) {
                return Ok(blob);
            }
            match self.links.get(name) {
                Some(target) => name = target,
                None => return Err(inconsistent(name, "the archive has no such member".into())),
            }
        }
        Err(inconsistent(name, "its links lead to no member".into()))
    }
}

/// Names in `manifest.json` of images that the index has without them.
fn add_docker_names(manifest: &[u8], members: &Members, found: &mut [Named]) {
    // the index is the truth; what Docker's file adds is a convenience, and may be missing
    let items: Vec<Item> = serde_json::from_slice(manifest).unwrap_or_default();
    for item in items {
        let Ok((id, _)) = members.find(&item.config) else { continue };
        for named in found.iter_mut().filter(|named| named.image.id == *id) {
            for name in item.repo_tags.iter().flatten().filter_map(|tag| tag.parse().ok()) {
                if !named.names.contains(&name) {
                    named.names.push(name);
                }
            }
        }
    }
}

/// A member's name as a key: relative, without `.`; a link's target is relative to the directory `above`.
fn key(entry: &Entry, path: &[u8], above: &str) -> Result<String, Error> {
    let path = std::str::from_utf8(path).map_err(|_| entry.refuse("a member's name is not UTF-8"))?;
    if path.starts_with('/') {
        return Err(entry.refuse("a name in an archive of images is absolute"));
    }
    let mut parts: Vec<&str> = above.split('/').filter(|part| !part.is_empty()).collect();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.pop().is_some() => {}
            ".." => return Err(entry.refuse("a name in an archive of images climbs out with ..")),
            part => parts.push(part),
        }
    }
    Ok(parts.join("/"))
}

fn copy<R: BufRead>(
    reader: &mut tar::Reader<R>,
    size: u64,
    output: &mut impl Write,
    store: &Store,
) -> Result<(), Error> {
    let mut left = size;
    while left > 0 {
        let piece = reader.data()?;
        let count = usize::try_from(left).unwrap_or(usize::MAX).min(piece.len());
        if count == 0 {
            // less than its header said: what is missing was asked for by nobody else
            return Ok(());
        }
        output.write_all(&piece[..count]).map_err(Error::io("write a blob in", store.root()))?;
        reader.consume(count);
        left -= count as u64;
    }
    Ok(())
}

fn open_member(root: &OwnedFd, name: &str) -> std::io::Result<std::fs::File> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    let file = std::fs::File::from(rustix::fs::openat2(root, name, flags, Mode::empty(), resolve)?);
    if file.metadata()?.is_file() { Ok(file) } else { Err(std::io::ErrorKind::InvalidInput.into()) }
}

fn check_layout(bytes: &[u8], path: &Path) -> Result<(), Error> {
    let value: serde_json::Value = serde_json::from_slice(bytes).unwrap_or_default();
    match value.get("imageLayoutVersion").and_then(serde_json::Value::as_str) {
        Some("1.0.0") => Ok(()),
        found => Err(Error::LayoutVersion {
            path: path.to_owned(),
            found: found.unwrap_or_default().chars().take(100).collect(),
        }),
    }
}

fn inconsistent(object: &str, reason: String) -> Error {
    Error::Inconsistent { what: "archive member", object: object.chars().take(200).collect(), reason }
}
