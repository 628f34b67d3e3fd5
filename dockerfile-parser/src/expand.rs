//! Variables, quotes and escapes, as BuildKit resolves them.

use std::borrow::Cow;

use crate::glob::{Budget, Glob};

/// Finds the value of a variable; `None` if it is not set.
pub type Lookup<'l, 'v> = &'l mut dyn FnMut(&str) -> Option<Cow<'v, str>>;

/// A limit that is far over what files need, for callers without a better one: 1 MiB.
pub const EXPANSION_LIMIT: usize = 1 << 20;

/// Why a word cannot be expanded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ExpandError {
    /// A quote has no partner.
    #[error("a quote ({quote}) is not closed")]
    Quote {
        /// The quote.
        quote: char,
    },
    /// `${` without `}`.
    #[error("'${{' is not closed")]
    Brace,
    /// `${}`, `${:…}`, `${{`.
    #[error("bad substitution: a name follows '${{'")]
    Substitution,
    /// `${name/pattern` without the second `/`.
    #[error("'/' and a replacement are missing in '${{name/pattern/replacement}}'")]
    Replacement,
    /// A modifier that does not exist, such as `${x:=y}`.
    #[error("unsupported modifier '{modifier}' in a substitution")]
    Modifier {
        /// The modifier.
        modifier: String,
    },
    /// `${name?message}` of a variable that is not set or empty.
    #[error("{name}: {message}")]
    Required {
        /// The variable.
        name: String,
        /// What the file says of it.
        message: String,
    },
    /// A pattern with an escape before an ordinary character.
    #[error("invalid escape '\\{escaped}' in a pattern")]
    Pattern {
        /// The character after the escape.
        escaped: String,
    },
    /// The result would be larger than the limit.
    #[error("the expansion is larger than {limit} bytes")]
    TooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// Matching a pattern would take too long.
    #[error("a pattern and the value it is matched with are too long together")]
    TooComplex,
}

/// Expand a word: variables replaced, quotes taken off, escapes resolved.
///
/// `limit` bounds the bytes that are held at any time, the result among them. Nesting takes no stack.
///
/// ```
/// use dockerfile_parser::expand;
/// let mut lookup = |name: &str| (name == "VERSION").then(|| "1.2.3".into());
/// let text = expand("v${VERSION%.*}-${FLAVOUR:-slim}", '\\', &mut lookup, 1024)?;
/// assert_eq!(text, "v1.2-slim");
/// # Ok::<(), dockerfile_parser::ExpandError>(())
/// ```
pub fn expand(word: &str, escape: char, lookup: Lookup<'_, '_>, limit: usize) -> Result<String, ExpandError> {
    // nothing to do for most words
    if !word.contains(['$', '\'', '"', escape]) {
        if word.len() > limit {
            return Err(ExpandError::TooLarge { limit });
        }
        return Ok(word.to_owned());
    }
    let machine = Machine::new(word, escape, lookup, limit);
    Ok(machine.run()?.0)
}

/// Expand a word and split the result at white space outside of quotes, for `EXPOSE`.
pub fn expand_words(
    word: &str,
    escape: char,
    lookup: Lookup<'_, '_>,
    limit: usize,
) -> Result<Vec<String>, ExpandError> {
    let mut machine = Machine::new(word, escape, lookup, limit);
    machine.split = true;
    Ok(machine.run()?.1)
}

/// Expand the body of a here-document of `COPY` or `ADD`: variables, and `\` before them; quotes stay.
pub fn expand_heredoc(body: &str, lookup: Lookup<'_, '_>, limit: usize) -> Result<String, ExpandError> {
    let mut machine = Machine::new(body, '\\', lookup, limit);
    machine.quotes = false;
    Ok(machine.run()?.0)
}

/// What is being read, innermost last.
#[derive(Debug)]
enum Kind {
    /// The word itself.
    Top,
    /// `"…"`
    Double,
    /// `${name-…}`
    Alternative { name: (usize, usize), colon: bool, operator: char },
    /// `${name/…/`
    Pattern { name: (usize, usize), all: bool },
    /// `${name/pattern/…}`
    Replacement { name: (usize, usize), all: bool, pattern: String },
}

#[derive(Debug)]
struct Frame {
    kind: Kind,
    out: String,
    /// Escapes stay in the text, for a pattern to see.
    raw: bool,
}

struct Machine<'w, 'l, 'v> {
    text: &'w str,
    at: usize,
    escape: char,
    quotes: bool,
    split: bool,
    lookup: Lookup<'l, 'v>,
    limit: usize,
    held: usize,
    budget: Budget,
    frames: Vec<Frame>,
    words: Vec<String>,
    current: String,
}

impl<'w, 'l, 'v> Machine<'w, 'l, 'v> {
    fn new(text: &'w str, escape: char, lookup: Lookup<'l, 'v>, limit: usize) -> Self {
        Self {
            text,
            at: 0,
            escape,
            quotes: true,
            split: false,
            lookup,
            limit,
            held: 0,
            budget: Budget::default(),
            frames: vec![Frame { kind: Kind::Top, out: String::new(), raw: false }],
            words: Vec::new(),
            current: String::new(),
        }
    }

    fn peek(&self) -> Option<char> {
        self.text.get(self.at..)?.chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let ch = self.peek()?;
        self.at += ch.len_utf8();
        Some(ch)
    }

    fn hold(&mut self, bytes: usize) -> Result<(), ExpandError> {
        self.held = self.held.saturating_add(bytes);
        if self.held > self.limit { Err(ExpandError::TooLarge { limit: self.limit }) } else { Ok(()) }
    }

    /// Add text that splits nowhere.
    fn add_raw(&mut self, text: &str) -> Result<(), ExpandError> {
        self.hold(text.len())?;
        self.put(text);
        Ok(())
    }

    /// Add text that was held already.
    fn put(&mut self, text: &str) {
        if self.split && self.frames.len() == 1 {
            self.current.push_str(text);
        } else if let Some(frame) = self.frames.last_mut() {
            frame.out.push_str(text);
        }
    }

    /// Add text that splits at its white space.
    fn add(&mut self, text: &str) -> Result<(), ExpandError> {
        self.hold(text.len())?;
        if self.split && self.frames.len() == 1 {
            for ch in text.chars() {
                if ch.is_whitespace() {
                    self.end_word();
                } else {
                    self.current.push(ch);
                }
            }
        } else {
            self.put(text);
        }
        Ok(())
    }

    fn end_word(&mut self) {
        if !self.current.is_empty() {
            self.words.push(std::mem::take(&mut self.current));
        }
    }

    fn run(mut self) -> Result<(String, Vec<String>), ExpandError> {
        while let Some(ch) = self.peek() {
            let Some(frame) = self.frames.last() else { break };
            let raw = frame.raw;
            let (double, stop) = match frame.kind {
                Kind::Top => (false, None),
                Kind::Double => (true, Some('"')),
                Kind::Alternative { .. } | Kind::Replacement { .. } => (false, Some('}')),
                Kind::Pattern { .. } => (false, Some('/')),
            };
            if stop == Some(ch) {
                self.at += 1;
                self.close()?;
            } else if ch == '$' {
                self.at += 1;
                self.dollar()?;
            } else if double {
                self.double(raw)?;
            } else if ch == '\'' && self.quotes {
                let start = self.at + 1;
                let length = self.text.get(start..).and_then(|rest| rest.find('\''));
                let Some(length) = length else { return Err(ExpandError::Quote { quote: '\'' }) };
                self.at = start + length + 1;
                let text = self.text;
                self.add_raw(&text[start..start + length])?;
            } else if ch == '"' && self.quotes {
                self.at += 1;
                self.frames.push(Frame { kind: Kind::Double, out: String::new(), raw });
            } else if ch == self.escape {
                self.at += ch.len_utf8();
                if raw {
                    self.add_char(ch, true)?;
                }
                match self.next() {
                    Some(escaped) => self.add_char(escaped, true)?,
                    None => break,
                }
            } else {
                self.plain()?;
            }
        }
        match self.frames.last().map(|frame| &frame.kind) {
            Some(Kind::Double) => Err(ExpandError::Quote { quote: '"' }),
            Some(Kind::Alternative { .. } | Kind::Replacement { .. }) => Err(ExpandError::Brace),
            Some(Kind::Pattern { .. }) => Err(ExpandError::Replacement),
            _ => {
                self.end_word();
                let out = self.frames.pop().map(|frame| frame.out).unwrap_or_default();
                Ok((out, self.words))
            }
        }
    }

    fn add_char(&mut self, ch: char, raw: bool) -> Result<(), ExpandError> {
        let mut buffer = [0; 4];
        let text = ch.encode_utf8(&mut buffer);
        if raw { self.add_raw(text) } else { self.add(text) }
    }

    /// A run of ordinary characters at once.
    fn plain(&mut self) -> Result<(), ExpandError> {
        let text = self.text;
        let rest = text.get(self.at..).unwrap_or_default();
        let escape = self.escape;
        let special = |ch: char| matches!(ch, '$' | '\'' | '"' | '}' | '/') || ch == escape;
        let first = rest.chars().next().map_or(0, char::len_utf8);
        let length = rest[first..].find(special).map_or(rest.len(), |at| at + first);
        self.at += length;
        self.add(&rest[..length])
    }

    /// Inside of double quotes.
    fn double(&mut self, raw: bool) -> Result<(), ExpandError> {
        let Some(ch) = self.next() else { return Ok(()) };
        if ch != self.escape {
            return self.add_char(ch, true);
        }
        if raw {
            self.add_char(ch, true)?;
        }
        match self.peek() {
            None => Ok(()),
            Some(escaped) if matches!(escaped, '"' | '$') || escaped == self.escape => {
                self.at += escaped.len_utf8();
                self.add_char(escaped, true)
            }
            Some(_) => self.add_char(ch, true),
        }
    }

    /// A variable's name from here on: digits, one special character, or letters, digits and `_`.
    fn name(&mut self) -> (usize, usize) {
        let start = self.at;
        match self.peek() {
            Some(ch) if ch.is_ascii_digit() => {
                while self.peek().is_some_and(|ch| ch.is_ascii_digit()) {
                    self.at += 1;
                }
            }
            Some('@' | '*' | '#' | '?' | '-' | '$' | '!') => self.at += 1,
            _ => {
                while let Some(ch) = self.peek()
                    && (ch.is_alphanumeric() || ch == '_')
                {
                    self.at += ch.len_utf8();
                }
            }
        }
        (start, self.at)
    }

    fn dollar(&mut self) -> Result<(), ExpandError> {
        let text = self.text;
        if self.peek() != Some('{') {
            let (start, end) = self.name();
            if start == end {
                return self.add("$");
            }
            return match (self.lookup)(&text[start..end]) {
                Some(value) => self.value(&value),
                None => Ok(()),
            };
        }
        self.at += 1;
        match self.peek() {
            None => return Err(ExpandError::Brace),
            Some('{' | '}' | ':') => return Err(ExpandError::Substitution),
            Some(_) => {}
        }
        let name = self.name();
        let Some(mut operator) = self.next() else { return Err(ExpandError::Brace) };
        let colon = operator == ':';
        if colon {
            operator = self.next().ok_or(ExpandError::Brace)?;
            if !matches!(operator, '+' | '-' | '?') {
                return Err(ExpandError::Modifier { modifier: format!(":{operator}") });
            }
        }
        let (kind, raw) = match operator {
            '}' => {
                return match (self.lookup)(&text[name.0..name.1]) {
                    Some(value) => self.value(&value),
                    None => Ok(()),
                };
            }
            '+' | '-' | '?' => (Kind::Alternative { name, colon, operator }, false),
            '#' | '%' => (Kind::Alternative { name, colon, operator }, true),
            '/' => {
                let all = self.peek() == Some('/');
                self.at += usize::from(all);
                (Kind::Pattern { name, all }, true)
            }
            other => return Err(ExpandError::Modifier { modifier: other.to_string() }),
        };
        self.frames.push(Frame { kind, out: String::new(), raw });
        Ok(())
    }

    /// A variable's value, which splits unless it is quoted.
    fn value(&mut self, text: &str) -> Result<(), ExpandError> {
        self.add(text)
    }

    /// The innermost thing is complete.
    fn close(&mut self) -> Result<(), ExpandError> {
        let Some(Frame { kind, out, .. }) = self.frames.pop() else { return Ok(()) };
        let text = self.text;
        match kind {
            Kind::Top => Ok(()),
            Kind::Double => {
                self.put(&out);
                Ok(())
            }
            Kind::Pattern { name, all } => {
                let kind = Kind::Replacement { name, all, pattern: out };
                self.frames.push(Frame { kind, out: String::new(), raw: true });
                Ok(())
            }
            Kind::Alternative { name, colon, operator } => {
                self.held -= out.len();
                let name = &text[name.0..name.1];
                let value = (self.lookup)(name);
                let has = value.as_deref().is_some_and(|value| !(colon && value.is_empty()));
                let value = value.unwrap_or_default();
                match operator {
                    '-' | '?' if has => self.value(&value),
                    '+' if !has => Ok(()),
                    '-' | '+' => self.value(&out),
                    '?' => {
                        let fault =
                            if colon { "is not allowed to be empty" } else { "is not allowed to be unset" };
                        let message = if out.is_empty() { fault.to_owned() } else { out };
                        Err(ExpandError::Required { name: name.to_owned(), message })
                    }
                    _ => {
                        let longest = out.starts_with(operator);
                        let pattern = out.strip_prefix(operator).unwrap_or(&out);
                        let glob = Glob::parse(pattern)?;
                        let kept = if operator == '#' {
                            &value[glob.prefix(&value, longest, &mut self.budget)?..]
                        } else {
                            &value[..value.len() - glob.suffix(&value, longest, &mut self.budget)?]
                        };
                        self.value(kept)
                    }
                }
            }
            Kind::Replacement { name, all, pattern } => {
                self.held -= out.len() + pattern.len();
                let Some(value) = (self.lookup)(&text[name.0..name.1]) else {
                    return Ok(());
                };
                let glob = Glob::parse(&pattern)?;
                let mut at = 0;
                // where the last match ended: an empty one right there does not count
                let mut last = None;
                let mut copied = 0;
                while let Some((start, end)) = glob.find(&value, at, &mut self.budget)? {
                    if start == end && last == Some(end) {
                        let Some(ch) = value[end..].chars().next() else { break };
                        at = end + ch.len_utf8();
                        continue;
                    }
                    self.value(&value[copied..start])?;
                    self.value(&out)?;
                    copied = end;
                    last = Some(end);
                    at = end;
                    if !all {
                        break;
                    }
                    if start == end {
                        let Some(ch) = value[end..].chars().next() else { break };
                        at = end + ch.len_utf8();
                    }
                }
                self.value(&value[copied..])
            }
        }
    }
}
