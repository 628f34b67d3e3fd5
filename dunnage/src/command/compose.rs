//! `dunnage compose`: projects of Compose files, a file a subcommand.

mod config;
mod down;
mod exec;
mod images;
mod life;
mod logs;
mod ls;
mod make;
mod ps;
mod run;
mod session;
mod show;
mod top;
mod up;
mod wait;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use compose_model::{Loaded, Loader, Project, SystemFiles};
use container_engine::Engine;

use self::session::Session;
use crate::context::{Failure, Roots};
use crate::human::plain;

#[derive(Debug, Args)]
pub(crate) struct Compose {
    /// Files of the project; compose.yaml and its like here or above if none is given
    #[arg(short, long, value_name = "FILE")]
    file: Vec<PathBuf>,
    /// Name of the project
    #[arg(short, long, value_name = "NAME")]
    project_name: Option<String>,
    /// Directory that relative paths begin at
    #[arg(long, value_name = "DIR")]
    project_directory: Option<PathBuf>,
    /// Files of variables, in place of .env
    #[arg(long, value_name = "FILE")]
    env_file: Vec<PathBuf>,
    /// Profiles that are on
    #[arg(long, value_name = "NAME")]
    profile: Vec<String>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make and start containers, and what they need
    Up(up::Up),
    /// Stop and remove containers and networks
    Down(down::Down),
    /// Make containers, and start none
    Create(up::Create),
    /// Start containers that are there
    Start(life::Start),
    /// Stop containers
    Stop(life::Stop),
    /// Stop containers and start them again
    Restart(life::Restart),
    /// Send a signal to containers
    Kill(life::Kill),
    /// Freeze containers
    Pause(life::Pause),
    /// Let containers go on
    Unpause(life::Unpause),
    /// Remove containers that do not run
    Rm(life::Rm),
    /// List containers
    Ps(ps::Ps),
    /// List projects
    Ls(ls::Ls),
    /// List the images of containers
    Images(images::Images),
    /// Show what containers have written
    Logs(logs::Logs),
    /// Run a command in a container
    Exec(exec::Exec),
    /// Run a command in a container of its own
    Run(run::Run),
    /// Build images
    Build(make::Build),
    /// Fetch images
    Pull(make::Pull),
    /// Bring images to their registries
    Push(make::Push),
    /// Show the processes of containers
    Top(top::Top),
    /// Show where a port is published
    Port(top::Port),
    /// Wait for containers to end
    Wait(wait::Wait),
    /// Show what happens to containers, as it happens
    Events(wait::Events),
    /// Say what is wrong with the files, and show what they mean
    #[command(alias = "convert")]
    Config(config::Config),
    /// Show services, networks and volumes as a graph
    Graph(config::Graph),
    /// Show the version
    Version(ls::Version),
}

impl Compose {
    pub(crate) async fn run(self, roots: &Roots) -> Result<u8, Failure> {
        match &self.command {
            Command::Ls(command) => return command.run(roots).await,
            Command::Version(command) => return command.run(),
            Command::Config(config) => {
                let loaded = self.load(!config.no_interpolate)?;
                return if told(&loaded) { config.run(loaded) } else { Ok(1) };
            }
            Command::Graph(graph) => {
                let loaded = self.load(true)?;
                return if told(&loaded) { graph.run(loaded.project) } else { Ok(1) };
            }
            _ => {}
        }
        let engine = roots.engine().await?;
        let Some(project) = self.project(&engine).await? else { return Ok(1) };
        let session = Session::new(engine, project);
        match self.command {
            Command::Up(command) => command.run(&session).await,
            Command::Down(command) => command.run(&session).await,
            Command::Create(command) => command.run(&session).await,
            Command::Start(command) => command.run(&session).await,
            Command::Stop(command) => command.run(&session).await,
            Command::Restart(command) => command.run(&session).await,
            Command::Kill(command) => command.run(&session).await,
            Command::Pause(command) => command.run(&session).await,
            Command::Unpause(command) => command.run(&session).await,
            Command::Rm(command) => command.run(&session).await,
            Command::Ps(command) => command.run(&session).await,
            Command::Images(command) => command.run(&session).await,
            Command::Logs(command) => command.run(&session).await,
            Command::Exec(command) => command.run(&session).await,
            Command::Run(command) => command.run(&session).await,
            Command::Build(command) => command.run(&session).await,
            Command::Pull(command) => command.run(&session).await,
            Command::Push(command) => command.run(&session).await,
            Command::Top(command) => command.run(&session).await,
            Command::Port(command) => command.run(&session).await,
            Command::Wait(command) => command.run(&session).await,
            Command::Events(command) => command.run(&session).await,
            // answered above
            Command::Ls(_) | Command::Version(_) | Command::Config(_) | Command::Graph(_) => Ok(0),
        }
    }

    /// The project of the files; of one that is named and has no files here, what its containers tell. None when the files are wrong, which is
    /// said.
    async fn project(&self, engine: &Engine) -> Result<Option<Project>, Failure> {
        let named = self.project_name.clone().or_else(|| variable("COMPOSE_PROJECT_NAME"));
        let needs_files = matches!(
            self.command,
            Command::Up(_)
                | Command::Create(_)
                | Command::Run(_)
                | Command::Build(_)
                | Command::Pull(_)
                | Command::Push(_)
        );
        if let Some(name) = named
            && !needs_files
            && self.files().is_err()
        {
            return Ok(Some(engine.project_of_labels(&name).await?));
        }
        let loaded = self.load(true)?;
        Ok(told(&loaded).then_some(loaded.project))
    }

    /// The files that are named, by `-f` or by `COMPOSE_FILE`, or that are found.
    fn files(&self) -> Result<Vec<PathBuf>, Failure> {
        let here = std::env::current_dir()?;
        if !self.file.is_empty() {
            return Ok(self.file.iter().map(|file| here.join(file)).collect());
        }
        let Some(text) = variable("COMPOSE_FILE") else { return found(&here) };
        let separator = variable("COMPOSE_PATH_SEPARATOR").unwrap_or_else(|| ":".to_owned());
        Ok(text
            .split(separator.as_str())
            .filter(|file| !file.is_empty())
            .map(|file| here.join(file))
            .collect())
    }

    fn load(&self, interpolate: bool) -> Result<Loaded, Failure> {
        let here = std::env::current_dir()?;
        let files = self.files()?;
        let directory = match &self.project_directory {
            Some(directory) => here.join(directory),
            None => files.first().and_then(|file| file.parent()).map_or_else(|| here.clone(), PathBuf::from),
        };
        let environment: BTreeMap<String, String> = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        let profiles = variable("COMPOSE_PROFILES").unwrap_or_default();
        let profiles = profiles.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned);
        let system = SystemFiles::anywhere();
        let mut loader = Loader::new(&system)
            .environment(environment)
            .profiles(self.profile.iter().cloned().chain(profiles))
            .project_directory(directory)
            .interpolate(interpolate);
        if let Some(name) = &self.project_name {
            loader = loader.project_name(name.clone());
        }
        if !self.env_file.is_empty() {
            loader = loader.env_files(self.env_file.iter().map(|file| here.join(file)));
        }
        Ok(loader.load(&files))
    }
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Says what was found; whether the project can be used.
fn told(loaded: &Loaded) -> bool {
    let mut errors = std::io::stderr();
    for finding in &loaded.diagnostics {
        for line in finding.render(&loaded.sources).lines() {
            // standard error that is closed is nobody to tell
            let _ = writeln!(errors, "{}", plain(line));
        }
    }
    loaded.is_ok()
}

/// The project's file in a directory or one above it, and the one that overrides it.
fn found(here: &Path) -> Result<Vec<PathBuf>, Failure> {
    for directory in here.ancestors() {
        let first =
            |names: &[&str]| names.iter().map(|name| directory.join(name)).find(|path| path.is_file());
        if let Some(file) = first(compose_model::FILE_NAMES) {
            return Ok(std::iter::once(file).chain(first(compose_model::OVERRIDE_NAMES)).collect());
        }
    }
    let names = compose_model::FILE_NAMES.join(", ");
    Err(Failure::new(format!("no configuration file here or above: none of {names}")))
}
