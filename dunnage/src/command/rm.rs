use clap::Args;
use container_engine::RemoveOptions;

use crate::context::{Failure, Roots, each};

#[derive(Debug, Args)]
pub(crate) struct Rm {
    /// Kill a container that runs
    #[arg(short, long)]
    force: bool,
    /// Remove its anonymous volumes too
    #[arg(short, long)]
    volumes: bool,
    /// Containers
    #[arg(required = true)]
    containers: Vec<String>,
}

impl Rm {
    pub(crate) async fn run(self, roots: &Roots) -> Result<u8, Failure> {
        let engine = roots.engine().await?;
        let options = RemoveOptions { force: self.force, volumes: self.volumes };
        each(&self.containers, |name| {
            let engine = &engine;
            async move {
                engine.remove_container(&name, options).await?;
                Ok(name)
            }
        })
        .await
    }
}
