//! Control files: read whole, written in one call, never created.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::path::Path;

use crate::Error;

pub(crate) fn read_bytes(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(4096);
    File::open(path)?.read_to_end(&mut bytes)?;
    Ok(bytes)
}

pub(crate) fn read(path: &Path) -> Result<String, Error> {
    let bytes = read_bytes(path).map_err(|source| Error::Read { path: path.to_owned(), source })?;
    String::from_utf8(bytes).map_err(|wrong| Error::Parse {
        path: path.to_owned(),
        text: String::from_utf8_lossy(wrong.as_bytes()).into_owned(),
    })
}

/// Reads a file that this kernel or hierarchy may lack.
pub(crate) fn read_if_there(path: &Path) -> Result<Option<String>, Error> {
    match read(path) {
        Ok(text) => Ok(Some(text)),
        Err(Error::Read { source, .. })
            if matches!(source.raw_os_error(), Some(libc::ENOENT | libc::EOPNOTSUPP | libc::ENODEV)) =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

pub(crate) fn write_raw(path: &Path, value: &str) -> io::Result<()> {
    put(&mut File::options().write(true).open(path)?, value)
}

fn put(file: &mut File, value: &str) -> io::Result<()> {
    // one write: the kernel takes a control file's value whole
    match file.write(value.as_bytes())? {
        n if n == value.len() => Ok(()),
        _ => Err(io::ErrorKind::WriteZero.into()),
    }
}

pub(crate) fn write(path: &Path, value: &str) -> Result<(), Error> {
    write_each(path, [value])
}

/// Writes value after value to a file that takes each for itself; opening one costs more than ten writes.
pub(crate) fn write_each(
    path: &Path,
    values: impl IntoIterator<Item = impl AsRef<str>>,
) -> Result<(), Error> {
    let mut opened = None;
    for value in values {
        let value = value.as_ref();
        let done = if let Some(file) = &mut opened {
            put(file, value)
        } else {
            let file = File::options().write(true).open(path);
            file.and_then(|file| put(opened.insert(file), value))
        };
        done.map_err(|source| Error::Write { path: path.to_owned(), value: value.to_owned(), source })?;
    }
    Ok(())
}

/// The number after `key` in lines of `key number`.
pub(crate) fn field(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.trim().parse().ok())
}
