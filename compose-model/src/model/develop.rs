//! `develop`, and commands around a container's life.
use super::scalar::{Command, Location, OneOrMany, Pairs};
use crate::diagnostic::Diagnostic;
use crate::shape::{Reader, Shape, long_only, record};
use crate::yaml::Node;

record! {
    /// What is done while somebody works on the sources.
    Develop, "`develop`", {
        /// What is watched.
        "watch" watch: Vec<Watch>,
    }
}

record! {
    /// A path that is watched.
    Watch, "a watch", {
        /// The path.
        "path" path: Option<Location>,
        /// `rebuild`, `sync`, `restart`, `sync+restart` or `sync+exec`.
        "action" action: Option<String>,
        /// The path in the container.
        "target" target: Option<String>,
        /// What runs after a sync.
        "exec" exec: Option<Hook>,
        /// Patterns of what is watched.
        "include" include: OneOrMany,
        /// Patterns of what is not.
        "ignore" ignore: OneOrMany,
        /// Whether everything is brought over at the start.
        "initial_sync" initial_sync: Option<bool>,
    }
}

record! {
    /// A command in a running container.
    Hook, "a hook", {
        /// The command.
        "command" command: Option<Command>,
        /// The user.
        "user" user: Option<String>,
        /// Whether it has every right.
        "privileged" privileged: Option<bool>,
        /// The directory.
        "working_dir" working_dir: Option<String>,
        /// Variables.
        "environment" environment: Pairs,
    }
}

record! {
    /// A command before a container starts, in a container of its own.
    PreStart, "a `pre_start` hook", {
        /// The command.
        "command" command: Option<Command>,
        /// The image; none means the service's.
        "image" image: Option<String>,
        /// The user.
        "user" user: Option<String>,
        /// Whether it has every right.
        "privileged" privileged: Option<bool>,
        /// The directory.
        "working_dir" working_dir: Option<String>,
        /// Variables.
        "environment" environment: Pairs,
        /// Whether it runs for each container, not once.
        "per_replica" per_replica: Option<bool>,
    }
}

const ACTIONS: &[&str] = &["rebuild", "sync", "restart", "sync+restart", "sync+exec"];

impl Shape for Watch {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let watch = Self::read_record(node, reader)?;
        if watch.path.is_none() {
            reader.report(Diagnostic::error(node.span, "the watch has no `path`").expected("a path"));
        }
        match &watch.action {
            Some(action) if ACTIONS.contains(&action.as_str()) => {}
            _ => reader.report(
                Diagnostic::error(node.span, "the watch has no action that is known")
                    .expected(ACTIONS.join(", ")),
            ),
        }
        Some(watch)
    }
    fn write(&self) -> Option<Node> {
        Some(self.write_record())
    }
}

impl Shape for Hook {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let hook = Self::read_record(node, reader)?;
        if hook.command.is_none() {
            reader.report(Diagnostic::error(node.span, "the hook has no `command`").expected("a command"));
        }
        Some(hook)
    }
    fn write(&self) -> Option<Node> {
        Some(self.write_record())
    }
}

long_only!(Develop, PreStart);
