//! A project: all that a set of files describes.
use std::path::PathBuf;

use super::network::Network;
use super::resource::{Config, Model, Secret, Volume};
use super::service::Service;
use crate::map::Map;
use crate::shape::{Extensions, Reader, Shape, escaped};
use crate::yaml::Node;

/// A project: all that a set of files describes.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Project {
    /// Its name, of lower-case letters, digits, `-` and `_`.
    pub name: String,
    /// Its services that the profiles let run.
    pub services: Map<Service>,
    /// Its networks.
    pub networks: Map<Network>,
    /// Its volumes.
    pub volumes: Map<Volume>,
    /// Its secrets.
    pub secrets: Map<Secret>,
    /// Its configs.
    pub configs: Map<Config>,
    /// Its language models.
    pub models: Map<Model>,
    /// Keys that begin with `x-`.
    pub extensions: Extensions,
    /// Services that no profile switched on.
    pub disabled: Map<Service>,
    /// The profiles that are on.
    pub profiles: Vec<String>,
    /// The directory that relative paths start from.
    pub directory: PathBuf,
    /// The files that were merged, in order.
    pub files: Vec<PathBuf>,
}

impl Project {
    /// The keys that the specification has at the top.
    pub const KEYS: &'static [&'static str] =
        &["version", "name", "include", "services", "networks", "volumes", "secrets", "configs", "models"];

    pub(crate) fn read(tree: &Node, reader: &mut Reader<'_>) -> Self {
        let mut project = Self::default();
        let Some(map) = tree.as_map() else {
            if !tree.is_null() {
                let finding =
                    crate::diagnostic::Diagnostic::error(tree.span, format!("here is {}", tree.kind()))
                        .expected("a mapping with `services:`");
                reader.report(crate::slips::colonless(tree, finding));
            }
            return project;
        };
        for (key, member) in map.iter() {
            let node = &member.node;
            reader.under(key, |reader| match key {
                "services" => project.services = Map::read(node, reader).unwrap_or_default(),
                "networks" => project.networks = Map::read(node, reader).unwrap_or_default(),
                "volumes" => project.volumes = Map::read(node, reader).unwrap_or_default(),
                "secrets" => project.secrets = Map::read(node, reader).unwrap_or_default(),
                "configs" => project.configs = Map::read(node, reader).unwrap_or_default(),
                "models" => project.models = Map::read(node, reader).unwrap_or_default(),
                "name" | "version" | "include" => {}
                key if key.starts_with("x-") => {
                    project.extensions.insert(key, node.clone());
                }
                key if node.get("image").or(node.get("build")).is_some() => {
                    let shown: String = key.chars().take(80).collect();
                    let finding = crate::diagnostic::Diagnostic::error(
                        member.key_span,
                        format!("`{shown}` is not a key of the project"),
                    );
                    reader.report(finding.suggest("it looks like a service; indent it below `services:`"));
                }
                key => reader.unknown(key, member.key_span, "the project", Self::KEYS),
            });
        }
        for (section, names) in [
            ("services", project.services.keys().map(str::to_owned).collect::<Vec<_>>()),
            ("networks", project.networks.keys().map(str::to_owned).collect()),
            ("volumes", project.volumes.keys().map(str::to_owned).collect()),
            ("secrets", project.secrets.keys().map(str::to_owned).collect()),
            ("configs", project.configs.keys().map(str::to_owned).collect()),
        ] {
            for name in names.iter().filter(|name| !named(name)) {
                let span = map
                    .get(section)
                    .and_then(|member| member.node.as_map()?.get(name))
                    .map_or(tree.span, |member| member.key_span);
                let shown: String = name.chars().take(80).collect();
                let finding = crate::diagnostic::Diagnostic::error(span, format!("`{shown}` is no name"));
                let finding = finding.expected("letters, digits, `.`, `-` and `_`");
                let finding = if name.contains('：') {
                    finding.suggest("write `: `, with the colon of ASCII")
                } else {
                    finding
                };
                reader.under(section, |reader| reader.under(name, |reader| reader.report(finding)));
            }
        }
        project
    }

    /// The tree of the canonical file, every `$` doubled.
    pub fn to_tree(&self) -> Node {
        let mut entries = vec![("name".to_owned(), Node::text(self.name.clone()))];
        entries
            .push(("services".to_owned(), self.services.write().unwrap_or_else(|| Node::map::<String>([]))));
        let sections = [
            ("networks", self.networks.write()),
            ("volumes", self.volumes.write()),
            ("secrets", self.secrets.write()),
            ("configs", self.configs.write()),
            ("models", self.models.write()),
        ];
        entries.extend(sections.into_iter().filter_map(|(key, node)| Some((key.to_owned(), node?))));
        entries
            .extend(self.extensions.sorted().into_iter().map(|(key, node)| (key.to_owned(), escaped(node))));
        Node::map(entries)
    }
}

fn named(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'))
}
