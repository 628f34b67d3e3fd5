//! Loading: from paths to a project and everything that is wrong with it.
use std::path::{Path, PathBuf};

use crate::check::check;
use crate::diagnostic::{Diagnostic, Severity};
use crate::dotenv::{Quoting, variables};
use crate::error::Error;
use crate::files::{Files, clean, join};
use crate::merge::locate;
use crate::model::{Pairs, Project};
use crate::normalize::{normalize, project_name};
use crate::run::{Run, Variables};
use crate::shape::Reader;
use crate::source::{Sources, Span};
use crate::yaml::{Budget, Node};

/// What the files are called when none is given, in the order of preference.
pub const FILE_NAMES: &[&str] = &["compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml"];
/// What stands over them when it is there.
pub const OVERRIDE_NAMES: &[&str] = &[
    "compose.override.yaml",
    "compose.override.yml",
    "docker-compose.override.yml",
    "docker-compose.override.yaml",
];

/// Loads projects. Nothing is read but through [`Files`], and no variable but those given.
#[derive(Clone)]
pub struct Loader<'f> {
    files: &'f dyn Files,
    environment: Variables,
    profiles: Vec<String>,
    name: Option<String>,
    directory: Option<PathBuf>,
    env_files: Option<Vec<PathBuf>>,
    interpolate: bool,
    resolve_environment: bool,
    budget: Budget,
}

/// What a load gives: the project as far as it could be read, and all findings.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The project; whole only when [`Loaded::is_ok`].
    pub project: Project,
    /// All findings, in the order of files and lines.
    pub diagnostics: Vec<Diagnostic>,
    /// The merged tree that the project was read from.
    pub tree: Node,
    /// The files that were read.
    pub sources: Sources,
}

impl Loaded {
    /// Whether there is no error.
    pub fn is_ok(&self) -> bool {
        self.errors().next().is_none()
    }

    /// The errors among the findings.
    pub fn errors(&self) -> impl Iterator<Item = &Diagnostic> {
        self.diagnostics.iter().filter(|finding| finding.severity == Severity::Error)
    }

    /// The project, when there is no error.
    ///
    /// # Errors
    /// [`Error::Invalid`] with the number of errors and the first.
    pub fn into_project(self) -> Result<Project, Error> {
        let count = self.errors().count();
        let first = self.errors().next().map(ToString::to_string);
        match first {
            Some(first) => Err(Error::Invalid { count, first }),
            None => Ok(self.project),
        }
    }
}

impl<'f> Loader<'f> {
    /// A loader that reads from `files`.
    pub fn new(files: &'f dyn Files) -> Self {
        Self {
            files,
            environment: Variables::new(),
            profiles: Vec::new(),
            name: None,
            directory: None,
            env_files: None,
            interpolate: true,
            resolve_environment: true,
            budget: Budget::default(),
        }
    }

    /// Adds variables; those of `COMPOSE_…` have the meaning that Docker gives them.
    #[must_use]
    pub fn environment<K: Into<String>, V: Into<String>>(
        mut self,
        variables: impl IntoIterator<Item = (K, V)>,
    ) -> Self {
        self.environment.extend(variables.into_iter().map(|(name, value)| (name.into(), value.into())));
        self
    }

    /// Switches profiles on; `*` means all.
    #[must_use]
    pub fn profiles<P: Into<String>>(mut self, profiles: impl IntoIterator<Item = P>) -> Self {
        self.profiles.extend(profiles.into_iter().map(Into::into));
        self
    }

    /// Names the project, before `COMPOSE_PROJECT_NAME`, the key `name` and the directory.
    #[must_use]
    pub fn project_name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// The directory that relative paths start from, in place of the first file's.
    #[must_use]
    pub fn project_directory(mut self, directory: impl Into<PathBuf>) -> Self {
        self.directory = Some(directory.into());
        self
    }

    /// Files of variables in place of `.env` of the project's directory. They must be there.
    #[must_use]
    pub fn env_files<P: Into<PathBuf>>(mut self, files: impl IntoIterator<Item = P>) -> Self {
        self.env_files = Some(files.into_iter().map(Into::into).collect());
        self
    }

    /// Whether variables are put in; without, the [`Loaded::tree`] is what counts.
    #[must_use]
    pub fn interpolate(mut self, interpolate: bool) -> Self {
        self.interpolate = interpolate;
        self
    }

    /// Whether files of `env_file` and `label_file` are read into `environment` and `labels`.
    #[must_use]
    pub fn resolve_environment(mut self, resolve: bool) -> Self {
        self.resolve_environment = resolve;
        self
    }

    /// How much may be read and built.
    #[must_use]
    pub fn budget(mut self, budget: Budget) -> Self {
        self.budget = budget;
        self
    }

    /// Loads files, merged in order. Without any, those of `COMPOSE_FILE`, or the usual names in the project's directory.
    pub fn load<P: AsRef<Path>>(&self, paths: &[P]) -> Loaded {
        let mut run = Run {
            files: self.files,
            sources: Sources::default(),
            found: Vec::new(),
            budget: self.budget.clone(),
            interpolate: self.interpolate,
        };
        let mut env = self.environment.clone();
        let given = self
            .directory
            .clone()
            .or_else(|| paths.first().and_then(|path| path.as_ref().parent()).map(Path::to_owned));
        let mut directory = clean(&given.unwrap_or_default());
        match &self.env_files {
            Some(files) => {
                for file in files {
                    run.environment(file, true, &mut env, None);
                }
            }
            None if env.get("COMPOSE_DISABLE_ENV_FILE").is_some_and(|value| truth(value)) => {}
            None => run.environment(&directory.join(".env"), false, &mut env, None),
        }
        let mut files: Vec<PathBuf> = paths.iter().map(|path| path.as_ref().to_owned()).collect();
        if files.is_empty() {
            files = self.discover(&env, &directory);
            if let (None, Some(parent)) = (&self.directory, files.first().and_then(|path| path.parent())) {
                directory = clean(parent);
            }
        }
        if files.is_empty() {
            let finding = Diagnostic::error(
                Span::default(),
                format!("there is no file of Compose in {}", directory.display()),
            );
            run.report(finding.expected(FILE_NAMES.join(", ")));
        }
        if let Some(name) = self.name.as_ref().or(self.environment.get("COMPOSE_PROJECT_NAME")) {
            env.insert("COMPOSE_PROJECT_NAME".to_owned(), name.clone());
        }
        let mut tree = run.set(&files, &directory, &env, &mut Vec::new(), None);
        crate::merge::settle(&mut tree);
        if run.budget.is_used_up() {
            // an error is reported already; what was built so far is large and means nothing
            tree = Node::default();
        }
        let mut project = self.read(&mut run, &tree, &env);
        project.name = project_name(self.name.as_deref(), &env, &tree, &directory, &mut run.found);
        project.directory = directory;
        project.files = files;
        if self.resolve_environment {
            environments(&mut run, &mut project, &tree, &env);
        }
        normalize(&mut project, &env);
        self.select(&mut project, &env);
        if self.interpolate {
            check(&project, &tree, &mut run.found);
        }
        let Run { sources, mut found, .. } = run;
        for finding in &mut found {
            if finding.file.as_os_str().is_empty() {
                sources.path(finding.span.file).clone_into(&mut finding.file);
            }
        }
        found.sort_by_key(|finding| {
            (
                finding.span.file,
                finding.span.start.line,
                finding.span.start.column,
                std::cmp::Reverse(finding.severity),
            )
        });
        found.dedup();
        Loaded { project, diagnostics: found, tree, sources }
    }

    fn read(&self, run: &mut Run<'_>, tree: &Node, env: &Variables) -> Project {
        let mut reader = Reader::new(&run.sources, &mut run.found, !self.interpolate);
        reader.home = env.get("HOME").cloned();
        Project::read(tree, &mut reader)
    }

    /// The files that are loaded when none is named.
    fn discover(&self, env: &Variables, directory: &Path) -> Vec<PathBuf> {
        if let Some(files) = env.get("COMPOSE_FILE").filter(|files| !files.is_empty()) {
            let separator = env
                .get("COMPOSE_PATH_SEPARATOR")
                .filter(|separator| !separator.is_empty())
                .map_or(":", String::as_str);
            return files
                .split(separator)
                .filter(|file| !file.is_empty())
                .take(1000)
                .map(|file| join(directory, file))
                .collect();
        }
        // a limit of nothing: whether it is there, not what is in it
        let there =
            |name: &&str| !matches!(self.files.read(&directory.join(name), 0), Err(Error::NotFound(_)));
        let Some(name) = FILE_NAMES.iter().find(|name| there(name)) else { return Vec::new() };
        let over = OVERRIDE_NAMES.iter().find(|name| there(name));
        [name].into_iter().chain(over).map(|name| directory.join(name)).collect()
    }

    /// Sets the services aside that no profile switches on.
    fn select(&self, project: &mut Project, env: &Variables) {
        let named = env
            .get("COMPOSE_PROFILES")
            .map(|profiles| profiles.split(',').map(|profile| profile.trim().to_owned()));
        project.profiles = if self.profiles.is_empty() {
            named.into_iter().flatten().filter(|profile| !profile.is_empty()).collect()
        } else {
            self.profiles.clone()
        };
        let on = |profile: &String| {
            profile == "*"
                || project.profiles.contains(profile)
                || project.profiles.iter().any(|on| on == "*")
        };
        let services = std::mem::take(&mut project.services);
        let (mut kept, mut disabled) = (crate::map::Map::new(), crate::map::Map::new());
        for (name, service) in services {
            let here = service.profiles.is_empty() || service.profiles.iter().any(on);
            if here {
                kept.insert(name, service)
            } else {
                disabled.insert(name, service)
            };
        }
        project.services = kept;
        project.disabled = disabled;
    }
}

fn truth(text: &str) -> bool {
    matches!(text.to_ascii_lowercase().as_str(), "1" | "t" | "true" | "yes" | "y" | "on")
}

/// Reads `env_file` and `label_file` below what `environment` and `labels` say.
fn environments(run: &mut Run<'_>, project: &mut Project, tree: &Node, env: &Variables) {
    for (name, service) in project.services.iter_mut() {
        let files = std::mem::take(&mut service.env_file.0);
        let mut read = Pairs::default();
        for file in files {
            let key = format!("services.{name}.env_file");
            let (span, _) = locate(tree, &["services", name, "env_file"]);
            let quoting = if file.format.as_deref() == Some("raw") { Quoting::Raw } else { Quoting::Compose };
            let required = file.required.unwrap_or(true);
            let Some(text) = run.text(Path::new(&*file.path), required, Some((span, &key))) else { continue };
            match variables(&text, quoting, |name| {
                env.get(name).cloned().or_else(|| read.value(name).map(str::to_owned))
            }) {
                Ok(pairs) => {
                    for (name, value) in pairs {
                        let value = value.or_else(|| env.get(&name).cloned());
                        if value.is_some() {
                            read.0.insert(name, value);
                        }
                    }
                }
                Err(error) => {
                    run.report(Diagnostic::error(span, format!("{}: {error}", &*file.path)).at(key));
                }
            }
        }
        fill(&mut read, &mut service.environment, run, tree, name);
        let mut read = Pairs::default();
        for file in std::mem::take(&mut service.label_file.0) {
            let key = format!("services.{name}.label_file");
            let (span, _) = locate(tree, &["services", name, "label_file"]);
            let Some(text) = run.text(Path::new(&*file), true, Some((span, &key))) else { continue };
            match variables(&text, Quoting::Compose, |name| env.get(name).cloned()) {
                Ok(pairs) => pairs.into_iter().for_each(|(name, value)| {
                    read.0.insert(name, Some(value.unwrap_or_default()));
                }),
                Err(error) => run.report(Diagnostic::error(span, format!("{}: {error}", &*file)).at(key)),
            }
        }
        fill(&mut read, &mut service.labels, run, tree, name);
    }
}

/// Puts a service's own pairs over those of its files.
fn fill(read: &mut Pairs, own: &mut Pairs, run: &mut Run<'_>, tree: &Node, name: &str) {
    if read.0.is_empty() {
        return;
    }
    let text = read.0.iter().map(|(name, value)| name.len() + value.as_ref().map_or(0, String::len)).sum();
    if !run.budget.take((read.0.len(), text)) {
        let (span, _) = locate(tree, &["services", name]);
        run.report(crate::yaml::too_large(span).at(format!("services.{name}")));
        return;
    }
    for (name, value) in std::mem::take(&mut own.0) {
        read.0.insert(name, value);
    }
    own.0 = std::mem::take(&mut read.0);
}
