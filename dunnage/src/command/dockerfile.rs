use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use dockerfile_parser::{
    Arguments, Check, Dockerfile as File, FormatOptions, Graph, Ignore, LintOptions, Rules, Severity, parse,
};

use crate::context::{Failure, print};

/// No Dockerfile that anyone means is larger.
const LARGEST: u64 = 1 << 28;

#[derive(Debug, Subcommand)]
pub(crate) enum Dockerfile {
    /// Tell what is wrong with a Dockerfile
    Lint(Lint),
    /// Bring a Dockerfile into shape
    Fmt(Fmt),
    /// Draw a Dockerfile's stages and what they need
    Graph(Draw),
    /// Show what a Dockerfile says
    Ast(Ast),
}

#[derive(Debug, Args)]
pub(crate) struct Lint {
    /// Files; - is standard input
    #[arg(default_value = "Dockerfile")]
    files: Vec<PathBuf>,
    /// How to tell it
    #[arg(long, default_value = "text", value_parser = ["text", "json", "sarif"])]
    format: String,
    /// Rules to leave out, with commas, or all
    #[arg(long, default_value = "", value_name = "RULES")]
    skip: String,
    /// Docker's own checks alone
    #[arg(long)]
    docker: bool,
    /// A build argument that will be given
    #[arg(long = "build-arg", value_name = "NAME=VALUE")]
    arguments: Vec<String>,
    /// The ignore file; by default .dockerignore beside the Dockerfile
    #[arg(long, value_name = "FILE")]
    ignore: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Fmt {
    /// Files; - is standard input
    #[arg(default_value = "Dockerfile")]
    files: Vec<PathBuf>,
    /// Write the files instead of printing them
    #[arg(short, long, conflicts_with = "check")]
    write: bool,
    /// Change nothing, and fail if something would change
    #[arg(long)]
    check: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Draw {
    /// File; - is standard input
    #[arg(default_value = "Dockerfile")]
    file: PathBuf,
    /// How to draw it
    #[arg(long, default_value = "dot", value_parser = ["dot", "svg"])]
    format: String,
}

#[derive(Debug, Args)]
pub(crate) struct Ast {
    /// File; - is standard input
    #[arg(default_value = "Dockerfile")]
    file: PathBuf,
    /// How to show it
    #[arg(long, default_value = "text", value_parser = ["text", "json"])]
    format: String,
}

impl Dockerfile {
    pub(crate) fn run(self) -> Result<u8, Failure> {
        match self {
            Dockerfile::Lint(command) => command.run(),
            Dockerfile::Fmt(command) => command.run(),
            Dockerfile::Graph(command) => command.run(),
            Dockerfile::Ast(command) => command.run(),
        }
    }
}

impl Lint {
    fn run(self) -> Result<u8, Failure> {
        let arguments: BTreeMap<String, String> = self
            .arguments
            .iter()
            .filter_map(|pair| pair.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        let mut failed = false;
        for path in &self.files {
            let file = open(path)?;
            let ignore = self.ignore_file(path)?;
            let options = LintOptions {
                check: Check { skip: Rules::parse(&self.skip), ..Check::default() },
                practice: !self.docker,
                arguments: arguments.clone(),
                ignore: ignore.as_ref(),
                ..LintOptions::default()
            };
            let found = file.lint(&options);
            failed |= found.iter().any(|found| found.severity == Severity::Error);
            let name = path.to_string_lossy();
            let report = match self.format.as_str() {
                "json" => file.report_json(&found),
                "sarif" => file.report_sarif(&name, &found),
                _ => file.report_text(&name, &found),
            };
            if !report.is_empty() {
                print(report.trim_end())?;
            }
        }
        Ok(u8::from(failed))
    }

    fn ignore_file(&self, file: &Path) -> Result<Option<Ignore>, Failure> {
        let path = match &self.ignore {
            Some(path) => path.clone(),
            None => file.with_file_name(".dockerignore"),
        };
        match read(&path) {
            Ok(text) => Ok(Some(Ignore::parse(&text).0)),
            // only a file that was asked for must be there
            Err(error) if self.ignore.is_none() && error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Failure::new(format!("{}: {error}", path.display()))),
        }
    }
}

impl Fmt {
    fn run(self) -> Result<u8, Failure> {
        let mut differs = false;
        for path in &self.files {
            let file = open(path)?;
            let text = file.format(&FormatOptions::default());
            let same = text.as_bytes() == file.source();
            if self.check {
                if !same {
                    differs = true;
                    print(path.display())?;
                }
            } else if self.write && path.as_os_str() != "-" {
                // bytes that are not UTF-8 would be lost
                if std::str::from_utf8(file.source()).is_err() {
                    return Err(Failure::new(format!("{}: not UTF-8, left as it is", path.display())));
                }
                if !same {
                    fs::write(path, text)
                        .map_err(|error| Failure::new(format!("{}: {error}", path.display())))?;
                }
            } else {
                io::stdout().write_all(text.as_bytes())?;
            }
        }
        Ok(u8::from(differs))
    }
}

impl Draw {
    fn run(self) -> Result<u8, Failure> {
        let file = open(&self.file)?;
        let graph = Graph::new(&file, &Arguments::default(), &BTreeSet::new());
        let picture = if self.format == "svg" { graph.to_svg() } else { graph.to_dot() };
        print(picture.trim_end())?;
        Ok(0)
    }
}

impl Ast {
    fn run(self) -> Result<u8, Failure> {
        let tree = open(&self.file)?.ast();
        print(if self.format == "json" { tree.to_json() } else { tree.to_string() }.trim())?;
        Ok(0)
    }
}

fn open(path: &Path) -> Result<File, Failure> {
    let source = read(path).map_err(|error| Failure::new(format!("{}: {error}", path.display())))?;
    Ok(parse(&source))
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut source = Vec::new();
    let input: Box<dyn Read> =
        if path.as_os_str() == "-" { Box::new(io::stdin()) } else { Box::new(fs::File::open(path)?) };
    input.take(LARGEST + 1).read_to_end(&mut source)?;
    if source.len() as u64 > LARGEST {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "larger than 256 MiB"));
    }
    Ok(source)
}
