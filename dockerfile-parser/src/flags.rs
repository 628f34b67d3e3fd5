//! Flags before an instruction's arguments.

use std::borrow::Cow;
use std::time::Duration;

use crate::arguments::Reader;
use crate::code::Code;
use crate::diagnostic::{Diagnostic, Severity, closest};
use crate::dockerfile::{clip, plain, position, space};
use crate::edit::Edit;
use crate::instruction::{Flag, Valued};
use crate::span::Span;
use crate::word::Word;

/// What a flag's value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Type {
    /// `true`, `false` or none.
    Bool,
    /// Text, once.
    Text,
    /// Text, any number of times.
    Texts,
}

/// The flags an instruction takes.
pub(crate) fn known(keyword: &str) -> &'static [(&'static str, Type)] {
    match keyword {
        "FROM" => &[("platform", Type::Text)],
        "RUN" => &[
            ("mount", Type::Texts),
            ("network", Type::Text),
            ("security", Type::Text),
            ("device", Type::Texts),
        ],
        "COPY" => &[
            ("from", Type::Text),
            ("chown", Type::Text),
            ("chmod", Type::Text),
            ("link", Type::Bool),
            ("parents", Type::Bool),
            ("exclude", Type::Texts),
        ],
        "ADD" => &[
            ("chown", Type::Text),
            ("chmod", Type::Text),
            ("link", Type::Bool),
            ("checksum", Type::Text),
            ("keep-git-dir", Type::Bool),
            ("unpack", Type::Bool),
            ("exclude", Type::Texts),
        ],
        "HEALTHCHECK" => &[
            ("interval", Type::Text),
            ("timeout", Type::Text),
            ("start-period", Type::Text),
            ("start-interval", Type::Text),
            ("retries", Type::Text),
        ],
        _ => &[],
    }
}

impl Reader<'_> {
    /// Read flags from `at` on; they, and where the arguments begin.
    pub(crate) fn flags(&mut self, mut at: usize, to: usize) -> (Vec<Flag>, usize) {
        let mut flags = Vec::new();
        loop {
            while at < to {
                match space(self.line.text, at) {
                    0 => break,
                    length => at += length,
                }
            }
            let rest = self.line.text.get(at..to).unwrap_or_default();
            if !rest.starts_with(b"--") {
                return (flags, at);
            }
            let end = at + word_end(rest, self.escape);
            if end - at == 2 {
                // a lone -- ends the flags
                return (flags, end);
            }
            flags.push(self.flag(at, end));
            at = end;
        }
    }

    fn flag(&self, start: usize, end: usize) -> Flag {
        let raw = &self.line.text[start..end];
        let equals = position(b'=', raw);
        let name_end = equals.map_or(end, |at| start + at);
        Flag {
            span: self.line.span(start, end),
            name: self.flag_word(start + 2, name_end),
            value: equals.map(|at| self.flag_word(start + at + 1, end)),
        }
    }

    /// A part of a flag with quotes and escapes taken off.
    fn flag_word(&self, start: usize, end: usize) -> Word {
        let raw = self.line.text.get(start..end).unwrap_or_default();
        if !raw.iter().any(|&byte| matches!(byte, b'"' | b'\'') || byte == self.escape) {
            return Word::of(self.line, start, end);
        }
        let mut text = Vec::with_capacity(raw.len());
        let mut quote = None;
        let mut bytes = raw.iter().copied();
        while let Some(byte) = bytes.next() {
            if byte == self.escape {
                text.extend(bytes.next());
            } else if quote == Some(byte) {
                quote = None;
            } else if quote.is_none() && matches!(byte, b'"' | b'\'') {
                quote = Some(byte);
            } else {
                text.push(byte);
            }
        }
        Word::rewritten(self.line.span(start, end), text)
    }

    /// Complain of flags that are unknown, given twice, or lack a value.
    pub(crate) fn check_flags(&mut self, keyword: &str, flags: &[Flag]) {
        let known = known(keyword);
        // these two take no flags, and BuildKit does not look
        let lax = matches!(keyword, "ARG" | "STOPSIGNAL");
        let mut seen = 0u32;
        for flag in flags {
            let name = self.bytes(&flag.name);
            let Some(at) = known.iter().position(|(known, _)| known.as_bytes() == name) else {
                let name = String::from_utf8_lossy(name).into_owned();
                let mut fault = Diagnostic::new(
                    Code::UnknownFlag,
                    flag.span,
                    format!("{keyword} has no flag --{}", clip(&name)),
                );
                if let Some(close) = closest(&name, known.iter().map(|(name, _)| *name)) {
                    fault = fault
                        .suggest(format!("did you mean --{close}?"), Edit::replace(flag.name.span, close));
                }
                if lax {
                    fault = fault.severity(Severity::Warning);
                }
                self.diagnostics.push(fault);
                continue;
            };
            let (name, kind) = known[at];
            if seen & (1 << at) != 0 && kind != Type::Texts {
                self.diagnostics.push(Diagnostic::new(
                    Code::DuplicateFlag,
                    flag.span,
                    format!("flag --{name} is given twice"),
                ));
            }
            seen |= 1 << at;
            let lacks = match &flag.value {
                None => kind != Type::Bool,
                Some(value) => kind == Type::Bool && self.bytes(value).is_empty(),
            };
            if lacks {
                self.diagnostics.push(Diagnostic::new(
                    Code::MissingFlagValue,
                    flag.span,
                    format!("flag --{name} needs a value"),
                ));
            }
        }
    }

    /// The values of a flag, in order.
    pub(crate) fn values<'f>(&self, flags: &'f [Flag], name: &str) -> Vec<&'f Word> {
        flags
            .iter()
            .filter(|flag| self.bytes(&flag.name) == name.as_bytes())
            .filter_map(|flag| flag.value.as_ref())
            .collect()
    }

    /// The first value of a flag.
    #[inline]
    pub(crate) fn value(&self, flags: &[Flag], name: &str) -> Option<Word> {
        flags.iter().find(|flag| self.bytes(&flag.name) == name.as_bytes())?.value.clone()
    }

    /// A flag that is on or off.
    #[inline]
    pub(crate) fn switch(&mut self, flags: &[Flag], name: &str) -> Option<Valued<bool>> {
        let flag = flags.iter().find(|flag| self.bytes(&flag.name) == name.as_bytes())?;
        let Some(word) = &flag.value else {
            return Some(Valued { word: flag.name.clone(), value: true });
        };
        let text = self.bytes(word);
        let value = match () {
            () if text.eq_ignore_ascii_case(b"true") || text.is_empty() => true,
            () if text.eq_ignore_ascii_case(b"false") => false,
            () => {
                let message = format!("flag --{name} is true or false, not '{}'", clip(&self.str(word)));
                self.diagnostics.push(Diagnostic::new(Code::InvalidFlagValue, word.span, message));
                return None;
            }
        };
        Some(Valued { word: word.clone(), value })
    }

    /// A flag that is a length of time.
    pub(crate) fn duration(&mut self, flags: &[Flag], name: &str) -> Option<Valued<Duration>> {
        let word = self.value(flags, name)?;
        let text = self.str(&word).into_owned();
        if text.is_empty() {
            return None;
        }
        let fault = match duration(&text) {
            Some(value) if value.is_zero() || value >= Duration::from_millis(1) => {
                return Some(Valued { word, value });
            }
            Some(_) => "is shorter than a millisecond",
            None => "is not a length of time such as 1m30s",
        };
        let message = format!("flag --{name}: '{}' {fault}", clip(&text));
        self.diagnostics.push(Diagnostic::new(Code::InvalidFlagValue, word.span, message));
        None
    }

    /// A flag that is a count.
    pub(crate) fn count(&mut self, flags: &[Flag], name: &str) -> Option<Valued<u32>> {
        let word = self.value(flags, name)?;
        let text = self.str(&word).into_owned();
        match text.parse::<u32>() {
            Ok(value) if i32::try_from(value).is_ok() => Some(Valued { word, value }),
            _ if text.is_empty() => None,
            _ => {
                let message = format!("flag --{name}: '{}' is not a count", clip(&text));
                self.diagnostics.push(Diagnostic::new(Code::InvalidFlagValue, word.span, message));
                None
            }
        }
    }

    /// A flag that is one of a few words.
    pub(crate) fn choice(&mut self, flags: &[Flag], name: &str, choices: &[&str]) -> Option<Word> {
        let word = self.value(flags, name)?;
        let text = self.str(&word).into_owned();
        if !choices.contains(&&*text) {
            let message = format!("flag --{name}: '{}' is none of {}", clip(&text), choices.join(", "));
            let mut fault = Diagnostic::new(Code::InvalidFlagValue, word.span, message);
            if let Some(close) = closest(&text, choices.iter().copied()) {
                fault = fault.suggest(format!("did you mean {close}?"), Edit::replace(word.span, close));
            }
            self.diagnostics.push(fault);
        }
        Some(word)
    }

    #[inline]
    pub(crate) fn bytes<'w>(&'w self, word: &'w Word) -> &'w [u8] {
        word.bytes_in(self.source)
    }

    pub(crate) fn str<'w>(&'w self, word: &'w Word) -> Cow<'w, str> {
        String::from_utf8_lossy(self.bytes(word))
    }

    pub(crate) fn fault(&mut self, code: Code, span: Span, message: impl Into<Cow<'static, str>>) {
        self.diagnostics.push(Diagnostic::new(code, span, message));
    }
}

/// Where the word at the beginning of `text` ends, quotes and escapes respected.
#[inline]
fn word_end(text: &[u8], escape: u8) -> usize {
    let mut at = 0;
    let mut quote = None;
    loop {
        at = plain(text, at, text.len());
        let Some(&byte) = text.get(at) else { return text.len() };
        if byte == escape {
            at += 2;
            continue;
        }
        match quote {
            Some(open) if open == byte => quote = None,
            None if matches!(byte, b'"' | b'\'') => quote = Some(byte),
            None if space(text, at) > 0 => return at,
            _ => {}
        }
        at += 1;
    }
}

/// A length of time as Go writes it: `1h2m3.5s`, `300ms`, `0`.
pub(crate) fn duration(text: &str) -> Option<Duration> {
    let text = text.strip_prefix('+').unwrap_or(text);
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut rest = text;
    let mut total: u128 = 0;
    if rest.is_empty() || rest.len() > 64 {
        return None;
    }
    while !rest.is_empty() {
        let whole = rest.find(|ch: char| !ch.is_ascii_digit()).unwrap_or(rest.len());
        let (digits, after) = rest.split_at(whole);
        let (fraction, after) = match after.strip_prefix('.') {
            None => ("", after),
            Some(after) => after.split_at(after.find(|ch: char| !ch.is_ascii_digit()).unwrap_or(after.len())),
        };
        if digits.is_empty() && fraction.is_empty() {
            return None;
        }
        let unit_len = after.find(|ch: char| ch.is_ascii_digit() || ch == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_len);
        let unit: u128 = match unit {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return None,
        };
        let whole: u128 = if digits.is_empty() { 0 } else { digits.parse().ok()? };
        total = total.checked_add(whole.checked_mul(unit)?)?;
        let mut scale = unit;
        for digit in fraction.bytes() {
            scale /= 10;
            total = total.checked_add(u128::from(digit - b'0') * scale)?;
        }
        rest = after;
    }
    // Go's durations are 64-bit nanoseconds
    let nanos = u64::try_from(total).ok().filter(|&nanos| i64::try_from(nanos).is_ok())?;
    Some(Duration::from_nanos(nanos))
}
