//! From a project and what is there: the steps that make one of the other.
//!
//! Everything here is a pure function. [`plan`] is `up`, [`down`], [`stop`], [`start`] and [`restart`] are what their names
//! say. [`Observed::apply`] says what is there after the steps; planning again then gives no steps.
//!
//! ```
//! use compose_model::{Loader, MemoryFiles};
//! use compose_model::plan::{Observed, PlanOptions, plan};
//!
//! let files = MemoryFiles::new().with("/shop/compose.yaml", "services: {web: {image: nginx}}");
//! let project = Loader::new(&files).load(&["/shop/compose.yaml"]).into_project()?;
//! let mut there = Observed::default();
//! let steps = plan(&project, &there, &PlanOptions::default());
//! assert_eq!(steps.to_string(), "\
//! 1. create network shop_default
//! 2. pull nginx
//! 3. create shop-web-1, after 1, 2
//! 4. start shop-web-1, after 3
//! ");
//! there.apply(&steps);
//! assert!(plan(&project, &there, &PlanOptions::default()).is_empty());
//! # Ok::<(), compose_model::Error>(())
//! ```
mod down;
mod graph;
mod observed;
mod up;

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

pub use down::{DownOptions, Images, down, restart, start, stop};
pub use graph::Graph;
pub use observed::{Container, Health, Observed, State};
pub use up::plan;

use crate::map::Map;

/// When containers that are there are made anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Recreate {
    /// When their settings or their image changed.
    #[default]
    Diverged,
    /// Always. Such a plan is never empty.
    Force,
    /// Never.
    Never,
}

/// When images are pulled or built.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum When {
    /// When there is none, or as the service's `pull_policy` says.
    #[default]
    Missing,
    /// Always. Such a plan is never empty.
    Always,
    /// Never.
    Never,
}

/// What `up` may be told.
#[derive(Debug, Clone, Default)]
pub struct PlanOptions {
    /// How many containers a service has, before its own `scale` and `deploy.replicas`.
    pub scale: Map<u32>,
    /// When containers are made anew.
    pub recreate: Recreate,
    /// Whether containers of services that are no longer in the project go.
    pub remove_orphans: bool,
    /// The services that are meant; none means all. What they depend on comes too.
    pub services: Vec<String>,
    /// Whether what they depend on is left alone.
    pub no_dependencies: bool,
    /// Whether containers are made and not started.
    pub no_start: bool,
    /// When images are pulled.
    pub pull: When,
    /// When images are built.
    pub build: When,
    /// How long containers have to stop, before their own `stop_grace_period`.
    pub timeout: Option<Duration>,
    /// Whether the plan ends with waiting until all is running and healthy.
    pub wait: bool,
}

/// What a service is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Condition {
    /// Its containers run.
    Started,
    /// Its containers are healthy.
    Healthy,
    /// Its containers ended with 0.
    Completed,
}

/// One thing that is done.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Action {
    /// Make a network; `key` is its name in the project, `name` in the engine.
    CreateNetwork {
        /// Its name in the project.
        key: String,
        /// Its name in the engine.
        name: String,
    },
    /// Make a volume.
    CreateVolume {
        /// Its name in the project.
        key: String,
        /// Its name in the engine.
        name: String,
    },
    /// Pull an image.
    Pull {
        /// Its reference.
        image: String,
    },
    /// Build the image of a service.
    Build {
        /// The service.
        service: String,
        /// The reference that the image gets.
        image: String,
    },
    /// Make a container.
    Create {
        /// The service.
        service: String,
        /// Its number among the service's, from 1.
        number: u32,
        /// Its name.
        name: String,
        /// Its image's reference.
        image: String,
        /// The hash of its settings.
        hash: String,
    },
    /// Stop a container, make it anew and remove the old one; anonymous volumes go over.
    Recreate {
        /// The service.
        service: String,
        /// Its number.
        number: u32,
        /// The id of the old one.
        id: String,
        /// Its name.
        name: String,
        /// Its image's reference.
        image: String,
        /// The hash of its settings.
        hash: String,
        /// How long it has to stop.
        timeout: Option<Duration>,
    },
    /// Start a container.
    Start {
        /// The service.
        service: String,
        /// Its number.
        number: u32,
        /// Its name.
        name: String,
    },
    /// Wait until a service is as the condition says.
    WaitFor {
        /// The service.
        service: String,
        /// The condition.
        condition: Condition,
    },
    /// Stop a container and start it again.
    Restart {
        /// Its id.
        id: String,
        /// Its name.
        name: String,
        /// How long it has to stop.
        timeout: Option<Duration>,
    },
    /// Stop a container.
    Stop {
        /// Its id.
        id: String,
        /// Its name.
        name: String,
        /// How long it has to stop.
        timeout: Option<Duration>,
    },
    /// Remove a container.
    Remove {
        /// Its id.
        id: String,
        /// Its name.
        name: String,
    },
    /// Remove a network.
    RemoveNetwork {
        /// Its name in the engine.
        name: String,
    },
    /// Remove a volume.
    RemoveVolume {
        /// Its name in the engine.
        name: String,
    },
    /// Remove an image.
    RemoveImage {
        /// Its reference.
        image: String,
    },
}

/// A step of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// What is done.
    pub action: Action,
    /// The places in [`Plan::steps`] of the steps that must be done before; all are smaller than its own.
    pub after: Vec<usize>,
}

/// Steps in an order that is right; those that do not wait for each other can run side by side.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    /// The steps.
    pub steps: Vec<Step>,
    /// Names of containers whose service is no longer in the project and that stay.
    pub orphans: Vec<String>,
}

impl Plan {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// The steps by when they can run: those of one level wait only for levels before.
    pub fn levels(&self) -> Vec<Vec<usize>> {
        let mut levels: Vec<Vec<usize>> = Vec::new();
        let mut level_of: Vec<usize> = Vec::new();
        for (at, step) in self.steps.iter().enumerate() {
            let level = step
                .after
                .iter()
                .filter_map(|before| level_of.get(*before))
                .map(|level| level + 1)
                .max()
                .unwrap_or(0);
            level_of.push(level);
            if levels.len() <= level {
                levels.resize_with(level + 1, Vec::new);
            }
            if let Some(steps) = levels.get_mut(level) {
                steps.push(at);
            }
        }
        levels
    }

    /// The plan as a graph, to be drawn.
    pub fn graph(&self) -> Graph {
        let mut graph = Graph::default();
        for step in &self.steps {
            graph.node(step.action.to_string());
        }
        for (at, step) in self.steps.iter().enumerate() {
            for before in &step.after {
                graph.edge(*before, at, "");
            }
        }
        graph
    }

    /// Adds a step and gives its place.
    pub(crate) fn push(&mut self, action: Action, after: impl IntoIterator<Item = usize>) -> usize {
        let after: BTreeSet<usize> = after.into_iter().collect();
        self.steps.push(Step { action, after: after.into_iter().collect() });
        self.steps.len() - 1
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CreateNetwork { name, .. } => write!(f, "create network {name}"),
            Self::CreateVolume { name, .. } => write!(f, "create volume {name}"),
            Self::Pull { image } => write!(f, "pull {image}"),
            Self::Build { service, image } => write!(f, "build {service} as {image}"),
            Self::Create { name, .. } => write!(f, "create {name}"),
            Self::Recreate { name, .. } => write!(f, "recreate {name}"),
            Self::Start { name, .. } => write!(f, "start {name}"),
            Self::WaitFor { service, condition } => {
                let condition = match condition {
                    Condition::Started => "runs",
                    Condition::Healthy => "is healthy",
                    Condition::Completed => "has completed",
                };
                write!(f, "wait until {service} {condition}")
            }
            Self::Restart { name, .. } => write!(f, "restart {name}"),
            Self::Stop { name, .. } => write!(f, "stop {name}"),
            Self::Remove { name, .. } => write!(f, "remove {name}"),
            Self::RemoveNetwork { name } => write!(f, "remove network {name}"),
            Self::RemoveVolume { name } => write!(f, "remove volume {name}"),
            Self::RemoveImage { image } => write!(f, "remove image {image}"),
        }
    }
}

/// One line a step, numbered from 1, with the numbers of the steps that it waits for.
impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, step) in self.steps.iter().enumerate() {
            write!(f, "{}. {}", at + 1, step.action)?;
            for (nth, before) in step.after.iter().enumerate() {
                write!(f, "{}{}", if nth == 0 { ", after " } else { ", " }, before + 1)?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}
