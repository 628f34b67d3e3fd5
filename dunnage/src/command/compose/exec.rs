use std::io::IsTerminal as _;

use clap::Args;
use container_engine::ExecOptions;

use super::session::Session;
use crate::command::exec::exec_in;
use crate::command::options::environment;
use crate::context::Failure;

#[derive(Debug, Args)]
pub(crate) struct Exec {
    /// Run it in the background
    #[arg(short, long)]
    detach: bool,
    /// Set an environment variable
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    env: Vec<String>,
    /// The container with this number, where a service has several
    #[arg(long, value_name = "NUMBER")]
    index: Option<u32>,
    /// All capabilities, no filter
    #[arg(long)]
    privileged: bool,
    /// Give it no terminal
    #[arg(short = 'T', long)]
    no_tty: bool,
    /// User, as name or number, and group
    #[arg(short, long, value_name = "USER[:GROUP]")]
    user: Option<String>,
    /// Working directory
    #[arg(short, long, value_name = "DIR")]
    workdir: Option<String>,
    /// Service, and a command with its arguments
    #[arg(required = true, num_args = 2.., trailing_var_arg = true, value_names = ["SERVICE", "COMMAND"])]
    words: Vec<String>,
}

impl Exec {
    pub(super) async fn run(self, session: &Session) -> Result<u8, Failure> {
        let mut words = self.words.into_iter();
        let service = words.next().unwrap_or_default();
        let container = session.container(&service, self.index).await?;
        let terminal = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
        let options = ExecOptions {
            command: words.collect(),
            env: environment(&[], &self.env)?,
            user: self.user,
            working_dir: self.workdir,
            tty: terminal && !self.no_tty && !self.detach,
            stdin: !self.detach,
            detached: self.detach,
            privileged: self.privileged,
            piped: false,
        };
        exec_in(&session.engine, &container.id, &options).await
    }
}
