//! Attacks 23 (volumes filled through links), 25 and 28.

use std::{
    fs,
    os::{
        fd::AsFd,
        unix::fs::{MetadataExt, symlink},
    },
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use container_volume::{Error, NewVolume, SourceKind, Volumes, open_bind};
use rustix::fs::{CWD, FileType, Mode};

fn store() -> (tempfile::TempDir, Volumes) {
    let dir = tempfile::tempdir().unwrap();
    let volumes = Volumes::open(dir.path().join("volumes")).unwrap();
    (dir, volumes)
}

#[test]
fn attack_23_an_images_links_never_fill_a_volume_from_the_host() {
    let (dir, volumes) = store();
    let secret = dir.path().join("secret");
    fs::create_dir(&secret).unwrap();
    fs::write(secret.join("key"), "secret").unwrap();
    let image = dir.path().join("image");
    fs::create_dir_all(image.join("real")).unwrap();
    symlink(&secret, image.join("absolute")).unwrap();
    symlink("../secret", image.join("relative")).unwrap();
    symlink("/proc/self/root", image.join("magic")).unwrap();
    symlink("/proc/self/cwd", image.join("real/cwd")).unwrap();
    symlink("loop", image.join("loop")).unwrap();
    let root = fs::File::open(&image).unwrap();
    let inside = dir.path().strip_prefix("/").unwrap().join("secret");
    for path in [
        "/absolute",
        "/relative",
        "/../secret",
        "/magic",
        "/magic/etc",
        "/loop",
        "/real/../../secret",
        "/real/cwd",
    ] {
        volumes.create("vv", NewVolume::default()).unwrap();
        let filled = volumes.fill("vv", root.as_fd(), Path::new(path)).unwrap();
        let files = fs::read_dir(volumes.inspect("vv").unwrap().mountpoint).unwrap().count();
        assert!(!filled && files == 0, "{path}");
        volumes.remove("vv").unwrap();
    }
    // the same link, where the image has the directory itself, means the image's
    fs::create_dir_all(image.join(&inside)).unwrap();
    fs::write(image.join(&inside).join("own"), "").unwrap();
    let volume = volumes.create("vv", NewVolume::default()).unwrap();
    assert!(volumes.fill("vv", root.as_fd(), Path::new("/absolute")).unwrap());
    assert!(volume.mountpoint.join("own").exists() && !volume.mountpoint.join("key").exists());
}

#[test]
fn attack_23_a_tree_that_is_swapped_for_links_while_it_is_copied_leads_nowhere() {
    let (dir, volumes) = store();
    let secret = dir.path().join("secret");
    fs::create_dir(&secret).unwrap();
    fs::write(secret.join("key"), "secret").unwrap();
    let image = dir.path().join("image");
    let data = image.join("data");
    fs::create_dir_all(data.join("sub")).unwrap();
    fs::write(data.join("sub/key"), "harmless").unwrap();
    fs::write(data.join("file"), "harmless").unwrap();
    symlink(&secret, image.join("evil")).unwrap();
    symlink(secret.join("key"), image.join("evil-file")).unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let (flag, place) = (stop.clone(), image.clone());
    let swapper = std::thread::spawn(move || {
        let exchange = |a: &str, b: &str| {
            rustix::fs::renameat_with(
                CWD,
                place.join(a),
                CWD,
                place.join(b),
                rustix::fs::RenameFlags::EXCHANGE,
            )
            .unwrap();
        };
        while !flag.load(Ordering::Relaxed) {
            exchange("data/sub", "evil");
            exchange("data/file", "evil-file");
        }
    });
    let root = fs::File::open(&image).unwrap();
    for _ in 0..200 {
        let volume = volumes.create("vv", NewVolume::default()).unwrap();
        // it may fail, as what it looks at changes; it may copy a link as a link; it may not follow one
        let _ = volumes.fill("vv", root.as_fd(), Path::new("/data"));
        for path in ["sub/key", "file"] {
            let dir_is_link =
                fs::symlink_metadata(volume.mountpoint.join("sub")).is_ok_and(|m| m.is_symlink());
            let path = volume.mountpoint.join(path);
            let is_link = fs::symlink_metadata(&path).is_ok_and(|m| m.is_symlink());
            let through_link = is_link || (dir_is_link && path.ends_with("sub/key"));
            if !through_link {
                assert_ne!(fs::read_to_string(&path).unwrap_or_default(), "secret", "{}", path.display());
            }
        }
        volumes.remove("vv").unwrap();
    }
    stop.store(true, Ordering::Relaxed);
    swapper.join().unwrap();
    assert_eq!(fs::read_to_string(secret.join("key")).unwrap(), "secret");
}

#[test]
fn attack_25_a_subpath_stays_inside_its_volume() {
    let (dir, volumes) = store();
    let volume = volumes.create("data", NewVolume::default()).unwrap();
    fs::create_dir(volume.mountpoint.join("sub")).unwrap();
    symlink("/", volume.mountpoint.join("root")).unwrap();
    symlink("../../../..", volume.mountpoint.join("sub/up")).unwrap();
    symlink("/proc/self/cwd", volume.mountpoint.join("magic")).unwrap();
    symlink(dir.path(), volume.mountpoint.join("out")).unwrap();
    let top = fs::metadata(&volume.mountpoint).unwrap().ino();
    for path in ["root", "sub/up", "..", "../..", "sub/../../..", "/", "root/root"] {
        let fd = volumes.source("data", Some(Path::new(path))).unwrap();
        assert_eq!(rustix::fs::fstat(&fd).unwrap().st_ino, top, "{path} leads outside");
    }
    for path in ["magic", "out", "root/etc"] {
        assert!(
            matches!(volumes.source("data", Some(Path::new(path))), Err(Error::Subpath { .. })),
            "{path}"
        );
    }
}

#[test]
fn attack_25_bind_sources_of_every_kind_are_opened_without_harm() {
    let (dir, volumes) = store();
    let at = |name: &str| dir.path().join(name);
    fs::create_dir(at("dir")).unwrap();
    fs::write(at("file"), "").unwrap();
    symlink(at("dir"), at("link")).unwrap();
    symlink(at("none"), at("dangling")).unwrap();
    rustix::fs::mknodat(CWD, at("fifo"), FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
    let state = volumes.dir();
    let open = |path: &Path, create| open_bind(path, create, &[state]);
    assert_eq!(open(&at("dir"), false).unwrap().kind, SourceKind::Directory);
    assert_eq!(open(&at("link"), false).unwrap().path, at("dir").canonicalize().unwrap());
    // a FIFO without a writer would block whoever opens it
    assert_eq!(open(&at("fifo"), false).unwrap().kind, SourceKind::File);
    assert_eq!(open(Path::new("/dev/null"), false).unwrap().kind, SourceKind::File);
    assert_eq!(open(Path::new("/"), false).unwrap().kind, SourceKind::Directory);
    for (missing, create) in [("none", false), ("dangling", false), ("a/b", false)] {
        assert!(matches!(open(&at(missing), create), Err(Error::BindMissing { .. })), "{missing}");
    }
    assert!(open(&at("file/"), false).is_err() && open(&at("file/x"), true).is_err());
    assert!(open(&at("dangling"), true).is_err());
    assert_eq!(open(&at("made/deep"), true).unwrap().kind, SourceKind::Directory);
    assert!(open(Path::new("relative"), true).is_err());
    // what was opened stays, whatever becomes of the path
    let held = open(&at("dir"), false).unwrap();
    let ino = rustix::fs::fstat(&held.fd).unwrap().st_ino;
    fs::remove_dir(at("dir")).unwrap();
    symlink("/etc", at("dir")).unwrap();
    assert_eq!(rustix::fs::fstat(&held.fd).unwrap().st_ino, ino);
}

#[test]
fn attack_25_our_own_state_is_given_to_nobody() {
    let (dir, volumes) = store();
    let volume = volumes.create("data", NewVolume::default()).unwrap();
    symlink(volumes.dir(), dir.path().join("alias")).unwrap();
    let deep = dir.path().join("volumes/data/_data");
    for path in [
        volumes.dir(),
        &deep,
        &dir.path().join("alias"),
        &dir.path().join("alias/data"),
        &dir.path().join("x/../volumes"),
        &volume.mountpoint,
    ] {
        if !path.exists() {
            fs::create_dir_all(dir.path().join("x")).unwrap();
        }
        assert!(
            matches!(open_bind(path, false, &[volumes.dir()]), Err(Error::BindForbidden { .. })),
            "{}",
            path.display()
        );
    }
    assert!(open_bind(dir.path(), false, &[volumes.dir()]).is_ok());
}

#[test]
fn attack_28_names_that_are_paths_or_flags_are_refused() {
    let (_dir, volumes) = store();
    volumes.create("data", NewVolume::default()).unwrap();
    let long = "x".repeat(65_536);
    for name in [
        "",
        ".",
        "..",
        "../x",
        "/etc",
        "a/b",
        "-rf",
        ".lock",
        ".new-x",
        "a\nb",
        "a\0b",
        "a b",
        "é1",
        "x\u{202e}y",
        &long,
    ] {
        assert!(matches!(volumes.create(name, NewVolume::default()), Err(Error::Name { .. })), "{name:.20?}");
        assert!(matches!(volumes.inspect(name), Err(Error::Name { .. })));
        assert!(volumes.remove(name).is_err() && volumes.source(name, None).is_err());
        assert!(volumes.take("data", name).is_err() && volumes.release("data", name).is_err());
    }
    assert_eq!(volumes.users("data").unwrap(), [""; 0]);
    assert_eq!(volumes.list().unwrap().len(), 1);
}
