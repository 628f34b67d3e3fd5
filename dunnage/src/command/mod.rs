//! The commands, one file each.

mod attach;
mod build;
mod commit;
mod compose;
mod container;
mod cp;
mod create;
mod daemon;
mod dockerfile;
pub(crate) mod events;
pub(crate) mod exec;
mod explain;
mod history;
pub(crate) mod image;
mod images;
pub(crate) mod import;
pub(crate) mod inspect;
mod kill;
pub(crate) mod login;
pub(crate) mod logs;
mod network;
pub(crate) mod options;
mod pause;
mod port;
pub(crate) mod ps;
mod pull;
mod push;
mod reap;
mod rename;
mod resources;
mod rm;
mod rmi;
pub(crate) mod run;
mod save;
mod search;
mod secret;
mod start;
mod stats;
mod stop;
pub(crate) mod system;
mod tag;
pub(crate) mod top;
mod update;
mod version;
pub(crate) mod volume;
mod volume_files;
mod wait;

use clap::Subcommand;

use crate::context::{Failure, Roots};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Create a container and run it
    Run(run::Run),
    /// Create a container
    Create(create::Create),
    /// Start containers
    Start(start::Start),
    /// Stop containers: ask, wait, then kill
    Stop(stop::Stop),
    /// Stop and start containers
    Restart(stop::Restart),
    /// Send a signal to containers
    Kill(kill::Kill),
    /// Freeze every process of containers
    Pause(pause::Pause),
    /// Let the processes of containers go on
    Unpause(pause::Unpause),
    /// Wait for containers to end, and print their exit codes
    Wait(wait::Wait),
    /// Remove containers
    Rm(rm::Rm),
    /// List containers
    Ps(ps::Ps),
    /// Run a command in a running container
    Exec(exec::Exec),
    /// Attach to a running container
    Attach(attach::Attach),
    /// Show what a container has written
    Logs(logs::Logs),
    /// Give a container another name
    Rename(rename::Rename),
    /// Change limits and the restart policy of containers
    Update(update::Update),
    /// Show the processes of a container
    Top(top::Top),
    /// Show what containers use, as it changes
    Stats(stats::Stats),
    /// Show where a container's ports are published
    Port(port::Port),
    /// Containers: everything about them
    #[command(subcommand)]
    Container(container::Container),
    /// Show everything known of containers, images, networks and volumes, as JSON
    Inspect(inspect::Inspect),
    /// Show what starting a container does, step by step, without doing it
    Explain(explain::Explain),
    /// Build an image of a Dockerfile
    Build(Box<build::Build>),
    /// Builds: what they keep for the next one
    #[command(subcommand)]
    Builder(build::Builder),
    /// Make an image of a root file system's archive
    Import(import::Import),
    /// List images
    Images(images::Images),
    /// Images: everything about them
    #[command(subcommand)]
    Image(image::Image),
    /// Show how an image was made
    History(history::History),
    /// Fetch an image from a registry
    Pull(pull::Pull),
    /// Look for images in a registry
    Search(search::Search),
    /// Bring an image to a registry
    Push(push::Push),
    /// Keep the credentials for a registry
    Login(login::Login),
    /// Forget the credentials for a registry
    Logout(login::Logout),
    /// Write images as an archive
    Save(save::Save),
    /// Take in the images of an archive
    Load(save::Load),
    /// Make an image of a container
    Commit(commit::Commit),
    /// Show what a container changed in its files
    Diff(commit::Diff),
    /// Copy files into and out of containers
    Cp(cp::Cp),
    /// Write a container's files as an archive
    Export(save::Export),
    /// Projects of Compose files
    Compose(compose::Compose),
    /// Dockerfiles: check, shape, draw
    #[command(subcommand)]
    Dockerfile(dockerfile::Dockerfile),
    /// Give an image one more name
    Tag(tag::Tag),
    /// Remove images
    Rmi(rmi::Rmi),
    /// Networks
    #[command(subcommand)]
    Network(network::Network),
    /// Volumes
    #[command(subcommand)]
    Volume(volume::Volume),
    /// Show what happens, as it happens
    Events(events::Events),
    /// Show what this engine is, and how much it holds
    Info(system::Info),
    /// Show the version
    Version(version::Version),
    /// Serve the Docker Engine API on a unix socket
    Daemon(daemon::Daemon),
    /// The engine itself
    #[command(subcommand)]
    System(system::System),
    /// Remove a container that ended, for its monitor
    #[command(hide = true)]
    Reap(reap::Reap),
}

/// Runs a command and tells its exit code.
pub(crate) async fn run(roots: Roots, command: Command) -> Result<u8, Failure> {
    match command {
        Command::Run(command) => command.run(&roots).await,
        Command::Create(command) => command.run(&roots).await,
        Command::Start(command) => command.run(&roots).await,
        Command::Stop(command) => command.run(&roots).await,
        Command::Restart(command) => command.run(&roots).await,
        Command::Kill(command) => command.run(&roots).await,
        Command::Pause(command) => command.run(&roots).await,
        Command::Unpause(command) => command.run(&roots).await,
        Command::Wait(command) => command.run(&roots).await,
        Command::Rm(command) => command.run(&roots).await,
        Command::Ps(command) => command.run(&roots).await,
        Command::Exec(command) => command.run(&roots).await,
        Command::Attach(command) => command.run(&roots).await,
        Command::Logs(command) => command.run(&roots).await,
        Command::Rename(command) => command.run(&roots).await,
        Command::Update(command) => command.run(&roots).await,
        Command::Top(command) => command.run(&roots).await,
        Command::Stats(command) => command.run(&roots).await,
        Command::Port(command) => command.run(&roots).await,
        Command::Container(command) => command.run(&roots).await,
        Command::Inspect(command) => command.run(&roots).await,
        Command::Explain(command) => command.run(&roots).await,
        Command::Build(command) => command.run(&roots).await,
        Command::Builder(command) => command.run(&roots).await,
        Command::Import(command) => command.run(&roots).await,
        Command::Images(command) => command.run(&roots).await,
        Command::Image(command) => command.run(&roots).await,
        Command::History(command) => command.run(&roots).await,
        Command::Pull(command) => command.run(&roots).await,
        Command::Search(command) => command.run(&roots),
        Command::Push(command) => command.run(&roots).await,
        Command::Login(command) => command.run(),
        Command::Logout(command) => command.run(),
        Command::Save(command) => command.run(&roots).await,
        Command::Load(command) => command.run(&roots).await,
        Command::Commit(command) => command.run(&roots).await,
        Command::Diff(command) => command.run(&roots).await,
        Command::Cp(command) => command.run(&roots).await,
        Command::Export(command) => command.run(&roots).await,
        Command::Compose(command) => command.run(&roots).await,
        Command::Dockerfile(command) => command.run(),
        Command::Tag(command) => command.run(&roots).await,
        Command::Rmi(command) => command.run(&roots).await,
        Command::Network(command) => command.run(&roots).await,
        Command::Volume(command) => command.run(&roots).await,
        Command::Events(command) => command.run(&roots).await,
        Command::Info(command) => command.run(&roots).await,
        Command::Version(command) => command.run(),
        Command::Daemon(command) => command.run(&roots).await,
        Command::System(command) => command.run(&roots).await,
        Command::Reap(command) => command.run(&roots).await,
    }
}
