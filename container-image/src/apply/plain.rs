//! Deletions in a tree that holds all layers at once: what the layer itself has made stays.

use std::collections::HashSet;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{Dir, FileType};

use crate::tree;

/// Deletes `name` in the directory `parent`, whose path is `above`, as far as it is of the layers below.
pub(super) fn delete(
    parent: BorrowedFd<'_>,
    above: &[u8],
    name: &[u8],
    here: &HashSet<Vec<u8>>,
) -> io::Result<()> {
    let path = if above.is_empty() { name.to_vec() } else { [above, b"/", name].concat() };
    if !here.contains(&path) {
        return tree::remove(parent, name);
    }
    match tree::stat(parent, name)? {
        Some(stat) if tree::file_type(&stat) == FileType::Directory => {
            clear(tree::open_child(parent, name)?.as_fd(), &path, here)
        }
        _ => Ok(()),
    }
}

/// Deletes everything in a directory that is of the layers below.
pub(super) fn clear(directory: BorrowedFd<'_>, path: &[u8], here: &HashSet<Vec<u8>>) -> io::Result<()> {
    // an explicit stack: depth is the archive's, not ours
    let mut open = vec![(tree::open_child(directory, b".")?, path.to_vec())];
    while let Some((directory, path)) = open.pop() {
        let mut names = Vec::new();
        for entry in Dir::read_from(&directory)? {
            let name = entry?.file_name().to_bytes().to_vec();
            if name != b"." && name != b".." {
                names.push(name);
            }
        }
        for name in names {
            let inner = if path.is_empty() { name.clone() } else { [&path, &b"/"[..], &name].concat() };
            if !here.contains(&inner) {
                tree::remove(directory.as_fd(), &name)?;
            } else if let Ok(child) = tree::open_child(directory.as_fd(), &name) {
                open.push((child, inner));
            }
        }
    }
    Ok(())
}
