//! Diagnostics for people and for programs.

use std::fmt::Write as _;

use crate::code::Code;
use crate::diagnostic::{Diagnostic, Severity};
use crate::dockerfile::Dockerfile;
use crate::json::quote;
use crate::span::Span;

/// Longest piece of a line that is shown.
const SHOWN: usize = 160;

impl Dockerfile {
    /// Diagnostics as text: `NAME:LINE:COLUMN: warning: MESSAGE [RULE]`, with the line and a mark under it.
    ///
    /// Control characters of the file are shown as `·`, so that it cannot speak to the terminal.
    pub fn report_text(&self, name: &str, diagnostics: &[Diagnostic]) -> String {
        let mut out = String::new();
        for found in diagnostics {
            let place = self.locate(found.span.start);
            let dl = found.code.dl().map(|dl| format!(", {dl}")).unwrap_or_default();
            let _ = writeln!(
                out,
                "{name}:{}:{}: {}: {} [{}{dl}]",
                place.line,
                place.column,
                found.severity.name(),
                plain(&found.message),
                found.code.name()
            );
            self.excerpt(&mut out, place.line, found.span);
            if let Some(suggestion) = &found.suggestion {
                let _ = writeln!(out, "   = help: {}", plain(&suggestion.label));
            }
        }
        out
    }

    fn excerpt(&self, out: &mut String, line: usize, span: Span) {
        let whole = self.line(line);
        if whole.is_empty() {
            return;
        }
        // of a very long line, the part around the place
        let from = whole.start.max(span.start.saturating_sub(SHOWN / 2));
        let to = whole.end.min(from + SHOWN);
        let before = self.str(Span::new(from, span.start.min(to)));
        let marked = self.str(Span::new(span.start.min(to), span.end.min(to)));
        let _ = writeln!(out, "{line:>5} | {}", plain(self.str(Span::new(from, to)).trim_end()));
        let width = marked.trim_end().chars().count().max(1);
        let _ = writeln!(out, "      | {:pad$}{}", "", "^".repeat(width), pad = before.chars().count());
    }

    /// Diagnostics as a JSON array of objects with `rule`, `dl`, `severity`, `message`, `start` and `end` (each
    /// `offset`, `line`, `column`), `url`, and `suggestion` (`label`, `start`, `end` as offsets, `replacement`).
    pub fn report_json(&self, diagnostics: &[Diagnostic]) -> String {
        let mut out = String::from("[");
        for (at, found) in diagnostics.iter().enumerate() {
            if at > 0 {
                out.push(',');
            }
            out.push_str("{\"rule\":");
            quote(&mut out, found.code.name());
            if let Some(dl) = found.code.dl() {
                out.push_str(",\"dl\":");
                quote(&mut out, dl);
            }
            out.push_str(",\"severity\":");
            quote(&mut out, found.severity.name());
            out.push_str(",\"message\":");
            quote(&mut out, &found.message);
            for (name, offset) in [("start", found.span.start), ("end", found.span.end)] {
                let place = self.locate(offset);
                let _ = write!(
                    out,
                    ",\"{name}\":{{\"offset\":{offset},\"line\":{},\"column\":{}}}",
                    place.line, place.column
                );
            }
            if let Some(url) = found.code.url() {
                out.push_str(",\"url\":");
                quote(&mut out, &url);
            }
            if let Some(suggestion) = &found.suggestion {
                out.push_str(",\"suggestion\":{\"label\":");
                quote(&mut out, &suggestion.label);
                let edit = &suggestion.edit;
                let _ =
                    write!(out, ",\"start\":{},\"end\":{},\"replacement\":", edit.span.start, edit.span.end);
                quote(&mut out, &edit.replacement);
                out.push('}');
            }
            out.push('}');
        }
        out.push(']');
        out
    }

    /// Diagnostics as a SARIF 2.1.0 log of one run, for code hosts and editors; `uri` names the file.
    pub fn report_sarif(&self, uri: &str, diagnostics: &[Diagnostic]) -> String {
        let mut rules: Vec<Code> = diagnostics.iter().map(|found| found.code).collect();
        rules.sort_unstable();
        rules.dedup();
        let mut out = String::from(
            "{\"$schema\":\"https://json.schemastore.org/sarif-2.1.0.json\",\"version\":\"2.1.0\",\"runs\":[{\"tool\":{\"driver\":{\"name\":\"dockerfile-parser\",\"version\":",
        );
        quote(&mut out, env!("CARGO_PKG_VERSION"));
        out.push_str(",\"rules\":[");
        for (at, rule) in rules.iter().enumerate() {
            if at > 0 {
                out.push(',');
            }
            out.push_str("{\"id\":");
            quote(&mut out, rule.name());
            if let Some(url) = rule.url() {
                out.push_str(",\"helpUri\":");
                quote(&mut out, &url);
            }
            out.push('}');
        }
        out.push_str("]}},\"columnKind\":\"utf16CodeUnits\",\"results\":[");
        for (at, found) in diagnostics.iter().enumerate() {
            if at > 0 {
                out.push(',');
            }
            out.push_str("{\"ruleId\":");
            quote(&mut out, found.code.name());
            let level = match found.severity {
                Severity::Info => "note",
                Severity::Warning => "warning",
                Severity::Error => "error",
            };
            let _ = write!(out, ",\"level\":\"{level}\",\"message\":{{\"text\":");
            quote(&mut out, &found.message);
            out.push_str("},\"locations\":[{\"physicalLocation\":{\"artifactLocation\":{\"uri\":");
            quote(&mut out, uri);
            out.push_str("},\"region\":");
            self.region(&mut out, found.span);
            out.push_str("}}]");
            if let Some(suggestion) = &found.suggestion {
                out.push_str(",\"fixes\":[{\"description\":{\"text\":");
                quote(&mut out, &suggestion.label);
                out.push_str("},\"artifactChanges\":[{\"artifactLocation\":{\"uri\":");
                quote(&mut out, uri);
                out.push_str("},\"replacements\":[{\"deletedRegion\":");
                self.region(&mut out, suggestion.edit.span);
                out.push_str(",\"insertedContent\":{\"text\":");
                quote(&mut out, &suggestion.edit.replacement);
                out.push_str("}}]}]}]");
            }
            out.push('}');
        }
        out.push_str("]}]}");
        out
    }

    fn region(&self, out: &mut String, span: Span) {
        let (start, end) = (self.utf16(span.start), self.utf16(span.end));
        let _ = write!(
            out,
            "{{\"startLine\":{},\"startColumn\":{},\"endLine\":{},\"endColumn\":{}}}",
            start.0, start.1, end.0, end.1
        );
    }

    /// Line and column in UTF-16 units, as SARIF counts; columns far out in a long line are in bytes.
    fn utf16(&self, offset: usize) -> (usize, usize) {
        let place = self.locate(offset);
        if place.column > 10_000 {
            return (place.line, place.column);
        }
        let start = offset.min(self.source().len()) + 1 - place.column;
        let text = self.str(Span::new(start, start + place.column - 1));
        (place.line, text.encode_utf16().count() + 1)
    }
}

/// Text without control characters, bidi marks among them.
fn plain(text: &str) -> String {
    let hidden = |ch: char| {
        ch.is_control()
            || matches!(ch, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.chars()
        .map(|ch| {
            if ch == '\t' {
                ' '
            } else if hidden(ch) {
                '·'
            } else {
                ch
            }
        })
        .collect()
}

#[cfg(feature = "serde")]
impl serde::Serialize for Code {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

#[cfg(feature = "serde")]
impl serde::Serialize for Diagnostic {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct as _;
        let mut out = serializer.serialize_struct("Diagnostic", 6)?;
        out.serialize_field("rule", self.code.name())?;
        out.serialize_field("dl", &self.code.dl())?;
        out.serialize_field("severity", &self.severity)?;
        out.serialize_field("span", &self.span)?;
        out.serialize_field("message", &self.message)?;
        out.serialize_field("suggestion", &self.suggestion)?;
        out.end()
    }
}
