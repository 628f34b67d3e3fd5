//! One stage: its base, and its instructions in order.

use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use container_image::{ContainerConfig, Diff, Digest, History, Image, Layer, Limits, Pack, make_upper};
use dockerfile_parser::{
    Dockerfile, EXPANSION_LIMIT, Ignore, Instruction, Kind, PREDEFINED, Scope, Span, Target, Word, expand,
    parse,
};

use crate::build::Session;
use crate::cache::{Record, StoredLayer, Work, chain_image};
use crate::key::Key;
use crate::progress::Event;
use crate::select::Tree;
use crate::{Error, effect, owner, view};

/// The search path where the image has none.
pub(crate) const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The files that a stage has by now.
#[derive(Debug, Clone, Default)]
pub(crate) struct Files {
    /// Says what they are.
    pub(crate) key: String,
    /// Layers, the lowest first.
    pub(crate) layers: Vec<StoredLayer>,
    /// When the last layer was made; empty for nothing at all.
    pub(crate) created: String,
}

/// What a stage has made.
pub(crate) struct Outcome {
    pub(crate) files: Files,
    pub(crate) config: ContainerConfig,
    pub(crate) history: Vec<History>,
    pub(crate) author: Option<String>,
    pub(crate) architecture: String,
    scope: Mutex<Scope>,
    declared: Vec<String>,
}

/// A stage at work.
pub(crate) struct Stage<'s, 'a> {
    pub(crate) session: &'s Session<'a>,
    pub(crate) index: usize,
    pub(crate) files: Files,
    pub(crate) config: ContainerConfig,
    pub(crate) history: Vec<History>,
    pub(crate) author: Option<String>,
    architecture: String,
    pub(crate) scope: Scope,
    /// Names of `ARG`, in the order in which they were declared.
    pub(crate) declared: Vec<String>,
    /// This stage, not the base, has set `CMD`.
    pub(crate) has_cmd: bool,
    /// The step that is carried out was in the cache.
    hit: bool,
    label: String,
    at: usize,
    total: usize,
}

/// A root that can be changed, and becomes a layer.
pub(crate) struct Root {
    pub(crate) mount: OwnedFd,
    pub(crate) upper: PathBuf,
    pub(crate) work: Work,
    /// The layers below, the topmost first.
    below: Vec<PathBuf>,
}

impl Outcome {
    pub(crate) fn created(&self, session: &Session<'_>) -> String {
        if self.files.created.is_empty() { session.now.clone() } else { self.files.created.clone() }
    }
}

pub(crate) fn build(session: &Session<'_>, index: usize) -> Result<Outcome, Error> {
    let graph = session.graph.stages().get(index).ok_or(Error::StageFailed(index))?;
    let file = session.file;
    let body = file.instructions().get(graph.body.clone()).unwrap_or_default();
    let makes_layer = |instruction: &&Instruction| {
        matches!(instruction.kind, Kind::Run(_) | Kind::Copy(_) | Kind::Add(_) | Kind::Workdir(_))
    };
    let label = match (&graph.name, session.graph.stages().len()) {
        (Some(name), _) => format!("{name} "),
        (None, 1) => String::new(),
        _ => format!("stage-{index} "),
    };
    let mut stage = Stage {
        session,
        index,
        files: Files::default(),
        config: ContainerConfig::default(),
        history: Vec::new(),
        author: None,
        architecture: container_image::Platform::host().architecture,
        scope: Scope::new(file),
        declared: Vec::new(),
        has_cmd: false,
        hit: false,
        label,
        at: 0,
        total: 1 + body.iter().filter(makes_layer).count(),
    };
    let from = file.instructions().get(graph.from).ok_or(Error::StageFailed(index))?;
    let platform = graph.platform.clone();
    stage.explained(file, from.span, &instruction_text(file, from), |stage| {
        Stage::check_platform(platform.as_deref())?;
        stage.base(&graph.base)
    })?;
    stage.triggers()?;
    for instruction in body {
        session.is_over()?;
        let text = instruction_text(file, instruction);
        stage.explained(file, instruction.span, &text, |stage| stage.carry_out(file, instruction))?;
    }
    Ok(Outcome {
        files: stage.files,
        config: stage.config,
        history: stage.history,
        author: stage.author,
        architecture: stage.architecture,
        scope: Mutex::new(stage.scope),
        declared: stage.declared,
    })
}

/// An instruction as one line.
pub(crate) fn instruction_text(file: &Dockerfile, instruction: &Instruction) -> String {
    let text = String::from_utf8_lossy(file.slice(instruction.span)).into_owned();
    let first = String::from_utf8_lossy(&file.arguments(instruction)).into_owned();
    let keyword = file.str(instruction.keyword).to_ascii_uppercase();
    let flags: Vec<String> = instruction.flags.iter().map(|flag| file.str(flag.span).into_owned()).collect();
    if text.contains('\n') || !flags.is_empty() {
        let words: Vec<String> = [keyword].into_iter().chain(flags).chain([first]).collect();
        return words.join(" ");
    }
    format!("{keyword} {first}")
}

impl Stage<'_, '_> {
    fn explained<T>(
        &mut self,
        file: &Dockerfile,
        span: Span,
        step: &str,
        work: impl FnOnce(&mut Self) -> Result<T, Error>,
    ) -> Result<T, Error> {
        work(self).map_err(|error| match error {
            Error::Stopped | Error::StageFailed(_) | Error::Step { .. } => error,
            cause => Error::Step {
                step: step.chars().take(200).collect(),
                excerpt: if std::ptr::eq(file, self.session.file) {
                    let name = self.session.build.dockerfile_name.as_deref().unwrap_or("Dockerfile");
                    excerpt(file, name, span)
                } else {
                    "in an ONBUILD instruction of the base image: ".to_owned()
                },
                cause: Box::new(cause),
            },
        })
    }

    fn check_platform(platform: Option<&str>) -> Result<(), Error> {
        let Some(text) = platform else { return Ok(()) };
        let wanted: container_image::Platform = text.parse()?;
        let host = container_image::Platform::host();
        if wanted.os == host.os && wanted.architecture == host.architecture {
            return Ok(());
        }
        Err(Error::Unsupported {
            what: format!("platform {text}"),
            reason: "images are built for the machine's own platform only",
        })
    }

    fn base(&mut self, base: &Target) -> Result<(), Error> {
        match base {
            Target::Scratch => {
                self.files.key = Key::new("scratch").finish();
                Ok(())
            }
            Target::Stage(index) => {
                let outcome = self.session.stage(*index, self.index)?;
                self.files = outcome.files.clone();
                self.config = outcome.config.clone();
                self.history.clone_from(&outcome.history);
                self.author.clone_from(&outcome.author);
                self.architecture.clone_from(&outcome.architecture);
                self.scope = outcome.scope.lock().unwrap_or_else(PoisonError::into_inner).clone();
                self.declared.clone_from(&outcome.declared);
                Ok(())
            }
            Target::Image(name) => {
                let image = self.step(&format!("FROM {name}"), |stage, _| stage.session.base_image(name))?;
                self.files = image_files(&image);
                self.config = image.config.config.clone();
                self.history.clone_from(&image.config.history);
                self.author.clone_from(&image.config.author);
                self.architecture.clone_from(&image.config.architecture);
                for variable in &self.config.env {
                    let (name, value) = variable.split_once('=').unwrap_or((variable, ""));
                    self.scope.set(name, value);
                }
                Ok(())
            }
            Target::Context(name) => Err(Error::Unsupported {
                what: format!("context {name}"),
                reason: "there are no named contexts",
            }),
            Target::Unknown => Err(Error::value("base image", "", "its name cannot be told")),
        }
    }

    /// What the base has put off by `ONBUILD`.
    fn triggers(&mut self) -> Result<(), Error> {
        for trigger in std::mem::take(&mut self.config.on_build) {
            let file = parse(format!("FROM scratch\n{trigger}\n").as_bytes());
            let Some(instruction) = file.instructions().get(1) else { continue };
            if matches!(
                instruction.kind,
                Kind::Onbuild(_) | Kind::From(_) | Kind::Maintainer(_) | Kind::Unknown
            ) {
                return Err(Error::value("ONBUILD instruction", trigger, "it is not allowed there"));
            }
            if matches!(instruction.kind, Kind::Run(_) | Kind::Copy(_) | Kind::Add(_) | Kind::Workdir(_)) {
                self.total += 1;
            }
            self.explained(&file, instruction.span, &trigger, |stage| stage.carry_out(&file, instruction))?;
        }
        Ok(())
    }

    fn carry_out(&mut self, file: &Dockerfile, instruction: &Instruction) -> Result<(), Error> {
        match &instruction.kind {
            Kind::Run(run) => self.run(file, instruction, run),
            Kind::Copy(copy) => self.copy(file, instruction, copy),
            Kind::Add(add) => self.add(file, instruction, add),
            Kind::Workdir(Some(path)) => {
                let path = self.expand(file, path)?;
                self.workdir(&path)
            }
            _ => effect::apply(self, file, instruction),
        }
    }

    fn workdir(&mut self, path: &str) -> Result<(), Error> {
        if path.is_empty() {
            return Err(Error::value("WORKDIR", path, "it is empty"));
        }
        let path = view::absolute(&self.config.working_dir, path);
        self.config.working_dir.clone_from(&path);
        let before = self.files.layers.len();
        self.step(&format!("WORKDIR {path}"), |stage, number| {
            let key = Key::new("workdir")
                .with("parent", &stage.files.key)
                .with("path", &path)
                .with("user", &stage.config.user)
                .finish();
            if stage.cached(&key, number) {
                return Ok(());
            }
            let root = stage.root(&stage.files.layers.clone())?;
            if !view::is_directory(root.mount.as_fd(), &path) {
                let user = owner::identity(root.mount.as_fd(), &stage.config.user)?.user;
                view::make_directories(root.mount.as_fd(), &path, Some((user.uid, user.gid)), 0o755)?;
            }
            stage.commit(root, &key)
        })?;
        self.say(format!("WORKDIR {path}"), self.files.layers.len() > before);
        Ok(())
    }

    /// A line for the history, by which the image is known to have been made. `files`: the last step's layer belongs to it.
    pub(crate) fn say(&mut self, created_by: String, files: bool) {
        let created = if self.files.created.is_empty() { &self.session.now } else { &self.files.created };
        self.history.push(History {
            created: Some(created.clone()),
            created_by: Some(created_by),
            author: self.author.clone(),
            comment: Some("buildkit.dockerfile.v0".to_owned()),
            empty_layer: !files,
        });
    }

    /// A step that people see.
    pub(crate) fn step<T>(
        &mut self,
        name: &str,
        work: impl FnOnce(&mut Self, usize) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let number = self.session.steps.fetch_add(1, Ordering::Relaxed) + 1;
        self.at += 1;
        let name: String = name.lines().next().unwrap_or_default().chars().take(300).collect();
        let name = format!("[{}{}/{}] {name}", self.label, self.at, self.total.max(self.at));
        let output = self.session.builder.output;
        output.event(Event::Begin { step: number, name: &name });
        let begin = Instant::now();
        self.hit = false;
        match work(self, number) {
            Ok(done) => {
                // a hit has said so itself
                if !self.hit {
                    output.event(Event::Done { step: number, elapsed: begin.elapsed() });
                }
                Ok(done)
            }
            Err(error) => {
                let reason = error.to_string();
                output.event(Event::Failed { step: number, reason: &reason });
                Err(error)
            }
        }
    }

    /// Takes what the cache has for a step, if it has something.
    pub(crate) fn cached(&mut self, key: &str, number: usize) -> bool {
        let session = self.session;
        if session.build.no_cache {
            return false;
        }
        let Some(record) = session.builder.cache.find(key, session.builder.store) else { return false };
        self.take(record);
        self.hit = true;
        session.cached.fetch_add(1, Ordering::Relaxed);
        session.builder.output.event(Event::Cached { step: number });
        true
    }

    fn take(&mut self, record: Record) {
        self.files.key = record.key;
        self.files.created = record.created;
        self.files.layers.extend(record.layer);
    }

    /// A root above the layers that can be changed.
    pub(crate) fn root(&self, layers: &[StoredLayer]) -> Result<Root, Error> {
        let builder = &self.session.builder;
        let lowers = self.session.directories(layers)?;
        let work = builder.cache.work()?;
        let (upper, scratch) = (work.path("upper"), work.path("work"));
        let empty = builder.cache.empty();
        make_upper(&upper, &scratch, lowers.last().unwrap_or(&empty))?;
        let mount = view::overlay(&lowers, &empty, Some((&upper, &scratch)))?;
        let below = lowers.into_iter().rev().collect();
        Ok(Root { mount, upper, work, below })
    }

    /// Makes a layer of what a step changed, and keeps it under the step's key.
    pub(crate) fn commit(&mut self, root: Root, key: &str) -> Result<(), Error> {
        self.session.is_over()?;
        let Root { mount, upper, work, below } = root;
        drop(mount);
        let builder = &self.session.builder;
        let build = self.session.build;
        let diff = Diff::of_upper(&upper, &below)?;
        let mut chain: Vec<Digest> = self.files.layers.iter().map(|layer| layer.diff_id.clone()).collect();
        let mut layer = None;
        if !diff.is_empty() {
            let pack = Pack { compression: build.compression, not_after: build.source_date_epoch };
            let Layer { descriptor, diff_id } = builder.store.pack(&diff, &pack)?;
            drop(diff);
            builder.snapshots.adopt(&chain, &diff_id, &upper)?;
            chain.push(diff_id.clone());
            layer = Some(StoredLayer { descriptor, diff_id });
        }
        drop(work);
        let created = crate::time::rfc3339(build.source_date_epoch.unwrap_or_else(crate::time::now));
        let record = Record { key: key.to_owned(), created, layer, chain };
        builder.cache.keep(key, &record, builder.store)?;
        self.session.carried_out.fetch_add(1, Ordering::Relaxed);
        self.take(record);
        Ok(())
    }

    pub(crate) fn expand(&self, file: &Dockerfile, word: &Word) -> Result<String, Error> {
        self.scope
            .expand(file, word)
            .map_err(|source| Error::Expand { word: word.text(file).into_owned(), source })
    }

    pub(crate) fn expand_text(
        &self,
        file: &Dockerfile,
        text: &str,
    ) -> Result<String, dockerfile_parser::ExpandError> {
        let mut lookup = |name: &str| self.scope.value(name).map(std::borrow::Cow::Borrowed);
        expand(text, file.escape(), &mut lookup, EXPANSION_LIMIT)
    }

    /// The variables of `ARG` that a command sees, with their values.
    pub(crate) fn visible_arguments(&self) -> Vec<(String, String)> {
        let value = |name: &String| {
            let variable = self.scope.variables().find(|(known, _)| known == name)?.1;
            variable.argument.then(|| (name.clone(), variable.value.clone()))
        };
        self.declared.iter().filter_map(value).collect()
    }

    /// What a build is given without `ARG`, which a command sees and the cache does not.
    pub(crate) fn predefined(&self) -> Vec<(String, String)> {
        let given = &self.session.build.arguments;
        let known = |name: &&str| !self.declared.iter().any(|declared| declared == *name);
        PREDEFINED
            .iter()
            .copied()
            .filter(known)
            .filter_map(|name| Some((name.to_owned(), given.get(name)?.clone())))
            .collect()
    }

    /// Where `--from` and `from=` lead: to a stage or an image.
    pub(crate) fn origin(&self, name: &str) -> Result<Files, Error> {
        let session = self.session;
        match session.graph.find(name) {
            Some(index) if index < self.index => Ok(session.stage(index, self.index)?.files.clone()),
            Some(_) if name.parse::<usize>().is_ok() => {
                Err(Error::value("--from", name, "a stage can only take from those before it"))
            }
            _ if name.eq_ignore_ascii_case("scratch") => {
                Ok(Files { key: Key::new("scratch").finish(), ..Files::default() })
            }
            _ => Ok(image_files(&session.base_image(name)?)),
        }
    }
}

impl Session<'_> {
    fn base_image(&self, name: &str) -> Result<Image, Error> {
        self.builder
            .images
            .image(name, self.build.pull)
            .map_err(|source| Error::Image { name: name.to_owned(), source })
    }

    /// The directories of layers, the lowest first, unpacked if they are not.
    pub(crate) fn directories(&self, layers: &[StoredLayer]) -> Result<Vec<PathBuf>, Error> {
        let mut image = chain_image(layers.iter().map(|layer| layer.diff_id.clone()).collect());
        image.manifest.layers = layers.iter().map(|layer| layer.descriptor.clone()).collect();
        Ok(self.builder.snapshots.unpack(self.builder.store, &image, &Limits::default())?)
    }

    /// The files of a stage or an image, to be read.
    pub(crate) fn files_of(&self, files: &Files, place: &str) -> Result<Arc<Tree>, Error> {
        let mut trees = self.trees.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(tree) = trees.get(&files.key) {
            return Ok(Arc::clone(tree));
        }
        let lowers = self.directories(&files.layers)?;
        let root = view::overlay(&lowers, &self.builder.cache.empty(), None)?;
        let tree = Tree { root, ignore: Ignore::default(), place: place.to_owned(), is_context: false };
        let tree = Arc::new(tree);
        trees.insert(files.key.clone(), Arc::clone(&tree));
        Ok(tree)
    }
}

fn image_files(image: &Image) -> Files {
    let mut key = Key::new("layers");
    key.list("diff id", image.config.rootfs.diff_ids.iter().map(Digest::as_str));
    let layers = image
        .layers()
        .map(|(descriptor, diff_id)| StoredLayer { descriptor: descriptor.clone(), diff_id: diff_id.clone() })
        .collect();
    Files { key: key.finish(), layers, created: image.config.created.clone().unwrap_or_default() }
}

/// The lines around a place, its own marked, as Docker shows them.
fn excerpt(file: &Dockerfile, name: &str, span: Span) -> String {
    use std::fmt::Write;
    let first = file.locate(span.start).line;
    let last = file.locate(span.end.saturating_sub(1).max(span.start)).line;
    let end = file.locate(file.source().len()).line;
    let mut text = format!("{name}:{first}\n--------------------\n");
    for line in first.saturating_sub(2).max(1)..=(last + 2).min(end) {
        let marked = if (first..=last).contains(&line) { ">>>" } else { "   " };
        let shown: String = file.str(file.line(line)).chars().take(200).collect();
        // writing to a string does not fail
        let _ = writeln!(text, "{line:>4} | {marked} {}", shown.trim_end());
        if line > first + 40 {
            break;
        }
    }
    text.push_str("--------------------\n");
    text
}
