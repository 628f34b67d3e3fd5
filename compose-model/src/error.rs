//! What can go wrong outside of a load; a load itself returns diagnostics.
use std::io;
use std::path::PathBuf;

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// A file does not exist.
    #[error("there is no file {}", .0.display())]
    NotFound(PathBuf),
    /// A file is outside of what the caller allows.
    #[error("{} is outside of {}", path.display(), root.display())]
    Outside {
        /// The file.
        path: PathBuf,
        /// The directory that reading is confined to.
        root: PathBuf,
    },
    /// Something that is not a regular file: a directory, a device, a pipe.
    #[error("{} is not a regular file", .0.display())]
    NotAFile(PathBuf),
    /// A file has more bytes than allowed.
    #[error("{} has more than {limit} bytes", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The limit in bytes.
        limit: usize,
    },
    /// A duration that cannot be read.
    #[error("`{0}` is not a duration such as `1m30s`")]
    Duration(String),
    /// A number of bytes that cannot be read.
    #[error("`{0}` is not a number of bytes such as `512m`")]
    Bytes(String),
    /// A port that cannot be read.
    #[error("`{text}` is not a port: {reason}")]
    Port {
        /// The text.
        text: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A mount that cannot be read.
    #[error("`{text}` is not a mount: {reason}")]
    Mount {
        /// The text.
        text: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A command with a quote that is never closed.
    #[error("a quote is not closed in `{0}`")]
    Quote(String),
    /// A line of a file of variables that cannot be read.
    #[error("line {line}: {reason}")]
    Variables {
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// A substitution that cannot be made.
    #[error("{reason}")]
    Substitution {
        /// What is wrong, with the name of the variable.
        reason: String,
        /// The distance of the fault from the start of the text, in bytes.
        offset: usize,
    },
    /// An edit of a [`Document`](crate::Document) that cannot be made; nothing has changed.
    #[error("cannot change `{path}`: {reason}")]
    Edit {
        /// The place, its keys joined by dots.
        path: String,
        /// Why not.
        reason: &'static str,
    },
    /// The project has errors; how many, and the first of them.
    #[error("{count} errors, the first: {first}")]
    Invalid {
        /// How many.
        count: usize,
        /// The first diagnostic as text.
        first: String,
    },
}
