//! The container of `run`.

use std::collections::BTreeMap;

use compose_model::Project;
use container_net::PublishedPort;

use super::{ComposeWorld, labels};
use crate::{Engine, Error, short_id};

/// A container that `run` makes of a service: what differs from the service's own.
#[derive(Debug, Clone, Default)]
pub struct OneOff {
    /// In place of the service's command.
    pub command: Option<Vec<String>>,
    /// In place of its entry point.
    pub entrypoint: Option<Vec<String>>,
    /// Further variables, `NAME=value`.
    pub env: Vec<String>,
    /// Further labels.
    pub labels: BTreeMap<String, String>,
    /// Its name; `PROJECT-SERVICE-run-ID` if none is given.
    pub name: Option<String>,
    /// In place of its user.
    pub user: Option<String>,
    /// In place of its working directory.
    pub working_dir: Option<String>,
    /// Further mounts.
    pub mounts: Vec<container_volume::MountSpec>,
    /// Further ports.
    pub ports: Vec<PublishedPort>,
    /// Whether the service's own ports are published.
    pub service_ports: bool,
    /// Whether it has the service's names in its networks.
    pub use_aliases: bool,
    /// A terminal of its own.
    pub tty: bool,
    /// Standard input stays open.
    pub stdin_open: bool,
    /// Gone when it ends.
    pub auto_remove: bool,
}

impl Engine {
    /// Makes the container of `run`: a service's, but for what is said. It starts nothing. Returns its id.
    ///
    /// # Errors
    ///
    /// As [`carry_out`](Self::carry_out), of which it is one step.
    pub async fn create_one_off(
        &self,
        project: &Project,
        service: &str,
        one_off: OneOff,
        world: &ComposeWorld<'_>,
    ) -> Result<String, Error> {
        self.check_externals(project)?;
        let mut wanted = self.container_of_service(project, service, 1, world)?;
        let options = &mut wanted.options;
        let id = self.new_id()?;
        options.name =
            Some(one_off.name.unwrap_or_else(|| format!("{}-{service}-run-{}", project.name, short_id(&id))));
        options.labels.insert(labels::ONE_OFF.to_owned(), "True".to_owned());
        options.labels.extend(one_off.labels);
        if let Some(command) = one_off.command {
            options.command = command;
        }
        if let Some(entrypoint) = one_off.entrypoint {
            options.entrypoint = Some(entrypoint);
        }
        options.env.extend(one_off.env);
        if one_off.user.is_some() {
            options.user = one_off.user;
        }
        if one_off.working_dir.is_some() {
            options.working_dir = one_off.working_dir;
        }
        options.mounts.retain(|own| one_off.mounts.iter().all(|mount| mount.target != own.target));
        options.mounts.extend(one_off.mounts);
        if !one_off.service_ports {
            options.ports.clear();
        }
        options.ports.extend(one_off.ports);
        if !one_off.use_aliases {
            options.aliases.clear();
            wanted.further.iter_mut().for_each(|(_, endpoint)| endpoint.aliases.clear());
        }
        (options.tty, options.stdin_open) = (one_off.tty, one_off.stdin_open);
        options.auto_remove = one_off.auto_remove;
        options.restart = crate::RestartPolicy::No;
        let id = self.create_container(wanted.options).await?;
        for (network, endpoint) in &wanted.further {
            self.connect(network, &id, endpoint).await?;
        }
        Ok(id)
    }
}
