use std::fs::{self, File};
use std::hint::black_box;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use container_image::{Algorithm, Diff, Hasher, Limits, Reference};

use crate::{Amount, HotPath, Random, Scale};

/// What a tree is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tree {
    /// Files.
    pub files: usize,
    /// The bytes of a file are evenly spread from none to twice this.
    pub size: u64,
    /// Every so many files one is a hard link to the one before; 0 for none.
    pub link_every: usize,
    /// Files in a directory.
    pub together: usize,
}

/// Makes a tree of files below a directory that exists, and says how many bytes they hold. The bytes are words of a small
/// vocabulary and numbers, which deflate packs to about a third.
pub fn tree(random: &mut Random, below: &Path, shape: &Tree) -> io::Result<u64> {
    let words: Vec<String> = (0..2048).map(|_| format!("{:x} ", random.below(0x00ff_ffff))).collect();
    let (mut bytes, mut last) = (0, PathBuf::new());
    for at in 0..shape.files {
        let folder = below.join(format!("d{}", at / shape.together.max(1)));
        if at % shape.together.max(1) == 0 {
            fs::create_dir_all(&folder)?;
        }
        let path = folder.join(format!("f{at}"));
        if shape.link_every > 0 && at % shape.link_every == shape.link_every - 1 {
            fs::hard_link(&last, &path)?;
        } else {
            let length = random.below(shape.size * 2 + 1) as usize;
            let mut text = String::with_capacity(length + 8);
            while text.len() < length {
                text.push_str(&words[(random.below(2048) * random.below(2048) / 2048) as usize]);
            }
            text.truncate(length);
            fs::write(&path, text)?;
            bytes += length as u64;
            last = path;
        }
    }
    Ok(bytes)
}

/// Packs a tree by GNU tar, sorted, owned by root, and returns the archive.
pub fn tar(tree: &Path) -> io::Result<Vec<u8>> {
    let mut command = Command::new("tar");
    command
        .args(["--sort=name", "--numeric-owner", "--owner=0", "--group=0", "-C"])
        .arg(tree)
        .args(["-cf", "-", "."]);
    let output = command.output()?;
    if !output.status.success() {
        return Err(io::Error::other(String::from_utf8_lossy(&output.stderr).into_owned()));
    }
    Ok(output.stdout)
}

/// 1,000 files of 2 kB, one in twenty a hard link.
const SMALL: Tree = Tree { files: 1000, size: 2000, link_every: 20, together: 50 };

fn small(scale: Scale, at: &Path) -> PathBuf {
    let below = at.join("tree");
    fs::create_dir(&below).expect("the directory is empty");
    tree(&mut Random::new(11), &below, &Tree { files: SMALL.files * scale.0, ..SMALL })
        .expect("room for a tree");
    below
}

pub(crate) fn reference(scale: Scale, _: &Path) -> HotPath {
    let mut random = Random::new(3);
    let texts: Vec<String> = (0..scale.0 * 1000)
        .map(|at| match random.below(4) {
            0 => format!("app{at}"),
            1 => format!("team/app{at}:v{}", random.below(99)),
            2 => format!("registry.example:5000/team/app{at}:v1"),
            _ => format!("ghcr.io/team/app{at}@sha256:{:064x}", random.number()),
        })
        .collect();
    HotPath::new("image/reference", Amount::Items(texts.len() as u64), move || {
        for text in &texts {
            black_box(text.parse::<Reference>().expect("the generated references are fine"));
        }
    })
}

pub(crate) fn sha256(scale: Scale, _: &Path) -> HotPath {
    let bytes = vec![7; scale.0 * 4_000_000];
    HotPath::new("image/sha256", Amount::Bytes(bytes.len() as u64), move || {
        let mut hasher = Hasher::new(Algorithm::Sha256);
        hasher.update(&bytes);
        black_box(hasher.finish());
    })
}

pub(crate) fn inflate(scale: Scale, at: &Path) -> HotPath {
    let plain = tar(&small(scale, at)).expect("GNU tar");
    let mut packed = Vec::new();
    {
        let path = at.join("plain.tar");
        fs::write(&path, &plain).expect("room for an archive");
        let output = Command::new("gzip").arg("-c").arg(&path).output().expect("gzip");
        packed.extend(output.stdout);
    }
    HotPath::new("image/inflate", Amount::Bytes(plain.len() as u64), move || {
        let mut input = container_image::inflate(packed.as_slice()).expect("gzip");
        let mut buffer = vec![0; 256 << 10];
        while input.read(&mut buffer).expect("what gzip wrote") > 0 {}
    })
}

pub(crate) fn apply(scale: Scale, at: &Path) -> HotPath {
    let archive = tar(&small(scale, at)).expect("GNU tar");
    let target = at.join("root");
    HotPath::new("image/apply", Amount::Bytes(archive.len() as u64), move || {
        fs::create_dir(&target).expect("it was removed");
        container_image::apply(archive.as_slice(), &target, &[] as &[&Path], &Limits::default())
            .expect("what GNU tar wrote");
        container_image::remove_tree(&target).expect("our own tree");
    })
}

pub(crate) fn diff(scale: Scale, at: &Path) -> HotPath {
    let from = small(scale, at);
    let to = at.join("to");
    let copied = Command::new("cp").arg("-a").args([&from, &to]).status();
    assert!(copied.is_ok_and(|status| status.success()), "cp");
    for place in (0..SMALL.files * scale.0).step_by(10) {
        let path = to.join(format!("d{}/f{place}", place / SMALL.together));
        let mut file = File::options().append(true).open(path).expect("a file of the tree");
        file.write_all(b"more").expect("room for four bytes");
    }
    HotPath::new("image/diff", Amount::Items((SMALL.files * scale.0) as u64), move || {
        let diff = Diff::of_trees(&from, &to).expect("two trees");
        diff.write(io::sink(), None).expect("a sink takes all");
    })
}
