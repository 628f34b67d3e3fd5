//! Input that was good and was changed at random: nothing panics, nothing escapes, nothing grows without bound. Each case is
//! made of a seed, so a failure can be seen again. The longer runs are those of the fuzz targets.

mod archive;

use std::fs;
use std::path::Path;

use archive::archive;
use container_image::{
    Digest, ImageConfig, Import, Index, Limits, Manifest, MediaType, Owners, Platform, Reference, Store,
    apply,
};

struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit.max(1) as u64) as usize
    }

    /// One to four changes: a bit, a byte, a piece doubled, cut out or moved, a number at the edge.
    fn mutate(&mut self, input: &[u8], words: &[&str]) -> Vec<u8> {
        let mut bytes = input.to_vec();
        for _ in 0..=self.below(4) {
            let at = self.below(bytes.len());
            match self.below(7) {
                0 if !bytes.is_empty() => bytes[at] ^= 1 << self.below(8),
                1 if !bytes.is_empty() => bytes[at] = self.below(256) as u8,
                2 => bytes.truncate(at),
                3 => {
                    let end = (at + self.below(600)).min(bytes.len());
                    let piece = bytes[at..end].to_vec();
                    bytes.splice(at..at, piece);
                }
                4 => drop(bytes.drain(at..(at + self.below(40)).min(bytes.len()))),
                5 => drop(bytes.splice(at..at, words[self.below(words.len())].bytes())),
                _ => {
                    let end = (at + 12).min(bytes.len());
                    let number =
                        ["7777777", "-1", "\u{80}", "18446744073709551616", "0"][self.below(5)].as_bytes();
                    let length = number.len().min(end - at);
                    bytes[at..at + length].copy_from_slice(&number[..length]);
                }
            }
        }
        bytes
    }
}

const ROUNDS: u64 = 1500;

#[test]
fn references_digests_and_platforms_that_are_taken_say_themselves_again() {
    let good = [
        "docker.io/library/a:b",
        "localhost:5000/team/web@sha256:",
        "a",
        "x.y/z_q/r-s:1.2",
        "[::1]:5000/a:b",
    ];
    let words = ["/", ":", "@", "..", "sha256:", "A", "%2f", "\u{202e}", "\0", "__", "localhost"];
    for seed in 1..ROUNDS {
        let mut random = Random(seed);
        let digest = Digest::of(b"x").to_string();
        let input = format!("{}{}", good[random.below(good.len())], if seed % 3 == 0 { &digest } else { "" });
        let text = String::from_utf8_lossy(&random.mutate(input.as_bytes(), &words)).into_owned();
        if let Ok(reference) = text.parse::<Reference>() {
            let again: Reference =
                reference.to_string().parse().unwrap_or_else(|error| panic!("{seed}: {error}"));
            assert_eq!(again, reference, "{seed}");
            assert!(
                !reference.path().split('/').any(|part| matches!(part, "" | "." | "..")),
                "{seed}: {text:?}"
            );
        }
        if let Ok(digest) = text.parse::<Digest>() {
            assert!(digest.hex().bytes().all(|byte| byte.is_ascii_hexdigit()), "{seed}");
        }
        if let Ok(platform) = text.parse::<Platform>() {
            assert_eq!(platform.to_string().parse::<Platform>().unwrap(), platform, "{seed}");
        }
    }
}

#[test]
fn documents_that_were_changed_are_refused_or_read() {
    let place = tempfile::tempdir().unwrap();
    let store = Store::open(place.path().join("s")).unwrap();
    let image = store.import(archive().file("f", b"x").end().as_slice(), Import::default()).unwrap();
    let manifest = store.read_document(&image.descriptor.digest).unwrap();
    let config = store.read_document(&image.id).unwrap();
    let index =
        serde_json::to_vec(&Index { manifests: vec![image.descriptor.clone()], ..Index::default() }).unwrap();
    let words =
        ["null", "[]", "{}", "\"\"", "\"manifests\":[]", "1e999", "\\u0000", "sha256:", "\"layers\":"];
    for seed in 1..ROUNDS {
        let mut random = Random(seed);
        let kinds = [
            (&manifest, MediaType::ImageManifest),
            (&config, MediaType::ImageConfig),
            (&index, MediaType::ImageIndex),
        ];
        let (input, kind) = &kinds[random.below(3)];
        let bytes = random.mutate(input, &words);
        let _ = serde_json::from_slice::<Manifest>(&bytes).is_ok();
        let _ = serde_json::from_slice::<ImageConfig>(&bytes).is_ok();
        let _ = serde_json::from_slice::<Index>(&bytes).is_ok();
        if seed % 30 == 0 {
            // as it would come: a blob under its own digest, named by an index
            let digest = store.put_blob(&bytes).unwrap();
            let descriptor = container_image::Descriptor::new(kind.clone(), digest, bytes.len() as u64);
            if let Ok(image) = store.image(&descriptor) {
                assert_eq!(image.manifest.layers.len(), image.config.rootfs.diff_ids.len(), "{seed}");
                let _ = image.history();
            }
        }
    }
}

/// A layout whose index was changed, and so what it names.
#[test]
fn a_layout_that_was_changed_is_refused_or_read() {
    let place = tempfile::tempdir().unwrap();
    let store = Store::open(place.path().join("s")).unwrap();
    let image = store.import(archive().file("f", b"x").end().as_slice(), Import::default()).unwrap();
    store.tag(&"web:1".parse().unwrap(), &image.descriptor).unwrap();
    let good = fs::read(store.root().join("index.json")).unwrap();
    let words =
        ["null", "[]", "../../etc/passwd", "sha256:", "\"size\":-1", "org.opencontainers.image.ref.name"];
    let other = Store::open(place.path().join("o")).unwrap();
    for seed in 1..200 {
        fs::write(store.root().join("index.json"), Random(seed).mutate(&good, &words)).unwrap();
        let _ = other.load_layout(store.root()).is_ok();
        let _ = store.images().is_ok();
        let _ = store.find("web:1").is_ok();
        let _ = store.check(false).is_ok();
    }
    assert!(image.descriptor.size > 0);
}

/// A jail: whatever becomes of the tree, what lies beside it stays as it is.
#[test]
fn archives_that_were_changed_never_reach_out_of_their_tree() {
    let good = archive()
        .directory("d")
        .file("d/one", b"1")
        .symlink("away", "../outside")
        .symlink("root", "/")
        .file("away/canary", b"!")
        .hard_link("d/two", "d/one")
        .file("d/.wh.one", b"")
        .pax(&[("path", b"d/three"), ("size", b"4")])
        .file("x", b"data")
        .file("d/.wh..wh..opq", b"")
        .pax(&[("GNU.sparse.major", b"1"), ("GNU.sparse.minor", b"0"), ("GNU.sparse.realsize", b"9000")])
        .file("sparse", &[b"1\n0\n4\n".to_vec(), vec![0; 506], b"abcd".to_vec()].concat())
        .end();
    let words = ["../", "/", "outside/canary", "away/", "root/", ".wh.", "trusted.overlay.redirect", "\0"];
    let place = tempfile::tempdir().unwrap();
    let outside = place.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("canary"), "alive").unwrap();
    let limits = Limits { bytes: 1 << 20, entries: 1000, depth: 20 };
    let store = Store::open(place.path().join("store")).unwrap();
    for seed in 1..600 {
        let mut bytes = Random(seed).mutate(&good, &words);
        mend_sums(&mut bytes);
        let root = place.path().join("root");
        if seed % 4 == 0 {
            if let Ok(image) = store.import(bytes.as_slice(), Import::default()) {
                let _ = store.unpack_tree(&image, &root, Owners::Archive, &limits);
            }
        } else {
            fs::create_dir(&root).unwrap();
            let _ = apply(bytes.as_slice(), &root, &[] as &[&Path], &limits);
        }
        assert_eq!(fs::read(outside.join("canary")).unwrap(), b"alive", "{seed}");
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 1, "{seed}");
        assert!(fs::read_dir(place.path()).unwrap().count() <= 3, "{seed}");
        container_image::remove_tree(&root).unwrap();
    }
}

/// Else most changes end at a check sum.
fn mend_sums(bytes: &mut [u8]) {
    for header in bytes.chunks_exact_mut(512).filter(|block| &block[257..262] == b"ustar") {
        header[148..156].fill(b' ');
        let sum: u32 = header.iter().map(|&byte| u32::from(byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }
}
