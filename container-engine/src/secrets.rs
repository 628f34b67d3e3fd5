//! Secrets and configs of containers: files in memory, from the container's making to its removal.
//!
//! The content is on a tmpfs of the container's own below the run root, as the run root itself may be on a disk. No record holds it: after a
//! restart of the machine the container has to be made anew.

use container_volume::Secrets;
use serde_json::{Value, json};

use crate::options::ContainerOptions;
use crate::{Engine, Error};

impl Engine {
    pub(crate) fn secrets(&self) -> Secrets {
        Secrets::new(self.config.run_root.join("secrets"))
    }

    /// Refuses two secrets, or a secret and a mount, at one path.
    pub(crate) fn check_secrets(options: &ContainerOptions) -> Result<(), Error> {
        let mut targets: Vec<_> = options.secrets.iter().map(|secret| &secret.target).collect();
        targets.extend(options.mounts.iter().map(|mount| &mount.target));
        targets.sort();
        match targets.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) if options.secrets.iter().any(|secret| secret.target == *pair[0]) => Err(
                Error::setting("secret", pair[0].display().to_string(), "something else has the same target"),
            ),
            _ => Ok(()),
        }
    }

    /// The mounts of a container's secrets for its bundle.
    pub(crate) fn secret_mounts(
        &self,
        container: &str,
        options: &ContainerOptions,
    ) -> Result<Vec<Value>, Error> {
        let secrets = self.secrets();
        let mut mounts = Vec::new();
        for (number, secret) in options.secrets.iter().enumerate() {
            let source = secrets.path(container, number, &secret.name)?;
            mounts.push(json!({ "destination": secret.target, "type": "bind", "source": source,
                "options": ["bind", "rprivate", "ro", "nosuid", "nodev", "noexec"] }));
        }
        Ok(mounts)
    }
}
