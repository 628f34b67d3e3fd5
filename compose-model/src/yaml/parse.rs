//! From text to tree: anchors, merge keys, scalars, budgets.
use std::borrow::Cow;

use saphyr_parser::{Event, Parser, ScalarStyle};

use super::{Member, Node, Tag, Value};
use crate::diagnostic::Diagnostic;
use crate::map::Map;
use crate::source::{FileId, Position, Span};

/// How much one run may read and build; what is used is taken off.
#[derive(Debug, Clone)]
pub struct Budget {
    /// Nodes, after aliases are followed.
    pub nodes: usize,
    /// Bytes of text in nodes, after aliases are followed and variables are put in.
    pub text: usize,
    /// Levels of lists and mappings inside each other.
    pub depth: usize,
    /// Bytes of files.
    pub bytes: usize,
    /// Files that `include`, `extends`, `env_file` and `label_file` name.
    pub files: usize,
}

impl Default for Budget {
    fn default() -> Self {
        Self { nodes: 1_000_000, text: 64 << 20, depth: 64, bytes: 32 << 20, files: 1000 }
    }
}

impl Budget {
    /// Whether something did not fit.
    pub(crate) fn is_used_up(&self) -> bool {
        self.nodes == 0 && self.text == 0
    }

    /// Takes nodes and bytes off; `false` when there are not as many left.
    pub(crate) fn take(&mut self, (nodes, text): (usize, usize)) -> bool {
        if let (Some(nodes), Some(text)) = (self.nodes.checked_sub(nodes), self.text.checked_sub(text)) {
            (self.nodes, self.text) = (nodes, text);
            true
        } else {
            (self.nodes, self.text) = (0, 0);
            false
        }
    }
}

enum Open {
    List {
        items: Vec<Node>,
        anchor: usize,
        start: Span,
        tag: Option<Tag>,
    },
    Map {
        map: Map<Member>,
        merges: Vec<Node>,
        key: Option<(Key, Span)>,
        anchor: usize,
        start: Span,
        tag: Option<Tag>,
    },
}

enum Key {
    Text(String),
    Merge,
}

struct Builder<'a> {
    file: FileId,
    budget: &'a mut Budget,
    found: &'a mut Vec<Diagnostic>,
    anchors: Map<Anchor>,
    open: Vec<Open>,
    documents: Vec<Node>,
}

struct Anchor {
    node: Node,
    weight: (usize, usize),
}

/// The documents of a text, with what is wrong in it. After a fault of syntax the documents before it are returned.
pub fn parse(file: FileId, text: &str, budget: &mut Budget, found: &mut Vec<Diagnostic>) -> Vec<Node> {
    let mut builder =
        Builder { file, budget, found, anchors: Map::new(), open: Vec::new(), documents: Vec::new() };
    for event in Parser::new_from_str(text) {
        match event {
            Ok((event, at)) => {
                let span = builder.span(at);
                if let Err(finding) = builder.event(event, span) {
                    builder.found.push(*finding);
                    return builder.documents;
                }
            }
            Err(fault) => {
                let mark = *fault.marker();
                let place = position(mark.line(), mark.col(), mark.index());
                let span = Span { file, start: place, end: place };
                builder.found.push(syntax(span, fault.info()));
                return builder.documents;
            }
        }
    }
    builder.documents
}

fn syntax(span: Span, info: &str) -> Diagnostic {
    let finding = Diagnostic::error(span, format!("this is not YAML: {info}"));
    if info.contains("while parsing a block mapping") || info.contains("did not find expected key") {
        return finding.suggest("write this line as far to the right as the keys that it stands beside");
    }
    if info.contains("simple key") || info.contains("':'") {
        return finding.suggest("write a colon and a blank between a key and its value");
    }
    finding
}

fn position(line: usize, column: usize, offset: usize) -> Position {
    Position { line: line as u32, column: column as u32 + 1, offset: offset as u32 }
}

impl Builder<'_> {
    fn span(&self, at: saphyr_parser::Span) -> Span {
        Span {
            file: self.file,
            start: position(at.start.line(), at.start.col(), at.start.index()),
            end: position(at.end.line(), at.end.col(), at.end.index()),
        }
    }

    fn event(&mut self, event: Event<'_>, span: Span) -> Result<(), Box<Diagnostic>> {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                self.charge(span, (1, text.len()))?;
                if self.expects_key() {
                    return self.key(&text, style, anchor, span);
                }
                let (value, tag) = scalar(&text, style, tag.as_deref());
                let node = Node { value, span, tag };
                if anchor > 0 {
                    self.anchor(anchor, &node)?;
                }
                self.put(node)
            }
            Event::Alias(anchor) => {
                let Some(anchor) = self.anchors.get(&anchor.to_string()) else {
                    return Err(Box::new(Diagnostic::error(span, "this alias names no anchor before it")));
                };
                if !self.budget.take(anchor.weight) {
                    return Err(Box::new(too_large(span)));
                }
                let node = anchor.node.clone();
                if self.expects_key() {
                    let Some(text) = node.scalar() else {
                        return Err(Box::new(
                            Diagnostic::error(span, "a list or mapping cannot be a key").expected("a text"),
                        ));
                    };
                    return self.key(&text, ScalarStyle::DoubleQuoted, 0, span);
                }
                self.put(node)
            }
            Event::SequenceStart(anchor, tag) => {
                self.deeper(span)?;
                self.open.push(Open::List {
                    items: Vec::new(),
                    anchor,
                    start: span,
                    tag: compose_tag(tag.as_deref()),
                });
                Ok(())
            }
            Event::MappingStart(anchor, tag) => {
                self.deeper(span)?;
                let tag = compose_tag(tag.as_deref());
                self.open.push(Open::Map {
                    map: Map::new(),
                    merges: Vec::new(),
                    key: None,
                    anchor,
                    start: span,
                    tag,
                });
                Ok(())
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(span),
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd => Ok(()),
        }
    }

    fn charge(&mut self, span: Span, weight: (usize, usize)) -> Result<(), Box<Diagnostic>> {
        if self.budget.take(weight) { Ok(()) } else { Err(Box::new(too_large(span))) }
    }

    fn deeper(&mut self, span: Span) -> Result<(), Box<Diagnostic>> {
        self.charge(span, (1, 0))?;
        if self.expects_key() {
            return Err(Box::new(
                Diagnostic::error(span, "a list or mapping cannot be a key")
                    .expected("a text")
                    .suggest("quote a value that begins with `{` or `[`"),
            ));
        }
        if self.open.len() >= self.budget.depth {
            return Err(Box::new(Diagnostic::error(
                span,
                format!("more than {} levels are nested here", self.budget.depth),
            )));
        }
        Ok(())
    }

    fn expects_key(&self) -> bool {
        matches!(self.open.last(), Some(Open::Map { key: None, .. }))
    }

    fn anchor(&mut self, anchor: usize, node: &Node) -> Result<(), Box<Diagnostic>> {
        let weight = node.weight();
        self.charge(node.span, weight)?;
        self.anchors.insert(anchor.to_string(), Anchor { node: node.clone(), weight });
        Ok(())
    }

    fn key(
        &mut self,
        text: &str,
        style: ScalarStyle,
        anchor: usize,
        span: Span,
    ) -> Result<(), Box<Diagnostic>> {
        if anchor > 0 {
            self.anchor(anchor, &Node::new(Value::Text(text.to_owned()), span))?;
        }
        if let Some(Open::Map { key, .. }) = self.open.last_mut() {
            let merge = style == ScalarStyle::Plain && text == "<<";
            *key = Some((if merge { Key::Merge } else { Key::Text(text.to_owned()) }, span));
        }
        Ok(())
    }

    fn put(&mut self, node: Node) -> Result<(), Box<Diagnostic>> {
        match self.open.last_mut() {
            None => self.documents.push(node),
            Some(Open::List { items, .. }) => items.push(node),
            Some(Open::Map { map, merges, key, .. }) => match key.take() {
                Some((Key::Merge, _)) => merges.push(node),
                Some((Key::Text(text), key_span)) => {
                    if let Some(first) = map.get(&text) {
                        let line = first.key_span.start.line;
                        self.found.push(
                            Diagnostic::error(
                                key_span,
                                format!("the key `{}` is here twice, first on line {line}", shown(&text)),
                            )
                            .suggest("keep one of them, or put both values under one key"),
                        );
                    } else {
                        map.insert(text, Member { key_span, node });
                    }
                }
                None => return Err(Box::new(Diagnostic::error(node.span, "a value without a key"))),
            },
        }
        Ok(())
    }

    fn close(&mut self, end: Span) -> Result<(), Box<Diagnostic>> {
        let (node, anchor) = match self.open.pop() {
            Some(Open::List { items, anchor, start, tag }) => {
                (Node { value: Value::List(items), span: Span { end: end.end, ..start }, tag }, anchor)
            }
            Some(Open::Map { mut map, merges, anchor, start, tag, .. }) => {
                for merge in merges {
                    merge_into(&mut map, merge)?;
                }
                (Node { value: Value::Map(map), span: Span { end: end.end, ..start }, tag }, anchor)
            }
            None => return Ok(()),
        };
        if anchor > 0 {
            self.anchor(anchor, &node)?;
        }
        self.put(node)
    }
}

/// Adds what `<<` names to the keys that the mapping does not have itself; the first of several wins.
fn merge_into(map: &mut Map<Member>, merge: Node) -> Result<(), Box<Diagnostic>> {
    let span = merge.span;
    match merge.value {
        Value::Map(from) => {
            for (key, member) in from {
                if !map.contains_key(&key) {
                    map.insert(key, member);
                }
            }
            Ok(())
        }
        Value::List(items) => {
            for item in items {
                if !matches!(item.value, Value::Map(_)) {
                    return Err(Box::new(not_mergeable(item.span)));
                }
                merge_into(map, item)?;
            }
            Ok(())
        }
        Value::Null => Ok(()),
        _ => Err(Box::new(not_mergeable(span))),
    }
}

fn not_mergeable(span: Span) -> Diagnostic {
    Diagnostic::error(span, "`<<` merges mappings only").expected("an alias of a mapping, or a list of them")
}

pub(crate) fn too_large(span: Span) -> Diagnostic {
    Diagnostic::error(span, "the project is larger than the loader's budget from here on")
        .suggest("look for anchors that repeat each other, or raise `Loader::budget`")
}

fn shown(text: &str) -> Cow<'_, str> {
    if text.chars().count() > 80 {
        Cow::Owned(text.chars().take(80).collect::<String>() + "…")
    } else {
        Cow::Borrowed(text)
    }
}

fn compose_tag(tag: Option<&saphyr_parser::Tag>) -> Option<Tag> {
    let tag = tag.filter(|tag| tag.handle == "!")?;
    match tag.suffix.as_str() {
        "reset" => Some(Tag::Reset),
        "override" => Some(Tag::Override),
        _ => None,
    }
}

fn scalar(text: &str, style: ScalarStyle, tag: Option<&saphyr_parser::Tag>) -> (Value, Option<Tag>) {
    let own = compose_tag(tag);
    let forced = tag.filter(|tag| tag.is_yaml_core_schema()).map(|tag| tag.suffix.as_str());
    let value = match (forced, style) {
        (Some("float"), _) => text.parse().map_or_else(|_| Value::Text(text.to_owned()), Value::Float),
        (Some("int" | "bool" | "null"), _) | (None, ScalarStyle::Plain) => resolve(text),
        _ => Value::Text(text.to_owned()),
    };
    (value, own)
}

/// What a plain scalar means: YAML 1.2's core schema, and `0755` in base 8 as YAML 1.1 has it.
pub(crate) fn resolve(text: &str) -> Value {
    let kept = || Value::Text(text.to_owned());
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" => return Value::Bool(true),
        "false" | "False" | "FALSE" => return Value::Bool(false),
        ".nan" | ".NaN" | ".NAN" => return Value::Float(f64::NAN),
        _ => {}
    }
    let (negative, digits) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    if matches!(digits, ".inf" | ".Inf" | ".INF") {
        return Value::Float(if negative { f64::NEG_INFINITY } else { f64::INFINITY });
    }
    if !digits.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return kept();
    }
    let radix = |digits: &str, base| {
        let plain = !digits.is_empty() && digits.chars().all(|c| c.is_digit(base));
        plain.then(|| i64::from_str_radix(digits, base).ok()).flatten().map(|n| if negative { -n } else { n })
    };
    let whole = if let Some(hex) = digits.strip_prefix("0x") {
        radix(hex, 16)
    } else if let Some(octal) = digits.strip_prefix("0o") {
        radix(octal, 8)
    } else if digits.len() > 1 && digits.starts_with('0') && digits.bytes().all(|b| b.is_ascii_digit()) {
        return radix(digits, 8).map_or_else(kept, Value::Int);
    } else if digits.bytes().all(|b| b.is_ascii_digit()) {
        text.parse().ok()
    } else {
        None
    };
    if let Some(number) = whole {
        return Value::Int(number);
    }
    let floats = digits.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E' | b'+' | b'-'));
    if floats
        && digits.bytes().any(|b| b.is_ascii_digit())
        && let Ok(number) = text.parse::<f64>()
        && number.is_finite()
    {
        return Value::Float(number);
    }
    kept()
}
