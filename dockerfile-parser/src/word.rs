//! One word of an instruction.

use std::borrow::Cow;

use crate::dockerfile::Dockerfile;
use crate::span::{Logical, Span};

/// One word: where it is, and what it says.
///
/// What it says has continuation lines and comments taken out, the quotes of flags and the escapes of
/// JSON strings resolved; variables and the quotes of other words are left to [`crate::expand`]. Most
/// words say just what the source has at their span and own nothing.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Word {
    /// Where it is written.
    pub span: Span,
    owned: Option<Box<[u8]>>,
}

impl Word {
    /// What it says, given the file it came from, with invalid UTF-8 replaced.
    pub fn text<'a>(&'a self, file: &'a Dockerfile) -> Cow<'a, str> {
        String::from_utf8_lossy(self.bytes(file))
    }

    /// The bytes of what it says.
    pub fn bytes<'a>(&'a self, file: &'a Dockerfile) -> &'a [u8] {
        self.bytes_in(file.source())
    }

    /// Whether it says something else than the source at its span.
    pub fn is_rewritten(&self) -> bool {
        self.owned.is_some()
    }

    #[inline]
    pub(crate) fn bytes_in<'a>(&'a self, source: &'a [u8]) -> &'a [u8] {
        match &self.owned {
            Some(text) => text,
            None => source.get(self.span.range()).unwrap_or_default(),
        }
    }

    /// The word at `start..end` of a logical line.
    #[inline]
    pub(crate) fn of(line: &Logical<'_>, start: usize, end: usize) -> Self {
        let (span, whole) = line.place(start, end);
        let owned = if whole { None } else { Some(line.text.get(start..end).unwrap_or_default().into()) };
        Self { span, owned }
    }

    /// A word that says what the source has at `span`.
    #[inline]
    pub(crate) fn plain(span: Span) -> Self {
        Self { span, owned: None }
    }

    /// A word that says `text`, written at `span`.
    #[inline]
    pub(crate) fn rewritten(span: Span, text: Vec<u8>) -> Self {
        Self { span, owned: Some(text.into_boxed_slice()) }
    }
}
