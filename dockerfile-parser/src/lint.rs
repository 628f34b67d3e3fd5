//! The rules of Docker's build checks, and the walk that all rules share.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Write as _;

use crate::code::{Code, Origin};
use crate::diagnostic::{Diagnostic, Severity, closest};
use crate::dockerfile::{Dockerfile, clip};
use crate::edit::Edit;
use crate::expand::{ExpandError, expand};
use crate::graph::{Graph, Target};
use crate::instruction::{Command, Instruction, Kind, Pair, Separator, Source};
use crate::options::{Check, LintOptions, Rules};
use crate::practice::Practice;
use crate::reference;
use crate::scope::{Arguments, Globals, Platform, STEERING};
use crate::span::Span;
use crate::word::Word;

/// A variable's value is followed up to this many bytes; rules need no more.
const FOLLOWED: usize = 4096;

impl Dockerfile {
    /// Faults, Docker's build checks and, unless switched off, good practice, in the order of the file.
    ///
    /// The file's own `# check=` directive and comments count, as do `# hadolint ignore=` comments before an
    /// instruction; with `error=true` Docker's checks are errors. Needs no network: what only a base image
    /// knows is not checked, and of variables that a base image may set only a hint is given.
    pub fn lint(&self, options: &LintOptions<'_>) -> Vec<Diagnostic> {
        let arguments = Arguments { given: options.arguments.clone(), ..Arguments::default() };
        let graph = Graph::new(self, &arguments, &options.contexts);
        let mut linter = Linter::new(self, options, &graph);
        linter.out.extend(self.diagnostics().iter().cloned());
        linter.out.extend(graph.diagnostics().iter().cloned());
        linter.whole_file();
        linter.stages(&arguments);
        if options.practice {
            crate::slip::check(&mut linter);
        }
        linter.finish()
    }

    /// What the file's `check` directive says, with the options added.
    pub fn check(&self, options: &LintOptions<'_>) -> Check {
        let own = self
            .directive("check")
            .and_then(|directive| Check::parse(&self.str(directive.value)).ok())
            .unwrap_or_default();
        let mut check = options.check.clone();
        check.merge(own);
        check
    }
}

pub(crate) struct Linter<'a> {
    pub(crate) file: &'a Dockerfile,
    options: &'a LintOptions<'a>,
    pub(crate) graph: &'a Graph,
    check: Check,
    /// What comments before single instructions say.
    local: HashMap<usize, Check>,
    /// The instruction at hand.
    current: usize,
    pub(crate) out: Vec<Diagnostic>,
}

/// The variables at a place. Stages that build on each other form a tree, and leaving one undoes what it set.
#[derive(Default)]
pub(crate) struct Variables {
    values: HashMap<String, Vec<Option<String>>>,
    log: Vec<String>,
}

impl Variables {
    fn define(&mut self, name: String, value: Option<String>) {
        self.values.entry(name.clone()).or_default().push(value);
        self.log.push(name);
    }

    fn undo(&mut self, mark: usize) {
        while self.log.len() > mark {
            if let Some(name) = self.log.pop()
                && let Some(values) = self.values.get_mut(&name)
            {
                values.pop();
                if values.is_empty() {
                    self.values.remove(&name);
                }
            }
        }
    }

    fn value(&self, name: &str) -> Option<&str> {
        self.values.get(name)?.last()?.as_deref()
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.values.contains_key(name)
    }

    /// How many times it was set on the way here.
    pub(crate) fn count(&self, name: &str) -> usize {
        self.values.get(name).map_or(0, Vec::len)
    }
}

/// What a stage leaves to those that build on it.
#[derive(Debug, Clone, Copy, Default)]
struct Inherited {
    workdir: bool,
    shell: bool,
    pipefail: bool,
    /// Nothing but what the file says is in the environment.
    scratch: bool,
}

impl<'a> Linter<'a> {
    fn new(file: &'a Dockerfile, options: &'a LintOptions<'a>, graph: &'a Graph) -> Self {
        let mut local = HashMap::new();
        let mut before = file.bom();
        for (at, instruction) in file.instructions().iter().enumerate() {
            let gap = file.slice(Span::new(before, instruction.span.start));
            before = instruction.span.end;
            if memchr::memchr(b'#', gap).is_some()
                && let Some(check) = comments(&String::from_utf8_lossy(gap))
            {
                local.insert(at, check);
            }
        }
        let check = file.check(options);
        Self { file, options, graph, check, local, current: usize::MAX, out: Vec::new() }
    }

    pub(crate) fn emit(&mut self, diagnostic: Diagnostic) {
        let code = diagnostic.code;
        let own = self.local.get(&self.current);
        let asked = own.is_some_and(|own| own.experimental.has(code));
        if !(self.check.wants(code) || asked) || own.is_some_and(|own| own.skip.has(code)) {
            return;
        }
        self.out.push(diagnostic);
    }

    pub(crate) fn say(&mut self, code: Code, span: Span, message: impl Into<Cow<'static, str>>) {
        self.emit(Diagnostic::new(code, span, message));
    }

    pub(crate) fn at(&mut self, instruction: usize) {
        self.current = instruction;
    }

    fn finish(mut self) -> Vec<Diagnostic> {
        if self.check.error {
            for found in &mut self.out {
                let docker = matches!(found.code.origin(), Origin::Docker | Origin::Experimental);
                if docker && found.severity == Severity::Warning {
                    found.severity = Severity::Error;
                }
            }
        }
        self.out.sort_by_key(|found| (found.span.start, found.code));
        self.out.dedup();
        self.out
    }

    fn whole_file(&mut self) {
        for &span in self.file.empty_continuations() {
            self.emit(
                Diagnostic::new(
                    Code::NoEmptyContinuation,
                    span,
                    "an empty line amid an instruction will become an error",
                )
                .suggest("take it out", Edit::delete(span)),
            );
        }
        self.casing();
        let mut names = HashSet::new();
        for stage in self.graph.stages() {
            self.at(stage.from);
            let Some(Kind::From(from)) = self.file.instructions().get(stage.from).map(|i| &i.kind) else {
                continue;
            };
            let (Some(name), Some(word)) = (&stage.name, &from.name) else { continue };
            if matches!(&**name, "scratch" | "context") {
                self.say(
                    Code::ReservedStageName,
                    word.span,
                    format!("'{name}' has a meaning of its own and is no name for a stage"),
                );
            }
            if !names.insert(name.as_str()) {
                self.say(
                    Code::DuplicateStageName,
                    word.span,
                    format!("another stage is called '{}', too", clip(name)),
                );
            }
            let written = word.text(self.file);
            if written != written.to_lowercase() {
                let message = format!("stage '{}' should be in lower case", clip(&written));
                self.emit(
                    Diagnostic::new(Code::StageNameCasing, word.span, message)
                        .suggest("write it in lower case", Edit::replace(word.span, name.clone())),
                );
            }
            if let Some(as_word) = &from.as_keyword {
                let keyword = self.file.str(self.file.instructions()[stage.from].keyword);
                let written = as_word.text(self.file);
                let want = match case(&keyword) {
                    Case::Lower => "as",
                    Case::Upper => "AS",
                    Case::Mixed => continue,
                };
                if written != want {
                    let message = format!("'{written}' and '{keyword}' differ in case");
                    self.emit(
                        Diagnostic::new(Code::FromAsCasing, as_word.span, message)
                            .suggest(format!("write {want}"), Edit::replace(as_word.span, want)),
                    );
                }
            }
        }
    }

    fn casing(&mut self) {
        let first = self.graph.stages().first().map_or(usize::MAX, |stage| stage.from);
        let counted = self.file.instructions().iter().enumerate().skip(first);
        let (mut lower, mut upper) = (0usize, 0usize);
        for (_, instruction) in counted.clone() {
            match case(&self.file.str(instruction.keyword)) {
                Case::Lower => lower += 1,
                Case::Upper => upper += 1,
                Case::Mixed => {}
            }
        }
        let (want, name) = if lower > upper { (Case::Lower, "lower") } else { (Case::Upper, "upper") };
        for (at, instruction) in counted {
            let keyword = self.file.str(instruction.keyword);
            if case(&keyword) == want || instruction.kind == Kind::Unknown {
                continue;
            }
            self.at(at);
            let new = if want == Case::Lower { keyword.to_lowercase() } else { keyword.to_uppercase() };
            let message = format!("'{}' should be in {name} case like most keywords here", clip(&keyword));
            self.emit(
                Diagnostic::new(Code::ConsistentInstructionCasing, instruction.keyword, message)
                    .suggest(format!("write {new}"), Edit::replace(instruction.keyword, new)),
            );
        }
    }

    /// All stages, each after the one it builds on.
    fn stages(&mut self, arguments: &Arguments) {
        let defaults = Globals::new(self.file, &Arguments { given: BTreeMap::new(), ..arguments.clone() });
        for (at, instruction) in self.file.instructions().iter().enumerate() {
            if let Kind::From(from) = &instruction.kind {
                self.at(at);
                self.from(from, &defaults);
            }
        }
        let globals: Vec<&crate::scope::ScopeError> = self.graph.globals().faults().iter().collect();
        for fault in globals {
            self.out.push(expansion_fault(fault.span, &fault.source));
        }
        let count = self.graph.stages().len();
        let mut children: Vec<Vec<usize>> = vec![Vec::new(); count];
        let mut roots = Vec::new();
        for (at, stage) in self.graph.stages().iter().enumerate() {
            match stage.base {
                Target::Stage(base) if base < at => children[base].push(at),
                _ => roots.push(at),
            }
        }
        let mut variables = Variables::default();
        let mut practice = Practice::default();
        // enter a stage, or leave it and undo
        let mut work: Vec<Result<(usize, Inherited), usize>> =
            roots.into_iter().rev().map(|root| Ok((root, Inherited::default()))).collect();
        while let Some(step) = work.pop() {
            match step {
                Err(mark) => variables.undo(mark),
                Ok((at, inherited)) => {
                    work.push(Err(variables.log.len()));
                    let left = self.stage(at, inherited, &mut variables, &mut practice, arguments);
                    work.extend(children[at].iter().rev().map(|&child| Ok((child, left))));
                }
            }
        }
    }

    fn from(&mut self, from: &crate::instruction::From, defaults: &Globals) {
        let file = self.file;
        if let Some(image) = &from.image {
            self.undefined_in_from(image);
            if let Ok(text) = defaults.expand(file, image)
                && !reference::is_valid(&text)
            {
                let message = format!(
                    "with its arguments' defaults '{}' is no valid image name",
                    clip(&image.text(file))
                );
                self.say(Code::InvalidDefaultArgInFrom, image.span, message);
            }
        }
        if let Some(platform) = &from.platform {
            self.undefined_in_from(platform);
            let text = platform.text(file);
            if matches!(&*text, "$TARGETPLATFORM" | "${TARGETPLATFORM}") {
                self.say(
                    Code::RedundantTargetPlatform,
                    platform.span,
                    format!("--platform={text} is what FROM does anyhow"),
                );
            } else if !text.contains('$')
                && let Some(parsed) = Platform::parse(&text)
            {
                let name = from.name.as_ref().map(|name| name.text(file).to_lowercase()).unwrap_or_default();
                if !name.contains(&parsed.os) && !name.contains(&parsed.architecture) {
                    let message = format!("--platform should not be the constant '{}'", clip(&text));
                    self.say(Code::FromPlatformFlagConstDisallowed, platform.span, message);
                }
            }
        }
    }

    fn undefined_in_from(&mut self, word: &Word) {
        let globals = self.graph.globals();
        let text = word.text(self.file);
        if !text.contains('$') {
            return;
        }
        let mut missing: Vec<String> = Vec::new();
        let mut lookup = |name: &str| {
            let value = globals.value(name);
            if value.is_none()
                && !globals.names().any(|known| known == name)
                && !missing.iter().any(|m| m == name)
            {
                missing.push(name.to_owned());
            }
            value.map(Cow::Borrowed)
        };
        let _ = expand(&text, self.file.escape(), &mut lookup, FOLLOWED);
        for name in missing {
            let mut message = format!("'{}' is not declared by an ARG before the first FROM", clip(&name));
            if let Some(close) = closest(&name, globals.names()) {
                let _ = write!(message, " (did you mean {close}?)");
            }
            self.say(Code::UndefinedArgInFrom, word.span, message);
        }
    }

    fn stage(
        &mut self,
        at: usize,
        inherited: Inherited,
        variables: &mut Variables,
        practice: &mut Practice,
        arguments: &Arguments,
    ) -> Inherited {
        let stage = &self.graph.stages()[at];
        let file = self.file;
        let mut state = inherited;
        if !matches!(stage.base, Target::Stage(_)) {
            state.scratch = stage.base == Target::Scratch;
        }
        let mut once: [Option<(usize, Span)>; 3] = [None; 3];
        practice.begin();
        if self.options.practice {
            Practice::from(self, at);
        }
        for index in stage.body.clone() {
            let Some(instruction) = file.instructions().get(index) else { continue };
            self.at(index);
            let tracked = match &instruction.kind {
                Kind::Cmd(_) => Some(0),
                Kind::Entrypoint(_) => Some(1),
                Kind::Healthcheck(_) => Some(2),
                _ => None,
            };
            if let Some(which) = tracked
                && let Some((before, span)) = once[which].replace((index, instruction.keyword))
            {
                self.at(before);
                let name = instruction.kind.name();
                let message = format!("only the last {name} of a stage counts, so this one does nothing");
                self.say(Code::MultipleInstructionsDisallowed, span, message);
                self.at(index);
            }
            self.instruction(instruction, &mut state, variables, arguments);
            if self.options.practice {
                practice.instruction(self, index, state.workdir, state.pipefail, variables);
            }
            if matches!(instruction.kind, Kind::Workdir(_)) {
                state.workdir = true;
            }
        }
        if self.options.practice {
            practice.end(self);
        }
        state
    }

    fn instruction(
        &mut self,
        instruction: &'a Instruction,
        state: &mut Inherited,
        variables: &mut Variables,
        arguments: &Arguments,
    ) {
        let file = self.file;
        let keyword = instruction.keyword;
        match &instruction.kind {
            Kind::Maintainer(word) => {
                let mut fault = Diagnostic::new(
                    Code::MaintainerDeprecated,
                    keyword,
                    "MAINTAINER is deprecated; a label says the same",
                );
                if let Some(word) = word {
                    let mut label = String::from("LABEL org.opencontainers.image.authors=");
                    label.push_str(&double_quoted(&word.text(file), file.escape()));
                    fault = fault.suggest("write a label", Edit::replace(instruction.span, label));
                }
                self.emit(fault);
            }
            Kind::Cmd(Command::Shell(word)) | Kind::Entrypoint(Command::Shell(word)) if !state.shell => {
                let name = instruction.kind.name();
                let message = format!(
                    "{name} in shell form gets no signals from outside; the JSON form is recommended"
                );
                let mut fault = Diagnostic::new(Code::JSONArgsRecommended, word.span, message);
                if let Some(json) = exec_form(&word.text(file)) {
                    fault = fault.suggest("write it as JSON", Edit::replace(word.span, json));
                }
                self.emit(fault);
            }
            Kind::Shell(words) => {
                state.shell = true;
                state.pipefail = words.iter().any(|word| word.text(file).contains("pipefail"));
            }
            Kind::Env(pairs) => {
                let mut set = Vec::with_capacity(pairs.len());
                for pair in pairs {
                    self.secret("ENV", &pair.name);
                    let name = self.expand(&pair.name, variables, state.scratch).unwrap_or_default();
                    set.push((name, self.expand(&pair.value, variables, state.scratch)));
                }
                self.legacy("ENV", pairs);
                for (name, value) in set {
                    variables.define(name, value);
                }
            }
            Kind::Label(pairs) => {
                for pair in pairs {
                    self.expand(&pair.name, variables, state.scratch);
                    self.expand(&pair.value, variables, state.scratch);
                }
                self.legacy("LABEL", pairs);
            }
            Kind::Arg(args) => {
                for arg in args {
                    self.secret("ARG", &arg.name);
                    let name = arg.name.text(file).into_owned();
                    let value = match (arguments.given.get(&name), &arg.default) {
                        (Some(given), _) => Some(given.clone()),
                        (None, Some(word)) => self.expand(word, variables, state.scratch),
                        (None, None) => self.graph.globals().value(&name).map(str::to_owned),
                    };
                    if !STEERING.contains(&&*name) {
                        variables.define(name, value);
                    }
                }
                let names: Vec<String> = args.iter().map(|arg| arg.name.text(file).into_owned()).collect();
                self.description(instruction, &names);
            }
            Kind::Workdir(Some(word)) => {
                let path = self.expand(word, variables, state.scratch);
                if !state.workdir
                    && let Some(path) = path
                    && !path.starts_with(['/', '\\'])
                    && path.as_bytes().get(1) != Some(&b':')
                    && !word.text(file).starts_with('$')
                {
                    let message = format!(
                        "relative WORKDIR '{}' depends on the base image; begin with an absolute one",
                        clip(&path)
                    );
                    self.say(Code::WorkdirRelativePath, word.span, message);
                }
            }
            Kind::User(Some(word)) | Kind::Stopsignal(Some(word)) => {
                self.expand(word, variables, state.scratch);
            }
            Kind::Volume(volume) => {
                for word in &volume.paths {
                    self.expand(word, variables, state.scratch);
                }
            }
            Kind::Copy(copy) => {
                let flags = [&copy.chown, &copy.chmod];
                for word in flags.into_iter().flatten().chain(&copy.destination) {
                    self.expand(word, variables, state.scratch);
                }
                self.sources(
                    "Copy",
                    instruction,
                    &copy.sources,
                    copy.from.is_none(),
                    variables,
                    state.scratch,
                );
                self.slash(instruction, &copy.sources, copy.destination.as_ref());
            }
            Kind::Add(add) => {
                let flags = [&add.chown, &add.chmod, &add.checksum];
                for word in flags.into_iter().flatten().chain(&add.destination) {
                    self.expand(word, variables, state.scratch);
                }
                self.sources("Add", instruction, &add.sources, true, variables, state.scratch);
                self.slash(instruction, &add.sources, add.destination.as_ref());
            }
            Kind::Run(run) => {
                for mount in &run.mounts {
                    for value in mount.options.iter().filter_map(|option| option.value.as_ref()) {
                        self.expand(value, variables, state.scratch);
                    }
                }
            }
            Kind::Expose(ports) => {
                for port in ports {
                    self.port(port, variables);
                }
            }
            _ => {}
        }
    }

    /// Expand a word, and tell of what is wrong with it. `None` if its value cannot be told.
    fn expand(&mut self, word: &Word, variables: &Variables, scratch: bool) -> Option<String> {
        let text = word.text(self.file);
        if !text.contains(['$', '\'', '"', self.file.escape()]) {
            return (text.len() <= FOLLOWED).then(|| text.into_owned());
        }
        let mut missing: Vec<String> = Vec::new();
        let mut unknown = false;
        let mut lookup = |name: &str| {
            let value = variables.value(name);
            if value.is_none() {
                unknown = true;
                let known = variables.has(name) || name == "PATH" || STEERING.contains(&name);
                let special = !name.starts_with(|ch: char| ch.is_alphabetic() || ch == '_');
                if !known && !special && !missing.iter().any(|before| before == name) {
                    missing.push(name.to_owned());
                }
            }
            value.map(Cow::Borrowed)
        };
        let result = expand(&text, self.file.escape(), &mut lookup, FOLLOWED);
        for name in missing {
            let mut message = format!("'${}' is not set here", clip(&name));
            let close = if variables.values.len() <= 256 {
                closest(&name, variables.values.keys().map(String::as_str)).map(str::to_owned)
            } else {
                None
            };
            if let Some(close) = &close {
                let _ = write!(message, " (did you mean ${close}?)");
            } else if !scratch {
                message.push_str(" unless the base image sets it");
            }
            let mut fault = Diagnostic::new(Code::UndefinedVar, word.span, message);
            if !scratch && close.is_none() {
                fault = fault.severity(Severity::Info);
            }
            self.emit(fault);
        }
        match result {
            Ok(value) => (!unknown).then_some(value),
            // a value that is merely long, or asks for what is not known here, is no fault of the file
            Err(ExpandError::TooLarge { .. } | ExpandError::TooComplex | ExpandError::Required { .. }) => {
                None
            }
            Err(fault) => {
                self.out.push(expansion_fault(word.span, &fault));
                None
            }
        }
    }

    fn secret(&mut self, instruction: &str, name: &Word) {
        const SECRETS: [&str; 10] = [
            "apikey",
            "auth",
            "credential",
            "credentials",
            "key",
            "password",
            "pword",
            "passwd",
            "secret",
            "token",
        ];
        let text = name.text(self.file);
        let mut secret = false;
        for part in text.split('_') {
            if ["public", "file", "version"].iter().any(|word| part.eq_ignore_ascii_case(word)) {
                return;
            }
            secret |= SECRETS.iter().any(|word| part.eq_ignore_ascii_case(word));
        }
        if secret {
            let message = format!(
                "{instruction} '{}' stays in the image's history; a secret is mounted instead",
                clip(&text)
            );
            self.say(Code::SecretsUsedInArgOrEnv, name.span, message);
        }
    }

    fn legacy(&mut self, name: &str, pairs: &[Pair]) {
        let [pair] = pairs else { return };
        if pair.separator != Separator::Space || pair.value.span.is_empty() {
            return;
        }
        let span = pair.name.span.to(pair.value.span);
        let message = format!("'{name} key=value' should be used instead of the old '{name} key value'");
        let mut fault = Diagnostic::new(Code::LegacyKeyValueFormat, span, message);
        let value = pair.value.text(self.file);
        let odd = value.contains(['"', '\'', '\n', self.file.escape()]) || pair.value.is_rewritten();
        if !odd {
            let key = pair.name.text(self.file);
            let quoted = value.contains(char::is_whitespace) || value.is_empty();
            let new = if quoted { format!("{key}=\"{value}\"") } else { format!("{key}={value}") };
            fault = fault.suggest("write it with =", Edit::replace(span, new));
        }
        self.emit(fault);
    }

    /// A comment right before a definition should describe it.
    fn description(&mut self, instruction: &Instruction, names: &[String]) {
        let source = self.file.source();
        let mut start = instruction.span.start;
        while start > 0 && source[start - 1] != b'\n' {
            start -= 1;
        }
        let before = self.file.slice(Span::new(0, start.saturating_sub(1)));
        let line = memchr::memrchr(b'\n', before).map_or(0, |at| at + 1);
        let comment = String::from_utf8_lossy(before.get(line..).unwrap_or_default()).into_owned();
        let Some(text) = comment.trim().strip_prefix('#').map(str::trim) else { return };
        if text.is_empty() || comments(&comment).is_some() {
            return;
        }
        let first = text.split(' ').next().unwrap_or_default();
        if names.is_empty() || names.iter().any(|name| name == first) {
            return;
        }
        let example = if names.len() > 1 { "<name>" } else { &names[0] };
        let message = format!("a comment here describes {0}: '# {0} <description>'", clip(example));
        self.say(Code::InvalidDefinitionDescription, Span::new(line, start.saturating_sub(1)), message);
    }

    fn sources(
        &mut self,
        verb: &str,
        instruction: &Instruction,
        sources: &[Source],
        from_context: bool,
        variables: &Variables,
        scratch: bool,
    ) {
        for source in sources {
            if let Some(at) = source.heredoc {
                self.heredoc_body(instruction, at, variables, scratch);
                continue;
            }
            let path = self.expand(&source.word, variables, scratch);
            let Some(ignore) = self.options.ignore.filter(|ignore| from_context && !ignore.negates()) else {
                continue;
            };
            let Some(path) = path else { continue };
            if path.contains("://") {
                continue;
            }
            let clean = crate::ignore::clean(&path);
            let ignored =
                if matches!(&*clean, "." | "/") { ignore.leaves_out_all() } else { ignore.matches(&clean) };
            if ignored {
                let message = format!("{verb} of '{}', which .dockerignore leaves out", clip(&clean));
                self.say(Code::CopyIgnoredFile, source.word.span, message);
            }
        }
    }

    fn heredoc_body(&mut self, instruction: &Instruction, at: usize, variables: &Variables, scratch: bool) {
        let Some(heredoc) = instruction.heredocs.get(at).filter(|heredoc| heredoc.expand) else { return };
        let body = self.file.str(heredoc.body);
        if memchr::memchr(b'$', body.as_bytes()).is_none() {
            return;
        }
        let mut missing: Vec<String> = Vec::new();
        let mut lookup = |name: &str| {
            let value = variables.value(name);
            let special = !name.starts_with(|ch: char| ch.is_alphabetic() || ch == '_');
            if value.is_none()
                && !special
                && !variables.has(name)
                && !missing.iter().any(|before| before == name)
                && missing.len() < 20
            {
                missing.push(name.to_owned());
            }
            value.map(Cow::Borrowed)
        };
        let limit = body.len().saturating_add(1 << 20);
        let result = crate::expand::expand_heredoc(&body, &mut lookup, limit);
        for name in missing {
            let message = format!(
                "'${}' in the here-document is not set here; quote the delimiter to keep it",
                clip(&name)
            );
            let fault = Diagnostic::new(Code::UndefinedVar, heredoc.redirect.span, message);
            self.emit(if scratch { fault } else { fault.severity(Severity::Info) });
        }
        if let Err(fault) = result
            && !matches!(
                fault,
                ExpandError::TooLarge { .. } | ExpandError::TooComplex | ExpandError::Required { .. }
            )
        {
            self.out.push(expansion_fault(heredoc.redirect.span, &fault));
        }
    }

    fn slash(&mut self, instruction: &Instruction, sources: &[Source], destination: Option<&Word>) {
        let Some(word) = destination.filter(|_| sources.len() > 1) else { return };
        let text = word.text(self.file);
        if text.ends_with(['/', '\\']) || text == "." || text.contains('$') || text.ends_with(['"', '\'']) {
            return;
        }
        let message =
            format!("{} of several sources needs a destination that ends in '/'", instruction.kind.name());
        self.emit(
            Diagnostic::new(Code::CopyDestinationSlash, word.span, message)
                .suggest("make it a folder", Edit::insert(word.span.end, "/")),
        );
    }

    fn port(&mut self, word: &Word, variables: &Variables) {
        let text = word.text(self.file).into_owned();
        let mut unknown = false;
        let mut lookup = |name: &str| {
            let value = variables.value(name);
            unknown |= value.is_none();
            value.map(Cow::Borrowed)
        };
        let ports = match crate::expand::expand_words(&text, self.file.escape(), &mut lookup, FOLLOWED) {
            Ok(ports) if !unknown => ports,
            Ok(_)
            | Err(ExpandError::TooLarge { .. } | ExpandError::TooComplex | ExpandError::Required { .. }) => {
                return;
            }
            Err(fault) => {
                self.out.push(expansion_fault(word.span, &fault));
                return;
            }
        };
        for port in ports {
            let (address, container) = match port.rsplit_once(':') {
                Some((address, container)) => (Some(address), container),
                None => (None, &*port),
            };
            let (range, protocol) = container.split_once('/').unwrap_or((container, ""));
            if protocol != protocol.to_lowercase() {
                let lower = text.replace(protocol, &protocol.to_lowercase());
                let message = format!("protocol '{}' should be in lower case", clip(protocol));
                let mut fault = Diagnostic::new(Code::ExposeProtoCasing, word.span, message);
                if text == port {
                    fault = fault.suggest("write it in lower case", Edit::replace(word.span, lower));
                }
                self.emit(fault);
            }
            if address.is_some_and(|address| !address.is_empty()) {
                let message = format!("EXPOSE takes no address or host port: '{}'", clip(&port));
                let mut fault = Diagnostic::new(Code::ExposeInvalidFormat, word.span, message);
                if text == port {
                    fault = fault.suggest("keep the container's port", Edit::replace(word.span, container));
                }
                self.emit(fault);
            }
            let number = |text: &str| text.parse::<u16>().ok().filter(|_| !text.starts_with('+'));
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            let valid = matches!((number(first), number(last)), (Some(first), Some(last)) if first <= last);
            let known = matches!(&*protocol.to_lowercase(), "" | "tcp" | "udp" | "sctp");
            if !valid || !known {
                let message =
                    format!("'{}' is no port: NUMBER[-NUMBER][/tcp|udp|sctp], up to 65535", clip(&port));
                self.out.push(Diagnostic::new(Code::InvalidPort, word.span, message));
            }
        }
    }
}

fn expansion_fault(span: Span, fault: &ExpandError) -> Diagnostic {
    let code = match fault {
        ExpandError::TooLarge { .. } | ExpandError::TooComplex => Code::ExpansionTooLarge,
        _ => Code::InvalidExpansion,
    };
    Diagnostic::new(code, span, fault.to_string())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Case {
    Lower,
    Upper,
    Mixed,
}

fn case(word: &str) -> Case {
    let lower = word.chars().any(char::is_lowercase);
    let upper = word.chars().any(char::is_uppercase);
    match (lower, upper) {
        (true, true) => Case::Mixed,
        (true, false) => Case::Lower,
        _ => Case::Upper,
    }
}

/// What comments say: `# check=…` and `# hadolint ignore=…`.
fn comments(text: &str) -> Option<Check> {
    let mut found: Option<Check> = None;
    for line in text.lines() {
        let Some(comment) = line.trim().strip_prefix('#').map(str::trim) else { continue };
        if let Some((name, value)) = comment.split_once('=')
            && name.trim().eq_ignore_ascii_case("check")
            && let Ok(check) = Check::parse(value.trim())
        {
            found.get_or_insert_default().merge(check);
        }
        if let Some(rest) = comment.strip_prefix("hadolint")
            && let Some((key, list)) = rest.split_once('=')
            && key.trim().ends_with("ignore")
        {
            let list = list.split('#').next().unwrap_or_default();
            let check = Check { skip: Rules::parse(list), ..Check::default() };
            found.get_or_insert_default().merge(check);
        }
    }
    found
}

/// Text in double quotes, so that expanding it gives the text.
fn double_quoted(text: &str, escape: char) -> String {
    let mut out = String::from("\"");
    for ch in text.chars() {
        if ch == '"' || ch == '$' || ch == escape {
            out.push(escape);
        }
        out.push(ch);
    }
    out.push('"');
    out
}

/// A plain command as a JSON array; `None` if it needs a shell.
fn exec_form(text: &str) -> Option<String> {
    if text.contains([
        '$', '`', '"', '\'', '\\', '|', '&', ';', '<', '>', '(', ')', '*', '?', '[', '{', '~', '#', '\n',
    ]) || text.contains('=') && text.split(' ').next().is_some_and(|first| first.contains('='))
    {
        return None;
    }
    let mut out = String::from("[");
    for (at, word) in text.split_ascii_whitespace().enumerate() {
        if at > 0 {
            out.push_str(", ");
        }
        crate::json::quote(&mut out, word);
    }
    out.push(']');
    Some(out)
}
