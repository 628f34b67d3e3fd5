//! A text and where the nodes of its tree stand in it, in bytes.
use crate::source::{Position, Span};
use crate::yaml::{Member, Node, Value};

const MARK: &str = "\u{feff}";

#[derive(Debug, Clone)]
pub(super) struct Text {
    /// Without a byte order mark, which no place counts.
    bytes: String,
    mark: &'static str,
    /// Where each character begins; empty when each is one byte.
    characters: Vec<u32>,
}

impl Text {
    pub(super) fn new(mut text: String) -> Self {
        let mark = if text.starts_with(MARK) { MARK } else { "" };
        text.drain(..mark.len());
        let characters =
            if text.is_ascii() { Vec::new() } else { text.char_indices().map(|(at, _)| at as u32).collect() };
        Self { bytes: text, mark, characters }
    }

    pub(super) fn as_str(&self) -> &str {
        &self.bytes
    }

    /// The byte order mark that stood before it, if one did.
    pub(super) fn mark(&self) -> &'static str {
        self.mark
    }

    /// What its lines end with.
    pub(super) fn line_end(&self) -> &'static str {
        if self.bytes.contains("\r\n") { "\r\n" } else { "\n" }
    }

    fn byte(&self, position: Position) -> usize {
        let at = position.offset as usize;
        if self.characters.is_empty() {
            return at.min(self.bytes.len());
        }
        self.characters.get(at).map_or(self.bytes.len(), |byte| *byte as usize)
    }

    pub(super) fn rest(&self, from: usize) -> &str {
        self.bytes.get(from..).unwrap_or_default()
    }

    pub(super) fn before(&self, end: usize) -> &str {
        self.bytes.get(..end).unwrap_or_default()
    }

    /// Where the line begins that holds a byte.
    pub(super) fn line_start(&self, at: usize) -> usize {
        self.before(at).rfind('\n').map_or(0, |end| end + 1)
    }

    /// The end of the line that holds a byte, before what ends it.
    pub(super) fn line_behind(&self, at: usize) -> usize {
        let rest = self.rest(at);
        let line = rest.split('\n').next().unwrap_or_default();
        at + line.strip_suffix('\r').unwrap_or(line).len()
    }

    /// Where the next line begins, or the end.
    pub(super) fn next_line(&self, at: usize) -> usize {
        self.rest(at).find('\n').map_or(self.bytes.len(), |end| at + end + 1)
    }

    /// How far a byte stands from the start of its line, when only blanks and dashes stand before it.
    pub(super) fn indent(&self, at: usize) -> usize {
        at - self.line_start(at)
    }

    /// Whether a list or mapping is written in brackets.
    pub(super) fn is_flow(&self, node: &Node) -> bool {
        let start = self.value_start(node);
        self.rest(start).starts_with(['[', '{'])
    }

    pub(super) fn key_start(&self, member: &Member) -> usize {
        self.byte(member.key_span.start)
    }

    /// The place behind the colon of an entry.
    pub(super) fn colon(&self, member: &Member) -> Option<usize> {
        let start = self.key_start(member);
        let end = match self.quoted_end(start) {
            Some(end) => end,
            None => self.byte(member.key_span.end),
        };
        let blanks = self.rest(end).len() - self.rest(end).trim_start().len();
        self.rest(end + blanks).starts_with(':').then_some(end + blanks + 1)
    }

    /// The place behind an alias that follows a colon.
    pub(super) fn alias(&self, colon: usize) -> Option<usize> {
        let rest = self.rest(colon);
        let star = rest.len() - rest.trim_start().len();
        let name = rest.get(star..)?.strip_prefix('*')?;
        Some(colon + star + 1 + name.find(char::is_whitespace).unwrap_or(name.len()))
    }

    /// The dash of an item in a list that is written in lines.
    pub(super) fn dash(&self, item: &Node) -> Option<usize> {
        let before = self.before(self.start(item));
        let at = before.trim_end().len().checked_sub(1)?;
        // an item on the line below its dash, behind a comment, is not looked for
        before.get(at..)?.starts_with('-').then_some(at)
    }

    /// Where a node begins, with its anchor and its tag.
    pub(super) fn start(&self, node: &Node) -> usize {
        self.block_scalar(node).unwrap_or_else(|| self.byte(node.span.start))
    }

    /// The place behind the last character of a node; blanks and comments behind it are not part of it.
    pub(super) fn end(&self, node: &Node) -> usize {
        let start = self.value_start(node);
        match &node.value {
            Value::Map(map) => {
                let own = map.values().filter(|member| member.key_span.begins_in(node.span));
                let last = own.map(|member| match self.colon(member) {
                    Some(colon) => self.end(&member.node).max(colon),
                    None => self.byte(member.key_span.end),
                });
                self.behind_bracket(start, last.max())
            }
            Value::List(items) => {
                let own = items.iter().filter(|item| item.span.begins_in(node.span));
                self.behind_bracket(start, own.map(|item| self.end(item)).max())
            }
            _ if self.block_scalar(node).is_some() => {
                let end = self.byte(node.span.end);
                let text = self.bytes.get(start..end).unwrap_or_default();
                start + text.trim_end().len()
            }
            _ => self.quoted_end(start).unwrap_or_else(|| self.byte(node.span.end)),
        }
    }

    /// The text with a stretch of it replaced.
    pub(super) fn spliced(&self, start: usize, end: usize, put: &str) -> String {
        [self.before(start), put, self.rest(end)].concat()
    }

    /// Behind the bracket that closes what ends at `last`; `last` itself when there are no brackets.
    fn behind_bracket(&self, start: usize, last: Option<usize>) -> usize {
        let rest = self.rest(start);
        let Some(open) = rest.chars().next().filter(|c| matches!(c, '[' | '{')) else {
            return last.unwrap_or(start);
        };
        let close = if open == '[' { ']' } else { '}' };
        let mut at = last.unwrap_or(start + 1);
        loop {
            let rest = self.rest(at);
            let Some(next) = rest.chars().next() else { return at };
            at += match next {
                '#' => rest.find('\n').unwrap_or(rest.len()),
                next => next.len_utf8(),
            };
            if next == close {
                return at;
            }
        }
    }

    /// Where a node's value begins, behind its anchor and its tag.
    fn value_start(&self, node: &Node) -> usize {
        let mut at = self.start(node);
        loop {
            let rest = self.rest(at);
            let blanks = rest.len() - rest.trim_start().len();
            let rest = rest.trim_start();
            match rest.chars().next() {
                Some('&' | '!') => at += blanks + rest.find(char::is_whitespace).unwrap_or(rest.len()),
                Some('#') if blanks > 0 => at += blanks + rest.find('\n').unwrap_or(rest.len()),
                Some(_) if at + blanks <= self.byte(node.span.end) => return at + blanks,
                _ => return at,
            }
        }
    }

    /// The `|` or `>` of a text that is written as a block below it.
    fn block_scalar(&self, node: &Node) -> Option<usize> {
        if !matches!(node.value, Value::Text(_)) {
            return None;
        }
        let start = self.byte(node.span.start);
        let above = self.before(start).trim_end_matches([' ', '\t']).strip_suffix('\n')?;
        // blank lines may stand between
        let above = above.trim_end();
        let line_start = above.rfind('\n').map_or(0, |end| end + 1);
        let line = above.get(line_start..)?;
        let line = line.find(" #").and_then(|comment| line.get(..comment)).unwrap_or(line).trim_end();
        let word = line.rsplit([' ', '\t']).next()?;
        let marks = word.strip_prefix(['|', '>'])?;
        let header = marks.chars().all(|c| matches!(c, '+' | '-' | '1'..='9'));
        header.then_some(line_start + line.len() - word.len())
    }

    /// Behind the closing quote of a text that begins with one.
    fn quoted_end(&self, start: usize) -> Option<usize> {
        let rest = self.rest(start);
        let quote = rest.bytes().next().filter(|byte| matches!(byte, b'"' | b'\''))?;
        let mut bytes = rest.bytes().enumerate().skip(1).peekable();
        while let Some((at, byte)) = bytes.next() {
            if byte == b'\\' && quote == b'"' {
                bytes.next();
            } else if byte == quote {
                if quote == b'\'' && bytes.peek().is_some_and(|(_, next)| *next == quote) {
                    bytes.next();
                } else {
                    return Some(start + at + 1);
                }
            }
        }
        None
    }
}

impl Span {
    /// Whether it begins inside of another one of the same file.
    pub(super) fn begins_in(self, whole: Span) -> bool {
        whole.start.offset <= self.start.offset && self.start.offset <= whole.end.offset
    }
}
