use std::time::Duration;

use clap::Args;
use compose_model::plan;
use container_engine::{RemoveOptions, Signal};

use super::session::{How, Session};
use crate::context::{Failure, print};

#[derive(Debug, Args)]
pub(crate) struct Start {
    /// Services; all if none is given
    services: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Stop {
    /// Seconds that containers have to stop
    #[arg(short, long, value_name = "SECONDS")]
    timeout: Option<u64>,
    /// Services; all if none is given
    services: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Restart {
    /// Seconds that containers have to stop
    #[arg(short, long, value_name = "SECONDS")]
    timeout: Option<u64>,
    /// Services; all if none is given
    services: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Kill {
    /// The signal
    #[arg(short, long, default_value = "SIGKILL", value_name = "SIGNAL")]
    signal: String,
    /// Services; all if none is given
    services: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Pause {
    /// Services; all if none is given
    services: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Unpause {
    /// Services; all if none is given
    services: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Rm {
    /// Do not ask
    #[arg(short, long)]
    force: bool,
    /// Stop them first
    #[arg(short, long)]
    stop: bool,
    /// Their anonymous volumes go too
    #[arg(short, long)]
    volumes: bool,
    /// Services; all if none is given
    services: Vec<String>,
}

impl Start {
    pub(super) async fn run(self, session: &Session) -> Result<u8, Failure> {
        session.check(&self.services)?;
        if session.containers(&self.services).await?.is_empty() {
            return Err(Failure::new("there is no container to start: `up` makes them"));
        }
        let plan = plan::start(&session.project, &session.observe().await?, &self.services);
        session.carry_out(plan, How::default()).await.map(|()| 0)
    }
}

impl Stop {
    pub(super) async fn run(self, session: &Session) -> Result<u8, Failure> {
        session.check(&self.services)?;
        let timeout = self.timeout.map(Duration::from_secs);
        let plan = plan::stop(&session.project, &session.observe().await?, &self.services, timeout);
        session.carry_out(plan, How::default()).await.map(|()| 0)
    }
}

impl Restart {
    pub(super) async fn run(self, session: &Session) -> Result<u8, Failure> {
        session.check(&self.services)?;
        let timeout = self.timeout.map(Duration::from_secs);
        let plan = plan::restart(&session.project, &session.observe().await?, &self.services, timeout);
        session.carry_out(plan, How::default()).await.map(|()| 0)
    }
}

impl Kill {
    pub(super) async fn run(self, session: &Session) -> Result<u8, Failure> {
        session.check(&self.services)?;
        let signal: Signal = self.signal.parse().map_err(Failure::new)?;
        for container in session.containers(&self.services).await? {
            if container.phase.is_running() {
                session.engine.kill(&container.id, signal).await?;
                print(&container.name)?;
            }
        }
        Ok(0)
    }
}

impl Pause {
    pub(super) async fn run(self, session: &Session) -> Result<u8, Failure> {
        session.check(&self.services)?;
        for container in session.containers(&self.services).await? {
            if container.phase.name() == "running" {
                session.engine.pause(&container.id).await?;
                print(&container.name)?;
            }
        }
        Ok(0)
    }
}

impl Unpause {
    pub(super) async fn run(self, session: &Session) -> Result<u8, Failure> {
        session.check(&self.services)?;
        for container in session.containers(&self.services).await? {
            if container.phase.name() == "paused" {
                session.engine.unpause(&container.id).await?;
                print(&container.name)?;
            }
        }
        Ok(0)
    }
}

impl Rm {
    pub(super) async fn run(self, session: &Session) -> Result<u8, Failure> {
        session.check(&self.services)?;
        let mut containers = session.containers(&self.services).await?;
        if !self.stop {
            containers.retain(|container| !container.phase.is_running());
        }
        if containers.is_empty() {
            return print("No stopped containers").map(|()| 0);
        }
        let names: Vec<&str> = containers.iter().map(|container| container.name.as_str()).collect();
        if !self.force && !crate::command::image::confirmed(&names.join(", "))? {
            return Ok(0);
        }
        for container in &containers {
            if self.stop {
                session.engine.stop(&container.id, None).await?;
            }
            let options = RemoveOptions { force: false, volumes: self.volumes };
            session.engine.remove_container(&container.id, options).await?;
            print(&container.name)?;
        }
        Ok(0)
    }
}
