//! Files in memory.

use std::{fs, os::unix::fs::MetadataExt, path::Path};

use container_volume::{Error, Secret, SecretBytes, Secrets};

const TMPFS_MAGIC: u64 = 0x0102_1994;

struct Kept(Secrets, tempfile::TempDir);

impl Drop for Kept {
    fn drop(&mut self) {
        for container in self.0.containers().unwrap_or_default() {
            let _ = self.0.remove(&container);
        }
    }
}

fn kept() -> Kept {
    let dir = tempfile::tempdir().unwrap();
    Kept(Secrets::new(dir.path().join("secrets")), dir)
}

fn secret(name: &str, content: &[u8]) -> Secret {
    Secret {
        name: name.into(),
        target: Path::new("/run/secrets").join(name),
        uid: 1000,
        gid: 50,
        mode: 0o440,
        content: SecretBytes::new(content.to_vec()),
    }
}

#[test]
fn secrets_are_in_memory_with_owner_and_mode_and_gone_with_the_container() {
    let kept = kept();
    kept.0.put("c1", &[secret("db", b"hunter2"), secret("other", &vec![0; 500 * 1024])]).unwrap();
    let path = kept.0.path("c1", 0, "db").unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"hunter2");
    let meta = fs::metadata(&path).unwrap();
    assert_eq!((meta.uid(), meta.gid(), meta.mode() & 0o7777), (1000, 50, 0o440));
    assert_eq!(rustix::fs::statfs(&path).unwrap().f_type as u64, TMPFS_MAGIC);
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    let line = mounts.lines().find(|line| line.contains(kept.1.path().to_str().unwrap())).unwrap();
    assert!(line.contains("nosuid") && line.contains("noexec") && line.contains("nodev"), "{line}");
    assert_eq!(kept.0.containers().unwrap(), ["c1"]);
    kept.0.remove("c1").unwrap();
    kept.0.remove("c1").unwrap();
    assert!(!path.exists() && kept.0.containers().unwrap().is_empty());
    assert!(matches!(kept.0.path("c1", 0, "db"), Err(Error::Secret { .. })));
}

#[test]
fn a_secrets_content_is_in_no_record_and_no_message() {
    let one = secret("db", b"hunter2");
    assert!(!format!("{one:?}").contains("hunter2") && !format!("{one:?}").contains("104"));
    let record = serde_json::to_string(&one).unwrap();
    assert!(!record.contains("hunter2") && !record.contains("content"), "{record}");
}

#[test]
fn what_cannot_be_kept_is_refused_and_leaves_nothing() {
    let kept = kept();
    let mut setuid = secret("db", b"x");
    setuid.mode = 0o4755;
    let mut root = secret("db", b"x");
    root.target = "/".into();
    for bad in [secret("big", &vec![0; 500 * 1024 + 1]), setuid, root] {
        assert!(kept.0.put("c1", &[secret("fine", b"x"), bad]).is_err());
        assert!(kept.0.containers().unwrap().is_empty());
    }
    assert!(kept.0.put("../c1", &[secret("fine", b"x")]).is_err());
}
