use clap::Args;
use container_engine::RemoveOptions;

use crate::command::options::ContainerArgs;
use crate::command::pull::ensure;
use crate::command::run::write_id;
use crate::context::{Failure, Roots, print};

#[derive(Debug, Args)]
pub(crate) struct Create {
    #[command(flatten)]
    container: ContainerArgs,
}

impl Create {
    pub(crate) async fn run(self, roots: &Roots) -> Result<u8, Failure> {
        let engine = roots.engine().await?;
        let options = self.container.options()?;
        ensure(&engine, self.container.image(), self.container.pull).await?;
        let id = engine.create_container(options).await?;
        if let Err(failure) = write_id(&self.container, &id) {
            engine.remove_container(&id, RemoveOptions { force: true, volumes: true }).await?;
            return Err(failure);
        }
        print(id)?;
        Ok(0)
    }
}
