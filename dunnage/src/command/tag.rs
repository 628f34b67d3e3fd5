use clap::Args;
use container_engine::Reference;

use crate::context::{Failure, Roots};

#[derive(Debug, Args)]
pub(crate) struct Tag {
    /// Image: name or id
    image: String,
    /// Its further name
    name: Reference,
}

impl Tag {
    pub(crate) async fn run(self, roots: &Roots) -> Result<u8, Failure> {
        roots.engine().await?.tag_image(&self.image, &self.name).await?;
        Ok(0)
    }
}
