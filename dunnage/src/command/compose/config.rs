use clap::{Args, ValueEnum};
use compose_model::{Loaded, Project, tree_to_yaml};

use crate::context::{Failure, print};

#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("what")))]
pub(crate) struct Config {
    /// Form of the whole
    #[arg(long, value_enum, default_value_t = Form::Yaml, value_name = "FORM")]
    format: Form,
    /// Leave variables as they stand
    #[arg(long)]
    pub(super) no_interpolate: bool,
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
pub(crate) struct Graph {
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

impl Config {
    pub(super) fn run(&self, loaded: Loaded) -> Result<u8, Failure> {
        if self.no_interpolate {
            return print(tree_to_yaml(&loaded.tree).trim_end()).map(|()| 0);
        }
        self.show(loaded.project)
    }

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

impl Graph {
    pub(super) fn run(&self, project: Project) -> Result<u8, Failure> {
        let drawn = project.without_unused().graph();
        let text = match self.format {
            Drawing::Dot => drawn.to_dot(),
            Drawing::Mermaid => drawn.to_mermaid(),
            Drawing::Svg => drawn.to_svg(),
        };
        print(text.trim_end()).map(|()| 0)
    }
}
