//! Slips of keyboards and word processors: full-width characters, typographic quotes, odd spaces.

use crate::code::Code;
use crate::diagnostic::Diagnostic;
use crate::edit::Edit;
use crate::instruction::{Command, Instruction, Kind};
use crate::lint::Linter;
use crate::span::Span;

/// At most this many in one instruction; a file in another script would drown in them.
const MOST: usize = 8;

pub(crate) fn check(linter: &mut Linter<'_>) {
    if linter.file.source().is_ascii() {
        return;
    }
    let file = linter.file;
    for (at, instruction) in file.instructions().iter().enumerate() {
        linter.at(at);
        let inner = instruction.innermost();
        // what a label or maintainer says, and the bodies of here-documents, is prose
        let script = match &inner.kind {
            Kind::Maintainer(_) => continue,
            Kind::Label(_) | Kind::Env(_) | Kind::Healthcheck(_) => true,
            Kind::Run(run) => matches!(run.command, Command::Shell(_)),
            Kind::Cmd(command) | Kind::Entrypoint(command) => matches!(command, Command::Shell(_)),
            _ => false,
        };
        let end = inner.heredocs.first().map_or(inner.span.end, |heredoc| heredoc.body.start);
        characters(linter, inner, Span::new(instruction.span.start, end), script);
    }
}

fn characters(linter: &mut Linter<'_>, instruction: &Instruction, span: Span, script: bool) {
    let bytes = linter.file.slice(span);
    if bytes.is_ascii() {
        return;
    }
    let text = String::from_utf8_lossy(bytes);
    if text.len() != bytes.len() {
        // replaced bytes shift the offsets
        return;
    }
    let exec = matches!(
        &instruction.kind,
        Kind::Cmd(Command::Exec(_)) | Kind::Entrypoint(Command::Exec(_)) | Kind::Run(_) | Kind::Shell(_)
    ) && !script;
    if exec {
        return;
    }
    let mut quote = None;
    let mut comment = false;
    let mut line_start = true;
    let mut found = 0;
    for (at, ch) in text.char_indices() {
        match ch {
            '\n' => {
                comment = false;
                line_start = true;
                continue;
            }
            '#' if line_start => comment = true,
            '"' | '\'' if !comment => {
                if quote == Some(ch) {
                    quote = None;
                } else if quote.is_none() {
                    quote = Some(ch);
                }
            }
            _ => {}
        }
        line_start &= ch.is_whitespace();
        if ch.is_ascii() || comment || quote.is_some() {
            continue;
        }
        let place = Span::new(span.start + at, span.start + at + ch.len_utf8());
        let (code, message, plain) = match ch {
            '“' | '”' | '„' | '‟' => {
                (Code::SmartQuote, format!("'{ch}' is a typographic quote, and no quote here"), "\"")
            }
            '‘' | '’' | '‚' | '‛' => {
                (Code::SmartQuote, format!("'{ch}' is a typographic quote, and no quote here"), "'")
            }
            '\u{a0}' | '\u{2007}' | '\u{202f}' | '\u{3000}' | '\u{200b}' | '\u{2003}' | '\u{2002}'
            | '\u{2009}' => {
                (Code::UnusualSpace, format!("U+{:04X} looks like a space, but is none", ch as u32), " ")
            }
            '–' | '—'
                if text
                    .get(at + ch.len_utf8()..)
                    .is_some_and(|rest| rest.starts_with(|next: char| next.is_ascii_alphabetic())) =>
            {
                (Code::FullWidthCharacter, format!("'{ch}' is a typographic dash; flags have '--'"), "--")
            }
            '\u{ff01}'..='\u{ff5e}' | '。' | '、' => {
                let Some(ascii) = ascii(ch) else { continue };
                (Code::FullWidthCharacter, format!("'{ch}' is full-width; '{ascii}' is meant"), ascii)
            }
            _ => continue,
        };
        linter.emit(
            Diagnostic::new(code, place, message)
                .suggest("write the plain character", Edit::replace(place, plain)),
        );
        found += 1;
        if found == MOST {
            return;
        }
    }
}

/// The plain form of a full-width sign; letters and digits are left, they may well be meant.
fn ascii(ch: char) -> Option<&'static str> {
    Some(match ch {
        '：' => ":",
        '，' | '、' => ",",
        '＝' => "=",
        '；' => ";",
        '（' => "(",
        '）' => ")",
        '［' => "[",
        '］' => "]",
        '｛' => "{",
        '｝' => "}",
        '＂' => "\"",
        '＇' => "'",
        '／' => "/",
        '＼' => "\\",
        '－' => "-",
        '＿' => "_",
        '．' | '。' => ".",
        '＆' => "&",
        '｜' => "|",
        '＞' => ">",
        '＜' => "<",
        '＄' => "$",
        '＠' => "@",
        '＃' => "#",
        '！' => "!",
        '＊' => "*",
        _ => return None,
    })
}
