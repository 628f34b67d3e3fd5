//! A project and the engine that it is on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use compose_model::Project;
use compose_model::plan::{Observed, Plan};
use container_engine::{
    COMPOSE_NUMBER, COMPOSE_ONE_OFF, COMPOSE_SERVICE, ComposeEvent, ComposeWorld, Container, Engine,
    Reference,
};

use super::show::Show;
use crate::command::login::registry;
use crate::context::Failure;

pub(super) struct Session {
    pub(super) engine: Arc<Engine>,
    pub(super) project: Arc<Project>,
}

/// How a plan is carried out.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct How {
    pub(super) quiet: bool,
    pub(super) no_cache: bool,
    pub(super) renew_volumes: bool,
}

impl Session {
    pub(super) fn new(engine: Engine, project: Project) -> Self {
        Self { engine: Arc::new(engine), project: Arc::new(project) }
    }

    /// What there is of the project.
    pub(super) async fn observe(&self) -> Result<Observed, Failure> {
        Ok(self.engine.observe(&self.project).await?)
    }

    /// Fails if a service is not the project's.
    pub(super) fn check(&self, services: &[String]) -> Result<(), Failure> {
        let known =
            |name: &str| self.project.services.contains_key(name) || self.project.disabled.contains_key(name);
        match services.iter().find(|name| !known(name)) {
            Some(name) => Err(Failure::new(format!("no such service: {name}"))),
            None => Ok(()),
        }
    }

    /// The containers of some services, or of all, without those that `run` made.
    pub(super) async fn containers(&self, services: &[String]) -> Result<Vec<Container>, Failure> {
        let mut all = self.engine.project_containers(&self.project.name).await?;
        all.retain(|container| {
            let service = service_of(container);
            label(container, COMPOSE_ONE_OFF) != "True"
                && (services.is_empty() || services.iter().any(|name| name == service))
        });
        Ok(all)
    }

    /// One container of a service: the one with the number, or the first.
    pub(super) async fn container(&self, service: &str, number: Option<u32>) -> Result<Container, Failure> {
        self.check(&[service.to_owned()])?;
        let all = self.containers(&[service.to_owned()]).await?;
        let wanted = |container: &Container| {
            number.is_none_or(|number| label(container, COMPOSE_NUMBER) == number.to_string())
        };
        let running = all.iter().find(|container| wanted(container) && container.phase.is_running());
        running.or_else(|| all.iter().find(|container| wanted(container))).cloned().ok_or_else(|| {
            let number = number.map(|number| format!(" #{number}")).unwrap_or_default();
            Failure::new(format!("service \"{service}\"{number} has no container: it is not running"))
        })
    }

    /// Carries out a plan, and shows it. The first control-C lets what is under way come to its end, the second ends this program.
    pub(super) async fn carry_out(&self, plan: Plan, how: How) -> Result<(), Failure> {
        if plan.is_empty() {
            return Ok(());
        }
        let stop = Arc::new(AtomicBool::new(false));
        let (engine, project, flag) =
            (Arc::clone(&self.engine), Arc::clone(&self.project), Arc::clone(&stop));
        let work = move || {
            let show = Show::new(how.quiet);
            let report = |event: ComposeEvent<'_>| show.event(&event);
            let world = world(&report, flag, how);
            engine.carry_out(&project, &plan, &world)
        };
        let mut working = tokio::task::spawn_blocking(work);
        let ended = loop {
            tokio::select! {
                ended = &mut working => break ended,
                _ = tokio::signal::ctrl_c() => {
                    if stop.swap(true, Ordering::Relaxed) {
                        return Err(Failure::new("").with_code(130));
                    }
                }
            }
        };
        let ended = ended.map_err(|_| Failure::new("the plan ended without a result"))?;
        ended.map_err(|error| {
            let code = if stop.load(Ordering::Relaxed) { 130 } else { 1 };
            Failure::from(error).with_code(code)
        })
    }
}

/// What a plan needs of this program.
pub(super) fn world(
    report: &(dyn Fn(ComposeEvent<'_>) + Sync),
    stop: Arc<AtomicBool>,
    how: How,
) -> ComposeWorld<'_> {
    ComposeWorld {
        registries: &|name: &Reference| {
            registry(name.domain(), false).map_err(|failure| failure.message().to_owned().into())
        },
        variable: &|name| std::env::var(name).ok(),
        report,
        stop,
        no_cache: how.no_cache,
        renew_volumes: how.renew_volumes,
    }
}

pub(super) fn label<'a>(container: &'a Container, name: &str) -> &'a str {
    container.options.labels.get(name).map_or("", String::as_str)
}

pub(super) fn service_of(container: &Container) -> &str {
    label(container, COMPOSE_SERVICE)
}
