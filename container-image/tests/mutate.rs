//! Images made of others without touching a layer, and trees unpacked whole.

mod archive;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use archive::archive;
use container_image::{
    Commit, Compression, Diff, Error, History, Image, Import, Limits, Owners, Pack, Snapshots, Store,
};

struct Place {
    directory: tempfile::TempDir,
    store: Store,
}

impl Place {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path().join("images")).unwrap();
        Self { directory, store }
    }

    fn base(&self, content: &[u8]) -> Image {
        let bytes = archive().directory("etc").file("etc/version", content).file("old", b"x").end();
        let import = Import { comment: Some("base".to_owned()), ..Import::default() };
        self.store.import(bytes.as_slice(), import).unwrap()
    }

    fn diff(&self, name: &str, content: &str) -> Diff {
        let upper = self.directory.path().join(format!("upper-{name}"));
        fs::create_dir(&upper).unwrap();
        fs::write(upper.join(name), content).unwrap();
        Diff::of_upper(&upper, &[] as &[&Path]).unwrap()
    }

    fn tree(&self, image: &Image) -> std::path::PathBuf {
        let target = self.directory.path().join(image.descriptor.digest.short());
        self.store.unpack_tree(image, &target, Owners::Archive, &Limits::default()).unwrap();
        target
    }
}

#[test]
fn an_appended_layer_is_on_top_with_a_line_of_history() {
    let place = Place::new();
    let base = place.base(b"1");
    let layer = place
        .store
        .pack(&place.diff("new", "n"), &Pack { compression: Compression::Gzip, not_after: Some(0) })
        .unwrap();
    let history = History { created_by: Some("append".to_owned()), ..History::default() };
    let image = place.store.append(&base, &[(layer.clone(), history)]).unwrap();
    assert_eq!(image.config.rootfs.diff_ids[1], layer.diff_id);
    assert_eq!(image.history()[1].layer, Some(&layer.descriptor));
    let tree = place.tree(&image);
    assert_eq!(fs::read_to_string(tree.join("new")).unwrap(), "n");
    assert_eq!(fs::read_to_string(tree.join("etc/version")).unwrap(), "1");
}

#[test]
fn a_rebased_image_has_its_own_layers_on_the_new_base() {
    let place = Place::new();
    let (old, new) = (place.base(b"1"), place.base(b"2"));
    let commit = Commit { created_by: Some("make".to_owned()), ..Commit::default() };
    let made = place.store.commit(Some(&old), &place.diff("app", "a"), commit).unwrap();
    let rebased = place.store.rebase(&made, &old, &new).unwrap();
    assert_eq!(rebased.manifest.layers.len(), 2);
    assert_eq!(rebased.manifest.layers[0], new.manifest.layers[0]);
    assert_eq!(rebased.manifest.layers[1], made.manifest.layers[1], "the layer itself is the same blob");
    assert_eq!(rebased.config.history.len(), 2);
    let tree = place.tree(&rebased);
    assert_eq!(fs::read_to_string(tree.join("etc/version")).unwrap(), "2");
    assert_eq!(fs::read_to_string(tree.join("app")).unwrap(), "a");
    let error = place.store.rebase(&made, &new, &old).unwrap_err();
    assert!(matches!(error, Error::Inconsistent { .. }), "{error:?}");
}

#[test]
fn annotations_change_the_manifest_and_not_the_id() {
    let place = Place::new();
    let base = place.base(b"1");
    let noted = place
        .store
        .annotate(&base, |all| drop(all.insert("org.example.by".to_owned(), "me".to_owned())))
        .unwrap();
    assert_eq!(noted.id, base.id);
    assert_ne!(noted.descriptor.digest, base.descriptor.digest);
    let read = place.store.image(&noted.descriptor).unwrap();
    assert_eq!(read.manifest.annotations["org.example.by"], "me");
    let changed = place.store.reconfigure(&read, |config| config.config.user = "web".to_owned()).unwrap();
    assert_eq!(changed.config.config.user, "web");
    assert_eq!(
        changed.manifest.annotations, read.manifest.annotations,
        "annotations went with the configuration"
    );
    let refused = place.store.reconfigure(&read, |config| config.rootfs.diff_ids.clear());
    assert!(matches!(refused, Err(Error::Inconsistent { .. })));
}

/// Layers over layers with every kind of deletion: the tree is what an overlay of the snapshots shows.
#[test]
fn a_plain_tree_has_what_the_layers_show_together() {
    let place = Place::new();
    let lower = archive()
        .directory("a")
        .file("a/kept", b"1")
        .file("a/gone", b"2")
        .directory("b")
        .directory("b/deep")
        .file("b/deep/hidden", b"3")
        .directory("c")
        .file("c/x", b"4")
        .hard_link("link", "a/kept")
        .symlink("s", "a")
        .end();
    let upper = archive()
        .file("a/.wh.gone", b"")
        .directory("b")
        .file("b/new", b"5")
        .file("b/.wh..wh..opq", b"")
        .file("c", b"now a file")
        .file(".wh.c", b"")
        .file("a/.wh.nothing", b"")
        .file("a/kept", b"6")
        .end();
    let base = place.store.import(lower.as_slice(), Import::default()).unwrap();
    let top = place.store.import(upper.as_slice(), Import::default()).unwrap();
    let layer = container_image::Layer {
        descriptor: top.manifest.layers[0].clone(),
        diff_id: top.config.rootfs.diff_ids[0].clone(),
    };
    let image = place.store.append(&base, &[(layer, History::default())]).unwrap();
    let tree = place.tree(&image);
    let read = |path: &str| fs::read_to_string(tree.join(path)).ok();
    assert_eq!(read("a/kept").as_deref(), Some("6"));
    assert_eq!(read("link").as_deref(), Some("1"), "what replaces one name of a file leaves the others");
    assert_eq!((read("a/gone"), read("b/deep/hidden")), (None, None));
    assert_eq!(
        read("b/new").as_deref(),
        Some("5"),
        "an opaque directory keeps what its own layer has put there"
    );
    assert_eq!(read("c").as_deref(), Some("now a file"), "a deletion after what replaces it deletes nothing");
    assert_eq!(fs::read_link(tree.join("s")).unwrap(), Path::new("a"));
    let names: Vec<_> = fs::read_dir(&tree).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names.len(), 5, "{names:?}");

    // the same, as a container would see it by the layers
    let snapshots = Snapshots::open(place.directory.path().join("snapshots")).unwrap();
    let mut layers = snapshots.unpack(&place.store, &image, &Limits::default()).unwrap();
    layers.reverse();
    let merged = Diff::of_layers(&layers).unwrap();
    let mut seen: Vec<_> =
        merged.changes().iter().map(|change| change.path().display().to_string()).collect();
    seen.retain(|path| path != "/");
    seen.sort();
    assert_eq!(seen, ["/a", "/a/kept", "/b", "/b/new", "/c", "/link", "/s"]);
}

/// Deletions in a layer must not reach out of the tree either.
#[test]
fn deletions_in_a_plain_tree_stay_inside() {
    let place = Place::new();
    let outside = place.directory.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("canary"), "alive").unwrap();
    let away = outside.display().to_string();
    for upper in [
        archive().symlink("l", &away).file("l/.wh.canary", b"").end(),
        archive().symlink("l", &away).file("l/.wh..wh..opq", b"").end(),
        archive().symlink("l", "../../outside").file("l/.wh.canary", b"").end(),
        archive().file("../outside/.wh.canary", b"").end(),
        archive().symlink("l", &away).directory("l").file("l/.wh..wh..opq", b"").end(),
    ] {
        let image = place.store.import(upper.as_slice(), Import::default()).unwrap();
        let target = place.directory.path().join("tree");
        // refused or harmless: both will do
        let _ = place.store.unpack_tree(&image, &target, Owners::Archive, &Limits::default());
        assert_eq!(fs::read_to_string(outside.join("canary")).unwrap(), "alive");
        container_image::remove_tree(&target).unwrap();
    }
}

#[test]
fn a_normal_user_unpacks_an_image_and_owns_all_of_it() {
    let place = Place::new();
    let mut bytes =
        archive().directory("closed").file("closed/in", b"1").device("dev-null").file("run", b"x");
    // the directory before is to end as 0555, the program with its set-id bit
    for (name, mode) in [("closed/", 0o555u32), ("run", 0o4755)] {
        let at = bytes
            .bytes
            .windows(name.len())
            .position(|window| window == name.as_bytes())
            .unwrap_or_else(|| bytes.bytes.windows(6).position(|window| window == b"closed").unwrap());
        let header = &mut bytes.bytes[at / 512 * 512..at / 512 * 512 + 512];
        header[100..107].copy_from_slice(format!("{mode:07o}").as_bytes());
        header[108..115].copy_from_slice(b"0000007");
        header[148..156].fill(b' ');
        let sum: u32 = header.iter().map(|&byte| u32::from(byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }
    let image = place.store.import(bytes.end().as_slice(), Import::default()).unwrap();
    let target = place.directory.path().join("tree");
    let applied = place.store.unpack_tree(&image, &target, Owners::Caller, &Limits::default()).unwrap();
    let own = fs::metadata(&target).unwrap().uid();
    let run = fs::metadata(target.join("run")).unwrap();
    assert_eq!((run.uid(), run.permissions().mode() & 0o7777), (own, 0o755), "the set-id bit is gone");
    assert_eq!(applied.devices_left_out, 1);
    assert!(!target.join("dev-null").exists());
    assert!(target.join("closed/in").exists());
}
