use std::path::Path;

use arbitrary::{Arbitrary as _, Unstructured};
use container_volume::{Mount, MountSpec, NewVolume, Volumes};

use crate::Layer;

/// `-v` and `--mount`: what is accepted has a target that is absolute and goes nowhere but down.
pub(crate) fn mounts(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    for spec in [
        MountSpec::from_volume_flag(text, Path::new("/work")),
        MountSpec::from_mount_flag(text, Path::new("/work")),
        MountSpec::from_tmpfs_flag(text),
    ]
    .into_iter()
    .flatten()
    {
        assert!(spec.target.is_absolute(), "{text:?} gives {spec:?}");
        if let Mount::Bind { source, .. } = &spec.mount {
            assert!(source.is_absolute(), "{text:?} gives {spec:?}");
        }
    }
}

/// Any archive restored into a volume: nothing beside the volume is made.
pub(crate) fn restore(data: &[u8]) {
    let made = Layer::arbitrary(&mut Unstructured::new(data)).map(|layer| layer.0).unwrap_or_default();
    let place = tempfile::tempdir().expect("room for a directory");
    let volumes = Volumes::open(place.path().join("volumes")).expect("an empty directory");
    for (at, archive) in [data, &made].into_iter().enumerate() {
        let name = format!("v{at}");
        volumes.create(&name, NewVolume::default()).expect("room for a volume");
        let _ = volumes.restore(&name, archive);
        let beside = std::fs::read_dir(place.path()).expect("a directory").count();
        assert_eq!(beside, 1, "nothing was made beside the volumes");
    }
}
