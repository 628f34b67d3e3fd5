//! Backup and restore: fidelity with GNU tar on the other side, and hostile archives (attacks 1 to 3, 6 and 7).

use std::{
    fs,
    io::Write,
    os::unix::fs::{MetadataExt, symlink},
    path::Path,
    process::{Command, Stdio},
};

use container_volume::{Error, NewVolume, Volumes};
use rustix::fs::{CWD, FileType, Mode, XattrFlags};

fn store() -> (tempfile::TempDir, Volumes) {
    let dir = tempfile::tempdir().unwrap();
    let volumes = Volumes::open(dir.path().join("volumes")).unwrap();
    (dir, volumes)
}

/// Everything there is to know of a tree, a line for each name.
fn listing(top: &Path) -> String {
    let script = "find . -printf '%p %y %#m %U %G %s %T@ %n %l\\n' | sed 's/^\\(.* d [^ ]* [^ ]* [^ ]*\\) [0-9]*/\\1/' | sort; \
                  find . -type f -exec sha256sum {} + | sort";
    let out = Command::new("sh").args(["-c", script]).current_dir(top).output().unwrap();
    assert!(out.status.success());
    String::from_utf8(out.stdout).unwrap()
}

fn fill(top: &Path) {
    fs::create_dir_all(top.join("a/b")).unwrap();
    fs::write(top.join("a/file"), vec![7; 70_001]).unwrap();
    fs::hard_link(top.join("a/file"), top.join("a/b/linked")).unwrap();
    symlink("/nowhere", top.join("a/link")).unwrap();
    fs::write(top.join(format!("{}\u{e4}", "n".repeat(200))), "long").unwrap();
    fs::write(top.join("odd"), "").unwrap();
    rustix::fs::chownat(
        CWD,
        top.join("odd"),
        Some(rustix::fs::Uid::from_raw(3_000_000)),
        Some(rustix::fs::Gid::from_raw(12)),
        rustix::fs::AtFlags::empty(),
    )
    .unwrap();
    rustix::fs::chmod(top.join("odd"), Mode::from_raw_mode(0o4751)).unwrap();
    let _ = rustix::fs::setxattr(top.join("odd"), "user.note", b"v\0\n", XattrFlags::empty());
    rustix::fs::mknodat(CWD, top.join("fifo"), FileType::Fifo, Mode::from_raw_mode(0o620), 0).unwrap();
    rustix::fs::chmod(top.join("a/b"), Mode::from_raw_mode(0o500)).unwrap();
    fs::File::open(top.join("a"))
        .unwrap()
        .set_modified(std::time::UNIX_EPOCH + std::time::Duration::new(1_000_000, 5))
        .unwrap();
}

#[test]
fn what_was_backed_up_is_restored_with_everything_and_gnu_tar_reads_it() {
    let (dir, volumes) = store();
    let from = volumes.create("from", NewVolume::default()).unwrap();
    fill(&from.mountpoint);
    let mut archive = Vec::new();
    volumes.backup("from", &mut archive).unwrap();
    let to = volumes.create("to", NewVolume::default()).unwrap();
    let restored = volumes.restore("to", archive.as_slice()).unwrap();
    assert!(restored.entries == 9 && restored.bytes == 70_005, "{restored:?}");
    assert_eq!(listing(&to.mountpoint), listing(&from.mountpoint));
    let mut value = [0; 8];
    if let Ok(length) = rustix::fs::getxattr(from.mountpoint.join("odd"), "user.note", &mut value) {
        let mut again = [0; 8];
        assert_eq!(rustix::fs::getxattr(to.mountpoint.join("odd"), "user.note", &mut again).unwrap(), length);
        assert_eq!(again, value);
    }
    // the other side
    let other = dir.path().join("other");
    fs::create_dir(&other).unwrap();
    let mut tar = Command::new("tar")
        .args(["--numeric-owner", "-xpf", "-", "-C"])
        .arg(&other)
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    tar.stdin.take().unwrap().write_all(&archive).unwrap();
    assert!(tar.wait().unwrap().success());
    assert_eq!(listing(&other), listing(&from.mountpoint));
    for format in ["pax", "gnu"] {
        let out = Command::new("tar")
            .args(["--format", format, "-cf", "-", "-C"])
            .arg(&other)
            .arg(".")
            .output()
            .unwrap();
        let name = format!("by-{format}");
        let by = volumes.create(&name, NewVolume::default()).unwrap();
        volumes.restore(&name, out.stdout.as_slice()).unwrap();
        if format == "pax" {
            assert_eq!(listing(&by.mountpoint), listing(&from.mountpoint));
        } else {
            assert_eq!(listing(&by.mountpoint).lines().count(), listing(&from.mountpoint).lines().count());
        }
    }
    assert!(matches!(volumes.restore("to", archive.as_slice()), Err(Error::NotEmpty { .. })));
    volumes.create("used", NewVolume::default()).unwrap();
    volumes.take("used", "c1").unwrap();
    assert!(matches!(volumes.restore("used", archive.as_slice()), Err(Error::InUse { .. })));
}

/// A header by hand, so that it may lie.
fn entry(path: &str, kind: u8, link: &str, size: u64, data: &[u8]) -> Vec<u8> {
    let mut block = vec![0_u8; 512];
    let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &path.as_bytes()[..path.len().min(100)]);
    put(100, b"0000644\x000000000\x000000000\0");
    put(124, format!("{size:011o}").as_bytes());
    put(136, b"00000000000");
    put(148, b"        ");
    put(156, &[kind]);
    put(157, link.as_bytes());
    put(257, b"ustar\x0000");
    let sum: u32 = block.iter().map(|b| u32::from(*b)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block.extend_from_slice(data);
    block.resize(block.len().div_ceil(512) * 512, 0);
    block
}

#[test]
fn attack_1_to_3_an_archive_never_leaves_its_volume_and_a_refused_one_leaves_nothing() {
    let (dir, volumes) = store();
    let outside = dir.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("kept"), "kept").unwrap();
    fs::create_dir(outside.join("sub")).unwrap();
    let out = outside.to_str().unwrap();
    let file = |path: &str| entry(path, b'0', "", 4, b"evil");
    let kept = format!("{out}/kept");
    let cases: Vec<(&str, Vec<Vec<u8>>)> = vec![
        ("parent", vec![file("../evil")]),
        ("parent in the middle", vec![file("a/../../evil")]),
        ("absolute", vec![file(&format!("{out}/evil"))]),
        ("empty", vec![file("")]),
        ("the top as a file", vec![file("./")[..].to_vec(), file(".")]),
        ("through a link", vec![entry("a", b'2', out, 0, b""), file("a/evil")]),
        ("through a link in the middle", vec![entry("a", b'2', out, 0, b""), file("a/sub/evil")]),
        ("through a relative link", vec![entry("a", b'2', "../../../../outside", 0, b""), file("a/evil")]),
        ("directory over a link", vec![entry("a", b'2', out, 0, b""), entry("a", b'5', "", 0, b"")]),
        ("hard link outside", vec![entry("a", b'1', &kept, 0, b"")]),
        ("hard link upwards", vec![entry("a", b'1', "../../../outside/kept", 0, b"")]),
        ("hard link through a link", vec![entry("l", b'2', out, 0, b""), entry("a", b'1', "l/kept", 0, b"")]),
        ("hard link to nothing", vec![entry("a", b'1', "none", 0, b"")]),
        ("hard link to itself", vec![entry("a", b'1', "a", 0, b"")]),
        ("unknown kind", vec![entry("a", b'Z', "", 0, b"")]),
        ("longer than it is", vec![entry("a", b'0', "", 1 << 30, b"x")]),
        ("a huge extended header", vec![entry("a", b'x', "", 1 << 32, b"x")]),
        ("a lying record", vec![entry("a", b'x', "", 9, b"999 a=b\n\n"), file("a")]),
        (
            "deep",
            vec![
                entry("a", b'x', "", 4011, format!("4011 path={}\n", "d/".repeat(2000)).as_bytes()),
                file("a"),
            ],
        ),
    ];
    for (number, (what, parts)) in cases.into_iter().enumerate() {
        let name = format!("v{number}");
        let volume = volumes.create(&name, NewVolume::default()).unwrap();
        let mut archive = parts.concat();
        archive.extend_from_slice(&[0; 1024]);
        let error = volumes.restore(&name, archive.as_slice());
        assert!(matches!(error, Err(Error::Archive { .. })), "{what}: {error:?}");
        assert_eq!(fs::read_dir(&volume.mountpoint).unwrap().count(), 0, "{what} left something");
    }
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 2);
    assert_eq!(fs::read_dir(outside.join("sub")).unwrap().count(), 0);
    assert_eq!(fs::read(outside.join("kept")).unwrap(), b"kept");
    assert_eq!(fs::metadata(outside.join("kept")).unwrap().nlink(), 1);
    assert!(volumes.check(&[]).unwrap().is_empty());
}

#[test]
fn attack_5_attributes_that_steer_overlayfs_are_left_out() {
    let (_dir, volumes) = store();
    let volume = volumes.create("vv", NewVolume::default()).unwrap();
    let record = |name: &str| {
        let body = format!(" SCHILY.xattr.{name}=y\n");
        format!("{}{body}", body.len() + 2)
    };
    let records: String =
        ["trusted.overlay.opaque", "user.overlay.redirect", "trusted.x", "user.fine"].map(record).concat();
    let mut archive = entry("p", b'x', "", records.len() as u64, records.as_bytes());
    archive.extend(entry("file", b'0', "", 0, b""));
    archive.extend_from_slice(&[0; 1024]);
    volumes.restore("vv", archive.as_slice()).unwrap();
    let mut names = [0_u8; 1000];
    let length = rustix::fs::listxattr(volume.mountpoint.join("file"), &mut names).unwrap();
    let names = String::from_utf8_lossy(&names[..length]).into_owned();
    assert!(!names.contains("overlay") && !names.contains("trusted"), "{names}");
}
