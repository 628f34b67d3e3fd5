use clap::Args;

use crate::context::{Failure, Roots, print};

#[derive(Debug, Args)]
pub(crate) struct Explain {
    /// Container
    container: String,
}

impl Explain {
    pub(crate) async fn run(self, roots: &Roots) -> Result<u8, Failure> {
        print(roots.engine().await?.explain(&self.container).await?.trim_end())?;
        Ok(0)
    }
}
