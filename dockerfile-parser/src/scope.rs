//! Which variables have which values where.

use std::borrow::Cow;
use std::cell::Cell;
use std::collections::{BTreeMap, HashMap};

use crate::dockerfile::Dockerfile;
use crate::expand::{EXPANSION_LIMIT, ExpandError, expand, expand_words};
use crate::instruction::{Instruction, Kind};
use crate::span::Span;
use crate::word::Word;

/// Arguments that can be given to a build without `ARG`; a `RUN` sees them, and they do not change the cache.
pub const PREDEFINED: [&str; 10] = [
    "HTTP_PROXY",
    "http_proxy",
    "HTTPS_PROXY",
    "https_proxy",
    "FTP_PROXY",
    "ftp_proxy",
    "NO_PROXY",
    "no_proxy",
    "ALL_PROXY",
    "all_proxy",
];

/// Arguments that steer BuildKit and are never put in an environment.
pub const STEERING: [&str; 2] = ["BUILDKIT_SBOM_SCAN_CONTEXT", "BUILDKIT_SBOM_SCAN_STAGE"];

/// An operating system and processor: `os/architecture[/variant]`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Platform {
    /// `linux`, `windows`
    pub os: String,
    /// `amd64`, `arm64`
    pub architecture: String,
    /// `v7`, or empty
    pub variant: String,
}

impl Platform {
    /// Read `os/architecture[/variant]`.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('/');
        let (os, architecture) = (parts.next()?, parts.next()?);
        let variant = parts.next().unwrap_or_default();
        let valid = !os.is_empty() && !architecture.is_empty() && parts.next().is_none();
        valid.then(|| Self { os: os.into(), architecture: architecture.into(), variant: variant.into() })
    }
}

impl Default for Platform {
    fn default() -> Self {
        Self { os: "linux".into(), architecture: "amd64".into(), variant: String::new() }
    }
}

impl std::fmt::Display for Platform {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        if self.variant.is_empty() { Ok(()) } else { write!(f, "/{}", self.variant) }
    }
}

/// What a build is given from outside.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Arguments {
    /// `--build-arg`
    pub given: BTreeMap<String, String>,
    /// Where the build runs.
    pub build_platform: Platform,
    /// What it is for.
    pub target_platform: Platform,
    /// The target's name, for `TARGETSTAGE`; `default` if it has none.
    pub target: Option<String>,
}

/// A fault of a variable, with the word it is in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot expand a word")]
pub struct ScopeError {
    /// The word.
    pub span: Span,
    /// What is wrong with it.
    pub source: ExpandError,
}

/// The arguments before the first `FROM`, and the platform's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Globals {
    values: HashMap<String, String>,
    declared: Vec<String>,
    faults: Vec<ScopeError>,
}

impl Globals {
    /// Evaluate the arguments before the first `FROM`.
    pub fn new(file: &Dockerfile, arguments: &Arguments) -> Self {
        let (build, target) = (&arguments.build_platform, &arguments.target_platform);
        let stage = arguments.target.clone().unwrap_or_else(|| "default".into());
        let mut values: HashMap<String, String> = [
            ("BUILDPLATFORM", build.to_string()),
            ("BUILDOS", build.os.clone()),
            ("BUILDOSVERSION", String::new()),
            ("BUILDARCH", build.architecture.clone()),
            ("BUILDVARIANT", build.variant.clone()),
            ("TARGETPLATFORM", target.to_string()),
            ("TARGETOS", target.os.clone()),
            ("TARGETOSVERSION", String::new()),
            ("TARGETARCH", target.architecture.clone()),
            ("TARGETVARIANT", target.variant.clone()),
            ("TARGETSTAGE", stage),
        ]
        .into_iter()
        .map(|(name, value)| {
            let value = arguments.given.get(name).cloned().unwrap_or(value);
            (name.to_owned(), value)
        })
        .collect();
        let mut declared = Vec::new();
        let mut faults = Vec::new();
        let budget = Budget::new(file);
        for instruction in file.instructions() {
            match &instruction.kind {
                Kind::From(_) => break,
                Kind::Arg(args) => {
                    for arg in args {
                        let name = arg.name.text(file).into_owned();
                        let value = match (arguments.given.get(&name), &arg.default) {
                            (Some(given), _) => Some(given.clone()),
                            (None, None) => None,
                            (None, Some(word)) => {
                                let mut lookup = |name: &str| values.get(name).map(|v| Cow::Borrowed(&**v));
                                match budget.expand(&word.text(file), file.escape(), &mut lookup) {
                                    Ok(value) => Some(value),
                                    Err(source) => {
                                        faults.push(ScopeError { span: word.span, source });
                                        None
                                    }
                                }
                            }
                        };
                        if let Some(value) = value {
                            values.insert(name.clone(), value);
                        }
                        declared.push(name);
                    }
                }
                _ => {}
            }
        }
        Self { values, declared, faults }
    }

    /// The value of an argument.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    /// The names that have a value, in no order, and those declared without one.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.values.keys().chain(&self.declared).map(String::as_str)
    }

    /// Words that could not be expanded.
    pub fn faults(&self) -> &[ScopeError] {
        &self.faults
    }

    /// Expand a word of `FROM`.
    pub fn expand(&self, file: &Dockerfile, word: &Word) -> Result<String, ExpandError> {
        let mut lookup = |name: &str| self.value(name).map(Cow::Borrowed);
        expand(&word.text(file), file.escape(), &mut lookup, EXPANSION_LIMIT)
    }
}

/// How much all expansions of a file may produce, so that a small file cannot keep one busy for long.
#[derive(Debug, Clone)]
pub(crate) struct Budget {
    left: Cell<usize>,
}

impl Budget {
    pub(crate) fn new(file: &Dockerfile) -> Self {
        Self { left: Cell::new(file.source().len().saturating_mul(4).saturating_add(64 << 20)) }
    }

    pub(crate) fn expand(
        &self,
        text: &str,
        escape: char,
        lookup: crate::expand::Lookup<'_, '_>,
    ) -> Result<String, ExpandError> {
        let limit = self.left.get().min(EXPANSION_LIMIT);
        let result = expand(text, escape, lookup, limit);
        let spent = match &result {
            Ok(value) => value.len(),
            Err(ExpandError::TooLarge { .. }) => limit,
            Err(_) => text.len(),
        };
        self.left.set(self.left.get() - spent.min(self.left.get()));
        result
    }
}

/// A variable that is set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variable {
    /// Its value.
    pub value: String,
    /// Whether `ARG` set it, so that the image does not keep it.
    pub argument: bool,
}

/// The variables at a place in a stage.
///
/// Start with the base image's environment ([`Scope::set`]) or with the scope at the end of the stage it
/// builds on, then [`Scope::apply`] one instruction after the other.
#[derive(Debug, Clone)]
pub struct Scope {
    variables: HashMap<String, Variable>,
    budget: Budget,
}

impl Scope {
    /// A scope with no variables.
    pub fn new(file: &Dockerfile) -> Self {
        Self { variables: HashMap::new(), budget: Budget::new(file) }
    }

    /// The value of a variable.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(|variable| variable.value.as_str())
    }

    /// All variables, in no order.
    pub fn variables(&self) -> impl Iterator<Item = (&str, &Variable)> {
        self.variables.iter().map(|(name, variable)| (name.as_str(), variable))
    }

    /// Set a variable as `ENV` would.
    pub fn set(&mut self, name: impl Into<String>, value: impl Into<String>) {
        self.variables.insert(name.into(), Variable { value: value.into(), argument: false });
    }

    /// Carry out an `ENV` or `ARG`; others change nothing. On failure nothing is changed by `ENV`, and
    /// the arguments before the one at fault by `ARG`.
    ///
    /// All values of one `ENV` see the variables as they were before it; those of `ARG` see the ones before them.
    pub fn apply(
        &mut self,
        file: &Dockerfile,
        instruction: &Instruction,
        globals: &Globals,
        arguments: &Arguments,
    ) -> Result<(), ScopeError> {
        match &instruction.kind {
            Kind::Env(pairs) => {
                let mut set = Vec::with_capacity(pairs.len());
                for pair in pairs {
                    set.push((
                        self.expand_spanned(file, &pair.name)?,
                        self.expand_spanned(file, &pair.value)?,
                    ));
                }
                for (name, value) in set {
                    self.set(name, value);
                }
            }
            Kind::Arg(args) => {
                for arg in args {
                    let name = arg.name.text(file).into_owned();
                    let value = match (arguments.given.get(&name), &arg.default) {
                        (Some(given), _) => Some(given.clone()),
                        (None, Some(word)) => Some(self.expand_spanned(file, word)?),
                        (None, None) => globals.value(&name).map(str::to_owned),
                    };
                    if let Some(value) = value
                        && !STEERING.contains(&&*name)
                    {
                        self.variables.insert(name, Variable { value, argument: true });
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Expand a word.
    pub fn expand(&self, file: &Dockerfile, word: &Word) -> Result<String, ExpandError> {
        let mut lookup = |name: &str| self.value(name).map(Cow::Borrowed);
        self.budget.expand(&word.text(file), file.escape(), &mut lookup)
    }

    /// Expand a word into words, for `EXPOSE`.
    pub fn expand_words(&self, file: &Dockerfile, word: &Word) -> Result<Vec<String>, ExpandError> {
        let mut lookup = |name: &str| self.value(name).map(Cow::Borrowed);
        expand_words(&word.text(file), file.escape(), &mut lookup, EXPANSION_LIMIT)
    }

    fn expand_spanned(&self, file: &Dockerfile, word: &Word) -> Result<String, ScopeError> {
        self.expand(file, word).map_err(|source| ScopeError { span: word.span, source })
    }
}
