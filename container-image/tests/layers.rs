//! Making layers: what a difference holds, and that applying it gives what it was made of.

mod archive;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use archive::archive;
use container_image::{
    ChangeKind, Commit, Compression, Diff, Digest, Error, Import, Limits, Pack, Snapshots, Store, apply,
};

/// A small generator, so that a failure can be repeated by its seed.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

fn all_paths(root: &Path) -> Vec<PathBuf> {
    let mut found = vec![];
    let mut open = vec![root.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if fs::symlink_metadata(&path).unwrap().is_dir() {
                open.push(path.clone());
            }
            found.push(path);
        }
    }
    found.sort();
    found
}

fn remove(path: &Path) {
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => fs::remove_dir_all(path).unwrap(),
        Ok(_) => fs::remove_file(path).unwrap(),
        Err(_) => {}
    }
}

/// Changes a tree at random: everything an archive can hold, over and over in few names, so that kinds replace each other.
fn mutate(root: &Path, random: &mut Random, steps: usize) {
    for _ in 0..steps {
        let mut directories: Vec<PathBuf> = vec![root.to_owned()];
        directories.extend(all_paths(root).into_iter().filter(|p| fs::symlink_metadata(p).unwrap().is_dir()));
        let directory = &directories[random.below(directories.len() as u64) as usize];
        let names: [&[u8]; 5] = [b"a", b"b", b"a-b", b"\xff\x80", b"long"];
        let name = names[random.below(5) as usize];
        let mut path = directory.join(<std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(name));
        if name == b"long" {
            path = directory.join("n".repeat(150));
        }
        let kind = random.below(10);
        if kind < 8 {
            remove(&path);
        }
        match kind {
            0 | 1 => fs::write(&path, vec![random.below(256) as u8; random.below(2000) as usize]).unwrap(),
            2 | 3 => fs::create_dir(&path).unwrap(),
            4 => symlink(["/a", "../b", "nowhere"][random.below(3) as usize], &path).unwrap(),
            5 => {
                let files: Vec<PathBuf> = all_paths(root)
                    .into_iter()
                    .filter(|p| !fs::symlink_metadata(p).unwrap().is_dir())
                    .collect();
                if !files.is_empty() {
                    fs::hard_link(&files[random.below(files.len() as u64) as usize], &path).unwrap();
                }
            }
            6 => rustix::fs::mknodat(
                rustix::fs::CWD,
                &path,
                rustix::fs::FileType::CharacterDevice,
                rustix::fs::Mode::from_raw_mode(0o640),
                rustix::fs::makedev(7, random.below(3) as u32),
            )
            .unwrap(),
            7 => {}
            _ => {
                let paths = all_paths(root);
                if let Some(path) = paths.get(random.below(paths.len().max(1) as u64) as usize)
                    && !fs::symlink_metadata(path).unwrap().is_symlink()
                {
                    std::os::unix::fs::chown(path, Some(random.below(3) as u32), Some(70_000)).unwrap();
                    fs::set_permissions(path, fs::Permissions::from_mode(0o4000 + random.below(512) as u32))
                        .unwrap();
                    let value = [random.below(256) as u8, 0, b'\n'];
                    // devices take no user attributes
                    let _ = rustix::fs::setxattr(path, "user.x", &value, rustix::fs::XattrFlags::empty());
                }
            }
        }
    }
}

/// Everything that a layer can say of a tree, one line each: kind, mode, owner, time, target, attribute, content, and
/// by which first name a file is known that has several.
#[allow(clippy::unnecessary_debug_formatting, reason = "names are not all UTF-8")]
fn listing(root: &Path) -> Vec<String> {
    let mut first: BTreeMap<(u64, u64), PathBuf> = BTreeMap::new();
    let mut paths = vec![root.to_owned()];
    paths.extend(all_paths(root));
    let line = |path: PathBuf| {
        let found = fs::symlink_metadata(&path).unwrap();
        let relative = path.strip_prefix(root).unwrap().to_owned();
        let kind = found.mode() & 0o170_000;
        let mut content = String::new();
        if found.is_file() {
            content = Digest::of(&fs::read(&path).unwrap()).to_string();
        } else if found.is_symlink() {
            content = format!("{:?}", fs::read_link(&path).unwrap());
        }
        let same = if found.is_dir() {
            &relative
        } else {
            first.entry((found.dev(), found.ino())).or_insert(relative.clone())
        };
        let mut value = [0u8; 16];
        let xattr = rustix::fs::lgetxattr(&path, "user.x", &mut value[..]).unwrap_or(0);
        let device = if kind == 0o020_000 { found.rdev() } else { 0 };
        format!(
            "{relative:?} {kind:o} {:o} {}:{} {}.{} {device} {same:?} {:?} {content}",
            found.mode() & 0o7777,
            found.uid(),
            found.gid(),
            found.mtime(),
            found.mtime_nsec(),
            &value[..xattr],
        )
    };
    paths.into_iter().map(line).collect()
}

struct Place {
    directory: tempfile::TempDir,
    mounts: Vec<PathBuf>,
}

impl Place {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap(), mounts: Vec::new() }
    }

    fn make(&self, name: &str) -> PathBuf {
        let path = self.directory.path().join(name);
        fs::create_dir(&path).unwrap();
        path
    }

    fn overlay(&mut self, name: &str, options: &str) -> PathBuf {
        let target = self.make(name);
        let mut mount = Command::new("mount");
        mount.args(["-t", "overlay", "dunnage-test", "-o", options]).arg(&target);
        assert!(mount.status().unwrap().success(), "cannot mount an overlay");
        self.mounts.push(target.clone());
        target
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        for mount in &self.mounts {
            let _ = Command::new("umount").arg(mount).status();
        }
    }
}

fn archive_of(diff: &Diff) -> Vec<u8> {
    let mut bytes = Vec::new();
    diff.write(&mut bytes, None).unwrap();
    bytes
}

fn unpack(bytes: &[u8], target: &Path, below: &[&Path]) {
    apply(bytes, target, below, &Limits::default()).unwrap();
}

/// The kernel's overlayfs is the oracle of what layers show together, and `Diff::of_layers` must see the same.
#[test]
fn a_difference_applied_gives_what_it_was_made_of_for_random_trees() {
    for seed in 1..=25u64 {
        let mut place = Place::new();
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let (a, b, target, flat) =
            (place.make("a"), place.directory.path().join("b"), place.make("t"), place.make("f"));
        mutate(&a, &mut random, 25);
        assert!(Command::new("cp").arg("-a").arg(&a).arg(&b).status().unwrap().success());
        assert!(Diff::of_trees(&a, &b).unwrap().is_empty(), "a copy differs, seed {seed}");
        mutate(&b, &mut random, 12);
        let diff = Diff::of_trees(&a, &b).unwrap();
        let bytes = archive_of(&diff);
        assert_eq!(bytes, archive_of(&Diff::of_trees(&a, &b).unwrap()), "seed {seed}");
        unpack(&bytes, &target, &[&a]);
        unpack(&archive_of(&Diff::of_layers(&[&target, &a]).unwrap()), &flat, &[]);
        if diff.is_empty() {
            continue;
        }
        assert_eq!(listing(&flat), listing(&b), "merged, seed {seed}");
        let seen = place.overlay("m", &format!("lowerdir={}:{}", target.display(), a.display()));
        assert_eq!(listing(&seen), listing(&b), "overlayfs, seed {seed}");
    }
}

/// What a container changed through a real overlay, as a layer, shows the same as the overlay did.
#[test]
fn an_upper_directory_becomes_a_layer_that_shows_the_same() {
    for seed in 1..=15u64 {
        let mut place = Place::new();
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let (lower, upper, work) = (place.make("lower"), place.make("upper"), place.make("work"));
        let (target, flat) = (place.make("target"), place.make("flat"));
        mutate(&lower, &mut random, 25);
        let options =
            format!("lowerdir={},upperdir={},workdir={}", lower.display(), upper.display(), work.display());
        let merged = place.overlay("merged", &options);
        mutate(&merged, &mut random, 12);
        let diff = Diff::of_upper(&upper, &[&lower]).unwrap();
        unpack(&archive_of(&diff), &target, &[&lower]);
        unpack(&archive_of(&Diff::of_layers(&[&target, &lower]).unwrap()), &flat, &[]);
        assert_eq!(listing(&flat), listing(&merged), "seed {seed}");
    }
}

#[test]
fn changes_say_what_was_added_changed_and_deleted() {
    let mut place = Place::new();
    let (lower, upper, work) = (place.make("lower"), place.make("upper"), place.make("work"));
    fs::create_dir(lower.join("d")).unwrap();
    fs::write(lower.join("d/old"), "1").unwrap();
    fs::write(lower.join("kept"), "1").unwrap();
    let nothing = Diff::of_upper(&upper, &[&lower]).unwrap();
    assert!(nothing.is_empty());
    let merged = place.overlay(
        "merged",
        &format!("lowerdir={},upperdir={},workdir={}", lower.display(), upper.display(), work.display()),
    );
    fs::remove_file(merged.join("d/old")).unwrap();
    fs::write(merged.join("d/new"), "2").unwrap();
    fs::write(merged.join("kept"), "changed").unwrap();
    let mut diff = Diff::of_upper(&upper, &[&lower]).unwrap();
    let lines = |diff: &Diff| -> Vec<String> {
        let letter = |kind| match kind {
            ChangeKind::Added => 'A',
            ChangeKind::Changed => 'C',
            ChangeKind::Deleted => 'D',
        };
        diff.changes().iter().map(|c| format!("{} {}", letter(c.kind()), c.path().display())).collect()
    };
    assert_eq!(lines(&diff), ["C /", "C /d", "A /d/new", "D /d/old", "C /kept"]);
    diff.leave_out(&["/d"]);
    assert_eq!(lines(&diff), ["C /", "C /kept"]);
}

/// The oracle is GNU tar, which reads our archives and makes the same tree of them.
#[test]
fn gnu_tar_reads_our_archives() {
    let place = Place::new();
    let (tree, target, empty) = (place.make("tree"), place.make("target"), place.make("empty"));
    let mut random = Random(0x5eed_5eed_5eed_5eed);
    mutate(&tree, &mut random, 60);
    let packed = place.directory.path().join("packed.tar");
    fs::write(&packed, archive_of(&Diff::of_trees(&empty, &tree).unwrap())).unwrap();
    let tar = Command::new("tar")
        .args(["--xattrs", "--xattrs-include=*", "--numeric-owner", "-xpf"])
        .arg(&packed)
        .arg("-C")
        .arg(&target)
        .output()
        .unwrap();
    assert!(tar.status.success() && tar.stderr.is_empty(), "{}", String::from_utf8_lossy(&tar.stderr));
    assert_eq!(listing(&target), listing(&tree));
}

#[test]
fn a_time_limit_clamps_what_is_later_and_the_bytes_depend_on_nothing_else() {
    let place = Place::new();
    let (one, two, empty) = (place.make("one"), place.make("two"), place.make("empty"));
    for tree in [&one, &two] {
        fs::write(tree.join("f"), "x").unwrap();
    }
    let bytes = |tree| {
        let mut bytes = Vec::new();
        Diff::of_trees(&empty, tree).unwrap().write(&mut bytes, Some(1_000_000_000)).unwrap();
        bytes
    };
    assert_eq!(bytes(&one), bytes(&two));
    let target = place.make("target");
    unpack(&bytes(&one), &target, &[]);
    assert_eq!(fs::metadata(target.join("f")).unwrap().mtime(), 1_000_000_000);
}

#[test]
fn what_cannot_be_in_a_layer_is_refused() {
    let place = Place::new();
    let (tree, empty) = (place.make("tree"), place.make("empty"));
    fs::write(tree.join(".wh.x"), "").unwrap();
    assert!(matches!(Diff::of_trees(&empty, &tree), Err(Error::Entry { .. })));
    assert!(matches!(Diff::of_upper(&tree, &[&empty]), Err(Error::Entry { .. })));
    let upper = place.make("upper");
    fs::create_dir(upper.join("moved")).unwrap();
    let redirect = rustix::fs::setxattr(
        upper.join("moved"),
        "trusted.overlay.redirect",
        b"/elsewhere",
        rustix::fs::XattrFlags::empty(),
    );
    redirect.unwrap();
    assert!(matches!(Diff::of_upper(&upper, &[&empty]), Err(Error::Entry { .. })));
}

#[test]
fn a_container_cannot_forge_overlay_marks_in_its_upper_directory() {
    let place = Place::new();
    let (lower, upper) = (place.make("lower"), place.make("upper"));
    fs::create_dir_all(lower.join("d")).unwrap();
    fs::create_dir_all(upper.join("d")).unwrap();
    for mark in ["user.overlay.opaque", "user.overlay.redirect"] {
        rustix::fs::setxattr(upper.join("d"), mark, b"y", rustix::fs::XattrFlags::empty()).unwrap();
    }
    let bytes = archive_of(&Diff::of_upper(&upper, &[&lower]).unwrap());
    let text = String::from_utf8_lossy(&bytes);
    assert!(!text.contains(".wh.") && !text.contains("overlay"));
}

#[test]
fn an_image_is_committed_with_its_parents_layers_and_unknown_settings_and_unpacks() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path().join("images")).unwrap();
    let snapshots = Snapshots::open(directory.path().join("snapshots")).unwrap();
    let _lease = store.lease().unwrap();
    let base = archive().file("etc/a", b"1").file("etc/b", b"2").end();
    let parent = store.import(base.as_slice(), Import::default()).unwrap();
    // a setting that some other tool has written
    let config = String::from_utf8(store.read_document(&parent.id).unwrap()).unwrap();
    let config = config.replacen("\"config\":{}", "\"config\":{\"ArgsEscaped\":true}", 1);
    assert!(config.contains("ArgsEscaped"));
    let id = store.put_blob(config.as_bytes()).unwrap();
    let manifest = String::from_utf8(store.read_document(&parent.descriptor.digest).unwrap()).unwrap();
    let manifest = manifest.replace(parent.id.as_str(), id.as_str()).replace(
        &format!("\"size\":{}}},\"layers\"", parent.manifest.config.size),
        &format!("\"size\":{}}},\"layers\"", config.len()),
    );
    let digest = store.put_blob(manifest.as_bytes()).unwrap();
    let mut descriptor = parent.descriptor.clone();
    (descriptor.digest, descriptor.size) = (digest, manifest.len() as u64);
    let parent = store.image(&descriptor).unwrap();

    let lower = snapshots.unpack(&store, &parent, &Limits::default()).unwrap().pop().unwrap();
    let upper = directory.path().join("upper");
    fs::create_dir_all(upper.join("etc")).unwrap();
    fs::write(upper.join("etc/c"), "3").unwrap();
    let diff = Diff::of_upper(&upper, &[&lower]).unwrap();
    for compression in [Compression::Gzip, Compression::Zstd, Compression::None] {
        let commit = Commit {
            comment: Some("more".to_owned()),
            author: Some("me".to_owned()),
            pack: Pack { compression, not_after: None },
            ..Commit::default()
        };
        let image = store.commit(Some(&parent), &diff, commit).unwrap();
        assert_eq!(image.manifest.layers[0], parent.manifest.layers[0]);
        assert_eq!(image.manifest.layers[1].media_type, compression.layer_media_type());
        let history = image.history();
        assert_eq!(history.len(), 2);
        assert_eq!(history[1].layer, Some(&image.manifest.layers[1]));
        assert_eq!(history[1].history.comment.as_deref(), Some("more"));
        assert!(String::from_utf8(store.read_document(&image.id).unwrap()).unwrap().contains("ArgsEscaped"));
        let layers = snapshots.unpack(&store, &image, &Limits::default()).unwrap();
        assert_eq!(fs::read(layers[1].join("etc/c")).unwrap(), b"3");
        let flat = store.flatten(&image, &layers, Pack::default()).unwrap();
        let root = snapshots.unpack(&store, &flat, &Limits::default()).unwrap();
        assert_eq!(root.len(), 1);
        assert_eq!(fs::read_dir(root[0].join("etc")).unwrap().count(), 3);
    }
    let nothing = Diff::of_trees(&lower, &lower).unwrap();
    let image = store.commit(Some(&parent), &nothing, Commit::default()).unwrap();
    assert_eq!(image.manifest.layers.len(), 1);
    assert_eq!(image.history()[1].layer, None);
}

/// umoci is the witness: what it unpacks of our image is what the container saw.
#[test]
fn umoci_unpacks_what_we_committed() {
    let found = Command::new("umoci").arg("--version").stdout(Stdio::null()).status();
    if !found.is_ok_and(|status| status.success()) {
        eprintln!("skipped: umoci is not installed");
        return;
    }
    let place = Place::new();
    let store = Store::open(place.directory.path().join("images")).unwrap();
    let (tree, bundle) = (place.make("tree"), place.directory.path().join("bundle"));
    mutate(&tree, &mut Random(0x1234_5678_9abc), 40);
    let image = store.commit(None, &Diff::of_layers(&[&tree]).unwrap(), Commit::default()).unwrap();
    store.tag(&"web:1".parse().unwrap(), &image.descriptor).unwrap();
    let umoci = Command::new("umoci")
        .args(["unpack", "--image"])
        .arg(format!("{}:docker.io/library/web:1", store.root().display()))
        .arg(&bundle)
        .output()
        .unwrap();
    assert!(umoci.status.success(), "{}", String::from_utf8_lossy(&umoci.stderr));
    assert_eq!(listing(&bundle.join("rootfs")), listing(&tree));
}
