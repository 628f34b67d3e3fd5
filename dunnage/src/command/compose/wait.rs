use clap::Args;
use container_engine::{COMPOSE_PROJECT, COMPOSE_SERVICE};
use serde_json::json;

use super::session::{How, Session, service_of};
use crate::context::{Failure, print};

#[derive(Debug, Args)]
pub(crate) struct Wait {
    /// Take the project down when the first has ended
    #[arg(long)]
    down_project: bool,
    /// Services
    #[arg(required = true)]
    services: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Events {
    /// A line of JSON each
    #[arg(long)]
    json: bool,
    /// Services; all if none is given
    services: Vec<String>,
}

impl Wait {
    pub(super) async fn run(self, session: &Session) -> Result<u8, Failure> {
        session.check(&self.services)?;
        let containers = session.containers(&self.services).await?;
        if containers.is_empty() {
            return Err(Failure::new(format!("no container of {} is there", self.services.join(", "))));
        }
        let mut code = 0;
        for container in &containers {
            let exit = session.engine.wait(&container.id).await?;
            print(format_args!("container {:?} exited with status code {}", container.name, exit.code))?;
            code = exit.code as u8;
            if self.down_project {
                let plan = compose_model::plan::down(
                    &session.project,
                    &session.observe().await?,
                    &compose_model::plan::DownOptions::default(),
                );
                session.carry_out(plan, How::default()).await?;
                break;
            }
        }
        Ok(code)
    }
}

impl Events {
    pub(super) async fn run(self, session: &Session) -> Result<u8, Failure> {
        session.check(&self.services)?;
        let now = container_engine::now();
        let mut events = session.engine.events().await?;
        loop {
            let event = events.next().await?;
            if event.kind != "container" || event.time < now {
                continue;
            }
            // one that is gone tells no more of whose it was
            let Ok(container) = session.engine.container(&event.id).await else { continue };
            let labels = &container.options.labels;
            let is_ours = labels.get(COMPOSE_PROJECT).is_some_and(|name| *name == session.project.name);
            let service = service_of(&container);
            if !is_ours || !(self.services.is_empty() || self.services.iter().any(|name| name == service)) {
                continue;
            }
            if self.json {
                print(json!({
                    "time": event.time, "type": event.kind, "action": event.action, "id": event.id,
                    "service": labels.get(COMPOSE_SERVICE), "attributes": event.attributes,
                }))?;
            } else {
                print(format_args!(
                    "{} container {} {} (image={}, name={})",
                    event.time, event.action, event.id, container.image, container.name
                ))?;
            }
        }
    }
}
