use std::fs::{self, File};
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};

use clap::Args;

use crate::context::{Failure, Roots, print};

#[derive(Debug, Args)]
pub(crate) struct Save {
    /// Write to a file instead of standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Images
    #[arg(required = true)]
    images: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Load {
    /// Read from a file instead of standard input
    #[arg(short, long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// Print nothing
    #[arg(short, long)]
    quiet: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Export {
    /// Write to a file instead of standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Container
    container: String,
}

impl Save {
    pub(crate) async fn run(self, roots: &Roots) -> Result<u8, Failure> {
        let engine = roots.engine().await?;
        match &self.output {
            Some(path) => {
                let (file, new) = create(path)?;
                whole(engine.save_images(&self.images, file).await, &new, path)?;
            }
            None => engine.save_images(&self.images, standard_output()?).await?,
        }
        Ok(0)
    }
}

impl Load {
    pub(crate) async fn run(self, roots: &Roots) -> Result<u8, Failure> {
        let engine = roots.engine().await?;
        let loaded = match &self.input {
            Some(path) => {
                let file =
                    File::open(path).map_err(|error| Failure::new(format!("{}: {error}", path.display())))?;
                engine.load_images(file).await?
            }
            None if io::stdin().is_terminal() => {
                return Err(Failure::new("an archive is wanted on standard input, or as --input FILE"));
            }
            None => engine.load_images(io::stdin()).await?,
        };
        for named in loaded.iter().filter(|_| !self.quiet) {
            if named.names.is_empty() {
                print(format_args!("Loaded image ID: {}", named.image.id))?;
            }
            for name in &named.names {
                print(format_args!("Loaded image: {}", name.familiar()))?;
            }
        }
        Ok(0)
    }
}

impl Export {
    pub(crate) async fn run(self, roots: &Roots) -> Result<u8, Failure> {
        let engine = roots.engine().await?;
        match &self.output {
            Some(path) => {
                let (file, new) = create(path)?;
                whole(engine.export(&self.container, file).await, &new, path)?;
            }
            None => engine.export(&self.container, standard_output()?).await?,
        }
        Ok(0)
    }
}

pub(crate) fn standard_output() -> Result<io::Stdout, Failure> {
    let output = io::stdout();
    if output.is_terminal() {
        return Err(Failure::new("an archive is not for a terminal: redirect it, or use --output FILE"));
    }
    Ok(output)
}

/// A file beside the one that is wanted, which gets the name when it is whole.
pub(crate) fn create(path: &Path) -> Result<(File, PathBuf), Failure> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.part", std::process::id()));
    let new = path.with_file_name(name);
    let file = File::create(&new).map_err(|error| Failure::new(format!("{}: {error}", path.display())))?;
    Ok((file, new))
}

pub(crate) fn whole(
    result: Result<(), container_engine::Error>,
    new: &Path,
    path: &Path,
) -> Result<(), Failure> {
    let done = result.map_err(Failure::from).and_then(|()| Ok(fs::rename(new, path)?));
    if done.is_err() {
        // the first error is the one to report
        let _ = fs::remove_file(new);
    }
    done
}
