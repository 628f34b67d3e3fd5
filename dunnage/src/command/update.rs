use clap::Args;
use container_engine::RestartPolicy;

use crate::command::resources::ResourceArgs;
use crate::context::{Failure, Roots, each};

#[derive(Debug, Args)]
pub(crate) struct Update {
    #[command(flatten)]
    resources: ResourceArgs,
    /// no, on-failure[:N], always, unless-stopped
    #[arg(long, value_name = "POLICY")]
    restart: Option<RestartPolicy>,
    /// Containers
    #[arg(required = true)]
    containers: Vec<String>,
}

impl Update {
    pub(crate) async fn run(self, roots: &Roots) -> Result<u8, Failure> {
        let engine = roots.engine().await?;
        let resources = self.resources.resources();
        each(&self.containers, |name| {
            let (engine, resources, restart) = (&engine, &resources, self.restart.clone());
            async move {
                engine.update_container(&name, resources, restart).await?;
                Ok(name)
            }
        })
        .await
    }
}
