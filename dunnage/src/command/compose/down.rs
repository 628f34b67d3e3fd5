use std::time::Duration;

use clap::{Args, ValueEnum};
use compose_model::plan::{self, DownOptions, Images};

use super::session::{How, Session};
use crate::context::Failure;

#[derive(Debug, Args)]
pub(crate) struct Down {
    /// Remove the project's volumes, and anonymous ones
    #[arg(short, long)]
    volumes: bool,
    /// Remove images: those without a name of their own, or all
    #[arg(long, value_enum, value_name = "WHICH")]
    rmi: Option<Which>,
    /// Remove containers of services that are no longer in the project
    #[arg(long)]
    remove_orphans: bool,
    /// Seconds that containers have to stop
    #[arg(short, long, value_name = "SECONDS")]
    timeout: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Which {
    Local,
    All,
}

impl Down {
    pub(super) async fn run(self, session: &Session) -> Result<u8, Failure> {
        let options = DownOptions {
            volumes: self.volumes,
            images: match self.rmi {
                None => Images::Keep,
                Some(Which::Local) => Images::Local,
                Some(Which::All) => Images::All,
            },
            remove_orphans: self.remove_orphans,
            timeout: self.timeout.map(Duration::from_secs),
        };
        let plan = plan::down(&session.project, &session.observe().await?, &options);
        session.carry_out(plan, How::default()).await.map(|()| 0)
    }
}
