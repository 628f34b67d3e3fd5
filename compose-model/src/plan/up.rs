//! `up`: what is missing is made, what changed is made anew, what is too many goes.
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::Duration;

use super::{Action, Condition, Container, Health, Observed, Plan, PlanOptions, Recreate, State, When};
use crate::model::{Project, Service};
use crate::order::order;

/// The steps of `up`. A project whose services depend on each other in a circle gives no steps; a load reports it.
pub fn plan(project: &Project, there: &Observed, options: &PlanOptions) -> Plan {
    let mut planner = Planner::new(project, there, options);
    let Ok(levels) = order(project) else { return planner.plan };
    let names: Vec<&str> = levels.into_iter().flatten().collect();
    let wanted = planner.wanted(&names);
    let names: Vec<&str> = names.into_iter().filter(|name| wanted.contains(name)).collect();
    planner.resources(&names);
    for name in &names {
        if let Some(service) = project.services.get(name) {
            planner.service(name, service);
        }
    }
    planner.orphans();
    if options.wait && !options.no_start {
        planner.wait_for_all(&names);
    }
    planner.plan
}

/// How long a container of a service has to stop.
pub(super) fn grace(service: Option<&Service>, timeout: Option<Duration>) -> Option<Duration> {
    timeout.or_else(|| service.and_then(|service| service.stop_grace_period))
}

struct Planner<'a> {
    project: &'a Project,
    there: &'a Observed,
    options: &'a PlanOptions,
    plan: Plan,
    containers: HashMap<&'a str, Vec<&'a Container>>,
    networks: HashMap<&'a str, usize>,
    volumes: HashMap<&'a str, usize>,
    images: BTreeMap<String, usize>,
    /// The steps that make the containers of a service, and those that start them.
    made: HashMap<&'a str, Vec<usize>>,
    started: HashMap<&'a str, Vec<usize>>,
    /// Services of which a container is made anew.
    renewed: HashSet<&'a str>,
    waits: HashMap<(&'a str, Condition), usize>,
    /// Services that another waits for until they have ended well.
    completing: HashSet<&'a str>,
}

impl<'a> Planner<'a> {
    fn new(project: &'a Project, there: &'a Observed, options: &'a PlanOptions) -> Self {
        let mut containers: HashMap<&str, Vec<&Container>> = HashMap::new();
        for container in there.containers.iter().filter(|container| !container.one_off) {
            containers.entry(&container.service).or_default().push(container);
        }
        Self {
            project,
            there,
            options,
            plan: Plan::default(),
            containers,
            networks: HashMap::new(),
            volumes: HashMap::new(),
            images: BTreeMap::new(),
            made: HashMap::new(),
            started: HashMap::new(),
            renewed: HashSet::new(),
            waits: HashMap::new(),
            completing: completing(project),
        }
    }

    /// The services that are meant, with what they depend on.
    fn wanted(&self, all: &[&'a str]) -> HashSet<&'a str> {
        if self.options.services.is_empty() {
            return all.iter().copied().collect();
        }
        let mut open: Vec<&str> = all
            .iter()
            .copied()
            .filter(|name| self.options.services.iter().any(|meant| meant == name))
            .collect();
        let mut wanted = HashSet::new();
        while let Some(name) = open.pop() {
            if wanted.insert(name) && !self.options.no_dependencies {
                let service = self.project.services.get(name);
                open.extend(
                    service
                        .into_iter()
                        .flat_map(|service| service.depends_on.keys())
                        .filter(|other| self.project.services.contains_key(other)),
                );
            }
        }
        wanted
    }

    /// Networks and volumes that the services use and that are not there.
    fn resources(&mut self, names: &[&str]) {
        let project = self.project;
        let services = || names.iter().filter_map(|name| project.services.get(name));
        let networks: BTreeSet<&str> = services().flat_map(|service| service.networks.keys()).collect();
        let volumes: BTreeSet<&str> = services()
            .flat_map(|service| &service.volumes)
            .filter(|mount| mount.kind.as_deref() == Some("volume"))
            .filter_map(|mount| mount.source.as_deref())
            .collect();
        let mut planned = HashMap::new();
        for (key, network) in
            project.networks.iter().filter(|(key, network)| networks.contains(key) && !network.external.yes)
        {
            let name = network.name.clone().unwrap_or_else(|| key.to_owned());
            if !self.there.networks.contains(&name) {
                // two keys may name one network
                let at = *planned.entry(name.clone()).or_insert_with(|| {
                    self.plan.push(Action::CreateNetwork { key: key.to_owned(), name }, [])
                });
                self.networks.insert(key, at);
            }
        }
        planned.clear();
        for (key, volume) in
            project.volumes.iter().filter(|(key, volume)| volumes.contains(key) && !volume.external.yes)
        {
            let name = volume.name.clone().unwrap_or_else(|| key.to_owned());
            if !self.there.volumes.contains(&name) {
                let at = *planned.entry(name.clone()).or_insert_with(|| {
                    self.plan.push(Action::CreateVolume { key: key.to_owned(), name }, [])
                });
                self.volumes.insert(key, at);
            }
        }
    }

    /// The step that brings a service's image, when one is needed.
    fn image(&mut self, name: &str, service: &Service) -> (String, Option<usize>) {
        let Some(image) = self.project.image(name, service) else { return (String::new(), None) };
        if let Some(at) = self.images.get(&image) {
            return (image, Some(*at));
        }
        let there = self.there.images.contains_key(&image);
        let policy = service.pull_policy.as_deref();
        let build = service.build.is_some()
            && match self.options.build {
                When::Always => true,
                When::Never => false,
                When::Missing => !there,
            };
        let action = if build {
            Some(Action::Build { service: name.to_owned(), image: image.clone() })
        } else if service.build.is_none() {
            let pull = match self.options.pull {
                When::Always => policy != Some("never"),
                When::Never => false,
                When::Missing => !there && policy != Some("never"),
            };
            pull.then(|| Action::Pull { image: image.clone() })
        } else {
            None
        };
        let at = action.map(|action| self.plan.push(action, []));
        if let Some(at) = at {
            self.images.insert(image.clone(), at);
        }
        (image, at)
    }

    /// How many containers a service has.
    fn count(&self, name: &str, service: &Service) -> u32 {
        let deploy = service.deploy.as_ref();
        let own = service.scale.or_else(|| deploy.and_then(|deploy| deploy.replicas)).unwrap_or(1);
        self.options
            .scale
            .get(name)
            .copied()
            .unwrap_or_else(|| u32::try_from(own.clamp(0, 10_000)).unwrap_or(1))
    }

    fn diverged(&self, container: &Container, hash: &str, image: &str) -> bool {
        let now = self.there.images.get(image).map(String::as_str);
        container.hash != hash || now.is_some_and(|now| !container.image.is_empty() && now != container.image)
    }

    fn service(&mut self, name: &'a str, service: &'a Service) {
        if service.provider.is_some() {
            return;
        }
        let hash = self.project.hash(service);
        let count = self.count(name, service);
        let image = self.project.image(name, service).unwrap_or_default();
        let mut held = self.containers.get(name).cloned().unwrap_or_default();
        held.sort_by_key(|container| {
            (
                self.diverged(container, &hash, &image),
                container.state != State::Running,
                container.number,
                &container.id,
            )
        });
        let surplus = held.split_off(held.len().min(count as usize));
        held.sort_by_key(|container| container.number);
        // what shares a namespace with a container that is made anew must be made anew too
        let shared = shares(service);
        let forced = self.options.recreate == Recreate::Force
            || shared.iter().any(|other| self.renewed.contains(other));
        let renew: Vec<bool> = held
            .iter()
            .map(|container| {
                forced
                    || (self.options.recreate != Recreate::Never && self.diverged(container, &hash, &image))
            })
            .collect();
        let missing = (count as usize).saturating_sub(held.len());
        let makes = missing > 0 || renew.contains(&true);
        let image_step = if makes || self.options.pull == When::Always || self.options.build == When::Always {
            self.image(name, service).1
        } else {
            None
        };
        let mut base: Vec<usize> = image_step.into_iter().collect();
        base.extend(service.networks.keys().filter_map(|network| self.networks.get(network)));
        base.extend(service.volumes.iter().filter_map(|mount| self.volumes.get(mount.source.as_deref()?)));
        base.extend(shared.iter().filter_map(|other| self.made.get(other)).flatten());
        let complete = self.completes(name);
        let mut starts: Vec<(u32, String, Option<usize>)> = Vec::new();
        let mut restarts: Vec<&Container> = Vec::new();
        let mut made = Vec::new();
        for (container, renew) in held.iter().zip(&renew) {
            if *renew {
                let action = Action::Recreate {
                    service: name.to_owned(),
                    number: container.number,
                    id: container.id.clone(),
                    name: container.name.clone(),
                    image: image.clone(),
                    hash: hash.clone(),
                    timeout: grace(Some(service), self.options.timeout),
                };
                let at = self.plan.push(action, base.iter().copied());
                made.push(at);
                self.renewed.insert(name);
                starts.push((container.number, container.name.clone(), Some(at)));
            } else if container.state != State::Running && !(complete && container.state == State::Exited(0))
            {
                starts.push((container.number, container.name.clone(), None));
            } else {
                restarts.push(container);
            }
        }
        // the numbers of all that are there are taken, so a new name never meets an old one
        let mut gone: HashMap<u32, usize> = HashMap::new();
        for container in &surplus {
            gone.insert(container.number, self.remove(container, Some(service)));
        }
        let mut taken: HashSet<u32> = held.iter().map(|container| container.number).collect();
        let mut number = 0;
        for _ in 0..missing {
            number += 1;
            while taken.contains(&number) {
                number += 1;
            }
            taken.insert(number);
            let own = service
                .container_name
                .clone()
                .unwrap_or_else(|| format!("{}-{name}-{number}", self.project.name));
            let action = Action::Create {
                service: name.to_owned(),
                number,
                name: own.clone(),
                image: image.clone(),
                hash: hash.clone(),
            };
            let after: Vec<usize> = base.iter().copied().chain(gone.get(&number).copied()).collect();
            let at = self.plan.push(action, after);
            made.push(at);
            starts.push((number, own, Some(at)));
        }
        self.made.insert(name, made);
        self.run(name, service, starts, &restarts);
    }

    /// Starts what must be started once what it depends on is ready.
    fn run(
        &mut self,
        name: &'a str,
        service: &'a Service,
        starts: Vec<(u32, String, Option<usize>)>,
        kept: &[&Container],
    ) {
        if self.options.no_start {
            return;
        }
        let again = service
            .depends_on
            .iter()
            .any(|(other, dependency)| dependency.restart == Some(true) && self.renewed.contains(other));
        let kept: Vec<&&Container> =
            kept.iter().filter(|container| again && container.state == State::Running).collect();
        if starts.is_empty() && kept.is_empty() {
            return;
        }
        let ready = self.ready(service);
        let mut started = Vec::new();
        for (number, own, made) in starts {
            let action = Action::Start { service: name.to_owned(), number, name: own };
            started.push(self.plan.push(action, ready.iter().copied().chain(made)));
        }
        for container in kept {
            let action = Action::Restart {
                id: container.id.clone(),
                name: container.name.clone(),
                timeout: grace(Some(service), self.options.timeout),
            };
            started.push(self.plan.push(action, ready.iter().copied()));
        }
        self.started.insert(name, started);
    }

    /// The steps after which what a service depends on is ready.
    fn ready(&mut self, service: &'a Service) -> Vec<usize> {
        let mut ready = Vec::new();
        for (other, dependency) in service.depends_on.iter() {
            if !self.project.services.contains_key(other)
                || self.options.no_dependencies && !self.made.contains_key(other)
            {
                continue;
            }
            let condition = match dependency.condition.as_deref() {
                Some("service_healthy") => Condition::Healthy,
                Some("service_completed_successfully") => Condition::Completed,
                _ => Condition::Started,
            };
            let steps = self.started.get(other).cloned().unwrap_or_default();
            if condition == Condition::Started {
                ready.extend(steps);
            } else {
                ready.extend(self.wait(other, condition, steps));
            }
        }
        ready
    }

    /// The step that waits for a service, unless it is as the condition says already.
    fn wait(&mut self, name: &'a str, condition: Condition, steps: Vec<usize>) -> Option<usize> {
        if let Some(at) = self.waits.get(&(name, condition)) {
            return Some(*at);
        }
        let held = self.containers.get(name).map_or(&[][..], Vec::as_slice);
        let fulfilled = steps.is_empty()
            && held.iter().all(|container| match condition {
                Condition::Started => container.state == State::Running,
                Condition::Healthy => {
                    container.state == State::Running && container.health == Health::Healthy
                }
                Condition::Completed => container.state == State::Exited(0),
            });
        if fulfilled {
            return None;
        }
        let action = Action::WaitFor { service: name.to_owned(), condition };
        let at = self.plan.push(action, steps);
        self.waits.insert((name, condition), at);
        Some(at)
    }

    /// Whether another service waits until this one has ended well.
    fn completes(&self, name: &str) -> bool {
        self.completing.contains(name)
    }

    fn wait_for_all(&mut self, names: &[&'a str]) {
        for name in names {
            let Some(service) = self.project.services.get(name) else { continue };
            if self.completes(name) || service.provider.is_some() || self.count(name, service) == 0 {
                continue;
            }
            let check = service
                .healthcheck
                .as_ref()
                .is_some_and(|check| check.disable != Some(true) && !check.test.0.is_empty());
            let condition = if check { Condition::Healthy } else { Condition::Started };
            let steps = self.started.get(name).cloned().unwrap_or_default();
            self.wait(name, condition, steps);
        }
    }

    fn remove(&mut self, container: &Container, service: Option<&Service>) -> usize {
        let (id, name) = (container.id.clone(), container.name.clone());
        let running = matches!(container.state, State::Running | State::Paused);
        let timeout = grace(service, self.options.timeout);
        let stopped =
            running.then(|| self.plan.push(Action::Stop { id: id.clone(), name: name.clone(), timeout }, []));
        self.plan.push(Action::Remove { id, name }, stopped)
    }

    /// Containers whose service is no longer in the project.
    fn orphans(&mut self) {
        let (project, there) = (self.project, self.there);
        let orphan = |container: &&Container| {
            !container.one_off
                && !project.services.contains_key(&container.service)
                && !project.disabled.contains_key(&container.service)
        };
        for container in there.containers.iter().filter(orphan) {
            if self.options.remove_orphans {
                self.remove(container, None);
            } else {
                self.plan.orphans.push(container.name.clone());
            }
        }
    }
}

fn completing(project: &Project) -> HashSet<&str> {
    let dependencies = project.services.values().flat_map(|service| service.depends_on.iter());
    dependencies
        .filter(|(_, dependency)| dependency.condition.as_deref() == Some("service_completed_successfully"))
        .map(|(name, _)| name)
        .collect()
}

/// The services whose namespaces or mounts a service shares.
fn shares(service: &Service) -> Vec<&str> {
    let namespaces = [&service.network_mode, &service.ipc, &service.pid, &service.uts];
    let spaces = namespaces.into_iter().filter_map(|shared| shared.as_deref()?.strip_prefix("service:"));
    let mounts = service
        .volumes_from
        .iter()
        .filter(|from| !from.starts_with("container:"))
        .filter_map(|from| from.split(':').next());
    spaces.chain(mounts).collect()
}
