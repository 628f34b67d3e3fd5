use clap::Args;

use crate::context::{Failure, Roots, each};

#[derive(Debug, Args)]
pub(crate) struct Rmi {
    /// Remove images that have several names, or that containers which do not run use
    #[arg(short, long)]
    force: bool,
    /// Images
    #[arg(required = true)]
    images: Vec<String>,
}

impl Rmi {
    pub(crate) async fn run(self, roots: &Roots) -> Result<u8, Failure> {
        let engine = roots.engine().await?;
        each(&self.images, |name| {
            let engine = &engine;
            async move {
                let removed = engine.remove_image(&name, self.force).await?;
                let untagged = removed.untagged.iter().map(|name| format!("Untagged: {}", name.familiar()));
                let deleted = removed.deleted.iter().map(|id| format!("Deleted: {id}"));
                Ok(untagged.chain(deleted).collect::<Vec<_>>().join("\n"))
            }
        })
        .await
    }
}
