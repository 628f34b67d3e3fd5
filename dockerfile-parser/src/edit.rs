//! Changes to the source.

use crate::dockerfile::{Dockerfile, parse};
use crate::error::Error;
use crate::span::Span;

/// Replace the bytes of a span.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Edit {
    /// What is replaced; empty to insert.
    pub span: Span,
    /// What takes its place; empty to delete.
    pub replacement: String,
}

impl Edit {
    /// Put `replacement` in place of `span`.
    pub fn replace(span: Span, replacement: impl Into<String>) -> Self {
        Self { span, replacement: replacement.into() }
    }

    /// Put `text` before the byte at `offset`.
    pub fn insert(offset: usize, text: impl Into<String>) -> Self {
        Self::replace(Span::at(offset), text)
    }

    /// Take `span` out.
    pub fn delete(span: Span) -> Self {
        Self::replace(span, "")
    }
}

impl Dockerfile {
    /// The file with one edit made.
    pub fn edit(&self, edit: &Edit) -> Result<Dockerfile, Error> {
        self.apply(std::slice::from_ref(edit))
    }

    /// The file with all edits made, in whatever order they come; insertions at one place keep theirs.
    ///
    /// Every byte outside of the edits' spans stays as it is. Fails, and changes nothing, if an edit
    /// reaches outside of the file or two of them overlap.
    pub fn apply(&self, edits: &[Edit]) -> Result<Dockerfile, Error> {
        let source = self.source();
        let mut order: Vec<&Edit> = edits.iter().collect();
        order.sort_by_key(|edit| (edit.span.start, edit.span.end));
        let grown: usize = edits.iter().map(|edit| edit.replacement.len()).sum();
        let mut out = Vec::with_capacity(source.len() + grown);
        let mut at = 0;
        let mut last = Span::default();
        for edit in order {
            let span = edit.span;
            if span.end > source.len() || span.start > span.end {
                return Err(Error::EditOutside { span, len: source.len() });
            }
            if span.start < at {
                return Err(Error::EditsOverlap { first: last, second: span });
            }
            out.extend_from_slice(source.get(at..span.start).unwrap_or_default());
            out.extend_from_slice(edit.replacement.as_bytes());
            at = span.end;
            last = span;
        }
        out.extend_from_slice(source.get(at..).unwrap_or_default());
        Ok(parse(&out))
    }
}
