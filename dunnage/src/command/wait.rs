use clap::Args;

use crate::context::{Failure, Roots, each};

#[derive(Debug, Args)]
pub(crate) struct Wait {
    /// Containers
    #[arg(required = true)]
    containers: Vec<String>,
}

impl Wait {
    pub(crate) async fn run(self, roots: &Roots) -> Result<u8, Failure> {
        let engine = roots.engine().await?;
        each(&self.containers, |name| {
            let engine = &engine;
            async move { Ok(engine.wait(&name).await?.code.to_string()) }
        })
        .await
    }
}
