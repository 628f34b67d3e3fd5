//! A store, a cache and a context of a test's own, with an empty image `base`.

use std::fs;
use std::path::PathBuf;

use container_build::{Build, BuildCache, Builder, Built, Context, Error, Runner};
use container_image::{Import, Snapshots, Store};

/// Where builds are tried, with what runs their steps.
pub(crate) struct Bench<R> {
    pub(crate) directory: tempfile::TempDir,
    pub(crate) store: Store,
    pub(crate) cache: BuildCache,
    snapshots: Snapshots,
    runner: R,
}

impl<R: Runner> Bench<R> {
    /// None, said aloud, without the right to mount.
    pub(crate) fn new(runner: R) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: a build needs root");
            return None;
        }
        let directory = tempfile::Builder::new().prefix("dnt").tempdir().unwrap();
        let store = Store::open(directory.path().join("images")).unwrap();
        let snapshots = Snapshots::open(directory.path().join("snapshots")).unwrap();
        let cache = BuildCache::open(directory.path().join("build")).unwrap();
        let lease = store.lease().unwrap();
        let image = store.import([0u8; 1024].as_slice(), Import::default()).unwrap();
        store.tag(&"base".parse().unwrap(), &image.descriptor).unwrap();
        drop(lease);
        fs::create_dir(directory.path().join("context")).unwrap();
        Some(Self { directory, store, cache, snapshots, runner })
    }

    pub(crate) fn context(&self) -> PathBuf {
        self.directory.path().join("context")
    }

    pub(crate) fn build(&self, dockerfile: &str) -> Result<Built, Error> {
        self.build_with(dockerfile, |_| {})
    }

    pub(crate) fn build_with(
        &self,
        dockerfile: &str,
        change: impl FnOnce(&mut Build),
    ) -> Result<Built, Error> {
        let mut build = Build::new(dockerfile.into(), Context::directory(self.context())?);
        change(&mut build);
        let builder = Builder {
            store: &self.store,
            snapshots: &self.snapshots,
            cache: &self.cache,
            images: &self.store,
            runner: &self.runner,
            fetch: None,
            output: &(),
        };
        let _lease = self.store.lease()?;
        builder.build(&build)
    }
}
