//! The image that `bench image` measures: three layers of 63, 124 and 20 MB once they are packed by gzip, the last of
//! 20,000 small files with hard links. It is made of a seed, and packs about as well as programs and texts do.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::Failure;

/// Raw sizes in bytes of the files of the first two layers: they pack to less than half.
const LARGE: [u64; 2] = [145_000_000, 288_000_000];
const SMALL_FILES: u32 = 20_000;

struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Bytes that look half like text, half like a program.
    fn bytes(&mut self, length: usize, words: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(length + 64);
        while bytes.len() < length {
            let piece = bytes.len() + 1024;
            let kind = self.next() % 10;
            if kind < 4 && bytes.len() > 4096 {
                // what was there before, a little changed
                let back = 300 + (self.next() % 3500) as usize;
                let from = bytes.len() - back;
                bytes.extend_from_within(from..from + 280);
            } else if kind < 8 {
                while bytes.len() < piece {
                    // common words are common
                    let mut rank = || self.next() % 4096;
                    let at = rank() * rank() / 4096 * rank() / 4096;
                    bytes.extend_from_slice(&words[at as usize]);
                    bytes.push(if self.next().is_multiple_of(12) { b'\n' } else { b' ' });
                }
            } else {
                while bytes.len() < piece {
                    let code = self.next();
                    bytes.extend_from_slice(&[
                        0x48,
                        (code >> 8) as u8 & 0x3f | 0x80,
                        (code >> 16) as u8 & 0x1f,
                    ]);
                    bytes.extend_from_slice(&((code >> 24) as u32 & 0x0000_03ff).to_le_bytes());
                }
            }
        }
        bytes.truncate(length);
        bytes
    }
}

/// Makes `layer1.tar` to `layer3.tar` and `image.tar`, an archive as `docker save` once wrote it, in `place`.
pub(crate) fn layers(place: &Path) -> Result<(), Failure> {
    let mut noise = Noise(0x1234_5678_9abc_def1);
    let words: Vec<Vec<u8>> = (0..4096)
        .map(|_| {
            let length = 2 + noise.next() % 9;
            (0..length).map(|_| b'a' + (noise.next() % 26) as u8).collect()
        })
        .collect();
    for (index, size) in LARGE.iter().enumerate() {
        let root = place.join(format!("tree{}", index + 1));
        let mut left = *size;
        let mut number = 0;
        while left > 0 {
            // from programs of megabytes down to pages
            let wanted = [4 << 20, 700_000, 60_000, 9_000, 30_000][number % 5] + noise.next() % 5000;
            let folder = root.join(format!("usr/lib{index}/part{}", number / 40));
            fs::create_dir_all(&folder)?;
            fs::write(folder.join(format!("file{number}")), noise.bytes(wanted.min(left) as usize, &words))?;
            left -= wanted.min(left);
            number += 1;
        }
    }
    let bin = place.join("tree1/bin");
    fs::create_dir_all(&bin)?;
    fs::copy("/bin/busybox", bin.join("busybox"))?;
    for applet in ["sh", "chown", "true"] {
        std::os::unix::fs::symlink("busybox", bin.join(applet))?;
    }
    for name in ["tmp", "proc", "sys", "dev", "etc"] {
        fs::create_dir_all(place.join("tree1").join(name))?;
    }
    let small = place.join("tree3/small");
    for number in 0..SMALL_FILES {
        let folder = small.join(format!("d{}", number / 50));
        fs::create_dir_all(&folder)?;
        let path = folder.join(format!("f{number}"));
        if number % 20 == 19 {
            fs::hard_link(folder.join(format!("f{}", number - 1)), path)?;
        } else {
            let length = 400 + noise.next() % 3700;
            fs::write(path, noise.bytes(length as usize, &words))?;
        }
    }
    let mut diff_ids = Vec::new();
    for index in 1..=3 {
        let (tree, tar) = (place.join(format!("tree{index}")), place.join(format!("layer{index}.tar")));
        let mut command = Command::new("tar");
        command
            .args(["--sort=name", "--numeric-owner", "--owner=0", "--group=0", "-C"])
            .arg(&tree)
            .arg("-cf");
        told(command.arg(&tar).arg("."))?;
        fs::remove_dir_all(tree)?;
        let sum = told(Command::new("sha256sum").arg(&tar))?;
        let digest = sum.split_whitespace().next().ok_or("sha256sum says nothing")?.to_owned();
        diff_ids.push(format!("sha256:{digest}"));
    }
    let config = json!({
        "architecture": "amd64", "os": "linux", "config": {"Cmd": ["/bin/sh"], "Env": ["PATH=/bin"]},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
        "history": [{"created_by": "one"}, {"created_by": "two"}, {"created_by": "three"}],
    });
    fs::File::create(place.join("config.json"))?.write_all(config.to_string().as_bytes())?;
    let manifest = json!([{
        "Config": "config.json", "RepoTags": ["bench:1"], "Layers": ["layer1.tar", "layer2.tar", "layer3.tar"],
    }]);
    fs::write(place.join("manifest.json"), manifest.to_string())?;
    let mut command = Command::new("tar");
    command.arg("-C").arg(place).arg("-cf").arg(place.join("image.tar"));
    told(command.args(["manifest.json", "config.json", "layer1.tar", "layer2.tar", "layer3.tar"]))?;
    Ok(())
}

/// The same files of an archive that `docker save` or `dunnage save` wrote; its layers are numbered from the lowest on.
pub(crate) fn own_layers(place: &Path, archive: &Path) -> Result<(), Failure> {
    fs::copy(archive, place.join("image.tar"))?;
    let taken = |name: &str| {
        let mut command = Command::new("tar");
        command.arg("-xOf").arg(archive).arg(name);
        command
    };
    let manifest: Value = serde_json::from_str(&told(&mut taken("manifest.json"))?)?;
    let layers = manifest[0]["Layers"].as_array().ok_or("manifest.json of the archive has no layers")?;
    for (index, layer) in layers.iter().enumerate() {
        let name = layer.as_str().ok_or("a layer without a name in manifest.json")?;
        let packed = place.join("packed");
        let taken = taken(name).stdin(Stdio::null()).stdout(fs::File::create(&packed)?).status()?;
        let plain = fs::File::create(place.join(format!("layer{}.tar", index + 1)))?;
        let inflated = Command::new("gzip").args(["-dcf"]).arg(&packed).stdout(plain).status()?;
        if !taken.success() || !inflated.success() {
            return Err(format!("{name} cannot be taken from {}", archive.display()).into());
        }
        fs::remove_file(packed)?;
    }
    Ok(())
}

/// What a program says that must succeed.
fn told(command: &mut Command) -> Result<String, Failure> {
    let output = command.stdin(Stdio::null()).output()?;
    if output.status.success() {
        return Ok(String::from_utf8(output.stdout)?);
    }
    Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr)).into())
}
