use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};

use crate::below::{Below, Seen};
use crate::tar::{Entry, Kind, Writer};
use crate::walk::{self, Mark, Marks, Node, failed, unsupported, walk};
use crate::{Error, tree};

/// What a layer is to hold: the difference between two trees, in the order in which an archive lists it.
///
/// It holds facts of the files, not their data, which [`write`](Self::write) reads. Making one changes nothing.
/// Owner, mode, times to the nanosecond, hard links, devices and extended attributes are kept; sockets are passed over.
pub struct Diff {
    roots: Vec<OwnedFd>,
    changes: Vec<Change>,
}

/// One object that differs.
#[derive(Debug, Clone)]
pub struct Change {
    kind: ChangeKind,
    node: Node,
}

/// How an object differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ChangeKind {
    /// It was not there.
    Added,
    /// It was there, and is another, or has other attributes, or is a directory in which something changed.
    Changed,
    /// It is not there any more.
    Deleted,
}

impl Change {
    /// How it differs.
    pub fn kind(&self) -> ChangeKind {
        self.kind
    }

    /// Its path, absolute in the root.
    pub fn path(&self) -> PathBuf {
        use std::os::unix::ffi::OsStrExt;
        Path::new("/").join(std::ffi::OsStr::from_bytes(&self.node.path))
    }
}

impl Diff {
    /// What an overlay's upper directory adds to the layers under it, the topmost first.
    ///
    /// # Errors
    ///
    /// [`Error::Entry`] if something cannot be a part of a layer: a name that begins with `.wh.`, or what overlayfs
    /// has made with the options `redirect_dir` or `metacopy`, whose content lies elsewhere.
    pub fn of_upper(upper: &Path, below: &[impl AsRef<Path>]) -> Result<Self, Error> {
        let roots = vec![tree::open_root(upper).map_err(Error::io("open", upper))?];
        let nodes = walk(&roots, Marks::Keep)?;
        let like = match below.first() {
            Some(top) => {
                let top = tree::open_root(top.as_ref()).map_err(Error::io("open", top.as_ref()))?;
                walk::root(&top)?
            }
            None => None,
        };
        let below = Below::open(below)?;
        let mut changes = Vec::new();
        for mut node in nodes {
            check_name(&node)?;
            let there = node.path.is_empty()
                || below.look(&node.path).map_err(failed("look at", &node.path))? != Seen::Nothing;
            let kind = match (node.mark, there) {
                // hides nothing
                (Mark::Whiteout, false) => continue,
                (Mark::Whiteout, true) => ChangeKind::Deleted,
                (_, true) => ChangeKind::Changed,
                (_, false) => {
                    node.mark = Mark::None;
                    ChangeKind::Added
                }
            };
            changes.push(Change { kind, node });
        }
        // the root is always there; alone, it counts only if it was changed
        if let ([root], Some(like)) = (changes.as_slice(), like)
            && same_owner(&root.node, &like)
            && root.node.xattrs == like.xattrs
        {
            changes.clear();
        }
        Ok(Self { roots, changes })
    }

    /// What makes the tree `to` of the tree `from`. Files are compared by their attributes and then by their bytes.
    ///
    /// # Errors
    ///
    /// [`Error::Entry`] if something in `to` cannot be a part of a layer, such as a name that begins with `.wh.`.
    pub fn of_trees(from: &Path, to: &Path) -> Result<Self, Error> {
        let open = |path| tree::open_root(path).map_err(Error::io("open", path));
        let (old_root, new_root) = (open(from)?, open(to)?);
        let old = walk(std::slice::from_ref(&old_root), Marks::Refuse)?;
        let roots = vec![new_root];
        let new = walk(&roots, Marks::Refuse)?;
        let changes = compare(old_root.as_fd(), &old, roots[0].as_fd(), &new)?;
        Ok(Self { roots, changes })
    }

    /// All of the layers in the directories, the topmost first, as a container would see it: the difference to nothing.
    pub fn of_layers(layers: &[impl AsRef<Path>]) -> Result<Self, Error> {
        let open = |path: &Path| tree::open_root(path).map_err(Error::io("open", path));
        let roots = layers.iter().map(|path| open(path.as_ref())).collect::<Result<Vec<_>, _>>()?;
        let added = |mut node: Node| {
            node.mark = Mark::None;
            Change { kind: ChangeKind::Added, node }
        };
        let changes = walk(&roots, Marks::Resolve)?.into_iter().map(added).collect();
        Ok(Self { roots, changes })
    }

    /// Everything that differs. The root itself is in it, with the path `/`, if anything is.
    pub fn changes(&self) -> &[Change] {
        &self.changes
    }

    /// True if nothing differs.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// Leaves out everything at and under the given paths, such as what an engine has mounted there.
    pub fn leave_out(&mut self, paths: &[impl AsRef<Path>]) {
        let hidden = |change: &Change| {
            let path = change.path();
            paths.iter().any(|out| path.starts_with(out.as_ref()))
        };
        self.changes.retain(|change| !hidden(change));
    }

    /// Writes the layer's archive, uncompressed: PAX, sorted, and the same bytes for the same trees. No time in it is
    /// later than `not_after`, in seconds since 1970, which is what `SOURCE_DATE_EPOCH` asks for.
    ///
    /// # Errors
    ///
    /// [`Error::Write`] if `output` fails, [`Error::Entry`] if a file cannot be read or shrinks meanwhile.
    pub fn write(&self, output: impl Write, not_after: Option<i64>) -> Result<(), Error> {
        let mut writer = Writer::new(BufWriter::with_capacity(256 << 10, output));
        let mut first_names: HashMap<(usize, u64, u64), &[u8]> = HashMap::new();
        let mut buffer = vec![0; 256 << 10];
        for Change { node, .. } in &self.changes {
            let mut entry = entry(node, not_after);
            if node.mark == Mark::Whiteout {
                writer.entry(&entry).map_err(write_failed)?;
                continue;
            }
            if node.names > 1 && node.file_type != FileType::Directory {
                let inode = (node.root, node.inode.0, node.inode.1);
                if let Some(first) = first_names.get(&inode) {
                    entry.kind = Kind::HardLink;
                    entry.link = first.to_vec();
                    entry.xattrs.clear();
                    writer.entry(&entry).map_err(write_failed)?;
                    continue;
                }
                first_names.insert(inode, &node.path);
            }
            if entry.kind == Kind::File {
                let mut file = open_file(self.roots[node.root].as_fd(), node)?;
                entry.size = file.metadata().map_err(failed("read", &node.path))?.len();
                writer.entry(&entry).map_err(write_failed)?;
                copy(&mut file, entry.size, &mut buffer, &mut writer, node)?;
            } else {
                writer.entry(&entry).map_err(write_failed)?;
            }
            if node.mark == Mark::Opaque {
                writer.entry(&marker(join(&node.path, b".wh..wh..opq"))).map_err(write_failed)?;
            }
        }
        writer.finish().map_err(write_failed)?;
        Ok(())
    }
}

impl std::fmt::Debug for Diff {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Diff").field("changes", &self.changes.len()).finish_non_exhaustive()
    }
}

fn same_owner(a: &Node, b: &Node) -> bool {
    (a.mode, a.uid, a.gid) == (b.mode, b.uid, b.gid)
}

fn check_name(node: &Node) -> Result<(), Error> {
    let name = node.path.rsplit(|&byte| byte == b'/').next().unwrap_or_default();
    if name.starts_with(b".wh.") {
        return Err(unsupported(&node.path, "a name that begins with .wh. means a deletion in a layer"));
    }
    Ok(())
}

/// Names of a file that has several, by its inode.
type Names<'a> = HashMap<(u64, u64), Vec<&'a [u8]>>;

fn names(nodes: &[Node]) -> Names<'_> {
    let mut names = Names::new();
    for node in nodes.iter().filter(|node| node.names > 1 && node.file_type != FileType::Directory) {
        names.entry(node.inode).or_default().push(&node.path);
    }
    names
}

/// Both trees are in the order of the walk.
fn compare(
    old_root: BorrowedFd<'_>,
    old: &[Node],
    new_root: BorrowedFd<'_>,
    new: &[Node],
) -> Result<Vec<Change>, Error> {
    let (old_names, new_names) = (names(old), names(new));
    let linked_alike = |a: &Node, b: &Node| {
        let one = [a.path.as_slice()];
        let before = old_names.get(&a.inode).map_or(&one[..], |names| names);
        let after = new_names.get(&b.inode).map_or(&one[..], |names| names);
        a.file_type == FileType::Directory || before == after
    };
    let mut changes = Changes { list: Vec::new(), above: Vec::new() };
    let (mut old, mut new) = (old.iter().peekable(), new.iter().peekable());
    let mut gone: Option<&[u8]> = None;
    loop {
        let order = match (old.peek(), new.peek()) {
            (None, None) => return Ok(changes.list),
            (Some(_), None) => std::cmp::Ordering::Less,
            (None, Some(_)) => std::cmp::Ordering::Greater,
            (Some(a), Some(b)) => a.path.split(|&byte| byte == b'/').cmp(b.path.split(|&byte| byte == b'/')),
        };
        let a = if order.is_le() { old.next() } else { None };
        let b = if order.is_ge() { new.next() } else { None };
        match (a, b) {
            (Some(a), None) => {
                if gone.is_some_and(|gone| is_under(&a.path, gone)) {
                    continue;
                }
                gone = Some(&a.path);
                let mut node = a.clone();
                node.mark = Mark::Whiteout;
                changes.push(ChangeKind::Deleted, &node);
            }
            (None, Some(b)) => {
                check_name(b)?;
                changes.push(ChangeKind::Added, b);
                changes.enter(b, true);
            }
            (Some(a), Some(b)) => {
                check_name(b)?;
                if a.file_type == FileType::Directory && b.file_type != FileType::Directory {
                    gone = Some(&a.path);
                }
                let same = same(a, b) && linked_alike(a, b) && same_bytes(old_root, a, new_root, b)?;
                if !same {
                    changes.push(ChangeKind::Changed, b);
                }
                changes.enter(b, !same);
            }
            (None, None) => {}
        }
    }
}

/// Changes, each after the directories that it is in: with their entries, their times can be restored.
struct Changes {
    list: Vec<Change>,
    /// The directories above, and whether they are in the list.
    above: Vec<(Node, bool)>,
}

impl Changes {
    fn push(&mut self, kind: ChangeKind, node: &Node) {
        self.leave(&node.path);
        for (directory, listed) in &mut self.above {
            if !*listed {
                self.list.push(Change { kind: ChangeKind::Changed, node: directory.clone() });
                *listed = true;
            }
        }
        self.list.push(Change { kind, node: node.clone() });
    }

    fn enter(&mut self, node: &Node, listed: bool) {
        self.leave(&node.path);
        if node.file_type == FileType::Directory {
            self.above.push((node.clone(), listed));
        }
    }

    fn leave(&mut self, path: &[u8]) {
        while self.above.last().is_some_and(|(directory, _)| !is_under(path, &directory.path)) {
            self.above.pop();
        }
    }
}

fn is_under(path: &[u8], directory: &[u8]) -> bool {
    directory.is_empty() && !path.is_empty()
        || path.strip_prefix(directory).is_some_and(|rest| rest.first() == Some(&b'/'))
}

fn same(a: &Node, b: &Node) -> bool {
    let device = |node: &Node| {
        matches!(node.file_type, FileType::CharacterDevice | FileType::BlockDevice).then_some(node.device)
    };
    a.file_type == b.file_type
        && same_owner(a, b)
        && a.mtime == b.mtime
        && a.size == b.size
        && a.link == b.link
        && a.xattrs == b.xattrs
        && device(a) == device(b)
}

fn same_bytes(old_root: BorrowedFd<'_>, a: &Node, new_root: BorrowedFd<'_>, b: &Node) -> Result<bool, Error> {
    if b.file_type != FileType::RegularFile || a.inode == b.inode || b.size == 0 {
        return Ok(true);
    }
    let (mut old, mut new) = (open_file(old_root, a)?, open_file(new_root, b)?);
    let (mut before, mut after) = (vec![0; 64 << 10], vec![0; 64 << 10]);
    loop {
        let count = old.read(&mut before).map_err(failed("read", &a.path))?;
        if count == 0 {
            return Ok(new.read(&mut after[..1]).map_err(failed("read", &b.path))? == 0);
        }
        match new.read_exact(&mut after[..count]) {
            Ok(()) if before[..count] == after[..count] => {}
            Ok(()) => return Ok(false),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
            Err(error) => return Err(failed("read", &b.path)(error)),
        }
    }
}

/// Opens a file of the tree, which may have become something else meanwhile.
fn open_file(root: BorrowedFd<'_>, node: &Node) -> Result<File, Error> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    let file = rustix::fs::openat2(root, node.path.as_slice(), flags, Mode::empty(), resolve)
        .map_err(|errno| failed("open", &node.path)(errno.into()))?;
    let file = File::from(file);
    if file.metadata().map_err(failed("look at", &node.path))?.is_file() {
        Ok(file)
    } else {
        Err(unsupported(&node.path, "it was a file a moment ago"))
    }
}

fn copy<W: Write>(
    file: &mut File,
    size: u64,
    buffer: &mut [u8],
    writer: &mut Writer<W>,
    node: &Node,
) -> Result<(), Error> {
    let mut left = size;
    while left > 0 {
        let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        let count = match file.read(&mut buffer[..wanted]) {
            Ok(0) => {
                let source = io::Error::new(io::ErrorKind::UnexpectedEof, "it shrank while it was read");
                return Err(failed("read", &node.path)(source));
            }
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(failed("read", &node.path)(error)),
        };
        writer.data(&buffer[..count]).map_err(write_failed)?;
        left -= count as u64;
    }
    writer.end_data().map_err(write_failed)
}

fn entry(node: &Node, not_after: Option<i64>) -> Entry {
    if node.mark == Mark::Whiteout {
        let (above, name) = match node.path.iter().rposition(|&byte| byte == b'/') {
            Some(slash) => (&node.path[..slash], &node.path[slash + 1..]),
            None => (&node.path[..0], node.path.as_slice()),
        };
        return marker(join(above, &[b".wh.", name].concat()));
    }
    Entry {
        path: if node.path.is_empty() { b"./".to_vec() } else { node.path.clone() },
        kind: match node.file_type {
            FileType::Directory => Kind::Directory,
            FileType::Symlink => Kind::SymbolicLink,
            FileType::Fifo => Kind::Fifo,
            FileType::CharacterDevice => Kind::CharacterDevice,
            FileType::BlockDevice => Kind::BlockDevice,
            _ => Kind::File,
        },
        mode: node.mode,
        uid: node.uid,
        gid: node.gid,
        mtime: not_after.filter(|&limit| node.mtime.0 >= limit).map_or(node.mtime, |limit| (limit, 0)),
        link: node.link.clone(),
        size: node.size,
        device: match node.file_type {
            FileType::CharacterDevice | FileType::BlockDevice => node.device,
            _ => (0, 0),
        },
        xattrs: node.xattrs.clone(),
        segments: None,
        offset: 0,
    }
}

fn marker(path: Vec<u8>) -> Entry {
    Entry {
        path,
        kind: Kind::File,
        mode: 0,
        uid: 0,
        gid: 0,
        mtime: (0, 0),
        link: Vec::new(),
        size: 0,
        device: (0, 0),
        xattrs: std::collections::BTreeMap::new(),
        segments: None,
        offset: 0,
    }
}

fn join(above: &[u8], name: &[u8]) -> Vec<u8> {
    if above.is_empty() { name.to_vec() } else { [above, b"/", name].concat() }
}

fn write_failed(source: io::Error) -> Error {
    Error::Write { object: "the archive".to_owned(), source }
}
