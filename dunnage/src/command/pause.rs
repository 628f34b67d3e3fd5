use clap::Args;

use crate::context::{Failure, Roots, each};

#[derive(Debug, Args)]
pub(crate) struct Pause {
    /// Containers
    #[arg(required = true)]
    containers: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Unpause {
    /// Containers
    #[arg(required = true)]
    containers: Vec<String>,
}

impl Pause {
    pub(crate) async fn run(self, roots: &Roots) -> Result<u8, Failure> {
        let engine = roots.engine().await?;
        each(&self.containers, |name| {
            let engine = &engine;
            async move {
                engine.pause(&name).await?;
                Ok(name)
            }
        })
        .await
    }
}

impl Unpause {
    pub(crate) async fn run(self, roots: &Roots) -> Result<u8, Failure> {
        let engine = roots.engine().await?;
        each(&self.containers, |name| {
            let engine = &engine;
            async move {
                engine.unpause(&name).await?;
                Ok(name)
            }
        })
        .await
    }
}
