use clap::Args;

use crate::context::{Failure, Roots, print};
use crate::human;
use crate::table::Table;

#[derive(Debug, Args)]
pub(crate) struct History {
    /// Ids only
    #[arg(short, long)]
    quiet: bool,
    /// Do not shorten anything
    #[arg(long)]
    no_trunc: bool,
    /// Image
    image: String,
}

impl History {
    pub(crate) async fn run(self, roots: &Roots) -> Result<u8, Failure> {
        let named = roots.engine().await?.image(&self.image).await?;
        let id = if self.no_trunc { named.image.id.to_string() } else { named.image.id.short().to_owned() };
        let mut table = Table::new(&["IMAGE", "CREATED", "CREATED BY", "SIZE", "COMMENT"]);
        for (at, step) in named.image.history().into_iter().rev().enumerate() {
            let id = if at == 0 { id.clone() } else { "<missing>".to_owned() };
            if self.quiet {
                print(id)?;
                continue;
            }
            let by = step.history.created_by.clone().unwrap_or_default();
            let by = if self.no_trunc || by.chars().count() <= 45 {
                by
            } else {
                by.chars().take(44).chain(['…']).collect()
            };
            table.row([
                id,
                step.history.created.as_deref().map(human::ago).unwrap_or_default(),
                by,
                human::size(step.layer.map_or(0, |layer| layer.size)),
                step.history.comment.clone().unwrap_or_default(),
            ]);
        }
        if !self.quiet {
            table.print()?;
        }
        Ok(0)
    }
}
