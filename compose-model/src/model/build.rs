//! `build`: how a service's image is made.
use super::mount::FileMount;
use super::scalar::{Hosts, Location, OneOrMany, Pairs, Scalar};
use super::service::Ulimit;
use crate::map::Map;
use crate::shape::{Reader, Shape, record};
use crate::units::Bytes;
use crate::yaml::{Node, Value};

record! {
    /// How a service's image is made.
    Build, "`build`", {
        /// The directory or address of the context; a path is absolute.
        "context" context: Option<String>,
        /// The Dockerfile, from the context.
        "dockerfile" dockerfile: Option<String>,
        /// The text of the Dockerfile.
        "dockerfile_inline" dockerfile_inline: Option<String>,
        /// Rights that are given to the build.
        "entitlements" entitlements: Vec<String>,
        /// Values of `ARG`; a name without value takes the environment's.
        "args" args: Pairs,
        /// Agents and keys of SSH.
        "ssh" ssh: Pairs,
        /// Labels of the image.
        "labels" labels: Pairs,
        /// Where the cache comes from.
        "cache_from" cache_from: Vec<String>,
        /// Where the cache goes to.
        "cache_to" cache_to: Vec<String>,
        /// Whether no cache is used.
        "no_cache" no_cache: Option<bool>,
        /// Stages that no cache is used for.
        "no_cache_filter" no_cache_filter: OneOrMany,
        /// Further contexts, by name.
        "additional_contexts" additional_contexts: Pairs,
        /// Whether base images are pulled anew.
        "pull" pull: Option<bool>,
        /// Hosts with addresses.
        "extra_hosts" extra_hosts: Hosts,
        /// The kind of isolation.
        "isolation" isolation: Option<String>,
        /// The network of the build's commands.
        "network" network: Option<String>,
        /// The statement of provenance.
        "provenance" provenance: Option<Scalar>,
        /// The list of what is in the image.
        "sbom" sbom: Option<Scalar>,
        /// The last stage.
        "target" target: Option<String>,
        /// Secrets of the project.
        "secrets" secrets: Vec<FileMount>,
        /// The size of `/dev/shm`.
        "shm_size" shm_size: Option<Bytes>,
        /// Further names of the image.
        "tags" tags: Vec<String>,
        /// Limits of the build's commands.
        "ulimits" ulimits: Map<Ulimit>,
        /// Platforms.
        "platforms" platforms: Vec<String>,
        /// Whether the build's commands have every right.
        "privileged" privileged: Option<bool>,
    }
}

/// Whether a context is an address or a name and no path.
fn address(text: &str) -> bool {
    text.contains("://")
        || text.starts_with("git@")
        || text.starts_with("github.com/")
        || text.starts_with("service:")
        || text.starts_with("target:")
}

impl Shape for Build {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let mut build = match &node.value {
            Value::Text(context) => Self { context: Some(context.clone()), ..Self::default() },
            Value::Map(_) => Self::read_record(node, reader)?,
            _ => return reader.mismatch(node, "a path or a mapping"),
        };
        let span = node.get("context").map_or(node.span, |context| context.span);
        if !build.context.as_deref().is_some_and(address) {
            build.context = Some(Location::resolve(build.context.as_deref().unwrap_or("."), span, reader));
        }
        for context in build.additional_contexts.0.values_mut().flatten() {
            if !address(context) {
                *context = Location::resolve(context, node.span, reader);
            }
        }
        if build.dockerfile.is_none() && build.dockerfile_inline.is_none() {
            build.dockerfile = Some("Dockerfile".to_owned());
        }
        if build.dockerfile.is_some() && build.dockerfile_inline.is_some() {
            let finding = crate::diagnostic::Diagnostic::error(
                node.span,
                "`dockerfile` and `dockerfile_inline` exclude each other",
            );
            reader.report(finding.suggest("remove one of them"));
        }
        Some(build)
    }
    fn write(&self) -> Option<Node> {
        Some(self.write_record())
    }
}
