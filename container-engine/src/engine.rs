use std::fs;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::{Mutex, MutexGuard, PoisonError};

use container_image::{Snapshots, Store};
use container_net::nft::Tables;
use container_runtime::Runtime;
use container_volume::Volumes;

use crate::Error;
use crate::database::Database;
use crate::events::Events;

/// The socket of the API below the run root, where a program serves it.
pub const API_SOCKET: &str = "docker.sock";

/// Where an engine keeps its state, and the program it starts beside each container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// What outlives a reboot: images, volumes, containers. `/var/lib/dunnage`.
    pub root: PathBuf,
    /// What does not: sockets, locks, leases. `/run/dunnage`.
    pub run_root: PathBuf,
    /// The program `dunnage-oci`, which carries the monitor.
    pub monitor: PathBuf,
    /// The command line that removes a container which ended and is to be removed, run by its monitor when no
    /// client is there to do it; the container's id is added. Without one the next [`Engine::open`] does it.
    pub reaper: Option<Vec<String>>,
}

/// A container engine: containers, images, networks and volumes under two directories.
///
/// No daemon is needed; any number of processes may use the same directories at once, and two engines with
/// other directories never touch each other. Whatever a killed process left half done, the next one finishes
/// or takes back.
#[derive(Debug)]
pub struct Engine {
    pub(crate) config: Config,
    database: Mutex<Database>,
    pub(crate) images: Store,
    pub(crate) snapshots: Snapshots,
    pub(crate) volumes: Volumes,
    pub(crate) runtime: Runtime,
    pub(crate) events: Events,
    pub(crate) tables: Tables,
    /// Monitors that this process has started.
    pub(crate) monitors: Mutex<Vec<Child>>,
}

impl Engine {
    /// Opens the engine's state, and makes it if it is not there. Finishes removals that were interrupted.
    /// Idempotent.
    pub async fn open(config: Config) -> Result<Self, Error> {
        for directory in [
            config.root.clone(),
            config.root.join("containers"),
            config.run_root.clone(),
            config.run_root.join("containers"),
            config.run_root.join("networks"),
            config.run_root.join("locks"),
        ] {
            if !directory.is_dir() {
                create_private(&directory)?;
            }
            if rustix::fs::access(&directory, rustix::fs::Access::WRITE_OK).is_err() {
                return Err(Error::Right { path: directory });
            }
        }
        let database = Database::open(&config.root.join("dunnage.db"))?;
        let engine = Self {
            images: Store::open(config.root.join("images"))?,
            snapshots: Snapshots::open(config.root.join("snapshots"))?,
            volumes: Volumes::open(config.root.join("volumes"))?,
            runtime: Runtime::new(config.run_root.join("oci")),
            events: Events::new(config.root.join("events.log")),
            tables: Tables::named(table_name(&config.root))?,
            monitors: Mutex::default(),
            database: Mutex::new(database),
            config,
        };
        engine.make_default_networks()?;
        engine.finish_removals()?;
        Ok(engine)
    }

    /// The directories and programs in use.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// A number that nothing has yet: 64 hexadecimal digits, for what a caller has to name.
    pub fn new_id(&self) -> Result<String, Error> {
        crate::name::new_id()
    }

    /// The image store.
    pub fn image_store(&self) -> &Store {
        &self.images
    }

    pub(crate) fn database(&self) -> MutexGuard<'_, Database> {
        // a panic in a transaction has rolled it back
        self.database.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A container's directory that outlives a reboot: its upper directory, files and log.
    pub(crate) fn container_root(&self, id: &str) -> PathBuf {
        self.config.root.join("containers").join(id)
    }

    /// A container's directory that its monitor works in.
    pub(crate) fn container_run(&self, id: &str) -> PathBuf {
        self.config.run_root.join("containers").join(id)
    }

    /// A network's directory of leases and names.
    pub(crate) fn network_run(&self, id: &str) -> PathBuf {
        self.config.run_root.join("networks").join(id)
    }
}

/// The default root's tables have the plain name; every other root has tables of its own.
fn table_name(root: &Path) -> String {
    if root == Path::new("/var/lib/dunnage") {
        return "dunnage".to_owned();
    }
    let digest = container_image::Digest::of(root.as_os_str().as_encoded_bytes());
    format!("dunnage-{}", digest.short())
}

/// Makes a directory, and those above it, that only root may enter.
pub(crate) fn create_private(path: &Path) -> Result<(), Error> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new().recursive(true).mode(0o711).create(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::PermissionDenied => Error::Right { path: path.to_owned() },
        _ => Error::io("create", path)(error),
    })
}

/// Writes a file by rename: readers see the old one or the new one.
pub(crate) fn write_file(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let temporary = path.with_extension(format!("{}.new", std::process::id()));
    fs::write(&temporary, bytes).and_then(|()| fs::rename(&temporary, path)).map_err(Error::io("write", path))
}
