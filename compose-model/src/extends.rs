//! `extends`: a service takes over what another has, of the same file or another.
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use crate::diagnostic::{Diagnostic, nearest};
use crate::files::join;
use crate::map::Map;
use crate::merge::merge;
use crate::run::{Run, Variables};
use crate::source::Span;
use crate::yaml::{Member, Node, Value, too_large};

/// A service by its file and name.
type Key = (PathBuf, String);

struct Extender<'a, 'f> {
    run: &'a mut Run<'f>,
    variables: &'a Variables,
    services: HashMap<PathBuf, Map<Member>>,
    done: HashMap<Key, Node>,
}

/// What `extends` of a service names.
struct Wish {
    service: String,
    file: Option<String>,
    span: Span,
}

/// Resolves every `extends` of a file's services, in place.
pub(crate) fn extend(run: &mut Run<'_>, tree: &mut Node, path: &Path, variables: &Variables) {
    let Some(member) = tree.as_map_mut().and_then(|map| map.get_mut("services")) else { return };
    let Some(services) = member.node.as_map_mut() else { return };
    if !services.values().any(|member| member.node.get("extends").is_some()) {
        return;
    }
    let own = std::mem::take(services);
    let names: Vec<String> = own
        .iter()
        .filter(|(_, member)| member.node.get("extends").is_some())
        .map(|(name, _)| name.to_owned())
        .collect();
    let mut extender = Extender { run, variables, services: HashMap::new(), done: HashMap::new() };
    extender.services.insert(path.to_owned(), own);
    for name in names {
        if !extender.resolve(path, &name) {
            break;
        }
    }
    let Extender { services: mut files, mut done, .. } = extender;
    let resolved = files.remove(path).unwrap_or_default().into_iter().map(|(name, member)| {
        let node = done.remove(&(path.to_owned(), name.clone())).unwrap_or(member.node);
        (name, Member { node, ..member })
    });
    *services = resolved.collect();
}

impl Extender<'_, '_> {
    /// Resolves one service and all that it stands on; `false` when the budget is used up.
    fn resolve(&mut self, path: &Path, name: &str) -> bool {
        let mut chain: Vec<Key> = Vec::new();
        let mut seen: HashSet<Key> = HashSet::new();
        let mut at: Key = (path.to_owned(), name.to_owned());
        let mut base: Option<Node> = None;
        loop {
            if let Some(done) = self.done.get(&at) {
                base = Some(done.clone());
                break;
            }
            let Some(node) =
                self.services.get(&at.0).and_then(|services| services.get(&at.1)).map(|member| &member.node)
            else {
                break;
            };
            let extends = node.get("extends").cloned();
            let bare = if extends.is_none() { Some(without(node)) } else { None };
            let Some(wish) = self.wish(&at, extends) else {
                base = bare;
                break;
            };
            if !seen.insert(at.clone()) {
                let names: Vec<&str> =
                    chain.iter().skip_while(|key| **key != at).map(|key| key.1.as_str()).take(20).collect();
                let shown =
                    format!("the services extend each other in a circle: {} -> {}", names.join(" -> "), at.1);
                self.run.report(Diagnostic::error(wish.span, shown).at(format!("services.{}.extends", at.1)));
                break;
            }
            chain.push(at.clone());
            let file = match &wish.file {
                None => at.0.clone(),
                Some(file) => {
                    let base = self
                        .run
                        .sources
                        .source(wish.span.file)
                        .map_or_else(PathBuf::new, |source| source.base.clone());
                    join(&base, file)
                }
            };
            if !self.load(&file, &wish, &at.1) {
                break;
            }
            let known = self.services.get(&file);
            if !known.is_some_and(|services| services.contains_key(&wish.service)) {
                let near = known
                    .and_then(|services| nearest(&wish.service, services.keys()))
                    .map(|near| format!("did you mean `{near}`?"));
                let shown = format!(
                    "the service `{}` that is to be extended is not in {}",
                    wish.service,
                    file.display()
                );
                let finding = Diagnostic::error(wish.span, shown).at(format!("services.{}.extends", at.1));
                self.run.report(if let Some(near) = near { finding.suggest(near) } else { finding });
                break;
            }
            at = (file, wish.service);
        }
        let mut chain = chain.into_iter().rev().peekable();
        while let Some(key) = chain.next() {
            let Some(own) = self
                .services
                .get(&key.0)
                .and_then(|services| services.get(&key.1))
                .map(|member| &member.node)
            else {
                continue;
            };
            // what could not be extended keeps its key, so that nothing else is reported of it
            let own = if base.is_some() { without(own) } else { own.clone() };
            let mut trail = vec!["services".to_owned(), key.1.clone()];
            let span = own.span;
            let merged = match base.take() {
                Some(base) => merge(base, own, &mut trail, &mut self.run.found),
                None => own,
            };
            if !self.run.budget.take(merged.weight()) {
                self.run.report(too_large(span).at(trail.join(".")));
                return false;
            }
            base = chain.peek().map(|_| merged.clone());
            self.done.insert(key, merged);
        }
        true
    }

    fn wish(&mut self, at: &Key, node: Option<Node>) -> Option<Wish> {
        let node = node.filter(|node| !node.is_null())?;
        let key = format!("services.{}.extends", at.1);
        let text = |key: &str| node.get(key).and_then(Node::as_text).map(str::to_owned);
        let wish = match &node.value {
            Value::Text(service) => Some(Wish { service: service.clone(), file: None, span: node.span }),
            Value::Map(map) => {
                for (name, member) in map.iter().filter(|(name, _)| !matches!(*name, "service" | "file")) {
                    let finding =
                        Diagnostic::error(member.key_span, format!("`{name}` is not a key of `extends`"));
                    self.run.report(finding.at(format!("{key}.{name}")).expected("`service` and `file`"));
                }
                text("service").map(|service| Wish { service, file: text("file"), span: node.span })
            }
            _ => None,
        };
        if wish.is_none() {
            self.run.report(
                Diagnostic::error(node.span, "`extends` names no service")
                    .at(key)
                    .expected("`service: NAME`, with or without `file: PATH`"),
            );
        }
        wish
    }

    /// Reads the services of another file, once.
    fn load(&mut self, file: &Path, wish: &Wish, name: &str) -> bool {
        if self.services.contains_key(file) {
            return true;
        }
        let base = file.parent().unwrap_or(Path::new("")).to_owned();
        let key = format!("services.{name}.extends");
        let Some(mut tree) = self.run.tree(file, &base, self.variables, Some((wish.span, &key))) else {
            return false;
        };
        let services =
            tree.as_map_mut().and_then(|map| map.remove("services")).map(|member| member.node.value);
        let services = if let Some(Value::Map(services)) = services { services } else { Map::new() };
        self.services.insert(file.to_owned(), services);
        true
    }
}

fn without(node: &Node) -> Node {
    let mut node = node.clone();
    if let Some(map) = node.as_map_mut() {
        map.remove("extends");
    }
    node
}
