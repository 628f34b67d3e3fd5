use clap::{Args, Subcommand};
use container_engine::{Engine, Phase, RemoveOptions};

use crate::command::{
    attach, commit, cp, create, exec, image, inspect, kill, logs, pause, port, ps, rename, rm, run, save,
    start, stats, stop, top, update, wait,
};
use crate::context::{Failure, Roots, print};

/// The commands of the top level that are about containers, under their other name.
#[derive(Debug, Subcommand)]
pub(crate) enum Container {
    /// Attach to a running container
    Attach(attach::Attach),
    /// Make an image of a container
    Commit(commit::Commit),
    /// Copy files into and out of containers
    Cp(cp::Cp),
    /// Create a container
    Create(Box<create::Create>),
    /// Show what a container changed in its files
    Diff(commit::Diff),
    /// Run a command in a running container
    Exec(exec::Exec),
    /// Write a container's files as an archive
    Export(save::Export),
    /// Show everything known of containers, as JSON
    Inspect(inspect::InspectContainers),
    /// Send a signal to containers
    Kill(kill::Kill),
    /// Show what a container has written
    Logs(logs::Logs),
    /// List containers
    #[command(visible_aliases = ["list", "ps"])]
    Ls(ps::Ps),
    /// Freeze every process of containers
    Pause(pause::Pause),
    /// Show where a container's ports are published
    Port(port::Port),
    /// Remove every container that does not run
    Prune(Prune),
    /// Give a container another name
    Rename(rename::Rename),
    /// Stop and start containers
    Restart(stop::Restart),
    /// Remove containers
    #[command(alias = "remove")]
    Rm(rm::Rm),
    /// Create a container and run it
    Run(Box<run::Run>),
    /// Start containers
    Start(start::Start),
    /// Show what containers use, as it changes
    Stats(stats::Stats),
    /// Stop containers: ask, wait, then kill
    Stop(stop::Stop),
    /// Show the processes of a container
    Top(top::Top),
    /// Let the processes of containers go on
    Unpause(pause::Unpause),
    /// Change limits and the restart policy of containers
    Update(update::Update),
    /// Wait for containers to end, and print their exit codes
    Wait(wait::Wait),
}

#[derive(Debug, Args)]
pub(crate) struct Prune {
    /// Do not ask
    #[arg(short, long)]
    force: bool,
}

impl Container {
    pub(crate) async fn run(self, roots: &Roots) -> Result<u8, Failure> {
        match self {
            Self::Attach(command) => command.run(roots).await,
            Self::Commit(command) => command.run(roots).await,
            Self::Cp(command) => command.run(roots).await,
            Self::Create(command) => command.run(roots).await,
            Self::Diff(command) => command.run(roots).await,
            Self::Exec(command) => command.run(roots).await,
            Self::Export(command) => command.run(roots).await,
            Self::Inspect(command) => command.run(roots).await,
            Self::Kill(command) => command.run(roots).await,
            Self::Logs(command) => command.run(roots).await,
            Self::Ls(command) => command.run(roots).await,
            Self::Pause(command) => command.run(roots).await,
            Self::Port(command) => command.run(roots).await,
            Self::Prune(command) => command.run(roots).await,
            Self::Rename(command) => command.run(roots).await,
            Self::Restart(command) => command.run(roots).await,
            Self::Rm(command) => command.run(roots).await,
            Self::Run(command) => command.run(roots).await,
            Self::Start(command) => command.run(roots).await,
            Self::Stats(command) => command.run(roots).await,
            Self::Stop(command) => command.run(roots).await,
            Self::Top(command) => command.run(roots).await,
            Self::Unpause(command) => command.run(roots).await,
            Self::Update(command) => command.run(roots).await,
            Self::Wait(command) => command.run(roots).await,
        }
    }
}

impl Prune {
    async fn run(self, roots: &Roots) -> Result<u8, Failure> {
        if !self.force && !image::confirmed("all containers that do not run")? {
            return Ok(0);
        }
        prune(&roots.engine().await?).await?;
        Ok(0)
    }
}

/// Removes every container that does not run, and says which.
pub(crate) async fn prune(engine: &Engine) -> Result<(), Failure> {
    let mut removed = Vec::new();
    for container in engine.containers().await? {
        if matches!(container.phase, Phase::Created | Phase::Exited(_)) {
            engine.remove_container(&container.id, RemoveOptions::default()).await?;
            removed.push(container.id);
        }
    }
    if !removed.is_empty() {
        print(format_args!("Deleted Containers:\n{}\n", removed.join("\n")))?;
    }
    Ok(())
}
