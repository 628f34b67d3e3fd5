use clap::Args;
use container_engine::Reference;

use crate::bars::{PUSH, show};
use crate::command::login::registry;
use crate::context::{Failure, Roots, print};

#[derive(Debug, Args)]
pub(crate) struct Push {
    /// Print the name only
    #[arg(short, long)]
    quiet: bool,
    /// Speak plain http to the registry
    #[arg(long)]
    insecure: bool,
    /// Name of the image
    name: Reference,
}

impl Push {
    pub(crate) async fn run(self, roots: &Roots) -> Result<u8, Failure> {
        let engine = roots.engine().await?;
        let name = &self.name;
        let client = registry(name.domain(), self.insecure)?;
        if self.quiet {
            engine.push_image(&client, name, &|_| {}).await?;
            return print(name).map(|()| 0);
        }
        print(format_args!("The push refers to repository [{}/{}]", name.domain(), name.path()))?;
        let progress = show(PUSH, std::io::stdout());
        let (digest, size) = engine.push_image(&client, name, &*progress).await?;
        print(format_args!("{}: digest: {digest} size: {size}", name.tag().unwrap_or("latest")))?;
        Ok(0)
    }
}
