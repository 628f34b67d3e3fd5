use clap::Args;
use compose_model::plan::{Action, Plan, Step};
use container_engine::Reference;

use super::session::{How, Session};
use crate::bars::{PUSH, show};
use crate::command::login::registry;
use crate::context::Failure;

#[derive(Debug, Args)]
pub(crate) struct Build {
    /// Carry out every step, whatever was built before
    #[arg(long)]
    no_cache: bool,
    /// A value for ARG, for all services
    #[arg(long = "build-arg", value_name = "NAME=VALUE")]
    arguments: Vec<String>,
    /// Look for newer base images
    #[arg(long)]
    pull: bool,
    /// Say nothing of what is done
    #[arg(short, long)]
    quiet: bool,
    /// Services; all that have a build if none is given
    services: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Pull {
    /// Services with an image to build are passed over when it cannot be fetched
    #[arg(long)]
    ignore_buildable: bool,
    /// What cannot be fetched is said, and is no failure
    #[arg(long)]
    ignore_pull_failures: bool,
    /// Say nothing of what is done
    #[arg(short, long)]
    quiet: bool,
    /// Services; all if none is given
    services: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Push {
    /// What cannot be pushed is said, and is no failure
    #[arg(long)]
    ignore_push_failures: bool,
    /// Say nothing of what is done
    #[arg(short, long)]
    quiet: bool,
    /// Services; all that have a build if none is given
    services: Vec<String>,
}

/// One step for each of these, none after another.
fn side_by_side(actions: impl IntoIterator<Item = Action>) -> Plan {
    let steps = actions.into_iter().map(|action| Step { action, after: Vec::new() });
    Plan { steps: steps.collect(), orphans: Vec::new() }
}

fn meant(services: &[String], name: &str) -> bool {
    services.is_empty() || services.iter().any(|service| service == name)
}

impl Build {
    pub(super) async fn run(self, session: &Session) -> Result<u8, Failure> {
        session.check(&self.services)?;
        let mut project = (*session.project).clone();
        for service in project.services.values_mut() {
            let Some(build) = &mut service.build else { continue };
            if self.pull {
                build.pull = Some(true);
            }
            for argument in &self.arguments {
                let (name, value) = argument
                    .split_once('=')
                    .ok_or_else(|| Failure::new(format!("--build-arg {argument}: the form is NAME=VALUE")))?;
                build.args.0.insert(name, Some(value.to_owned()));
            }
        }
        let actions = project
            .services
            .iter()
            .filter(|(name, service)| meant(&self.services, name) && service.build.is_some());
        let actions: Vec<Action> = actions
            .filter_map(|(name, service)| {
                Some(Action::Build { service: name.to_owned(), image: project.image(name, service)? })
            })
            .collect();
        let session = Session { engine: std::sync::Arc::clone(&session.engine), project: project.into() };
        let how = How { quiet: self.quiet, no_cache: self.no_cache, ..How::default() };
        session.carry_out(side_by_side(actions), how).await.map(|()| 0)
    }
}

impl Pull {
    pub(super) async fn run(self, session: &Session) -> Result<u8, Failure> {
        session.check(&self.services)?;
        let mut images: Vec<&str> = Vec::new();
        for (name, service) in session.project.services.iter() {
            let buildable = service.build.is_some();
            if let Some(image) = service.image.as_deref()
                && meant(&self.services, name)
                && !(buildable && self.ignore_buildable)
                && !images.contains(&image)
            {
                images.push(image);
            }
        }
        let how = How { quiet: self.quiet, ..How::default() };
        if !self.ignore_pull_failures {
            let actions = images.into_iter().map(|image| Action::Pull { image: image.to_owned() });
            return session.carry_out(side_by_side(actions), how).await.map(|()| 0);
        }
        for image in images {
            if let Err(failure) =
                session.carry_out(side_by_side([Action::Pull { image: image.to_owned() }]), how).await
            {
                failure.print();
            }
        }
        Ok(0)
    }
}

impl Push {
    pub(super) async fn run(self, session: &Session) -> Result<u8, Failure> {
        session.check(&self.services)?;
        for (name, service) in session.project.services.iter() {
            let Some(image) =
                service.image.as_deref().filter(|_| service.build.is_some() && meant(&self.services, name))
            else {
                continue;
            };
            let reference: Reference = image.parse().map_err(container_engine::Error::from)?;
            let client = registry(reference.domain(), false)?;
            let pushed = if self.quiet {
                session.engine.push_image(&client, &reference, &|_| {}).await
            } else {
                session.engine.push_image(&client, &reference, &*show(PUSH, std::io::stderr())).await
            };
            match pushed {
                Ok(_) => {}
                Err(error) if self.ignore_push_failures => Failure::from(error).print(),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(0)
    }
}
