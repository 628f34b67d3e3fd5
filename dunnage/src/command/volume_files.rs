//! A volume's files as a whole: `backup`, `restore`, `clone`, `df`.

use std::fs::File;
use std::path::PathBuf;

use clap::Args;
use container_engine::Engine;

use crate::command::save::{create, standard_output, whole};
use crate::context::{Failure, print};
use crate::human;
use crate::listing::{Format, Listing};

#[derive(Debug, Args)]
pub(crate) struct Backup {
    /// Write to a file instead of standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Volume
    volume: String,
}

#[derive(Debug, Args)]
pub(crate) struct Restore {
    /// Read from a file instead of standard input
    #[arg(short, long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// Volume, which must be empty
    volume: String,
}

#[derive(Debug, Args)]
pub(crate) struct Clone {
    /// Volume
    from: String,
    /// Name of the new one
    to: String,
}

#[derive(Debug, Args)]
pub(crate) struct Df {
    #[command(flatten)]
    format: Format,
}

impl Backup {
    pub(crate) async fn run(self, engine: &Engine) -> Result<u8, Failure> {
        // before a file is made
        engine.volume(&self.volume).await?;
        match &self.output {
            Some(path) => {
                let (file, new) = create(path)?;
                whole(engine.backup_volume(&self.volume, file).await, &new, path)?;
            }
            None => engine.backup_volume(&self.volume, standard_output()?).await?,
        }
        Ok(0)
    }
}

impl Restore {
    pub(crate) async fn run(self, engine: &Engine) -> Result<u8, Failure> {
        let restored = match &self.input {
            Some(path) => {
                let file =
                    File::open(path).map_err(|error| Failure::new(format!("{}: {error}", path.display())))?;
                engine.restore_volume(&self.volume, file).await?
            }
            None => engine.restore_volume(&self.volume, std::io::stdin().lock()).await?,
        };
        print(format_args!(
            "Restored {} entries with {} to {}",
            restored.entries,
            human::size(restored.bytes),
            self.volume
        ))?;
        Ok(0)
    }
}

impl Clone {
    pub(crate) async fn run(self, engine: &Engine) -> Result<u8, Failure> {
        print(engine.duplicate_volume(&self.from, &self.to).await?.name)?;
        Ok(0)
    }
}

impl Df {
    pub(crate) async fn run(self, engine: &Engine) -> Result<u8, Failure> {
        let mut listing = Listing::new(&[
            ("Name", "VOLUME NAME"),
            ("Links", "LINKS"),
            ("Size", "SIZE"),
            ("Files", "FILES"),
        ]);
        for volume in engine.volumes().await? {
            let (usage, links) = engine.volume_usage(&volume.name).await?;
            let none = || "N/A".to_owned();
            listing.row([
                ("Name", volume.name),
                ("Links", links.to_string()),
                ("Size", usage.map_or_else(none, |usage| human::size(usage.bytes))),
                ("Files", usage.map_or_else(none, |usage| usage.files.to_string())),
            ]);
        }
        listing.print(&self.format)
    }
}
