use std::io::IsTerminal as _;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clap::Args;
use compose_model::plan::{self, Action, Plan, PlanOptions};
use container_engine::{ComposeEvent, MountSpec, OneOff, parse_published};

use super::session::{How, Session, world};
use crate::command::options::{environment, pairs};
use crate::command::run::{failed, remove};
use crate::context::{Failure, print};
use crate::terminal::{Join, Left, join};

#[derive(Debug, Args)]
pub(crate) struct Run {
    /// Run it in the background, and print its name
    #[arg(short, long)]
    detach: bool,
    /// Remove it when it ends
    #[arg(long)]
    rm: bool,
    /// Its name
    #[arg(long)]
    name: Option<String>,
    /// In place of the service's entry point
    #[arg(long, value_name = "COMMAND")]
    entrypoint: Option<String>,
    /// Set an environment variable
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    env: Vec<String>,
    /// Set a label
    #[arg(short, long, value_name = "KEY[=VALUE]")]
    label: Vec<String>,
    /// Leave alone what the service depends on
    #[arg(long)]
    no_deps: bool,
    /// Publish a port
    #[arg(short, long, value_name = "PORT")]
    publish: Vec<String>,
    /// Publish the service's own ports
    #[arg(short = 'P', long)]
    service_ports: bool,
    /// Give it the service's names in its networks
    #[arg(long)]
    use_aliases: bool,
    /// Mount a volume or a directory of the host
    #[arg(short, long, value_name = "VOLUME")]
    volume: Vec<String>,
    /// User, as name or number, and group
    #[arg(short, long, value_name = "USER[:GROUP]")]
    user: Option<String>,
    /// Working directory
    #[arg(short, long, value_name = "DIR")]
    workdir: Option<String>,
    /// Give it no terminal
    #[arg(short = 'T', long)]
    no_tty: bool,
    /// Build its image first
    #[arg(long)]
    build: bool,
    /// Say nothing of what is done before
    #[arg(long)]
    quiet: bool,
    /// Service, and perhaps a command with its arguments
    #[arg(required = true, trailing_var_arg = true, value_name = "SERVICE [COMMAND]")]
    words: Vec<String>,
}

impl Run {
    pub(super) async fn run(self, session: &Session) -> Result<u8, Failure> {
        let service = self.words.first().cloned().unwrap_or_default();
        session.check(std::slice::from_ref(&service))?;
        let options = PlanOptions {
            services: vec![service.clone()],
            no_dependencies: self.no_deps,
            build: if self.build { plan::When::Always } else { plan::When::Missing },
            ..PlanOptions::default()
        };
        let plan = plan::plan(&session.project, &session.observe().await?, &options);
        let how = How { quiet: self.quiet, ..How::default() };
        session.carry_out(before(&plan, &service), how).await?;
        let terminal = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
        let tty = terminal && !self.no_tty && !self.detach;
        let one_off = self.one_off(tty)?;
        let report = |_: ComposeEvent<'_>| {};
        let world = world(&report, Arc::new(AtomicBool::new(false)), how);
        let id = session.engine.create_one_off(&session.project, &service, one_off, &world).await?;
        if self.detach {
            return match session.engine.start(&id).await {
                Ok(()) => print(session.engine.container(&id).await?.name).map(|()| 0),
                Err(error) => Err(failed(&session.engine, &id, error, self.rm).await),
            };
        }
        let attachment = match session.engine.start_attached(&id).await {
            Ok(attachment) => attachment,
            Err(error) => return Err(failed(&session.engine, &id, error, self.rm).await),
        };
        let code = match join(attachment, &Join { input: true, tty, proxy: true }).await? {
            Left::Detached => return Ok(0),
            Left::Exited(code) => code,
            Left::Closed => session.engine.wait(&id).await?.code as u8,
        };
        if self.rm {
            remove(&session.engine, &id).await?;
        }
        Ok(code)
    }

    fn one_off(&self, tty: bool) -> Result<OneOff, Failure> {
        let here = std::env::current_dir()?;
        let mut mounts = Vec::new();
        for text in &self.volume {
            mounts.push(MountSpec::from_volume_flag(text, &here).map_err(container_engine::Error::from)?);
        }
        let mut ports = Vec::new();
        for text in &self.publish {
            ports.extend(parse_published(text)?);
        }
        let command = self.words.get(1..).unwrap_or_default().to_vec();
        let entrypoint =
            self.entrypoint.as_deref().map(compose_model::words).transpose().map_err(Failure::new)?;
        Ok(OneOff {
            // a new entry point drops the service's command
            command: (!command.is_empty() || entrypoint.is_some()).then_some(command),
            entrypoint,
            env: environment(&[], &self.env)?,
            labels: pairs("label", &self.label, true)?,
            name: self.name.clone(),
            user: self.user.clone(),
            working_dir: self.workdir.clone(),
            mounts,
            ports,
            service_ports: self.service_ports,
            use_aliases: self.use_aliases,
            tty,
            stdin_open: !self.detach,
            auto_remove: self.rm,
        })
    }
}

/// The steps of `up` without those of the service's own containers: what it needs to run.
fn before(plan: &Plan, service: &str) -> Plan {
    let own = |action: &Action| match action {
        Action::Create { service: of, .. }
        | Action::Recreate { service: of, .. }
        | Action::Start { service: of, .. } => of == service,
        Action::Stop { .. } | Action::Remove { .. } | Action::Restart { .. } => true,
        _ => false,
    };
    let mut places = Vec::new();
    let mut left = Plan::default();
    for step in &plan.steps {
        if own(&step.action) {
            places.push(None);
            continue;
        }
        let mut step = step.clone();
        step.after = step.after.iter().filter_map(|at| places.get(*at).copied().flatten()).collect();
        places.push(Some(left.steps.len()));
        left.steps.push(step);
    }
    left
}
