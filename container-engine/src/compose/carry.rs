//! A plan carried out: steps that do not wait for each other side by side.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use compose_model::Project;
use compose_model::plan::{Action, Condition, Plan};

use super::recreate::{old_name, take_over};
use super::{ComposeEvent, ComposeWorld, refused};
use crate::containers::Phase;
use crate::{Engine, Error, RemoveOptions};

/// So many steps are under way at most.
const WORKERS: usize = 8;
/// How often a container is looked at while somebody waits for its health: nothing tells of it.
const LOOK: Duration = Duration::from_millis(100);

/// What has been done of a plan.
#[derive(Default)]
struct Progress {
    begun: BTreeSet<usize>,
    done: BTreeSet<usize>,
    failed: Option<Error>,
}

impl Engine {
    /// Carries out a plan of [`compose_model`]. Blocks the calling thread, and starts threads of its own: steps that do not wait
    /// for each other run side by side.
    ///
    /// The first step that fails ends it: those that are under way are waited for, no other one begins. What was done stays; a plan made anew
    /// goes on from there. The same holds when the process is killed.
    ///
    /// # Errors
    ///
    /// [`Error::ExternalMissing`] before anything is done, [`Error::ComposeKey`] for a key that the engine cannot do, [`Error::Stopped`], and what
    /// the engine's own calls say.
    pub fn carry_out(&self, project: &Project, plan: &Plan, world: &ComposeWorld<'_>) -> Result<(), Error> {
        if plan
            .steps
            .iter()
            .any(|step| matches!(step.action, Action::Create { .. } | Action::Recreate { .. }))
        {
            self.check_externals(project)?;
            check_ports(project, plan)?;
        }
        let state = Mutex::new(Progress::default());
        let changed = Condvar::new();
        std::thread::scope(|scope| {
            for _ in 0..WORKERS.min(plan.steps.len()) {
                scope.spawn(|| self.work(project, plan, world, &state, &changed));
            }
        });
        let progress = state.into_inner().unwrap_or_else(PoisonError::into_inner);
        match progress.failed {
            Some(error) => Err(error),
            None if progress.done.len() < plan.steps.len() => Err(Error::Stopped),
            None => Ok(()),
        }
    }

    /// Takes one step after the other, until there is none left.
    fn work(
        &self,
        project: &Project,
        plan: &Plan,
        world: &ComposeWorld<'_>,
        state: &Mutex<Progress>,
        changed: &Condvar,
    ) {
        let lock = || state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let Some(step) = next(plan, world, lock(), changed) else { return };
            let Some(action) = plan.steps.get(step).map(|step| &step.action) else { return };
            (world.report)(ComposeEvent::Begin { step, action });
            let outcome = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .map_err(Error::io("start a runtime for", "a step"))
                .and_then(|runtime| runtime.block_on(self.act(project, action, step, world)));
            match &outcome {
                Ok(()) => (world.report)(ComposeEvent::Done { step, action }),
                Err(error) => (world.report)(ComposeEvent::Failed { step, action, error }),
            }
            let mut progress = lock();
            match outcome {
                Ok(()) => {
                    progress.done.insert(step);
                }
                // the first is the one to report
                Err(error) => {
                    progress.failed.get_or_insert(error);
                }
            }
            drop(progress);
            changed.notify_all();
        }
    }

    async fn act(
        &self,
        project: &Project,
        action: &Action,
        step: usize,
        world: &ComposeWorld<'_>,
    ) -> Result<(), Error> {
        match action {
            Action::CreateNetwork { key, name } => self.make_project_network(project, key, name).await,
            Action::CreateVolume { key, name } => self.make_project_volume(project, key, name).await,
            Action::Pull { image } => self.pull_for_project(project, image, step, world).await,
            Action::Build { service, image } => self.build_for_project(project, service, image, step, world),
            Action::Create { service, number, name, .. } => {
                self.make(project, service, *number, name, &[], world).await.map(drop)
            }
            Action::Recreate { service, number, id, name, timeout, .. } => {
                self.stop(id, *timeout).await?;
                let old = self.container(id).await?;
                self.rename_container(id, &old_name(id, name)).await?;
                let keep = if world.renew_volumes { Vec::new() } else { self.anonymous(&old).await };
                if let Err(error) = self.make(project, service, *number, name, &keep, world).await {
                    // the old one is what there is
                    let _ = self.rename_container(id, name).await;
                    return Err(error);
                }
                self.remove_container(id, RemoveOptions { force: true, volumes: true }).await
            }
            Action::Start { name, .. } => match self.container(name).await?.phase {
                Phase::Running { paused: true, .. } => self.unpause(name).await,
                phase if phase.is_running() => Ok(()),
                _ => self.start(name).await,
            },
            Action::WaitFor { service, condition } => {
                self.wait_for(project, service, *condition, world).await
            }
            Action::Restart { id, timeout, .. } => {
                self.stop(id, *timeout).await?;
                self.start(id).await
            }
            Action::Stop { id, timeout, .. } => gone(self.stop(id, *timeout).await),
            Action::Remove { id, .. } => {
                gone(self.remove_container(id, RemoveOptions { force: true, volumes: true }).await)
            }
            Action::RemoveNetwork { name } => match self.remove_network(name).await {
                Err(Error::NetworkMissing(_)) => Ok(()),
                outcome => outcome,
            },
            Action::RemoveVolume { name } => match self.remove_volume(name).await {
                Err(Error::Volume(container_volume::Error::NotFound { .. })) => Ok(()),
                outcome => outcome,
            },
            Action::RemoveImage { image } => match self.remove_image(image, true).await {
                Err(Error::Image(container_image::Error::ImageMissing(_))) => Ok(()),
                outcome => outcome.map(drop),
            },
            other => Err(Error::ComposeKey {
                key: other.to_string(),
                reason: "this step is not known here".to_owned(),
            }),
        }
    }

    /// Makes a container of a service and gives it its places in networks; it takes over the volumes of `keep`.
    pub(super) async fn make(
        &self,
        project: &Project,
        service: &str,
        number: u32,
        name: &str,
        keep: &[(std::path::PathBuf, String)],
        world: &ComposeWorld<'_>,
    ) -> Result<String, Error> {
        let mut wanted = self.container_of_service(project, service, number, world)?;
        wanted.options.name = Some(name.to_owned());
        take_over(&mut wanted.options, keep);
        let id = self.create_container(wanted.options).await?;
        for (network, endpoint) in &wanted.further {
            if let Err(error) = self.connect(network, &id, endpoint).await {
                let _ = self.remove_container(&id, RemoveOptions { force: true, volumes: false }).await;
                return Err(error);
            }
        }
        Ok(id)
    }

    async fn wait_for(
        &self,
        project: &Project,
        service: &str,
        condition: Condition,
        world: &ComposeWorld<'_>,
    ) -> Result<(), Error> {
        for name in self.containers_of_service(&project.name, service)? {
            loop {
                if world.stop.load(Ordering::Relaxed) {
                    return Err(Error::Stopped);
                }
                let container = self.container(&name).await?;
                let failed =
                    |reason: String| refused(service, "depends_on", format!("container {name} {reason}"));
                match (condition, &container.phase) {
                    (Condition::Completed, Phase::Exited(exit)) if exit.code == 0 => break,
                    (Condition::Completed, Phase::Exited(exit)) => {
                        return Err(failed(format!("ended with {}, not with 0", exit.code)));
                    }
                    (Condition::Started | Condition::Healthy, Phase::Exited(exit)) => {
                        return Err(failed(format!("ended with {} before it was ready", exit.code)));
                    }
                    (Condition::Started, phase) if phase.is_running() => break,
                    (Condition::Healthy, Phase::Running { health, .. }) => {
                        match health.as_ref().map(|health| health.status.name()) {
                            Some("healthy") => break,
                            Some("unhealthy") => return Err(failed("is unhealthy".to_owned())),
                            Some(_) => {}
                            None => return Err(failed("has no health check".to_owned())),
                        }
                    }
                    _ => {}
                }
                tokio::time::sleep(LOOK).await;
            }
        }
        Ok(())
    }
}

/// The next step that can begin; waits for one, and none when there will be none.
fn next(
    plan: &Plan,
    world: &ComposeWorld<'_>,
    mut progress: MutexGuard<'_, Progress>,
    changed: &Condvar,
) -> Option<usize> {
    loop {
        if progress.failed.is_some()
            || world.stop.load(Ordering::Relaxed)
            || progress.begun.len() == plan.steps.len()
        {
            return None;
        }
        let ready = plan.steps.iter().enumerate().find(|(at, step)| {
            !progress.begun.contains(at) && step.after.iter().all(|before| progress.done.contains(before))
        });
        if let Some((at, _)) = ready {
            progress.begun.insert(at);
            return Some(at);
        }
        // with a limit, so that a stop is seen
        let waited = changed.wait_timeout(progress, LOOK);
        progress = waited.map_or_else(|poisoned| poisoned.into_inner().0, |(progress, _)| progress);
    }
}

/// One host's port cannot be two containers'.
fn check_ports(project: &Project, plan: &Plan) -> Result<(), Error> {
    for (name, service) in project.services.iter() {
        let made = plan.steps.iter().filter(|step| {
            matches!(&step.action, Action::Create { service, .. } | Action::Recreate { service, .. } if service == name)
        });
        let made = made.count();
        for (at, port) in service.ports.iter().enumerate() {
            if let Some(text) =
                port.published.as_deref().filter(|text| made > 1 && !text.contains('-') && *text != "0")
            {
                let reason = format!(
                    "port {text} of the host cannot be published for {made} containers: leave it out, or give a range"
                );
                return Err(refused(name, &format!("ports[{at}].published"), reason));
            }
        }
    }
    Ok(())
}

/// What is to go may be gone already.
fn gone(outcome: Result<(), Error>) -> Result<(), Error> {
    match outcome {
        Err(Error::ContainerMissing(_)) => Ok(()),
        outcome => outcome,
    }
}
