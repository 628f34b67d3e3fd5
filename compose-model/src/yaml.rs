//! A YAML tree that knows where each part of it was written.
mod parse;
mod print;

pub use parse::{Budget, parse};
pub(crate) use parse::{resolve, too_large};
pub(crate) use print::{to_flow, to_lines};
pub use print::{to_json, to_yaml};

use crate::map::Map;
pub use crate::source::{FileId, Position, Span};

/// A node of the tree. Two nodes are equal when their values are, wherever they were written.
#[derive(Debug, Clone, Default)]
pub struct Node {
    /// What it holds.
    pub value: Value,
    /// Where it was written.
    pub span: Span,
    /// Compose's own tags.
    pub tag: Option<Tag>,
}

/// What a node holds.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Value {
    /// Nothing: an empty value, `~` or `null`.
    #[default]
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A number with a fraction.
    Float(f64),
    /// A text.
    Text(String),
    /// A list.
    List(Vec<Node>),
    /// A mapping.
    Map(Map<Member>),
}

/// What stands under a key of a mapping.
#[derive(Debug, Clone, Default)]
pub struct Member {
    /// Where the key was written.
    pub key_span: Span,
    /// The value.
    pub node: Node,
}

/// A tag of Compose's merge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tag {
    /// `!reset`: the key is taken away.
    Reset,
    /// `!override`: the value stands in place of the one below.
    Override,
}

impl PartialEq for Node {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value && self.tag == other.tag
    }
}

impl PartialEq for Member {
    fn eq(&self, other: &Self) -> bool {
        self.node == other.node
    }
}

impl Node {
    /// A node without tag.
    pub fn new(value: Value, span: Span) -> Self {
        Self { value, span, tag: None }
    }

    /// A text that was written nowhere.
    pub fn text(text: impl Into<String>) -> Self {
        Self::new(Value::Text(text.into()), Span::default())
    }

    /// A whole number that was written nowhere.
    pub fn int(number: i64) -> Self {
        Self::new(Value::Int(number), Span::default())
    }

    /// A truth value that was written nowhere.
    pub fn bool(value: bool) -> Self {
        Self::new(Value::Bool(value), Span::default())
    }

    /// A list that was written nowhere.
    pub fn list(items: impl IntoIterator<Item = Node>) -> Self {
        Self::new(Value::List(items.into_iter().collect()), Span::default())
    }

    /// A mapping that was written nowhere.
    pub fn map<K: Into<String>>(entries: impl IntoIterator<Item = (K, Node)>) -> Self {
        let map = entries
            .into_iter()
            .map(|(key, node)| (key.into(), Member { key_span: Span::default(), node }))
            .collect();
        Self::new(Value::Map(map), Span::default())
    }

    /// The mapping, when it is one.
    pub fn as_map(&self) -> Option<&Map<Member>> {
        if let Value::Map(map) = &self.value { Some(map) } else { None }
    }

    /// The mapping, when it is one, to change.
    pub fn as_map_mut(&mut self) -> Option<&mut Map<Member>> {
        if let Value::Map(map) = &mut self.value { Some(map) } else { None }
    }

    /// The text, when it is one.
    pub fn as_text(&self) -> Option<&str> {
        if let Value::Text(text) = &self.value { Some(text) } else { None }
    }

    /// Whether it is null.
    pub fn is_null(&self) -> bool {
        self.value == Value::Null
    }

    /// Whether it is a list or a mapping that holds something.
    pub(crate) fn is_block(&self) -> bool {
        match &self.value {
            Value::List(items) => !items.is_empty(),
            Value::Map(map) => !map.is_empty(),
            _ => false,
        }
    }

    /// What stands under a key, when the node is a mapping that has it.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.as_map()?.get(key).map(|member| &member.node)
    }

    /// The scalar as text, as Go prints it; `None` for null, lists and mappings.
    pub fn scalar(&self) -> Option<String> {
        match &self.value {
            Value::Text(text) => Some(text.clone()),
            Value::Bool(value) => Some(value.to_string()),
            Value::Int(number) => Some(number.to_string()),
            Value::Float(number) => Some(print::float(*number)),
            Value::Null | Value::List(_) | Value::Map(_) => None,
        }
    }

    /// What kind of value it is, in words.
    pub fn kind(&self) -> &'static str {
        match &self.value {
            Value::Null => "nothing",
            Value::Bool(_) => "a truth value",
            Value::Int(_) | Value::Float(_) => "a number",
            Value::Text(_) => "a text",
            Value::List(_) => "a list",
            Value::Map(_) => "a mapping",
        }
    }

    /// How many nodes it has and how many bytes of text.
    pub(crate) fn weight(&self) -> (usize, usize) {
        match &self.value {
            Value::Text(text) => (1, text.len()),
            Value::List(items) => items.iter().fold((1, 0), |sum, item| add(sum, item.weight())),
            Value::Map(map) => map
                .iter()
                .fold((1, 0), |sum, (key, member)| add(add(sum, (0, key.len())), member.node.weight())),
            Value::Null | Value::Bool(_) | Value::Int(_) | Value::Float(_) => (1, 0),
        }
    }
}

fn add(left: (usize, usize), right: (usize, usize)) -> (usize, usize) {
    (left.0.saturating_add(right.0), left.1.saturating_add(right.1))
}
