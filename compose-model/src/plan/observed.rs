//! What an engine has of a project.
use std::collections::{BTreeMap, BTreeSet};

use super::{Action, Condition, Plan};

/// What a container does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum State {
    /// It was made and never started.
    #[default]
    Created,
    /// It runs.
    Running,
    /// It is frozen.
    Paused,
    /// It ended with this status.
    Exited(i32),
}

/// What a container's health check says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Health {
    /// It has no check.
    #[default]
    None,
    /// It was not decided yet.
    Starting,
    /// It is well.
    Healthy,
    /// It is not.
    Unhealthy,
}

/// A container of the project.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Container {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The service.
    pub service: String,
    /// Its number among the service's, from 1.
    pub number: u32,
    /// The hash of the settings that it was made with.
    pub hash: String,
    /// The id of the image that it was made from; empty when unknown, or when the service's image is not there. What a
    /// pull brings may differ from it: an engine that pulled observes and plans again.
    pub image: String,
    /// What it does.
    pub state: State,
    /// What its health check says.
    pub health: Health,
    /// Whether it was made by `run`; such a one is left alone but by `down`.
    pub one_off: bool,
}

/// What an engine has of a project.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Observed {
    /// The containers with the project's label.
    pub containers: Vec<Container>,
    /// Names of networks.
    pub networks: BTreeSet<String>,
    /// Names of volumes.
    pub volumes: BTreeSet<String>,
    /// References of images with the ids that they have now.
    pub images: BTreeMap<String, String>,
}

impl Observed {
    /// Makes of it what is there when every step went well: what is waited for comes to be. It is the model that a dry
    /// run and the tests go by; an engine asks its own state instead.
    pub fn apply(&mut self, plan: &Plan) {
        for step in &plan.steps {
            self.step(&step.action);
        }
    }

    fn step(&mut self, action: &Action) {
        match action {
            Action::CreateNetwork { name, .. } => {
                self.networks.insert(name.clone());
            }
            Action::CreateVolume { name, .. } => {
                self.volumes.insert(name.clone());
            }
            Action::Pull { image } | Action::Build { image, .. } => {
                self.images.entry(image.clone()).or_insert_with(|| format!("planned:{image}"));
            }
            Action::Create { service, number, name, image, hash } => {
                let container = self.made(service, *number, name, image, hash);
                self.containers.push(container);
            }
            Action::Recreate { service, number, id, name, image, hash, .. } => {
                let container = self.made(service, *number, name, image, hash);
                self.containers.retain(|held| held.id != *id);
                self.containers.push(container);
            }
            Action::Start { name, .. } => {
                self.each(|held| held.name == *name, |held| held.state = State::Running);
            }
            Action::Restart { id, .. } => {
                self.each(|held| held.id == *id, |held| held.state = State::Running);
            }
            Action::WaitFor { service, condition } => self.each(
                |held| held.service == *service && !held.one_off,
                |held| match condition {
                    Condition::Started => held.state = State::Running,
                    Condition::Healthy => (held.state, held.health) = (State::Running, Health::Healthy),
                    Condition::Completed => held.state = State::Exited(0),
                },
            ),
            Action::Stop { id, .. } => self.each(|held| held.id == *id, |held| held.state = State::Exited(0)),
            Action::Remove { id, .. } => self.containers.retain(|held| held.id != *id),
            Action::RemoveNetwork { name } => {
                self.networks.remove(name);
            }
            Action::RemoveVolume { name } => {
                self.volumes.remove(name);
            }
            Action::RemoveImage { image } => {
                self.images.remove(image);
            }
        }
    }

    fn made(&self, service: &str, number: u32, name: &str, image: &str, hash: &str) -> Container {
        Container {
            id: format!("planned:{name}"),
            name: name.to_owned(),
            service: service.to_owned(),
            number,
            hash: hash.to_owned(),
            image: self.images.get(image).cloned().unwrap_or_default(),
            ..Container::default()
        }
    }

    fn each(&mut self, of: impl Fn(&Container) -> bool, change: impl Fn(&mut Container)) {
        self.containers.iter_mut().filter(|held| of(held)).for_each(change);
    }
}
