//! Archives of images: what we write others read, what others write we read, and what is hostile is refused.

mod archive;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use archive::{Archive, archive};
use container_image::{Digest, Error, Image, Import, Limits, Named, Platform, Store};

struct Place {
    directory: tempfile::TempDir,
    store: Store,
    other: Store,
}

fn place() -> Place {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path().join("one")).unwrap();
    let other = Store::open(directory.path().join("other")).unwrap();
    Place { directory, store, other }
}

fn image(store: &Store, content: &[u8]) -> Image {
    store.import(archive().file("etc/f", content).end().as_slice(), Import::default()).unwrap()
}

fn packed_image(store: &Store, content: &[u8]) -> Image {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut packed, &archive().file("etc/f", content).end()).unwrap();
    store.import(packed.finish().unwrap().as_slice(), Import::default()).unwrap()
}

fn named(image: Image, names: &[&str]) -> Named {
    Named { image, names: names.iter().map(|name| name.parse().unwrap()).collect() }
}

fn has(program: &str) -> bool {
    let found = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    let found = found.is_ok_and(|status| status.success());
    if !found {
        eprintln!("skipped: {program} is not installed");
    }
    found
}

fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn load(store: &Store, bytes: &[u8]) -> Result<Vec<Named>, Error> {
    store.load(bytes, &Limits::default())
}

#[test]
fn saved_images_load_elsewhere_with_the_same_digests_and_names() {
    let Place { directory: _directory, store, other } = place();
    let images =
        [named(image(&store, b"1"), &["web:1", "example.org/web:2"]), named(image(&store, b"2"), &[])];
    let mut bytes = Vec::new();
    store.save(&images, &mut bytes).unwrap();
    let mut again = Vec::new();
    store.save(&images, &mut again).unwrap();
    assert_eq!(bytes, again, "the same images give the same bytes");
    let loaded = load(&other, &bytes).unwrap();
    assert_eq!(loaded.len(), 2);
    for (loaded, saved) in loaded.iter().zip(&images) {
        assert_eq!(loaded.image, saved.image);
        assert_eq!(loaded.names, saved.names);
        other.keep(&loaded.image.descriptor).unwrap();
    }
    assert_eq!(other.check(true).unwrap(), []);
    // packed, too
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut packed, &bytes).unwrap();
    assert_eq!(load(&other, &packed.finish().unwrap()).unwrap().len(), 2);
}

#[test]
fn skopeo_reads_our_archives_and_we_read_its_in_every_form() {
    if !has("skopeo") {
        return;
    }
    let Place { directory, store, other } = place();
    let root = directory.path().display().to_string();
    let saved = named(packed_image(&store, b"1"), &["web:1"]);
    let ours = format!("{root}/ours.tar");
    store.save(std::slice::from_ref(&saved), fs::File::create(&ours).unwrap()).unwrap();
    let config = run("skopeo", &["inspect", "--config", "--raw", &format!("docker-archive:{ours}:web:1")]);
    assert_eq!(Digest::of(config.as_bytes()), saved.image.id, "Docker's form");
    let raw = run("skopeo", &["inspect", "--raw", &format!("oci-archive:{ours}:1")]);
    assert_eq!(Digest::of(raw.as_bytes()), saved.image.descriptor.digest, "the layout");

    let layout = format!("oci:{}:{}", store.root().display(), "web");
    store.tag(&"web".parse().unwrap(), &saved.image.descriptor).unwrap();
    let layout = layout.replace(":web", ":docker.io/library/web:latest");
    for (form, same_digest) in [("docker-archive", false), ("oci-archive", true), ("oci", true)] {
        let theirs = format!("{root}/{form}");
        run("skopeo", &["copy", "-q", &layout, &format!("{form}:{theirs}:example.org/their:3")]);
        let loaded = if form == "oci" {
            other.load_layout(Path::new(&theirs)).unwrap()
        } else {
            other.load(fs::File::open(&theirs).unwrap(), &Limits::default()).unwrap()
        };
        assert_eq!(loaded.len(), 1, "{form}");
        assert_eq!(loaded[0].names[0].to_string(), "example.org/their:3", "{form}");
        assert_eq!(loaded[0].image.id, saved.image.id, "{form}");
        if same_digest {
            assert_eq!(loaded[0].image.descriptor.digest, saved.image.descriptor.digest, "{form}");
        }
        other.keep(&loaded[0].image.descriptor).unwrap();
        assert_eq!(other.check(true).unwrap(), [], "{form}");
    }
}

/// Docker's form with the given members beside a layer and its configuration.
fn docker(config_path: &str, layer_path: &str, tags: &str) -> String {
    format!(r#"[{{"Config":"{config_path}","RepoTags":{tags},"Layers":["{layer_path}"]}}]"#)
}

fn config_of(layer: &[u8]) -> String {
    let diff_id = Digest::of(layer);
    format!(
        r#"{{"architecture":"amd64","os":"linux","config":{{"Cmd":["sh"]}},"rootfs":{{"type":"layers","diff_ids":["{diff_id}"]}}}}"#
    )
}

#[test]
fn dockers_old_form_is_read_with_its_links_between_layers() {
    let Place { directory: _directory, other, .. } = place();
    let layer = archive().file("f", b"x").end();
    let config = config_of(&layer);
    let bytes = archive()
        .directory("aaaa")
        .file("aaaa/VERSION", b"1.0")
        .file("aaaa/json", b"{}")
        .file("aaaa/layer.tar", &layer)
        .symlink("bbbb/layer.tar", "../aaaa/layer.tar")
        .file("cfg.json", config.as_bytes())
        .file("manifest.json", docker("cfg.json", "bbbb/layer.tar", r#"["old:1"]"#).as_bytes())
        .file("repositories", b"{}")
        .end();
    let loaded = load(&other, &bytes).unwrap();
    assert_eq!(loaded[0].image.id, Digest::of(config.as_bytes()));
    assert_eq!(loaded[0].names[0].familiar(), "old:1");
    assert_eq!(loaded[0].image.config.config.cmd, Some(vec!["sh".to_owned()]));
}

fn refused(bytes: &[u8], why: &str) {
    let Place { directory, other, .. } = place();
    fs::write(directory.path().join("canary"), "alive").unwrap();
    let error = load(&other, bytes).expect_err(why);
    assert!(!error.to_string().is_empty());
    assert!(other.images().unwrap().is_empty());
    assert_eq!(fs::read(directory.path().join("canary")).unwrap(), b"alive");
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 3, "{why}: something was made outside");
}

#[test]
fn members_that_point_outside_or_at_others_are_refused() {
    let layer = archive().file("f", b"x").end();
    let foreign = archive().file("f", b"another image's").end();
    let config = config_of(&layer);
    let with = |config_path: &str, layer_path: &str, more: Archive| {
        more.file("c.json", config.as_bytes())
            .file("l/layer.tar", &layer)
            .file("foreign/layer.tar", &foreign)
            .file("manifest.json", docker(config_path, layer_path, "null").as_bytes())
            .end()
    };
    let (good, other) = ("c.json", "l/layer.tar");
    let base = place();
    assert_eq!(load(&base.other, &with(good, other, archive())).unwrap().len(), 1, "the base is good");
    refused(&with("../canary", other, archive()), "a configuration outside");
    refused(&with("/etc/passwd", other, archive()), "an absolute configuration");
    refused(&with(good, "../../etc/passwd", archive()), "a layer outside");
    refused(&with(good, "missing/layer.tar", archive()), "a layer that is not there");
    refused(&with(good, "foreign/layer.tar", archive()), "another image's layer");
    refused(&with(good, "x", archive().symlink("x", "/etc/passwd")), "a link to the host");
    refused(&with(good, "x", archive().symlink("x", "../../etc/passwd")), "a link that climbs");
    refused(&with(good, "x", archive().symlink("x", "y").symlink("y", "x")), "links in circles");
    refused(&with(good, "x", archive().hard_link("x", "/etc/passwd")), "a hard link to the host");
    refused(&with(good, other, archive().file("../evil", b"x")), "a member that climbs");
    refused(&with(good, other, archive().file("/evil", b"x")), "an absolute member");
    refused(&with(good, other, archive().device("null")), "a device");
    refused(
        &archive().file("repositories", br#"{"a":{"b":"../../etc"}}"#).end(),
        "Docker's form before 1.10, whose ids are paths",
    );
}

#[test]
fn blobs_that_are_not_what_their_names_say_are_refused() {
    let name = format!("blobs/sha256/{}", Digest::of(b"right").hex());
    refused(&archive().file(&name, b"wrong").end(), "wrong content");
    for name in ["blobs/sha256/../../x", "blobs/md5/abc", "blobs/sha256/ABC", "blobs/x"] {
        refused(&archive().file(name, b"wrong").end(), name);
    }
}

/// A layout around one document, whose descriptor says what it is told.
fn layout(document: &str, media_type: &str, size: usize) -> Vec<u8> {
    let digest = Digest::of(document.as_bytes());
    let index = format!(
        r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"{media_type}","digest":"{digest}","size":{size}}}]}}"#
    );
    archive()
        .file("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)
        .file(&format!("blobs/sha256/{}", digest.hex()), document.as_bytes())
        .file(&format!("blobs/sha256/{}", Digest::of(EMPTY_CONFIG).hex()), EMPTY_CONFIG)
        .file("index.json", index.as_bytes())
        .end()
}

const EMPTY_CONFIG: &[u8] =
    br#"{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}"#;
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

#[test]
fn documents_that_are_two_things_at_once_or_lie_about_themselves_are_refused() {
    let (empty, size) = (Digest::of(EMPTY_CONFIG), EMPTY_CONFIG.len());
    let descriptor = format!(
        r#"{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{empty}","size":{size}}}"#
    );
    let manifest = format!(r#""config":{descriptor},"layers":[]"#);
    let both = format!(r#"{{"schemaVersion":2,{manifest},"manifests":[]}}"#);
    refused(&layout(&both, MANIFEST, both.len()), "a manifest that is an index (CVE-2021-41190)");
    refused(&layout(&both, INDEX, both.len()), "an index that is a manifest");
    let other_type = format!(r#"{{"schemaVersion":2,"mediaType":"{INDEX}",{manifest}}}"#);
    refused(&layout(&other_type, MANIFEST, other_type.len()), "another media type inside");
    let old = r#"{"schemaVersion":1,"fsLayers":[],"history":[]}"#;
    refused(&layout(old, MANIFEST, old.len()), "Docker's schema 1");
    let plain = format!(r#"{{"schemaVersion":2,{manifest}}}"#);
    let base = place();
    assert_eq!(
        load(&base.other, &layout(&plain, MANIFEST, plain.len())).unwrap().len(),
        1,
        "the base is good"
    );
    refused(&layout(&plain, MANIFEST, plain.len() + 1), "a size that lies");
    let itself = r#"{"schemaVersion":2,"manifests":[]}"#;
    refused(&layout(itself, INDEX, itself.len()), "an index of nothing");
}

#[test]
fn a_bomb_in_an_archive_stops_at_the_callers_limit() {
    let Place { directory: _directory, other, .. } = place();
    let limits = Limits { bytes: 1 << 20, ..Limits::default() };
    let bytes = archive().file("x", &vec![0; 2 << 20]).end();
    assert!(matches!(other.load(bytes.as_slice(), &limits), Err(Error::Limit { what: "bytes", .. })));
    // a layer that is small only as long as it is packed
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    std::io::Write::write_all(&mut packed, &vec![0; 2 << 20]).unwrap();
    let config = config_of(b"whatever");
    let bytes = archive()
        .file("c", config.as_bytes())
        .file("l", &packed.finish().unwrap())
        .file("manifest.json", docker("c", "l", "null").as_bytes())
        .end();
    assert!(matches!(other.load(bytes.as_slice(), &limits), Err(Error::Limit { what: "bytes", .. })));
}

#[test]
fn a_link_in_a_layout_directory_is_not_followed() {
    let Place { directory, store, other } = place();
    let image = image(&store, b"1");
    store.tag(&"web".parse().unwrap(), &image.descriptor).unwrap();
    let blob = store.blob_path(&image.manifest.layers[0].digest);
    let outside = directory.path().join("outside");
    fs::rename(&blob, &outside).unwrap();
    std::os::unix::fs::symlink(&outside, &blob).unwrap();
    assert!(other.load_layout(store.root()).is_err());
}

#[test]
fn an_index_gives_the_image_for_the_platform_and_its_absent_ones_are_no_damage() {
    let Place { directory: _directory, store, other } = place();
    let image = image(&store, b"1");
    let host = Platform::host();
    let absent = Digest::of(b"another platform");
    let text = format!(
        r#"{{"schemaVersion":2,"mediaType":"{INDEX}","manifests":[
            {{"mediaType":"{MANIFEST}","digest":"{absent}","size":9,"platform":{{"architecture":"mips","os":"linux"}}}},
            {{"mediaType":"{MANIFEST}","digest":"{}","size":{},"platform":{{"architecture":"{}","os":"linux"}}}}]}}"#,
        image.descriptor.digest, image.descriptor.size, host.architecture
    );
    let digest = store.put_blob(text.as_bytes()).unwrap();
    let mut descriptor = image.descriptor.clone();
    (descriptor.digest, descriptor.size) = (digest, text.len() as u64);
    descriptor.media_type = INDEX.to_owned().into();
    store.tag(&"multi".parse().unwrap(), &descriptor).unwrap();
    let found = store.find("multi").unwrap();
    assert_eq!(found.image.id, image.id);
    assert_eq!(found.image.descriptor, descriptor);
    assert_eq!(found.image.manifest_descriptor, image.descriptor);
    assert_eq!(store.check(true).unwrap(), []);
    store.sweep().unwrap();
    assert_eq!(store.find("multi").unwrap().image.id, image.id, "a sweep keeps what the index has");
    let loaded = other.load_layout(store.root()).unwrap();
    assert_eq!(loaded[0].image.id, image.id);
}
