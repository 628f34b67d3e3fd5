use clap::{Args, Subcommand};
use container_engine::{Volume as Found, rfc3339};
use serde_json::{Value, json};

use crate::command::options::pairs;
use crate::command::volume_files;
use crate::context::{Failure, Roots, each, print};
use crate::human;
use crate::listing::{Format, Listing, ObjectFormat};

#[derive(Debug, Subcommand)]
pub(crate) enum Volume {
    /// Create a volume
    Create(Create),
    /// List volumes
    #[command(alias = "list")]
    Ls(Ls),
    /// Show everything known of volumes, as JSON
    Inspect(InspectNames),
    /// Remove volumes
    #[command(alias = "remove")]
    Rm(Names),
    /// Remove anonymous volumes that no container has
    Prune(Prune),
    /// Write a volume's files as a tar archive
    Backup(volume_files::Backup),
    /// Fill an empty volume from a tar archive
    Restore(volume_files::Restore),
    /// Make a volume with the files of another
    Clone(volume_files::Clone),
    /// Show the room that volumes take
    Df(volume_files::Df),
}

#[derive(Debug, Args)]
pub(crate) struct Create {
    /// local, or the name of a plugin
    #[arg(short, long, default_value = "local", value_name = "DRIVER")]
    driver: String,
    /// Option of the driver, as type=none
    #[arg(short, long, value_name = "OPTION")]
    opt: Vec<String>,
    /// Set a label
    #[arg(long, value_name = "KEY[=VALUE]")]
    label: Vec<String>,
    /// Its name; one is made up if none is given
    name: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct InspectNames {
    #[command(flatten)]
    format: ObjectFormat,
    /// Volumes
    #[arg(required = true)]
    volumes: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Ls {
    /// Names only
    #[arg(short, long)]
    quiet: bool,
    #[command(flatten)]
    format: Format,
}

#[derive(Debug, Args)]
pub(crate) struct Prune {
    /// Those with a name, too
    #[arg(short, long)]
    all: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Names {
    /// Volumes
    #[arg(required = true)]
    volumes: Vec<String>,
}

impl Volume {
    pub(crate) async fn run(self, roots: &Roots) -> Result<u8, Failure> {
        let engine = roots.engine().await?;
        match self {
            Self::Create(create) => {
                let (labels, options) =
                    (pairs("label", &create.label, true)?, pairs("volume option", &create.opt, false)?);
                let driver = Some(create.driver.as_str());
                print(engine.create_volume_by(driver, create.name.as_deref(), labels, options).await?.name)?;
                Ok(0)
            }
            Self::Ls(ls) => {
                let volumes = engine.volumes().await?;
                if ls.quiet {
                    let names: Vec<&str> = volumes.iter().map(|volume| volume.name.as_str()).collect();
                    return if names.is_empty() { Ok(0) } else { print(names.join("\n")).map(|()| 0) };
                }
                let mut listing = Listing::new(&[("Driver", "DRIVER"), ("Name", "VOLUME NAME")]);
                for volume in volumes {
                    let labels: Vec<String> =
                        volume.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
                    listing.row([
                        ("Driver", volume.driver.unwrap_or_else(|| "local".to_owned())),
                        ("Name", volume.name),
                        ("Mountpoint", volume.mountpoint.display().to_string()),
                        ("Scope", "local".to_owned()),
                        ("Labels", labels.join(",")),
                    ]);
                }
                listing.print(&ls.format)
            }
            Self::Inspect(names) => {
                let mut found = Vec::new();
                for name in &names.volumes {
                    found.push(shown(&engine.volume(name).await?));
                }
                names.format.print(&found)?;
                Ok(0)
            }
            Self::Rm(names) => {
                each(&names.volumes, |name| {
                    let engine = &engine;
                    async move {
                        engine.remove_volume(&name).await?;
                        Ok(name)
                    }
                })
                .await
            }
            Self::Prune(prune) => {
                let (names, bytes) = engine.prune_volumes(prune.all).await?;
                for name in names {
                    print(name)?;
                }
                print(format!("Total reclaimed space: {}", human::size(bytes)))?;
                Ok(0)
            }
            Self::Backup(backup) => backup.run(&engine).await,
            Self::Restore(restore) => restore.run(&engine).await,
            Self::Clone(clone) => clone.run(&engine).await,
            Self::Df(df) => df.run(&engine).await,
        }
    }
}

/// A volume in the words of Docker's `inspect`.
pub(crate) fn shown(found: &Found) -> Value {
    let created = std::time::UNIX_EPOCH + std::time::Duration::from_secs(found.created);
    json!({
        "Name": found.name,
        "Driver": found.driver.as_deref().unwrap_or("local"),
        "Scope": "local",
        "CreatedAt": rfc3339(created),
        "Mountpoint": found.mountpoint,
        "Labels": found.labels,
        "Options": found.options,
    })
}
