//! The compiled plan.

use std::fmt;
use std::os::fd::{OwnedFd, RawFd};
use std::path::PathBuf;

use crate::step::Entry;
use crate::{Child, Error, IdMaps, Meeting, StepKind, spawn};

/// What the compiler hands over.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) entries: Vec<Entry>,
    pub(crate) fds: Vec<OwnedFd>,
    pub(crate) proc: Option<RawFd>,
    pub(crate) hook_input: Option<RawFd>,
    /// Descriptors that must outlive the mapping of preserved ones lie at or above this.
    pub(crate) floor: RawFd,
    pub(crate) flags: u64,
    pub(crate) namespaces: String,
    pub(crate) cgroup: Option<RawFd>,
    pub(crate) second: bool,
    pub(crate) id_maps: Option<IdMaps>,
    pub(crate) oom_score_adj: Option<i32>,
    pub(crate) gate: Option<PathBuf>,
}

/// A sandbox compiled to a flat list of steps: everything the new process will need is made and checked. A plan is good
/// for one process, since detached mounts and descriptors in it are used up. Dropping it closes them.
#[derive(Debug)]
pub struct Plan(pub(crate) Parts);

/// A step as [`Plan::steps`] shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StepLine<'a> {
    /// Its number, the one in [`Error::Step`].
    pub number: usize,
    /// Kind.
    pub kind: StepKind,
    /// What it is done to, and with which value.
    pub object: &'a str,
    /// Which of [`Sandbox::mounts`](crate::Sandbox::mounts) it belongs to; one may take several steps.
    pub mount: Option<usize>,
}

impl Plan {
    pub(crate) fn new(parts: Parts) -> Self {
        Self(parts)
    }

    /// The steps in order, from the first instruction of the new process to its program.
    pub fn steps(&self) -> impl Iterator<Item = StepLine<'_>> {
        self.0.entries.iter().enumerate().map(|(number, entry)| StepLine {
            number,
            kind: entry.kind,
            object: &entry.object,
            mount: entry.mount,
        })
    }

    /// What will be unshared, joined, mounted, dropped and filtered, in order, one line a step. The same as `Display`.
    pub fn explain(&self) -> String {
        self.to_string()
    }

    /// Makes the process and stops it where its namespaces and id maps exist and nothing is mounted yet.
    ///
    /// # Errors
    /// [`Error::Clone`], [`Error::IdMap`], [`Error::Step`]. Nothing is left of the process then.
    pub fn meet(self) -> Result<Meeting, Error> {
        spawn::launch(self, spawn::Until::Meeting, None).map(Meeting::new)
    }

    /// Makes the process and stops it right before its program: the state that OCI calls `created`. Everything is
    /// confined, but for the filter, which is installed when the start gate opens (a filter that notifies is installed before).
    pub fn spawn(self) -> Result<Child, Error> {
        spawn::launch(self, spawn::Until::Gate, None).map(Child::new)
    }

    /// [`spawn`](Self::spawn) that does `work` while the new process already makes its mounts: with
    /// [`JoinCgroup::Later`](crate::JoinCgroup::Later), what makes the groups. If it fails, nothing is left of the process.
    pub fn spawn_while<E: From<Error>>(self, work: impl FnOnce() -> Result<(), E>) -> Result<Child, E> {
        let mut work = Some(work);
        let mut failure = None;
        let mut once = || {
            failure = work.take().and_then(|work| work().err());
            failure.is_none()
        };
        let launched = spawn::launch(self, spawn::Until::Gate, Some(&mut once));
        match failure {
            Some(failure) => Err(failure),
            None => Ok(launched.map(Child::new)?),
        }
    }

    /// Makes the process and lets it run. Returns when its program has been executed. The start gate is not used.
    pub fn run(self) -> Result<Child, Error> {
        spawn::launch(self, spawn::Until::Program, None).map(Child::new)
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let with = if self.0.namespaces.is_empty() { "no new namespace" } else { &self.0.namespaces };
        let cgroup = if self.0.cgroup.is_some() { ", born in its cgroup" } else { "" };
        writeln!(f, "     clone: {with}{cgroup}")?;
        for line in self.steps() {
            write!(f, "{:>4} {}", line.number, line.kind)?;
            if !line.object.is_empty() {
                write!(f, ": {}", line.object)?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}
