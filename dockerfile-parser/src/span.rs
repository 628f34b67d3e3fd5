//! Where something is in the source: byte ranges, and lines and columns on demand.

use std::cell::Cell;
use std::ops::Range;

/// A range of bytes of the source, `start..end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Span {
    /// Offset of the first byte.
    pub start: usize,
    /// Offset after the last byte.
    pub end: usize,
}

impl Span {
    /// The span `start..end`; an `end` before `start` makes it empty.
    #[inline]
    pub fn new(start: usize, end: usize) -> Self {
        Self { start, end: end.max(start) }
    }

    /// The empty span at an offset.
    #[inline]
    pub fn at(offset: usize) -> Self {
        Self { start: offset, end: offset }
    }

    /// Length in bytes.
    #[inline]
    pub fn len(self) -> usize {
        self.end.saturating_sub(self.start)
    }

    /// Whether no byte is in it.
    #[inline]
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// As a range, to slice with.
    pub fn range(self) -> Range<usize> {
        self.start..self.end
    }

    /// The smallest span that holds both.
    #[must_use]
    #[inline]
    pub fn to(self, other: Span) -> Span {
        Span::new(self.start.min(other.start), self.end.max(other.end))
    }

    /// Whether `other` lies within.
    pub fn contains(self, other: Span) -> bool {
        self.start <= other.start && other.end <= self.end
    }
}

/// A place as editors count it: both from 1, columns in bytes of UTF-8.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct LineColumn {
    /// Line, from 1.
    pub line: usize,
    /// Column in bytes, from 1.
    pub column: usize,
}

/// Where each line begins; built once, when a line number is first asked for.
#[derive(Debug, Clone)]
pub(crate) struct LineIndex {
    starts: Vec<usize>,
}

impl LineIndex {
    pub(crate) fn new(source: &[u8]) -> Self {
        let mut starts = vec![0];
        starts.extend(memchr::memchr_iter(b'\n', source).map(|at| at + 1));
        Self { starts }
    }

    pub(crate) fn locate(&self, offset: usize) -> LineColumn {
        let line = self.starts.partition_point(|&start| start <= offset).max(1);
        let start = self.starts.get(line - 1).copied().unwrap_or(0);
        LineColumn { line, column: offset.saturating_sub(start) + 1 }
    }

    /// The bytes of a line, counted from 1, without its end.
    pub(crate) fn line(&self, source_len: usize, line: usize) -> Span {
        let start = line.checked_sub(1).and_then(|at| self.starts.get(at)).copied().unwrap_or(source_len);
        let end = self.starts.get(line).map_or(source_len, |next| next - 1);
        Span::new(start, end)
    }
}

/// One logical line: physical lines joined where a continuation says so.
///
/// `text` is what the instruction says; `segments` map it back to the source.
#[derive(Debug)]
pub(crate) struct Logical<'a> {
    pub(crate) text: &'a [u8],
    /// `(offset in text, offset in the source)` of each piece, in order, never empty.
    segments: &'a [(usize, usize)],
    /// The segment that was asked for last; words come in order.
    hint: Cell<usize>,
}

impl<'a> Logical<'a> {
    pub(crate) fn new(text: &'a [u8], segments: &'a [(usize, usize)]) -> Self {
        Self { text, segments, hint: Cell::new(0) }
    }

    /// Where `at` lies in the source, and where in the text its segment ends.
    #[inline]
    fn locate(&self, at: usize) -> (usize, usize) {
        let segments = self.segments;
        if let [(_, source)] = segments {
            return (source + at, usize::MAX);
        }
        self.locate_joined(at)
    }

    fn locate_joined(&self, at: usize) -> (usize, usize) {
        let segments = self.segments;
        let mut index = self.hint.get();
        loop {
            let end = segments.get(index + 1).map_or(usize::MAX, |next| next.0);
            match segments.get(index) {
                Some(&(logical, source)) if logical <= at && at < end => {
                    self.hint.set(index);
                    return (source + (at - logical), end);
                }
                // the next one is likely; else look by halves
                Some(&(logical, _))
                    if logical <= at && at < segments.get(index + 2).map_or(usize::MAX, |next| next.0) =>
                {
                    index += 1;
                }
                _ => index = segments.partition_point(|&(logical, _)| logical <= at).saturating_sub(1),
            }
        }
    }

    /// Where `start..end` of the text lies in the source, and whether it lies there as one piece.
    #[inline]
    pub(crate) fn place(&self, start: usize, end: usize) -> (Span, bool) {
        if start >= end {
            let at = if start == 0 { self.locate(0).0 } else { self.locate(start - 1).0 + 1 };
            return (Span::at(at), true);
        }
        let (source, limit) = self.locate(start);
        if end <= limit {
            return (Span { start: source, end: source + (end - start) }, true);
        }
        (Span::new(source, self.locate(end - 1).0 + 1), false)
    }

    /// Where `start..end` of the text lies in the source.
    #[inline]
    pub(crate) fn span(&self, start: usize, end: usize) -> Span {
        self.place(start, end).0
    }
}
