//! Fuzz targets for every format and boundary of the suite, and the generators they share.
//!
//! A target is a plain function over bytes: libFuzzer calls it from `fuzz_targets/`, `tests/smoke.rs` calls it on the stable toolchain over
//! seeds and seeded noise, and anybody may call it from a harness of their own. It panics when something that must hold does not.
//!
//! [`Project`], [`Layer`] and [`Bundle`] make structured inputs from a fuzzer's bytes: mostly right, so that a fuzzer gets beyond the first
//! line. With [`dockerfile_parser::Structured`] they are there to fuzz tools that are not ours.
#![forbid(unsafe_code)]
#![allow(clippy::missing_panics_doc, reason = "a panic is how a target speaks")]

mod bundle;
mod compose;
mod dockerfile;
mod image;
mod layer;
mod network;
mod project;
mod runtime;
mod volume;

pub use bundle::Bundle;
pub use layer::Layer;
pub use project::Project;

/// A target.
pub struct Target {
    /// Its name, and that of its program in `fuzz_targets/`.
    pub name: &'static str,
    /// What it does with some bytes.
    pub run: fn(&[u8]),
    /// Files of the repository that it begins with: a directory's name and what the file there is called.
    pub seeds: (&'static str, &'static str),
}

macro_rules! targets {
    ($($name:ident = $run:path, $folder:literal, $file:literal;)*) => {
        /// All targets.
        pub const TARGETS: &[Target] = &[
            $(Target { name: stringify!($name), run: $run, seeds: ($folder, $file) },)*
        ];
        $(
            #[doc = concat!("The target `", stringify!($name), "`.")]
            pub fn $name(data: &[u8]) {
                $run(data);
            }
        )*
    };
}

targets! {
    dockerfile_parse = dockerfile::parse, "dockerfile-parser/testdata", "input";
    dockerfile_structured = dockerfile::structured, "", "";
    dockerfile_edit = dockerfile::edit, "dockerfile-parser/testdata", "input";
    dockerfile_expand = dockerfile::expand, "", "";
    dockerfile_ignore = dockerfile::ignore, "", "";
    compose_load = compose::load, "compose-model/testdata", "compose.yaml";
    compose_structured = compose::structured, "", "";
    compose_merge = compose::merge, "compose-model/testdata", "compose.yaml";
    compose_plan = compose::plan, "", "";
    compose_document = compose::document, "compose-model/testdata", "compose.yaml";
    compose_words = compose::words, "", "";
    image_names = image::names, "", "";
    image_documents = image::documents, "", "";
    image_files = image::files, "", "";
    image_apply = image::apply, "", "";
    image_layer = image::layer, "", "";
    image_diff = image::diff, "", "";
    image_load = image::load, "", "";
    net_names = network::names, "", "";
    net_words = network::words, "", "";
    runtime_config = runtime::config, "", "";
    runtime_bundle = runtime::bundle, "", "";
    runtime_words = runtime::words, "", "";
    volume_mounts = volume::mounts, "", "";
    volume_restore = volume::restore, "", "";
}
