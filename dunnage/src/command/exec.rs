use std::io::IsTerminal;
use std::path::PathBuf;

use clap::Args;
use container_engine::{Engine, ExecOptions, ExecProcess, Signal};

use crate::command::options::environment;
use crate::context::{Failure, Roots};
use crate::terminal::{Proxied, over_terminal};

#[derive(Debug, Args)]
pub(crate) struct Exec {
    /// Keep standard input open
    #[arg(short, long)]
    interactive: bool,
    /// Give it a terminal
    #[arg(short, long)]
    tty: bool,
    /// Run it in the background
    #[arg(short, long)]
    detach: bool,
    /// Set an environment variable
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    env: Vec<String>,
    /// Read environment variables from a file
    #[arg(long, value_name = "FILE")]
    env_file: Vec<PathBuf>,
    /// User, as name or number, and group
    #[arg(short, long, value_name = "USER[:GROUP]")]
    user: Option<String>,
    /// Working directory
    #[arg(short, long, value_name = "DIR")]
    workdir: Option<String>,
    /// All capabilities, no filter
    #[arg(long)]
    privileged: bool,
    /// Container, and a command with its arguments; what stands behind the container is no option of ours
    #[arg(required = true, num_args = 2.., trailing_var_arg = true, value_names = ["CONTAINER", "COMMAND"])]
    words: Vec<String>,
}

impl Exec {
    pub(crate) async fn run(self, roots: &Roots) -> Result<u8, Failure> {
        if self.tty && self.interactive && !self.detach && !std::io::stdin().is_terminal() {
            return Err(Failure::new("the input device is not a TTY"));
        }
        let engine = roots.engine().await?;
        let mut words = self.words.into_iter();
        let container = words.next().unwrap_or_default();
        let options = ExecOptions {
            command: words.collect(),
            env: environment(&self.env_file, &self.env)?,
            user: self.user,
            working_dir: self.workdir,
            tty: self.tty && !self.detach,
            stdin: self.interactive,
            detached: self.detach,
            privileged: self.privileged,
            piped: false,
        };
        exec_in(&engine, &container, &options).await
    }
}

/// Runs a command in a container, joined to the person's streams unless it is detached, and tells its exit code.
pub(crate) async fn exec_in(engine: &Engine, container: &str, options: &ExecOptions) -> Result<u8, Failure> {
    let mut process = engine.exec(container, options).await.map_err(failed)?;
    if options.detached {
        process.leave();
        return Ok(0);
    }
    let code = match process.take_terminal() {
        Some(terminal) => over_terminal(&mut process, &terminal, options.stdin).await?,
        None => wait(&mut process).await?,
    };
    Ok(code as u8)
}

/// Waits for the end, and passes signals on meanwhile.
async fn wait(process: &mut ExecProcess) -> Result<i32, Failure> {
    let mut proxied = Proxied::new(true)?;
    loop {
        tokio::select! {
            code = process.wait() => return Ok(code?),
            number = proxied.next() => { process.signal(Signal::new(number).map_err(Failure::new)?)?; }
        }
    }
}

/// A command that is missing is 127, one that cannot be executed 126, as `docker exec` has it.
fn failed(error: container_engine::Error) -> Failure {
    let code = error.exit_code();
    Failure::from(error).with_code(if code == 125 { 1 } else { code })
}
