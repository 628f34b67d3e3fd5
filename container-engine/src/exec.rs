use std::os::fd::OwnedFd;

use container_image::Layers;
use container_ns::CapSet;
use container_runtime::{Console, Exec, ExecUser, Running, Signal, Stdio};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::containers::{container_id, decode};
use crate::poll::register;
use crate::{Engine, Error, user};

/// A further command in a running container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExecOptions {
    /// The command and its arguments.
    pub command: Vec<String>,
    /// `NAME=value` each, after the container's own.
    pub env: Vec<String>,
    /// `user`, `uid`, `user:group`; the container's own if none is given.
    pub user: Option<String>,
    /// The working directory.
    pub working_dir: Option<String>,
    /// A terminal of its own, whose other end is [`ExecProcess::take_terminal`].
    pub tty: bool,
    /// Standard input is the caller's; `/dev/null` otherwise.
    pub stdin: bool,
    /// Nothing of it is the caller's: it goes on when the caller ends.
    pub detached: bool,
    /// All capabilities.
    pub privileged: bool,
    /// Without a terminal, its input and output are pipes, which [`ExecProcess::take_pipes`] gives.
    pub piped: bool,
}

/// The caller's ends of a command's input and output.
#[derive(Debug)]
pub struct Pipes {
    /// What is written here is its standard input; dropped, that ends.
    pub stdin: OwnedFd,
    /// Its standard output.
    pub stdout: OwnedFd,
    /// Its standard error.
    pub stderr: OwnedFd,
}

/// A command that runs in a container. Dropping it lets the command go on.
#[derive(Debug)]
pub struct ExecProcess {
    running: Running,
    pidfd: OwnedFd,
    pipes: Option<Pipes>,
}

impl Engine {
    /// Runs a command in a running container. Without a terminal it has this program's own standard output
    /// and error, so nothing is copied.
    ///
    /// # Errors
    ///
    /// [`Error::ContainerNotRunning`]; [`Error::Runtime`] for a command that is missing (127) or cannot be executed (126).
    pub async fn exec(&self, text: &str, options: &ExecOptions) -> Result<ExecProcess, Error> {
        let row = self.running_row(text)?;
        let mut env = Vec::new();
        let mut exec = Exec::new(options.command.iter().cloned());
        if let Some(name) = &options.user {
            let identity = self.identity(&row, name)?;
            exec.user = Some(ExecUser { uid: identity.uid, gid: Some(identity.gid) });
            exec.additional_gids = identity.groups;
            env.push(format!("HOME={}", identity.home));
        }
        if options.tty {
            env.push("TERM=xterm".to_owned());
        }
        env.extend(options.env.iter().cloned());
        exec.env = env;
        exec.terminal = Some(options.tty);
        exec.console = if options.tty { Console::Keep } else { Console::None };
        exec.cwd = options.working_dir.clone().map(Into::into);
        if options.privileged {
            exec.capabilities = CapSet::all().names().collect();
        }
        let stdio = |inherit: bool| if inherit && !options.detached { Stdio::Inherit } else { Stdio::Null };
        (exec.stdin, exec.stdout, exec.stderr) = (stdio(options.stdin), stdio(true), stdio(true));
        let mut pipes = None;
        if options.piped && !options.tty && !options.detached {
            let pipe = || {
                rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)
                    .map_err(|errno| Error::io("make pipes for", self.container_run(&row.id))(errno.into()))
            };
            let ((input, stdin), (stdout, output), (stderr, error)) = (pipe()?, pipe()?, pipe()?);
            (exec.stdin, exec.stdout, exec.stderr) =
                (Stdio::Descriptor(input), Stdio::Descriptor(output), Stdio::Descriptor(error));
            pipes = Some(Pipes { stdin, stdout, stderr });
        } else if options.piped {
            (exec.stdin, exec.stdout, exec.stderr) = (Stdio::Null, Stdio::Null, Stdio::Null);
        }
        let running = self.runtime.exec(&container_id(&row.id)?, exec)?;
        // a child of ours that nobody has waited for keeps its number
        let pid = Pid::from_raw(running.pid()).ok_or_else(|| Error::ContainerNotRunning(row.name.clone()))?;
        let pidfd = pidfd_open(pid, PidfdFlags::NONBLOCK)
            .map_err(|errno| Error::io("wait for a process of", self.container_run(&row.id))(errno.into()))?;
        let command = options.command.join(" ");
        self.events.record(
            "container",
            "exec_start",
            &row.id,
            &[("name", &row.name), ("command", &command)],
        )?;
        Ok(ExecProcess { running, pidfd, pipes })
    }

    fn identity(&self, row: &crate::database::ContainerRow, name: &str) -> Result<user::Identity, Error> {
        let named = self.images.find(&row.image_id)?;
        let mut directories = vec![self.container_root(&row.id).join("upper")];
        directories.extend(self.snapshots.layers(&named.image).unwrap_or_default().into_iter().rev());
        user::resolve(&Layers::open(&directories)?, name, &decode(row)?.group_add)
    }
}

impl ExecProcess {
    /// Its terminal, where it has one. Taken once.
    pub fn take_terminal(&mut self) -> Option<OwnedFd> {
        self.running.take_terminal()
    }

    /// The caller's ends of its input and output, where they are pipes. Taken once.
    pub fn take_pipes(&mut self) -> Option<Pipes> {
        self.pipes.take()
    }

    /// Its number on the host.
    pub fn pid(&self) -> i32 {
        self.running.pid()
    }

    /// Signals it; false if it has ended.
    pub fn signal(&self, signal: Signal) -> Result<bool, Error> {
        Ok(self.running.signal(signal)?)
    }

    /// Waits for its end and tells its code, 128 + n for signal n.
    pub async fn wait(&mut self) -> Result<i32, Error> {
        let failed = |source| Error::Io { action: "wait for", path: "a process".into(), source };
        let pidfd = self.pidfd.try_clone().map_err(failed)?;
        let ended = register(pidfd).map_err(failed)?;
        let _ready = ended.readable().await.map_err(failed)?;
        Ok(self.running.wait()?)
    }

    /// Lets it go on alone.
    pub fn leave(self) {
        self.running.leave();
    }
}
