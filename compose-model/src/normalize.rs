//! What a project means without saying it: names, the default network, values of the environment, dependencies.
use std::path::Path;

use crate::diagnostic::Diagnostic;
use crate::map::Map;
use crate::model::{Attachment, Dependency, Network, Project, Service};
use crate::run::Variables;
use crate::yaml::Node;

/// The project's name: given, `COMPOSE_PROJECT_NAME`, the key `name`, or the directory's name made to fit.
pub(crate) fn project_name(
    given: Option<&str>,
    env: &Variables,
    tree: &Node,
    directory: &Path,
    found: &mut Vec<Diagnostic>,
) -> String {
    let named =
        given.or_else(|| env.get("COMPOSE_PROJECT_NAME").map(String::as_str).filter(|name| !name.is_empty()));
    let written = tree.get("name");
    let text = written.and_then(Node::scalar).filter(|name| !name.is_empty());
    if let Some(node) = written.filter(|node| node.as_text().is_none() && !node.is_null()) {
        found.push(
            Diagnostic::error(node.span, format!("here is {}", node.kind())).at("name").expected("a text"),
        );
    }
    if let Some(name) = named.map(str::to_owned).or(text) {
        let fits = fit(&name);
        if fits != name {
            let span = written.map_or(tree.span, |node| node.span);
            let shown: String = name.chars().take(80).collect();
            let finding = Diagnostic::error(span, format!("`{shown}` is no name of a project")).at("name");
            let finding =
                finding.expected("lower-case letters, digits, `-` and `_`, a letter or digit first");
            found.push(if fits.is_empty() { finding } else { finding.suggest(format!("write `{fits}`")) });
        }
        return fits;
    }
    let fits =
        fit(&directory.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default());
    if fits.is_empty() { "default".to_owned() } else { fits }
}

fn fit(name: &str) -> String {
    let lower = name.to_lowercase();
    let kept: String = lower
        .chars()
        .filter(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_'))
        .collect();
    kept.trim_start_matches(['-', '_']).to_owned()
}

pub(crate) fn normalize(project: &mut Project, env: &Variables) {
    let mut default = false;
    for service in project.services.values_mut() {
        if service.provider.is_none() && service.network_mode.is_none() {
            if service.networks.is_empty() {
                service.networks.0.insert("default", Attachment::default());
            }
            default |= service.networks.contains_key("default");
        }
        if service.pull_policy.as_deref() == Some("if_not_present") {
            service.pull_policy = Some("missing".to_owned());
        }
        for (name, value) in service.environment.0.iter_mut().filter(|(_, value)| value.is_none()) {
            *value = env.get(name).cloned();
        }
        if let Some(build) = &mut service.build {
            build.args.0.retain(|name, value| {
                if value.is_none() {
                    *value = env.get(name).cloned();
                }
                value.is_some()
            });
        }
        for value in service.labels.0.values_mut().chain(service.annotations.0.values_mut()) {
            value.get_or_insert_default();
        }
        let image = service.image.clone();
        for hook in &mut service.pre_start {
            hook.image = hook.image.take().or_else(|| image.clone());
        }
        let devices = std::mem::take(&mut service.devices).into_iter();
        let devices: Map<_> = devices
            .map(|device| (device.target.clone().unwrap_or_else(|| device.source.clone()), device))
            .collect();
        service.devices = devices.into_iter().map(|(_, device)| device).collect();
        depend(service);
    }
    if default && !project.networks.contains_key("default") {
        project.networks.insert("default", Network::default());
    }
    let prefix = project.name.clone();
    let name = |key: &str, external: bool| if external { key.to_owned() } else { format!("{prefix}_{key}") };
    macro_rules! names {
        ($($section:ident),*) => {$(
            for (key, resource) in project.$section.iter_mut() {
                let external = resource.external.yes;
                resource.name.get_or_insert_with(|| name(key, external));
            }
        )*};
    }
    names!(networks, volumes, secrets, configs);
}

/// Adds the dependencies that links, shared namespaces and shared mounts bring.
fn depend(service: &mut Service) {
    let mut implied: Map<bool> = Map::new();
    for link in &service.links {
        implied.insert(link.split(':').next().unwrap_or(link), true);
    }
    for shared in [&service.network_mode, &service.ipc, &service.pid, &service.uts, &service.cgroup] {
        if let Some(other) = shared.as_deref().and_then(|shared| shared.strip_prefix("service:")) {
            implied.insert(other, true);
        }
    }
    for from in service.volumes_from.iter().filter(|from| !from.starts_with("container:")) {
        let other = from.split(':').next().unwrap_or(from);
        if !implied.contains_key(other) {
            implied.insert(other, false);
        }
    }
    for (other, restart) in implied {
        if !service.depends_on.contains_key(&other) {
            let dependency = Dependency {
                condition: Some("service_started".to_owned()),
                restart: restart.then_some(true),
                required: Some(true),
                ..Dependency::default()
            };
            service.depends_on.0.insert(other, dependency);
        }
    }
}
