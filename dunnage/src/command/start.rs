use clap::Args;

use crate::context::{Failure, Roots, each};
use crate::terminal::{Join, Left, join};

#[derive(Debug, Args)]
pub(crate) struct Start {
    /// Attach to its output, and pass signals on
    #[arg(short, long)]
    attach: bool,
    /// Attach to its standard input
    #[arg(short, long)]
    interactive: bool,
    /// Containers
    #[arg(required = true)]
    containers: Vec<String>,
}

impl Start {
    pub(crate) async fn run(self, roots: &Roots) -> Result<u8, Failure> {
        let engine = roots.engine().await?;
        if self.attach || self.interactive {
            let [container] = self.containers.as_slice() else {
                return Err(Failure::new("one container at a time can be attached to"));
            };
            let options = engine.container(container).await?.options;
            let attachment = engine.start_attached(container).await?;
            let how = Join { input: self.interactive && options.stdin_open, tty: options.tty, proxy: true };
            return Ok(match join(attachment, &how).await? {
                Left::Exited(code) => code,
                Left::Detached => 0,
                Left::Closed => engine.wait(container).await?.code as u8,
            });
        }
        each(&self.containers, |name| {
            let engine = &engine;
            async move {
                engine.start(&name).await?;
                Ok(name)
            }
        })
        .await
    }
}
