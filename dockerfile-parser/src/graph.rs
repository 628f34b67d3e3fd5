//! Stages, and what each of them needs.

use std::collections::{BTreeSet, HashMap};
use std::ops::Range;

use crate::code::Code;
use crate::diagnostic::{Diagnostic, closest};
use crate::dockerfile::{Dockerfile, clip};
use crate::edit::Edit;
use crate::expand::{EXPANSION_LIMIT, expand};
use crate::instruction::{From, Instruction, Kind};
use crate::scope::{Arguments, Globals};
use crate::span::Span;
use crate::word::Word;

/// One stage: a `FROM` and what follows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stage {
    /// Its name in lower case.
    pub name: Option<String>,
    /// The `FROM`, as a number in [`Dockerfile::instructions`].
    pub from: usize,
    /// The instructions after it.
    pub body: Range<usize>,
    /// What it builds on.
    pub base: Target,
    /// `--platform`, expanded.
    pub platform: Option<String>,
    /// All that it needs, the base first.
    pub needs: Vec<Edge>,
    /// What stages that build on it need for its `ONBUILD` instructions.
    pub onbuild: Vec<Edge>,
}

/// What a stage needs, and where it says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edge {
    /// Why.
    pub kind: EdgeKind,
    /// What.
    pub target: Target,
    /// The word that names it.
    pub span: Span,
    /// The instruction's number in [`Dockerfile::instructions`].
    pub instruction: usize,
}

/// Why a stage needs something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EdgeKind {
    /// `FROM`
    Base,
    /// `COPY --from`
    Copy,
    /// `RUN --mount=from=`
    Mount,
}

/// What a stage can need.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Target {
    /// Another stage, by number.
    Stage(usize),
    /// An image, by name.
    Image(String),
    /// A context that was given from outside.
    Context(String),
    /// `scratch`: nothing.
    Scratch,
    /// It cannot be told: a variable fails, or a number is too high.
    Unknown,
}

/// The stages of a file.
#[derive(Debug, Clone)]
pub struct Graph {
    stages: Vec<Stage>,
    names: HashMap<String, usize>,
    globals: Globals,
    diagnostics: Vec<Diagnostic>,
}

impl Dockerfile {
    /// The stages, with the arguments' defaults and no contexts from outside.
    pub fn graph(&self) -> Graph {
        Graph::new(self, &Arguments::default(), &BTreeSet::new())
    }
}

impl Graph {
    /// The stages, with arguments given and names that stand for contexts from outside.
    pub fn new(file: &Dockerfile, arguments: &Arguments, contexts: &BTreeSet<String>) -> Self {
        let globals = Globals::new(file, arguments);
        let mut graph = Self { stages: Vec::new(), names: HashMap::new(), globals, diagnostics: Vec::new() };
        let later = later_names(file);
        for (at, instruction) in file.instructions().iter().enumerate() {
            match &instruction.kind {
                Kind::From(from) => graph.open(file, at, from, contexts, &later),
                _ => {
                    if let Some(stage) = graph.stages.last_mut() {
                        stage.body.end = at + 1;
                    }
                }
            }
        }
        graph.connect(file, contexts);
        graph.find_cycles();
        graph.diagnostics.sort_by_key(|diagnostic| diagnostic.span.start);
        graph
    }

    /// The stages, in order.
    pub fn stages(&self) -> &[Stage] {
        &self.stages
    }

    /// The arguments before the first `FROM`.
    pub fn globals(&self) -> &Globals {
        &self.globals
    }

    /// What is wrong with the stages.
    pub fn diagnostics(&self) -> &[Diagnostic] {
        &self.diagnostics
    }

    /// The stage of a name, without case, or of a number; of several with one name the last.
    pub fn find(&self, name: &str) -> Option<usize> {
        if let Some(&at) = self.names.get(&name.to_ascii_lowercase()) {
            return Some(at);
        }
        name.parse::<usize>().ok().filter(|&at| at < self.stages.len())
    }

    /// The stages that a target needs, itself last, each after all it needs; empty if there is no such stage.
    ///
    /// Stages in a circle come in some order; the diagnostics have the circle.
    pub fn needed(&self, target: usize) -> Vec<usize> {
        let mut order = Vec::new();
        if target < self.stages.len() {
            let mut state = vec![State::New; self.stages.len() * 2];
            self.walk(target, &mut state, &mut order, &mut |_, _| {});
        }
        order
    }

    /// All stages, each after those it needs.
    pub fn order(&self) -> Vec<usize> {
        let mut order = Vec::new();
        let mut state = vec![State::New; self.stages.len() * 2];
        for stage in 0..self.stages.len() {
            self.walk(stage, &mut state, &mut order, &mut |_, _| {});
        }
        order
    }

    fn open(
        &mut self,
        file: &Dockerfile,
        at: usize,
        from: &From,
        contexts: &BTreeSet<String>,
        later: &HashMap<String, usize>,
    ) {
        let index = self.stages.len();
        let mut base = Target::Unknown;
        let mut span = Span::at(file.instructions()[at].keyword.end);
        if let Some(word) = &from.image {
            span = word.span;
            match self.globals.expand(file, word) {
                Err(fault) => self.fault(Code::InvalidExpansion, span, fault.to_string()),
                Ok(text) if text.is_empty() => {
                    let message = format!("the image's name '{}' is empty", clip(&word.text(file)));
                    self.fault(Code::MissingArgument, span, message);
                }
                Ok(text) => {
                    base = self.target(&text, contexts, false);
                    if let Target::Image(name) = &base
                        && let Some(&line) = later.get(name.as_str())
                        && line > at
                    {
                        let message = format!(
                            "'{}' is a stage that comes later; FROM takes the image of that name",
                            clip(name)
                        );
                        self.fault(Code::ForwardReference, span, message);
                    }
                }
            }
        }
        let platform = match &from.platform {
            None => None,
            Some(word) => match self.globals.expand(file, word) {
                Ok(text) if text.is_empty() => {
                    let message = format!("the platform '{}' is empty", clip(&word.text(file)));
                    self.fault(Code::InvalidFlagValue, word.span, message);
                    None
                }
                Ok(text) => Some(text),
                Err(fault) => {
                    self.fault(Code::InvalidExpansion, word.span, fault.to_string());
                    None
                }
            },
        };
        let name = from.name.as_ref().map(|word| word.text(file).to_ascii_lowercase());
        if let Some(name) = &name {
            self.names.insert(name.clone(), index);
        }
        let edge = Edge { kind: EdgeKind::Base, target: base.clone(), span, instruction: at };
        self.stages.push(Stage {
            name,
            from: at,
            body: at + 1..at + 1,
            base,
            platform,
            needs: vec![edge],
            onbuild: Vec::new(),
        });
    }

    fn fault(&mut self, code: Code, span: Span, message: String) {
        self.diagnostics.push(Diagnostic::new(code, span, message));
    }

    /// What a name stands for; a number is a stage only after `COPY --from`.
    fn target(&self, name: &str, contexts: &BTreeSet<String>, numbers: bool) -> Target {
        if contexts.contains(name) && !name.eq_ignore_ascii_case("scratch") {
            return Target::Context(name.to_owned());
        }
        if numbers && let Ok(at) = name.parse::<usize>() {
            return if at < self.stages.len() { Target::Stage(at) } else { Target::Unknown };
        }
        // FROM compares as it is written, COPY without case
        let key = if numbers { name.to_ascii_lowercase() } else { name.to_owned() };
        match self.names.get(&key) {
            Some(&at) => Target::Stage(at),
            None if name == "scratch" => Target::Scratch,
            None => Target::Image(name.to_owned()),
        }
    }

    /// The edges of `COPY --from` and `RUN --mount=from`.
    fn connect(&mut self, file: &Dockerfile, contexts: &BTreeSet<String>) {
        for index in 0..self.stages.len() {
            for at in self.stages[index].body.clone() {
                let Some(instruction) = file.instructions().get(at) else { continue };
                let put_off = matches!(instruction.kind, Kind::Onbuild(_));
                for edge in self.edges(file, at, instruction.innermost(), contexts) {
                    let stage = &mut self.stages[index];
                    if put_off { &mut stage.onbuild } else { &mut stage.needs }.push(edge);
                }
            }
        }
    }

    fn edges(
        &mut self,
        file: &Dockerfile,
        at: usize,
        instruction: &Instruction,
        contexts: &BTreeSet<String>,
    ) -> Vec<Edge> {
        let mut edges = Vec::new();
        match &instruction.kind {
            Kind::Copy(copy) => {
                if let Some(word) = &copy.from
                    && !word.bytes(file).is_empty()
                {
                    let target = self.copy_source(file, word, contexts);
                    edges.push(Edge { kind: EdgeKind::Copy, target, span: word.span, instruction: at });
                }
            }
            Kind::Run(run) => {
                for word in run.mounts.iter().filter_map(|mount| mount.from.as_ref()) {
                    let name = word.text(file).into_owned();
                    let target = match self.target(&name, contexts, false) {
                        // a mount's name is compared without case, too
                        Target::Image(_) if self.names.contains_key(&name.to_ascii_lowercase()) => {
                            Target::Stage(self.names[&name.to_ascii_lowercase()])
                        }
                        other => other,
                    };
                    edges.push(Edge { kind: EdgeKind::Mount, target, span: word.span, instruction: at });
                }
            }
            _ => {}
        }
        edges
    }

    fn copy_source(&mut self, file: &Dockerfile, word: &Word, contexts: &BTreeSet<String>) -> Target {
        let name = word.text(file).into_owned();
        if expand(&name, file.escape(), &mut |_| None, EXPANSION_LIMIT).as_deref() != Ok(&*name) {
            let message = format!("--from={} takes no variable; name a stage FROM it instead", clip(&name));
            self.fault(Code::NoExpansionHere, word.span, message);
            return Target::Unknown;
        }
        let target = self.target(&name, contexts, true);
        match &target {
            Target::Unknown => {
                let message =
                    format!("--from={}: there are {} stages, counted from 0", clip(&name), self.stages.len());
                self.fault(Code::InvalidStageIndex, word.span, message);
            }
            Target::Image(image) if !image.contains(['/', ':', '@', '.']) && self.names.len() <= 64 => {
                // an image of such a name may exist, so this is only a hint where a stage is close
                if let Some(close) = closest(image, self.names.keys().map(String::as_str)) {
                    let close = close.to_owned();
                    self.diagnostics.push(
                        Diagnostic::new(
                            Code::ForwardReference,
                            word.span,
                            format!(
                                "no stage is called '{}', so the image of that name is taken",
                                clip(image)
                            ),
                        )
                        .suggest(format!("did you mean {close}?"), Edit::replace(word.span, close)),
                    );
                }
            }
            _ => {}
        }
        target
    }

    fn find_cycles(&mut self) {
        let mut found: Vec<(usize, Span)> = Vec::new();
        let mut state = vec![State::New; self.stages.len() * 2];
        let mut order = Vec::new();
        for stage in 0..self.stages.len() {
            self.walk(stage, &mut state, &mut order, &mut |target, span| found.push((target, span)));
        }
        for (target, span) in found {
            let name = match &self.stages[target].name {
                Some(name) => format!("stage '{}'", clip(name)),
                None => format!("stage {target}"),
            };
            self.fault(Code::CircularDependency, span, format!("{name} needs itself by way of this"));
        }
    }

    /// The edges of a node: the first half are stages, the second what their `ONBUILD` needs.
    fn successor(&self, node: usize, at: usize) -> Option<(usize, Span)> {
        let count = self.stages.len();
        let (edges, index) = if node < count {
            (&self.stages[node].needs, at)
        } else {
            (&self.stages[node - count].onbuild, at)
        };
        if let Some(edge) = edges.get(index) {
            let target = match edge.target {
                Target::Stage(target) => target,
                _ => usize::MAX,
            };
            return Some((target, edge.span));
        }
        // a stage also needs what the base's ONBUILD needs
        if node < count
            && index == edges.len()
            && let Target::Stage(base) = self.stages[node].base
        {
            return Some((base + count, edges.first().map_or(Span::default(), |edge| edge.span)));
        }
        None
    }

    /// Depth first from one node, the path on the heap; calls back for each edge that closes a circle.
    fn walk(
        &self,
        from: usize,
        state: &mut [State],
        order: &mut Vec<usize>,
        circle: &mut dyn FnMut(usize, Span),
    ) {
        if state[from] != State::New {
            return;
        }
        let count = self.stages.len();
        let mut path = vec![(from, 0)];
        state[from] = State::Open;
        while let Some((node, at)) = path.last_mut() {
            let node = *node;
            let next = self.successor(node, *at);
            *at += 1;
            match next {
                None => {
                    state[node] = State::Done;
                    if node < count {
                        order.push(node);
                    }
                    path.pop();
                }
                Some((target, span)) => match state.get(target) {
                    Some(State::New) => {
                        state[target] = State::Open;
                        path.push((target, 0));
                    }
                    Some(State::Open) => circle(target % count, span),
                    _ => {}
                },
            }
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    New,
    Open,
    Done,
}

/// Names of stages, with the last instruction that gives each.
fn later_names(file: &Dockerfile) -> HashMap<String, usize> {
    let mut names = HashMap::new();
    for (at, instruction) in file.instructions().iter().enumerate() {
        if let Kind::From(from) = &instruction.kind
            && let Some(word) = &from.name
        {
            names.insert(word.text(file).to_ascii_lowercase(), at);
        }
    }
    names
}
