//! `--secret`: a file of the host that a container has in memory.

use std::fs::File;
use std::io::Read;
use std::path::PathBuf;

use container_engine::{Secret, SecretBytes};

use crate::context::Failure;

/// Most bytes of a secret; the engine refuses what is larger, this keeps it from being read.
const LARGEST: u64 = 512 << 10;

/// Reads `source=FILE[,target=NAME][,uid=N][,gid=N][,mode=0444]`. A target without a slash in front is below `/run/secrets`.
pub(crate) fn parse(text: &str) -> Result<Secret, Failure> {
    let refuse = |reason: &str| Failure::new(format!("invalid secret {text:?}: {reason}"));
    let (mut source, mut target, mut uid, mut gid, mut mode) = (None, None, 0, 0, 0o444);
    for part in text.split(',') {
        let (key, value) = part.split_once('=').ok_or_else(|| refuse("a key, = and a value are needed"))?;
        let number = || value.parse::<u32>().map_err(|_| refuse("an id is a number"));
        match key {
            "source" | "src" => source = Some(PathBuf::from(value)),
            "target" | "dst" => target = Some(value.to_owned()),
            "uid" => uid = number()?,
            "gid" => gid = number()?,
            "mode" => mode = u32::from_str_radix(value, 8).map_err(|_| refuse("the mode is octal"))?,
            _ => return Err(refuse("its keys are source, target, uid, gid and mode")),
        }
    }
    let source = source.ok_or_else(|| refuse("it has no source"))?;
    let name = source.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let name = target.unwrap_or(name);
    let target = PathBuf::from("/run/secrets").join(&name);
    let mut content = Vec::new();
    File::open(&source)
        .and_then(|file| file.take(LARGEST + 1).read_to_end(&mut content))
        .map_err(|error| Failure::new(format!("secret {}: {error}", source.display())))?;
    Ok(Secret { name, target, uid, gid, mode, content: SecretBytes::new(content) })
}
