//! The labels by which containers, networks and volumes belong to a project, in Docker Compose's own words.

use std::collections::BTreeMap;

use compose_model::Project;

/// The project's name.
pub const PROJECT: &str = "com.docker.compose.project";
/// The service's name.
pub const SERVICE: &str = "com.docker.compose.service";
/// The container's number among its service's, from 1.
pub const NUMBER: &str = "com.docker.compose.container-number";
/// `True` for a container that `run` made.
pub const ONE_OFF: &str = "com.docker.compose.oneoff";
/// The directory that the project's relative paths begin at.
pub const WORKING_DIR: &str = "com.docker.compose.project.working_dir";
/// The project's files, with commas between them.
pub(crate) const FILES: &str = "com.docker.compose.project.config_files";
/// The hash of the settings that a container was made with.
pub(crate) const HASH: &str = "com.docker.compose.config-hash";
/// The id of the image that a container was made from.
pub(crate) const IMAGE: &str = "com.docker.compose.image";
/// What a service depends on: `NAME:CONDITION:RESTART`, with commas between them.
pub(crate) const DEPENDS_ON: &str = "com.docker.compose.depends_on";
/// The key of a network in its project.
pub(crate) const NETWORK: &str = "com.docker.compose.network";
/// The key of a volume in its project.
pub(crate) const VOLUME: &str = "com.docker.compose.volume";
/// What made it.
pub(crate) const VERSION: &str = "com.docker.compose.version";

/// The labels that everything of a project has.
pub(crate) fn common(project: &Project) -> BTreeMap<String, String> {
    BTreeMap::from([
        (PROJECT.to_owned(), project.name.clone()),
        (VERSION.to_owned(), env!("CARGO_PKG_VERSION").to_owned()),
    ])
}
