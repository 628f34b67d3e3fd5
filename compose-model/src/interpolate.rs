//! Variables put into texts: `$X`, `${X}`, `${X:-d}`, `${X-d}`, `${X:?e}`, `${X?e}`, `${X:+a}`, `${X+a}`, `$$`.
use std::collections::BTreeMap;

use crate::diagnostic::Diagnostic;
use crate::error::Error;
use crate::yaml::{Budget, Node, Tag, Value};

/// How deep substitutions may stand in each other's defaults.
const DEPTH: usize = 24;
/// How long one text may become, in bytes.
const LENGTH: usize = 1 << 20;

/// A text with its variables put in, and the names that had no value and no default.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Substituted {
    /// The text.
    pub text: String,
    /// Variables that were not set; an empty text stands in their place.
    pub unset: Vec<String>,
}

/// Puts variables into a text.
///
/// # Errors
/// [`Error::Substitution`] for a form that is not known, a required variable that is missing, or a text that grows past 1 MiB.
///
/// ```
/// let result = compose_model::substitute("${A:-${B}} $$C", |name| (name == "B").then(|| "b".to_owned()))?;
/// assert_eq!(result.text, "b $C");
/// # Ok::<(), compose_model::Error>(())
/// ```
pub fn substitute(text: &str, lookup: impl Fn(&str) -> Option<String>) -> Result<Substituted, Error> {
    let mut scan = Scan { text, at: 0, lookup: &lookup, unset: Vec::new() };
    let mut out = String::with_capacity(text.len());
    scan.run(&mut out, 0, true)?;
    Ok(Substituted { text: out, unset: scan.unset })
}

struct Scan<'a> {
    text: &'a str,
    at: usize,
    lookup: &'a dyn Fn(&str) -> Option<String>,
    unset: Vec<String>,
}

impl Scan<'_> {
    fn rest(&self) -> &str {
        self.text.get(self.at..).unwrap_or("")
    }

    fn fault<T>(&self, offset: usize, reason: impl Into<String>) -> Result<T, Error> {
        Err(Error::Substitution { reason: reason.into(), offset: offset.min(self.text.len()) })
    }

    /// Copies up to the end, or inside braces up to the brace that closes them. `live`: whether variables count.
    fn run(&mut self, out: &mut String, depth: usize, live: bool) -> Result<(), Error> {
        while let Some(c) = self.rest().chars().next() {
            let here = self.at;
            self.at += c.len_utf8();
            match c {
                '$' => self.dollar(out, depth, live, here)?,
                '}' if depth > 0 => return Ok(()),
                c => out.push(c),
            }
            if out.len() > LENGTH {
                return self.fault(here, "the text grows past 1 MiB here");
            }
        }
        if depth > 0 {
            return self.fault(self.text.len(), "a `${` is not closed by `}`");
        }
        Ok(())
    }

    fn name(&mut self) -> String {
        let rest = self.rest();
        let end = rest
            .char_indices()
            .find(|(at, c)| !(c.is_ascii_alphabetic() || *c == '_' || (*at > 0 && c.is_ascii_digit())))
            .map_or(rest.len(), |(at, _)| at);
        let name = rest.get(..end).unwrap_or("").to_owned();
        self.at += end;
        name
    }

    fn dollar(&mut self, out: &mut String, depth: usize, live: bool, here: usize) -> Result<(), Error> {
        if self.rest().starts_with('$') {
            self.at += 1;
            out.push('$');
            return Ok(());
        }
        if !self.rest().starts_with('{') {
            let name = self.name();
            if name.is_empty() {
                return self.fault(
                    here,
                    "a `$` stands before something that is no name; write `$$` for a dollar sign",
                );
            }
            self.plain(out, name, live);
            return Ok(());
        }
        self.at += 1;
        if depth >= DEPTH {
            return self.fault(here, format!("more than {DEPTH} substitutions are nested here"));
        }
        let name = self.name();
        if name.is_empty() {
            return self.fault(here, "`${` is not followed by a name; write `$$` for a dollar sign");
        }
        let colon = self.rest().starts_with(':');
        self.at += usize::from(colon);
        let form = self.rest().chars().next();
        match form {
            Some('}') if !colon => {
                self.at += 1;
                self.plain(out, name, live);
                Ok(())
            }
            Some(form @ ('-' | '?' | '+')) => {
                self.at += 1;
                let value = if live { (self.lookup)(&name) } else { None };
                let set = value.as_ref().is_some_and(|value| !(colon && value.is_empty()));
                let used = live && (form == '+') == set;
                let mut word = String::new();
                self.run(&mut word, depth + 1, used)?;
                match form {
                    _ if !live => {}
                    '?' if !set => {
                        let why = if word.is_empty() { "it has no value".to_owned() } else { word };
                        return self.fault(here, format!("the variable {name} is required: {why}"));
                    }
                    '+' if set => out.push_str(&word),
                    '-' if !set => out.push_str(&word),
                    '+' => {}
                    _ => out.push_str(value.as_deref().unwrap_or("")),
                }
                Ok(())
            }
            None => self.fault(here, format!("`${{{name}` is not closed by `}}`")),
            _ => self.fault(here, format!("`${{{name}` is followed by a form that is not known; known are `}}`, `:-`, `-`, `:?`, `?`, `:+`, `+`")),
        }
    }

    fn plain(&mut self, out: &mut String, name: String, live: bool) {
        if !live {
            return;
        }
        match (self.lookup)(&name) {
            Some(value) => out.push_str(&value),
            None if self.unset.contains(&name) => {}
            None => self.unset.push(name),
        }
    }
}

/// Puts variables into every text of a tree, in place; keys stay as they are.
pub(crate) fn interpolate(
    node: &mut Node,
    variables: &BTreeMap<String, String>,
    budget: &mut Budget,
    found: &mut Vec<Diagnostic>,
) {
    let mut path = Vec::new();
    walk(node, variables, budget, found, &mut path);
}

fn walk(
    node: &mut Node,
    variables: &BTreeMap<String, String>,
    budget: &mut Budget,
    found: &mut Vec<Diagnostic>,
    path: &mut Vec<String>,
) {
    let (tag, span) = (node.tag, node.span);
    match &mut node.value {
        Value::Text(text) if text.contains('$') && tag != Some(Tag::Reset) => {
            match substitute(text, |name| variables.get(name).cloned()) {
                Ok(result) => {
                    for name in result.unset {
                        found.push(
                            Diagnostic::warning(span, format!("the variable {name} is not set; it counts as empty"))
                                .at(path.concat())
                                .suggest(format!("set it in `.env`, write `${{{name}:-DEFAULT}}`, or `$${name}` for a dollar sign")),
                        );
                    }
                    if budget.take((0, result.text.len())) {
                        *text = result.text;
                    } else {
                        found.push(crate::yaml::too_large(span).at(path.concat()));
                        text.clear();
                    }
                }
                Err(fault) => {
                    found.push(Diagnostic::error(span, fault.to_string()).at(path.concat()));
                    text.clear();
                }
            }
        }
        Value::List(items) => {
            for (at, item) in items.iter_mut().enumerate() {
                path.push(format!("[{at}]"));
                walk(item, variables, budget, found, path);
                path.pop();
            }
        }
        Value::Map(map) => {
            for (key, member) in map.iter_mut() {
                path.push(if path.is_empty() { key.to_owned() } else { format!(".{key}") });
                walk(&mut member.node, variables, budget, found, path);
                path.pop();
            }
        }
        _ => {}
    }
}
