//! Whether what a project names is there, and what excludes each other stays apart.
use crate::diagnostic::{Diagnostic, MANY, nearest};
use crate::merge::locate;
use crate::model::{Project, Service};
use crate::order::order;
use crate::yaml::Node;

pub(crate) fn check(project: &Project, tree: &Node, found: &mut Vec<Diagnostic>) {
    if tree.get("services").is_none_or(Node::is_null) && !tree.is_null() {
        found.push(
            Diagnostic::warning(tree.span, "the project has no services")
                .suggest("write them below `services:`"),
        );
    }
    let mut checker = Checker { project, tree, found };
    for (name, service) in project.services.iter() {
        checker.service(name, service);
    }
    checker.names();
    if let Err(cycle) = order(project) {
        let first = cycle.first().map_or("", String::as_str);
        let second = cycle.get(1).map_or("", String::as_str);
        let (span, _) = locate(tree, &["services", first, "depends_on", second]);
        let shown: Vec<&str> = cycle.iter().map(String::as_str).take(30).collect();
        let finding = Diagnostic::error(
            span,
            format!("the services depend on each other in a circle: {}", shown.join(" -> ")),
        );
        checker.found.push(finding.at(format!("services.{first}.depends_on")));
    }
}

struct Checker<'a> {
    project: &'a Project,
    tree: &'a Node,
    found: &'a mut Vec<Diagnostic>,
}

impl Checker<'_> {
    fn error(&mut self, path: &[&str], message: String, suggestion: Option<String>) {
        // a place in a list is searched for from its start
        let path = if self.found.len() > MANY { &path[..path.len().min(2)] } else { path };
        let (span, key) = locate(self.tree, path);
        let finding = Diagnostic::error(span, message).at(key);
        self.found.push(match suggestion {
            Some(suggestion) => finding.suggest(suggestion),
            None => finding,
        });
    }

    /// Reports a name that is not in a section of the project.
    fn missing<'n>(
        &mut self,
        path: &[&str],
        section: &str,
        name: &str,
        known: impl Iterator<Item = &'n str>,
    ) {
        let near = if self.found.len() > MANY { None } else { nearest(name, known) };
        let suggestion = match near {
            Some(near) => format!("did you mean `{near}`?"),
            None if section == "services" => format!("add the service `{name}`, or remove the name here"),
            None => format!("add `{name}:` to the top-level `{section}:`"),
        };
        let shown: String = name.chars().take(80).collect();
        self.error(path, format!("`{shown}` is not in `{section}`"), Some(suggestion));
    }

    fn service(&mut self, name: &str, service: &Service) {
        let project = self.project;
        if service.image.is_none()
            && service.build.is_none()
            && service.provider.is_none()
            && service.extends.is_none()
        {
            let finding = Diagnostic::error(
                locate(self.tree, &["services", name]).0,
                "the service has neither `image` nor `build`",
            );
            self.found
                .push(finding.at(format!("services.{name}")).expected("`image: REFERENCE` or `build: PATH`"));
        }
        if service.network_mode.is_some() && !service.networks.is_empty() {
            let message = "`network_mode` and `networks` exclude each other".to_owned();
            self.error(&["services", name, "network_mode"], message, Some("remove one of them".to_owned()));
        }
        for network in service.networks.keys().filter(|network| !project.networks.contains_key(network)) {
            self.missing(
                &["services", name, "networks", network],
                "networks",
                network,
                project.networks.keys(),
            );
        }
        for (other, dependency) in service.depends_on.iter() {
            if project.services.contains_key(other) || dependency.required == Some(false) {
                continue;
            }
            let path = ["services", name, "depends_on", other];
            if let Some(off) = project.disabled.get(other) {
                let message =
                    format!("`{other}` is switched off by its profiles, {}", off.profiles.join(", "));
                self.error(
                    &path,
                    message,
                    Some("switch a profile on, or write `required: false`".to_owned()),
                );
            } else {
                self.missing(&path, "services", other, project.services.keys());
            }
        }
        for mount in service.volumes.iter().filter(|mount| mount.kind.as_deref() == Some("volume")) {
            if let Some(source) =
                mount.source.as_deref().filter(|source| !project.volumes.contains_key(source))
            {
                self.missing(
                    &["services", name, "volumes", source],
                    "volumes",
                    source,
                    project.volumes.keys(),
                );
            }
        }
        for secret in service.secrets.iter().chain(service.build.iter().flat_map(|build| &build.secrets)) {
            if !project.secrets.contains_key(&secret.source) {
                self.missing(
                    &["services", name, "secrets", &secret.source],
                    "secrets",
                    &secret.source,
                    project.secrets.keys(),
                );
            }
        }
        for config in service.configs.iter().filter(|config| !project.configs.contains_key(&config.source)) {
            self.missing(
                &["services", name, "configs", &config.source],
                "configs",
                &config.source,
                project.configs.keys(),
            );
        }
        for model in service.models.keys().filter(|model| !project.models.contains_key(model)) {
            self.missing(&["services", name, "models", model], "models", model, project.models.keys());
        }
        if let Some(build) = &service.build {
            for (context, value) in build.additional_contexts.iter() {
                let Some(other) = value.as_deref().and_then(|value| value.strip_prefix("service:")) else {
                    continue;
                };
                let path = ["services", name, "build", "additional_contexts", context];
                match project.services.get(other) {
                    Some(held) if held.build.is_some() => {}
                    Some(_) => self.error(&path, format!("the service `{other}` is not built"), None),
                    None => self.missing(&path, "services", other, project.services.keys()),
                }
            }
            if let Some(platform) = service
                .platform
                .as_ref()
                .filter(|platform| !build.platforms.is_empty() && !build.platforms.contains(platform))
            {
                self.error(
                    &["services", name, "build", "platforms"],
                    format!("`{platform}`, the service's platform, is not among them"),
                    None,
                );
            }
        }
        self.numbers(name, service);
    }

    fn numbers(&mut self, name: &str, service: &Service) {
        let replicas = service.deploy.as_ref().and_then(|deploy| deploy.replicas);
        if let (Some(scale), Some(replicas)) = (service.scale, replicas)
            && scale != replicas
        {
            self.error(
                &["services", name, "scale"],
                format!("`scale` is {scale} and `deploy.replicas` is {replicas}"),
                Some("write one of them".to_owned()),
            );
        }
        let (count, path): (_, &[&str]) = match (service.scale, replicas) {
            (Some(scale), _) => (scale, &["services", name, "scale"]),
            (None, Some(replicas)) => (replicas, &["services", name, "deploy", "replicas"]),
            (None, None) => (1, &[]),
        };
        if count < 0 {
            self.error(path, format!("{count} containers cannot be"), Some("write 0 or more".to_owned()));
        }
        if count > 1 && service.container_name.is_some() {
            let message = format!("one name cannot be given to {count} containers");
            self.error(
                &["services", name, "container_name"],
                message,
                Some("remove `container_name` or `scale`".to_owned()),
            );
        }
        let limits = service
            .deploy
            .as_ref()
            .and_then(|deploy| deploy.resources.as_ref())
            .and_then(|resources| resources.limits.as_ref());
        if let Some(limits) = limits {
            if service.cpus.is_some() && limits.cpus.is_some() && service.cpus != limits.cpus {
                self.error(
                    &["services", name, "cpus"],
                    "`cpus` and `deploy.resources.limits.cpus` differ".to_owned(),
                    Some("write one of them".to_owned()),
                );
            }
            if service.mem_limit.is_some() && limits.memory.is_some() && service.mem_limit != limits.memory {
                let message = "`mem_limit` and `deploy.resources.limits.memory` differ".to_owned();
                self.error(&["services", name, "mem_limit"], message, Some("write one of them".to_owned()));
            }
            if service.pids_limit.is_some() && limits.pids.is_some() && service.pids_limit != limits.pids {
                let message = "`pids_limit` and `deploy.resources.limits.pids` differ".to_owned();
                self.error(&["services", name, "pids_limit"], message, Some("write one of them".to_owned()));
            }
        }
    }

    /// Container names that two services want.
    fn names(&mut self) {
        let mut seen = std::collections::HashMap::new();
        for (name, service) in self.project.services.iter() {
            let Some(container) = &service.container_name else { continue };
            let shape = container.len() > 1
                && container.starts_with(|c: char| c.is_ascii_alphanumeric())
                && container.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'));
            if !shape {
                let shown: String = container.chars().take(80).collect();
                self.error(
                    &["services", name, "container_name"],
                    format!("`{shown}` is no name of a container"),
                    None,
                );
            }
            if let Some(first) = seen.insert(container.as_str(), name) {
                let message = format!("the service `{first}` has the name `{container}` already");
                self.error(&["services", name, "container_name"], message, None);
            }
        }
    }
}
