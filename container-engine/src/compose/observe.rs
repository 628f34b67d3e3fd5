//! What the engine has of a project, by labels.

use std::collections::BTreeMap;

use compose_model::Project;
use compose_model::model::{Dependency, Network, Service, Volume};
use compose_model::plan::{self, Observed, State};
use container_runtime::monitor::HealthStatus;

use super::labels;
use crate::containers::{Container, Phase};
use crate::networks::NetworkDriver;
use crate::{Engine, Error};

/// A project of which there are containers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ProjectSummary {
    /// Its name.
    pub name: String,
    /// How many containers are in each state, by Docker's word for it.
    pub states: BTreeMap<String, usize>,
    /// Its files, as they were named when a container was made.
    pub files: Vec<String>,
}

impl Engine {
    /// The containers of a project with those that `run` made, by service and number.
    pub async fn project_containers(&self, project: &str) -> Result<Vec<Container>, Error> {
        let mut found = self.containers().await?;
        found.retain(|container| {
            container.options.labels.get(labels::PROJECT).is_some_and(|name| name == project)
        });
        found.sort_by_key(|container| (label(container, labels::SERVICE).to_owned(), number(container)));
        Ok(found)
    }

    /// All projects of which there are containers, by name.
    pub async fn projects(&self) -> Result<Vec<ProjectSummary>, Error> {
        let mut found: BTreeMap<String, ProjectSummary> = BTreeMap::new();
        for container in self.containers().await? {
            let name = label(&container, labels::PROJECT);
            if name.is_empty() {
                continue;
            }
            let project = found.entry(name.to_owned()).or_default();
            name.clone_into(&mut project.name);
            *project.states.entry(container.phase.name().to_owned()).or_default() += 1;
            for file in label(&container, labels::FILES).split(',').filter(|file| !file.is_empty()) {
                if !project.files.iter().any(|known| known == file) {
                    project.files.push(file.to_owned());
                }
            }
        }
        Ok(found.into_values().collect())
    }

    /// A project without its files, as its containers, networks and volumes tell of it: enough to list, stop and take it down.
    pub async fn project_of_labels(&self, name: &str) -> Result<Project, Error> {
        let mut project = Project { name: name.to_owned(), ..Project::default() };
        for container in self.project_containers(name).await? {
            let mut service = Service { image: Some(container.image.clone()), ..Service::default() };
            for other in label(&container, labels::DEPENDS_ON).split(',') {
                let other = other.split(':').next().filter(|other| !other.is_empty());
                other.map(|other| service.depends_on.0.insert(other, Dependency::default()));
            }
            project.services.insert(label(&container, labels::SERVICE), service);
        }
        for network in self.networks().await? {
            let NetworkDriver::Bridge(config) = &network.driver else { continue };
            if config.labels.get(labels::PROJECT).is_some_and(|project| project == name) {
                let key = config.labels.get(labels::NETWORK).unwrap_or(&network.name);
                let held = Network { name: Some(network.name.clone()), ..Network::default() };
                project.networks.insert(key.as_str(), held);
            }
        }
        for volume in self.volumes().await? {
            if volume.labels.get(labels::PROJECT).is_some_and(|project| project == name) {
                let key = volume.labels.get(labels::VOLUME).unwrap_or(&volume.name);
                let held = Volume { name: Some(volume.name.clone()), ..Volume::default() };
                project.volumes.insert(key.as_str(), held);
            }
        }
        Ok(project)
    }

    /// What there is of a project, for a plan. What a killed `up` left half made anew is put right before.
    pub async fn observe(&self, project: &Project) -> Result<Observed, Error> {
        self.finish_recreation(&project.name).await?;
        let mut there = Observed::default();
        for image in project.images() {
            if let Ok(named) = self.images.find(&image) {
                there.images.insert(image, named.image.id.to_string());
            }
        }
        there.networks = self.networks().await?.into_iter().map(|network| network.name).collect();
        there.volumes = self.volumes().await?.into_iter().map(|volume| volume.name).collect();
        for container in self.project_containers(&project.name).await? {
            let service = label(&container, labels::SERVICE).to_owned();
            let image = project.services.get(&service).and_then(|held| project.image(&service, held));
            let known = image.is_some_and(|image| there.images.contains_key(&image));
            there.containers.push(plan::Container {
                number: number(&container),
                hash: label(&container, labels::HASH).to_owned(),
                image: if known { container.image_id.clone() } else { String::new() },
                state: state(&container.phase),
                health: health(&container.phase),
                one_off: label(&container, labels::ONE_OFF) == "True",
                id: container.id,
                name: container.name,
                service,
            });
        }
        Ok(there)
    }

    /// The names of a service's containers that are its own, by number.
    pub(crate) fn containers_of_service(&self, project: &str, service: &str) -> Result<Vec<String>, Error> {
        let mut found = Vec::new();
        for row in self.database().containers()? {
            let options = crate::containers::decode(&row)?;
            let is = |label: &str, value: &str| options.labels.get(label).is_some_and(|held| held == value);
            if is(labels::PROJECT, project) && is(labels::SERVICE, service) && !is(labels::ONE_OFF, "True") {
                let number: u32 =
                    options.labels.get(labels::NUMBER).and_then(|text| text.parse().ok()).unwrap_or(0);
                found.push((number, row.name));
            }
        }
        found.sort();
        Ok(found.into_iter().map(|(_, name)| name).collect())
    }
}

fn label<'a>(container: &'a Container, name: &str) -> &'a str {
    container.options.labels.get(name).map_or("", String::as_str)
}

fn number(container: &Container) -> u32 {
    label(container, labels::NUMBER).parse().unwrap_or(0)
}

fn state(phase: &Phase) -> State {
    match phase {
        Phase::Created => State::Created,
        Phase::Running { paused: true, .. } => State::Paused,
        Phase::Running { .. } | Phase::Restarting { .. } => State::Running,
        Phase::Exited(exit) => State::Exited(exit.code),
        Phase::Removing => State::Exited(0),
    }
}

fn health(phase: &Phase) -> plan::Health {
    let Phase::Running { health: Some(health), .. } = phase else { return plan::Health::None };
    match health.status {
        HealthStatus::Healthy => plan::Health::Healthy,
        HealthStatus::Unhealthy => plan::Health::Unhealthy,
        HealthStatus::Starting => plan::Health::Starting,
    }
}
