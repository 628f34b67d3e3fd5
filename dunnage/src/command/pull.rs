use std::io::Write;

use clap::{Args, ValueEnum};
use container_engine::{Digest, Engine, Platform, Pull as Fetch, Reference};

use crate::bars::{PULL, show};
use crate::command::login::registry;
use crate::context::{Failure, Roots, print};

#[derive(Debug, Args)]
pub(crate) struct Pull {
    /// Print the name only
    #[arg(short, long)]
    quiet: bool,
    /// For which platform: os/architecture[/variant]
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<Platform>,
    /// Speak plain http to the registry
    #[arg(long)]
    insecure: bool,
    /// Name of the image
    name: Reference,
}

/// When `run` and `create` fetch the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum PullPolicy {
    /// If it is not here
    Missing,
    /// In any case
    Always,
    /// Not at all
    Never,
}

impl Pull {
    pub(crate) async fn run(self, roots: &Roots) -> Result<u8, Failure> {
        let engine = roots.engine().await?;
        let name = &self.name;
        let mut fetch = Fetch::default();
        if let Some(platform) = self.platform {
            fetch.platform = platform;
        }
        let client = registry(name.domain(), self.insecure)?;
        if self.quiet {
            engine.pull_image(&client, name, &fetch, &|_| {}).await?;
            return print(name).map(|()| 0);
        }
        let tag = name
            .tag()
            .map_or_else(|| name.digest().map(Digest::to_string).unwrap_or_default(), str::to_owned);
        print(format_args!("{tag}: Pulling from {}", name.path()))?;
        let pulled = engine.pull_image(&client, name, &fetch, &*show(PULL, std::io::stdout())).await?;
        let familiar = name.familiar();
        let status = if pulled.is_new {
            format!("Downloaded newer image for {familiar}")
        } else {
            format!("Image is up to date for {familiar}")
        };
        print(format_args!("Digest: {}\nStatus: {status}\n{name}", pulled.digest))?;
        Ok(0)
    }
}

/// Fetches the image for a container if the policy asks for it.
pub(crate) async fn ensure(engine: &Engine, image: &str, policy: PullPolicy) -> Result<(), Failure> {
    let missing = match engine.image(image).await {
        Ok(_) => false,
        Err(container_engine::Error::Image(container_engine::ImageError::ImageMissing(_))) => true,
        Err(error) => return Err(error.into()),
    };
    if policy == PullPolicy::Never || (policy == PullPolicy::Missing && !missing) {
        return Ok(());
    }
    let Ok(name) = image.parse::<Reference>() else { return Ok(()) };
    let mut output = std::io::stderr();
    if missing {
        let _ = writeln!(output, "Unable to find image '{}' locally", name.familiar());
    }
    let client = registry(name.domain(), false)?;
    let pulled = engine.pull_image(&client, &name, &Fetch::default(), &*show(PULL, std::io::stderr())).await;
    match pulled {
        Ok(pulled) => {
            let _ = writeln!(output, "Digest: {}", pulled.digest);
            Ok(())
        }
        Err(error) if missing => {
            let reason = container_engine::describe(&error);
            Err(Failure::new(format!("no such image: {image}: it cannot be pulled: {reason}")))
        }
        Err(error) => Err(error.into()),
    }
}
