//! Volumes on disk, with several processes and crashes.

use std::{
    collections::BTreeMap,
    fs,
    os::{
        fd::AsFd,
        unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink},
    },
    path::Path,
    process::{Command, Stdio},
};

use container_volume::{Error, Finding, NewVolume, Volumes};
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Timespec, Timestamps, XattrFlags};

fn store() -> (tempfile::TempDir, Volumes) {
    let dir = tempfile::tempdir().unwrap();
    let volumes = Volumes::open(dir.path().join("volumes")).unwrap();
    (dir, volumes)
}

fn options(pairs: &[(&str, &str)]) -> NewVolume {
    let options = pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    NewVolume { options, ..NewVolume::default() }
}

fn root(path: &Path) -> fs::File {
    fs::File::open(path).unwrap()
}

#[test]
fn a_volume_is_made_listed_inspected_and_removed() {
    let (_dir, volumes) = store();
    let labels = BTreeMap::from([("a".to_owned(), "b\"\n".to_owned())]);
    let made = volumes.create("data", NewVolume { labels: labels.clone(), ..NewVolume::default() }).unwrap();
    assert_eq!(made.labels, labels);
    assert_eq!(volumes.inspect("data").unwrap(), made);
    assert_eq!(volumes.create("data", NewVolume::default()).unwrap(), made, "again is the same");
    fs::write(made.mountpoint.join("file"), "x").unwrap();
    let anonymous = volumes.create_anonymous(NewVolume::default()).unwrap();
    assert!(
        anonymous.anonymous
            && anonymous.name.len() == 64
            && anonymous.name.bytes().all(|b| b.is_ascii_hexdigit())
    );
    assert_eq!(volumes.list().unwrap().len(), 2);
    volumes.remove("data").unwrap();
    assert!(matches!(volumes.remove("data"), Err(Error::NotFound { .. })));
    assert!(!made.mountpoint.exists());
    assert_eq!(volumes.list().unwrap(), [anonymous]);
}

#[test]
fn a_volume_in_use_is_not_removed_and_its_users_are_named() {
    let (_dir, volumes) = store();
    volumes.create("data", NewVolume::default()).unwrap();
    volumes.take("data", "c2").unwrap();
    volumes.take("data", "c1").unwrap();
    volumes.take("data", "c1").unwrap();
    let error = volumes.remove("data").unwrap_err();
    assert_eq!(error.to_string(), "volume data is in use by c1, c2");
    for container in ["c1", "c2", "c2"] {
        volumes.release("data", container).unwrap();
    }
    volumes.remove("data").unwrap();
    volumes.release("data", "c1").unwrap();
    assert!(matches!(volumes.take("data", "c1"), Err(Error::NotFound { .. })));
}

#[test]
fn prune_takes_anonymous_ones_or_all_that_are_unused() {
    let (_dir, volumes) = store();
    for name in ["named", "used"] {
        volumes.create(name, NewVolume::default()).unwrap();
    }
    volumes.take("used", "c1").unwrap();
    let anonymous = volumes.create_anonymous(NewVolume::default()).unwrap();
    fs::write(anonymous.mountpoint.join("file"), vec![1; 100_000]).unwrap();
    let pruned = volumes.prune(false).unwrap();
    assert_eq!(pruned.volumes, [anonymous.name]);
    assert!(pruned.bytes >= 100_000, "{}", pruned.bytes);
    assert_eq!(volumes.prune(true).unwrap().volumes, ["named"]);
    assert_eq!(volumes.list().unwrap().len(), 1);
}

#[test]
fn driver_options_are_a_bind_mount_or_refused_by_name() {
    let (dir, volumes) = store();
    let device = dir.path().join("device");
    fs::create_dir(&device).unwrap();
    fs::write(device.join("here"), "").unwrap();
    let bound = options(&[("type", "none"), ("o", "bind"), ("device", device.to_str().unwrap())]);
    volumes.create("bound", bound.clone()).unwrap();
    let fd = volumes.source("bound", None).unwrap();
    assert!(rustix::fs::statat(&fd, "here", AtFlags::empty()).is_ok());
    assert!(!volumes.fill("bound", root(dir.path()).as_fd(), Path::new("/")).unwrap());
    assert!(matches!(volumes.create("bound", NewVolume::default()), Err(Error::Exists { .. })));
    for (bad, what) in [
        (options(&[("type", "sysfs")]), "type=sysfs"),
        (options(&[("o", "bind,uid=1"), ("device", "/x")]), "o=bind,uid=1"),
        (options(&[("device", "x"), ("o", "bind")]), "device=x"),
        (options(&[("device", "/x")]), "device=/x"),
        (options(&[("color", "red")]), "color=red"),
    ] {
        let error = volumes.create("bad", bad).unwrap_err().to_string();
        assert!(error.contains(what), "{error}");
    }
    volumes.remove("bound").unwrap();
    assert!(device.join("here").exists());
}

#[test]
fn an_empty_volume_is_filled_with_everything_a_directory_of_the_image_has() {
    let (dir, volumes) = store();
    let image = dir.path().join("image");
    let at = image.join("var/www");
    fs::create_dir_all(at.join("sub/deep")).unwrap();
    fs::write(at.join("file"), "content").unwrap();
    fs::set_permissions(at.join("file"), fs::Permissions::from_mode(0o4751)).unwrap();
    std::os::unix::fs::chown(at.join("file"), Some(1234), Some(567)).unwrap();
    fs::set_permissions(at.join("file"), fs::Permissions::from_mode(0o4751)).unwrap();
    fs::hard_link(at.join("file"), at.join("sub/deep/twin")).unwrap();
    symlink("/etc/passwd", at.join("absolute")).unwrap();
    symlink("../../../../..", at.join("up")).unwrap();
    std::os::unix::fs::lchown(at.join("up"), Some(7), Some(8)).unwrap();
    rustix::fs::mknodat(CWD, at.join("fifo"), FileType::Fifo, Mode::from_raw_mode(0o622), 0).unwrap();
    rustix::fs::mknodat(
        CWD,
        at.join("null"),
        FileType::CharacterDevice,
        Mode::from_raw_mode(0o666),
        rustix::fs::makedev(1, 3),
    )
    .unwrap();
    let sparse = fs::File::create(at.join("sparse")).unwrap();
    sparse.set_len(64 << 20).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&sparse, b"end", 60 << 20).unwrap();
    drop(sparse);
    let with_attributes =
        rustix::fs::setxattr(at.join("file"), "user.dnt", b"value", XattrFlags::empty()).is_ok();
    rustix::fs::setxattr(&at, "trusted.overlay.opaque", b"y", XattrFlags::empty()).unwrap();
    let then = Timespec { tv_sec: 1_000_000_000, tv_nsec: 123_456_789 };
    let times = Timestamps { last_access: then, last_modification: then };
    fs::set_permissions(&at, fs::Permissions::from_mode(0o1770)).unwrap();
    for path in ["file", "up", "sub", "fifo", "sparse", ""] {
        rustix::fs::utimensat(CWD, at.join(path), &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
    }

    let volume = volumes.create("www", NewVolume::default()).unwrap();
    volumes.take("www", "c1").unwrap();
    assert!(volumes.fill("www", root(&image).as_fd(), Path::new("/var/www")).unwrap());
    let to = &volume.mountpoint;
    assert_eq!(fs::read_to_string(to.join("file")).unwrap(), "content");
    for path in ["", "file", "sub", "sub/deep", "sub/deep/twin", "absolute", "up", "fifo", "null", "sparse"] {
        let (a, b) =
            (fs::symlink_metadata(at.join(path)).unwrap(), fs::symlink_metadata(to.join(path)).unwrap());
        assert_eq!(
            (a.mode(), a.uid(), a.gid(), a.size(), a.rdev()),
            (b.mode(), b.uid(), b.gid(), b.size(), b.rdev()),
            "{path}"
        );
        assert_eq!((a.mtime(), a.mtime_nsec()), (b.mtime(), b.mtime_nsec()), "{path}");
        assert_eq!(a.nlink(), b.nlink(), "{path}");
    }
    assert_eq!(
        fs::metadata(to.join("file")).unwrap().ino(),
        fs::metadata(to.join("sub/deep/twin")).unwrap().ino()
    );
    assert_eq!(fs::read_link(to.join("absolute")).unwrap(), Path::new("/etc/passwd"));
    assert!(fs::symlink_metadata(to.join("fifo")).unwrap().file_type().is_fifo());
    assert!(fs::metadata(to.join("sparse")).unwrap().blocks() * 512 < 1 << 20, "holes were filled");
    let mut end = [0; 3];
    std::os::unix::fs::FileExt::read_exact_at(
        &fs::File::open(to.join("sparse")).unwrap(),
        &mut end,
        60 << 20,
    )
    .unwrap();
    assert_eq!(&end, b"end");
    let mut value = [0; 16];
    if with_attributes {
        assert_eq!(rustix::fs::getxattr(to.join("file"), "user.dnt", &mut value).unwrap(), 5);
    }
    assert!(rustix::fs::getxattr(to, "trusted.overlay.opaque", &mut value).is_err());
    // only once, and never over files
    fs::write(at.join("late"), "").unwrap();
    assert!(!volumes.fill("www", root(&image).as_fd(), Path::new("/var/www")).unwrap());
    assert!(!to.join("late").exists());
    assert_eq!(volumes.check(&["c1"]).unwrap(), []);
}

#[test]
fn a_volume_is_not_filled_where_the_image_has_no_directory_or_another_container_is() {
    let (dir, volumes) = store();
    let image = dir.path().join("image");
    fs::create_dir_all(image.join("data")).unwrap();
    fs::write(image.join("data/file"), "").unwrap();
    volumes.create("vv", NewVolume::default()).unwrap();
    for path in ["/none", "/data/file", "/data/file/x"] {
        assert!(!volumes.fill("vv", root(&image).as_fd(), Path::new(path)).unwrap(), "{path}");
    }
    volumes.take("vv", "c1").unwrap();
    volumes.take("vv", "c2").unwrap();
    assert!(!volumes.fill("vv", root(&image).as_fd(), Path::new("/data")).unwrap());
    volumes.release("vv", "c2").unwrap();
    assert!(volumes.fill("vv", root(&image).as_fd(), Path::new("/data")).unwrap());
}

#[test]
fn what_a_crash_leaves_is_invisible_found_and_repaired() {
    let (_dir, volumes) = store();
    volumes.create("data", NewVolume::default()).unwrap();
    volumes.take("data", "dead").unwrap();
    volumes.take("data", "live").unwrap();
    for half in [".new-other/_data", ".gone-0123/_data/files", "data/.fill/sub"] {
        fs::create_dir_all(volumes.dir().join(half)).unwrap();
    }
    fs::create_dir(volumes.dir().join("foreign")).unwrap();
    assert_eq!(volumes.list().unwrap().len(), 1);
    let findings = volumes.check(&["live"]).unwrap();
    assert_eq!(findings.len(), 5, "{findings:?}");
    for finding in &findings {
        let repaired = volumes.repair(finding).unwrap();
        assert_eq!(repaired, !matches!(finding, Finding::NoVolume { .. }));
    }
    assert!(matches!(volumes.check(&["live"]).unwrap().as_slice(), [Finding::NoVolume { .. }]));
    assert!(volumes.dir().join("foreign").exists());
    assert_eq!(volumes.users("data").unwrap(), ["live"]);
    let outside = Finding::Remnant { path: "/tmp".into() };
    assert!(!volumes.repair(&outside).unwrap());
    volumes.create("other", NewVolume::default()).unwrap();
}

/// Not a test by itself: the process that is killed below.
#[test]
fn the_victim_of_the_test_below() {
    let Ok(dir) = std::env::var("DNT_VOLUMES") else { return };
    let volumes = Volumes::open(Path::new(&dir).join("volumes")).unwrap();
    let image = root(&Path::new(&dir).join("image"));
    loop {
        volumes.create("vv", NewVolume::default()).unwrap();
        volumes.take("vv", "c1").unwrap();
        volumes.fill("vv", image.as_fd(), Path::new("/")).unwrap();
        volumes.release("vv", "c1").unwrap();
        volumes.remove("vv").unwrap();
    }
}

#[test]
fn killed_at_any_moment_a_process_leaves_whole_volumes_or_none() {
    let (dir, volumes) = store();
    let image = dir.path().join("image");
    fs::create_dir(&image).unwrap();
    for n in 0..20 {
        fs::write(image.join(n.to_string()), "x").unwrap();
    }
    volumes.create("kept", NewVolume::default()).unwrap();
    for round in 0..40_u64 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "the_victim_of_the_test_below", "--nocapture"])
            .env("DNT_VOLUMES", dir.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let begun = std::time::Instant::now();
        while volumes.inspect("vv").is_err() && begun.elapsed().as_secs() < 5 {
            std::thread::yield_now();
        }
        let until = std::time::Instant::now() + std::time::Duration::from_micros(round * 150);
        while std::time::Instant::now() < until {
            std::hint::spin_loop();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        for volume in volumes.list().unwrap() {
            let files = fs::read_dir(&volume.mountpoint).unwrap().count();
            assert!(files == 0 || files == 20, "round {round}: {} has {files} files", volume.name);
        }
        for finding in volumes.check(&[]).unwrap() {
            assert!(volumes.repair(&finding).unwrap(), "{finding}");
        }
        assert_eq!(volumes.check(&[]).unwrap(), []);
        volumes.prune(true).unwrap();
        volumes.create("kept", NewVolume::default()).unwrap();
    }
}

#[test]
fn several_processes_make_and_remove_the_same_volume() {
    let (_dir, volumes) = store();
    let threads: Vec<_> = (0..6)
        .map(|n| {
            let volumes = volumes.clone();
            std::thread::spawn(move || {
                for _ in 0..20 {
                    volumes.create("same", NewVolume::default()).unwrap();
                    let user = format!("user{n}");
                    match volumes.take("same", &user) {
                        Ok(()) => {
                            assert!(matches!(volumes.remove("same"), Err(Error::InUse { .. })));
                            volumes.release("same", &user).unwrap();
                        }
                        Err(Error::NotFound { .. }) => {}
                        Err(e) => panic!("{e}"),
                    }
                    match volumes.remove("same") {
                        Ok(()) | Err(Error::NotFound { .. } | Error::InUse { .. }) => {}
                        Err(e) => panic!("{e}"),
                    }
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    assert_eq!(volumes.check(&[]).unwrap(), []);
}

#[test]
fn a_source_is_a_path_descriptor_of_the_volume() {
    let (_dir, volumes) = store();
    let volume = volumes.create("data", NewVolume::default()).unwrap();
    fs::create_dir(volume.mountpoint.join("sub")).unwrap();
    let fd = volumes.source("data", Some(Path::new("sub"))).unwrap();
    assert!(rustix::fs::fcntl_getfl(&fd).unwrap().contains(OFlags::PATH));
    assert_eq!(
        rustix::fs::fstat(&fd).unwrap().st_ino,
        fs::metadata(volume.mountpoint.join("sub")).unwrap().ino()
    );
    assert!(matches!(volumes.source("data", Some(Path::new("none"))), Err(Error::Subpath { .. })));
}
