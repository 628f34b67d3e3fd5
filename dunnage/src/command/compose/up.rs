use std::time::{Duration, SystemTime};

use clap::{Args, ValueEnum};
use compose_model::plan::{self, PlanOptions, Recreate, When};
use container_engine::{Container, Phase, Signal};

use super::logs::{Shown, follow};
use super::session::{How, Session, service_of};
use crate::context::Failure;
use crate::human::plain;

#[derive(Debug, Args)]
pub(crate) struct Up {
    /// Leave them in the background
    #[arg(short, long, conflicts_with_all = ["abort_on_container_exit", "exit_code_from", "attach"])]
    detach: bool,
    /// Go on until all run and are healthy, and leave them in the background
    #[arg(long)]
    wait: bool,
    /// Stop all when one ends
    #[arg(long)]
    abort_on_container_exit: bool,
    /// End with the code of this service's container; stops all when one ends
    #[arg(long, value_name = "SERVICE")]
    exit_code_from: Option<String>,
    /// Show the output of these services only
    #[arg(long, value_name = "SERVICE")]
    attach: Vec<String>,
    /// Do not show the output of these services
    #[arg(long, value_name = "SERVICE")]
    no_attach: Vec<String>,
    /// Show output without names before it
    #[arg(long)]
    no_log_prefix: bool,
    /// Show names without colours
    #[arg(long)]
    no_color: bool,
    /// Show when each line was written
    #[arg(long)]
    timestamps: bool,
    /// Make containers, and start none
    #[arg(long, conflicts_with = "wait")]
    no_start: bool,
    /// Leave alone what the services depend on
    #[arg(long)]
    no_deps: bool,
    #[command(flatten)]
    making: Making,
    /// Services; all if none is given
    services: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Create {
    #[command(flatten)]
    making: Making,
    /// Services; all if none is given
    services: Vec<String>,
}

/// What `up` and `create` say alike.
#[derive(Debug, Args)]
struct Making {
    /// Build images first
    #[arg(long)]
    build: bool,
    /// Build no image, even if it is missing
    #[arg(long, conflicts_with = "build")]
    no_build: bool,
    /// When images are fetched
    #[arg(long, value_enum, value_name = "WHEN")]
    pull: Option<Pull>,
    /// Make containers anew even if nothing changed
    #[arg(long, conflicts_with = "no_recreate")]
    force_recreate: bool,
    /// Keep containers even if something changed
    #[arg(long)]
    no_recreate: bool,
    /// Make anonymous volumes anew with their containers
    #[arg(short = 'V', long)]
    renew_anon_volumes: bool,
    /// Remove containers of services that are no longer in the project
    #[arg(long)]
    remove_orphans: bool,
    /// So many containers of a service
    #[arg(long, value_name = "SERVICE=NUMBER")]
    scale: Vec<String>,
    /// Seconds that containers have to stop
    #[arg(short, long, value_name = "SECONDS")]
    timeout: Option<u64>,
    /// Say nothing of what is done
    #[arg(long)]
    quiet: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Pull {
    /// Before anything else
    Always,
    /// If it is not here
    Missing,
    /// Not at all
    Never,
    /// As each service says
    Policy,
}

impl Making {
    fn options(&self, session: &Session, services: &[String]) -> Result<PlanOptions, Failure> {
        session.check(services)?;
        let mut options = PlanOptions {
            recreate: match (self.force_recreate, self.no_recreate) {
                (true, _) => Recreate::Force,
                (_, true) => Recreate::Never,
                _ => Recreate::Diverged,
            },
            remove_orphans: self.remove_orphans,
            services: services.to_vec(),
            pull: match self.pull {
                Some(Pull::Always) => When::Always,
                Some(Pull::Never) => When::Never,
                _ => When::Missing,
            },
            build: match (self.build, self.no_build) {
                (true, _) => When::Always,
                (_, true) => When::Never,
                _ => When::Missing,
            },
            timeout: self.timeout.map(Duration::from_secs),
            ..PlanOptions::default()
        };
        for text in &self.scale {
            let wrong = || Failure::new(format!("--scale {text}: the form is SERVICE=NUMBER"));
            let (service, number) = text.split_once('=').ok_or_else(wrong)?;
            session.check(&[service.to_owned()])?;
            options.scale.insert(service, number.parse().map_err(|_| wrong())?);
        }
        Ok(options)
    }

    async fn carry_out(&self, session: &Session, options: &PlanOptions) -> Result<(), Failure> {
        let there = session.observe().await?;
        let mut plan = plan::plan(&session.project, &there, options);
        for orphan in &plan.orphans {
            Failure::new(format!(
                "container {} is of a service that is no longer in the project: --remove-orphans removes it",
                plain(orphan)
            ))
            .print();
        }
        let how = How { quiet: self.quiet, no_cache: false, renew_volumes: self.renew_anon_volumes };
        // an image that is new makes containers new, which only shows when it is there
        let images =
            |action: &plan::Action| matches!(action, plan::Action::Pull { .. } | plan::Action::Build { .. });
        if plan.steps.iter().any(|step| images(&step.action)) {
            let mut first = plan.clone();
            first.steps.retain(|step| images(&step.action));
            first.steps.iter_mut().for_each(|step| step.after.clear());
            session.carry_out(first, how).await?;
            let there = session.observe().await?;
            let rest = PlanOptions { pull: When::Never, build: When::Never, ..options.clone() };
            plan = plan::plan(&session.project, &there, &rest);
        }
        session.carry_out(plan, how).await
    }
}

impl Create {
    pub(super) async fn run(self, session: &Session) -> Result<u8, Failure> {
        let options = PlanOptions { no_start: true, ..self.making.options(session, &self.services)? };
        self.making.carry_out(session, &options).await.map(|()| 0)
    }
}

impl Up {
    pub(super) async fn run(self, session: &Session) -> Result<u8, Failure> {
        for service in self.attach.iter().chain(&self.no_attach).chain(&self.exit_code_from) {
            session.check(std::slice::from_ref(service))?;
        }
        let options = PlanOptions {
            no_dependencies: self.no_deps,
            no_start: self.no_start,
            wait: self.wait,
            ..self.making.options(session, &self.services)?
        };
        let begin = SystemTime::now();
        self.making.carry_out(session, &options).await?;
        if self.detach || self.wait || self.no_start {
            return Ok(0);
        }
        self.attached(session, begin).await
    }

    /// Shows the output until all have ended or the person has enough.
    async fn attached(&self, session: &Session, begin: SystemTime) -> Result<u8, Failure> {
        let containers = session.containers(&self.services).await?;
        let shown = |container: &&Container| {
            let service = service_of(container);
            let named = |list: &[String]| list.iter().any(|name| name == service);
            let asked =
                session.project.services.get(service).and_then(|service| service.attach) != Some(false);
            if self.attach.is_empty() { asked && !named(&self.no_attach) } else { named(&self.attach) }
        };
        let shown: Vec<Container> = containers.iter().filter(shown).cloned().collect();
        let how = Shown {
            prefix: !self.no_log_prefix,
            color: !self.no_color,
            timestamps: self.timestamps,
            since: Some(begin),
            tail: None,
            follow: true,
        };
        let aborts = self.abort_on_container_exit || self.exit_code_from.is_some();
        let enough = async {
            tokio::select! {
                ended = end(session, &containers, aborts) => ended.map(|first| (first, false)),
                _ = tokio::signal::ctrl_c() => Ok((None, true)),
            }
        };
        let mut following = std::pin::pin!(follow(session, &shown, &how));
        let mut enough = std::pin::pin!(enough);
        let mut followed = false;
        let (first, interrupted) = loop {
            tokio::select! {
                ended = &mut following, if !followed => {
                    ended?;
                    followed = true;
                }
                ended = &mut enough => break ended?,
            }
        };
        if interrupted || aborts {
            self.stop(session).await?;
        }
        if !followed {
            // what was written last
            following.await?;
        }
        if interrupted {
            return Ok(130);
        }
        let Some(service) = &self.exit_code_from else {
            return Ok(if aborts { first.unwrap_or(0) } else { 0 });
        };
        Ok(exit_code(session, &session.container(service, None).await?).await?.unwrap_or(0))
    }

    /// Stops all; one more control-C kills.
    async fn stop(&self, session: &Session) -> Result<(), Failure> {
        let there = session.observe().await?;
        let plan = plan::stop(
            &session.project,
            &there,
            &self.services,
            self.making.timeout.map(Duration::from_secs),
        );
        let stopping = session.carry_out(plan, How { quiet: self.making.quiet, ..How::default() });
        tokio::select! {
            stopped = stopping => stopped,
            _ = tokio::signal::ctrl_c() => {
                let kill: Signal = "SIGKILL".parse().map_err(Failure::new)?;
                for container in session.containers(&self.services).await? {
                    if container.phase.is_running() {
                        session.engine.kill(&container.id, kill).await?;
                    }
                }
                Ok(())
            }
        }
    }
}

/// Waits until the first of some containers has ended, which gives its code, or all have.
async fn end(session: &Session, containers: &[Container], first: bool) -> Result<Option<u8>, Failure> {
    loop {
        let mut open = 0;
        for container in containers {
            match exit_code(session, container).await? {
                Some(code) if first => return Ok(Some(code)),
                Some(_) => {}
                None => open += 1,
            }
        }
        if open == 0 {
            return Ok(None);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// The code of a container that has ended, and will not be started again; 0 for one that is gone.
async fn exit_code(session: &Session, container: &Container) -> Result<Option<u8>, Failure> {
    match session.engine.container(&container.id).await {
        Ok(Container { phase: Phase::Exited(exit), .. }) => Ok(Some(exit.code as u8)),
        Ok(_) => Ok(None),
        Err(container_engine::Error::ContainerMissing(_)) => Ok(Some(0)),
        Err(error) => Err(error.into()),
    }
}
