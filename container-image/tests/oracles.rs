//! Unpacked trees are the same as GNU tar's and umoci's, entry by entry: type, mode, owner, times, attributes, links, holes.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use container_image::{Commit, Diff, Import, Limits, Owners, Snapshots, Store};

fn runs(program: &str, args: &[&str]) -> bool {
    let status = Command::new(program).args(args).stdin(Stdio::null()).stdout(Stdio::null()).status();
    let Ok(status) = status else {
        eprintln!("skipped: {program} is not installed");
        return false;
    };
    assert!(status.success(), "{program} {args:?}");
    true
}

/// 2,000 entries: folders, small files, links of both kinds, a FIFO, a file with holes, attributes, odd owners and modes.
fn tree(root: &Path) {
    for folder in 0..40 {
        let inside = root.join(format!("usr/share/d{folder}"));
        fs::create_dir_all(&inside).unwrap();
        for file in 0..46 {
            let path = inside.join(format!("f{file}"));
            fs::write(&path, format!("{folder} {file} ").repeat(file * 3)).unwrap();
            if file % 9 == 0 {
                fs::hard_link(&path, inside.join(format!("hard{file}"))).unwrap();
            }
            if file % 13 == 0 {
                fs::set_permissions(&path, fs::Permissions::from_mode(0o4750)).unwrap();
            }
            if file % 11 == 0 {
                std::os::unix::fs::chown(&path, Some(1000 + file as u32), Some(2_000_000)).unwrap();
            }
        }
        symlink(format!("../d{}", (folder + 1) % 40), inside.join("next")).unwrap();
        fs::set_permissions(
            &inside,
            fs::Permissions::from_mode(if folder % 5 == 0 { 0o2775 } else { 0o755 }),
        )
        .unwrap();
    }
    let file = fs::File::create(root.join("holes")).unwrap();
    file.set_len(5 << 20).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, b"middle", 3 << 20).unwrap();
    rustix::fs::setxattr(root.join("holes"), "user.note", b"kept", rustix::fs::XattrFlags::empty()).unwrap();
    let fifo = root.join("fifo");
    let mode = rustix::fs::Mode::from_raw_mode(0o620);
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    fs::create_dir(root.join("tmp")).unwrap();
    fs::set_permissions(root.join("tmp"), fs::Permissions::from_mode(0o1777)).unwrap();
}

#[derive(Debug, PartialEq, Eq)]
struct Fact {
    mode: u32,
    owner: (u32, u32),
    size: u64,
    /// Of links and what has children elsewhere in the layers, too.
    mtime: (i64, i64),
    link: Option<PathBuf>,
    /// The first name of the same file.
    same_as: PathBuf,
    attribute: Vec<u8>,
    content: Vec<u8>,
}

fn facts(root: &Path) -> BTreeMap<PathBuf, Fact> {
    let (mut paths, mut open) = (Vec::new(), vec![root.to_owned()]);
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_dir() {
                open.push(entry.path());
            }
            paths.push(entry.path());
        }
    }
    paths.sort();
    let mut first = BTreeMap::new();
    let mut all = BTreeMap::new();
    for path in paths {
        let metadata = fs::symlink_metadata(&path).unwrap();
        let name = path.strip_prefix(root).unwrap().to_owned();
        let mut value = [0u8; 64];
        let count = rustix::fs::lgetxattr(&path, "user.note", &mut value[..]).unwrap_or(0);
        let fact = Fact {
            mode: metadata.mode(),
            owner: (metadata.uid(), metadata.gid()),
            size: if metadata.is_dir() { 0 } else { metadata.size() },
            mtime: (metadata.mtime(), metadata.mtime_nsec()),
            link: fs::read_link(&path).ok(),
            same_as: first.entry(metadata.ino()).or_insert_with(|| name.clone()).clone(),
            attribute: value[..count].to_vec(),
            content: if metadata.is_file() { fs::read(&path).unwrap() } else { Vec::new() },
        };
        all.insert(name, fact);
    }
    all
}

fn compare(ours: &BTreeMap<PathBuf, Fact>, theirs: &BTreeMap<PathBuf, Fact>, whose: &str) {
    assert_eq!(ours.keys().collect::<Vec<_>>(), theirs.keys().collect::<Vec<_>>(), "{whose}");
    for (path, fact) in ours {
        let other = &theirs[path];
        assert!(fact == other, "{whose}: {}: {:?} {:?}", path.display(), shown(fact), shown(other));
    }
}

fn shown(fact: &Fact) -> String {
    format!("{:?}", Fact { content: Vec::new(), ..copy(fact) })
}

fn copy(fact: &Fact) -> Fact {
    Fact {
        link: fact.link.clone(),
        same_as: fact.same_as.clone(),
        attribute: fact.attribute.clone(),
        content: Vec::new(),
        ..*fact
    }
}

#[test]
fn a_tree_of_two_thousand_entries_is_the_same_as_gnu_tars_and_umocis() {
    let place = tempfile::tempdir().unwrap();
    let path = |name: &str| place.path().join(name).display().to_string();
    let source = place.path().join("source");
    fs::create_dir(&source).unwrap();
    tree(&source);
    let pack = ["-C", &path("source"), "--format=pax", "--xattrs", "--numeric-owner", "--sparse", "-czf"];
    if !runs("tar", &[&pack[..], &[&path("packed"), "."]].concat()) {
        return;
    }
    let store = Store::open(place.path().join("store")).unwrap();
    let base = store.import(fs::File::open(place.path().join("packed")).unwrap(), Import::default()).unwrap();

    fs::create_dir(place.path().join("tar")).unwrap();
    let unpack =
        ["-C", &path("tar"), "--xattrs", "--xattrs-include=*", "--numeric-owner", "-xpzf", &path("packed")];
    runs("tar", &unpack);
    let tree = place.path().join("tree");
    store.unpack_tree(&base, &tree, Owners::Archive, &Limits::default()).unwrap();
    let ours = facts(&tree);
    assert!(ours.len() > 2000, "{}", ours.len());
    compare(&ours, &facts(&place.path().join("tar")), "GNU tar");
    assert!(fs::metadata(tree.join("holes")).unwrap().blocks() < 100, "the holes are filled");
    let snapshots = Snapshots::open(place.path().join("snapshots")).unwrap();
    let layers = snapshots.unpack(&store, &base, &Limits::default()).unwrap();
    compare(&facts(&layers[0]), &ours, "the snapshot");

    // a layer above that deletes, replaces and adds, as our own diff makes it
    let changed = place.path().join("tar");
    fs::remove_dir_all(changed.join("usr/share/d3")).unwrap();
    fs::remove_file(changed.join("usr/share/d4/f5")).unwrap();
    fs::write(changed.join("usr/share/d5/f6"), "other").unwrap();
    fs::write(changed.join("usr/share/d3"), "a file now").unwrap();
    let diff = Diff::of_trees(&tree, &changed).unwrap();
    let image = store.commit(Some(&base), &diff, Commit::default()).unwrap();
    store.tag(&"dnt/web:1".parse().unwrap(), &image.descriptor).unwrap();
    let second = place.path().join("second");
    store.unpack_tree(&image, &second, Owners::Archive, &Limits::default()).unwrap();
    let ours = facts(&second);
    compare(&ours, &facts(&changed), "the tree that was compared");
    let name = store.find("dnt/web:1").unwrap().names[0].to_string();
    // umoci takes no tag with slashes, so it gets a copy of the layout that has a plain one
    let copied = place.path().join("copied");
    assert!(runs("cp", &["-a", &path("store"), &path("copied")]));
    let index = fs::read_to_string(copied.join("index.json")).unwrap().replace(&name, "web");
    fs::write(copied.join("index.json"), index).unwrap();
    let from = format!("{}:web", copied.display());
    if runs("umoci", &["raw", "unpack", "--image", &from, &path("umoci")]) {
        compare(&ours, &facts(&place.path().join("umoci")), "umoci");
    }
}

/// A layer that was unpacked before the machine went down may be half written: it is made again.
#[test]
fn a_layer_of_another_boot_that_was_never_settled_is_unpacked_again() {
    let place = tempfile::tempdir().unwrap();
    let source = place.path().join("source");
    fs::create_dir(&source).unwrap();
    fs::write(source.join("file"), "whole").unwrap();
    let store = Store::open(place.path().join("store")).unwrap();
    let diff = Diff::of_layers(&[&source]).unwrap();
    let image = store.commit(None, &diff, Commit::default()).unwrap();
    let snapshots = Snapshots::open(place.path().join("snapshots")).unwrap();
    let layer = snapshots.unpack(&store, &image, &Limits::default()).unwrap().remove(0);
    let mark = layer.with_extension("boot");
    let boot = fs::read_link(&mark).unwrap();

    fs::write(layer.join("file"), "torn").unwrap();
    snapshots.unpack(&store, &image, &Limits::default()).unwrap();
    assert_eq!(fs::read_to_string(layer.join("file")).unwrap(), "torn", "of this boot it is believed");
    fs::remove_file(&mark).unwrap();
    symlink("00000000-another-boot", &mark).unwrap();
    assert_eq!(snapshots.layers(&image), None, "it counts as not there");
    snapshots.unpack(&store, &image, &Limits::default()).unwrap();
    assert_eq!(fs::read_to_string(layer.join("file")).unwrap(), "whole");
    assert_eq!(fs::read_link(&mark).unwrap(), boot);

    // once it is old enough, all of it is on the disk: then it is believed in every boot
    let old = rustix::fs::Timespec { tv_sec: 1, tv_nsec: 0 };
    let times = rustix::fs::Timestamps { last_access: old, last_modification: old };
    let flags = rustix::fs::AtFlags::SYMLINK_NOFOLLOW;
    rustix::fs::utimensat(rustix::fs::CWD, &mark, &times, flags).unwrap();
    snapshots.unpack(&store, &image, &Limits::default()).unwrap();
    assert!(fs::symlink_metadata(&mark).is_err());
    assert!(snapshots.layers(&image).is_some());
}
