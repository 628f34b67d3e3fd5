use std::path::PathBuf;

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use crate::api::{Server, listen};
use crate::context::{Failure, Roots};

#[derive(Debug, Args)]
pub(crate) struct Daemon {
    /// Where to listen: unix://PATH; docker.sock below the run root if none is given
    #[arg(short = 'H', long, value_name = "ADDRESS")]
    host: Option<String>,
    /// Group that may connect, by its number
    #[arg(short = 'G', long, value_name = "GID")]
    group: Option<u32>,
}

impl Daemon {
    pub(crate) async fn run(self, roots: &Roots) -> Result<u8, Failure> {
        let path = match self.host.as_deref() {
            None => roots.socket(),
            Some(address) => match address.strip_prefix("unix://") {
                Some(path) if path.starts_with('/') => PathBuf::from(path),
                _ => return Err(Failure::new(format!("address {address:?}: only unix:///PATH is known"))),
            },
        };
        let engine = roots.engine().await?;
        let listener = listen(&path, self.group)?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let ended = async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        };
        let tasks = tokio::task::LocalSet::new();
        tasks.run_until(async { Server::new(engine).serve(listener, ended).await }).await;
        // containers go on; clients find nobody here
        let _ = std::fs::remove_file(&path);
        Ok(0)
    }
}
