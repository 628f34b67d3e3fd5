//! The formatter: same meaning, same comments, one shape.

use crate::dockerfile::{Dockerfile, continuation, line_at, space, trim};
use crate::instruction::{Instruction, Kind, Separator};
use crate::span::Span;
use crate::tree::{Node, NodeKind};

/// How to format.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FormatOptions {
    /// Columns that continuation lines are indented by.
    pub indent: usize,
    /// How keywords are written.
    pub keywords: KeywordCase,
}

/// How keywords are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum KeywordCase {
    /// `RUN`
    #[default]
    Upper,
    /// `run`
    Lower,
    /// As they are.
    Keep,
}

impl Default for FormatOptions {
    fn default() -> Self {
        Self { indent: 4, keywords: KeywordCase::Upper }
    }
}

impl Dockerfile {
    /// The file in one shape: keywords in one case, one blank after them, continuation lines indented alike
    /// with their relative depth kept, no blanks at the ends of lines, no empty lines amid an instruction and
    /// at most one between, LF line ends, one at the end.
    ///
    /// What instructions say stays: bodies of here-documents, text in quotes, and words that run over lines
    /// are not touched, comments stay where they are. Formatting twice changes nothing more. Bytes that are
    /// not UTF-8 come out as replacement characters, as they are read anyhow.
    pub fn format(&self, options: &FormatOptions) -> String {
        let mut writer = Writer { file: self, options, out: Vec::with_capacity(self.source().len()) };
        let tree = self.tree();
        let mut blank = false;
        let mut begun = false;
        for node in tree.nodes() {
            if node.kind == NodeKind::Bom {
                writer.out.extend_from_slice(self.slice(node.span));
                continue;
            }
            let (start, end) = trim(self.source(), node.span.start, node.span.end);
            if node.kind == NodeKind::Blank && start >= end {
                blank = true;
                continue;
            }
            // an empty line at the top keeps a comment from being a directive, and three bytes from being a BOM
            let top =
                node.kind == NodeKind::Comment || self.slice(node.span).starts_with("\u{feff}".as_bytes());
            if std::mem::take(&mut blank) && (begun || top) {
                writer.out.push(b'\n');
            }
            begun = true;
            writer.node(node, start, end);
        }
        match String::from_utf8(writer.out) {
            Ok(text) => text,
            Err(fault) => String::from_utf8_lossy(fault.as_bytes()).into_owned(),
        }
    }
}

struct Writer<'a> {
    file: &'a Dockerfile,
    options: &'a FormatOptions,
    out: Vec<u8>,
}

/// A physical line of an instruction.
struct Line<'a> {
    /// What it says, without its end and without the continuation.
    text: &'a [u8],
    start: usize,
    continued: bool,
    comment: bool,
}

/// What quotes are open, over the lines of an instruction.
#[derive(Default)]
struct Quotes {
    open: Option<u8>,
    /// Quotes within quotes: nothing is certain any more.
    lost: bool,
}

impl Quotes {
    fn read(&mut self, text: &[u8], escape: u8) {
        let mut at = 0;
        while at < text.len() {
            let byte = text[at];
            match self.open {
                Some(b'\'') => {
                    if byte == b'\'' {
                        self.open = None;
                    }
                }
                _ if byte == b'\\' || byte == escape => at += 1,
                Some(open) => {
                    if byte == open {
                        self.open = None;
                    }
                    self.lost |= byte == b'`' || byte == b'$' && text.get(at + 1) == Some(&b'(');
                }
                None => {
                    if matches!(byte, b'"' | b'\'') {
                        self.open = Some(byte);
                    }
                    self.lost |= byte == b'`' && escape != b'`';
                }
            }
            at += 1;
        }
    }

    fn inside(&self) -> bool {
        self.open.is_some() || self.lost
    }
}

fn blanks(text: &[u8]) -> usize {
    text.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count()
}

fn columns(text: &[u8]) -> usize {
    text.iter().take(blanks(text)).map(|&byte| if byte == b'\t' { 4 } else { 1 }).sum()
}

fn trim_end(text: &[u8]) -> &[u8] {
    let end = text.iter().rposition(|byte| !matches!(byte, b' ' | b'\t')).map_or(0, |at| at + 1);
    &text[..end]
}

/// Whether the rest of the line is one value, in which every blank counts.
fn takes_rest(kind: &Kind) -> bool {
    match kind {
        Kind::Env(pairs) | Kind::Label(pairs) => pairs.iter().any(|pair| pair.separator == Separator::Space),
        Kind::User(_) | Kind::Workdir(_) | Kind::Stopsignal(_) | Kind::Maintainer(_) | Kind::Unknown => true,
        _ => false,
    }
}

impl<'a> Writer<'a> {
    fn node(&mut self, node: &Node, start: usize, end: usize) {
        match node.kind {
            NodeKind::Directive(at) => {
                if let Some(directive) = self.file.directives().get(at) {
                    self.out.extend_from_slice(b"# ");
                    self.out.extend_from_slice(self.file.slice(directive.name));
                    self.out.push(b'=');
                    self.out.extend_from_slice(self.file.slice(directive.value));
                }
            }
            NodeKind::Instruction(at) => {
                if let Some(instruction) = self.file.instructions().get(at) {
                    self.instruction(instruction, node.span);
                    return;
                }
            }
            NodeKind::Comment | NodeKind::Blank | NodeKind::Bom => {
                self.out.extend_from_slice(self.file.slice(Span::new(start, end)));
            }
        }
        self.out.push(b'\n');
    }

    /// A line as it is, but for its end.
    fn verbatim(&mut self, span: Span) {
        let mut at = span.start;
        while at < span.end {
            let (end, next) = line_at(self.file.source(), at);
            self.out.extend_from_slice(self.file.slice(Span::new(at, end.min(span.end))));
            self.out.push(b'\n');
            at = next;
        }
    }

    fn instruction(&mut self, instruction: &Instruction, span: Span) {
        let source = self.file.source();
        let heredocs = &instruction.innermost().heredocs;
        let lines_end = heredocs.first().map_or(span.end, |first| first.body.start);
        let head = Span::new(span.start, lines_end);
        let lines = self.lines(head);
        let first_end = lines.first().map_or(span.start, |line| line.start + line.text.len());
        if instruction.kind == Kind::Unknown || instruction.keyword.end > first_end || lines.is_empty() {
            self.verbatim(head);
        } else {
            self.head(instruction, &lines);
        }
        for heredoc in heredocs {
            self.out.extend_from_slice(self.file.slice(heredoc.body));
            if let Some(terminator) = heredoc.terminator {
                let (end, _) = line_at(source, terminator.start);
                self.out.extend_from_slice(self.file.slice(Span::new(terminator.start, end)));
                self.out.push(b'\n');
            }
        }
    }

    /// The physical lines of an instruction but for the empty ones.
    fn lines(&self, head: Span) -> Vec<Line<'a>> {
        let file: &'a Dockerfile = self.file;
        let source = file.source();
        let mut lines: Vec<Line<'a>> = Vec::new();
        let mut at = head.start;
        while at < head.end {
            let (end, next) = line_at(source, at);
            let start = at;
            at = next;
            let mut begin = start;
            while begin < end && space(source, begin) > 0 {
                begin += space(source, begin);
            }
            if begin >= end {
                continue;
            }
            if !lines.is_empty() && source[begin] == b'#' {
                let (from, to) = trim(source, start, end);
                let text = &source[from..to];
                lines.push(Line { text, start, continued: true, comment: true });
                continue;
            }
            let start = if lines.is_empty() { begin } else { start };
            let text = &source[start..end];
            let cut = continuation(text, self.file.escape_byte());
            let text = &text[..cut.unwrap_or(text.len())];
            lines.push(Line { text, start, continued: cut.is_some(), comment: false });
        }
        // lines that say nothing, amid it and at the end
        let last = lines.iter().rposition(|line| !line.comment && blanks(line.text) < line.text.len());
        let mut at = 0;
        lines.retain(|line| {
            at += 1;
            at == 1 || line.comment || !line.text.is_empty() && last.is_some_and(|last| at <= last + 1)
        });
        lines
    }

    fn head(&mut self, instruction: &Instruction, lines: &[Line<'_>]) {
        let escape = self.file.escape_byte();
        let mut cases = vec![instruction.keyword];
        if instruction.innermost().kind != Kind::Unknown {
            cases.push(instruction.innermost().keyword);
        }
        if let Kind::From(from) = &instruction.kind {
            cases.extend(from.as_keyword.as_ref().map(|word| word.span));
        }
        let spoken: Vec<usize> = (0..lines.len()).filter(|&at| !lines[at].comment).collect();
        let last = spoken.last().copied().unwrap_or(0);
        // which lines may be moved, and how deep the least deep of them is
        let mut quotes = Quotes { open: None, lost: takes_rest(&instruction.innermost().kind) };
        let mut movable = vec![false; lines.len()];
        let mut quoted = vec![false; lines.len()];
        let mut least = usize::MAX;
        let mut apart = false;
        for (order, &at) in spoken.iter().enumerate() {
            let line = &lines[at];
            let inside = quotes.inside();
            movable[at] = order > 0 && !inside && (blanks(line.text) > 0 || apart);
            let said = blanks(line.text) < line.text.len();
            if movable[at] && said {
                least = least.min(columns(line.text));
            }
            quotes.read(line.text, escape);
            quoted[at] = quotes.inside();
            apart = !quoted[at] && self.loose_end(line.text);
            if !said && !quoted[at] {
                apart |= movable[at];
            }
            if order == 0 && !quoted[at] {
                // a keyword with nothing but blanks behind it gets one
                let after = line.text.get(instruction.keyword.end - line.start..).unwrap_or_default();
                apart |= !after.is_empty() && after.iter().all(|&byte| crate::arguments::blank(byte));
            }
        }
        for (at, line) in lines.iter().enumerate() {
            if line.comment {
                let depth = self.options.indent;
                self.out.extend(std::iter::repeat_n(b' ', depth));
                self.out.extend_from_slice(line.text);
                self.out.push(b'\n');
                continue;
            }
            let trimmed = trim_end(line.text);
            let keep_end = quoted[at] || trimmed.last().is_some_and(|&byte| byte == escape || byte == b'\\');
            let mut body_start = 0;
            let first = at == 0;
            if first {
                let keyword_end = instruction.keyword.end - line.start;
                self.cased(line, 0, keyword_end, &cases);
                let mut rest = keyword_end;
                while rest < line.text.len() && crate::arguments::blank(line.text[rest]) {
                    rest += 1;
                }
                body_start = rest;
                if rest < line.text.len() || line.continued && keyword_end < rest {
                    self.out.push(b' ');
                }
            } else if movable[at] {
                let extra = columns(line.text).saturating_sub(least.min(columns(line.text)));
                self.out.extend(std::iter::repeat_n(b' ', self.options.indent + extra));
                body_start = blanks(line.text);
            }
            let body_end = if keep_end { line.text.len() } else { trimmed.len() };
            if body_start < body_end {
                self.cased(line, body_start, body_end, &cases);
            }
            if line.continued && (at != last || at + 1 < lines.len()) {
                let had_blank = !keep_end && body_end < line.text.len();
                let after = spoken.partition_point(|&spoken| spoken <= at);
                let next = spoken.get(after).and_then(|&next| lines.get(next));
                let parted = next.is_some_and(|next| blanks(next.text) > 0);
                let bare = first && body_start >= line.text.len();
                let ends_blank = matches!(self.out.last(), Some(b' ' | b'\t'));
                if !keep_end && !ends_blank && (had_blank || parted || bare) {
                    self.out.push(b' ');
                }
                self.out.push(escape);
            } else if line.continued {
                // nothing follows, so blanks here are at the end of what is said
                let end = trim_end(&self.out).len();
                if !self.out[..end].ends_with(&[escape]) {
                    self.out.truncate(end);
                }
            }
            self.out.push(b'\n');
        }
    }

    /// Whether a line ends in blanks that only tell words apart.
    fn loose_end(&self, text: &[u8]) -> bool {
        let trimmed = trim_end(text);
        let escaped = trimmed.last().is_some_and(|&byte| byte == b'\\' || byte == self.file.escape_byte());
        trimmed.len() < text.len() && !escaped
    }

    /// A piece of a line with keywords in the wanted case.
    fn cased(&mut self, line: &Line<'_>, from: usize, to: usize, cases: &[Span]) {
        let begin = self.out.len();
        self.out.extend_from_slice(&line.text[from..to]);
        for span in cases {
            let start = span.start.max(line.start + from);
            let end = span.end.min(line.start + to);
            if start >= end {
                continue;
            }
            let shift = begin as isize - (line.start + from) as isize;
            let range = (start as isize + shift) as usize..(end as isize + shift) as usize;
            if let Some(word) = self.out.get_mut(range) {
                match self.options.keywords {
                    KeywordCase::Upper => word.make_ascii_uppercase(),
                    KeywordCase::Lower => word.make_ascii_lowercase(),
                    KeywordCase::Keep => {}
                }
            }
        }
    }
}
