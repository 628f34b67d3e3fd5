use std::collections::BTreeMap;
use std::io::{BufRead, Read, Write};

use clap::{Args, Subcommand};
use container_engine::{Engine, Named};

use crate::command::{build, history, images, import, inspect, pull, push, rmi, save, tag};
use crate::context::{Failure, Roots, print};
use crate::human;
use crate::listing::ObjectFormat;

#[derive(Debug, Subcommand)]
pub(crate) enum Image {
    /// List images
    #[command(alias = "list")]
    Ls(images::Images),
    /// Remove images
    #[command(alias = "remove")]
    Rm(rmi::Rmi),
    /// Show how an image was made
    History(history::History),
    /// Show everything known of images, as JSON
    Inspect(Inspect),
    /// Build an image of a Dockerfile
    Build(Box<build::Build>),
    /// Make an image of a root file system's archive
    Import(import::Import),
    /// Fetch an image from a registry
    Pull(pull::Pull),
    /// Bring an image to a registry
    Push(push::Push),
    /// Write images as an archive
    Save(save::Save),
    /// Take in the images of an archive
    Load(save::Load),
    /// Give an image one more name
    Tag(tag::Tag),
    /// Remove images without a name
    Prune(Prune),
    /// Show the layers of all images, what is shared and what each costs
    Tree(Tree),
}

#[derive(Debug, Args)]
pub(crate) struct Inspect {
    #[command(flatten)]
    format: ObjectFormat,
    /// Names or ids
    #[arg(required = true)]
    images: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Prune {
    /// All images that no container uses
    #[arg(short, long)]
    all: bool,
    /// Do not ask
    #[arg(short, long)]
    force: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Tree {}

impl Image {
    pub(crate) async fn run(self, roots: &Roots) -> Result<u8, Failure> {
        match self {
            Self::Ls(command) => command.run(roots).await,
            Self::Rm(command) => command.run(roots).await,
            Self::History(command) => command.run(roots).await,
            Self::Inspect(command) => {
                inspect::images(&roots.engine().await?, &command.images, &command.format).await
            }
            Self::Build(command) => command.run(roots).await,
            Self::Import(command) => command.run(roots).await,
            Self::Pull(command) => command.run(roots).await,
            Self::Push(command) => command.run(roots).await,
            Self::Save(command) => command.run(roots).await,
            Self::Load(command) => command.run(roots).await,
            Self::Tag(command) => command.run(roots).await,
            Self::Prune(command) => command.run(&roots.engine().await?).await,
            Self::Tree(_) => tree(&roots.engine().await?.images().await?),
        }
    }
}

impl Prune {
    async fn run(self, engine: &Engine) -> Result<u8, Failure> {
        let what = if self.all { "all images that no container uses" } else { "all images without a name" };
        if !self.force && !confirmed(what)? {
            return Ok(0);
        }
        let freed = prune(engine, self.all).await?;
        print(format_args!("Total reclaimed space: {}", human::size(freed)))?;
        Ok(0)
    }
}

/// Removes images without a name, or all that no container uses; says which, and gives the bytes that came back.
pub(crate) async fn prune(engine: &Engine, all: bool) -> Result<u64, Failure> {
    let used: Vec<String> =
        engine.containers().await?.into_iter().map(|container| container.image_id).collect();
    let before = blobs(&engine.images().await?);
    let mut deleted = Vec::new();
    for named in engine.images().await? {
        let id = named.image.id.to_string();
        if used.contains(&id) || (!all && !named.names.is_empty()) {
            continue;
        }
        let removed = engine.remove_image(&id, true).await?;
        deleted.extend(removed.untagged.iter().map(|name| format!("untagged: {}", name.familiar())));
        deleted.extend(removed.deleted.iter().map(|id| format!("deleted: {id}")));
    }
    if !deleted.is_empty() {
        print(format_args!("Deleted Images:\n{}\n", deleted.join("\n")))?;
    }
    let after = blobs(&engine.images().await?);
    Ok(before.iter().filter(|(digest, _)| !after.contains_key(*digest)).map(|(_, size)| size).sum())
}

/// Asks on standard input; silence means no.
pub(crate) fn confirmed(what: &str) -> Result<bool, Failure> {
    let mut output = std::io::stderr();
    write!(output, "WARNING! This will remove {what}.\nAre you sure you want to continue? [y/N] ")?;
    output.flush()?;
    let mut line = String::new();
    std::io::stdin().lock().take(100).read_line(&mut line)?;
    Ok(matches!(line.trim(), "y" | "Y" | "yes"))
}

/// Every layer once, with its size.
fn blobs(images: &[Named]) -> BTreeMap<String, u64> {
    let layers = images.iter().flat_map(|named| &named.image.manifest.layers);
    layers.map(|layer| (layer.digest.to_string(), layer.size)).collect()
}

/// A layer above others, the images that end with it, and what is above it.
#[derive(Default)]
struct Branch {
    size: u64,
    names: Vec<String>,
    above: BTreeMap<String, Branch>,
}

fn tree(images: &[Named]) -> Result<u8, Failure> {
    let mut root = Branch::default();
    for named in images {
        let mut branch = &mut root;
        for layer in &named.image.manifest.layers {
            branch = branch.above.entry(layer.digest.short().to_owned()).or_default();
            branch.size = layer.size;
        }
        let names = named.names.iter().map(|name| human::plain(&name.familiar()));
        branch.names.extend(names);
        if named.names.is_empty() {
            branch.names.push(format!("<none> {}", named.image.id.short()));
        }
    }
    let mut lines = Vec::new();
    grow(&root, "", &mut lines);
    let total: u64 = blobs(images).values().sum();
    lines.push(format!("{} in {} layers", human::size(total), blobs(images).len()));
    print(lines.join("\n")).map(|()| 0)
}

fn grow(branch: &Branch, indent: &str, lines: &mut Vec<String>) {
    let last = branch.above.len().saturating_sub(1);
    for (at, (digest, above)) in branch.above.iter().enumerate() {
        let (corner, further) = if at == last { ("└─", "  ") } else { ("├─", "│ ") };
        let names = above.names.join(", ");
        let line = format!("{indent}{corner}{digest}  {}  {names}", human::size(above.size));
        lines.push(line.trim_end().to_owned());
        grow(above, &format!("{indent}{further}"), lines);
    }
}
