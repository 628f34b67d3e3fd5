//! One load while it runs: files read, what was found, what may still be used.
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::diagnostic::{Diagnostic, Severity};
use crate::dotenv::{Quoting, variables};
use crate::error::Error;
use crate::files::{Files, join};
use crate::interpolate::interpolate;
use crate::merge::{merge, settle};
use crate::slips;
use crate::source::{Sources, Span};
use crate::yaml::{Budget, Node, Value, parse};

/// The variables that a file sees.
pub(crate) type Variables = BTreeMap<String, String>;

/// How deep includes may stand in each other.
const INCLUDES: usize = 100;

pub(crate) struct Run<'f> {
    pub(crate) files: &'f dyn Files,
    pub(crate) sources: Sources,
    pub(crate) found: Vec<Diagnostic>,
    pub(crate) budget: Budget,
    pub(crate) interpolate: bool,
}

impl Run<'_> {
    pub(crate) fn report(&mut self, finding: Diagnostic) {
        self.found.push(finding);
    }

    fn refuse(&mut self, path: &Path, message: String, named: Option<(Span, &str)>) {
        let mut finding = Diagnostic::error(named.map_or_else(Span::default, |(span, _)| span), message);
        match named {
            Some((_, key)) => key.clone_into(&mut finding.key),
            None => path.clone_into(&mut finding.file),
        }
        self.report(finding);
    }

    /// The text of a file; `Ok(None)` when it is not there and need not be.
    pub(crate) fn text(
        &mut self,
        path: &Path,
        required: bool,
        named: Option<(Span, &str)>,
    ) -> Option<String> {
        let Some(files) = self.budget.files.checked_sub(1) else {
            self.refuse(
                path,
                "the project names more files than the loader's budget allows".to_owned(),
                named,
            );
            return None;
        };
        self.budget.files = files;
        let bytes = match self.files.read(path, self.budget.bytes) {
            Ok(bytes) => bytes,
            Err(Error::NotFound(_)) if !required => return None,
            Err(error) => {
                let source = std::error::Error::source(&error)
                    .map_or_else(String::new, |source| format!(": {source}"));
                self.refuse(path, format!("{error}{source}"), named);
                return None;
            }
        };
        self.budget.bytes = self.budget.bytes.saturating_sub(bytes.len());
        match String::from_utf8(bytes) {
            Ok(text) => Some(text),
            Err(fault) => {
                let good = fault.utf8_error().valid_up_to();
                let line = fault.as_bytes().iter().take(good).filter(|byte| **byte == b'\n').count() + 1;
                self.refuse(path, format!("{} is not UTF-8 from line {line} on", path.display()), named);
                None
            }
        }
    }

    /// The tree of a file, its variables put in, its documents merged.
    pub(crate) fn tree(
        &mut self,
        path: &Path,
        base: &Path,
        env: &Variables,
        named: Option<(Span, &str)>,
    ) -> Option<Node> {
        let text = self.text(path, true, named)?;
        let text = text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text);
        let file = self.sources.add(path, base, text.clone());
        let before = self.found.len();
        let mut trees = parse(file, &text, &mut self.budget, &mut self.found);
        let fault =
            self.found.iter().skip(before).find(|finding| finding.severity == Severity::Error).cloned();
        let mut hints = Vec::new();
        slips::scan(file, &text, fault.is_some(), &mut hints);
        if let Some(fault) = &fault {
            slips::indentation(fault, &text, &mut hints);
        }
        self.found.append(&mut hints);
        let mut merged: Option<Node> = None;
        for tree in &mut trees {
            slips::version(tree, &mut self.found);
            if self.interpolate {
                interpolate(tree, env, &mut self.budget, &mut self.found);
            }
            let tree = std::mem::take(tree);
            merged = Some(match merged {
                Some(below) => merge(below, tree, &mut Vec::new(), &mut self.found),
                None => tree,
            });
        }
        if merged.is_none() && fault.is_none() {
            self.report(
                Diagnostic::error(Span { file, ..Span::default() }, "the file is empty")
                    .expected("a mapping with `services:`"),
            );
        }
        merged
    }

    /// Files merged in order, with what they extend and include.
    pub(crate) fn set(
        &mut self,
        files: &[PathBuf],
        base: &Path,
        env: &Variables,
        stack: &mut Vec<PathBuf>,
        named: Option<(Span, &str)>,
    ) -> Node {
        let mut merged = Node::default();
        for path in files {
            let Some(mut tree) = self.tree(path, base, env, named) else { continue };
            crate::extends::extend(self, &mut tree, path, env);
            merged = merge(merged, tree, &mut Vec::new(), &mut self.found);
        }
        settle(&mut merged);
        let include = merged.as_map_mut().and_then(|map| map.remove("include")).map(|member| member.node);
        let Some(include) = include.filter(|node| !node.is_null()) else { return merged };
        let Value::List(items) = include.value else {
            let finding = Diagnostic::error(include.span, format!("here is {}", include.kind()))
                .at("include")
                .expected("a list of paths");
            self.report(finding.suggest("begin each path with `- `"));
            return merged;
        };
        for (at, item) in items.into_iter().enumerate() {
            let key = format!("include[{at}]");
            if let Some(below) = self.include(&item, &key, base, env, stack, files) {
                merged = self.import(below, merged, &key, item.span);
            }
        }
        merged
    }

    /// What an entry of `include` names, loaded as a project of its own.
    fn include(
        &mut self,
        item: &Node,
        key: &str,
        base: &Path,
        env: &Variables,
        stack: &mut Vec<PathBuf>,
        own: &[PathBuf],
    ) -> Option<Node> {
        let here =
            self.sources.source(item.span.file).map_or_else(|| base.to_owned(), |source| source.base.clone());
        let many = |node: Option<&Node>| -> Vec<String> {
            match node.map(|node| &node.value) {
                Some(Value::Text(text)) => vec![text.clone()],
                Some(Value::List(items)) => items.iter().filter_map(Node::scalar).collect(),
                _ => Vec::new(),
            }
        };
        let (paths, files, directory) = match &item.value {
            Value::Text(path) => (vec![path.clone()], Vec::new(), None),
            Value::Map(map) => {
                for (name, member) in
                    map.iter().filter(|(name, _)| !matches!(*name, "path" | "env_file" | "project_directory"))
                {
                    let finding =
                        Diagnostic::error(member.key_span, format!("`{name}` is not a key of `include`"));
                    self.report(
                        finding
                            .at(format!("{key}.{name}"))
                            .expected("`path`, `env_file` and `project_directory`"),
                    );
                }
                (
                    many(item.get("path")),
                    many(item.get("env_file")),
                    item.get("project_directory").and_then(Node::scalar),
                )
            }
            _ => (Vec::new(), Vec::new(), None),
        };
        let Some(first) = paths.first() else {
            self.report(
                Diagnostic::error(item.span, "the entry names no path")
                    .at(key)
                    .expected("a path, or `path: PATH`"),
            );
            return None;
        };
        let main = join(&here, first);
        stack.extend(own.first().cloned());
        let depth = stack.len();
        if let Some(at) = stack.iter().position(|path| *path == main) {
            let names: Vec<String> =
                stack.iter().skip(at).chain([&main]).map(|path| path.display().to_string()).collect();
            let finding = Diagnostic::error(
                item.span,
                format!("the files include each other in a circle: {}", names.join(" -> ")),
            );
            self.report(finding.at(key));
            stack.pop();
            return None;
        }
        if depth > INCLUDES {
            self.report(
                Diagnostic::error(item.span, format!("more than {INCLUDES} includes stand in each other"))
                    .at(key),
            );
            stack.pop();
            return None;
        }
        let directory = directory.map_or_else(
            || main.parent().unwrap_or(Path::new("")).to_owned(),
            |directory| join(&here, &directory),
        );
        let paths: Vec<PathBuf> = paths.iter().map(|path| join(&here, path)).collect();
        let mut inner = env.clone();
        if files.is_empty() {
            self.environment(&directory.join(".env"), false, &mut inner, Some((item.span, key)));
        }
        for file in files.iter().filter(|file| *file != "/dev/null") {
            self.environment(&join(&here, file), true, &mut inner, Some((item.span, key)));
        }
        let below = self.set(&paths, &directory, &inner, stack, Some((item.span, key)));
        stack.pop();
        Some(below)
    }

    /// Adds the variables of a file that are not set yet.
    pub(crate) fn environment(
        &mut self,
        path: &Path,
        required: bool,
        env: &mut Variables,
        named: Option<(Span, &str)>,
    ) {
        let Some(text) = self.text(path, required, named) else { return };
        match variables(&text, Quoting::Compose, |name| env.get(name).cloned()) {
            Ok(read) => {
                for (name, value) in read {
                    if let Some(value) = value {
                        env.entry(name).or_insert(value);
                    }
                }
            }
            Err(error) => self.refuse(path, format!("{}: {error}", path.display()), named),
        }
    }

    /// Puts the project over one that it includes; of that only its resources count.
    fn import(&mut self, mut below: Node, above: Node, key: &str, span: Span) -> Node {
        if let Some(map) = below.as_map_mut() {
            map.retain(|section, _| {
                matches!(section, "services" | "networks" | "volumes" | "secrets" | "configs" | "models")
            });
            for (section, member) in map.iter() {
                let (Some(theirs), Some(ours)) =
                    (member.node.as_map(), above.get(section).and_then(Node::as_map))
                else {
                    continue;
                };
                for (name, member) in theirs.iter() {
                    if ours.get(name).is_some_and(|held| held.node != member.node) {
                        let finding = Diagnostic::warning(
                            span,
                            format!("`{section}.{name}` is in the included file too; both are merged"),
                        );
                        self.found.push(finding.at(key).suggest("give one of them another name"));
                    }
                }
            }
        }
        merge(below, above, &mut Vec::new(), &mut self.found)
    }
}
