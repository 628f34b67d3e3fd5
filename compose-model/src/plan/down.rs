//! `down`, `stop`, `start` and `restart`.
use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use super::up::grace;
use super::{Action, Container, Observed, Plan, State};
use crate::model::Project;
use crate::order::order;

/// Which images go with the containers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Images {
    /// None.
    #[default]
    Keep,
    /// Those that have no name of their own.
    Local,
    /// All that services use.
    All,
}

/// What `down` may be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DownOptions {
    /// Whether volumes that the project made go too.
    pub volumes: bool,
    /// Which images go too.
    pub images: Images,
    /// Whether containers of services that are no longer in the project go too.
    pub remove_orphans: bool,
    /// How long containers have to stop, before their own `stop_grace_period`.
    pub timeout: Option<Duration>,
}

/// The services from what others depend on to what depends on others; those switched off first.
fn services(project: &Project) -> Vec<&str> {
    let ordered = match order(project) {
        Ok(levels) => levels.into_iter().flatten().collect(),
        Err(_) => project.services.keys().collect::<Vec<_>>(),
    };
    project.disabled.keys().chain(ordered).collect()
}

/// The containers by service, ordered by number.
struct Held<'a>(HashMap<&'a str, Vec<&'a Container>>);

impl<'a> Held<'a> {
    fn new(there: &'a Observed, one_off: bool) -> Self {
        let mut held: HashMap<&str, Vec<&Container>> = HashMap::new();
        for container in there.containers.iter().filter(|container| one_off || !container.one_off) {
            held.entry(&container.service).or_default().push(container);
        }
        for containers in held.values_mut() {
            containers.sort_by_key(|container| container.number);
        }
        Self(held)
    }

    fn of(&self, service: &str) -> &[&'a Container] {
        self.0.get(service).map_or(&[], Vec::as_slice)
    }
}

fn meant(services: &[String], name: &str) -> bool {
    services.is_empty() || services.iter().any(|meant| meant == name)
}

/// The steps that stop containers, dependents before what they depend on; per service the places of its steps.
fn stops<'p>(
    project: &'p Project,
    there: &Observed,
    only: &[String],
    timeout: Option<Duration>,
    one_off: bool,
    plan: &mut Plan,
) -> HashMap<&'p str, Vec<usize>> {
    let held = Held::new(there, one_off);
    let mut stopped: HashMap<&str, Vec<usize>> = HashMap::new();
    let mut dependents: HashMap<&str, Vec<&str>> = HashMap::new();
    for (name, service) in project.services.iter().chain(project.disabled.iter()) {
        for other in service.depends_on.keys() {
            dependents.entry(other).or_default().push(name);
        }
    }
    for name in services(project).into_iter().rev().filter(|name| meant(only, name)) {
        let service = project.services.get(name).or_else(|| project.disabled.get(name));
        let after: Vec<usize> = dependents
            .get(name)
            .into_iter()
            .flatten()
            .filter_map(|other| stopped.get(other))
            .flatten()
            .copied()
            .collect();
        let mut steps = Vec::new();
        for container in
            held.of(name).iter().filter(|container| matches!(container.state, State::Running | State::Paused))
        {
            let action = Action::Stop {
                id: container.id.clone(),
                name: container.name.clone(),
                timeout: grace(service, timeout),
            };
            steps.push(plan.push(action, after.iter().copied()));
        }
        // a service without running containers passes the order on
        stopped.insert(name, if steps.is_empty() { after } else { steps });
    }
    stopped
}

/// The steps of `down`: all containers are stopped and removed, then the project's networks, and what the options say.
pub fn down(project: &Project, there: &Observed, options: &DownOptions) -> Plan {
    let mut plan = Plan::default();
    let stopped = stops(project, there, &[], options.timeout, true, &mut plan);
    let held = Held::new(there, true);
    let mut removed = Vec::new();
    for name in services(project).into_iter().rev() {
        let after = stopped.get(name).cloned().unwrap_or_default();
        for container in held.of(name) {
            let action = Action::Remove { id: container.id.clone(), name: container.name.clone() };
            removed.push(plan.push(action, after.iter().copied()));
        }
    }
    let orphan = |container: &&Container| {
        !project.services.contains_key(&container.service)
            && !project.disabled.contains_key(&container.service)
    };
    for container in there.containers.iter().filter(orphan) {
        if !options.remove_orphans {
            plan.orphans.push(container.name.clone());
            continue;
        }
        let (id, name) = (container.id.clone(), container.name.clone());
        let running = matches!(container.state, State::Running | State::Paused);
        let stop = running.then(|| {
            plan.push(Action::Stop { id: id.clone(), name: name.clone(), timeout: options.timeout }, [])
        });
        removed.push(plan.push(Action::Remove { id, name }, stop));
    }
    let own = |name: &Option<String>, external: bool| if external { None } else { name.clone() };
    let networks: BTreeSet<String> =
        project.networks.values().filter_map(|network| own(&network.name, network.external.yes)).collect();
    for name in networks.into_iter().filter(|name| there.networks.contains(name)) {
        plan.push(Action::RemoveNetwork { name }, removed.iter().copied());
    }
    if options.volumes {
        let volumes: BTreeSet<String> =
            project.volumes.values().filter_map(|volume| own(&volume.name, volume.external.yes)).collect();
        for name in volumes.into_iter().filter(|name| there.volumes.contains(name)) {
            plan.push(Action::RemoveVolume { name }, removed.iter().copied());
        }
    }
    let images: BTreeSet<String> = project
        .services
        .iter()
        .filter(|(_, service)| match options.images {
            Images::Keep => false,
            Images::Local => service.image.is_none(),
            Images::All => true,
        })
        .filter_map(|(name, service)| project.image(name, service))
        .collect();
    for image in images.into_iter().filter(|image| there.images.contains_key(image)) {
        plan.push(Action::RemoveImage { image }, removed.iter().copied());
    }
    plan
}

/// The steps of `stop`, dependents first; no names means all services.
pub fn stop(project: &Project, there: &Observed, services: &[String], timeout: Option<Duration>) -> Plan {
    let mut plan = Plan::default();
    stops(project, there, services, timeout, false, &mut plan);
    plan
}

/// The steps of `start`: containers that are there and do not run, in the order of dependencies.
pub fn start(project: &Project, there: &Observed, only: &[String]) -> Plan {
    let held = Held::new(there, false);
    forward(project, only, |name| {
        held.of(name)
            .iter()
            .filter(|container| container.state != State::Running)
            .map(|container| Action::Start {
                service: name.to_owned(),
                number: container.number,
                name: container.name.clone(),
            })
            .collect()
    })
}

/// The steps of `restart`: every container that is there, in the order of dependencies.
pub fn restart(project: &Project, there: &Observed, only: &[String], timeout: Option<Duration>) -> Plan {
    let held = Held::new(there, false);
    forward(project, only, |name| {
        let timeout = grace(project.services.get(name), timeout);
        let restart = |container: &&Container| Action::Restart {
            id: container.id.clone(),
            name: container.name.clone(),
            timeout,
        };
        held.of(name).iter().map(restart).collect()
    })
}

fn forward(project: &Project, only: &[String], actions: impl Fn(&str) -> Vec<Action>) -> Plan {
    let mut plan = Plan::default();
    let mut done: HashMap<&str, Vec<usize>> = HashMap::new();
    for name in services(project).into_iter().filter(|name| meant(only, name)) {
        let service = project.services.get(name);
        let others = service.into_iter().flat_map(|service| service.depends_on.keys());
        let after: Vec<usize> = others.filter_map(|other| done.get(other)).flatten().copied().collect();
        let steps: Vec<usize> =
            actions(name).into_iter().map(|action| plan.push(action, after.iter().copied())).collect();
        done.insert(name, if steps.is_empty() { after } else { steps });
    }
    plan
}
