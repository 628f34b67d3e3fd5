use clap::Args;

use super::session::Session;
use crate::context::{Failure, print};
use crate::human;
use crate::listing::{Format, Listing};

#[derive(Debug, Args)]
pub(crate) struct Images {
    /// Ids only
    #[arg(short, long)]
    quiet: bool,
    #[command(flatten)]
    format: Format,
    /// Services; all if none is given
    services: Vec<String>,
}

impl Images {
    pub(super) async fn run(self, session: &Session) -> Result<u8, Failure> {
        session.check(&self.services)?;
        let mut listing = Listing::new(&[
            ("ContainerName", "CONTAINER"),
            ("Repository", "REPOSITORY"),
            ("Tag", "TAG"),
            ("Platform", "PLATFORM"),
            ("ID", "IMAGE ID"),
            ("Size", "SIZE"),
            ("Created", "CREATED"),
        ]);
        let mut ids: Vec<String> = Vec::new();
        for container in session.containers(&self.services).await? {
            let named = session.engine.image(&container.image_id).await?;
            let id = named.image.id.to_string();
            if !ids.contains(&id) {
                ids.push(id);
            }
            let name = named.names.first();
            let config = &named.image.config;
            listing.row([
                ("ContainerName", container.name.clone()),
                (
                    "Repository",
                    name.map_or_else(
                        || "<none>".to_owned(),
                        container_engine::Reference::familiar_repository,
                    ),
                ),
                ("Tag", name.and_then(|name| name.tag()).unwrap_or("<none>").to_owned()),
                ("Platform", format!("{}/{}", config.os, config.architecture)),
                ("ID", named.image.id.short().to_owned()),
                ("Size", human::size(named.image.stored_size())),
                ("Created", config.created.as_deref().map(human::ago).unwrap_or_default()),
            ]);
        }
        if self.quiet {
            return if ids.is_empty() { Ok(0) } else { print(ids.join("\n")).map(|()| 0) };
        }
        listing.print(&self.format)
    }
}
