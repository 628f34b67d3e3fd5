//! The file as a whole, and the loop that reads it line by line.

use std::borrow::Cow;
use std::fmt;
use std::sync::OnceLock;

use crate::arguments::Reader;
use crate::code::Code;
use crate::diagnostic::Diagnostic;
use crate::edit::Edit;
use crate::heredoc;
use crate::instruction::{Heredoc, Instruction, Kind};
use crate::span::{LineColumn, LineIndex, Logical, Span};
use crate::word::Word;

const BOM: &[u8] = b"\xEF\xBB\xBF";

/// A parsed Dockerfile. It owns its source.
#[derive(Debug, Clone)]
pub struct Dockerfile {
    source: Box<[u8]>,
    escape: u8,
    directives: Vec<Directive>,
    instructions: Vec<Instruction>,
    diagnostics: Vec<Diagnostic>,
    empty_continuations: Vec<Span>,
    lines: OnceLock<LineIndex>,
}

/// A parser directive, `# name=value` at the very top.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directive {
    /// The line, from `#` to the value's end.
    pub span: Span,
    /// The name as written: `syntax`, `escape` or `check` in any case.
    pub name: Span,
    /// The value.
    pub value: Span,
}

/// Read a Dockerfile. It never fails: what is wrong is in [`Dockerfile::diagnostics`].
///
/// Time and memory grow with the length of `source`, never with what is in it.
pub fn parse(source: &[u8]) -> Dockerfile {
    let mut file = Dockerfile {
        source: source.into(),
        escape: b'\\',
        directives: Vec::new(),
        instructions: Vec::with_capacity((source.len() / 48).min(4096)),
        diagnostics: Vec::new(),
        empty_continuations: Vec::new(),
        lines: OnceLock::new(),
    };
    check_bytes(source, &mut file.diagnostics);
    read(source, &mut file);
    check_order(source.len(), &mut file);
    file.diagnostics.sort_by_key(|diagnostic| diagnostic.span.start);
    file
}

impl Dockerfile {
    /// The bytes it was parsed from.
    pub fn source(&self) -> &[u8] {
        &self.source
    }

    /// The escape character: `\`, or a backtick by directive.
    pub fn escape(&self) -> char {
        self.escape as char
    }

    /// The parser directives, in order.
    pub fn directives(&self) -> &[Directive] {
        &self.directives
    }

    /// The value of a parser directive: `syntax`, `escape` or `check`.
    pub fn directive(&self, name: &str) -> Option<&Directive> {
        self.directives
            .iter()
            .find(|directive| self.slice(directive.name).eq_ignore_ascii_case(name.as_bytes()))
    }

    /// The instructions, in order.
    pub fn instructions(&self) -> &[Instruction] {
        &self.instructions
    }

    /// What is wrong with the file, in order. The rules of style are in [`Dockerfile::lint`].
    pub fn diagnostics(&self) -> &[Diagnostic] {
        &self.diagnostics
    }

    /// The bytes at a span; none if the span is not of this file.
    pub fn slice(&self, span: Span) -> &[u8] {
        self.source.get(span.range()).unwrap_or_default()
    }

    /// The text at a span, with invalid UTF-8 replaced.
    pub fn str(&self, span: Span) -> Cow<'_, str> {
        String::from_utf8_lossy(self.slice(span))
    }

    /// Line and column of an offset. The first call builds an index of the lines.
    pub fn locate(&self, offset: usize) -> LineColumn {
        self.lines().locate(offset.min(self.source.len()))
    }

    /// The bytes of a line, counted from 1, without its end.
    pub fn line(&self, line: usize) -> Span {
        self.lines().line(self.source.len(), line)
    }

    fn lines(&self) -> &LineIndex {
        self.lines.get_or_init(|| LineIndex::new(&self.source))
    }

    /// An instruction's arguments as one line, with continuation lines joined and comments taken out.
    pub fn arguments(&self, instruction: &Instruction) -> Cow<'_, [u8]> {
        let span = instruction.arguments;
        let whole = self.slice(span);
        if memchr::memchr(b'\n', whole).is_none() {
            return Cow::Borrowed(whole);
        }
        let mut out = Vec::with_capacity(whole.len());
        let mut at = span.start;
        while at < span.end {
            let (end, next) = line_at(&self.source, at);
            let mut first = at;
            while first < end && space(&self.source, first) > 0 {
                first += space(&self.source, first);
            }
            let end = end.min(span.end);
            if at == span.start || first < end && self.source[first] != b'#' {
                let line = &self.source[at..end];
                let cut = if next < span.end { continuation(line, self.escape) } else { None };
                out.extend_from_slice(&line[..cut.unwrap_or(line.len())]);
            }
            at = next;
        }
        Cow::Owned(out)
    }

    pub(crate) fn escape_byte(&self) -> u8 {
        self.escape
    }

    pub(crate) fn empty_continuations(&self) -> &[Span] {
        &self.empty_continuations
    }

    /// Length of the byte order mark at the beginning, 0 or 3.
    pub(crate) fn bom(&self) -> usize {
        if self.source.starts_with(BOM) { BOM.len() } else { 0 }
    }
}

impl fmt::Display for Dockerfile {
    /// The source, byte for byte where it is UTF-8.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.source))
    }
}

/// The first place of a byte in a short text, where a vectorised search costs more than it saves.
#[inline]
pub(crate) fn position(byte: u8, text: &[u8]) -> Option<usize> {
    text.iter().position(|&found| found == byte)
}

/// Bytes that white space may begin with.
const BLANK: u8 = 1;
/// Bytes that end or change a word: white space, quotes, escapes.
const STOP: u8 = 2;
/// First bytes of white space beyond ASCII.
const WIDE: u8 = 4;

/// What each byte may be the beginning of.
static CLASS: [u8; 256] = {
    let mut table = [0; 256];
    let mut byte = 9;
    while byte <= 13 {
        table[byte] = BLANK | STOP;
        byte += 1;
    }
    table[b' ' as usize] = BLANK | STOP;
    table[b'"' as usize] = STOP;
    table[b'\'' as usize] = STOP;
    table[b'\\' as usize] = STOP;
    table[b'`' as usize] = STOP;
    table[0xC2] = WIDE | STOP;
    table[0xE1] = WIDE | STOP;
    table[0xE2] = WIDE | STOP;
    table[0xE3] = WIDE | STOP;
    table
};

/// Length of the white space at `at`, 0 if there is none; Unicode's too, as Docker takes it.
#[inline]
pub(crate) fn space(text: &[u8], at: usize) -> usize {
    let class = text.get(at).map_or(0, |&byte| CLASS[byte as usize]);
    match class & (BLANK | WIDE) {
        0 => 0,
        BLANK => 1,
        _ => wide_space(text.get(at..).unwrap_or_default()),
    }
}

/// The first place from `at` on, before `end`, where a word may end or a quote or escape is.
#[inline]
pub(crate) fn plain(text: &[u8], at: usize, end: usize) -> usize {
    let rest = text.get(at..end).unwrap_or_default();
    rest.iter().position(|&byte| CLASS[byte as usize] & STOP != 0).map_or(end, |length| at + length)
}

fn wide_space(text: &[u8]) -> usize {
    match text {
        [0xC2, 0x85 | 0xA0, ..] => 2,
        [0xE1, 0x9A, 0x80, ..]
        | [0xE2, 0x80, 0x80..=0x8A | 0xA8 | 0xA9 | 0xAF, ..]
        | [0xE2, 0x81, 0x9F, ..]
        | [0xE3, 0x80, 0x80, ..] => 3,
        _ => 0,
    }
}

/// `start..end` of `text` without white space at both ends.
#[inline]
pub(crate) fn trim(text: &[u8], mut start: usize, mut end: usize) -> (usize, usize) {
    while start < end {
        match space(text, start) {
            0 => break,
            length => start += length,
        }
    }
    while start < end {
        let byte = text[end - 1];
        if matches!(byte, b' ' | b'\t'..=b'\r') {
            end -= 1;
        } else if byte >= 0x80 && end - start >= 2 && wide_space(&text[end - 2..end]) == 2 {
            end -= 2;
        } else if byte >= 0x80 && end - start >= 3 && wide_space(&text[end - 3..end]) == 3 {
            end -= 3;
        } else {
            break;
        }
    }
    (start, end)
}

/// Where the escape character of a continuation is: the last but for blanks, and not itself escaped.
#[inline]
pub(crate) fn continuation(line: &[u8], escape: u8) -> Option<usize> {
    let mut end = line.len();
    while end > 0 && matches!(line[end - 1], b' ' | b'\t') {
        end -= 1;
    }
    let at = end.checked_sub(1)?;
    (line[at] == escape && (at == 0 || line[at - 1] != escape)).then_some(at)
}

/// A line's content without its end, and where the next begins.
#[inline]
pub(crate) fn line_at(source: &[u8], start: usize) -> (usize, usize) {
    let rest = source.get(start..).unwrap_or_default();
    let (mut end, next) = match memchr::memchr(b'\n', rest) {
        Some(at) => (start + at, start + at + 1),
        None => (source.len(), source.len()),
    };
    while end > start && source[end - 1] == b'\r' {
        end -= 1;
    }
    (end, next)
}

fn check_bytes(source: &[u8], diagnostics: &mut Vec<Diagnostic>) {
    if let Some(at) = memchr::memchr(0, source) {
        diagnostics.push(Diagnostic::new(Code::NulByte, Span::new(at, at + 1), "the file has a NUL byte"));
    }
    if source.is_ascii() {
        return;
    }
    if let Err(fault) = std::str::from_utf8(source) {
        let at = fault.valid_up_to();
        let end = at + fault.error_len().unwrap_or(source.len() - at);
        diagnostics.push(Diagnostic::new(
            Code::InvalidUtf8,
            Span::new(at, end),
            "these bytes are not UTF-8, and are read as replacement characters",
        ));
    }
    if let Some(at) = memchr::memmem::find(source.get(BOM.len()..).unwrap_or_default(), BOM) {
        let span = Span::new(at + BOM.len(), at + 2 * BOM.len());
        diagnostics.push(
            Diagnostic::new(
                Code::MisplacedBom,
                span,
                "a byte order mark inside the file is part of the text",
            )
            .suggest("take it out", Edit::delete(span)),
        );
    }
}

/// The loop over lines.
fn read(source: &[u8], file: &mut Dockerfile) {
    let mut at = if source.starts_with(BOM) { BOM.len() } else { 0 };
    let mut directives_over = false;
    // the joined text and the pieces of one instruction, kept to spare allocations
    let mut joined: Vec<u8> = Vec::new();
    let mut segments: Vec<(usize, usize)> = Vec::new();
    while at < source.len() {
        let (end, next) = line_at(source, at);
        let mut start = at;
        while start < end {
            match space(source, start) {
                0 => break,
                length => start += length,
            }
        }
        at = next;
        if start >= end {
            directives_over = true;
            continue;
        }
        if source[start] == b'#' {
            if !directives_over {
                directives_over = !directive(source, start, end, file);
            }
            continue;
        }
        directives_over = true;
        segments.clear();
        let mut last = end;
        let text: &[u8] = match continuation(&source[start..end], file.escape) {
            None => {
                segments.push((0, start));
                &source[start..end]
            }
            Some(cut) => {
                joined.clear();
                segments.push((0, start));
                joined.extend_from_slice(&source[start..start + cut]);
                while at < source.len() {
                    let (end, next) = line_at(source, at);
                    let (from, here) = (at, &source[at..end]);
                    at = next;
                    let mut first = from;
                    while first < end {
                        match space(source, first) {
                            0 => break,
                            length => first += length,
                        }
                    }
                    if first >= end {
                        file.empty_continuations.push(Span::new(from, next));
                        continue;
                    }
                    if source[first] == b'#' {
                        last = end;
                        continue;
                    }
                    last = end;
                    let cut = continuation(here, file.escape);
                    segments.push((joined.len(), from));
                    joined.extend_from_slice(&here[..cut.unwrap_or(here.len())]);
                    if cut.is_none() {
                        break;
                    }
                }
                &joined
            }
        };
        let line = Logical::new(text, &segments);
        let (from, to) = trim(text, 0, text.len());
        if from >= to {
            let span = Span::new(start, last);
            file.diagnostics.push(Diagnostic::new(
                Code::UnknownInstruction,
                span,
                "a continuation with no instruction",
            ));
            continue;
        }
        let mut reader =
            Reader { line: &line, source, escape: file.escape, diagnostics: &mut file.diagnostics };
        let mut instruction = reader.instruction(from, to, None);
        instruction.span = Span::new(start, last);
        if takes_heredocs(&instruction) && has_redirect(text) {
            let heredocs = bodies(source, &line, &mut at, &mut instruction.span, &mut file.diagnostics);
            if !heredocs.is_empty() {
                attach(&mut instruction, heredocs, source);
            }
        }
        file.instructions.push(instruction);
    }
}

/// Whether `<<` is in a line.
#[inline]
fn has_redirect(text: &[u8]) -> bool {
    memchr::memchr_iter(b'<', text).any(|at| text.get(at + 1) == Some(&b'<'))
}

#[inline]
fn takes_heredocs(instruction: &Instruction) -> bool {
    use crate::instruction::Command;
    match &instruction.innermost().kind {
        Kind::Run(run) => !matches!(run.command, Command::Exec(_)),
        Kind::Copy(copy) => !copy.json,
        Kind::Add(add) => !add.json,
        _ => false,
    }
}

/// Read the bodies of a line's here-documents, from `at` on.
fn bodies(
    source: &[u8],
    line: &Logical<'_>,
    at: &mut usize,
    span: &mut Span,
    diagnostics: &mut Vec<Diagnostic>,
) -> Vec<Heredoc> {
    let mut found = Vec::new();
    for (from, to, redirect) in heredoc::redirects(line.text) {
        let start = *at;
        let mut terminator = None;
        let mut end = source.len();
        while *at < source.len() {
            let here = *at;
            let (line_end, next) = line_at(source, here);
            *at = next;
            let mut begin = here;
            if redirect.strip_tabs {
                while begin < line_end && source[begin] == b'\t' {
                    begin += 1;
                }
            }
            if source[begin..line_end] == *redirect.name {
                terminator = Some(Span::new(here, line_end));
                end = here;
                span.end = line_end;
                break;
            }
        }
        let word = Word::of(line, from, to);
        let name = String::from_utf8_lossy(&redirect.name).into_owned();
        let ended = terminator.is_some();
        if !ended {
            span.end = source.len();
            diagnostics.push(unterminated(source, word.span, &name));
        }
        found.push(Heredoc {
            redirect: word,
            name,
            descriptor: redirect.descriptor,
            expand: redirect.expand,
            strip_tabs: redirect.strip_tabs,
            body: Span::new(start.min(end), end),
            terminator,
        });
        if !ended {
            break;
        }
    }
    found
}

fn unterminated(source: &[u8], span: Span, name: &str) -> Diagnostic {
    let fault = Diagnostic::new(
        Code::UnterminatedHeredoc,
        span,
        format!("the here-document's delimiter '{}' does not come", clip(name)),
    );
    if let Some(at) = name.find('>') {
        return Diagnostic {
            message: format!(
                "the here-document's delimiter '{}' does not come; the redirection after '{}' needs a space before it",
                clip(name),
                clip(&name[..at])
            )
            .into(),
            ..fault
        };
    }
    let newline = if source.ends_with(b"\n") { "" } else { "\n" };
    fault.suggest("end it", Edit::insert(source.len(), format!("{newline}{name}\n")))
}

/// A name for a message: its first 60 characters.
pub(crate) fn clip(text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(60) {
        None => Cow::Borrowed(text),
        Some((at, _)) => Cow::Owned(format!("{}…", &text[..at])),
    }
}

/// Give an instruction its here-documents, and its sources their numbers.
fn attach(instruction: &mut Instruction, heredocs: Vec<Heredoc>, source: &[u8]) {
    use crate::instruction::Command;
    let end = instruction.span.end;
    let target = if matches!(instruction.kind, Kind::Onbuild(Some(_))) {
        match &mut instruction.kind {
            Kind::Onbuild(Some(trigger)) => {
                trigger.span.end = end;
                &mut **trigger
            }
            _ => return,
        }
    } else {
        instruction
    };
    let sources = match &mut target.kind {
        Kind::Copy(copy) => Some(&mut copy.sources),
        Kind::Add(add) => Some(&mut add.sources),
        Kind::Run(run) => {
            if let Command::Shell(line) = &run.command
                && heredoc::redirect(line.bytes_in(source)).is_some()
            {
                run.command = Command::Heredoc(line.clone());
            }
            None
        }
        _ => None,
    };
    if let Some(sources) = sources {
        let by_name: std::collections::HashMap<&[u8], usize> =
            heredocs.iter().enumerate().map(|(at, heredoc)| (heredoc.name.as_bytes(), at)).collect();
        for word in sources {
            if let Some(redirect) = heredoc::redirect(word.word.bytes_in(source)) {
                word.heredoc = by_name.get(String::from_utf8_lossy(&redirect.name).as_bytes()).copied();
            }
        }
    }
    target.heredocs = heredocs;
}

/// Read `# name=value`; whether it is a directive.
fn directive(source: &[u8], start: usize, end: usize, file: &mut Dockerfile) -> bool {
    let (from, to) = trim(source, start + 1, end);
    let text = &source[from..to];
    let letters = text.iter().take_while(|byte| byte.is_ascii_alphanumeric()).count();
    if letters == 0 || !text[0].is_ascii_alphabetic() {
        return false;
    }
    let (equals, _) = trim(source, from + letters, to);
    if source.get(equals) != Some(&b'=') || equals >= to {
        return false;
    }
    let (value, _) = trim(source, equals + 1, to);
    if value >= to {
        return false;
    }
    let found = Directive {
        span: Span::new(start, to),
        name: Span::new(from, from + letters),
        value: Span::new(value, to),
    };
    let name = source[from..from + letters].to_ascii_lowercase();
    if !matches!(&*name, b"syntax" | b"escape" | b"check") {
        return false;
    }
    let name = String::from_utf8_lossy(&name).into_owned();
    if file.directive(&name).is_some() {
        file.diagnostics.push(Diagnostic::new(
            Code::DuplicateDirective,
            found.span,
            format!("only one {name} parser directive can be used"),
        ));
        return true;
    }
    match (&*name, &source[value..to]) {
        ("escape", b"\\") => file.escape = b'\\',
        ("escape", b"`") => file.escape = b'`',
        ("escape", _) => file.diagnostics.push(
            Diagnostic::new(Code::InvalidEscape, found.value, "the escape character is either \\ or `")
                .suggest("use the default", Edit::replace(found.value, "\\")),
        ),
        ("check", text) => {
            if let Err(fault) = crate::options::Check::parse(&String::from_utf8_lossy(text)) {
                file.diagnostics.push(Diagnostic::new(Code::InvalidCheck, found.value, fault.to_string()));
            }
        }
        _ => {}
    }
    file.directives.push(found);
    true
}

/// What stands before the first `FROM`, and whether there is one.
fn check_order(len: usize, file: &mut Dockerfile) {
    let mut stage = false;
    let mut complained = false;
    for instruction in &file.instructions {
        match instruction.kind {
            Kind::From(_) => {
                stage = true;
                break;
            }
            Kind::Arg(_) | Kind::Unknown => {}
            _ if complained => {}
            _ => {
                complained = true;
                file.diagnostics.push(Diagnostic::new(
                    Code::BeforeFrom,
                    instruction.keyword,
                    format!("{} before any FROM: only ARG may stand there", instruction.kind.name()),
                ));
            }
        }
    }
    if !stage {
        let message =
            if file.instructions.is_empty() { "file with no instructions" } else { "the file has no FROM" };
        file.diagnostics.push(Diagnostic::new(Code::NoStage, Span::at(len), message));
    }
}
