//! What the whole of an engine holds.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::containers::Phase;
use crate::{Engine, Error};

/// Room that objects of one kind take.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// How many there are.
    pub count: u64,
    /// How many are in use: images of containers, containers that run, volumes that a container has.
    pub active: u64,
    /// Bytes on the disk.
    pub bytes: u64,
    /// Bytes that a prune of everything that is not in use would give back.
    pub reclaimable: u64,
}

/// Room that an engine takes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DiskUsage {
    /// Images as they are stored, what they share once. The layers as they are unpacked come on top.
    pub images: Usage,
    /// What containers have written outside of volumes, and their logs.
    pub containers: Usage,
    /// Volumes.
    pub volumes: Usage,
}

/// What an engine is, and how much it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Information {
    /// Containers in all.
    pub containers: usize,
    /// Those that run.
    pub running: usize,
    /// Those that are frozen.
    pub paused: usize,
    /// Those that do not run.
    pub stopped: usize,
    /// Images.
    pub images: usize,
    /// The directory of what outlives a reboot.
    pub root: PathBuf,
    /// The directory of what does not.
    pub run_root: PathBuf,
    /// Release of the kernel.
    pub kernel: String,
    /// Name of the machine.
    pub hostname: String,
    /// Its architecture, in Go's words.
    pub architecture: &'static str,
    /// Processors.
    pub processors: usize,
    /// Memory of the machine, bytes.
    pub memory: u64,
    /// Version of the control groups, 1 or 2.
    pub cgroup_version: u8,
}

impl Engine {
    /// What this engine is, and how much it holds.
    pub async fn information(&self) -> Result<Information, Error> {
        let containers = self.containers().await?;
        let of = |name: &str| containers.iter().filter(|container| container.phase.name() == name).count();
        let (running, paused) = (of("running") + of("restarting"), of("paused"));
        let machine = rustix::system::uname();
        let text = |text: &std::ffi::CStr| text.to_string_lossy().into_owned();
        let hierarchy = container_cgroup::Hierarchy::of_host().map_err(container_runtime::Error::from)?;
        let memory = hierarchy.version_of(&container_cgroup::Controller::Memory);
        Ok(Information {
            containers: containers.len(),
            running,
            paused,
            stopped: containers.len() - running - paused,
            images: self.images().await?.len(),
            root: self.config.root.clone(),
            run_root: self.config.run_root.clone(),
            kernel: text(machine.release()),
            hostname: text(machine.nodename()),
            architecture: match std::env::consts::ARCH {
                "x86_64" => "amd64",
                "aarch64" => "arm64",
                other => other,
            },
            processors: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            memory: crate::usage::host_memory()?,
            cgroup_version: if memory == Some(container_cgroup::Version::V2) { 2 } else { 1 },
        })
    }

    /// Room that images, containers and volumes take. Walks all that containers and volumes have written.
    pub async fn disk_usage(&self) -> Result<DiskUsage, Error> {
        let mut usage = DiskUsage::default();
        let rows = self.database().containers()?;
        let used: HashSet<&str> = rows.iter().map(|row| row.image_id.as_str()).collect();
        let images = self.images.images()?;
        let (mut seen, mut needed) = (HashSet::new(), HashSet::new());
        for named in &images {
            usage.images.count += 1;
            let active = used.contains(named.image.id.as_str());
            usage.images.active += u64::from(active);
            let config = &named.image.manifest.config;
            for blob in named.image.manifest.layers.iter().chain([config]) {
                if seen.insert(blob.digest.clone()) {
                    usage.images.bytes += blob.size;
                }
                if active && needed.insert(blob.digest.clone()) {
                    usage.images.reclaimable += blob.size;
                }
            }
        }
        // up to here what is needed was counted
        usage.images.reclaimable = usage.images.bytes - usage.images.reclaimable;
        for row in &rows {
            let bytes = size(&self.container_root(&row.id));
            let running = matches!(self.phase(row)?, Phase::Running { .. } | Phase::Restarting { .. });
            usage.containers.count += 1;
            usage.containers.active += u64::from(running);
            usage.containers.bytes += bytes;
            usage.containers.reclaimable += if running { 0 } else { bytes };
        }
        for volume in self.volumes.list()? {
            let bytes = size(&volume.mountpoint);
            let active = !self.volumes.users(&volume.name)?.is_empty();
            usage.volumes.count += 1;
            usage.volumes.active += u64::from(active);
            usage.volumes.bytes += bytes;
            usage.volumes.reclaimable += if active { 0 } else { bytes };
        }
        Ok(usage)
    }
}

/// Bytes that the files below a directory take on the disk; those with several names once. What goes meanwhile is passed over.
fn size(directory: &Path) -> u64 {
    let mut total = 0;
    let mut seen = HashSet::new();
    let mut open = vec![directory.to_owned()];
    while let Some(directory) = open.pop() {
        let Ok(entries) = fs::read_dir(&directory) else { continue };
        for entry in entries.flatten() {
            let Ok(metadata) = entry.metadata() else { continue };
            if metadata.is_dir() {
                open.push(entry.path());
            } else if metadata.nlink() > 1 && !seen.insert((metadata.dev(), metadata.ino())) {
                continue;
            }
            total += metadata.blocks() * 512;
        }
    }
    total
}
