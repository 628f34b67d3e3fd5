use clap::Args;

use crate::command::login::registry;
use crate::context::{Failure, Roots};
use crate::table::Table;

#[derive(Debug, Args)]
pub(crate) struct Search {
    /// At most so many results
    #[arg(long, default_value_t = 25, value_parser = clap::value_parser!(u32).range(1..=100))]
    limit: u32,
    /// Show descriptions whole
    #[arg(long)]
    no_trunc: bool,
    /// Speak plain http to the registry
    #[arg(long)]
    insecure: bool,
    /// What to look for, after `HOST[:PORT]/` in another registry than Docker Hub
    term: String,
}

impl Search {
    pub(crate) fn run(self, _: &Roots) -> Result<u8, Failure> {
        // as with names of images, a first part that can be a host is one
        let (host, word) = match self.term.split_once('/') {
            Some((host, word)) if host.contains(['.', ':']) || host == "localhost" => (host, word),
            _ => ("docker.io", self.term.as_str()),
        };
        let found = registry(host, self.insecure)?
            .search(host, word, self.limit)
            .map_err(container_engine::Error::from)?;
        let mut table = Table::new(&["NAME", "DESCRIPTION", "STARS", "OFFICIAL"]);
        for repository in found {
            let mut description = repository.description.replace(['\n', '\r'], " ");
            if !self.no_trunc && description.chars().count() > 45 {
                description = description.chars().take(44).chain(['…']).collect();
            }
            let official = if repository.official { "[OK]" } else { "" };
            table.row([repository.name, description, repository.stars.to_string(), official.to_owned()]);
        }
        table.print().map(|()| 0)
    }
}
