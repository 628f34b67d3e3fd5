use clap::Args;
use container_engine::{ChangeKind, CommitOptions, Reference};

use crate::command::import::change;
use crate::context::{Failure, Roots, print};
use crate::human::plain;

#[derive(Debug, Args)]
pub(crate) struct Commit {
    /// Who made it
    #[arg(short, long, value_name = "NAME")]
    author: Option<String>,
    /// What is new
    #[arg(short, long, value_name = "TEXT")]
    message: Option<String>,
    /// An instruction of a Dockerfile for the image: CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, STOPSIGNAL, USER, VOLUME, WORKDIR
    #[arg(short, long, value_name = "INSTRUCTION")]
    change: Vec<String>,
    /// Freeze the container meanwhile
    #[arg(short, long, default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1,
          default_missing_value = "true", require_equals = true)]
    pause: bool,
    /// Container
    container: String,
    /// Name of the image
    name: Option<Reference>,
}

#[derive(Debug, Args)]
pub(crate) struct Diff {
    /// Container
    container: String,
}

impl Commit {
    pub(crate) async fn run(self, roots: &Roots) -> Result<u8, Failure> {
        // what is wrong is said before anything is done
        let mut trial = container_engine::ContainerConfig::default();
        for text in &self.change {
            change(&mut trial, text)?;
        }
        let options = CommitOptions {
            name: self.name,
            author: self.author,
            message: self.message,
            no_pause: !self.pause,
        };
        let engine = roots.engine().await?;
        let apply = |config: &mut container_engine::ContainerConfig| {
            for text in &self.change {
                // tried above
                let _ = change(config, text);
            }
        };
        print(engine.commit(&self.container, options, apply).await?)?;
        Ok(0)
    }
}

impl Diff {
    pub(crate) async fn run(self, roots: &Roots) -> Result<u8, Failure> {
        let mut text = String::new();
        for change in roots.engine().await?.changes(&self.container).await? {
            let letter = match change.kind() {
                ChangeKind::Added => "A",
                ChangeKind::Changed => "C",
                ChangeKind::Deleted => "D",
            };
            text = text + letter + " " + &plain(&change.path().to_string_lossy()) + "\n";
        }
        if !text.is_empty() {
            print(text.trim_end_matches('\n'))?;
        }
        Ok(0)
    }
}
