//! The commands of `dunnage-oci`, one a file.

mod args;
mod checkpoint;
mod create;
mod delete;
mod events;
mod exec;
mod explain;
mod features;
mod foreground;
mod kill;
mod list;
mod log;
mod monitor;
mod pause;
mod ps;
mod run;
mod spec;
mod start;
mod state;
mod update;

use std::ffi::OsString;
use std::fs;
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use container_runtime::{ContainerId, Runtime, describe, inherited};

use args::Args;
use log::Log;

/// What every command has.
pub(crate) struct Context {
    pub(crate) runtime: Runtime,
    pub(crate) log: Log,
}

impl Context {
    fn id(&self, args: &mut Args) -> Result<ContainerId, Failure> {
        let id = args.word("the container's id")?.parse()?;
        self.log.debug(&format!("container {id} in {}", self.runtime.root().display()));
        Ok(id)
    }
}

/// Why a command failed, for people.
#[derive(Debug)]
pub(crate) struct Failure {
    message: String,
    code: i32,
}

impl Failure {
    fn usage(message: impl Into<String>) -> Self {
        Self { message: message.into(), code: 1 }
    }

    fn io(what: &str) -> impl FnOnce(io::Error) -> Self + use<> {
        let what = format!("cannot {what}");
        move |error| Self { message: format!("{what}: {error}"), code: 1 }
    }
}

impl From<container_runtime::Error> for Failure {
    fn from(error: container_runtime::Error) -> Self {
        // runc answers 1 to whatever kept the process from running; only exec tells a missing program apart
        Self { message: describe(&error), code: 1 }
    }
}

impl From<container_cgroup::Error> for Failure {
    fn from(error: container_cgroup::Error) -> Self {
        container_runtime::Error::from(error).into()
    }
}

const USAGE: &str = "\
dunnage-oci, an OCI runtime with the command line of runc

usage: dunnage-oci [--root DIR] [--log FILE] [--log-format text|json] [--debug] COMMAND

  create [-b BUNDLE] [--console-socket S] [--pid-file F] [--preserve-fds N] [--no-new-keyring] [--no-pivot] ID
  start ID
  run [flags of create] [-d] [--keep] ID
  exec [-p FILE] [-t] [-u UID[:GID]] [-e K=V] [--cwd DIR] [--cap C] [--no-new-privs] [--pid-file F] [-d] ID [PROGRAM ...]
  state ID                       kill [-a] ID [SIGNAL]
  delete [-f] ID                 list [-f table|json] [-q]
  ps [-f table|json] ID          pause ID, resume ID
  update [-r FILE|-] [--memory B] [--cpu-quota U] [--pids-limit N] ... ID
  events [--stats] [--interval S] ID
  spec [-b BUNDLE]               features
  explain BUNDLE                 what a bundle would do, step by step
  monitor DIR [--sync-fd N] [--attach-fd N]
";

/// Reads a whole command line and carries it out; gives the exit code.
pub(crate) fn main(words: impl IntoIterator<Item = OsString>) -> i32 {
    let mut log = Log::default();
    match carry_out(words, &mut log) {
        Ok(code) => code,
        Err(failure) => {
            log.error(&failure.message);
            failure.code
        }
    }
}

fn carry_out(words: impl IntoIterator<Item = OsString>, log: &mut Log) -> Result<i32, Failure> {
    let mut args = Args::new(words);
    let (mut root, mut log_path, mut format, mut debug) =
        (PathBuf::from("/run/dunnage-oci"), None, "text".to_owned(), false);
    let mut systemd = false;
    while let Some(flag) = args.flag()? {
        match flag.as_str() {
            "root" => root = args.path()?,
            "log" => log_path = Some(args.path()?),
            "log-format" => format = args.value()?,
            "debug" => debug = args.switch()?,
            "systemd-cgroup" => systemd = args.switch()?,
            "rootless" => drop(args.value()?),
            "h" | "help" => return print(USAGE),
            "v" | "version" => return version(),
            _ => return args.unknown(),
        }
    }
    *log = Log::open(log_path.as_deref(), &format, debug)?;
    if systemd {
        return Err(Failure::usage(if Path::new("/run/systemd/system").is_dir() {
            "--systemd-cgroup is not supported: control groups are made in cgroupfs"
        } else {
            "--systemd-cgroup: systemd does not run here"
        }));
    }
    let command = args.word("the command")?;
    if ["create", "run", "exec", "monitor"].contains(&command.as_str()) {
        seal()?;
    }
    if !["exec", "ps"].contains(&command.as_str()) {
        args = args.anywhere();
    }
    let context = Context { runtime: Runtime::new(root), log: std::mem::take(log) };
    let done = dispatch(&context, &command, args);
    *log = context.log;
    done
}

fn dispatch(context: &Context, command: &str, args: Args) -> Result<i32, Failure> {
    match command {
        "create" => create::run(context, args),
        "start" => start::run(context, args),
        "run" => run::run(context, args),
        "exec" => exec::run(context, args),
        "state" => state::run(context, args),
        "kill" => kill::run(context, args),
        "delete" => delete::run(context, args),
        "list" => list::run(context, args),
        "ps" => ps::run(context, args),
        "pause" => pause::run(context, args, false),
        "resume" => pause::run(context, args, true),
        "update" => update::run(context, args),
        "events" => events::run(context, args),
        "spec" => spec::run(context, args),
        "features" => features::run(context, args),
        "explain" => explain::run(context, args),
        "checkpoint" | "restore" => checkpoint::run(command),
        "monitor" => monitor::run(context, args),
        "help" => print(USAGE),
        other => Err(Failure::usage(format!("{other:?} is not a command; --help lists them"))),
    }
}

/// Goes on from a copy of this program that no container can write to by way of `/proc/self/exe`.
fn seal() -> Result<(), Failure> {
    use std::os::fd::AsRawFd as _;
    use std::os::unix::process::CommandExt as _;

    let sandbox = |error: container_ns::Error| Failure::from(container_runtime::Error::from(error));
    if !container_ns::is_exposed().map_err(sandbox)? {
        return Ok(());
    }
    let exe = container_ns::sealed_exe().map_err(sandbox)?;
    let mut words = std::env::args_os();
    let mut command = std::process::Command::new(format!("/proc/self/fd/{}", exe.as_raw_fd()));
    command.arg0(words.next().unwrap_or_default()).args(words);
    Err(Failure::io("execute the sealed program")(command.exec()))
}

fn version() -> Result<i32, Failure> {
    print(concat!("dunnage-oci version ", env!("CARGO_PKG_VERSION"), "\nspec: 1.3.0\n"))
}

fn print(text: &str) -> Result<i32, Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::io("write to stdout")(error)),
        _ => Ok(0),
    }
}

fn print_json(value: &impl serde::Serialize, pretty: bool) -> Result<i32, Failure> {
    let text = if pretty { serde_json::to_string_pretty(value) } else { serde_json::to_string(value) };
    print(&(text.map_err(|error| Failure::usage(error.to_string()))? + "\n"))
}

fn read_json<T: serde::de::DeserializeOwned>(path: &Path, what: &str) -> Result<T, Failure> {
    let bytes = fs::read(path).map_err(Failure::io(&format!("read {}", path.display())))?;
    serde_json::from_slice(&bytes)
        .map_err(|error| Failure::usage(format!("{} is not a valid {what}: {error}", path.display())))
}

/// Appears by rename, so that a reader who waits for it finds the number in it.
fn write_pid_file(path: &Path, pid: i32) -> Result<(), Failure> {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let temporary = path.with_file_name(format!(".{name}.{}", std::process::id()));
    let what = format!("write {}", path.display());
    fs::write(&temporary, pid.to_string()).map_err(Failure::io(&what))?;
    fs::rename(&temporary, path).map_err(Failure::io(&what))
}

/// Descriptors 3 and up that the caller left open for the process.
fn preserved(count: u32) -> Result<Vec<OwnedFd>, Failure> {
    let count = i32::try_from(count).map_err(|_| Failure::usage("--preserve-fds is too large"))?;
    (3..3_i32.saturating_add(count))
        .map(|fd| inherited(fd).map_err(Failure::io(&format!("preserve descriptor {fd}"))))
        .collect()
}
