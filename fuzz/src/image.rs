use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;

use arbitrary::{Arbitrary as _, Result, Unstructured};
use container_image::{
    Credentials, Diff, Digest, Hosts, ImageConfig, Index, Limits, Manifest, Platform, Reference, Store,
    challenges,
};

use crate::Layer;

/// Small enough that no input makes a run slow.
const LIMITS: Limits = Limits { entries: 200, bytes: 1 << 20, depth: 30 };

/// What is read is written in one form, which reads back to the same.
pub(crate) fn names(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(reference) = text.parse::<Reference>() {
        assert_eq!(reference.to_string().parse::<Reference>().as_ref().ok(), Some(&reference), "{text:?}");
        let familiar = reference.familiar();
        assert_eq!(familiar.parse::<Reference>().as_ref().ok(), Some(&reference), "{text:?} as {familiar:?}");
        assert!(!reference.path().split('/').any(|part| matches!(part, "" | "." | "..")), "{text:?}");
    }
    if let Ok(digest) = text.parse::<Digest>() {
        assert_eq!(digest.to_string(), text, "a digest has one form");
    }
    if let Ok(platform) = text.parse::<Platform>() {
        assert_eq!(platform.to_string().parse::<Platform>().ok(), Some(platform), "{text:?}");
    }
}

/// Manifests, indexes and configs: what is read prints to JSON that reads back to the same.
pub(crate) fn documents(data: &[u8]) {
    fn same<T: serde::de::DeserializeOwned + serde::Serialize + PartialEq + std::fmt::Debug>(data: &[u8]) {
        if let Ok(document) = serde_json::from_slice::<T>(data) {
            let text = serde_json::to_vec(&document).expect("a document is JSON");
            let again: T = serde_json::from_slice(&text).expect("what was written is read");
            assert_eq!(again, document);
        }
    }
    same::<Manifest>(data);
    same::<Index>(data);
    same::<ImageConfig>(data);
}

/// `hosts.toml`, `config.json` of a client, `WWW-Authenticate`.
pub(crate) fn files(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let _ = Hosts::parse(text);
    if let Ok(credentials) = Credentials::parse(text)
        && let Ok(reference) = "registry.example/a/b".parse::<Reference>()
    {
        credentials.find(&reference);
        credentials.helper("registry.example");
    }
    let _ = Credentials::without_login(text, "registry.example");
    for challenge in challenges(text) {
        assert_eq!(challenge.scheme, challenge.scheme.to_ascii_lowercase());
    }
}

/// Any bytes as a layer: nothing outside of its directory changes.
pub(crate) fn apply(data: &[u8]) {
    in_a_jail(data);
}

pub(crate) fn layer(data: &[u8]) {
    if let Ok(Layer(archive)) = Layer::arbitrary(&mut Unstructured::new(data)) {
        in_a_jail(&archive);
    }
}

fn in_a_jail(archive: &[u8]) {
    let jail = tempfile::tempdir().expect("room for a directory");
    let (canary, below, root) =
        (jail.path().join("canary"), jail.path().join("below"), jail.path().join("root"));
    fs::create_dir_all(canary.join("d")).expect("room");
    fs::write(canary.join("file"), "as it was").expect("room");
    // a lower layer with links of both kinds
    fs::create_dir_all(below.join("a/b")).expect("room");
    symlink("../canary", below.join("l")).expect("room");
    symlink(&canary, below.join("b")).expect("room");
    let before = tree(&canary);
    for lower in [&[][..], &[below.as_path()]] {
        fs::create_dir(&root).expect("room");
        if let Ok(applied) = container_image::apply(archive, &root, lower, &LIMITS) {
            assert!(applied.entries <= LIMITS.entries && applied.bytes <= LIMITS.bytes, "{applied:?}");
        }
        assert_eq!(tree(&canary), before, "what lies outside is as it was");
        let beside: Vec<_> = fs::read_dir(jail.path()).expect("a directory").flatten().collect();
        assert_eq!(beside.len(), 3, "nothing was made beside the root: {beside:?}");
        container_image::remove_tree(&root).expect("our own tree");
    }
}

/// Every path with its type, mode, owner, times but those of access, and bytes.
fn tree(root: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut open = vec![root.to_owned()];
    while let Some(path) = open.pop() {
        let Ok(meta) = fs::symlink_metadata(&path) else { continue };
        let what = if meta.is_symlink() {
            format!("-> {:?}", fs::read_link(&path).ok())
        } else if meta.is_file() {
            format!("{:?}", fs::read(&path).ok())
        } else {
            open.extend(fs::read_dir(&path).into_iter().flatten().flatten().map(|entry| entry.path()));
            String::new()
        };
        let line =
            format!("{:o} {}:{} {} {what}", meta.permissions().mode(), meta.uid(), meta.gid(), meta.mtime());
        found.insert(path.strip_prefix(root).unwrap_or(&path).display().to_string(), line);
    }
    found
}

/// Two trees from the bytes: the difference of the first and the second, put onto the first, gives the second.
pub(crate) fn diff(data: &[u8]) {
    let place = tempfile::tempdir().expect("room for a directory");
    let (from, to, layer) = (place.path().join("from"), place.path().join("to"), place.path().join("layer"));
    for path in [&from, &to, &layer] {
        fs::create_dir(path).expect("room");
    }
    let mut bytes = Unstructured::new(data);
    if grow(&mut bytes, &from).is_err() || grow(&mut bytes, &to).is_err() {
        return;
    }
    let mut archive = Vec::new();
    Diff::of_trees(&from, &to).expect("two trees").write(&mut archive, None).expect("memory takes all");
    container_image::apply(archive.as_slice(), &layer, &[from.as_path()], &LIMITS).expect("our own layer");
    let again = Diff::of_layers(&[layer.as_path(), from.as_path()]).expect("two layers");
    let mut whole = Vec::new();
    again.write(&mut whole, None).expect("memory takes all");
    let flat = place.path().join("flat");
    fs::create_dir(&flat).expect("room");
    container_image::apply(whole.as_slice(), &flat, &[] as &[&Path], &LIMITS).expect("our own layer");
    assert_eq!(without_root(tree(&flat)), without_root(tree(&to)));
    for path in [&layer, &flat] {
        container_image::remove_tree(path).expect("our own tree");
    }
}

/// The root's own mode and times are not part of a layer of two trees.
fn without_root(mut tree: BTreeMap<String, String>) -> BTreeMap<String, String> {
    tree.remove("");
    tree
}

/// Up to ten files, directories, symbolic and hard links with names of few letters, so that the trees meet.
fn grow(bytes: &mut Unstructured<'_>, root: &Path) -> Result<()> {
    let mut last = None;
    for _ in 0..bytes.int_in_range(0..=10)? {
        let names = ["a", "b", "c"];
        let mut path = root.to_owned();
        for _ in 0..bytes.int_in_range(1..=3)? {
            path.push(bytes.choose(&names)?);
        }
        if let Some(above) = path.parent() {
            // where a file is in the way, nothing is made
            let _ = fs::create_dir_all(above);
        }
        match bytes.int_in_range(0..=4)? {
            0 => drop(fs::create_dir(&path)),
            1 => drop(symlink(bytes.choose(&["a", "../b", "/etc", "missing"])?, &path)),
            2 => {
                if let Some(last) = &last {
                    let _ = fs::hard_link(last, &path);
                }
            }
            _ => {
                if !path.exists() && fs::write(&path, bytes.choose(&["", "one", "another"])?).is_ok() {
                    let mode = *bytes.choose(&[0o644, 0o755, 0o600, 0o4755])?;
                    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("our own file");
                    last = Some(path);
                }
            }
        }
    }
    Ok(())
}

/// Any bytes as an archive of images: the store stays sound.
pub(crate) fn load(data: &[u8]) {
    let place = tempfile::tempdir().expect("room for a directory");
    let store = Store::open(place.path().join("store")).expect("an empty directory");
    let _ = store.load(data, &LIMITS);
    store.images().expect("a sound index");
    let mut found = store.check(true).expect("a sound store");
    // what a load brought before it failed is swept later
    found.retain(|finding| !matches!(finding, container_image::Finding::Unneeded(_)));
    assert!(found.is_empty(), "{found:?}");
}
