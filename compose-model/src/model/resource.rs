//! Volumes, secrets, configs and models of the project.
use super::scalar::{Location, Options, Pairs};
use crate::shape::{Reader, Shape, record};
use crate::yaml::{Node, Value};

/// Whether something is there already and is not made or removed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct External {
    /// Whether it is.
    pub yes: bool,
    name: Option<String>,
}

impl External {
    /// Gives the name of the old form `external: {name: …}` to what has none of its own.
    pub(crate) fn claim(&mut self, name: &mut Option<String>) {
        if let Some(own) = self.name.take() {
            name.get_or_insert(own);
        }
    }
}

impl Shape for External {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        match &node.value {
            Value::Map(map) => {
                let name = map
                    .get("name")
                    .and_then(|member| reader.under("name", |reader| String::read(&member.node, reader)));
                for (key, member) in map.iter().filter(|(key, _)| *key != "name" && !key.starts_with("x-")) {
                    reader.under(key, |reader| reader.unknown(key, member.key_span, "`external`", &["name"]));
                }
                Some(Self { yes: true, name })
            }
            _ => bool::read(node, reader).map(|yes| Self { yes, name: None }),
        }
    }
    fn write(&self) -> Option<Node> {
        self.yes.then(|| Node::bool(true))
    }
}

record! {
    /// A volume of the project.
    Volume, "a volume", {
        /// Its name in the engine.
        "name" name: Option<String>,
        /// Its driver.
        "driver" driver: Option<String>,
        /// Options of the driver.
        "driver_opts" driver_opts: Options,
        /// Whether it is there already and stays.
        "external" external: External,
        /// Its labels.
        "labels" labels: Pairs,
    }
}

record! {
    /// A secret of the project.
    Secret, "a secret", {
        /// Its name in the engine.
        "name" name: Option<String>,
        /// The file that holds it.
        "file" file: Option<Location>,
        /// The variable that holds it.
        "environment" environment: Option<String>,
        /// Whether it is there already and stays.
        "external" external: External,
        /// Its labels.
        "labels" labels: Pairs,
        /// Its driver.
        "driver" driver: Option<String>,
        /// Options of the driver.
        "driver_opts" driver_opts: Options,
        /// The driver of its template.
        "template_driver" template_driver: Option<String>,
    }
}

record! {
    /// A config of the project.
    Config, "a config", {
        /// Its name in the engine.
        "name" name: Option<String>,
        /// Its content.
        "content" content: Option<String>,
        /// The file that holds it.
        "file" file: Option<Location>,
        /// The variable that holds it.
        "environment" environment: Option<String>,
        /// Whether it is there already and stays.
        "external" external: External,
        /// Its labels.
        "labels" labels: Pairs,
        /// The driver of its template.
        "template_driver" template_driver: Option<String>,
    }
}

record! {
    /// A language model of the project.
    Model, "a model", {
        /// Its name.
        "name" name: Option<String>,
        /// The artifact that holds it.
        "model" model: Option<String>,
        /// How many tokens it looks back.
        "context_size" context_size: Option<i64>,
        /// Flags of the program that runs it.
        "runtime_flags" runtime_flags: Vec<String>,
    }
}

impl Shape for Volume {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let mut volume = Self::read_record(node, reader)?;
        volume.external.claim(&mut volume.name);
        Some(volume)
    }
    fn write(&self) -> Option<Node> {
        Some(self.write_record())
    }
}

impl Shape for Secret {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let mut secret = Self::read_record(node, reader)?;
        secret.external.claim(&mut secret.name);
        let sources = usize::from(secret.file.is_some()) + usize::from(secret.environment.is_some());
        one_source(
            node,
            "secret",
            sources,
            secret.external.yes || secret.driver.is_some(),
            "`file` or `environment`",
            reader,
        );
        Some(secret)
    }
    fn write(&self) -> Option<Node> {
        Some(self.write_record())
    }
}

impl Shape for Config {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let mut config = Self::read_record(node, reader)?;
        config.external.claim(&mut config.name);
        let sources = [config.file.is_some(), config.environment.is_some(), config.content.is_some()];
        let sources = sources.into_iter().filter(|set| *set).count();
        one_source(
            node,
            "config",
            sources,
            config.external.yes,
            "`file`, `environment` or `content`",
            reader,
        );
        Some(config)
    }
    fn write(&self) -> Option<Node> {
        Some(self.write_record())
    }
}

fn one_source(
    node: &Node,
    what: &str,
    sources: usize,
    outside: bool,
    expected: &str,
    reader: &mut Reader<'_>,
) {
    let message = match (sources, outside) {
        (0, true) | (1, false) => return,
        (0, false) => format!("the {what} says not where it comes from"),
        (1, true) => format!("the {what} is there already and has a source all the same"),
        _ => format!("the {what} has more than one source"),
    };
    let finding = crate::diagnostic::Diagnostic::error(node.span, message);
    reader.report(finding.expected(format!("one of {expected}, or `external: true`")));
}

impl Shape for Model {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let model = Self::read_record(node, reader)?;
        if model.model.is_none() {
            reader.report(
                crate::diagnostic::Diagnostic::error(node.span, "the model has no `model`")
                    .expected("`model: REFERENCE`"),
            );
        }
        Some(model)
    }
    fn write(&self) -> Option<Node> {
        Some(self.write_record())
    }
}
