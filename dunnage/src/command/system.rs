use clap::{Args, Subcommand};
use container_engine::{Engine, Information, KindUsage};
use serde_json::{Value, json};

use crate::command::{container, events, image, network};
use crate::context::{Failure, Roots, print};
use crate::human::{self, plain};
use crate::listing::{Format, Listing, ObjectFormat};

#[derive(Debug, Subcommand)]
pub(crate) enum System {
    /// Say what is inconsistent, half done or left over
    Check(Check),
    /// Show the room that images, containers and volumes take
    Df(Df),
    /// Show what happens, as it happens
    Events(events::Events),
    /// Show what this engine is, and how much it holds
    Info(Info),
    /// Remove containers that do not run, networks that are not used, and images without a name
    Prune(Prune),
}

#[derive(Debug, Args)]
pub(crate) struct Check {
    /// Mend it
    #[arg(long)]
    repair: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Df {
    #[command(flatten)]
    format: Format,
}

#[derive(Debug, Args)]
pub(crate) struct Info {
    #[command(flatten)]
    format: ObjectFormat,
}

#[derive(Debug, Args)]
pub(crate) struct Prune {
    /// All images that no container uses
    #[arg(short, long)]
    all: bool,
    /// Volumes that no container has, too
    #[arg(long)]
    volumes: bool,
    /// Do not ask
    #[arg(short, long)]
    force: bool,
}

impl System {
    pub(crate) async fn run(self, roots: &Roots) -> Result<u8, Failure> {
        match self {
            Self::Check(check) => check.run(&roots.engine().await?).await,
            Self::Df(df) => df.run(&roots.engine().await?).await,
            Self::Events(events) => events.run(roots).await,
            Self::Info(info) => info.run(roots).await,
            Self::Prune(prune) => prune.run(&roots.engine().await?).await,
        }
    }
}

impl Check {
    async fn run(self, engine: &Engine) -> Result<u8, Failure> {
        let findings = engine.check(self.repair).await?;
        for finding in &findings {
            let prefix = if self.repair { "mended: " } else { "" };
            print(format!("{prefix}{}", plain(&finding.to_string())))?;
        }
        if findings.is_empty() {
            print("clean")?;
        }
        Ok(u8::from(!findings.is_empty() && !self.repair))
    }
}

impl Df {
    async fn run(self, engine: &Engine) -> Result<u8, Failure> {
        let usage = engine.disk_usage().await?;
        let mut listing = Listing::new(&[
            ("Type", "TYPE"),
            ("TotalCount", "TOTAL"),
            ("Active", "ACTIVE"),
            ("Size", "SIZE"),
            ("Reclaimable", "RECLAIMABLE"),
        ]);
        for (kind, usage) in
            [("Images", usage.images), ("Containers", usage.containers), ("Local Volumes", usage.volumes)]
        {
            listing.row([
                ("Type", kind.to_owned()),
                ("TotalCount", usage.count.to_string()),
                ("Active", usage.active.to_string()),
                ("Size", human::size(usage.bytes)),
                ("Reclaimable", reclaimable(&usage)),
            ]);
        }
        listing.print(&self.format)
    }
}

fn reclaimable(usage: &KindUsage) -> String {
    let size = human::size(usage.reclaimable);
    match usage.reclaimable.saturating_mul(100).checked_div(usage.bytes) {
        Some(percent) => format!("{size} ({percent}%)"),
        None => size,
    }
}

impl Info {
    pub(crate) async fn run(self, roots: &Roots) -> Result<u8, Failure> {
        let found = roots.engine().await?.information().await?;
        let object = object(&found);
        if self.format.is_given() {
            return self.format.print(&[object]).map(|()| 0);
        }
        // the object's own order is that of the alphabet
        let lines = [
            ("Name", "Name"),
            ("Server Version", "ServerVersion"),
            ("Containers", "Containers"),
            (" Running", "ContainersRunning"),
            (" Paused", "ContainersPaused"),
            (" Stopped", "ContainersStopped"),
            ("Images", "Images"),
            ("Storage Driver", "Driver"),
            ("Logging Driver", "LoggingDriver"),
            ("Cgroup Driver", "CgroupDriver"),
            ("Cgroup Version", "CgroupVersion"),
            ("Default Runtime", "DefaultRuntime"),
            ("Kernel Version", "KernelVersion"),
            ("OSType", "OSType"),
            ("Architecture", "Architecture"),
            ("CPUs", "NCPU"),
            ("Total Memory", "MemTotal"),
            ("Docker Root Dir", "DockerRootDir"),
            ("Run Root", "RunRoot"),
        ];
        for (title, field) in lines {
            let value = &object[field];
            let value = match (field, value.as_u64(), value.as_str()) {
                ("MemTotal", Some(bytes), _) => human::memory(bytes),
                (_, _, Some(text)) => plain(text),
                _ => value.to_string(),
            };
            print(format_args!("{title}: {value}"))?;
        }
        Ok(0)
    }
}

/// What Docker's `info` shows, as far as there is such a thing here.
pub(crate) fn object(found: &Information) -> Value {
    json!({
        "Name": found.hostname,
        "ServerVersion": env!("CARGO_PKG_VERSION"),
        "Containers": found.containers,
        "ContainersRunning": found.running,
        "ContainersPaused": found.paused,
        "ContainersStopped": found.stopped,
        "Images": found.images,
        "Driver": "overlay",
        "LoggingDriver": "json-file",
        "CgroupDriver": "cgroupfs",
        "CgroupVersion": found.cgroup_version.to_string(),
        "KernelVersion": found.kernel,
        "OSType": "linux",
        "Architecture": found.architecture,
        "NCPU": found.processors,
        "MemTotal": found.memory,
        "DockerRootDir": found.root,
        "RunRoot": found.run_root,
        "DefaultRuntime": "dunnage-oci",
    })
}

impl Prune {
    async fn run(self, engine: &Engine) -> Result<u8, Failure> {
        let mut what =
            vec!["all containers that do not run", "all networks that no container has a place in"];
        if self.volumes {
            what.push("all anonymous volumes that no container has");
        }
        what.push(if self.all { "all images that no container uses" } else { "all images without a name" });
        if !self.force && !image::confirmed(&what.join(", "))? {
            return Ok(0);
        }
        let before = engine.disk_usage().await?.containers.bytes;
        container::prune(engine).await?;
        let mut freed = before.saturating_sub(engine.disk_usage().await?.containers.bytes);
        network::prune(engine).await?;
        if self.volumes {
            let (names, bytes) = engine.prune_volumes(false).await?;
            freed += bytes;
            if !names.is_empty() {
                print(format_args!("Deleted Volumes:\n{}\n", names.join("\n")))?;
            }
        }
        freed += image::prune(engine, self.all).await?;
        print(format_args!("Total reclaimed space: {}", human::size(freed)))?;
        Ok(0)
    }
}
