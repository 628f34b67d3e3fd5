//! A volume's files as a whole: archives, copies, sizes.

use std::io::{Read, Write};

use container_volume::{NewVolume, Restored, Usage, Volume};

use crate::{Engine, Error};

impl Engine {
    /// Writes a volume's files as a tar stream. One that has to be mounted is mounted for that time.
    pub async fn backup_volume(&self, name: &str, output: impl Write) -> Result<(), Error> {
        self.while_mounted(name, || Ok(self.volumes.backup(name, output)?))
    }

    /// Fills an empty volume that no container has from a tar stream.
    pub async fn restore_volume(&self, name: &str, input: impl Read) -> Result<Restored, Error> {
        self.while_mounted(name, || Ok(self.volumes.restore(name, input)?))
    }

    /// Makes a volume with the files of another one.
    pub async fn duplicate_volume(&self, from: &str, to: &str) -> Result<Volume, Error> {
        let labels = self.volumes.inspect(from)?.labels;
        let new = NewVolume { labels, ..NewVolume::default() };
        let volume = self.while_mounted(from, || Ok(self.volumes.duplicate(from, to, new)?))?;
        self.events.record("volume", "create", to, &[("driver", "local")])?;
        Ok(volume)
    }

    /// What a volume takes and how many containers have it. No size for one that is not mounted, or is another driver's.
    pub async fn volume_usage(&self, name: &str) -> Result<(Option<Usage>, usize), Error> {
        Ok((self.volumes.usage(name)?, self.volumes.users(name)?.len()))
    }

    fn while_mounted<T>(&self, name: &str, work: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
        // a note of this name is found to be nobody's if we are killed
        let holder = format!("archive-{}", std::process::id());
        self.volumes.mount(name, &holder)?;
        let done = work();
        let ended = self.volumes.unmount(name, &holder);
        done.and_then(|done| Ok(ended.map(|()| done)?))
    }
}
