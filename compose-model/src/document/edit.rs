//! The edits, as texts. What they mean is checked by the caller, who reads each text again.
use super::text::Text;
use crate::yaml::{Member, Node, Value, to_flow, to_lines};

impl Text {
    /// The text with another value at a place; `parent` holds `old` under `key`.
    pub(super) fn replaced(&self, parent: &Node, key: &str, old: &Node, value: &Node) -> Option<String> {
        let end = self.end(old);
        if self.is_flow(parent) {
            let colon =
                parent.as_map().and_then(|map| self.colon(map.get(key)?)).filter(|colon| end <= *colon);
            let (start, gap) = colon.map_or((self.start(old), ""), |colon| (colon, " "));
            return Some(self.spliced(start, end.max(start), &format!("{gap}{}", to_flow(value))));
        }
        let Value::Map(map) = &parent.value else {
            let dash = self.dash(old)?;
            let item = Node::list([value.clone()]);
            return Some(self.spliced(dash, end, self.lines(&item, self.indent(dash)).trim_start()));
        };
        let member = map.get(key)?;
        let indent = self.indent(self.key_start(member));
        let colon = self.colon(member)?;
        let value_text = if value.is_block() {
            format!("{}{}", self.line_end(), self.lines(value, indent + 2))
        } else {
            format!(" {}", self.lines(value, indent))
        };
        if let Some(alias) = self.alias(colon) {
            return Some(self.spliced(colon, alias, &value_text));
        }
        if old.is_block() && !self.is_flow(old) {
            // what stands behind the colon is a comment, and stays
            let line = self.line_behind(colon);
            let comment = self.as_str().get(colon..line)?;
            let parts = if value.is_block() { [comment, &value_text] } else { [&value_text, comment] };
            return Some(self.spliced(colon, end, &parts.concat()));
        }
        let start = self.start(old);
        Some(if value.is_block() || end <= start {
            self.spliced(colon, end.max(colon), &value_text)
        } else {
            self.spliced(start, end, value_text.trim_start())
        })
    }

    /// The text with the one entry or item of `more` behind those of a node that has some.
    pub(super) fn added(&self, node: &Node, more: &Node) -> Option<String> {
        let end = self.end(node);
        if self.is_flow(node) {
            let flow = to_flow(more);
            let bare = flow.get(1..flow.len().checked_sub(1)?)?;
            return Some(self.spliced(end - 1, end - 1, &format!(", {bare}")));
        }
        let indent = match &node.value {
            Value::Map(map) => {
                let mut own = map.values().filter(|member| member.key_span.begins_in(node.span));
                self.indent(self.key_start(own.next()?))
            }
            Value::List(items) => self.indent(self.dash(items.first()?)?),
            _ => return None,
        };
        let line = self.line_behind(end);
        Some(self.spliced(line, line, &format!("{}{}", self.line_end(), self.lines(more, indent))))
    }

    /// The text of a file that held nothing, with a mapping behind its comments.
    pub(super) fn as_root(&self, old: &Node, value: &Node) -> String {
        let (before, behind) = if old.is_null() && self.start(old) == self.end(old) {
            (self.as_str(), "")
        } else {
            (self.before(self.start(old)), self.rest(self.end(old)))
        };
        let gap = if before.is_empty() || before.ends_with('\n') { "" } else { self.line_end() };
        let behind = if behind.is_empty() { self.line_end() } else { behind };
        [before, gap, &self.lines(value, 0), behind].concat()
    }

    /// The text without an entry or an item, and without the comments that belong to it.
    pub(super) fn without(&self, parent: &Node, key: &str, old: &Node) -> Option<String> {
        let (start, end, alone, next) = match &parent.value {
            Value::Map(map) => {
                let member = map.get(key)?;
                let end = self.end(old).max(self.colon(member).unwrap_or(0));
                (self.key_start(member), end, map.len() == 1, self.next_key(parent, member))
            }
            Value::List(items) => {
                let start = if self.is_flow(parent) { self.start(old) } else { self.dash(old)? };
                (start, self.end(old), items.len() == 1, None)
            }
            _ => return None,
        };
        if self.is_flow(parent) {
            return Some(self.without_flow(start, end));
        }
        let line = self.line_start(start);
        if alone {
            let empty = if matches!(parent.value, Value::Map(_)) { "{}" } else { "[]" };
            return Some(self.spliced(start, end, empty));
        }
        if self.before(start).get(line..)?.trim().is_empty() {
            return Some(self.spliced(self.with_comments(line), self.next_line(end), ""));
        }
        // the first key behind a dash: the next one takes its place
        Some(self.spliced(start, next?, ""))
    }

    /// Where the key begins that follows an entry of a mapping.
    fn next_key(&self, parent: &Node, member: &Member) -> Option<usize> {
        let start = self.key_start(member);
        let map = parent.as_map()?;
        map.values()
            .filter(|other| other.key_span.begins_in(parent.span))
            .map(|other| self.key_start(other))
            .filter(|other| *other > start)
            .min()
    }

    /// The text without what stands in brackets from `start` to `end`, and without one comma beside it.
    fn without_flow(&self, start: usize, end: usize) -> String {
        let behind = self.rest(end).trim_start();
        if let Some(behind) = behind.strip_prefix(',') {
            let next = self.as_str().len() - behind.trim_start().len();
            return self.spliced(start, next, "");
        }
        let before = self.before(start).trim_end();
        self.spliced(before.strip_suffix(',').unwrap_or(before).len(), end, "")
    }

    /// Where the comments begin that stand right above a line, as far to the right as it.
    fn with_comments(&self, line: usize) -> usize {
        let blanks = |text: &str| text.len() - text.trim_start_matches(' ').len();
        let indent = blanks(self.rest(line));
        let mut start = line;
        while start > 0 {
            let above = self.line_start(start - 1);
            let text = self.rest(above);
            if blanks(text) != indent || !text.trim_start_matches(' ').starts_with('#') {
                break;
            }
            start = above;
        }
        start
    }

    /// A value as lines, without the end of the last.
    fn lines(&self, value: &Node, indent: usize) -> String {
        let lines = to_lines(value, indent);
        if self.line_end() == "\n" { lines } else { lines.replace('\n', self.line_end()) }
    }
}
