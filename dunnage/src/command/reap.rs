use clap::Args;
use container_engine::{Error, RemoveOptions};

use crate::context::{Failure, Roots};

#[derive(Debug, Args)]
pub(crate) struct Reap {
    /// The container's id
    container: String,
}

impl Reap {
    pub(crate) async fn run(self, roots: &Roots) -> Result<u8, Failure> {
        let engine = roots.engine().await?;
        // the monitor that called has still to let go
        match engine.wait(&self.container).await {
            Ok(_) | Err(Error::ContainerMissing(_)) => {}
            Err(error) => return Err(error.into()),
        }
        match engine.container(&self.container).await {
            // it stays, without its mounts on the host
            Ok(container) if !container.options.auto_remove => {
                engine.tidy_container(&self.container).await?;
                return Ok(0);
            }
            _ => {}
        }
        match engine.remove_container(&self.container, RemoveOptions { force: false, volumes: true }).await {
            Ok(()) | Err(Error::ContainerMissing(_)) => Ok(0),
            Err(error) => Err(error.into()),
        }
    }
}
