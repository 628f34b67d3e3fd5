//! What can go wrong outside of the file's own faults, which are diagnostics.

use crate::span::Span;

/// An edit or a request that cannot be carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An edit's span reaches past the end of the file.
    #[error("edit {}..{} is outside of the file of {len} bytes", span.start, span.end)]
    EditOutside {
        /// The edit's span.
        span: Span,
        /// The file's length in bytes.
        len: usize,
    },
    /// Two edits want to change the same bytes.
    #[error("edits {}..{} and {}..{} overlap", first.start, first.end, second.start, second.end)]
    EditsOverlap {
        /// The earlier edit's span.
        first: Span,
        /// The later edit's span.
        second: Span,
    },
    /// A `check` option that is not `skip=`, `error=` or `experimental=`.
    #[error("invalid check option '{option}'")]
    CheckOption {
        /// The option as written.
        option: String,
    },
    /// An ignore pattern that cannot match anything because it is malformed.
    #[error("invalid ignore pattern '{pattern}': {reason}")]
    Pattern {
        /// The pattern as written.
        pattern: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A mount's option.
    #[error("mount option '{option}': {reason}")]
    Mount {
        /// The option as written.
        option: String,
        /// What is wrong with it.
        reason: String,
    },
}
