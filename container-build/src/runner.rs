use std::error::Error as StdError;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;

use container_ns::{
    CapSet, Capabilities, Child, JoinCgroup, Mount, MountFlags, Namespace, NamespaceKind, Root, Sandbox,
    Seccomp, Stdio, User,
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::Error;

/// How often a step that says nothing is asked whether it is to be stopped.
const BREATH: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

/// The network of a `RUN`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum StepNetwork {
    /// What the runner gives: with [`Isolated`] a network of its [`Connector`], or the host's.
    #[default]
    Default,
    /// None but its own loopback.
    None,
    /// The host's.
    Host,
}

impl StepNetwork {
    /// `default`, `none`, `host`
    pub fn name(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::None => "none",
            Self::Host => "host",
        }
    }

    /// The network of a name.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Default, Self::None, Self::Host].into_iter().find(|network| network.name() == text)
    }
}

/// A command to be run in the root of a step.
pub struct RunStep<'a> {
    /// The root: an overlay that is attached nowhere, writable, gone with its last user.
    pub root: OwnedFd,
    /// The command.
    pub argv: Vec<String>,
    /// Its environment, `NAME=value` each.
    pub env: Vec<String>,
    /// Where it starts.
    pub working_dir: String,
    /// As whom.
    pub user: User,
    /// The step's own mounts. Their targets are there.
    pub mounts: Vec<Mount>,
    /// Its network.
    pub network: StepNetwork,
    /// True once it is to be stopped.
    pub stop: &'a (dyn Fn() -> bool + Sync),
}

impl std::fmt::Debug for RunStep<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // the environment may have secrets
        f.debug_struct("RunStep").field("argv", &self.argv).field("user", &self.user).finish_non_exhaustive()
    }
}

/// Runs the commands of steps.
pub trait Runner: Sync {
    /// Runs a command to its end and returns its exit code, 128 and the number of the signal if one ended it. `output` is
    /// given what it writes.
    ///
    /// # Errors
    ///
    /// [`Error::Run`] if it cannot be run, [`Error::Stopped`] if it was to be stopped. Nothing of it is left.
    fn run(&self, step: RunStep<'_>, output: &mut dyn FnMut(&[u8])) -> Result<i32, Error>;
}

/// Networks for steps, each a network namespace that is used again when its step is done.
pub trait Connector: Sync {
    /// A namespace that is connected and that nobody uses; none if a new one is to be made.
    fn take(&self) -> Result<Option<OwnedFd>, Box<dyn StdError + Send + Sync>>;
    /// Connects a new namespace.
    fn connect(&self, namespace: BorrowedFd<'_>) -> Result<(), Box<dyn StdError + Send + Sync>>;
    /// The step is done.
    fn give_back(&self, namespace: OwnedFd);
}

/// Control groups for steps, with a device filter.
pub trait Confinement: Sync {
    /// What the process of a step joins.
    fn join(&self) -> Result<JoinCgroup, Box<dyn StdError + Send + Sync>>;
}

/// Runs steps by `container-ns` alone, confined as Docker confines a container by default: namespaces of its own,
/// Docker's capabilities and system call filter, masked paths.
///
/// Without a [`Confinement`] nothing but capabilities keeps a step from the host's devices, so it cannot make nodes then.
#[derive(Default)]
pub struct Isolated<'a> {
    /// Networks; without, the default network is the host's.
    pub connector: Option<&'a dyn Connector>,
    /// Control groups; without, a step stays in the caller's.
    pub confinement: Option<&'a dyn Confinement>,
}

impl std::fmt::Debug for Isolated<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Isolated")
            .field("connector", &self.connector.is_some())
            .field("confinement", &self.confinement.is_some())
            .finish()
    }
}

impl Runner for Isolated<'_> {
    fn run(&self, mut step: RunStep<'_>, output: &mut dyn FnMut(&[u8])) -> Result<i32, Error> {
        let command = step.argv.join(" ");
        let network = match (step.network, self.connector) {
            (StepNetwork::Default, None) => StepNetwork::Host,
            (network, _) => network,
        };
        let mut sandbox = self.sandbox(&step)?;
        sandbox.mounts.append(&mut step.mounts);
        let mut taken = None;
        match (network, self.connector) {
            (StepNetwork::Host, _) => {
                sandbox.namespaces.net = Namespace::Inherit;
                sandbox.loopback = false;
                // a sysfs belongs to a network namespace: the host's can only be bound
                for mount in &mut sandbox.mounts {
                    if mount.target.as_os_str() == "/sys" {
                        let flags = MountFlags::NO_SUID
                            | MountFlags::NO_DEV
                            | MountFlags::NO_EXEC
                            | MountFlags::READ_ONLY;
                        *mount = Mount::bind("/sys", "/sys", flags);
                    }
                }
            }
            (StepNetwork::Default, Some(connector)) => {
                let failed = |source| Error::Surroundings { action: "take a network", source };
                if let Some(namespace) = connector.take().map_err(failed)? {
                    sandbox.namespaces.net = Namespace::Join(clone(&namespace)?);
                    sandbox.loopback = false;
                    taken = Some(namespace);
                }
            }
            _ => {}
        }
        let (mut reader, writer) = io::pipe().map_err(failed)?;
        sandbox.stdin = Stdio::Null;
        sandbox.stdout = Stdio::Descriptor(writer.try_clone().map_err(failed)?.into());
        sandbox.stderr = Stdio::Descriptor(writer.into());
        let is_new = taken.is_none() && network == StepNetwork::Default;
        let started = start(sandbox, is_new.then_some(self.connector).flatten());
        let outcome = match started {
            Ok((child, namespace)) => {
                taken = taken.or(namespace);
                follow(child, &mut reader, step.stop, output, &command)
            }
            Err(Error::Run { source, .. }) => match source.exit_status() {
                // as a shell says it
                Some(code) => {
                    let said = if code == 127 { "not found" } else { "cannot be executed" };
                    output(format!("{}: {said}\n", step.argv.first().map_or("", String::as_str)).as_bytes());
                    Ok(code)
                }
                None => Err(Error::Run { command, source }),
            },
            Err(error) => Err(error),
        };
        if let (Some(connector), Some(namespace)) = (self.connector, taken) {
            connector.give_back(namespace);
        }
        outcome
    }
}

impl Isolated<'_> {
    fn sandbox(&self, step: &RunStep<'_>) -> Result<Sandbox, Error> {
        let mut sandbox = Sandbox::container(Root::Detached(clone(&step.root)?), step.argv.iter());
        let mut allowed = CapSet::DOCKER_DEFAULT;
        if let Some(confinement) = self.confinement {
            sandbox.cgroup = confinement
                .join()
                .map_err(|source| Error::Surroundings { action: "make a control group", source })?;
        } else {
            allowed = allowed.difference(CapSet::MKNOD);
            sandbox.seccomp = Some(Seccomp::docker_default(allowed));
        }
        let mut capabilities = Capabilities::bounded(allowed).within(CapSet::available());
        if step.user.uid != 0 {
            (capabilities.effective, capabilities.permitted) = (CapSet::EMPTY, CapSet::EMPTY);
        }
        sandbox.capabilities = Some(capabilities);
        // a set-uid program works in a build as it does in a container
        sandbox.no_new_privs = false;
        sandbox.hostname = Some("buildkitsandbox".to_owned());
        sandbox.env = step.env.iter().map(Into::into).collect();
        sandbox.cwd = step.working_dir.clone().into();
        sandbox.user = Some(step.user.clone());
        // if this program is killed nothing goes on
        sandbox.parent_death_signal = Some(rustix::process::Signal::KILL.as_raw());
        Ok(sandbox)
    }
}

/// Makes the process; with a connector it waits for its network, whose namespace is returned.
fn start(sandbox: Sandbox, connector: Option<&dyn Connector>) -> Result<(Child, Option<OwnedFd>), Error> {
    let run = |source| Error::Run { command: String::new(), source };
    let plan = sandbox.compile().map_err(run)?;
    let Some(connector) = connector else {
        return Ok((plan.run().map_err(run)?, None));
    };
    let meeting = plan.meet().map_err(run)?;
    let namespace = meeting.namespace(NamespaceKind::Net).map_err(run)?;
    connector
        .connect(namespace.as_fd())
        .map_err(|source| Error::Surroundings { action: "connect a network", source })?;
    let started = meeting.proceed().and_then(|mut child| child.release().map(|()| child));
    match started {
        Ok(child) => Ok((child, Some(namespace))),
        Err(source) => {
            connector.give_back(namespace);
            Err(run(source))
        }
    }
}

/// Hands on what the process writes until it has ended.
fn follow(
    mut child: Child,
    reader: &mut io::PipeReader,
    stop: &(dyn Fn() -> bool + Sync),
    output: &mut dyn FnMut(&[u8]),
    command: &str,
) -> Result<i32, Error> {
    let ended = |source| Error::Run { command: command.to_owned(), source };
    let mut buffer = vec![0; 64 << 10];
    let mut open = true;
    let mut stopped = false;
    let status = loop {
        if !stopped && stop() {
            stopped = true;
            child.signal(rustix::process::Signal::KILL.as_raw()).map_err(ended)?;
        }
        let (readable, over) = {
            let mut waited = vec![PollFd::from_borrowed_fd(child.pidfd(), PollFlags::IN)];
            if open {
                waited.push(PollFd::new(&*reader, PollFlags::IN));
            }
            match poll(&mut waited, Some(&BREATH)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(failed(errno.into())),
            }
            let is = |at: usize| waited.get(at).is_some_and(|fd| !fd.revents().is_empty());
            (is(1), is(0))
        };
        if readable {
            match reader.read(&mut buffer).map_err(failed)? {
                0 => open = false,
                count => output(buffer.get(..count).unwrap_or_default()),
            }
        } else if over {
            // what it wrote has been read: its processes went with it
            break child.wait().map_err(ended)?;
        }
    };
    if stopped {
        return Err(Error::Stopped);
    }
    Ok(status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0)))
}

fn clone(fd: &OwnedFd) -> Result<OwnedFd, Error> {
    fd.try_clone().map_err(failed)
}

fn failed(source: io::Error) -> Error {
    Error::Surroundings { action: "use a descriptor", source: source.into() }
}
