//! The hot paths of the suite, each with an input made from a seed: the same bytes on every machine and in every run.
//!
//! `cargo bench -p benches` measures them by the clock, `cargo xtask bench counts` by the instructions they take, which no other
//! process disturbs. The inputs are there for others too: [`dockerfile`], [`compose`], [`tree`] and [`tar`] say what they make.
//!
//! Sizes are for a short run. A [`Scale`] above 1 makes all of them so many times as large: 100 gives Dockerfiles of 100 MB and
//! layers of 10 GB.
#![forbid(unsafe_code)]
#![allow(clippy::missing_panics_doc, reason = "a bench that cannot make its input has nothing to say")]

mod compose;
mod dockerfile;
mod layer;
mod network;
mod random;
mod sandbox;

use std::path::Path;

pub use compose::compose;
pub use dockerfile::dockerfile;
pub use layer::{Tree, tar, tree};
pub use random::Random;

/// How many times as large the inputs are as for a short run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scale(pub usize);

/// What one run of a path works through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Amount {
    /// Bytes of input.
    Bytes(u64),
    /// Things: services, entries, addresses.
    Items(u64),
}

/// Something that is done often, ready to be done.
pub struct HotPath {
    /// The crate and what it does, as `dockerfile/parse`.
    pub name: &'static str,
    /// What one run works through.
    pub amount: Amount,
    run: Box<dyn FnMut()>,
}

impl HotPath {
    fn new(name: &'static str, amount: Amount, run: impl FnMut() + 'static) -> Self {
        Self { name, amount, run: Box::new(run) }
    }

    /// Does it once.
    pub fn run(&mut self) {
        (self.run)();
    }
}

/// Makes a path's input and whatever it needs beside it. The directory is empty and the path's own.
pub type Prepare = fn(Scale, &Path) -> HotPath;

/// All paths by name.
pub const PATHS: [(&str, Prepare); 15] = [
    ("dockerfile/parse", dockerfile::parse),
    ("dockerfile/lint", dockerfile::lint),
    ("dockerfile/format", dockerfile::format),
    ("dockerfile/ignore", dockerfile::ignore),
    ("compose/load", compose::load),
    ("compose/print", compose::print),
    ("compose/plan", compose::plan),
    ("image/reference", layer::reference),
    ("image/sha256", layer::sha256),
    ("image/inflate", layer::inflate),
    ("image/apply", layer::apply),
    ("image/diff", layer::diff),
    ("net/lease", network::lease),
    ("net/names", network::names),
    ("ns/compile", sandbox::compile),
];
