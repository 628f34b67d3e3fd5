use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::error::Error as StdError;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use container_image::{Compression, Descriptor, Image, ImageConfig, MediaType, RootFs, Snapshots, Store};
use dockerfile_parser::{
    Arguments, Diagnostic, Dockerfile, Graph, LintOptions, Platform, Severity, Target, parse,
};

use crate::cache::{BuildCache, Work};
use crate::facts::Facts;
use crate::fetch::Fetch;
use crate::progress::{Event, Output};
use crate::runner::{Runner, StepNetwork};
use crate::select::Tree;
use crate::stage::{self, Outcome};
use crate::{Context, Error, time};

/// What is to be built.
#[derive(Debug)]
pub struct Build {
    /// The Dockerfile's bytes.
    pub dockerfile: Vec<u8>,
    /// Its path in the context: `NAME.dockerignore` beside it is read instead of `.dockerignore`.
    pub dockerfile_name: Option<String>,
    /// The files that can be copied.
    pub context: Context,
    /// The stage to build; the last one if none is given.
    pub target: Option<String>,
    /// Values for `ARG`.
    pub arguments: BTreeMap<String, String>,
    /// Labels beside those of the Dockerfile.
    pub labels: BTreeMap<String, String>,
    /// Carry out every step, whatever the cache has.
    pub no_cache: bool,
    /// Ask the registry for a newer base image.
    pub pull: bool,
    /// The network of a `RUN` that says nothing.
    pub network: StepNetwork,
    /// Contents of secrets by id.
    pub secrets: BTreeMap<String, Vec<u8>>,
    /// Sockets of SSH agents by id.
    pub ssh: BTreeMap<String, PathBuf>,
    /// No time in the image is later than this, in seconds since 1970: `SOURCE_DATE_EPOCH`. The same input gives the same digest.
    pub source_date_epoch: Option<i64>,
    /// Further lines of `/etc/hosts` in steps.
    pub extra_hosts: Vec<(String, IpAddr)>,
    /// `/etc/resolv.conf` in steps.
    pub resolv_conf: String,
    /// How layers are packed.
    pub compression: Compression,
    /// So many stages are built side by side at most.
    pub workers: usize,
    /// Set it to stop: a step that runs is killed.
    pub stop: Arc<AtomicBool>,
}

impl Build {
    /// A build of a Dockerfile's last stage, without any setting.
    pub fn new(dockerfile: Vec<u8>, context: Context) -> Self {
        Self {
            dockerfile,
            dockerfile_name: None,
            context,
            target: None,
            arguments: BTreeMap::new(),
            labels: BTreeMap::new(),
            no_cache: false,
            pull: false,
            network: StepNetwork::Default,
            secrets: BTreeMap::new(),
            ssh: BTreeMap::new(),
            source_date_epoch: None,
            extra_hosts: Vec::new(),
            resolv_conf: String::new(),
            compression: Compression::Gzip,
            workers: 2,
            stop: Arc::new(AtomicBool::new(false)),
        }
    }
}

/// Where base images come from.
pub trait Images: Sync {
    /// The image of a name, in the store; with `pull`, the newest that can be had.
    fn image(&self, name: &str, pull: bool) -> Result<Image, Box<dyn StdError + Send + Sync>>;
}

/// Only what is in the store.
impl Images for Store {
    fn image(&self, name: &str, _: bool) -> Result<Image, Box<dyn StdError + Send + Sync>> {
        Ok(self.find(name)?.image)
    }
}

/// What builds work with.
#[derive(Clone, Copy)]
pub struct Builder<'a> {
    /// The image store.
    pub store: &'a Store,
    /// Its unpacked layers.
    pub snapshots: &'a Snapshots,
    /// What earlier builds left, on the same file system.
    pub cache: &'a BuildCache,
    /// Base images.
    pub images: &'a dyn Images,
    /// Runs the commands of `RUN`.
    pub runner: &'a dyn Runner,
    /// Fetches what `ADD` names by address; nothing without one.
    pub fetch: Option<&'a dyn Fetch>,
    /// Hears what happens.
    pub output: &'a dyn Output,
}

impl std::fmt::Debug for Builder<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Builder").field("cache", &self.cache).finish_non_exhaustive()
    }
}

/// What a build made.
#[derive(Debug, Clone)]
pub struct Built {
    /// The image. It has no name and is in no index yet.
    pub image: Image,
    /// Steps that the cache had.
    pub cached: usize,
    /// Steps that were carried out.
    pub carried_out: usize,
}

/// All that stages share.
pub(crate) struct Session<'a> {
    pub(crate) builder: Builder<'a>,
    pub(crate) build: &'a Build,
    pub(crate) file: &'a Dockerfile,
    pub(crate) graph: &'a Graph,
    pub(crate) arguments: &'a Arguments,
    pub(crate) tree: Arc<Tree>,
    pub(crate) facts: Facts,
    /// Trees of stages and images that files were copied from, by key.
    pub(crate) trees: Mutex<HashMap<String, Arc<Tree>>>,
    pub(crate) steps: AtomicUsize,
    pub(crate) cached: AtomicUsize,
    pub(crate) carried_out: AtomicUsize,
    pub(crate) now: String,
    /// For what is fetched.
    scratch: Mutex<Option<Work>>,
    stages: Mutex<Stages>,
    changed: Condvar,
}

#[derive(Default)]
struct Stages {
    states: HashMap<usize, State>,
    /// Which stage waits for which, beyond what was known before.
    waits: HashMap<usize, usize>,
    failure: Option<Error>,
}

enum State {
    Running,
    Done(Arc<Outcome>),
    Failed,
}

impl Builder<'_> {
    /// Builds. The image is in the store then, without a name.
    ///
    /// The caller holds a [`lease`](Store::lease) of the store from before this call until the image has its name. Blocks the
    /// calling thread. Nothing but cached steps stays of a build that fails or is killed, and the next one goes on from the
    /// last step that was finished.
    ///
    /// # Errors
    ///
    /// [`Error::Dockerfile`] before anything is done; [`Error::Step`] with the cause.
    pub fn build(&self, build: &Build) -> Result<Built, Error> {
        // what is left of a build that was killed
        self.cache.sweep()?;
        let file = parse(&build.dockerfile);
        let arguments = arguments(build)?;
        let graph = Graph::new(&file, &arguments, &BTreeSet::new());
        let name = build.dockerfile_name.clone().unwrap_or_else(|| "Dockerfile".to_owned());
        refuse_faults(&file, &graph, &name)?;
        for found in file.lint(&checks(build)) {
            let text = warning(&file, &name, &found);
            self.output.event(Event::Warning { text: &text });
        }
        let target = match &build.target {
            None => graph.stages().len().checked_sub(1),
            Some(name) => Some(graph.find(name).ok_or_else(|| Error::TargetMissing(name.clone()))?),
        };
        let target = target.ok_or_else(|| Error::TargetMissing(String::new()))?;
        let session = Session {
            builder: *self,
            build,
            file: &file,
            graph: &graph,
            arguments: &arguments,
            tree: Arc::new(build.context.tree(build.dockerfile_name.as_deref())?),
            scratch: Mutex::default(),
            facts: Facts::load(&self.cache.facts()),
            trees: Mutex::default(),
            steps: AtomicUsize::new(0),
            cached: AtomicUsize::new(0),
            carried_out: AtomicUsize::new(0),
            now: time::rfc3339(build.source_date_epoch.unwrap_or_else(time::now)),
            stages: Mutex::default(),
            changed: Condvar::new(),
        };
        let outcome = session.run(target);
        if let Some(bytes) = session.facts.save() {
            self.cache.replace(&self.cache.facts(), &bytes)?;
        }
        let image = session.image(&*outcome?)?;
        Ok(Built {
            image,
            cached: session.cached.load(Ordering::Relaxed),
            carried_out: session.carried_out.load(Ordering::Relaxed),
        })
    }
}

impl Session<'_> {
    fn stages(&self) -> MutexGuard<'_, Stages> {
        self.stages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Builds what a target needs, independent stages side by side, and the target.
    fn run(&self, target: usize) -> Result<Arc<Outcome>, Error> {
        let order = self.graph.needed(target);
        let workers = self.build.workers.clamp(1, order.len().max(1));
        std::thread::scope(|scope| {
            for _ in 1..workers {
                scope.spawn(|| self.work(&order));
            }
            self.work(&order);
        });
        let mut stages = self.stages();
        match (stages.failure.take(), stages.states.get(&target)) {
            (Some(failure), _) => Err(failure),
            (None, Some(State::Done(outcome))) => Ok(Arc::clone(outcome)),
            _ => Err(Error::StageFailed(target)),
        }
    }

    fn work(&self, order: &[usize]) {
        loop {
            let next = {
                let mut stages = self.stages();
                loop {
                    if stages.failure.is_some() {
                        return;
                    }
                    let fresh = |stage: &&usize| !stages.states.contains_key(*stage);
                    let ready = |stage: &&usize| {
                        let needs = self.graph.stages().get(**stage).map(|stage| &stage.needs);
                        needs.into_iter().flatten().all(|edge| match edge.target {
                            Target::Stage(needed) => {
                                matches!(stages.states.get(&needed), Some(State::Done(_)))
                            }
                            _ => true,
                        })
                    };
                    let mut waiting = order.iter().filter(fresh).peekable();
                    if waiting.peek().is_none() {
                        return;
                    }
                    if let Some(&stage) = waiting.find(ready) {
                        stages.states.insert(stage, State::Running);
                        break stage;
                    }
                    stages = self.changed.wait(stages).unwrap_or_else(PoisonError::into_inner);
                }
            };
            self.carry_out(next);
        }
    }

    /// Builds a stage that was claimed.
    fn carry_out(&self, index: usize) {
        let made = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| stage::build(self, index)));
        let made = made.unwrap_or(Err(Error::StageFailed(index)));
        let mut stages = self.stages();
        let state = match made {
            Ok(outcome) => State::Done(Arc::new(outcome)),
            Err(error) => {
                // the first one is the cause; the others are stopped by it
                stages.failure.get_or_insert(error);
                State::Failed
            }
        };
        stages.states.insert(index, state);
        drop(stages);
        self.changed.notify_all();
    }

    /// What another stage made, for the stage `from`; it is built now if nobody has begun it.
    pub(crate) fn stage(&self, index: usize, from: usize) -> Result<Arc<Outcome>, Error> {
        let mut stages = self.stages();
        loop {
            match stages.states.get(&index) {
                Some(State::Done(outcome)) => return Ok(Arc::clone(outcome)),
                Some(State::Failed) => return Err(Error::StageFailed(index)),
                None => {
                    stages.states.insert(index, State::Running);
                    drop(stages);
                    self.carry_out(index);
                    stages = self.stages();
                }
                Some(State::Running) => {
                    stages.waits.insert(from, index);
                    let mut at = index;
                    while let Some(&next) = stages.waits.get(&at) {
                        if next == from {
                            return Err(Error::Circle(index));
                        }
                        at = next;
                    }
                    if index == from {
                        return Err(Error::Circle(index));
                    }
                    stages = self.changed.wait(stages).unwrap_or_else(PoisonError::into_inner);
                    stages.waits.remove(&from);
                }
            }
        }
    }

    /// A folder that goes when the build is over.
    pub(crate) fn scratch(&self) -> Result<PathBuf, Error> {
        let mut scratch = self.scratch.lock().unwrap_or_else(PoisonError::into_inner);
        if scratch.is_none() {
            *scratch = Some(self.builder.cache.work()?);
        }
        Ok(scratch.as_ref().map(|work| work.path("")).unwrap_or_default())
    }

    /// Fails once a stage has failed or somebody asked to stop.
    pub(crate) fn is_over(&self) -> Result<(), Error> {
        if self.build.stop.load(Ordering::Relaxed) || self.stages().failure.is_some() {
            return Err(Error::Stopped);
        }
        Ok(())
    }

    fn image(&self, outcome: &Outcome) -> Result<Image, Error> {
        let mut config = ImageConfig {
            created: Some(outcome.created(self)),
            author: outcome.author.clone(),
            architecture: outcome.architecture.clone(),
            os: "linux".to_owned(),
            config: outcome.config.clone(),
            rootfs: RootFs {
                diff_ids: outcome.files.layers.iter().map(|layer| layer.diff_id.clone()).collect(),
                ..RootFs::default()
            },
            history: outcome.history.clone(),
        };
        let labels = self.build.labels.iter().map(|(name, value)| (name.clone(), value.clone()));
        config.config.labels.extend(labels);
        let layers = outcome.files.layers.iter().map(|layer| as_oci(&layer.descriptor)).collect();
        Ok(self.builder.store.put_image(config, layers)?)
    }
}

/// Docker's name of a layer's media type is no name in an OCI manifest.
fn as_oci(layer: &Descriptor) -> Descriptor {
    let media_type = match layer.media_type {
        MediaType::DockerLayer => MediaType::LayerTar,
        MediaType::DockerLayerGzip => MediaType::LayerTarGzip,
        MediaType::DockerLayerZstd => MediaType::LayerTarZstd,
        ref other => other.clone(),
    };
    Descriptor { media_type, ..layer.clone() }
}

fn arguments(build: &Build) -> Result<Arguments, Error> {
    let host = container_image::Platform::host().to_string();
    let own = Platform::parse(&host).unwrap_or_default();
    for name in build.arguments.keys() {
        if name.is_empty() || name.contains(['=', '\0']) {
            return Err(Error::value("build argument", name.clone(), "it is no name"));
        }
    }
    Ok(Arguments {
        given: build.arguments.clone(),
        build_platform: own.clone(),
        target_platform: own,
        target: build.target.clone(),
    })
}

/// Docker's own checks, not what is a matter of taste.
fn checks(build: &Build) -> LintOptions<'static> {
    LintOptions { practice: false, arguments: build.arguments.clone(), ..LintOptions::default() }
}

fn refuse_faults(file: &Dockerfile, graph: &Graph, name: &str) -> Result<(), Error> {
    let faults = file.diagnostics().iter().chain(graph.diagnostics());
    let faults: Vec<Diagnostic> =
        faults.filter(|found| found.severity == Severity::Error).take(50).cloned().collect();
    if let Some(fault) = graph.globals().faults().first() {
        return Err(Error::Expand { word: file.str(fault.span).into_owned(), source: fault.source.clone() });
    }
    if faults.is_empty() {
        Ok(())
    } else {
        Err(Error::Dockerfile { report: file.report_text(name, &faults) })
    }
}

fn warning(file: &Dockerfile, name: &str, found: &Diagnostic) -> String {
    let line = file.locate(found.span.start).line;
    format!("{}: {} ({name}:{line})", found.code.name(), found.message)
}
