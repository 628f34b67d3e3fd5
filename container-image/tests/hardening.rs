//! What hostile archives must not achieve: ../shared/ATTACKS.md, *Archives*.

mod archive;

use std::fs;
use std::io::Read;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use archive::archive;
use container_image::{Error, Import, Limits, Snapshots, Store, apply};

/// A place with a canary outside the root, and the root.
struct Jail {
    directory: tempfile::TempDir,
}

impl Jail {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("root")).unwrap();
        fs::create_dir(directory.path().join("outside")).unwrap();
        fs::write(directory.path().join("outside/canary"), "alive").unwrap();
        Self { directory }
    }

    fn root(&self) -> std::path::PathBuf {
        self.directory.path().join("root")
    }

    fn outside(&self) -> String {
        self.directory.path().join("outside").display().to_string()
    }

    fn apply(&self, bytes: &[u8]) -> Result<(), Error> {
        apply(bytes, &self.root(), &[] as &[&Path], &Limits::default()).map(drop)
    }

    fn intact(&self) {
        let outside = self.directory.path().join("outside");
        assert_eq!(fs::read(outside.join("canary")).unwrap(), b"alive");
        assert_eq!(fs::read_dir(outside).unwrap().count(), 1, "something was made outside");
        assert_eq!(fs::read_dir(self.directory.path()).unwrap().count(), 2, "something was made outside");
        assert_eq!(fs::metadata(self.directory.path().join("outside/canary")).unwrap().nlink(), 1);
    }
}

#[test]
fn names_that_climb_are_refused_and_absolute_ones_stay_inside() {
    for name in ["../outside/x", "a/../../outside/x", "..", "a/..", "./../x"] {
        let jail = Jail::new();
        let error = jail.apply(&archive().file(name, b"x").end()).unwrap_err();
        assert!(error.to_string().contains(".."), "{name}: {error}");
        jail.intact();
    }
    let jail = Jail::new();
    jail.apply(&archive().file("/etc/x", b"1").file("a/././/y", b"2").end()).unwrap();
    assert_eq!(fs::read(jail.root().join("etc/x")).unwrap(), b"1");
    assert_eq!(fs::read(jail.root().join("a/y")).unwrap(), b"2");
    jail.intact();
}

#[test]
fn names_that_are_empty_or_endless_or_have_a_nul_are_refused() {
    let long = vec![b'a'; 5000];
    let deep = "d/".repeat(2000);
    for bytes in [
        archive().file("", b"x").end(),
        archive().pax(&[("path", b"a\0b")]).file("x", b"").end(),
        archive().pax(&[("path", &long)]).file("x", b"").end(),
        archive().pax(&[("path", deep.as_bytes())]).file("x", b"").end(),
        archive().file(".", b"x").end(),
    ] {
        let jail = Jail::new();
        assert!(jail.apply(&bytes).is_err());
        jail.intact();
    }
}

#[test]
fn a_symbolic_link_leads_an_entry_nowhere_outside() {
    let jail = Jail::new();
    let outside = jail.outside();
    for target in [outside.as_str(), "../outside", "x/../../outside"] {
        let jail = Jail::new();
        // inside the root the target is not there, or made there
        let _ = jail.apply(&archive().symlink("a", target).file("a/canary", b"dead").end());
        jail.intact();
    }
    jail.apply(&archive().directory("etc").symlink("a", "/etc").file("a/passwd", b"in").end()).unwrap();
    assert_eq!(
        fs::read(jail.root().join("etc/passwd")).unwrap(),
        b"in",
        "an absolute link is the root's own"
    );
    jail.intact();
}

#[test]
fn a_link_of_a_lower_layer_leads_an_entry_nowhere_outside() {
    let jail = Jail::new();
    let lower = jail.directory.path().join("root/lower");
    let upper = jail.directory.path().join("root/upper");
    fs::create_dir_all(&lower).unwrap();
    fs::create_dir_all(&upper).unwrap();
    apply(
        archive().symlink("a", &jail.outside()).end().as_slice(),
        &lower,
        &[] as &[&Path],
        &Limits::default(),
    )
    .unwrap();
    let _ =
        apply(archive().file("a/canary", b"dead").end().as_slice(), &upper, &[&lower], &Limits::default());
    jail.intact();
}

#[test]
fn a_file_is_written_anew_and_never_through_a_link_of_its_own_name() {
    let jail = Jail::new();
    let canary = format!("{}/canary", jail.outside());
    jail.apply(&archive().symlink("a", &canary).file("a", b"dead").end()).unwrap();
    assert_eq!(fs::read(jail.root().join("a")).unwrap(), b"dead");
    jail.intact();
    // a directory replaced by a link between two entries
    let jail = Jail::new();
    let outside = jail.outside();
    let _ = jail.apply(&archive().file("d/x", b"1").symlink("d", &outside).file("d/canary", b"dead").end());
    jail.intact();
}

#[test]
fn a_hard_link_reaches_only_files_of_its_own_layer() {
    let canary = |jail: &Jail| format!("{}/canary", jail.outside());
    let jail = Jail::new();
    for bytes in [
        archive().hard_link("a", &canary(&jail)).end(),
        archive().hard_link("a", "../outside/canary").end(),
        archive().symlink("o", &jail.outside()).hard_link("a", "o/canary").end(),
        archive().hard_link("a", "missing").end(),
        archive().hard_link("a", "a").end(),
        archive().directory("d").hard_link("a", "d").end(),
        archive().hard_link("a", "").end(),
    ] {
        let jail = Jail::new();
        assert!(jail.apply(&bytes).is_err());
        jail.intact();
    }
    // to a link: the link itself is linked, and writing to the name makes a new file
    let jail = Jail::new();
    jail.apply(&archive().symlink("l", &canary(&jail)).hard_link("a", "l").file("a", b"dead").end()).unwrap();
    jail.intact();
    let jail = Jail::new();
    jail.apply(&archive().file("f", b"x").hard_link("f", "f").hard_link("g", "f").end()).unwrap();
    assert_eq!(fs::metadata(jail.root().join("g")).unwrap().nlink(), 2);
}

#[test]
fn a_whiteout_names_a_file_beside_it_and_nothing_else() {
    for name in [".wh.", ".wh..", ".wh...", ".wh..wh.x", "d/.wh.."] {
        let jail = Jail::new();
        let result = jail.apply(&archive().directory("d").file(name, b"").end());
        assert!(result.is_err(), "{name} was taken");
        jail.intact();
    }
    let jail = Jail::new();
    let outside = jail.outside();
    let _ = jail.apply(&archive().symlink("o", &outside).file("o/.wh.canary", b"").end());
    jail.intact();
    let _ = jail.apply(&archive().symlink("p", &outside).file("p/.wh..wh..opq", b"").end());
    jail.intact();
}

#[test]
fn a_whiteout_before_or_after_its_target_in_one_layer_hides_only_what_is_below() {
    let jail = Jail::new();
    jail.apply(
        &archive()
            .file(".wh.a", b"")
            .file("a", b"new")
            .file("b", b"new")
            .file(".wh.b", b"")
            .file(".wh.c", b"")
            .directory("c")
            .directory("d")
            .file(".wh.d", b"")
            .file(".wh.e", b"")
            .end(),
    )
    .unwrap();
    for name in ["a", "b"] {
        assert_eq!(fs::read(jail.root().join(name)).unwrap(), b"new");
    }
    for name in ["c", "d"] {
        let mut value = [0u8; 2];
        let count =
            rustix::fs::getxattr(jail.root().join(name), "trusted.overlay.opaque", &mut value[..]).unwrap();
        assert_eq!(&value[..count], b"y", "{name} is not opaque");
    }
    let hidden = fs::symlink_metadata(jail.root().join("e")).unwrap();
    assert!(hidden.file_type().is_char_device() && hidden.rdev() == 0);
}

#[test]
fn overlay_marks_and_foreign_security_attributes_are_left_out() {
    let jail = Jail::new();
    let bytes = archive()
        .pax(&[
            ("SCHILY.xattr.trusted.overlay.redirect", b"/etc"),
            ("SCHILY.xattr.user.overlay.opaque", b"y"),
            ("SCHILY.xattr.security.selinux", b"x"),
            ("SCHILY.xattr.user.mine", b"kept"),
        ])
        .file("f", b"x")
        .end();
    let applied = apply(bytes.as_slice(), &jail.root(), &[] as &[&Path], &Limits::default()).unwrap();
    assert_eq!(applied.attributes_left_out, 3);
    let mut names = [0u8; 256];
    let count = rustix::fs::listxattr(jail.root().join("f"), &mut names[..]).unwrap();
    assert_eq!(&names[..count], b"user.mine\0");
}

#[test]
fn the_mark_of_a_deleted_file_cannot_be_smuggled_in_as_a_device() {
    let jail = Jail::new();
    assert!(jail.apply(&archive().device("x").end()).is_err());
    assert!(!jail.root().join("x").exists());
}

#[test]
fn bombs_stop_at_the_callers_limits() {
    let jail = Jail::new();
    let limits = Limits { entries: 10, bytes: 1000, depth: 3 };
    let try_with = |bytes: &[u8]| apply(bytes, &jail.root(), &[] as &[&Path], &limits).unwrap_err();
    let many = (0..11).fold(archive(), |archive, at| archive.file(&format!("f{at}"), b""));
    assert!(matches!(try_with(&many.end()), Error::Limit { what: "entries", .. }));
    assert!(matches!(try_with(&archive().file("f", &[0; 1001]).end()), Error::Limit { what: "bytes", .. }));
    assert!(matches!(try_with(&archive().file("a/b/c/d/e", b"").end()), Error::Limit { .. }));
    // a sparse file of 8 EiB holds no data, and yet its size counts
    let huge = archive()
        .pax(&[
            ("GNU.sparse.major", b"0"),
            ("GNU.sparse.size", b"9223372036854775807"),
            ("GNU.sparse.map", b"0,0"),
        ])
        .file("f", b"")
        .end();
    assert!(matches!(try_with(&huge), Error::Limit { what: "bytes", .. }));
    // a PAX header of a gigabyte is refused before it is read
    let giant = archive().raw(b"pax", b'x', b"", b"10000000000\0", b"");
    assert!(matches!(try_with(&giant.bytes), Error::Limit { .. }));
}

#[test]
fn sizes_and_numbers_that_lie_are_refused() {
    let negative = [0xff; 12];
    let enormous = [0x80, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
    for bytes in [
        archive().raw(b"f", b'0', b"", b"00000001000\0", b"short").end()[..600].to_vec(),
        archive().raw(b"f", b'0', b"", &negative, b"").end(),
        archive().raw(b"f", b'0', b"", &enormous, b"").end(),
        archive().pax(&[("size", b"99999999999999999999999")]).file("f", b"").end(),
        archive().pax(&[("size", b"-1")]).file("f", b"").end(),
        archive().pax(&[("uid", b"4294967295")]).file("f", b"").end(),
    ] {
        let jail = Jail::new();
        assert!(jail.apply(&bytes).is_err());
        jail.intact();
    }
}

#[test]
fn a_global_header_changes_no_later_entry() {
    let jail = Jail::new();
    jail.apply(&archive().global_pax(&[("path", b"evil"), ("size", b"0")]).file("good", b"data").end())
        .unwrap();
    assert_eq!(fs::read(jail.root().join("good")).unwrap(), b"data");
    assert!(!jail.root().join("evil").exists());
}

#[test]
fn an_archive_cut_anywhere_is_an_error_or_whole_entries_and_never_a_panic() {
    let bytes = archive().directory("d").file("d/f", &[7; 700]).pax(&[("path", b"p")]).file("x", b"y").end();
    // one root for all: what an earlier cut made is made anew
    let jail = Jail::new();
    for length in 0..bytes.len() {
        let result = jail.apply(&bytes[..length]);
        if length < bytes.len() - 1024 && length % 512 != 0 {
            assert!(result.is_err(), "cut at {length}");
        }
        jail.intact();
    }
}

#[test]
fn a_layer_that_is_not_what_its_configuration_promised_leaves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path().join("images")).unwrap();
    let snapshots = Snapshots::open(directory.path().join("snapshots")).unwrap();
    let image = store.import(archive().file("f", b"x").end().as_slice(), Import::default()).unwrap();
    let mut lying = image.clone();
    lying.config.rootfs.diff_ids[0] = container_image::Digest::of(b"something else");
    let error = snapshots.unpack(&store, &lying, &Limits::default()).unwrap_err();
    assert!(matches!(error, Error::DigestMismatch { .. }), "{error}");
    assert_eq!(snapshots.layers(&lying), None);
    assert_eq!(fs::read_dir(directory.path().join("snapshots/incoming")).unwrap().count(), 0);
}

#[test]
fn a_gzip_bomb_costs_no_memory_and_stops_at_the_limit() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path().join("images")).unwrap();
    let snapshots = Snapshots::open(directory.path().join("snapshots")).unwrap();
    let size = 64u64 << 20;
    let header = archive().raw(b"zeros", b'0', b"", format!("{size:011o}\0").as_bytes(), b"").bytes;
    let mut encoder = flate2::read::GzEncoder::new(
        header.as_slice().chain(std::io::repeat(0).take(size + 1024)),
        flate2::Compression::best(),
    );
    let mut packed = Vec::new();
    encoder.read_to_end(&mut packed).unwrap();
    assert!(packed.len() < 1 << 20);
    let image = store.import(packed.as_slice(), Import::default()).unwrap();
    let limits = Limits { bytes: 1 << 20, ..Limits::default() };
    assert!(matches!(snapshots.unpack(&store, &image, &limits), Err(Error::Limit { what: "bytes", .. })));
    assert_eq!(snapshots.layers(&image), None);
}
