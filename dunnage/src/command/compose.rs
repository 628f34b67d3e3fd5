use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use compose_model::{Loaded, Loader, Project, SystemFiles, tree_to_yaml};

use crate::context::{Failure, print};
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
    /// Say what is wrong with the files, and show what they mean
    #[command(alias = "convert")]
    Config(Config),
    /// Show services, networks and volumes as a graph
    Graph(Graph),
}

#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("what")))]
struct Config {
    /// Form of the whole
    #[arg(long, value_enum, default_value_t = Form::Yaml, value_name = "FORM")]
    format: Form,
    /// Leave variables as they stand
    #[arg(long)]
    no_interpolate: bool,
    /// Say only what is wrong
    #[arg(short, long, group = "what")]
    quiet: bool,
    /// Names of the services
    #[arg(long, group = "what")]
    services: bool,
    /// Names of the volumes
    #[arg(long, group = "what")]
    volumes: bool,
    /// Names of the networks
    #[arg(long, group = "what")]
    networks: bool,
    /// Names of the images
    #[arg(long, group = "what")]
    images: bool,
    /// Names of the profiles
    #[arg(long, group = "what")]
    profiles: bool,
    /// A number for each service that changes with it
    #[arg(long, group = "what")]
    hash: bool,
}

#[derive(Debug, Args)]
struct Graph {
    /// Language of the graph
    #[arg(long, value_enum, default_value_t = Drawing::Dot, value_name = "FORM")]
    format: Drawing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Form {
    Yaml,
    Json,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Drawing {
    Dot,
    Mermaid,
    Svg,
}

impl Compose {
    pub(crate) fn run(self) -> Result<u8, Failure> {
        let loaded = self.load(!matches!(&self.command, Command::Config(config) if config.no_interpolate))?;
        let mut errors = std::io::stderr();
        for finding in &loaded.diagnostics {
            for line in finding.render(&loaded.sources).lines() {
                // standard error that is closed is nobody to tell
                let _ = writeln!(errors, "{}", plain(line));
            }
        }
        if !loaded.is_ok() {
            return Ok(1);
        }
        match self.command {
            Command::Config(config) if config.no_interpolate => {
                print(tree_to_yaml(&loaded.tree).trim_end()).map(|()| 0)
            }
            Command::Config(config) => config.show(loaded.project),
            Command::Graph(graph) => {
                let drawn = loaded.project.without_unused().graph();
                let text = match graph.format {
                    Drawing::Dot => drawn.to_dot(),
                    Drawing::Mermaid => drawn.to_mermaid(),
                    Drawing::Svg => drawn.to_svg(),
                };
                print(text.trim_end()).map(|()| 0)
            }
        }
    }

    fn load(&self, interpolate: bool) -> Result<Loaded, Failure> {
        let here = std::env::current_dir()?;
        let files = if self.file.is_empty() {
            found(&here)?
        } else {
            self.file.iter().map(|file| here.join(file)).collect()
        };
        let directory = match &self.project_directory {
            Some(directory) => here.join(directory),
            None => files.first().and_then(|file| file.parent()).map_or_else(|| here.clone(), PathBuf::from),
        };
        let environment: BTreeMap<String, String> = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        let system = SystemFiles::anywhere();
        let mut loader = Loader::new(&system)
            .environment(environment)
            .profiles(self.profile.iter().cloned())
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

/// The project's file in a directory or one above it, and the one that overrides it.
fn found(here: &std::path::Path) -> Result<Vec<PathBuf>, Failure> {
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

impl Config {
    fn show(&self, project: Project) -> Result<u8, Failure> {
        if self.quiet {
            return Ok(0);
        }
        let project = if self.profiles { project } else { project.without_unused() };
        let lines: Vec<String> = if self.services {
            project.services.keys().map(ToString::to_string).collect()
        } else if self.volumes {
            project.volumes.keys().map(ToString::to_string).collect()
        } else if self.networks {
            project.networks.keys().map(ToString::to_string).collect()
        } else if self.images {
            project.images()
        } else if self.profiles {
            project.known_profiles().into_iter().map(str::to_owned).collect()
        } else if self.hash {
            project
                .services
                .iter()
                .map(|(name, service)| format!("{name} {}", project.hash(service)))
                .collect()
        } else {
            let text = match self.format {
                Form::Yaml => project.to_yaml(),
                Form::Json => project.to_json(),
            };
            return print(text.trim_end()).map(|()| 0);
        };
        if lines.is_empty() { Ok(0) } else { print(lines.join("\n")).map(|()| 0) }
    }
}
