//! Small values that have more than one way of writing.
use std::ops::Deref;
use std::path::Path;

use crate::diagnostic::Diagnostic;
use crate::files::join;
use crate::map::Map;
use crate::shape::{Reader, Shape};
use crate::source::Span;
use crate::words::words;
use crate::yaml::{Node, Value};

/// A text that may be written as a number or truth value too.
#[derive(Debug, Clone, PartialEq, Eq, Default, Hash, PartialOrd, Ord)]
pub struct Scalar(pub String);

impl Deref for Scalar {
    type Target = str;
    fn deref(&self) -> &str {
        &self.0
    }
}

impl Shape for Scalar {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        match node.scalar() {
            Some(text) => Some(Self(text)),
            None => reader.mismatch(node, "a text or a number"),
        }
    }
    fn write(&self) -> Option<Node> {
        self.0.write()
    }
}

/// One text or a list of texts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OneOrMany(pub Vec<String>);

impl Deref for OneOrMany {
    type Target = [String];
    fn deref(&self) -> &[String] {
        &self.0
    }
}

impl Shape for OneOrMany {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        if let Value::Text(text) = &node.value {
            Some(Self(vec![text.clone()]))
        } else {
            Vec::read(node, reader).map(Self)
        }
    }
    fn write(&self) -> Option<Node> {
        self.0.write()
    }
}

/// A command: a text is split into words as a shell does; an empty one clears the image's.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Command(pub Vec<String>);

impl Deref for Command {
    type Target = [String];
    fn deref(&self) -> &[String] {
        &self.0
    }
}

impl Shape for Command {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        match &node.value {
            Value::Text(text) => match words(text) {
                Ok(words) => Some(Self(words)),
                Err(error) => reader.refuse(node, &error, "a command, or a list of words"),
            },
            Value::List(_) => Vec::read(node, reader)
                .map(|items: Vec<Scalar>| Self(items.into_iter().map(|item| item.0).collect())),
            _ => reader.mismatch(node, "a command, or a list of words"),
        }
    }
    fn write(&self) -> Option<Node> {
        Some(Node::list(self.0.iter().filter_map(Shape::write)))
    }
}

/// Names with values: a mapping, or a list of `NAME=VALUE`; a name without value has `None`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Pairs(pub Map<Option<String>>);

impl Deref for Pairs {
    type Target = Map<Option<String>>;
    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl Pairs {
    /// The value of a name, when it has one.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.as_deref()
    }
}

impl Shape for Pairs {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let mut pairs = Map::new();
        match &node.value {
            Value::Null => {}
            Value::Map(map) => {
                for (name, member) in map.iter() {
                    let value = &member.node;
                    if let Some(text) = value.scalar() {
                        if let (Value::Int(_) | Value::Float(_), Some(written)) =
                            (&value.value, reader.sources.slice(value.span))
                            && written != text
                        {
                            let finding = Diagnostic::hint(
                                value.span,
                                format!("`{written}` is read as the number {text}"),
                            );
                            let finding =
                                finding.suggest(format!("write it in quotes to keep it: \"{written}\""));
                            reader.under(name, |reader| reader.report(finding));
                        }
                        pairs.insert(name, Some(text));
                    } else if value.is_null() {
                        pairs.insert(name, None);
                    } else {
                        reader.under(name, |reader| reader.mismatch::<()>(value, "a text or a number"));
                    }
                }
            }
            Value::List(items) => {
                for (at, item) in items.iter().enumerate() {
                    match &item.value {
                        Value::Text(text) => match text.split_once('=') {
                            Some((name, value)) => pairs.insert(name, Some(value.to_owned())),
                            None => pairs.insert(text.as_str(), None),
                        },
                        _ => reader.item(at, |reader| reader.mismatch(item, "a text `NAME=VALUE`")),
                    };
                }
            }
            _ => return reader.mismatch(node, "a mapping, or a list of `NAME=VALUE`"),
        }
        Some(Self(pairs))
    }
    fn write(&self) -> Option<Node> {
        if self.0.is_empty() {
            return None;
        }
        let value = |value: &Option<String>| value.write().unwrap_or_default();
        Some(Node::map(self.0.sorted().into_iter().map(|(name, held)| (name, value(held)))))
    }
}

/// Options of a driver: names with texts or numbers.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Options(pub Map<String>);

impl Deref for Options {
    type Target = Map<String>;
    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl Shape for Options {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let read: Map<Option<Scalar>> = Map::read(node, reader)?;
        Some(Self(read.into_iter().map(|(name, value)| (name, value.unwrap_or_default().0)).collect()))
    }
    fn write(&self) -> Option<Node> {
        self.0.write()
    }
}

/// Names of hosts with their addresses: `NAME=IP`, `NAME:IP`, or a mapping.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Hosts(pub Map<Vec<String>>);

impl Deref for Hosts {
    type Target = Map<Vec<String>>;
    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl Shape for Hosts {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let expected = "a mapping of names to addresses, or a list of `NAME=ADDRESS`";
        let mut hosts: Map<Vec<String>> = Map::new();
        let mut add = |name: &str, address: &str| {
            let address =
                address.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')).unwrap_or(address);
            if let Some(held) = hosts.get_mut(name) {
                if !held.iter().any(|known| known == address) {
                    held.push(address.to_owned());
                }
            } else {
                hosts.insert(name, vec![address.to_owned()]);
            }
        };
        match &node.value {
            Value::Null => {}
            Value::Map(map) => {
                for (name, member) in map.iter() {
                    let read: Option<OneOrMany> =
                        reader.under(name, |reader| OneOrMany::read(&member.node, reader));
                    read.iter().flat_map(|read| read.iter()).for_each(|address| add(name, address));
                }
            }
            Value::List(items) => {
                for (at, item) in items.iter().enumerate() {
                    let pair =
                        item.as_text().and_then(|text| text.split_once('=').or_else(|| text.split_once(':')));
                    match pair {
                        Some((name, address)) if !name.is_empty() && !address.is_empty() => {
                            add(name.trim(), address.trim());
                        }
                        _ => {
                            reader.item(at, |reader| reader.mismatch::<()>(item, "`NAME=ADDRESS`"));
                        }
                    }
                }
            }
            _ => return reader.mismatch(node, expected),
        }
        Some(Self(hosts))
    }
    fn write(&self) -> Option<Node> {
        let entries = self.0.sorted();
        let lines: Vec<String> = entries
            .iter()
            .flat_map(|(name, addresses)| addresses.iter().map(move |address| format!("{name}={address}")))
            .collect();
        lines.write()
    }
}

/// A path, resolved: a relative one starts from the directory of the file that names it, so it is absolute when the
/// project's directory is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Location(pub String);

impl Deref for Location {
    type Target = str;
    fn deref(&self) -> &str {
        &self.0
    }
}

impl Location {
    /// Resolves a path that is written at `span`; `~` is the home directory.
    pub(crate) fn resolve(text: &str, span: Span, reader: &Reader<'_>) -> String {
        if let (Some(rest), Some(home)) =
            (text.strip_prefix('~').filter(|rest| rest.is_empty() || rest.starts_with('/')), &reader.home)
        {
            return join(Path::new(home), rest.trim_start_matches('/')).to_string_lossy().into_owned();
        }
        if windows(text) || text.starts_with('/') {
            return text.to_owned();
        }
        let base = reader.sources.source(span.file).map_or(Path::new("."), |source| &source.base);
        join(base, text).to_string_lossy().into_owned()
    }
}

/// `C:\…` or `\\server\…`.
pub(crate) fn windows(text: &str) -> bool {
    let bytes = text.as_bytes();
    text.starts_with(r"\\")
        || (bytes.len() > 2
            && bytes[0].is_ascii_alphabetic()
            && bytes[1] == b':'
            && matches!(bytes[2], b'\\' | b'/'))
}

impl Shape for Location {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let text = String::read(node, reader)?;
        Some(Self(Self::resolve(&text, node.span, reader)))
    }
    fn write(&self) -> Option<Node> {
        self.0.write()
    }
}

/// The bits of a file's mode; a text is in base 8.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Mode(pub u32);

impl Shape for Mode {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let number = match &node.value {
            Value::Int(number) => u32::try_from(*number).ok(),
            Value::Text(text) => u32::from_str_radix(text.strip_prefix("0o").unwrap_or(text), 8).ok(),
            _ => None,
        };
        let Some(number) = number.filter(|number| *number <= 0o7777) else {
            return reader.mismatch(node, "a mode such as `0444`");
        };
        if let (Value::Int(_), Some(written)) = (&node.value, reader.sources.slice(node.span))
            && !written.starts_with('0')
            && number > 0
        {
            let finding =
                Diagnostic::hint(node.span, format!("`{written}` is in base 10, the mode {number:04o}"));
            let finding = finding.suggest(format!("write `0{written}` for base 8"));
            reader.report(finding);
        }
        Some(Self(number))
    }
    fn write(&self) -> Option<Node> {
        Some(Node::text(format!("{:04o}", self.0)))
    }
}
