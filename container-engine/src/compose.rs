//! Projects of Compose on the engine: what is there of one, and a plan carried out.
//!
//! The files and the plan are [`compose_model`]'s; here a service becomes a container, and the steps of a plan become calls. Projects are known by
//! labels, the same that Docker Compose writes, so that both see each other's.

mod carry;
mod image;
mod labels;
mod limits;
mod mounts;
mod observe;
mod one_off;
mod places;
mod policies;
mod recreate;
mod resource;
mod service;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use compose_model::plan::Action;
use container_build::Event as BuildEvent;
use container_image::Progress;

use crate::Error;
use crate::build::Registries;

pub use labels::{NUMBER, ONE_OFF, PROJECT, SERVICE, WORKING_DIR};
pub use observe::ProjectSummary;
pub use one_off::OneOff;

/// What a plan needs beside the project.
pub struct ComposeWorld<'a> {
    /// Clients of registries, for pulls and base images.
    pub registries: &'a Registries<'a>,
    /// The caller's environment, for secrets and configs that come from it.
    pub variable: &'a (dyn Fn(&str) -> Option<String> + Sync),
    /// Who is told what happens. Called from several threads.
    pub report: &'a (dyn Fn(ComposeEvent<'_>) + Sync),
    /// Set by somebody else to stop: no further step is begun, and builds end.
    pub stop: Arc<AtomicBool>,
    /// Whether images are built without the cache.
    pub no_cache: bool,
    /// Whether anonymous volumes are made anew with their container.
    pub renew_volumes: bool,
}

/// What happens while a plan is carried out. `step` is the place in the plan.
#[derive(Debug)]
#[non_exhaustive]
pub enum ComposeEvent<'a> {
    /// A step began.
    Begin {
        /// Which.
        step: usize,
        /// What it does.
        action: &'a Action,
    },
    /// A pull of it went on.
    Pull {
        /// Which.
        step: usize,
        /// How far it is.
        progress: Progress,
    },
    /// A build of it went on.
    Build {
        /// Which.
        step: usize,
        /// What it did.
        event: BuildEvent<'a>,
    },
    /// A step is done.
    Done {
        /// Which.
        step: usize,
        /// What it did.
        action: &'a Action,
    },
    /// A step failed; no further one begins.
    Failed {
        /// Which.
        step: usize,
        /// What it was to do.
        action: &'a Action,
        /// Why.
        error: &'a Error,
    },
}

/// A key of a service that the engine cannot do, or a value that it does not understand.
pub(crate) fn refused(service: &str, key: &str, reason: impl Into<String>) -> Error {
    Error::ComposeKey { key: format!("services.{service}.{key}"), reason: reason.into() }
}
