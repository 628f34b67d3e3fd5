//! Faults and hints, with their places.

use std::borrow::Cow;

use crate::code::Code;
use crate::edit::Edit;
use crate::span::Span;

/// How grave a diagnostic is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "lowercase"))]
pub enum Severity {
    /// A hint on style.
    Info,
    /// It builds, but probably not as meant.
    Warning,
    /// It does not build.
    Error,
}

impl Severity {
    /// `info`, `warning` or `error`.
    pub fn name(self) -> &'static str {
        match self {
            Severity::Info => "info",
            Severity::Warning => "warning",
            Severity::Error => "error",
        }
    }
}

/// An edit that would mend it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Suggestion {
    /// What the edit does, in a few words.
    pub label: Cow<'static, str>,
    /// The edit.
    pub edit: Edit,
}

/// One fault or hint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// What it is about.
    pub code: Code,
    /// How grave it is.
    pub severity: Severity,
    /// Where.
    pub span: Span,
    /// What is wrong, in one line.
    pub message: Cow<'static, str>,
    /// What would mend it, where that is clear.
    pub suggestion: Option<Suggestion>,
}

impl Diagnostic {
    /// A diagnostic of the code's own severity.
    pub fn new(code: Code, span: Span, message: impl Into<Cow<'static, str>>) -> Self {
        Self { code, severity: code.severity(), span, message: message.into(), suggestion: None }
    }

    /// With an edit that would mend it.
    #[must_use]
    pub fn suggest(mut self, label: impl Into<Cow<'static, str>>, edit: Edit) -> Self {
        self.suggestion = Some(Suggestion { label: label.into(), edit });
        self
    }

    /// With another severity than the code's own.
    #[must_use]
    pub(crate) fn severity(mut self, severity: Severity) -> Self {
        self.severity = severity;
        self
    }
}

/// The word of `known` that `wrong` is likely meant to be, by case-blind edit distance of at most two.
///
/// Words over 32 bytes are not compared, so the work per word is bounded.
pub(crate) fn closest<'a>(wrong: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    const LONGEST: usize = 32;
    let wrong = wrong.as_bytes();
    if wrong.is_empty() || wrong.len() > LONGEST {
        return None;
    }
    let allowed = if wrong.len() < 3 { 1 } else { 2 };
    let mut best = None;
    for candidate in known {
        let word = candidate.as_bytes();
        if word.len().abs_diff(wrong.len()) > allowed || word.len() > LONGEST {
            continue;
        }
        let distance = distance(wrong, word);
        if distance <= allowed.min(word.len() / 2) && best.is_none_or(|(least, _)| distance < least) {
            best = Some((distance, candidate));
        }
    }
    best.map(|(_, word)| word)
}

/// Levenshtein's distance with swaps of neighbours counted as one, without case.
fn distance(left: &[u8], right: &[u8]) -> usize {
    let width = right.len() + 1;
    let mut before: Vec<usize> = vec![0; width];
    let mut last: Vec<usize> = (0..width).collect();
    for (row, l) in left.iter().enumerate() {
        let mut now = vec![row + 1; width];
        for (column, r) in right.iter().enumerate() {
            let cost = usize::from(!l.eq_ignore_ascii_case(r));
            let mut least = (last[column] + cost).min(last[column + 1] + 1).min(now[column] + 1);
            if row > 0
                && column > 0
                && l.eq_ignore_ascii_case(&right[column - 1])
                && left[row - 1].eq_ignore_ascii_case(r)
            {
                least = least.min(before[column - 1] + 1);
            }
            now[column + 1] = least;
        }
        before = last;
        last = now;
    }
    last[right.len()]
}
