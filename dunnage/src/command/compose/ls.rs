use clap::Args;

use crate::context::{Failure, Roots, print};
use crate::listing::{Format, Listing};

#[derive(Debug, Args)]
pub(crate) struct Ls {
    /// Those of which nothing runs, too
    #[arg(short, long)]
    all: bool,
    /// Names only
    #[arg(short, long)]
    quiet: bool,
    #[command(flatten)]
    format: Format,
}

#[derive(Debug, Args)]
pub(crate) struct Version {
    /// The number only
    #[arg(long)]
    short: bool,
}

impl Ls {
    pub(super) async fn run(&self, roots: &Roots) -> Result<u8, Failure> {
        let mut projects = roots.engine().await?.projects().await?;
        projects.retain(|project| self.all || project.states.contains_key("running"));
        if self.quiet {
            let names: Vec<&str> = projects.iter().map(|project| project.name.as_str()).collect();
            return if names.is_empty() { Ok(0) } else { print(names.join("\n")).map(|()| 0) };
        }
        let mut listing =
            Listing::new(&[("Name", "NAME"), ("Status", "STATUS"), ("ConfigFiles", "CONFIG FILES")]);
        for project in &projects {
            let states: Vec<String> =
                project.states.iter().map(|(state, count)| format!("{state}({count})")).collect();
            listing.row([
                ("Name", project.name.clone()),
                ("Status", states.join(", ")),
                ("ConfigFiles", project.files.join(",")),
            ]);
        }
        listing.print(&self.format)
    }
}

impl Version {
    pub(super) fn run(&self) -> Result<u8, Failure> {
        let number = env!("CARGO_PKG_VERSION");
        if self.short { print(number) } else { print(format_args!("dunnage compose version {number}")) }
            .map(|()| 0)
    }
}
