//! Printing a project as `docker compose config` does.
use std::collections::BTreeSet;
use std::fmt::Write as _;

use sha2::{Digest, Sha256};

use crate::model::{Project, Service};
use crate::shape::Shape;
use crate::yaml::{Member, Node, to_json, to_yaml};

impl Project {
    /// The canonical file: short forms spread out, names sorted, every `$` doubled.
    pub fn to_yaml(&self) -> String {
        to_yaml(&self.to_tree())
    }

    /// The canonical file as JSON. As Docker's, it has `command` and `entrypoint` in each service, null where there is none.
    pub fn to_json(&self) -> String {
        let mut tree = self.to_tree();
        let services = tree
            .as_map_mut()
            .and_then(|map| map.get_mut("services"))
            .and_then(|member| member.node.as_map_mut());
        for member in services.into_iter().flat_map(crate::map::Map::values_mut) {
            if let Some(service) = member.node.as_map_mut() {
                for key in ["command", "entrypoint"] {
                    if !service.contains_key(key) {
                        service.insert(key, Member::default());
                    }
                }
            }
        }
        to_json(&tree)
    }

    /// The images of the services, sorted, each once; a service that is built has `PROJECT-SERVICE`.
    pub fn images(&self) -> Vec<String> {
        let images: BTreeSet<String> =
            self.services.iter().filter_map(|(name, service)| self.image(name, service)).collect();
        images.into_iter().collect()
    }

    /// The image of one service; none for one that a provider runs.
    pub fn image(&self, name: &str, service: &Service) -> Option<String> {
        match &service.image {
            Some(image) => Some(image.clone()),
            None if service.build.is_some() => Some(format!("{}-{name}", self.name)),
            None => None,
        }
    }

    /// Every profile that a service names, sorted.
    pub fn known_profiles(&self) -> Vec<&str> {
        let all = self.services.values().chain(self.disabled.values());
        let profiles: BTreeSet<&str> =
            all.flat_map(|service| &service.profiles).map(String::as_str).collect();
        profiles.into_iter().collect()
    }

    /// The SHA-256 of a service's settings, in hexadecimal. What says how it is built, how many there are, what comes
    /// before it and when it is pulled is left out, so a change of those makes no new container.
    pub fn hash(&self, service: &Service) -> String {
        let mut bare = service.clone();
        bare.build = None;
        bare.pull_policy = None;
        bare.pull_refresh_after = None;
        bare.scale = None;
        bare.depends_on = crate::model::Dependencies::default();
        bare.profiles.clear();
        bare.develop = None;
        if let Some(deploy) = &mut bare.deploy {
            deploy.replicas = None;
            if *deploy == crate::model::Deploy::default() {
                bare.deploy = None;
            }
        }
        let text = to_json(&bare.write().unwrap_or_default());
        let mut hash = String::with_capacity(64);
        for byte in Sha256::digest(text.as_bytes()) {
            let _ = write!(hash, "{byte:02x}");
        }
        hash
    }

    /// The project without networks, volumes, secrets, configs and models that no service uses.
    #[must_use]
    pub fn without_unused(mut self) -> Self {
        let services = &self.services;
        let used = |uses: &dyn Fn(&Service) -> bool| services.values().any(uses);
        let mut networks = BTreeSet::new();
        let mut volumes = BTreeSet::new();
        let mut secrets = BTreeSet::new();
        let mut configs = BTreeSet::new();
        for service in services.values() {
            networks.extend(service.networks.keys().map(str::to_owned));
            volumes.extend(
                service
                    .volumes
                    .iter()
                    .filter(|mount| mount.kind.as_deref() == Some("volume"))
                    .filter_map(|mount| mount.source.clone()),
            );
            secrets.extend(
                service
                    .secrets
                    .iter()
                    .chain(service.build.iter().flat_map(|build| &build.secrets))
                    .map(|secret| secret.source.clone()),
            );
            configs.extend(service.configs.iter().map(|config| config.source.clone()));
        }
        let mut models = std::mem::take(&mut self.models);
        models.retain(|name, _| used(&|service| service.models.contains_key(name)));
        self.models = models;
        self.networks.retain(|name, _| networks.contains(name));
        self.volumes.retain(|name, _| volumes.contains(name));
        self.secrets.retain(|name, _| secrets.contains(name));
        self.configs.retain(|name, _| configs.contains(name));
        self
    }
}

/// The tree of a load without interpolation, names sorted, as `config --no-interpolate` prints it.
pub fn tree_to_yaml(tree: &Node) -> String {
    let mut tree = tree.clone();
    sort(&mut tree);
    to_yaml(&tree)
}

fn sort(node: &mut Node) {
    match &mut node.value {
        crate::yaml::Value::Map(map) => {
            map.sort();
            map.values_mut().for_each(|member| sort(&mut member.node));
        }
        crate::yaml::Value::List(items) => items.iter_mut().for_each(sort),
        _ => {}
    }
}
