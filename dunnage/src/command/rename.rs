use clap::Args;

use crate::context::{Failure, Roots};

#[derive(Debug, Args)]
pub(crate) struct Rename {
    /// Container
    container: String,
    /// Its new name
    name: String,
}

impl Rename {
    pub(crate) async fn run(self, roots: &Roots) -> Result<u8, Failure> {
        roots.engine().await?.rename_container(&self.container, &self.name).await?;
        Ok(0)
    }
}
