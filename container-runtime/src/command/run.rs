use container_runtime::Console;

use super::create::Flags;
use super::foreground::{self, Foreground};
use super::{Args, Context, Failure, write_pid_file};

/// `run [FLAGS] [-d] [--keep] ID`
pub(crate) fn run(context: &Context, mut args: Args) -> Result<i32, Failure> {
    let (mut flags, mut detach, mut keep, mut subreaper) = (Flags::new(), false, false, true);
    while let Some(flag) = args.flag()? {
        match flag.as_str() {
            "d" | "detach" => detach = args.switch()?,
            "keep" => keep = args.switch()?,
            "no-subreaper" => subreaper = !args.switch()?,
            other => {
                if !flags.take(other, &mut args)? {
                    return args.unknown();
                }
            }
        }
    }
    let id = context.id(&mut args)?;
    args.end()?;
    let mut options = flags.options()?;
    options.gate = false;
    if !detach {
        if subreaper {
            foreground::become_subreaper()?;
        }
        if flags.console_socket.is_none() {
            options.console = Console::Keep;
            options.window = foreground::window();
        }
    }
    // signals that arrive from here on are the process's
    let foreground = if detach { None } else { Some(Foreground::prepare()?) };
    let mut created = context.runtime.create(&id, options)?;
    let pid = created.pid();
    if let Some(path) = &flags.pid_file {
        write_pid_file(path, pid)?;
    }
    let terminal = created.take_terminal();
    let mut child = created.start()?;
    for warning in child.warnings() {
        context.log.warn(warning);
    }
    let Some(foreground) = foreground else {
        child.leave();
        return Ok(0);
    };
    let code = foreground.attend(&mut child, terminal.as_ref())?;
    if !keep {
        for warning in child.delete()?.1 {
            context.log.warn(&warning);
        }
    }
    Ok(code)
}
