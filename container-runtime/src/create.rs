use std::fmt;
use std::fs;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use container_cgroup::{Group, Hierarchy, Join, Limits};
use container_ns::{
    Child, JoinCgroup, Keyring, Namespace, NamespaceKind, Namespaces, Root, Sandbox, Stdio, Terminal,
    WindowSize,
};
use oci_spec::runtime::{Hooks, Spec};

use crate::process::Identity;
use crate::record::Record;
use crate::running::Made;
use crate::runtime::Locked;
use crate::{ContainerId, Error, Running, Runtime, Status, Timestamp, config, console, hooks, netdevice};

/// What happens to the master of a process's terminal.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Console {
    /// There must be no terminal.
    #[default]
    None,
    /// It is kept, for [`Created::take_terminal`] or [`Running::take_terminal`].
    Keep,
    /// It is sent over the unix socket that listens at this path.
    Socket(PathBuf),
}

/// What is done with the network namespace as soon as it exists.
pub type NetworkSetup<'a> = Box<dyn FnOnce(BorrowedFd<'_>) -> Result<(), Error> + 'a>;

/// How a container is made from a bundle.
pub struct Create<'a> {
    /// The bundle's directory.
    pub bundle: PathBuf,
    /// stdin, unless there is a terminal.
    pub stdin: Stdio,
    /// stdout, unless there is a terminal.
    pub stdout: Stdio,
    /// stderr, unless there is a terminal.
    pub stderr: Stdio,
    /// What happens to the terminal's master.
    pub console: Console,
    /// Size that a terminal has from the start, in place of `process.consoleSize`.
    pub window: Option<WindowSize>,
    /// Enter the root by `chroot` and not by `pivot_root`, see [`Sandbox::no_pivot`].
    pub no_pivot: bool,
    /// Descriptors that the process gets as 3, 4, ….
    pub preserved: Vec<OwnedFd>,
    /// A session keyring of its own.
    pub new_keyring: bool,
    /// Whether another process may start it by [`Runtime::start`].
    pub gate: bool,
    /// Signal that the process gets when the thread that makes it ends.
    pub parent_death_signal: Option<i32>,
    /// Called with the network namespace before anything is mounted and before hooks run.
    pub network: Option<NetworkSetup<'a>>,
}

impl Create<'_> {
    /// A container of this bundle, with this program's stdio and no terminal, that another process may start.
    pub fn new(bundle: impl Into<PathBuf>) -> Self {
        Self {
            bundle: bundle.into(),
            stdin: Stdio::Inherit,
            stdout: Stdio::Inherit,
            stderr: Stdio::Inherit,
            console: Console::None,
            window: None,
            no_pivot: false,
            preserved: Vec::new(),
            new_keyring: true,
            gate: true,
            parent_death_signal: None,
            network: None,
        }
    }
}

impl fmt::Debug for Create<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Create")
            .field("bundle", &self.bundle)
            .field("gate", &self.gate)
            .finish_non_exhaustive()
    }
}

/// A container whose process waits right before its program. Dropping it undoes everything.
#[derive(Debug)]
pub struct Created {
    runtime: Runtime,
    id: ContainerId,
    record: Record,
    group: Group,
    hooks: Option<Hooks>,
    child: Option<Child>,
}

impl Created {
    /// The process's number on the host.
    pub fn pid(&self) -> i32 {
        self.record.pid
    }

    /// The master of its terminal, once, if it was to be kept.
    pub fn take_terminal(&mut self) -> Option<OwnedFd> {
        self.child.as_mut().and_then(Child::take_terminal)
    }

    /// Leaves the container to whoever calls [`Runtime::start`]; without a gate it is undone, as nobody could.
    pub fn leave(mut self) {
        // a child without a gate is killed by the failing call
        drop(self.child.take().map(Child::detach));
        if !self.runtime.directory(&self.id).join(GATE).exists() {
            let _ = self.runtime.delete(&self.id, true);
        }
    }

    /// Lets the program run; returns when it has been executed, and `poststart` hooks have ended. If it cannot be
    /// executed, everything is undone.
    pub fn start(mut self) -> Result<Running, Error> {
        let directory = self.runtime.directory(&self.id);
        self.record.started = true;
        self.record.write(&directory)?;
        let Some(mut child) = self.child.take() else {
            return Err(Error::NotFound { id: self.id.to_string() });
        };
        if let Err(error) = child.release() {
            drop(child);
            let _ = self.runtime.delete(&self.id, true);
            return Err(error.into());
        }
        let warnings = poststart(&self.record, self.hooks.as_ref());
        let made = Made {
            runtime: self.runtime.clone(),
            id: self.id.clone(),
            record: self.record.clone(),
            group: self.group.clone(),
            hooks: self.hooks.take(),
        };
        Ok(Running { child, warnings, made: Some(Box::new(made)) })
    }
}

impl Drop for Created {
    fn drop(&mut self) {
        if let Some(child) = self.child.take() {
            drop(child);
            // nobody is there to hear of an error; what is left can be deleted by force
            let _ = self.runtime.delete(&self.id, true);
        }
    }
}

/// The socket at which a created process waits, in the container's directory.
pub(crate) const GATE: &str = "exec.sock";

/// A configuration made ready.
pub(crate) struct Prepared {
    pub(crate) spec: Spec,
    pub(crate) sandbox: Sandbox,
    limits: Limits,
    root: PathBuf,
    devices: bool,
}

pub(crate) fn prepare(mut spec: Spec, bundle: &Path) -> Result<Prepared, Error> {
    config::verify(&spec)?;
    let root_mount = config::root_mount_first(&mut spec)?;
    if root_mount.is_none() && spec.root().is_none() {
        let reason = "is missing, and no mount is at `/`";
        return Err(Error::Config { pointer: "/root".to_owned(), value: String::new(), reason });
    }
    let mut sandbox = Sandbox::from_oci(&spec, bundle)?;
    config::built_in_seccomp(&spec, &mut sandbox)?;
    config::possible_ambient(&mut sandbox);
    // `execCPUAffinity` is not for a container's first process
    (sandbox.initial_cpu_affinity, sandbox.cpu_affinity) = (None, None);
    sandbox.read_only_root |= root_mount == Some(true);
    let root = match &sandbox.root {
        Root::Path(path) => path.clone(),
        _ => PathBuf::new(),
    };
    let resources = spec.linux().as_ref().and_then(|linux| linux.resources().as_ref());
    let limits = resources.map(Limits::from_oci).transpose()?.unwrap_or_default();
    if let Some(hooks) = spec.hooks() {
        sandbox.create_container_hooks = inner_hooks(hooks.create_container().as_ref());
        sandbox.start_container_hooks = inner_hooks(hooks.start_container().as_ref());
    }
    let devices = netdevice::wanted(&spec)?;
    Ok(Prepared { spec, sandbox, limits, root, devices })
}

/// Hooks that the new process itself runs.
fn inner_hooks(hooks: Option<&Vec<oci_spec::runtime::Hook>>) -> Vec<container_ns::Hook> {
    let one = |hook: &oci_spec::runtime::Hook| container_ns::Hook {
        path: hook.path().clone(),
        argv: hook.args().iter().flatten().map(Into::into).collect(),
        env: hook.env().iter().flatten().map(Into::into).collect(),
        timeout: hooks::timeout(hook),
    };
    hooks.into_iter().flatten().map(one).collect()
}

pub(crate) fn join(join: Join) -> JoinCgroup {
    match (join.unified, join.tasks) {
        (Some(unified), tasks) if tasks.is_empty() => JoinCgroup::V2(unified),
        (Some(unified), tasks) => JoinCgroup::Hybrid(unified, tasks),
        (None, tasks) if tasks.is_empty() => JoinCgroup::Inherit,
        (None, tasks) => JoinCgroup::V1(tasks),
    }
}

/// Gives a new terminal the size that the caller knows.
pub(crate) fn resize(sandbox: &mut Sandbox, window: Option<WindowSize>) {
    if let (Terminal::New(size), Some(window)) = (&mut sandbox.terminal, window) {
        *size = Some(window);
    }
}

/// Whether the process makes its mounts in namespaces of its own, without a word from here: then its groups can be made meanwhile.
fn mounts_alone(namespaces: &Namespaces) -> bool {
    let Namespaces { user, mount, pid, net, ipc, uts, cgroup, time } = namespaces;
    let all = [user, pid, net, ipc, uts, cgroup, time];
    mount.is_new() && !user.is_new() && !all.iter().any(|one| matches!(one, Namespace::Join(_)))
}

/// Whether terminal and console agree.
pub(crate) fn agree(sandbox: &Sandbox, console: &Console) -> Result<(), Error> {
    match (&sandbox.terminal, console) {
        (Terminal::None, Console::Socket(_)) => {
            Err(Error::Terminal { reason: "a console socket is given, but the process has no terminal" })
        }
        (Terminal::New(_), Console::None) => {
            Err(Error::Terminal { reason: "the process has a terminal, but no console socket is given" })
        }
        _ => Ok(()),
    }
}

impl Runtime {
    /// Makes a container: its control group, its process up to right before its program, and its state. `prestart` and
    /// `createRuntime` hooks have run, then `createContainer`. What a failing call has made it removes; what a killed one
    /// has made, `delete` with force does.
    pub fn create(&self, id: &ContainerId, options: Create<'_>) -> Result<Created, Error> {
        let bundle =
            fs::canonicalize(&options.bundle).map_err(Error::file("open bundle", &options.bundle))?;
        let (spec, bytes) = config::load(&bundle)?;
        let cgroup = config::cgroup(&spec, id)?;
        let prepared = prepare(spec, &bundle)?;
        agree(&prepared.sandbox, &options.console)?;
        let annotations = prepared.spec.annotations().clone().unwrap_or_default();
        let record = Record {
            oci_version: prepared.spec.version().clone(),
            id: id.to_string(),
            pid: 0,
            start_time: 0,
            bundle,
            rootfs: prepared.root.clone(),
            created: Timestamp::now().to_string(),
            annotations: annotations.into_iter().collect(),
            cgroup: cgroup.to_string(),
            started: false,
        };
        let locked = self.claim(id)?;
        let mut group = None;
        let made = self.make(id, &locked, record, prepared, &bytes, options, &mut group);
        if made.is_err() {
            // best effort: the error that led here is the one to report
            if let Some(group) = group {
                let _ = group.kill(crate::runtime::PATIENCE);
                let _ = group.remove(crate::runtime::PATIENCE);
            }
            let _ = fs::remove_dir_all(&locked.directory);
        }
        made
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "one half of a function, split off to clean up in one place"
    )]
    fn make(
        &self,
        id: &ContainerId,
        locked: &Locked,
        mut record: Record,
        prepared: Prepared,
        bytes: &[u8],
        options: Create<'_>,
        group: &mut Option<Group>,
    ) -> Result<Created, Error> {
        let Prepared { spec, mut sandbox, limits, devices, .. } = prepared;
        let kept = locked.directory.join("config.json");
        fs::write(&kept, bytes).map_err(Error::file("write", kept))?;
        record.write(&locked.directory)?;
        let path = record.cgroup.parse()?;
        let in_process =
            !(sandbox.create_container_hooks.is_empty() && sandbox.start_container_hooks.is_empty());
        let hooks = spec.hooks().clone();
        let prestart = hooks.as_ref().and_then(|hooks| hooks.prestart().as_ref());
        let create_runtime = hooks.as_ref().and_then(|hooks| hooks.create_runtime().as_ref());
        let meets = devices
            || in_process
            || prestart.is_some()
            || create_runtime.is_some()
            || options.network.is_some();
        let mut begun = Group::begin(&Hierarchy::of_host()?, &path, &limits)?;
        let group = group.insert(begun.group().clone());
        if meets || !mounts_alone(&sandbox.namespaces) {
            begun.finish()?;
            sandbox.cgroup = join(group.join()?);
        } else {
            sandbox.cgroup = JoinCgroup::Later(begun.unified()?, begun.tasks());
        }
        sandbox.stdin = options.stdin;
        sandbox.stdout = options.stdout;
        sandbox.stderr = options.stderr;
        sandbox.preserved = options.preserved;
        sandbox.no_pivot = options.no_pivot;
        resize(&mut sandbox, options.window);
        sandbox.keyring = if options.new_keyring { Keyring::New } else { Keyring::Inherit };
        sandbox.parent_death_signal = options.parent_death_signal;
        let gate = options.gate;
        if gate {
            sandbox.gate = Some(locked.directory.join(GATE));
        }
        let later = matches!(sandbox.cgroup, JoinCgroup::Later(..));
        let plan = sandbox.compile()?;
        let mut child = if meets {
            let meeting = plan.meet()?;
            record.pid = meeting.pid().cast_signed();
            if let Some(network) = options.network {
                network(meeting.namespace(NamespaceKind::Net)?.as_fd())?;
            }
            if devices {
                netdevice::move_in(&spec, meeting.namespace(NamespaceKind::Net)?.as_fd())?;
            }
            let state = state_json(&record, Status::Creating, &locked.directory)?;
            if in_process {
                meeting.hook_input(&state)?;
            }
            hooks::run("prestart", prestart, &state, &record.bundle)?;
            hooks::run("createRuntime", create_runtime, &state, &record.bundle)?;
            meeting.proceed()?
        } else if later {
            plan.spawn_while(|| Ok::<_, Error>(begun.finish()?))?
        } else {
            plan.spawn()?
        };
        let identity = Identity::of(child.pid().cast_signed())?;
        record.pid = identity.pid;
        record.start_time = identity.start_time;
        if let Some(listener) = child.take_listener() {
            console::send_listener(&spec, &listener, record.pid, &record.state(Status::Created))?;
        }
        if let Console::Socket(path) = &options.console
            && let Some(master) = child.take_terminal()
        {
            console::send(path, &master)?;
        }
        // without a gate nobody else can start it: the state is written once more, by `Created::start`
        if gate {
            record.write(&locked.directory)?;
        }
        let group = group.clone();
        Ok(Created { runtime: self.clone(), id: id.clone(), record, group, hooks, child: Some(child) })
    }

    /// Starts a container that any process has created; gives the errors of `poststart` hooks, which do not stop it.
    ///
    /// A program that cannot be executed is the error; the container is stopped then, and remains to be deleted.
    pub fn start(&self, id: &ContainerId) -> Result<Vec<Error>, Error> {
        let locked = self.lock(id)?;
        let mut record = Record::read(&locked.directory)?;
        let gate = locked.directory.join(GATE);
        let status = self.status_locked(&record);
        if status == Status::Stopped || !gate.exists() {
            return Err(Error::Status { operation: "start", id: id.to_string(), status });
        }
        // written before, so that nobody sees a process at work and a state that says it waits
        record.started = true;
        record.write(&locked.directory)?;
        container_ns::open_gate(&gate)?;
        let spec = config::load_kept(&locked.directory)?;
        drop(locked);
        Ok(poststart(&record, spec.hooks().as_ref()))
    }
}

fn state_json(record: &Record, status: Status, directory: &Path) -> Result<Vec<u8>, Error> {
    serde_json::to_vec(&record.state(status)).map_err(|source| Error::Json {
        kind: "state",
        path: directory.join("state.json"),
        source,
    })
}

fn poststart(record: &Record, hooks: Option<&Hooks>) -> Vec<Error> {
    let list = hooks.and_then(|hooks| hooks.poststart().as_ref());
    let state = serde_json::to_vec(&record.state(Status::Running)).unwrap_or_default();
    let one = |hook: &oci_spec::runtime::Hook| {
        crate::hooks::run("poststart", Some(&vec![hook.clone()]), &state, &record.bundle).err()
    };
    list.into_iter().flatten().filter_map(one).collect()
}
