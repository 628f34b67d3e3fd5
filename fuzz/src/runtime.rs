use std::fs;
use std::path::PathBuf;
use std::sync::LazyLock;

use arbitrary::{Arbitrary as _, Unstructured};
use container_cgroup::{Bytes, Cpus, GroupPath};
use container_ns::CapSet;
use container_runtime::{ContainerId, ExecUser, Runtime, Signal};

use crate::Bundle;

/// A bundle with an empty root, kept for as long as the process is there.
static PLACE: LazyLock<PathBuf> = LazyLock::new(|| {
    let place = tempfile::tempdir().expect("room for a directory").keep();
    fs::create_dir(place.join("rootfs")).expect("room for a directory");
    place
});

/// Loads a configuration and compiles it to its plan; nothing of it is done.
fn explain(config: &[u8]) {
    let place = PLACE.join(format!("{:?}", std::thread::current().id()));
    if !place.exists() {
        fs::create_dir_all(place.join("rootfs")).expect("room for a directory");
    }
    fs::write(place.join("config.json"), config).expect("room for a file");
    match Runtime::new(place.join("state")).explain(&place) {
        Ok(text) => assert!(!text.is_empty()),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

pub(crate) fn config(data: &[u8]) {
    explain(data);
}

pub(crate) fn bundle(data: &[u8]) {
    if let Ok(Bundle(config)) = Bundle::arbitrary(&mut Unstructured::new(data)) {
        explain(config.to_string().as_bytes());
    }
}

/// What stands on command lines: ids, signals, users, sizes, processors, groups, capabilities.
pub(crate) fn words(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(id) = ContainerId::new(text) {
        assert!(!id.as_str().contains('/') && !matches!(id.as_str(), "." | ".."), "{text:?} becomes a path");
    }
    if let Ok(signal) = text.parse::<Signal>() {
        assert_eq!(signal.to_string().parse::<Signal>().ok(), Some(signal), "{text:?}");
    }
    let _ = text.parse::<ExecUser>();
    let _ = text.parse::<CapSet>();
    if let Ok(bytes) = text.parse::<Bytes>() {
        assert_eq!(bytes.to_string().parse::<Bytes>().ok(), Some(bytes), "{text:?}");
    }
    if let Ok(cpus) = text.parse::<Cpus>() {
        assert_eq!(cpus.to_string().parse::<Cpus>().ok(), Some(cpus), "{text:?}");
    }
    if let Ok(path) = text.parse::<GroupPath>() {
        assert!(!path.as_str().split('/').any(|part| part == ".."), "{text:?}");
    }
}
