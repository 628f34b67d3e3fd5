use std::path::PathBuf;

use container_image::{Commit, ContainerConfig, Diff, Limits, Reference};

use crate::containers::decode;
use crate::database::ContainerRow;
use crate::{Engine, Error, now};

/// Where the engine mounts something into every container.
const OURS: [&str; 6] = ["/dev", "/proc", "/sys", "/etc/hostname", "/etc/hosts", "/etc/resolv.conf"];

/// What an image that is made of a container is to be.
#[derive(Debug, Clone, Default)]
pub struct CommitOptions {
    /// Its name.
    pub name: Option<Reference>,
    /// Who made it.
    pub author: Option<String>,
    /// What the maker says of it.
    pub message: Option<String>,
    /// Leave the container running meanwhile; files that change may then be half old and half new.
    pub no_pause: bool,
}

impl Engine {
    /// Makes an image of a container: its image, and a layer with what the container changed. The configuration is the
    /// image's with the container's own settings, as `change` leaves it. A container that runs is frozen meanwhile.
    /// Returns the image's id. Atomic.
    pub async fn commit(
        &self,
        text: &str,
        options: CommitOptions,
        change: impl FnOnce(&mut ContainerConfig),
    ) -> Result<String, Error> {
        let row = self.find_row(text)?;
        let lease = self.images.lease()?;
        let named = self.images.find(&row.image_id)?;
        let mut config = named.image.config.config.clone();
        own_settings(&row, &mut config)?;
        change(&mut config);
        let freeze = !options.no_pause && self.is_running(&row.id)?;
        if freeze {
            self.pause(&row.id).await?;
        }
        let commit = Commit {
            config,
            created: Some(now()),
            created_by: Some(decode(&row)?.command.join(" ")).filter(|text| !text.is_empty()),
            author: options.author,
            comment: options.message,
            ..Commit::default()
        };
        let made = self
            .container_diff(&row)
            .and_then(|diff| Ok(self.images.commit(Some(&named.image), &diff, commit)?));
        if freeze {
            self.unpause(&row.id).await?;
        }
        // its layer is unpacked when a container of it is first made
        let image = made?;
        match &options.name {
            Some(name) => self.images.tag(name, &image.descriptor)?,
            None => self.images.keep(&image.descriptor)?,
        }
        drop(lease);
        let name = options.name.as_ref().map(Reference::familiar).unwrap_or_default();
        self.events.record("container", "commit", &row.id, &[("name", &row.name), ("image", &name)])?;
        Ok(image.id.to_string())
    }

    /// What a container changed in the files of its image.
    pub async fn changes(&self, text: &str) -> Result<Vec<container_image::Change>, Error> {
        let diff = self.container_diff(&self.find_row(text)?)?;
        // the root itself says nothing to a person
        Ok(diff.changes().iter().filter(|change| change.path().parent().is_some()).cloned().collect())
    }

    fn container_diff(&self, row: &ContainerRow) -> Result<Diff, Error> {
        let (upper, below) = self.container_layers(row)?;
        match upper {
            Some(upper) => {
                let mut diff = Diff::of_upper(&upper, &below)?;
                // the container cannot reach what is under these mounts: only the places for them are there
                diff.leave_out(&OURS);
                Ok(diff)
            }
            // never started
            None => Ok(match below.first() {
                Some(top) => Diff::of_trees(top, top)?,
                None => Diff::of_layers(&below)?,
            }),
        }
    }

    /// A container's upper directory, if it has one by now, and the layers of its image, the topmost first.
    pub(crate) fn container_layers(
        &self,
        row: &ContainerRow,
    ) -> Result<(Option<PathBuf>, Vec<PathBuf>), Error> {
        let named = self.images.find(&row.image_id)?;
        let mut layers = self.snapshots.unpack(&self.images, &named.image, &Limits::default())?;
        layers.reverse();
        let upper = self.container_root(&row.id).join("upper");
        Ok((upper.is_dir().then_some(upper), layers))
    }
}

/// What the container was told beside its image.
fn own_settings(row: &ContainerRow, config: &mut ContainerConfig) -> Result<(), Error> {
    let options = decode(row)?;
    if let Some(entrypoint) = options.entrypoint {
        config.entrypoint = Some(entrypoint).filter(|words| words.iter().any(|word| !word.is_empty()));
        config.cmd = None;
    }
    if !options.command.is_empty() {
        config.cmd = Some(options.command);
    }
    for variable in options.env {
        let name = variable.split('=').next().unwrap_or_default().to_owned();
        config.env.retain(|known| known.split('=').next() != Some(&name));
        config.env.push(variable);
    }
    config.labels.extend(options.labels);
    if let Some(user) = options.user {
        config.user = user;
    }
    if let Some(directory) = options.working_dir {
        config.working_dir = directory;
    }
    if options.stop_signal.is_some() {
        config.stop_signal = options.stop_signal;
    }
    Ok(())
}
