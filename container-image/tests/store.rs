//! The store and the snapshots: entry, names, removal, what a killed process leaves, and other tools as witnesses.

mod archive;

use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Stdio};

use archive::archive;
use container_image::{Digest, Error, Finding, Import, Limits, MediaType, Reference, Snapshots, Store};

fn place() -> (tempfile::TempDir, Store, Snapshots) {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path().join("images")).unwrap();
    let snapshots = Snapshots::open(directory.path().join("snapshots")).unwrap();
    (directory, store, snapshots)
}

fn name(text: &str) -> Reference {
    text.parse().unwrap()
}

fn has_program(program: &str) -> bool {
    let found =
        Command::new("sh").args(["-c", &format!("command -v {program}")]).stdout(Stdio::null()).status();
    let found = found.is_ok_and(|status| status.success());
    if !found {
        eprintln!("skipped: {program} is not installed");
    }
    found
}

#[test]
fn an_imported_image_is_found_by_name_and_id_and_unpacked() {
    let (_directory, store, snapshots) = place();
    let bytes = archive().directory("bin").file("bin/sh", b"#!").end();
    let image = store.import(bytes.as_slice(), Import::default()).unwrap();
    store.tag(&name("web:1"), &image.descriptor).unwrap();
    for text in
        ["web:1", "docker.io/library/web:1", image.id.as_str(), image.id.short(), &image.id.hex()[..5]]
    {
        assert_eq!(store.find(text).unwrap().image.id, image.id, "{text}");
    }
    assert!(matches!(store.find("web"), Err(Error::ImageMissing(_))));
    assert_eq!(image.manifest.layers[0].media_type, MediaType::LayerTar);
    assert_eq!(image.config.rootfs.diff_ids[0], Digest::of(&bytes));
    let layers = snapshots.unpack(&store, &image, &Limits::default()).unwrap();
    assert_eq!(fs::read(layers[0].join("bin/sh")).unwrap(), b"#!");
    assert_eq!(
        snapshots.unpack(&store, &image, &Limits::default()).unwrap(),
        layers,
        "a second time does nothing"
    );
}

#[test]
fn what_is_no_archive_is_refused_and_leaves_nothing() {
    let (_directory, store, _) = place();
    for bytes in [b"".as_slice(), b"not a tar", &[b'x'; 2048], b"\x1f\x8b broken", b"BZh9", b"\xfd7zXZ\0"] {
        assert!(store.import(bytes, Import::default()).is_err());
    }
    assert_eq!(store.check(true).unwrap(), []);
    assert!(store.images().unwrap().is_empty());
}

#[test]
fn a_blob_that_is_not_what_was_promised_is_never_visible() {
    let (_directory, store, _) = place();
    let image = store.import(archive().file("f", b"x").end().as_slice(), Import::default()).unwrap();
    let expected = image.manifest.layers[0].clone();
    let before = fs::read_dir(store.root().join("blobs/sha256")).unwrap().count();
    let mut writer = store.blob_writer().unwrap();
    writer.write_all(b"something else").unwrap();
    assert!(matches!(writer.commit(Some(&expected)), Err(Error::SizeMismatch { .. })));
    let mut writer = store.blob_writer().unwrap();
    writer.write_all(&vec![1; expected.size as usize]).unwrap();
    assert!(matches!(writer.commit(Some(&expected)), Err(Error::DigestMismatch { .. })));
    assert_eq!(fs::read_dir(store.root().join("blobs/sha256")).unwrap().count(), before);
    assert_eq!(fs::read_dir(store.root().join("incoming")).unwrap().count(), 0);
}

#[test]
fn a_name_moves_to_the_new_image_and_the_old_one_dangles() {
    let (_directory, store, _) = place();
    let first = store.import(archive().file("f", b"1").end().as_slice(), Import::default()).unwrap();
    let second = store.import(archive().file("f", b"2").end().as_slice(), Import::default()).unwrap();
    store.tag(&name("web"), &first.descriptor).unwrap();
    store.tag(&name("web"), &second.descriptor).unwrap();
    store.tag(&name("web:also"), &second.descriptor).unwrap();
    let images = store.images().unwrap();
    let names: Vec<usize> = images.iter().map(|named| named.names.len()).collect();
    assert_eq!(names, [0, 2]);
    assert!(matches!(store.remove_name(&name("other")), Err(Error::ImageMissing(_))));
    store.remove_name(&name("web")).unwrap();
    assert_eq!(store.images().unwrap().len(), 2);
    store.remove_name(&name("web:also")).unwrap();
    assert_eq!(store.images().unwrap().len(), 1, "only the dangling one is left");
}

#[test]
fn a_sweep_frees_what_nobody_needs_and_waits_for_leases() {
    let (_directory, store, snapshots) = place();
    let lease = store.lease().unwrap();
    let kept = store.import(archive().file("f", b"1").end().as_slice(), Import::default()).unwrap();
    let gone = store.import(archive().file("f", b"2").end().as_slice(), Import::default()).unwrap();
    store.tag(&name("kept"), &kept.descriptor).unwrap();
    snapshots.unpack(&store, &kept, &Limits::default()).unwrap();
    snapshots.unpack(&store, &gone, &Limits::default()).unwrap();
    assert_eq!(store.sweep().unwrap(), None, "somebody is adding");
    drop(lease);
    assert_eq!(store.check(true).unwrap().len(), 3, "layer, configuration and manifest");
    let sweeping = store.sweeping().unwrap().expect("nobody has a lease");
    assert!(store.sweeping().unwrap().is_none() && store.sweep().unwrap().is_none(), "one at a time");
    assert!(sweeping.free().unwrap() > 1536);
    drop(sweeping);
    assert_eq!(store.sweep().unwrap(), Some(0));
    assert_eq!(store.check(true).unwrap(), []);
    assert_eq!(snapshots.sweep(std::slice::from_ref(&kept)).unwrap(), 1);
    assert!(snapshots.layers(&kept).is_some() && snapshots.layers(&gone).is_none());
    assert_eq!(snapshots.sweep(&[]).unwrap(), 1);
    assert_eq!(fs::read_dir(snapshots.root()).unwrap().count(), 1, "nothing but incoming/ is left");
}

#[test]
fn what_a_killed_writer_left_is_found_and_removed() {
    let (_directory, store, snapshots) = place();
    fs::write(store.root().join("incoming/1-1-1"), "half").unwrap();
    fs::create_dir_all(snapshots.root().join("incoming/1-1-1/deep/er")).unwrap();
    let writer = store.blob_writer().unwrap();
    assert!(
        matches!(store.check(false).unwrap().as_slice(), [Finding::Abandoned(_)]),
        "a living writer is left alone"
    );
    store.sweep().unwrap();
    assert_eq!(fs::read_dir(store.root().join("incoming")).unwrap().count(), 1);
    drop(writer);
    assert_eq!(snapshots.abandoned().unwrap().len(), 1);
    snapshots.sweep(&[]).unwrap();
    assert_eq!(fs::read_dir(snapshots.root().join("incoming")).unwrap().count(), 0);
}

#[test]
fn damage_and_loss_are_found() {
    let (_directory, store, _) = place();
    let image = store.import(archive().file("f", b"1").end().as_slice(), Import::default()).unwrap();
    store.tag(&name("web"), &image.descriptor).unwrap();
    let layer = store.blob_path(&image.manifest.layers[0].digest);
    let mut bytes = fs::read(&layer).unwrap();
    bytes[600] ^= 1;
    fs::write(&layer, bytes).unwrap();
    assert!(matches!(store.check(true).unwrap().as_slice(), [Finding::Damaged(_)]));
    fs::remove_file(layer).unwrap();
    assert!(matches!(store.check(true).unwrap().as_slice(), [Finding::Missing { .. }]));
}

#[test]
fn a_directory_that_the_archive_leaves_out_takes_after_the_one_below() {
    let (directory, _, _) = place();
    let (lower, upper) = (directory.path().join("lower"), directory.path().join("upper"));
    fs::create_dir_all(lower.join("tmp")).unwrap();
    fs::create_dir_all(lower.join("usr/lib")).unwrap();
    std::os::unix::fs::symlink("usr/lib", lower.join("lib")).unwrap();
    fs::set_permissions(lower.join("tmp"), fs::Permissions::from_mode(0o1777)).unwrap();
    std::os::unix::fs::chown(lower.join("tmp"), Some(7), Some(8)).unwrap();
    fs::create_dir(&upper).unwrap();
    let bytes = archive().file("tmp/x", b"1").file("lib/y", b"2").file("new/z", b"3").end();
    container_image::apply(bytes.as_slice(), &upper, &[&lower], &Limits::default()).unwrap();
    let tmp = fs::metadata(upper.join("tmp")).unwrap();
    assert_eq!((tmp.mode() & 0o7777, tmp.uid(), tmp.gid()), (0o1777, 7, 8));
    assert_eq!(fs::read(upper.join("usr/lib/y")).unwrap(), b"2", "a link below is followed");
    assert!(!upper.join("lib").exists());
    assert_eq!(fs::metadata(upper.join("new")).unwrap().mode() & 0o7777, 0o755);
}

/// The oracle is GNU tar: what it packed, it lists the same after we unpacked it.
#[test]
fn a_tree_with_everything_in_it_unpacks_as_gnu_tar_would() {
    let (directory, store, snapshots) = place();
    let source = directory.path().join("source");
    fs::create_dir_all(source.join("d/sub")).unwrap();
    fs::write(source.join("d/file"), "data").unwrap();
    fs::hard_link(source.join("d/file"), source.join("d/sub/hard")).unwrap();
    std::os::unix::fs::symlink("../d/file", source.join("d/soft")).unwrap();
    fs::write(source.join("d/setuid"), "x").unwrap();
    std::os::unix::fs::chown(source.join("d/setuid"), Some(1000), Some(70_000)).unwrap();
    fs::set_permissions(source.join("d/setuid"), fs::Permissions::from_mode(0o4755)).unwrap();
    let long = "n".repeat(200);
    fs::write(source.join("d").join(&long), "long name").unwrap();
    let sparse = fs::File::create(source.join("sparse")).unwrap();
    sparse.set_len(10 << 20).unwrap();
    std::os::unix::fs::FileExt::write_at(&sparse, b"middle", 5 << 20).unwrap();
    Command::new("mkfifo").arg(source.join("fifo")).status().unwrap();
    rustix::fs::setxattr(source.join("d/file"), "user.note", b"kept", rustix::fs::XattrFlags::empty())
        .unwrap();
    for (format, pack) in
        [("pax", ""), ("gnu", "--gzip"), ("gnu", "--zstd"), ("pax", "--sparse"), ("gnu", "--sparse")]
    {
        if pack == "--zstd" && !has_program("zstd") {
            continue;
        }
        let packed = directory.path().join("packed");
        let mut command = Command::new("tar");
        command.arg("-C").arg(&source).arg("-cf").arg(&packed).args(["--format", format, "."]);
        if format == "pax" {
            command.arg("--xattrs");
        }
        if !pack.is_empty() {
            command.arg(pack);
        }
        assert!(command.status().unwrap().success());
        let image = store.import(fs::File::open(&packed).unwrap(), Import::default()).unwrap();
        let root = snapshots.unpack(&store, &image, &Limits::default()).unwrap().pop().unwrap();
        assert_eq!(listing(&root, format), listing(&source, format), "{format} {pack}");
        if format == "pax" {
            let mut value = [0u8; 16];
            let count = rustix::fs::getxattr(root.join("d/file"), "user.note", &mut value[..]).unwrap();
            assert_eq!(&value[..count], b"kept");
        }
        if pack == "--sparse" {
            let unpacked = fs::metadata(root.join("sparse")).unwrap();
            assert!(unpacked.blocks() * 512 < 1 << 20, "the hole was filled");
        }
        assert_eq!(fs::read(root.join("sparse")).unwrap(), fs::read(source.join("sparse")).unwrap());
        snapshots.sweep(&[]).unwrap();
    }
}

/// Type, mode, owner, size, links, time, name and target of everything in a tree.
fn listing(root: &Path, format: &str) -> String {
    // GNU's format has whole seconds
    let time = if format == "pax" { "%T@" } else { "%Ts" };
    let print = format!("%y %m %U %G %n {time} %P %l\\n");
    let find = Command::new("find").arg(root).args(["-mindepth", "1", "-printf", &print]).output().unwrap();
    let text = String::from_utf8(find.stdout).unwrap();
    let mut lines: Vec<_> = text.lines().collect();
    lines.sort_unstable();
    lines.join("\n")
}

#[test]
fn skopeo_and_umoci_read_the_store_as_it_is() {
    if !has_program("skopeo") || !has_program("umoci") {
        return;
    }
    let (directory, store, _) = place();
    let image =
        store.import(archive().file("etc/hostname", b"here\n").end().as_slice(), Import::default()).unwrap();
    store.tag(&name("web:1"), &image.descriptor).unwrap();
    let layout = format!("oci:{}:docker.io/library/web:1", store.root().display());
    let inspect = Command::new("skopeo").args(["inspect", &layout]).output().unwrap();
    assert!(inspect.status.success(), "{}", String::from_utf8_lossy(&inspect.stderr));
    assert!(String::from_utf8_lossy(&inspect.stdout).contains(image.descriptor.digest.as_str()));
    let list = Command::new("umoci").args(["ls", "--layout"]).arg(store.root()).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&list.stdout).trim(), "docker.io/library/web:1");
    drop(directory);
}

#[test]
fn a_full_disk_is_a_clear_error_and_leaves_nothing_visible() {
    let directory = tempfile::tempdir().unwrap();
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=1m", "dunnage-test"])
        .arg(directory.path())
        .status();
    if !mounted.is_ok_and(|status| status.success()) {
        eprintln!("skipped: no right to mount a tmpfs");
        return;
    }
    let result = std::panic::catch_unwind(|| {
        let store = Store::open(directory.path().join("images")).unwrap();
        let error = store
            .import(archive().file("f", &vec![1; 2 << 20]).end().as_slice(), Import::default())
            .unwrap_err();
        assert!(error.is_disk_full(), "{error:?}");
        assert_eq!(store.check(true).unwrap(), []);
    });
    Command::new("umount").arg(directory.path()).status().unwrap();
    result.unwrap();
}

#[test]
fn layers_are_read_as_a_container_would_see_them() {
    let (directory, _, _) = place();
    let (lower, upper) = (directory.path().join("lower"), directory.path().join("upper"));
    fs::create_dir_all(&lower).unwrap();
    fs::create_dir_all(&upper).unwrap();
    let below = archive()
        .file("etc/passwd", b"lower")
        .file("etc/gone", b"x")
        .file("usr/etc/real", b"y")
        .symlink("etc/link", "/usr/etc/real")
        .symlink("etc/loop", "loop")
        .file("d/hidden", b"z")
        .end();
    let above = archive().file("etc/passwd", b"upper").file("etc/.wh.gone", b"").file("d/.wh..wh..opq", b"");
    container_image::apply(below.as_slice(), &lower, &[] as &[&Path], &Limits::default()).unwrap();
    container_image::apply(above.end().as_slice(), &upper, &[&lower], &Limits::default()).unwrap();
    let layers = container_image::Layers::open(&[&upper, &lower]).unwrap();
    assert_eq!(layers.read("/etc/passwd", 100).unwrap().unwrap(), b"upper");
    assert_eq!(layers.read("etc/link", 100).unwrap().unwrap(), b"y");
    assert_eq!(layers.read("etc/gone", 100).unwrap(), None);
    assert_eq!(layers.read("d/hidden", 100).unwrap(), None);
    assert!(layers.read("etc/loop", 100).is_err());
    assert!(layers.read("etc/passwd", 2).is_err(), "too large");
    assert!(layers.read("etc", 100).is_err(), "a directory");
}
