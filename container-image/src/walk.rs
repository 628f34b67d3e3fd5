//! Trees on disk, read in the order in which archives list them: a directory, then what is in it by name.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{Dir, FileType};
use rustix::io::Errno;

use crate::apply::may_set;
use crate::{Error, tar, tree};

/// One object of a tree.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    /// Relative to the root, which is empty itself.
    pub(crate) path: Vec<u8>,
    pub(crate) file_type: FileType,
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mtime: (i64, u32),
    pub(crate) size: u64,
    pub(crate) device: (u32, u32),
    /// Device and inode number of the object itself, and how many names it has.
    pub(crate) inode: (u64, u64),
    pub(crate) names: u64,
    /// Target of a symbolic link.
    pub(crate) link: Vec<u8>,
    /// Those that a layer may hold.
    pub(crate) xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    pub(crate) mark: Mark,
    /// In which of the roots it lies.
    pub(crate) root: usize,
}

/// What overlayfs's marks say of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mark {
    None,
    /// Nothing is here, whatever the layers below have.
    Whiteout,
    /// Nothing of the layers below shows through this directory.
    Opaque,
}

/// What to make of overlayfs's marks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Marks {
    /// They are not to be there: the tree is nobody's layer.
    Refuse,
    /// They are part of what is found.
    Keep,
    /// They decide what of the layers below is found.
    Resolve,
}

/// Everything below `roots`, looked at as layers, the topmost first; the root itself comes first.
/// Sockets are passed over, for no archive can hold them, and so is what vanishes meanwhile.
pub(crate) fn walk(roots: &[OwnedFd], marks: Marks) -> Result<Vec<Node>, Error> {
    let mut nodes = Vec::new();
    let Some(top) = roots.first() else {
        return Ok(nodes);
    };
    let Some(root) = look(top.as_fd(), b"", b".", 0, marks)? else {
        return Ok(nodes);
    };
    let mut open = vec![(root, (0..roots.len()).collect::<Vec<_>>())];
    while let Some((node, layers)) = open.pop() {
        if node.file_type == FileType::Directory {
            let children = children(roots, &node.path, &layers, marks)?;
            open.extend(children.into_iter().rev());
        }
        nodes.push(node);
    }
    Ok(nodes)
}

/// What a name is in the layers that were looked at.
struct Slot {
    node: Option<Node>,
    /// The layers whose directories by this name are one.
    layers: Vec<usize>,
    /// Lower layers may add to the directory.
    open: bool,
}

fn children(
    roots: &[OwnedFd],
    path: &[u8],
    layers: &[usize],
    marks: Marks,
) -> Result<Vec<(Node, Vec<usize>)>, Error> {
    let mut slots: BTreeMap<Vec<u8>, Slot> = BTreeMap::new();
    for &layer in layers {
        let at = if path.is_empty() { b"." } else { path };
        let directory = match tree::open_child(roots[layer].as_fd(), at) {
            Ok(directory) => directory,
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => continue,
            Err(errno) => return Err(failed("open", path)(errno.into())),
        };
        for entry in Dir::read_from(&directory).map_err(|e| failed("list", path)(e.into()))? {
            let entry = entry.map_err(|e| failed("list", path)(e.into()))?;
            let name = entry.file_name().to_bytes();
            if matches!(name, b"." | b"..") || slots.get(name).is_some_and(|slot| !slot.open) {
                continue;
            }
            let Some(node) = look(directory.as_fd(), path, name, layer, marks)? else {
                continue;
            };
            let is_directory = node.file_type == FileType::Directory && node.mark != Mark::Whiteout;
            let open = is_directory && node.mark != Mark::Opaque;
            if let Some(slot) = slots.get_mut(name) {
                slot.open = open;
                if is_directory {
                    slot.layers.push(layer);
                }
                continue;
            }
            let hidden = node.mark == Mark::Whiteout && marks == Marks::Resolve;
            let slot = Slot { node: (!hidden).then_some(node), layers: vec![layer], open };
            slots.insert(name.to_vec(), slot);
        }
    }
    Ok(slots.into_values().filter_map(|slot| Some((slot.node?, slot.layers))).collect())
}

/// What is at `name` in the directory; none for a socket, and for what is not there any more.
fn look(
    directory: BorrowedFd<'_>,
    above: &[u8],
    name: &[u8],
    root: usize,
    marks: Marks,
) -> Result<Option<Node>, Error> {
    let path = match (above, name) {
        (_, b".") => Vec::new(),
        (b"", name) => name.to_vec(),
        (above, name) => [above, b"/", name].concat(),
    };
    let Some(stat) = tree::stat(directory, name).map_err(failed("look at", &path))? else {
        return Ok(None);
    };
    let file_type = tree::file_type(&stat);
    if matches!(file_type, FileType::Socket | FileType::Unknown) {
        return Ok(None);
    }
    let mut node = Node {
        file_type,
        mode: stat.st_mode & 0o7777,
        uid: stat.st_uid,
        gid: stat.st_gid,
        mtime: (stat.st_mtime, stat.st_mtime_nsec as u32),
        size: if file_type == FileType::RegularFile { stat.st_size as u64 } else { 0 },
        device: (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev)),
        inode: (stat.st_dev, stat.st_ino),
        names: stat.st_nlink,
        link: Vec::new(),
        xattrs: BTreeMap::new(),
        mark: Mark::None,
        root,
        path,
    };
    if tree::is_whiteout(&stat) {
        if marks == Marks::Refuse {
            return Err(unsupported(&node.path, "the device 0:0 is overlayfs's mark for a deleted file"));
        }
        node.mark = Mark::Whiteout;
        return Ok(Some(node));
    }
    let read = if file_type == FileType::Symlink {
        rustix::fs::readlinkat(directory, name, Vec::new()).map(|target| node.link = target.into_bytes())
    } else {
        Ok(())
    };
    match read.map_err(io::Error::from).and_then(|()| attributes(directory, name, &mut node, marks)) {
        Ok(()) => Ok(Some(node)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed("read the attributes of", &node.path)(error)),
    }
}

fn attributes(directory: BorrowedFd<'_>, name: &[u8], node: &mut Node, marks: Marks) -> io::Result<()> {
    // there is no call for the attributes of a link or a device by descriptor; the last part is not followed
    let path = [format!("/proc/self/fd/{}/", directory.as_raw_fd()).as_bytes(), name].concat();
    let names = match grown(1024, |buffer| rustix::fs::llistxattr(&path[..], buffer)) {
        Err(Errno::OPNOTSUPP) => return Ok(()),
        names => names?,
    };
    for attribute in names.split(|&byte| byte == 0).filter(|attribute| !attribute.is_empty()) {
        let value = || grown(256, |buffer| rustix::fs::lgetxattr(&path[..], attribute, buffer));
        // only what the kernel alone writes is a mark: a container can set user.overlay.* itself
        if let Some(mark) = attribute.strip_prefix(b"trusted.overlay.") {
            if marks == Marks::Refuse {
                continue;
            }
            match mark {
                b"opaque" if value()? == b"y" => node.mark = Mark::Opaque,
                b"whiteout" => node.mark = Mark::Whiteout,
                b"redirect" | b"metacopy" => {
                    return Err(io::Error::new(
                        io::ErrorKind::Unsupported,
                        "its content lies elsewhere in the layers below (overlayfs redirect_dir or metacopy)",
                    ));
                }
                _ => {}
            }
        } else if may_set(attribute) {
            match value() {
                // gone meanwhile
                Err(Errno::NODATA) => {}
                value => drop(node.xattrs.insert(attribute.to_vec(), value?)),
            }
        }
    }
    Ok(())
}

/// Calls again with more room while the kernel asks for it.
fn grown(first: usize, mut call: impl FnMut(&mut [u8]) -> Result<usize, Errno>) -> Result<Vec<u8>, Errno> {
    let mut buffer = vec![0; first];
    loop {
        match call(&mut buffer) {
            Ok(length) => {
                buffer.truncate(length);
                return Ok(buffer);
            }
            // the kernel's own limit for values and lists is 64 KiB
            Err(Errno::RANGE) if buffer.len() < 128 << 10 => buffer.resize(buffer.len() * 4, 0),
            Err(errno) => return Err(errno),
        }
    }
}

pub(crate) fn unsupported(path: &[u8], reason: &str) -> Error {
    failed("archive", path)(io::Error::new(io::ErrorKind::Unsupported, reason))
}

pub(crate) fn failed(action: &'static str, path: &[u8]) -> impl FnOnce(io::Error) -> Error + use<> {
    let entry = if path.is_empty() { "/".to_owned() } else { tar::shown(path) };
    move |source| Error::Entry { action, entry, source }
}

/// The root's own facts.
pub(crate) fn root(root: &OwnedFd) -> Result<Option<Node>, Error> {
    look(root.as_fd(), b"", b".", 0, Marks::Keep)
}
