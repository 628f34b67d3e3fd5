//! The [Compose Specification](https://github.com/compose-spec/compose-spec/blob/main/spec.md): load, merge, check, print and plan.
//!
//! It loads what `docker compose` loads: variables are put in, `.env`, `extends`, `include`, several files,
//! `!reset` and `!override`, profiles, short and long forms. A [`Document`] changes a file in place and keeps its comments. It says everything that is wrong in one run, each
//! finding with file, line, column, key, what was expected and what to write instead. And it plans: from a project and
//! what is there, the steps that make one of the other.
//!
//! It does not run anything, knows no engine, and reads nothing but through [`Files`]; no variable counts but those
//! given to the [`Loader`]. It has no unsafe code, starts no threads and uses nothing that
//! `wasm32-unknown-unknown` does not have, save [`SystemFiles`], whose reads fail there.
//!
//! ```
//! use compose_model::{Loader, MemoryFiles};
//!
//! let files = MemoryFiles::new().with("/shop/compose.yaml", r#"
//! services:
//!   web:
//!     image: nginx:${TAG:-latest}
//!     ports: ["8080:80"]
//!     depends_on: [db]
//!   db:
//!     imagee: postgres
//! "#);
//! let loaded = Loader::new(&files).environment([("TAG", "1.27")]).load(&["/shop/compose.yaml"]);
//! assert_eq!(loaded.project.services.get("web").unwrap().image.as_deref(), Some("nginx:1.27"));
//!
//! let findings: Vec<String> = loaded.errors().map(|finding| finding.to_string()).collect();
//! assert_eq!(findings[1], "/shop/compose.yaml:8:5: error: services.db.imagee: `imagee` is not a key of a service; \
//!     help: did you mean `image`?");
//! ```
//!
//! # Units
//! Sizes are [`Bytes`], times are [`std::time::Duration`], ports are `u16`, a CPU is 1.0, a file's mode is [`model::Mode`].
//!
//! # Errors
//! A load never fails: it returns [`Loaded`] with a project as far as it could be read and [`Diagnostic`]s.
//! [`Error`] is for single values and files.
//!
//! # Budgets
//! Input decides neither depth nor size: [`yaml::Budget`] bounds nodes after aliases, text after variables, levels,
//! bytes and files.
#![forbid(unsafe_code)]

mod check;
mod config;
mod diagnostic;
mod document;
mod dotenv;
mod error;
mod extends;
mod files;
mod interpolate;
mod loader;
mod map;
mod merge;
pub mod model;
mod normalize;
mod order;
pub mod plan;
mod run;
mod shape;
mod slips;
mod source;
mod units;
mod words;
pub mod yaml;

pub use config::tree_to_yaml;
pub use diagnostic::{Diagnostic, Severity};
pub use document::Document;
pub use dotenv::{Quoting, variables};
pub use error::Error;
pub use files::{Files, MemoryFiles, NoFiles, SystemFiles};
pub use interpolate::{Substituted, substitute};
pub use loader::{FILE_NAMES, Loaded, Loader, OVERRIDE_NAMES};
pub use map::Map;
pub use model::Project;
pub use order::order;
pub use shape::Extensions;
pub use source::{FileId, Position, Source, Sources, Span};
pub use units::{Bytes, duration, show_duration};
pub use words::words;
