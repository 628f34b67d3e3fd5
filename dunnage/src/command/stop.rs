use std::time::Duration;

use clap::Args;

use crate::context::{Failure, Roots, each};

#[derive(Debug, Args)]
pub(crate) struct Stop {
    /// Seconds until it is killed; the container's own, or 10
    #[arg(short, long, visible_alias = "timeout", value_name = "SECONDS")]
    time: Option<u64>,
    /// Containers
    #[arg(required = true)]
    containers: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Restart {
    /// Seconds until it is killed; the container's own, or 10
    #[arg(short, long, visible_alias = "timeout", value_name = "SECONDS")]
    time: Option<u64>,
    /// Containers
    #[arg(required = true)]
    containers: Vec<String>,
}

impl Stop {
    pub(crate) async fn run(self, roots: &Roots) -> Result<u8, Failure> {
        let engine = roots.engine().await?;
        each(&self.containers, |name| {
            let engine = &engine;
            async move {
                engine.stop(&name, self.time.map(Duration::from_secs)).await?;
                Ok(name)
            }
        })
        .await
    }
}

impl Restart {
    pub(crate) async fn run(self, roots: &Roots) -> Result<u8, Failure> {
        let engine = roots.engine().await?;
        each(&self.containers, |name| {
            let engine = &engine;
            async move {
                engine.stop(&name, self.time.map(Duration::from_secs)).await?;
                engine.start(&name).await?;
                Ok(name)
            }
        })
        .await
    }
}
