//! Layers that the kernel may not have written to the disk yet.
//!
//! Beside such a layer lies a link `CHAIN.boot`, whose target is the id of the boot in which the layer was unpacked (a link
//! that short lies in its inode, so it is there whole or not at all, and the journal keeps it before the rename). In
//! another boot the layer counts as not there.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use crate::{Error, tree};

/// After so long the kernel has written what is dirty (`vm.dirty_expire_centisecs` is 30 s), so waiting for it is cheap.
pub(crate) const WRITTEN_BY_THEN: Duration = Duration::from_secs(120);

fn boot() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

/// True if the layer is there and whole.
pub(crate) fn is_there(layer: &Path) -> bool {
    layer.exists()
        && match fs::read_link(layer.with_extension("boot")) {
            Ok(then) => boot().is_ok_and(|now| then == Path::new(&now)),
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        }
}

/// Says that the layer, which is to appear in a moment, is not written yet.
pub(crate) fn mark(layer: &Path) -> Result<(), Error> {
    forget(layer)?;
    let mark = layer.with_extension("boot");
    boot().and_then(|now| std::os::unix::fs::symlink(now, &mark)).map_err(Error::io("write", mark))
}

/// Takes the mark away. Idempotent.
pub(crate) fn forget(layer: &Path) -> Result<(), Error> {
    let mark = layer.with_extension("boot");
    match fs::remove_file(&mark) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::io("remove", mark)(error)),
        _ => Ok(()),
    }
}

/// Waits until everything is written, and takes the marks away, if one is older than `age`.
pub(crate) fn settle(root: &Path, age: Duration) -> Result<(), Error> {
    let failed = |source| Error::io("list", root)(source);
    let mut marks = Vec::new();
    let mut is_old = false;
    for entry in fs::read_dir(root).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_none_or(|extension| extension != "boot") || !is_there(&path.with_extension(""))
        {
            continue;
        }
        // one that somebody else took away meanwhile is what is wanted
        let Ok(metadata) = fs::symlink_metadata(&path) else { continue };
        is_old |= metadata.modified().is_ok_and(|then| then.elapsed().is_ok_and(|passed| passed >= age));
        marks.push(path);
    }
    if !is_old {
        return Ok(());
    }
    let directory = tree::open_root(root).map_err(Error::io("open", root))?;
    rustix::fs::syncfs(&directory).map_err(|errno| Error::io("sync", root)(errno.into()))?;
    marks.iter().try_for_each(|mark| forget(mark))
}
