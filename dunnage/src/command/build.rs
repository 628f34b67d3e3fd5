use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, IsTerminal, Read};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use clap::{Args, Subcommand, ValueEnum};
use container_engine::{
    Build as Wanted, BuildContext, BuildEvent, Engine, Platform, Reference, StepNetwork, open_dockerfile,
    read_dockerfile,
};

use crate::command::login::registry;
use crate::context::{Failure, Roots, print};
use crate::human;
use crate::steps::Shown;

#[derive(Debug, Args)]
pub(crate) struct Build {
    /// Name of the image; may be given several times
    #[arg(short, long = "tag", value_name = "NAME")]
    tags: Vec<Reference>,
    /// The Dockerfile, PATH/Dockerfile by default; - for standard input
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// A value for ARG; the environment's if none is given
    #[arg(long = "build-arg", value_name = "NAME[=VALUE]")]
    arguments: Vec<String>,
    /// The stage to build, by name or number
    #[arg(long, value_name = "STAGE")]
    target: Option<String>,
    /// Carry out every step, whatever was built before
    #[arg(long)]
    no_cache: bool,
    /// A label of the image
    #[arg(long = "label", value_name = "NAME=VALUE")]
    labels: Vec<String>,
    /// Look for newer base images
    #[arg(long)]
    pull: bool,
    /// The network of RUN: default, none or host
    #[arg(long, value_name = "NETWORK", default_value = "default")]
    network: String,
    /// A secret for RUN --mount=type=secret: id=ID[,src=FILE|,env=NAME]
    #[arg(long = "secret", value_name = "SECRET")]
    secrets: Vec<String>,
    /// An agent for RUN --mount=type=ssh: default, or ID=SOCKET
    #[arg(long = "ssh", value_name = "AGENT")]
    ssh: Vec<String>,
    /// A further line of /etc/hosts: NAME:ADDRESS
    #[arg(long = "add-host", value_name = "HOST")]
    hosts: Vec<String>,
    /// For which platform; only the machine's own is built
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<Platform>,
    /// How progress is shown
    #[arg(long, value_enum, default_value = "auto", value_name = "HOW")]
    progress: How,
    /// Print the image's id only
    #[arg(short, long)]
    quiet: bool,
    /// Write the image's id to a file
    #[arg(long, value_name = "FILE")]
    iidfile: Option<PathBuf>,
    /// Write the files of the image: type=local,dest=DIR or type=tar,dest=FILE; a bare DIR is the former
    #[arg(short, long, value_name = "OUTPUT")]
    output: Option<String>,
    /// The directory with the files that are copied; - for an archive or a Dockerfile on standard input
    #[arg(value_name = "PATH")]
    path: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum How {
    /// Redrawn on a terminal, else as plain
    Auto,
    /// Redrawn if it is a terminal
    Tty,
    /// A line for everything that happens
    Plain,
    /// Nothing
    Quiet,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Builder {
    /// Build an image
    Build(Box<Build>),
    /// Forget what builds keep for the next one
    Prune(Prune),
}

#[derive(Debug, Args)]
pub(crate) struct Prune {
    /// As without it: all goes
    #[arg(short, long)]
    all: bool,
    /// Do not ask
    #[arg(short, long)]
    force: bool,
}

/// Where the files of the image are written to.
#[derive(Debug)]
enum Written {
    Directory(PathBuf),
    Archive(PathBuf),
}

impl Build {
    pub(crate) async fn run(self, roots: &Roots) -> Result<u8, Failure> {
        let written = self.output.as_deref().map(parse_output).transpose()?;
        if let Some(platform) = &self.platform {
            let host = Platform::host();
            if (&platform.os, &platform.architecture) != (&host.os, &host.architecture) {
                return Err(Failure::new(format!(
                    "images for {platform} cannot be built here: this machine is {host}"
                )));
            }
        }
        let engine = Arc::new(roots.engine().await?);
        let wanted = self.wanted(&engine)?;
        let stop = Arc::clone(&wanted.stop);
        let quiet = self.quiet || self.progress == How::Quiet;
        let redrawn = self.progress != How::Plain && io::stderr().is_terminal();
        let tags = if written.is_some() { Vec::new() } else { self.tags.clone() };
        let exports = written.is_some();
        let work = {
            let engine = Arc::clone(&engine);
            move || {
                let show = Shown::new(quiet, redrawn);
                let registries = |name: &Reference| {
                    registry(name.domain(), false).map_err(|failure| failure.message().to_owned().into())
                };
                let built = engine
                    .build(wanted, &tags, !exports, &registries, &|event: BuildEvent<'_>| show.event(event));
                if let Ok(built) = &built
                    && !exports
                {
                    show.exported(&built.image.id.to_string(), &tags);
                }
                built
            }
        };
        let mut building = tokio::task::spawn_blocking(work);
        let built = tokio::select! {
            built = &mut building => built,
            _ = tokio::signal::ctrl_c() => {
                stop.store(true, Ordering::Relaxed);
                building.await
            }
        };
        let built = built.map_err(|_| Failure::new("the build ended without a result"))?;
        let built = match built {
            Ok(built) => built,
            Err(error) => {
                let code = if stop.load(Ordering::Relaxed) { 130 } else { 1 };
                return Err(Failure::from(error).with_code(code));
            }
        };
        let id = built.image.id.to_string();
        match &written {
            Some(Written::Directory(path)) => engine.write_tree(&built.image, path)?,
            Some(Written::Archive(path)) if path.as_os_str() == "-" => {
                engine.write_archive(&built.image, &mut io::stdout().lock())?;
            }
            Some(Written::Archive(path)) => engine.write_archive(&built.image, &mut File::create(path)?)?,
            None => {}
        }
        if let Some(path) = &self.iidfile {
            fs::write(path, &id)?;
        }
        if self.quiet {
            print(&id)?;
        }
        Ok(0)
    }

    fn wanted(&self, engine: &Engine) -> Result<Wanted, Failure> {
        let cache = engine.build_cache()?;
        let wrong = |error: container_engine::BuildError| Failure::from(container_engine::Error::from(error));
        let from_stdin = self.file.as_deref().is_some_and(|file| file.as_os_str() == "-");
        let is_remote = ["http://", "https://", "git://", "git@", "ssh://"];
        if is_remote.iter().any(|start| self.path.starts_with(start)) {
            return Err(Failure::new(format!(
                "{}: a context is a directory or an archive on standard input; fetch or clone it first",
                self.path
            )));
        }
        let mut name = None;
        let (dockerfile, context) = if self.path == "-" {
            if from_stdin {
                return Err(Failure::new(
                    "the Dockerfile and the context cannot both come from standard input",
                ));
            }
            let mut start = Vec::new();
            io::stdin().lock().take(512).read_to_end(&mut start)?;
            let whole = io::Cursor::new(start.clone()).chain(io::stdin());
            if is_archive(&start) {
                let context = BuildContext::archive(whole, &cache).map_err(wrong)?;
                let file = self.file.as_deref().map_or("Dockerfile".into(), |file| file.to_string_lossy());
                name = Some(file.clone().into_owned());
                (context.dockerfile(&file).map_err(wrong)?, context)
            } else {
                let dockerfile = read_dockerfile("standard input", whole).map_err(wrong)?;
                (dockerfile, BuildContext::empty(&cache).map_err(wrong)?)
            }
        } else {
            let directory = Path::new(&self.path);
            let context = BuildContext::directory(directory).map_err(wrong)?;
            let dockerfile = if from_stdin {
                read_dockerfile("standard input", io::stdin().lock()).map_err(wrong)?
            } else {
                let file = self.file.clone().unwrap_or_else(|| directory.join("Dockerfile"));
                let (whole, base) = (file.canonicalize(), directory.canonicalize()?);
                if let Ok(inside) = whole.as_deref().unwrap_or(&file).strip_prefix(base) {
                    name = Some(inside.to_string_lossy().into_owned());
                }
                open_dockerfile(&file).map_err(wrong)?
            };
            (dockerfile, context)
        };
        let mut wanted = Wanted::new(dockerfile, context);
        wanted.dockerfile_name = name;
        wanted.target.clone_from(&self.target);
        for argument in &self.arguments {
            match argument.split_once('=') {
                Some((name, value)) => {
                    wanted.arguments.insert(name.to_owned(), value.to_owned());
                }
                None => {
                    if let Ok(value) = std::env::var(argument) {
                        wanted.arguments.insert(argument.clone(), value);
                    }
                }
            }
        }
        for label in &self.labels {
            let (name, value) = label.split_once('=').unwrap_or((label, ""));
            wanted.labels.insert(name.to_owned(), value.to_owned());
        }
        wanted.no_cache = self.no_cache;
        wanted.pull = self.pull;
        let networks = [("bridge", "default")];
        let network =
            networks.iter().find(|(other, _)| *other == self.network).map_or(&*self.network, |(_, own)| own);
        wanted.network = StepNetwork::parse(network).ok_or_else(|| {
            Failure::new(format!("--network {}: it is default, none or host", human::plain(&self.network)))
        })?;
        for text in &self.secrets {
            let (id, secret) = parse_secret(text)?;
            wanted.secrets.insert(id, secret);
        }
        for text in &self.ssh {
            let (id, socket) = if let Some((id, socket)) = text.split_once('=') {
                (id.to_owned(), PathBuf::from(socket))
            } else {
                let socket = std::env::var_os("SSH_AUTH_SOCK")
                    .ok_or_else(|| Failure::new("--ssh: SSH_AUTH_SOCK does not say where the agent is"))?;
                (text.clone(), PathBuf::from(socket))
            };
            wanted.ssh.insert(id, socket);
        }
        for text in &self.hosts {
            let parsed = text.split_once([':', '=']).and_then(|(name, address)| {
                Some((name.to_owned(), address.trim_matches(['[', ']']).parse::<IpAddr>().ok()?))
            });
            let host =
                parsed.ok_or_else(|| Failure::new(format!("--add-host {text}: the form is NAME:ADDRESS")))?;
            wanted.extra_hosts.push(host);
        }
        let epoch = wanted.arguments.get("SOURCE_DATE_EPOCH").cloned();
        if let Some(epoch) =
            epoch.or_else(|| std::env::var("SOURCE_DATE_EPOCH").ok()).filter(|text| !text.is_empty())
        {
            let seconds = epoch.parse();
            let wrong = |_| Failure::new(format!("SOURCE_DATE_EPOCH={epoch}: it is no number of seconds"));
            wanted.source_date_epoch = Some(seconds.map_err(wrong)?);
        }
        Ok(wanted)
    }
}

impl Builder {
    pub(crate) async fn run(self, roots: &Roots) -> Result<u8, Failure> {
        match self {
            Self::Build(build) => build.run(roots).await,
            Self::Prune(prune) => {
                let _ = prune.all;
                let what = "all that builds keep for the next one";
                if !prune.force && !super::image::confirmed(what)? {
                    return Ok(0);
                }
                let pruned = roots.engine().await?.prune_builds().await?;
                print(format_args!("Total:\t{}", human::size(pruned.bytes)))?;
                Ok(0)
            }
        }
    }
}

/// A tar archive, plain or packed, by its first bytes.
fn is_archive(start: &[u8]) -> bool {
    start.starts_with(&[0x1f, 0x8b])
        || start.starts_with(&[0x28, 0xb5, 0x2f, 0xfd])
        || start.get(257..262) == Some(b"ustar")
}

fn fields(text: &str) -> BTreeMap<&str, &str> {
    text.split(',').filter_map(|field| field.split_once('=')).collect()
}

fn parse_secret(text: &str) -> Result<(String, Vec<u8>), Failure> {
    let fields = fields(text);
    let id = fields.get("id").ok_or_else(|| Failure::new(format!("--secret {text}: id=… is missing")))?;
    let known = ["id", "src", "source", "env", "type"];
    if let Some(other) = fields.keys().find(|key| !known.contains(*key)) {
        return Err(Failure::new(format!("--secret {text}: {other} is not known")));
    }
    let path = fields.get("src").or_else(|| fields.get("source"));
    let by_name = |name: &str| std::env::var_os(name).map(std::ffi::OsString::into_encoded_bytes);
    let secret = match (path, fields.get("env")) {
        (Some(path), _) => {
            fs::read(path).map_err(|error| Failure::new(format!("--secret {path}: {error}")))?
        }
        (None, Some(name)) => by_name(name)
            .ok_or_else(|| Failure::new(format!("--secret {text}: the environment has no {name}")))?,
        (None, None) => match by_name(id) {
            Some(value) => value,
            None => fs::read(id).map_err(|error| Failure::new(format!("--secret {id}: {error}")))?,
        },
    };
    Ok(((*id).to_owned(), secret))
}

fn parse_output(text: &str) -> Result<Written, Failure> {
    if text == "-" {
        return Ok(Written::Archive("-".into()));
    }
    if !text.contains('=') {
        return Ok(Written::Directory(text.into()));
    }
    let fields = fields(text);
    let dest = || {
        fields
            .get("dest")
            .or_else(|| fields.get("destination"))
            .map(PathBuf::from)
            .ok_or_else(|| Failure::new(format!("--output {text}: dest=… is missing")))
    };
    match fields.get("type") {
        Some(&"local") => Ok(Written::Directory(dest()?)),
        Some(&"tar") => Ok(Written::Archive(dest()?)),
        other => Err(Failure::new(format!(
            "--output {text}: the type {} is none of local and tar",
            other.copied().unwrap_or("(missing)")
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_are_directories_and_archives() {
        assert!(matches!(parse_output("out"), Ok(Written::Directory(path)) if path == Path::new("out")));
        assert!(
            matches!(parse_output("type=local,dest=a/b"), Ok(Written::Directory(path)) if path == Path::new("a/b"))
        );
        assert!(matches!(parse_output("type=tar,dest=x.tar"), Ok(Written::Archive(_))));
        assert!(matches!(parse_output("-"), Ok(Written::Archive(_))));
        assert!(parse_output("type=registry,ref=x").is_err() && parse_output("type=local").is_err());
    }
}
