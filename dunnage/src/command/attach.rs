use clap::Args;

use crate::context::{Failure, Roots};
use crate::terminal::{Join, Left, join};

#[derive(Debug, Args)]
pub(crate) struct Attach {
    /// Do not attach to standard input
    #[arg(long)]
    no_stdin: bool,
    /// Container
    container: String,
}

impl Attach {
    pub(crate) async fn run(self, roots: &Roots) -> Result<u8, Failure> {
        let engine = roots.engine().await?;
        let options = engine.container(&self.container).await?.options;
        let attachment = engine.attach(&self.container).await?;
        let how = Join { input: options.stdin_open && !self.no_stdin, tty: options.tty, proxy: true };
        Ok(match join(attachment, &how).await? {
            Left::Exited(code) => code,
            Left::Detached => 0,
            Left::Closed => engine.wait(&self.container).await?.code as u8,
        })
    }
}
