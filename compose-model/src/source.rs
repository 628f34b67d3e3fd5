//! Where text stands: files, positions and spans.
use std::path::{Path, PathBuf};

/// The number of a file among those that one run has read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct FileId(pub(crate) u32);

/// A place in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Position {
    /// The line, from 1; 0 when the place is unknown.
    pub line: u32,
    /// The column in characters, from 1.
    pub column: u32,
    /// The distance from the start of the file, in characters.
    pub offset: u32,
}

/// A stretch of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Span {
    /// The file.
    pub file: FileId,
    /// Its first character.
    pub start: Position,
    /// The place behind its last character.
    pub end: Position,
}

/// A file that was read.
#[derive(Debug, Clone)]
pub struct Source {
    /// The path as the caller or another file named it.
    pub path: PathBuf,
    /// The directory that relative paths in it start from.
    pub base: PathBuf,
    text: String,
    lines: Vec<u32>,
}

impl Source {
    /// The text of the file.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// A line's text, from 1, without its end.
    pub fn line(&self, line: u32) -> Option<&str> {
        let at = usize::try_from(line).ok()?.checked_sub(1)?;
        let start = *self.lines.get(at)? as usize;
        let end = self.lines.get(at + 1).map_or(self.text.len(), |end| *end as usize);
        self.text.get(start..end).map(|text| text.trim_end_matches(['\n', '\r']))
    }
}

/// All files that one run has read.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    files: Vec<Source>,
}

impl Sources {
    /// Adds a file. `text` must be shorter than 4 GiB; the loader's budget sees to that.
    pub(crate) fn add(&mut self, path: &Path, base: &Path, text: String) -> FileId {
        let mut lines = vec![0];
        lines
            .extend(text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at as u32 + 1));
        self.files.push(Source { path: path.to_owned(), base: base.to_owned(), text, lines });
        FileId(self.files.len() as u32 - 1)
    }

    /// A file by its number.
    pub fn source(&self, file: FileId) -> Option<&Source> {
        self.files.get(file.0 as usize)
    }

    /// The path of a file, empty when the number is not of this run.
    pub fn path(&self, file: FileId) -> &Path {
        self.source(file).map_or(Path::new(""), |source| &source.path)
    }

    /// The text of a span that does not leave its line, up to column 4096.
    pub fn slice(&self, span: Span) -> Option<&str> {
        let line = self.source(span.file)?.line(span.start.line)?;
        // finding a column walks the line, so a very long one is left alone
        if span.start.line != span.end.line || span.end.column > 4096 {
            return None;
        }
        let from = span.start.column.checked_sub(1)? as usize;
        let to = span.end.column.checked_sub(1)? as usize;
        let mut places = line.char_indices().map(|(at, _)| at).chain([line.len()]);
        let start = places.nth(from)?;
        let end = if to > from { places.nth(to - from - 1)? } else { start };
        line.get(start..end)
    }
}
