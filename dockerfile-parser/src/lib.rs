//! Dockerfiles as a lossless syntax tree, typed instructions, stages and diagnostics.
//!
//! [`parse`] reads any bytes and never fails: it gives the instructions it finds, each word with its place, and
//! all that is wrong, with an edit that would mend it where that is clear. On top of that there are the rules of
//! Docker's build checks and of good practice ([`Dockerfile::lint`]), a formatter ([`Dockerfile::format`]), the
//! stages and what each needs ([`Graph`]), variables ([`expand`], [`Scope`]) and `.dockerignore` ([`Ignore`]).
//!
//! ```
//! use dockerfile_parser::{Command, Kind, LintOptions, parse};
//!
//! let file = parse(b"FROM alpine:3.20\nCOPY app /app\nENTERPOINT [\"/app\"]\nCMD /app --help\n");
//! assert_eq!(file.instructions().len(), 4);
//! let Kind::Cmd(Command::Shell(text)) = &file.instructions()[3].kind else { panic!("it is a CMD in shell form") };
//! assert_eq!(text.text(&file), "/app --help");
//!
//! let found = file.lint(&LintOptions::default());
//! let names: Vec<_> = found.iter().map(|found| found.code.name()).collect();
//! assert_eq!(names, ["UnknownInstruction", "JSONArgsRecommended"]);
//! let mended = file.edit(&found[0].suggestion.as_ref().unwrap().edit)?;
//! assert!(mended.to_string().contains("\nENTRYPOINT [\"/app\"]\n"));
//! # Ok::<(), dockerfile_parser::Error>(())
//! ```
//!
//! # What it is not
//!
//! It builds nothing, reads no file, asks no registry and prints nothing; it knows of a base image only what the
//! file says. It follows the Dockerfile reference and BuildKit's behaviour; where BuildKit has an oddity that
//! nobody can want (a nested substitution in `EXPOSE` that forgets what was before it, `$1` in a replacement that
//! means a group of a regular expression), the sane thing is done.
//!
//! # Units, limits, errors
//!
//! Offsets and columns are bytes, lines and columns count from 1. Time and memory grow with the length of the
//! input, and nothing that input controls recurses; an expansion has a limit in bytes. What is wrong with a file
//! is a [`Diagnostic`]; [`Error`] is for edits and options that cannot be carried out, [`ExpandError`] for words.
//!
//! # Features
//!
//! `serde`: `Serialize` for the tree ([`Ast`]) and the diagnostics. `arbitrary`: structured Dockerfiles for fuzzing.
//!
//! # References
//!
//! [Dockerfile reference](https://docs.docker.com/reference/dockerfile/),
//! [build checks](https://docs.docker.com/reference/build-checks/),
//! [`.dockerignore`](https://docs.docker.com/build/concepts/context/#dockerignore-files),
//! [SARIF 2.1.0](https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html).

#![forbid(unsafe_code)]

#[cfg(feature = "arbitrary")]
mod arbitrary;
mod arguments;
mod ast;
mod code;
mod diagnostic;
mod dockerfile;
mod draw;
mod edit;
mod error;
mod expand;
mod flags;
mod format;
mod glob;
mod graph;
mod heredoc;
mod ignore;
mod instruction;
mod json;
mod lint;
mod mount;
mod options;
mod practice;
mod reference;
mod report;
mod scope;
mod shell;
mod slip;
mod span;
mod tree;
mod word;

#[cfg(feature = "arbitrary")]
pub use arbitrary::Structured;
pub use ast::Ast;
pub use code::{Code, Origin};
pub use diagnostic::{Diagnostic, Severity, Suggestion};
pub use dockerfile::{Directive, Dockerfile, parse};
pub use edit::Edit;
pub use error::Error;
pub use expand::{EXPANSION_LIMIT, ExpandError, Lookup, expand, expand_heredoc, expand_words};
pub use format::{FormatOptions, KeywordCase};
pub use graph::{Edge, EdgeKind, Graph, Stage, Target};
pub use ignore::Ignore;
pub use instruction::{
    Add, Argument, Command, Copy, Device, Flag, From, HealthTest, Healthcheck, Heredoc, Instruction, Kind,
    Pair, Run, Separator, Source, Valued, Volume,
};
pub use mount::{Mount, MountError, MountKind, MountOption, ResolvedMount, Sharing};
pub use options::{Check, LintOptions, Rules};
pub use scope::{Arguments, Globals, PREDEFINED, Platform, STEERING, Scope, ScopeError, Variable};
pub use span::{LineColumn, Span};
pub use tree::{Node, NodeKind, Token, TokenKind, Tree};
pub use word::Word;
