//! What is wrong, where, and what to write instead.
use std::fmt::{self, Write as _};
use std::path::PathBuf;

use crate::source::{Sources, Span};

/// How grave a diagnostic is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Something that works but that a person may not have meant.
    Hint,
    /// Something that is ignored or obsolete.
    Warning,
    /// Something that must be mended before the project can be used.
    Error,
}

/// One finding of a load.
#[derive(Debug, Clone, PartialEq)]
pub struct Diagnostic {
    /// How grave it is.
    pub severity: Severity,
    /// What is wrong, in lower case.
    pub message: String,
    /// The file, as it was named.
    pub file: PathBuf,
    /// The place in the file.
    pub span: Span,
    /// The path of the key, as in `services.web.ports[1]`; empty for the file itself.
    pub key: String,
    /// What was expected there.
    pub expected: Option<String>,
    /// What to write or do instead.
    pub suggestion: Option<String>,
}

impl Diagnostic {
    pub(crate) fn new(severity: Severity, span: Span, message: impl Into<String>) -> Self {
        Self {
            severity,
            message: message.into(),
            file: PathBuf::new(),
            span,
            key: String::new(),
            expected: None,
            suggestion: None,
        }
    }

    pub(crate) fn error(span: Span, message: impl Into<String>) -> Self {
        Self::new(Severity::Error, span, message)
    }

    pub(crate) fn warning(span: Span, message: impl Into<String>) -> Self {
        Self::new(Severity::Warning, span, message)
    }

    pub(crate) fn hint(span: Span, message: impl Into<String>) -> Self {
        Self::new(Severity::Hint, span, message)
    }

    pub(crate) fn at(mut self, key: impl Into<String>) -> Self {
        self.key = key.into();
        self
    }

    pub(crate) fn expected(mut self, expected: impl Into<String>) -> Self {
        self.expected = Some(expected.into());
        self
    }

    pub(crate) fn suggest(mut self, suggestion: impl Into<String>) -> Self {
        self.suggestion = Some(suggestion.into());
        self
    }

    /// The finding with the line it stands on and a mark under the place.
    pub fn render(&self, sources: &Sources) -> String {
        let mut text = self.to_string();
        if let Some(line) =
            sources.source(self.span.file).and_then(|source| source.line(self.span.start.line))
        {
            let shown: String =
                line.chars().take(200).map(|c| if c.is_control() { ' ' } else { c }).collect();
            let before = (self.span.start.column as usize).saturating_sub(1).min(200);
            let _ = write!(text, "\n  | {shown}\n  | {}^", " ".repeat(before));
        }
        text
    }
}

/// `FILE:LINE:COLUMN: SEVERITY: KEY: MESSAGE; expected …; help: …`, control characters made harmless.
impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Hint => "hint",
            Severity::Warning => "warning",
            Severity::Error => "error",
        };
        let mut text = self.file.display().to_string();
        if self.span.start.line > 0 {
            let _ = write!(text, ":{}:{}", self.span.start.line, self.span.start.column);
        }
        let _ = write!(text, ": {severity}: ");
        if !self.key.is_empty() {
            let _ = write!(text, "{}: ", self.key);
        }
        text.push_str(&self.message);
        if let Some(expected) = &self.expected {
            let _ = write!(text, "; expected {expected}");
        }
        if let Some(suggestion) = &self.suggestion {
            let _ = write!(text, "; help: {suggestion}");
        }
        for c in text.chars() {
            if c.is_control() { write!(f, "{}", c.escape_default())? } else { write!(f, "{c}")? }
        }
        Ok(())
    }
}

/// After so many findings none is made better by searching for what was meant.
pub(crate) const MANY: usize = 1000;

/// The known word nearest to one that is not known, when it is near enough to be meant.
pub(crate) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if word.chars().count() > 64 {
        return None;
    }
    known
        .into_iter()
        .take(500)
        .map(|candidate| (distance(word, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= 1 + candidate.len() / 5)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// The least number of insertions, deletions and substitutions, in characters.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, l) in left.chars().enumerate() {
        let mut diagonal = i;
        let mut last = i + 1;
        let mut next = vec![last];
        for (r, above) in right.iter().zip(row.iter().skip(1)) {
            let cost = (diagonal + usize::from(l != *r)).min(above + 1).min(last + 1);
            diagonal = *above;
            last = cost;
            next.push(cost);
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}
