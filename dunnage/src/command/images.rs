use clap::Args;

use crate::context::{Failure, Roots, print};
use crate::human;
use crate::listing::{Format, Listing};

#[derive(Debug, Args)]
pub(crate) struct Images {
    /// Ids only
    #[arg(short, long)]
    quiet: bool,
    /// Do not shorten ids
    #[arg(long)]
    no_trunc: bool,
    /// Show digests
    #[arg(long)]
    digests: bool,
    /// Only some: dangling=true or dangling=false
    #[arg(short, long, value_name = "FILTER")]
    filter: Vec<String>,
    #[command(flatten)]
    format: Format,
    /// Only images of this repository, or of this name
    repository: Option<String>,
}

impl Images {
    pub(crate) async fn run(self, roots: &Roots) -> Result<u8, Failure> {
        let mut dangling = None;
        for filter in &self.filter {
            match filter.as_str() {
                "dangling=true" => dangling = Some(true),
                "dangling=false" => dangling = Some(false),
                _ => {
                    return Err(Failure::new(format!(
                        "filter {filter:?} is not known: dangling=true and dangling=false are"
                    )));
                }
            }
        }
        let engine = roots.engine().await?;
        let mut images = engine.images().await?;
        images.retain(|named| dangling.is_none_or(|dangling| named.names.is_empty() == dangling));
        images.reverse();
        let mut columns = vec![("Repository", "REPOSITORY"), ("Tag", "TAG")];
        if self.digests {
            columns.push(("Digest", "DIGEST"));
        }
        columns.extend([("ID", "IMAGE ID"), ("CreatedSince", "CREATED"), ("Size", "SIZE")]);
        let mut listing = Listing::new(&columns);
        let mut ids: Vec<String> = Vec::new();
        for named in &images {
            let none = || "<none>".to_owned();
            let id =
                if self.no_trunc { named.image.id.to_string() } else { named.image.id.short().to_owned() };
            let mut rows: Vec<(String, String)> = named
                .names
                .iter()
                .map(|name| (name.familiar_repository(), name.tag().map_or_else(none, str::to_owned)))
                .collect();
            if rows.is_empty() {
                rows.push((none(), none()));
            }
            if let Some(wanted) = &self.repository {
                rows.retain(|(repository, tag)| {
                    wanted == repository || *wanted == format!("{repository}:{tag}")
                });
            }
            for (repository, tag) in rows {
                let created = named.image.config.created.as_deref();
                listing.row([
                    ("Repository", repository),
                    ("Tag", tag),
                    ("Digest", named.image.descriptor.digest.to_string()),
                    ("ID", id.clone()),
                    ("CreatedSince", created.map(human::ago).unwrap_or_default()),
                    ("CreatedAt", created.unwrap_or_default().to_owned()),
                    ("Size", human::size(named.image.stored_size())),
                ]);
                if !ids.contains(&id) {
                    ids.push(id.clone());
                }
            }
        }
        if self.quiet {
            return if ids.is_empty() { Ok(0) } else { print(ids.join("\n")).map(|()| 0) };
        }
        listing.print(&self.format)
    }
}
