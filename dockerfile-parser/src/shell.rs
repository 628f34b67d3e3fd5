//! A shell script taken apart as far as the rules need it: simple commands and their words.

use std::borrow::Cow;

use crate::dockerfile::{Dockerfile, continuation, line_at, space};
use crate::instruction::{Command, Instruction, Kind};
use crate::span::Span;
use crate::word::Word;

/// The script of a `RUN`, and how to find a piece of it in the source.
pub(crate) struct Script<'a> {
    pub(crate) text: Cow<'a, str>,
    place: Place,
}

enum Place {
    /// It stands in the source as it is, from here on.
    Direct(usize),
    /// Lines were joined: `(offset in the script, offset in the source)` of each piece.
    Joined(Vec<(usize, usize)>),
    /// Somewhere in here.
    Within(Span),
}

/// One command with its words, quotes and all.
#[derive(Debug)]
pub(crate) struct Simple<'s> {
    pub(crate) words: Vec<&'s str>,
    /// Its output goes to another command.
    pub(crate) piped: bool,
}

impl<'a> Script<'a> {
    /// The script of an instruction; `None` if it runs no shell.
    pub(crate) fn of(file: &'a Dockerfile, instruction: &'a Instruction) -> Option<Self> {
        let Kind::Run(run) = &instruction.kind else { return None };
        match &run.command {
            Command::Shell(word) => {
                let text = word.text(file);
                // replacement characters are longer than what they stand for
                let place = if std::str::from_utf8(word.bytes_in(file.source())).is_err() {
                    Place::Within(word.span)
                } else if word.is_rewritten() {
                    Place::Joined(pieces(file, instruction, word))
                } else {
                    Place::Direct(word.span.start)
                };
                Some(Self { text, place })
            }
            Command::Heredoc(_) => {
                let heredoc = instruction.heredocs.first()?;
                let text = match heredoc.content(file) {
                    Cow::Borrowed(bytes) => String::from_utf8_lossy(bytes),
                    Cow::Owned(bytes) => Cow::Owned(String::from_utf8_lossy(&bytes).into_owned()),
                };
                let place = if matches!(text, Cow::Owned(_)) {
                    Place::Within(heredoc.body)
                } else {
                    Place::Direct(heredoc.body.start)
                };
                // with an interpreter of its own it may be in any language
                (!text.starts_with("#!")).then_some(Self { text, place })
            }
            Command::Exec(_) | Command::Empty => None,
        }
    }

    /// Where a piece of [`Self::text`] stands in the source.
    pub(crate) fn span(&self, piece: &str) -> Span {
        let offset =
            (piece.as_ptr() as usize).saturating_sub(self.text.as_ptr() as usize).min(self.text.len());
        match &self.place {
            Place::Within(span) => *span,
            Place::Direct(start) => Span::new(start + offset, start + offset + piece.len()),
            Place::Joined(pieces) => {
                let of = |at: usize| {
                    let piece = pieces.partition_point(|&(logical, _)| logical <= at).saturating_sub(1);
                    pieces.get(piece).map_or(0, |&(logical, source)| source + at.saturating_sub(logical))
                };
                let start = of(offset);
                Span::new(start, if piece.is_empty() { start } else { of(offset + piece.len() - 1) + 1 })
            }
        }
    }
}

/// How the text of a word that runs over lines maps to the source.
fn pieces(file: &Dockerfile, instruction: &Instruction, word: &Word) -> Vec<(usize, usize)> {
    let source = file.source();
    let (mut at, mut offset) = (word.span.start, 0);
    let mut pieces = vec![(0, at)];
    let mut first = true;
    while at < instruction.span.end.min(word.span.end) {
        let (end, next) = line_at(source, at);
        let mut begin = at;
        while begin < end && space(source, begin) > 0 {
            begin += space(source, begin);
        }
        let skipped = begin >= end || source[begin] == b'#';
        if first || !skipped {
            if !first {
                pieces.push((offset, at));
            }
            offset += continuation(&source[at..end], file.escape_byte()).unwrap_or(end - at);
        }
        first = false;
        at = next;
    }
    pieces
}

/// The simple commands of a script.
pub(crate) fn commands(script: &str) -> Vec<Simple<'_>> {
    let bytes = script.as_bytes();
    let mut commands = Vec::new();
    let mut words: Vec<&str> = Vec::new();
    let mut start: Option<usize> = None;
    let mut at = 0;
    let mut escaped_end = 0;
    while at <= bytes.len() {
        let byte = bytes.get(at).copied();
        let separator =
            matches!(byte, None | Some(b' ' | b'\t' | b'\n' | b'\r' | b';' | b'&' | b'|' | b'(' | b')'));
        if separator && at >= escaped_end {
            if let Some(from) = start.take() {
                words.push(script.get(from..at).unwrap_or_default());
            }
            let ends = !matches!(byte, Some(b' ' | b'\t' | b'\r'));
            // 2>&1 and &> are no ends
            let redirect = byte == Some(b'&')
                && (bytes.get(at + 1) == Some(&b'>') || at > 0 && matches!(bytes[at - 1], b'>' | b'<'));
            if redirect {
                start = Some(at);
            } else if ends {
                let double = byte.is_some() && bytes.get(at + 1).copied() == byte;
                let piped = byte == Some(b'|') && !double;
                if !words.is_empty() {
                    commands.push(Simple { words: std::mem::take(&mut words), piped });
                }
                if double && matches!(byte, Some(b'&' | b'|')) {
                    at += 1;
                }
            }
            at += 1;
            continue;
        }
        let Some(byte) = byte else { break };
        if start.is_none() && byte == b'#' {
            // a comment up to the line's end
            at += memchr::memchr(b'\n', &bytes[at..]).unwrap_or(bytes.len() - at);
            continue;
        }
        start.get_or_insert(at);
        match byte {
            b'\\' => {
                escaped_end = at + 2;
                at += 2;
            }
            b'\'' => {
                at += memchr::memchr(b'\'', &bytes[at + 1..]).map_or(bytes.len() - at, |length| length + 2);
            }
            b'"' => {
                at += 1;
                while at < bytes.len() && bytes[at] != b'"' {
                    at += if bytes[at] == b'\\' { 2 } else { 1 };
                }
                at = (at + 1).min(bytes.len());
            }
            _ => at += 1,
        }
        at = at.min(bytes.len());
    }
    commands
}

impl<'s> Simple<'s> {
    /// The program and its arguments, without assignments and the shell's own words before it.
    pub(crate) fn program(&self) -> Option<(&'s str, &[&'s str])> {
        let mut words = &self.words[..];
        while let [first, rest @ ..] = words {
            let assignment = first.find('=').is_some_and(|at| {
                at > 0 && first.bytes().take(at).all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
            });
            let passed = matches!(
                *first,
                "if" | "then"
                    | "else"
                    | "elif"
                    | "do"
                    | "while"
                    | "until"
                    | "!"
                    | "{"
                    | "}"
                    | "exec"
                    | "command"
                    | "time"
                    | "env"
                    | "eval"
                    | "nice"
            );
            if assignment || passed {
                words = rest;
            } else {
                return Some((unquote(first), rest));
            }
        }
        None
    }
}

/// A word without the quotes around it.
pub(crate) fn unquote(word: &str) -> &str {
    for quote in ['"', '\''] {
        if let Some(inner) = word.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote)) {
            return inner;
        }
    }
    word
}
