//! A file as a person wrote it, to be changed in place.
mod edit;
mod text;

use std::fmt;

use crate::diagnostic::{Diagnostic, Severity};
use crate::error::Error;
use crate::map::Map;
use crate::source::{FileId, Span};
use crate::yaml::{Budget, Member, Node, Value, parse};
use text::Text;

/// A Compose file, or any YAML file of one document, that keeps every byte which no edit names: comments, blank lines,
/// quotes, anchors, the order of keys.
///
/// A place is named by the keys that lead to it; in a list, by the number of the item from 0. Nothing is resolved:
/// variables, `extends` and `include` stand as they were written.
///
/// An edit is all or nothing. The new text is read again before it is taken, and an edit after which anything but the
/// named place would mean something else is an [`Error::Edit`].
///
/// ```
/// use compose_model::{Document, yaml::Node};
///
/// let mut file = Document::parse("services:\n  web: # the shop\n    image: nginx:1.26 # pinned\n").unwrap();
/// file.set(&["services", "web", "image"], &Node::text("nginx:1.27"))?;
/// file.set(&["services", "web", "restart"], &Node::text("always"))?;
/// assert_eq!(
///     file.to_string(),
///     "services:\n  web: # the shop\n    image: nginx:1.27 # pinned\n    restart: always\n"
/// );
/// # Ok::<(), compose_model::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Document {
    text: Text,
    root: Node,
}

impl Document {
    /// Reads a text; what is wrong with it, if anything is.
    pub fn parse(text: impl Into<String>) -> Result<Self, Vec<Diagnostic>> {
        let text = text.into();
        let mut budget = Budget::default();
        if text.len() > budget.bytes {
            let message = format!("the file has more than {} bytes", budget.bytes);
            return Err(vec![Diagnostic::error(Span::default(), message)]);
        }
        let mut found = Vec::new();
        let text = Text::new(text);
        let mut documents = parse(FileId::default(), text.as_str(), &mut budget, &mut found);
        found.retain(|finding| finding.severity == Severity::Error);
        if let Some(second) = documents.get(1) {
            found.push(
                Diagnostic::error(second.span, "a second document begins here").expected("one document"),
            );
        }
        if !found.is_empty() {
            return Err(found);
        }
        Ok(Self { root: documents.pop().unwrap_or_default(), text })
    }

    /// The tree, as it is written.
    pub fn root(&self) -> &Node {
        &self.root
    }

    /// The node at a place.
    pub fn get(&self, path: &[&str]) -> Option<&Node> {
        path.iter().try_fold(&self.root, |node, step| child(node, step))
    }

    /// Puts a value at a place. A key that is not there is added behind the last one of its mapping, an item behind the
    /// last one of its list; what it stands in must be there.
    pub fn set(&mut self, path: &[&str], value: &Node) -> Result<(), Error> {
        let (last, above, parent) = self.parent(path)?;
        // what a mapping has from a merge key is no entry of its own
        let own = parent
            .as_map()
            .and_then(|map| map.get(last))
            .is_none_or(|member| member.key_span.begins_in(parent.span));
        let text = match child(parent, last).filter(|_| own) {
            Some(old) => self.text.replaced(parent, last, old, value),
            None => match &parent.value {
                Value::Map(_) | Value::Null => {
                    let entry = Node::map([(last, value.clone())]);
                    self.grown(above, parent, &entry)
                }
                Value::List(items) if last.parse() == Ok(items.len()) => {
                    self.grown(above, parent, &Node::list([value.clone()]))
                }
                Value::List(_) => {
                    return Err(refused(path, "the list has no such item, and it is not the next"));
                }
                _ => return Err(refused(path, "what it would stand in is neither a mapping nor a list")),
            },
        };
        self.take(path, text, Some(value))
    }

    /// Takes a key or an item away, with the comment behind it and those on the lines right above it, and returns its value.
    pub fn remove(&mut self, path: &[&str]) -> Result<Node, Error> {
        let (last, _, parent) = self.parent(path)?;
        let old = child(parent, last).cloned().ok_or_else(|| refused(path, "there is nothing"))?;
        let text = self.text.without(parent, last, &old);
        self.take(path, text, None)?;
        Ok(old)
    }

    /// The last step of a path, those above it, and the node that they lead to.
    fn parent<'a>(&self, path: &'a [&'a str]) -> Result<(&'a str, &'a [&'a str], &Node), Error> {
        let (last, above) = path.split_last().ok_or_else(|| refused(path, "no key is named"))?;
        let mut node = &self.root;
        for step in above {
            let next =
                child(node, step).ok_or_else(|| refused(path, "what it would stand in is not there"))?;
            // an anchor stands before whatever takes its value
            let start =
                node.as_map().and_then(|map| map.get(step)).map_or(node.span, |member| member.key_span).start;
            if next.span.start.offset < start.offset {
                return Err(refused(path, "it comes from an anchor: change it there"));
            }
            node = next;
        }
        Ok((*last, above, node))
    }

    /// The text with the one entry or item of `more` behind those of a node that may have none.
    fn grown(&self, path: &[&str], node: &Node, more: &Node) -> Option<String> {
        if node.is_block() {
            return self.text.added(node, more);
        }
        match path.split_last() {
            None => Some(self.text.as_root(node, more)),
            Some((last, above)) => self.text.replaced(self.get(above)?, last, node, more),
        }
    }

    /// Takes a new text over, if it says what it should.
    fn take(&mut self, path: &[&str], text: Option<String>, value: Option<&Node>) -> Result<(), Error> {
        let unable = || refused(path, "it is written in a way that cannot be changed in place");
        let shared = || refused(path, "more than that would change, as an alias does with its anchor");
        let text = self.text.mark().to_owned() + &text.ok_or_else(unable)?;
        let new = Self::parse(text).map_err(|found| {
            let lost = found.iter().any(|finding| finding.message.contains("anchor"));
            if lost { shared() } else { unable() }
        })?;
        let mut tree = self.root.clone();
        put(&mut tree, path, value);
        if new.root != tree {
            return Err(shared());
        }
        *self = new;
        Ok(())
    }
}

/// The text, byte for byte where nothing was changed.
impl fmt::Display for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text.mark())?;
        f.write_str(self.text.as_str())
    }
}

fn refused(path: &[&str], reason: &'static str) -> Error {
    Error::Edit { path: path.join("."), reason }
}

fn child<'a>(node: &'a Node, step: &str) -> Option<&'a Node> {
    match &node.value {
        Value::Map(map) => map.get(step).map(|member| &member.node),
        Value::List(items) => items.get(step.parse::<usize>().ok()?),
        _ => None,
    }
}

/// Puts a value into a tree, or takes it out.
fn put(tree: &mut Node, path: &[&str], value: Option<&Node>) {
    let Some((step, rest)) = path.split_first() else {
        *tree = value.cloned().unwrap_or_default();
        return;
    };
    if tree.is_null() {
        tree.value = Value::Map(Map::new());
    }
    match &mut tree.value {
        Value::Map(map) => match (map.get_mut(step), value) {
            (Some(_), None) if rest.is_empty() => {
                map.remove(step);
            }
            (Some(member), _) => put(&mut member.node, rest, value),
            (None, Some(value)) => {
                map.insert(*step, Member { key_span: Span::default(), node: value.clone() });
            }
            (None, None) => {}
        },
        Value::List(items) => {
            let Ok(at) = step.parse::<usize>() else { return };
            match (items.get_mut(at), value) {
                (Some(_), None) if rest.is_empty() => {
                    items.remove(at);
                }
                (Some(item), _) => put(item, rest, value),
                (None, Some(value)) => items.push(value.clone()),
                (None, None) => {}
            }
        }
        _ => {}
    }
}
