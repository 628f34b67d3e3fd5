//! Between tree and types: every type of the model reads itself from a node and writes itself back.
use std::fmt::Write as _;
use std::time::Duration;

use crate::diagnostic::{Diagnostic, MANY, nearest};
use crate::map::Map;
use crate::source::{Sources, Span};
use crate::yaml::{Node, Value};

/// What the reading of a tree needs and collects.
pub(crate) struct Reader<'a> {
    pub(crate) sources: &'a Sources,
    pub(crate) found: &'a mut Vec<Diagnostic>,
    /// Texts with `$` in place of numbers pass in silence: nothing was interpolated.
    pub(crate) raw: bool,
    /// Ports that ranges may still grow to.
    pub(crate) ports: usize,
    /// The home directory, for `~`.
    pub(crate) home: Option<String>,
    path: Vec<Step>,
}

enum Step {
    Key(String),
    Index(usize),
}

impl<'a> Reader<'a> {
    pub(crate) fn new(sources: &'a Sources, found: &'a mut Vec<Diagnostic>, raw: bool) -> Self {
        Self { sources, found, raw, ports: 100_000, home: None, path: Vec::new() }
    }

    /// The path of the key that is being read.
    pub(crate) fn key(&self) -> String {
        let mut key = String::new();
        for step in &self.path {
            match step {
                Step::Key(name) => {
                    if !key.is_empty() {
                        key.push('.');
                    }
                    key.push_str(name);
                }
                Step::Index(at) => {
                    let _ = write!(key, "[{at}]");
                }
            }
        }
        key
    }

    /// Whether the value of this key is being read.
    pub(crate) fn stands_under(&self, key: &str) -> bool {
        matches!(self.path.last(), Some(Step::Key(last)) if last == key)
    }

    pub(crate) fn report(&mut self, finding: Diagnostic) {
        let key = self.key();
        self.found.push(finding.at(key));
    }

    pub(crate) fn under<T>(&mut self, key: &str, read: impl FnOnce(&mut Self) -> T) -> T {
        self.path.push(Step::Key(key.to_owned()));
        let read = read(self);
        self.path.pop();
        read
    }

    pub(crate) fn item<T>(&mut self, at: usize, read: impl FnOnce(&mut Self) -> T) -> T {
        self.path.push(Step::Index(at));
        let read = read(self);
        self.path.pop();
        read
    }

    /// Says that a node is of the wrong kind; silent for what waits for a variable.
    pub(crate) fn mismatch<T>(&mut self, node: &Node, expected: &str) -> Option<T> {
        if self.raw && node.as_text().is_some_and(|text| text.contains('$')) {
            return None;
        }
        let held = node.scalar().map_or_else(
            || node.kind().to_owned(),
            |text| format!("{}, `{}`", node.kind(), text.chars().take(60).collect::<String>()),
        );
        let finding = Diagnostic::error(node.span, format!("here is {held}")).expected(expected);
        let glued = node.as_text().is_some_and(|text| text.starts_with('-'))
            && self.sources.slice(node.span).is_none_or(|text| text.starts_with('-'));
        self.report(if glued {
            finding.suggest("write a blank behind the `-` that begins an item")
        } else {
            finding
        });
        None
    }

    /// Reports an error of a short form.
    pub(crate) fn refuse<T>(
        &mut self,
        node: &Node,
        error: &crate::error::Error,
        expected: &str,
    ) -> Option<T> {
        if !(self.raw && node.as_text().is_some_and(|text| text.contains('$'))) {
            self.report(Diagnostic::error(node.span, error.to_string()).expected(expected));
        }
        None
    }

    pub(crate) fn unknown(&mut self, key: &str, span: Span, what: &str, known: &[&str]) {
        let finding = Diagnostic::error(
            span,
            format!("`{}` is not a key of {what}", key.chars().take(80).collect::<String>()),
        );
        if self.found.len() > MANY {
            self.report(finding);
            return;
        }
        let finding = match nearest(key, known.iter().copied()) {
            Some(near) => finding.suggest(format!("did you mean `{near}`?")),
            None => crate::slips::misplaced(key, what, finding),
        };
        self.report(finding);
    }
}

/// A type of the model. `write` gives `None` for what is not there and need not be printed.
pub(crate) trait Shape: Sized {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self>;
    fn write(&self) -> Option<Node>;
}

/// Extension keys, `x-…`, as they were written.
pub type Extensions = Map<Node>;

/// A struct of the specification as a table of its keys.
macro_rules! record {
    ($(#[$meta:meta])* $name:ident, $what:literal, { $($(#[$about:meta])* $key:literal $field:ident: $type:ty,)* }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Default, PartialEq)]
        pub struct $name {
            $($(#[$about])* pub $field: $type,)*
            /// Keys that begin with `x-`.
            pub extensions: $crate::shape::Extensions,
        }

        impl $name {
            /// The keys that the specification has for it.
            pub const KEYS: &'static [&'static str] = &[$($key),*];

            pub(crate) fn read_record(node: &$crate::yaml::Node, reader: &mut $crate::shape::Reader<'_>) -> Option<Self> {
                use $crate::shape::Shape as _;
                let mut record = Self::default();
                if node.is_null() {
                    return Some(record);
                }
                let Some(map) = node.as_map() else {
                    return reader.mismatch(node, concat!("a mapping, ", $what));
                };
                for (key, member) in map.iter() {
                    match key {
                        $($key => {
                            let read = reader.under(key, |reader| <$type>::read(&member.node, reader));
                            if let Some(read) = read {
                                record.$field = read;
                            }
                        })*
                        key if key.starts_with("x-") => {
                            record.extensions.insert(key, member.node.clone());
                        }
                        key => reader.under(key, |reader| reader.unknown(key, member.key_span, $what, Self::KEYS)),
                    }
                }
                Some(record)
            }

            pub(crate) fn write_record(&self) -> $crate::yaml::Node {
                use $crate::shape::Shape as _;
                let mut entries: Vec<(String, $crate::yaml::Node)> = Vec::new();
                $(if let Some(node) = self.$field.write() {
                    entries.push(($key.to_owned(), node));
                })*
                for (key, node) in self.extensions.sorted() {
                    entries.push((key.to_owned(), $crate::shape::escaped(node)));
                }
                $crate::yaml::Node::map(entries)
            }
        }
    };
}
pub(crate) use record;

/// Records that have no short form.
macro_rules! long_only {
    ($($name:ident),* $(,)?) => {$(
        impl $crate::shape::Shape for $name {
            fn read(node: &$crate::yaml::Node, reader: &mut $crate::shape::Reader<'_>) -> Option<Self> {
                Self::read_record(node, reader)
            }
            fn write(&self) -> Option<$crate::yaml::Node> {
                Some(self.write_record())
            }
        }
    )*};
}
pub(crate) use long_only;

impl<T: Shape> Shape for Option<T> {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        if node.is_null() {
            return Some(None);
        }
        T::read(node, reader).map(Some)
    }
    fn write(&self) -> Option<Node> {
        self.as_ref().and_then(Shape::write)
    }
}

impl<T: Shape> Shape for Box<T> {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        T::read(node, reader).map(Box::new)
    }
    fn write(&self) -> Option<Node> {
        (**self).write()
    }
}

impl Shape for String {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        match &node.value {
            Value::Text(text) => Some(text.clone()),
            Value::Bool(_) | Value::Int(_) | Value::Float(_) => {
                let written = reader
                    .sources
                    .slice(node.span)
                    .map(str::to_owned)
                    .or_else(|| node.scalar())
                    .unwrap_or_default();
                let finding = Diagnostic::error(node.span, format!("here is {}, `{written}`", node.kind()));
                let meant = if node.value == Value::Bool(false) && reader.stands_under("restart") {
                    "no"
                } else {
                    &written
                };
                let suggestion = format!("write it in quotes: \"{meant}\"");
                reader.report(finding.expected("a text").suggest(suggestion));
                node.scalar()
            }
            _ => reader.mismatch(node, "a text"),
        }
    }
    fn write(&self) -> Option<Node> {
        Some(Node::text(self.replace('$', "$$")))
    }
}

impl Shape for bool {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        match &node.value {
            Value::Bool(value) => Some(*value),
            Value::Text(text) => {
                let word = text.to_ascii_lowercase();
                match word.as_str() {
                    "true" => Some(true),
                    "false" => Some(false),
                    "yes" | "y" | "on" | "no" | "n" | "off" => {
                        let value = matches!(word.as_str(), "yes" | "y" | "on");
                        let finding = Diagnostic::hint(node.span, format!("`{text}` is a text in YAML 1.2"));
                        reader.report(finding.suggest(format!("write `{value}`")));
                        Some(value)
                    }
                    _ => reader.mismatch(node, "`true` or `false`"),
                }
            }
            _ => reader.mismatch(node, "`true` or `false`"),
        }
    }
    fn write(&self) -> Option<Node> {
        Some(Node::bool(*self))
    }
}

impl Shape for i64 {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        match &node.value {
            Value::Int(number) => Some(*number),
            Value::Float(number) if number.fract() == 0.0 && number.abs() < 9e15 => Some(*number as i64),
            Value::Text(text) => match text.trim().parse() {
                Ok(number) => Some(number),
                Err(_) => reader.mismatch(node, "a whole number"),
            },
            _ => reader.mismatch(node, "a whole number"),
        }
    }
    fn write(&self) -> Option<Node> {
        Some(Node::int(*self))
    }
}

impl Shape for f64 {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let number = match &node.value {
            // past 2^53 the nearest number is as good
            #[expect(clippy::cast_precision_loss)]
            Value::Int(number) => Some(*number as f64),
            Value::Float(number) => Some(*number),
            Value::Text(text) => text.trim().parse().ok(),
            _ => None,
        };
        match number.filter(|number: &f64| number.is_finite()) {
            Some(number) => Some(number),
            None => reader.mismatch(node, "a number"),
        }
    }
    fn write(&self) -> Option<Node> {
        Some(Node::new(Value::Float(*self), Span::default()))
    }
}

impl Shape for Duration {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let expected = "a duration such as `1m30s`";
        match &node.value {
            Value::Text(text) => match crate::units::duration(text) {
                Ok(duration) => Some(duration),
                Err(error) => reader.refuse(node, &error, expected),
            },
            Value::Int(number) => {
                let finding =
                    Diagnostic::error(node.span, format!("here is a number without unit, `{number}`"));
                reader.report(finding.expected(expected).suggest(format!("write `{number}s` for seconds")));
                None
            }
            _ => reader.mismatch(node, expected),
        }
    }
    fn write(&self) -> Option<Node> {
        Some(Node::text(crate::units::show_duration(*self)))
    }
}

impl<T: Shape> Shape for Vec<T> {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        match &node.value {
            Value::Null => Some(Vec::new()),
            Value::List(items) => {
                let mut read = Vec::with_capacity(items.len());
                for (at, item) in items.iter().enumerate() {
                    read.extend(reader.item(at, |reader| T::read(item, reader)));
                }
                Some(read)
            }
            _ => {
                let finding =
                    Diagnostic::error(node.span, format!("here is {}", node.kind())).expected("a list");
                let finding = if node.as_map().is_some() {
                    finding.suggest("begin each line of it with `- `")
                } else {
                    finding.suggest("write it on a line of its own, behind `- `")
                };
                if !(reader.raw && node.as_text().is_some_and(|text| text.contains('$'))) {
                    reader.report(finding);
                }
                None
            }
        }
    }
    fn write(&self) -> Option<Node> {
        if self.is_empty() {
            return None;
        }
        Some(Node::list(self.iter().map(|item| item.write().unwrap_or_default())))
    }
}

impl<T: Shape> Shape for Map<T> {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        match &node.value {
            Value::Null => Some(Map::new()),
            Value::Map(map) => {
                let mut read = Map::new();
                for (key, member) in map.iter() {
                    if let Some(value) = reader.under(key, |reader| T::read(&member.node, reader)) {
                        read.insert(key, value);
                    }
                }
                Some(read)
            }
            _ => {
                let finding =
                    Diagnostic::error(node.span, format!("here is {}", node.kind())).expected("a mapping");
                reader.report(if matches!(node.value, Value::List(_)) {
                    finding.suggest("write `NAME:` lines without `- `")
                } else {
                    crate::slips::colonless(node, finding)
                });
                None
            }
        }
    }
    fn write(&self) -> Option<Node> {
        if self.is_empty() {
            return None;
        }
        Some(Node::map(
            self.sorted().into_iter().map(|(key, value)| (key, value.write().unwrap_or_default())),
        ))
    }
}

/// A tree with `$` doubled, so that reading it again gives the same.
pub(crate) fn escaped(node: &Node) -> Node {
    let value = match &node.value {
        Value::Text(text) => Value::Text(text.replace('$', "$$")),
        Value::List(items) => Value::List(items.iter().map(escaped).collect()),
        Value::Map(map) => {
            return Node::map(map.iter().map(|(key, member)| (key, escaped(&member.node))));
        }
        other => other.clone(),
    };
    Node { value, span: node.span, tag: node.tag }
}
