use clap::Args;
use container_engine::Signal;

use crate::context::{Failure, Roots, each};

#[derive(Debug, Args)]
pub(crate) struct Kill {
    /// Signal, by name or number
    #[arg(short, long, default_value = "KILL")]
    signal: String,
    /// Containers
    #[arg(required = true)]
    containers: Vec<String>,
}

impl Kill {
    pub(crate) async fn run(self, roots: &Roots) -> Result<u8, Failure> {
        let signal: Signal = self.signal.parse().map_err(Failure::new)?;
        let engine = roots.engine().await?;
        each(&self.containers, |name| {
            let engine = &engine;
            async move {
                engine.kill(&name, signal).await?;
                Ok(name)
            }
        })
        .await
    }
}
