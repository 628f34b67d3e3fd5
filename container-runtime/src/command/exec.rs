use std::path::PathBuf;

use container_runtime::{Console, Exec};

use super::foreground::{self, Foreground};
use super::{Args, Context, Failure, preserved, read_json, write_pid_file};

/// `exec [FLAGS] ID PROGRAM [ARGUMENTS]` and `exec [FLAGS] -p FILE ID`
///
/// As in runc, what keeps the program from running is told by the exit code 255, which a program gives less often than 1.
pub(crate) fn run(context: &Context, args: Args) -> Result<i32, Failure> {
    join(context, args).map_err(|failure| Failure { code: 255, ..failure })
}

fn join(context: &Context, mut args: Args) -> Result<i32, Failure> {
    let mut exec = Exec::default();
    let (mut process, mut pid_file, mut console): (Option<PathBuf>, Option<PathBuf>, Option<PathBuf>) =
        (None, None, None);
    let (mut detach, mut preserve) = (false, 0);
    while let Some(flag) = args.flag()? {
        match flag.as_str() {
            "p" | "process" => process = Some(args.path()?),
            "t" | "tty" => exec.terminal = Some(args.switch()?),
            "u" | "user" => exec.user = Some(args.value()?.parse()?),
            "e" | "env" => exec.env.push(args.value()?),
            "cwd" => exec.cwd = Some(args.path()?),
            "c" | "cap" => exec.capabilities.push(args.value()?),
            "no-new-privs" => exec.no_new_privs = args.switch()?,
            "g" | "additional-gids" => exec.additional_gids.push(args.parse("a group number")?),
            "cgroup" => exec.cgroup = Some(args.value()?),
            "apparmor" => exec.apparmor = Some(args.value()?),
            "ignore-paused" => exec.ignore_paused = args.switch()?,
            "console-socket" => console = Some(args.path()?),
            "pid-file" => pid_file = Some(args.path()?),
            "d" | "detach" => detach = args.switch()?,
            "preserve-fds" => preserve = args.parse("a number of descriptors")?,
            _ => return args.unknown(),
        }
    }
    let id = context.id(&mut args)?;
    match process {
        Some(path) => {
            exec.process = Some(read_json(&path, "process")?);
            args.end()?;
        }
        None => exec.args = args.rest().into_iter().map(|word| word.to_string_lossy().into_owned()).collect(),
    }
    exec.preserved = preserved(preserve)?;
    exec.console = match console {
        Some(path) => Console::Socket(path),
        None if detach => Console::None,
        None => {
            exec.window = foreground::window();
            Console::Keep
        }
    };
    let foreground = if detach { None } else { Some(Foreground::prepare()?) };
    let mut child = context.runtime.exec(&id, exec)?;
    if let Some(path) = &pid_file {
        write_pid_file(path, child.pid())?;
    }
    let terminal = child.take_terminal();
    if let Some(foreground) = foreground {
        return foreground.attend(&mut child, terminal.as_ref());
    }
    child.leave();
    Ok(0)
}
