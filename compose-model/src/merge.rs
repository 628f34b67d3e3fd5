//! One tree over another, key by key as the specification's chapter "Merge" says.
use std::collections::HashSet;
use std::fmt::Write as _;

use crate::diagnostic::Diagnostic;
use crate::map::Map;
use crate::source::Span;
use crate::yaml::{Member, Node, Tag, Value};

/// How the value of a key is merged.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rule {
    /// Mappings by key, lists one behind the other, anything else replaced.
    Deep,
    /// The upper value alone.
    Replace,
    /// `NAME=VALUE` lists and mappings, by name.
    Pairs,
    /// Lists one behind the other, without what is there already.
    Set,
    /// A text is a list of one; then as `Deep`.
    Many,
    /// A list of names is a mapping; then by key.
    Names,
    /// A text is `{context: TEXT}`; then by key.
    Build,
    /// By key when the drivers are the same, else the upper one.
    Logging,
    /// Subnets, by their address.
    Subnets,
}

fn rule(path: &[String]) -> Rule {
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    match path.as_slice() {
        ["services", _, rest @ ..] => match rest {
            ["command" | "entrypoint"] | ["healthcheck", "test"] | ["ulimits", _] => Rule::Replace,
            ["environment" | "labels" | "annotations" | "sysctls"]
            | ["build", "args" | "labels" | "additional_contexts" | "ssh"]
            | ["deploy", "labels"] => Rule::Pairs,
            [
                "cap_add" | "cap_drop" | "dns" | "dns_opt" | "dns_search" | "expose" | "extra_hosts"
                | "group_add" | "links" | "profiles" | "security_opt" | "tmpfs",
            ]
            | ["build", "extra_hosts" | "tags" | "platforms" | "cache_from"]
            | ["networks", _, "aliases" | "link_local_ips"] => Rule::Set,
            ["env_file" | "label_file"] => Rule::Many,
            ["depends_on" | "networks" | "models"] => Rule::Names,
            ["build"] => Rule::Build,
            ["logging"] => Rule::Logging,
            _ => Rule::Deep,
        },
        ["networks" | "volumes" | "secrets" | "configs", _, "labels"] => Rule::Pairs,
        ["networks", _, "ipam", "config"] => Rule::Subnets,
        _ => Rule::Deep,
    }
}

/// Puts `over` over `base`; `path` is the key that both stand under.
pub(crate) fn merge(base: Node, over: Node, path: &mut Vec<String>, found: &mut Vec<Diagnostic>) -> Node {
    if over.tag == Some(Tag::Override) || base.tag == Some(Tag::Reset) {
        return Node { tag: None, ..over };
    }
    if over.is_null() {
        return base;
    }
    if base.is_null() {
        return over;
    }
    match rule(path) {
        Rule::Replace => over,
        Rule::Pairs => pairs(base, over),
        Rule::Set => set(list(base), list(over)),
        Rule::Many => append(list(base), list(over)),
        Rule::Names => deep(names(base), names(over), path, found),
        Rule::Build => deep(build(base), build(over), path, found),
        Rule::Logging => {
            let differ = matches!((base.get("driver"), over.get("driver")), (Some(below), Some(above)) if below != above);
            if differ { over } else { deep(base, over, path, found) }
        }
        Rule::Subnets => subnets(base, over, path, found),
        Rule::Deep => deep(base, over, path, found),
    }
}

fn deep(base: Node, over: Node, path: &mut Vec<String>, found: &mut Vec<Diagnostic>) -> Node {
    let Node { value, span, tag } = base;
    match (value, over.value) {
        (Value::Map(mut below), Value::Map(above)) => {
            let mut dropped = HashSet::new();
            for (key, member) in above {
                if member.node.tag == Some(Tag::Reset) {
                    dropped.insert(key);
                    continue;
                }
                let Some(held) = below.get_mut(&key) else {
                    below.insert(key, member);
                    continue;
                };
                path.push(key);
                held.node = merge(std::mem::take(&mut held.node), member.node, path, found);
                held.key_span = member.key_span;
                path.pop();
            }
            if !dropped.is_empty() {
                below.retain(|key, _| !dropped.contains(key));
            }
            // the upper file's place: what is missing is missed there
            Node { value: Value::Map(below), span: over.span, tag }
        }
        (Value::List(mut below), Value::List(above)) => {
            below.extend(above);
            Node { value: Value::List(below), span: over.span, tag }
        }
        (below @ (Value::List(_) | Value::Map(_)), above) => {
            let below = Node { value: below, span, tag };
            let above = Node { value: above, span: over.span, tag: over.tag };
            let finding = Diagnostic::error(
                above.span,
                format!("{} cannot be merged over {}", above.kind(), below.kind()),
            );
            found.push(
                finding
                    .at(path.join("."))
                    .expected(below.kind())
                    .suggest("write `!override` before the value to replace the one below"),
            );
            below
        }
        (_, above) => Node { value: above, span: over.span, tag: over.tag },
    }
}

fn member(node: Node) -> Member {
    Member { key_span: node.span, node }
}

fn pairs(base: Node, over: Node) -> Node {
    let span = over.span;
    let mut merged = keyed(base);
    for (key, member) in keyed(over) {
        if member.node.tag == Some(Tag::Reset) {
            merged.remove(&key);
        } else {
            merged.insert(key, member);
        }
    }
    Node::new(Value::Map(merged), span)
}

fn keyed(node: Node) -> Map<Member> {
    match node.value {
        Value::Map(map) => map,
        Value::List(items) => items
            .into_iter()
            .map(|item| {
                let text = item.scalar().unwrap_or_default();
                let (key, value) = match text.split_once('=') {
                    Some((key, value)) => (key.to_owned(), Value::Text(value.to_owned())),
                    None => (text, Value::Null),
                };
                (key, member(Node { value, ..item }))
            })
            .collect(),
        Value::Null => Map::new(),
        value => {
            let node = Node { value: Value::Null, ..node };
            [(Node::new(value, node.span).scalar().unwrap_or_default(), member(node))].into_iter().collect()
        }
    }
}

fn list(node: Node) -> Node {
    match node.value {
        Value::List(_) | Value::Map(_) | Value::Null => node,
        value => Node::new(Value::List(vec![Node::new(value, node.span)]), node.span),
    }
}

fn append(base: Node, over: Node) -> Node {
    match (base.value, over.value) {
        (Value::List(mut below), Value::List(above)) => {
            below.extend(above);
            Node::new(Value::List(below), over.span)
        }
        (_, above) => Node::new(above, over.span),
    }
}

fn set(base: Node, over: Node) -> Node {
    if let (Value::Map(_), Value::Map(_)) = (&base.value, &over.value) {
        return pairs(base, over);
    }
    let mut merged = append(flat(base), flat(over));
    if let Value::List(items) = &mut merged.value {
        let mut seen = HashSet::new();
        items.retain(|item| item.scalar().is_none_or(|text| seen.insert(text)));
    }
    merged
}

/// A mapping of hosts as a list of `NAME=ADDRESS`, so that it merges with a list.
fn flat(node: Node) -> Node {
    let Value::Map(map) = node.value else { return node };
    let items = map.into_iter().map(|(key, member)| {
        let value = member.node.scalar().unwrap_or_default();
        Node::new(Value::Text(format!("{key}={value}")), member.node.span)
    });
    Node::new(Value::List(items.collect()), node.span)
}

fn names(node: Node) -> Node {
    let Value::List(items) = node.value else { return node };
    let map = items
        .into_iter()
        .map(|item| (item.scalar().unwrap_or_default(), member(Node::new(Value::Null, item.span))))
        .collect();
    Node::new(Value::Map(map), node.span)
}

fn build(node: Node) -> Node {
    let Value::Text(_) = &node.value else { return node };
    let span = node.span;
    Node::new(Value::Map([("context", member(node))].into_iter().collect()), span)
}

fn subnets(base: Node, over: Node, path: &mut Vec<String>, found: &mut Vec<Diagnostic>) -> Node {
    match (base.value, over.value) {
        (Value::List(mut below), Value::List(above)) => {
            for item in above {
                let same = item
                    .get("subnet")
                    .and_then(|subnet| below.iter_mut().find(|held| held.get("subnet") == Some(subnet)));
                if let Some(held) = same {
                    *held = deep(std::mem::take(held), item, path, found);
                } else {
                    below.push(item);
                }
            }
            Node::new(Value::List(below), over.span)
        }
        (value, above) => deep(Node::new(value, base.span), Node::new(above, over.span), path, found),
    }
}

/// Takes away what `!reset` marks and every tag, when nothing more is merged.
pub(crate) fn settle(node: &mut Node) {
    node.tag = None;
    match &mut node.value {
        Value::Map(map) => {
            if map.values().any(|member| member.node.tag == Some(Tag::Reset)) {
                map.retain(|_, member| member.node.tag != Some(Tag::Reset));
            }
            map.values_mut().for_each(|member| settle(&mut member.node));
        }
        Value::List(items) => {
            items.retain(|item| item.tag != Some(Tag::Reset));
            items.iter_mut().for_each(settle);
        }
        _ => {}
    }
}

/// The place of a path of keys in a tree, or of the deepest part of it that is there, with the key as a person reads it.
/// A step into a list names an item by its text or a part of it, or by its `source`.
pub(crate) fn locate(tree: &Node, path: &[&str]) -> (Span, String) {
    let mut node = Some(tree);
    let mut span = tree.span;
    let mut key = String::new();
    for step in path {
        let next = node.and_then(|node| match &node.value {
            Value::Map(map) => map.get(step).map(|member| (&member.node, member.key_span, None)),
            Value::List(items) => {
                let named = |item: &Node| {
                    item.as_text().is_some_and(|text| text.split([':', '=']).any(|part| part == *step))
                };
                let sourced =
                    |item: &Node| item.get("source").is_some_and(|source| source.as_text() == Some(step));
                let at = items.iter().position(named).or_else(|| items.iter().position(sourced))?;
                items.get(at).map(|item| (item, item.span, Some(at)))
            }
            _ => None,
        });
        match next {
            Some((_, _, Some(at))) => {
                let _ = write!(key, "[{at}]");
            }
            _ if key.is_empty() => key.push_str(step),
            _ => {
                let _ = write!(key, ".{step}");
            }
        }
        if let Some((_, place, _)) = next {
            span = place;
        }
        node = next.map(|(node, _, _)| node);
    }
    (span, key)
}
