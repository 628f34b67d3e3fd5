//! Volumes that have to be mounted, places for descriptors, and limits.

use std::{
    fs,
    os::{
        fd::AsFd,
        unix::fs::{MetadataExt, symlink},
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use container_volume::{Error, Finding, NewVolume, Places, Usage, Volumes};
use rustix::{
    io::Errno,
    mount::{MountFlags, UnmountFlags, unmount},
};

/// A store that unmounts what a failing test leaves.
struct Store {
    volumes: Volumes,
    dir: tempfile::TempDir,
}

impl Drop for Store {
    fn drop(&mut self) {
        let top = self.dir.path().to_str().unwrap();
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        for line in mounts.lines().rev() {
            let place = line.split(' ').nth(1).unwrap_or_default();
            if place.starts_with(top) {
                let _ = unmount(place, UnmountFlags::DETACH);
            }
        }
    }
}

fn store() -> Store {
    let dir = tempfile::tempdir().unwrap();
    Store { volumes: Volumes::open(dir.path().join("volumes")).unwrap(), dir }
}

fn options(pairs: &[(&str, &str)]) -> NewVolume {
    let options = pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    NewVolume { options, ..NewVolume::default() }
}

fn mounts_below(dir: &Path) -> Vec<String> {
    let top = dir.to_str().unwrap();
    let all = fs::read_to_string("/proc/self/mounts").unwrap();
    all.lines()
        .filter(|line| line.split(' ').nth(1).is_some_and(|p| p.starts_with(top)))
        .map(str::to_owned)
        .collect()
}

#[test]
fn a_tmpfs_volume_is_mounted_once_for_all_and_unmounted_after_the_last() {
    let store = store();
    let volumes = &store.volumes;
    volumes
        .create("mem", options(&[("type", "tmpfs"), ("device", "tmpfs"), ("o", "size=1m,nodev")]))
        .unwrap();
    assert_eq!(volumes.usage("mem").unwrap(), None, "it has no files yet");
    volumes.take("mem", "c1").unwrap();
    let first = volumes.mount("mem", "c1").unwrap();
    fs::write(first.join("file"), "x").unwrap();
    assert_eq!(volumes.mount("mem", "c1").unwrap(), first);
    assert_eq!(volumes.mount("mem", "c2").unwrap(), first);
    assert_eq!(fs::read(first.join("file")).unwrap(), b"x", "the second container has the same files");
    let mounts = mounts_below(store.dir.path());
    assert!(
        mounts.len() == 1 && mounts[0].contains("nodev") && mounts[0].contains("size=1024k"),
        "{mounts:?}"
    );
    assert!(fs::write(first.join("big"), vec![1; 2 << 20]).is_err());
    volumes.unmount("mem", "c1").unwrap();
    volumes.release("mem", "c1").unwrap();
    assert!(matches!(volumes.remove("mem"), Err(Error::InUse { .. })), "c2 has it mounted");
    assert_eq!(volumes.prune(true).unwrap().volumes.len(), 0);
    volumes.unmount("mem", "c2").unwrap();
    volumes.unmount("mem", "c2").unwrap();
    assert!(mounts_below(store.dir.path()).is_empty());
    volumes.remove("mem").unwrap();
}

#[test]
fn a_bind_volume_is_read_only_if_it_says_so_and_its_device_survives_the_removal() {
    let store = store();
    let device = store.dir.path().join("device");
    fs::create_dir(&device).unwrap();
    fs::write(device.join("here"), "").unwrap();
    let bound = options(&[("type", "none"), ("o", "bind,ro"), ("device", device.to_str().unwrap())]);
    store.volumes.create("bound", bound).unwrap();
    let path = store.volumes.mount("bound", "c1").unwrap();
    assert!(path.join("here").exists());
    let error = fs::write(path.join("new"), "").unwrap_err();
    assert_eq!(error.raw_os_error(), Some(Errno::ROFS.raw_os_error()));
    store.volumes.unmount("bound", "c1").unwrap();
    // the mount is there without a note, as after a crash in between
    store.volumes.mount("bound", "c1").unwrap();
    fs::remove_file(store.volumes.dir().join("bound/mounted/c1")).unwrap();
    store.volumes.remove("bound").unwrap();
    assert!(device.join("here").exists(), "a removal reached through the mount");
}

#[test]
fn what_cannot_be_mounted_is_told_in_the_kernels_words_and_leaves_nothing() {
    let store = store();
    let volumes = &store.volumes;
    let none = store.dir.path().join("none");
    for (name, new) in [
        ("nofs", options(&[("type", "dntnone"), ("device", "x")])),
        (
            "nfs",
            options(&[("type", "nfs"), ("device", "127.0.0.1:/x"), ("o", "vers=4,soft,timeo=1,retrans=0")]),
        ),
        ("bad", options(&[("type", "tmpfs"), ("o", "dnt=1")])),
        ("gone", options(&[("o", "bind"), ("device", none.to_str().unwrap())])),
    ] {
        volumes.create(name, new).unwrap();
        let error = volumes.mount(name, "c1").unwrap_err();
        match name {
            "gone" => assert!(matches!(error, Error::BindMissing { .. }), "{error}"),
            _ => assert!(
                std::error::Error::source(&error).is_some() && error.to_string().contains("type="),
                "{error}"
            ),
        }
        assert_eq!(volumes.mounted_by(name).unwrap(), Vec::<String>::new());
        volumes.remove(name).unwrap();
    }
    assert!(mounts_below(store.dir.path()).is_empty());
    // our own state is no device either
    volumes.create("self", options(&[("o", "bind"), ("device", volumes.dir().to_str().unwrap())])).unwrap();
    assert!(matches!(volumes.mount("self", "c1"), Err(Error::BindForbidden { .. })));
}

#[test]
fn a_mount_of_a_container_that_is_no_more_is_found_and_ended() {
    let store = store();
    store.volumes.create("mem", options(&[("type", "tmpfs")])).unwrap();
    store.volumes.mount("mem", "dead").unwrap();
    let findings = store.volumes.check(&["live"]).unwrap();
    assert!(matches!(findings.as_slice(), [Finding::StaleMount { .. }]), "{findings:?}");
    assert!(store.volumes.repair(&findings[0]).unwrap());
    assert!(mounts_below(store.dir.path()).is_empty() && store.volumes.check(&[]).unwrap().is_empty());
}

#[test]
fn a_tmpfs_volume_is_filled_from_an_image_too() {
    let store = store();
    let image = store.dir.path().join("image");
    fs::create_dir_all(image.join("data/sub")).unwrap();
    fs::write(image.join("data/sub/file"), "x").unwrap();
    let root = fs::File::open(&image).unwrap();
    store.volumes.create("mem", options(&[("type", "tmpfs")])).unwrap();
    assert!(!store.volumes.fill("mem", root.as_fd(), Path::new("/data")).unwrap(), "it is not mounted");
    let path = store.volumes.mount("mem", "c1").unwrap();
    assert!(store.volumes.fill("mem", root.as_fd(), Path::new("/data")).unwrap());
    assert_eq!(fs::read(path.join("sub/file")).unwrap(), b"x");
}

#[test]
fn attack_25_a_place_shows_what_was_opened_whatever_becomes_of_the_path() {
    let store = store();
    let volume = store.volumes.create("data", NewVolume::default()).unwrap();
    let sub = volume.mountpoint.join("sub");
    fs::create_dir(&sub).unwrap();
    fs::write(sub.join("mine"), "").unwrap();
    fs::write(volume.mountpoint.join("file"), "text").unwrap();
    let places = Places::new(store.dir.path().join("places/c1"));
    let held = store.volumes.source("data", Some(Path::new("sub"))).unwrap();
    // the container that has the volume swaps the directory for a link to the host
    fs::rename(&sub, volume.mountpoint.join("moved")).unwrap();
    symlink("/etc", &sub).unwrap();
    let path = places.bind(held.as_fd(), false, MountFlags::empty()).unwrap();
    assert!(path.join("mine").exists() && !path.join("passwd").exists());
    let file = store.volumes.source("data", Some(Path::new("file"))).unwrap();
    let file = places.bind(file.as_fd(), false, MountFlags::RDONLY).unwrap();
    assert_eq!(fs::read(&file).unwrap(), b"text");
    assert!(fs::write(&file, "").is_err(), "it is read-only");
    places.clear().unwrap();
    places.clear().unwrap();
    assert!(mounts_below(store.dir.path()).is_empty() && !places.dir().exists());
    assert!(volume.mountpoint.join("moved/mine").exists(), "clearing reached through a mount");
}

#[test]
fn clearing_places_leaves_the_mounts_below_a_shared_source_alone() {
    let store = store();
    let source = store.dir.path().join("source");
    let inner = source.join("inner");
    fs::create_dir_all(&inner).unwrap();
    rustix::mount::mount("dnt", &source, "tmpfs", MountFlags::empty(), None::<&std::ffi::CStr>).unwrap();
    rustix::mount::mount_change(&source, rustix::mount::MountPropagationFlags::SHARED).unwrap();
    fs::create_dir(&inner).unwrap();
    rustix::mount::mount("dnt", &inner, "tmpfs", MountFlags::empty(), None::<&std::ffi::CStr>).unwrap();
    fs::write(inner.join("file"), "").unwrap();
    let places = Places::new(store.dir.path().join("places"));
    let path = places.bind(fs::File::open(&source).unwrap().as_fd(), true, MountFlags::empty()).unwrap();
    assert!(path.join("inner/file").exists());
    places.clear().unwrap();
    assert!(inner.join("file").exists(), "unmounting the copy unmounted the original");
}

#[test]
fn a_volume_is_duplicated_and_measured() {
    let store = store();
    let volume = store.volumes.create("data", NewVolume::default()).unwrap();
    fs::create_dir(volume.mountpoint.join("sub")).unwrap();
    fs::write(volume.mountpoint.join("sub/file"), vec![1; 100_000]).unwrap();
    fs::hard_link(volume.mountpoint.join("sub/file"), volume.mountpoint.join("other")).unwrap();
    let usage = store.volumes.usage("data").unwrap().unwrap();
    assert!(usage.files == 3 && (100_000..200_000).contains(&usage.bytes), "{usage:?}");
    let copy = store.volumes.duplicate("data", "copy", NewVolume::default()).unwrap();
    assert_eq!(store.volumes.usage("copy").unwrap(), Some(Usage { ..usage }));
    let (one, two) = (copy.mountpoint.join("sub/file"), copy.mountpoint.join("other"));
    assert_eq!(fs::metadata(one).unwrap().ino(), fs::metadata(two).unwrap().ino(), "hard links are kept");
    assert!(matches!(
        store.volumes.duplicate("data", "copy", NewVolume::default()),
        Err(Error::Exists { .. })
    ));
    assert!(matches!(
        store.volumes.duplicate("none", "x2", NewVolume::default()),
        Err(Error::NotFound { .. })
    ));
    assert!(store.volumes.check(&[]).unwrap().is_empty());
}

/// Whether CAP_SYS_RESOURCE, bit 24, is there.
fn has_every_right() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:\t")).unwrap();
    u64::from_str_radix(line, 16).unwrap() & (1 << 24) != 0
}

/// An ext4 image with project quotas, mounted by loop.
fn quota_disk(dir: &Path) -> Option<PathBuf> {
    let (image, place) = (dir.join("disk"), dir.join("mounted"));
    fs::create_dir(&place).ok()?;
    fs::File::create(&image).ok()?.set_len(64 << 20).ok()?;
    let run = |program: &str, arguments: &[&str]| {
        Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .is_ok_and(|out| out.status.success())
    };
    let (image, place_text) = (image.to_str()?, place.to_str()?);
    let done = run("mkfs.ext4", &["-q", "-O", "quota,project", "-E", "quotatype=prjquota", image])
        && run("mount", &["-o", "loop,prjquota", image, place_text]);
    done.then_some(place)
}

#[test]
fn a_size_is_a_limit_where_the_file_system_has_them_and_an_error_elsewhere() {
    let store = store();
    let sized = || options(&[("size", "1m")]);
    let plain = store.volumes.create("small", sized());
    match plain {
        Err(Error::Quota { reason, .. }) => {
            assert!(reason.contains("quota") || reason.contains("project"));
        }
        Ok(_) => eprintln!("the file system of the temporary directory has project quotas"),
        Err(e) => panic!("{e}"),
    }
    let Some(disk) = quota_disk(store.dir.path()) else {
        eprintln!("skipped: no ext4 with project quotas can be made and mounted here");
        return;
    };
    let volumes = Volumes::open(disk.join("volumes")).unwrap();
    let volume = volumes.create("small", sized()).unwrap();
    volumes.create("free", NewVolume::default()).unwrap();
    let fill =
        |path: &Path| fs::write(path, vec![1; 2 << 20]).and_then(|()| fs::File::open(path)?.sync_all());
    let limited = fill(&volume.mountpoint.join("big"));
    if has_every_right() {
        eprintln!("skipped: CAP_SYS_RESOURCE is above every limit");
        return;
    }
    assert!(limited.is_err(), "the limit does not hold");
    let image = store.dir.path().join("image");
    fs::create_dir(&image).unwrap();
    fill(&image.join("big")).unwrap();
    let root = fs::File::open(&image).unwrap();
    fs::remove_file(volume.mountpoint.join("big")).unwrap();
    assert!(matches!(volumes.fill("small", root.as_fd(), Path::new("/")), Err(Error::Fill { .. })));
    fs::write(image.join("big"), vec![1; 1000]).unwrap();
    assert!(volumes.fill("small", root.as_fd(), Path::new("/")).unwrap());
    assert!(fill(&volume.mountpoint.join("more")).is_err(), "the filled directory has the limit too");
    fill(&volumes.inspect("free").unwrap().mountpoint.join("big")).unwrap();
}
