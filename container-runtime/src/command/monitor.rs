use std::io;
use std::os::fd::{AsFd as _, OwnedFd, RawFd};
use std::path::PathBuf;

use container_runtime::{inherited, monitor};

use super::{Args, Context, Failure};

/// `monitor DIR [--sync-fd N] [--attach-fd N]`: the process beside a running container.
pub(crate) fn run(_: &Context, mut args: Args) -> Result<i32, Failure> {
    let (mut directory, mut sync, mut attach) = (None, None, None);
    loop {
        match args.flag()?.as_deref() {
            Some("sync-fd") => sync = Some(args.parse("a descriptor")?),
            Some("attach-fd") => attach = Some(args.parse("a descriptor")?),
            Some(_) => return args.unknown(),
            None => match args.optional() {
                Some(word) if directory.is_none() => directory = Some(PathBuf::from(word)),
                Some(word) => return Err(Failure::usage(format!("{word:?} is one word too many"))),
                None => break,
            },
        }
    }
    let directory = directory.ok_or_else(|| Failure::usage("the monitor's directory is missing"))?;
    let sync = sync.map(descriptor).transpose().map_err(Failure::io("use --sync-fd"))?;
    let attach = attach.map(descriptor).transpose().map_err(Failure::io("use --attach-fd"))?;
    Ok(monitor::run(&directory, sync, attach)?)
}

/// A descriptor that the caller left open. Standard input and output are copied, for the monitor puts `/dev/null` in their
/// place: so a caller with threads can hand them over without another child inheriting them.
fn descriptor(fd: RawFd) -> io::Result<OwnedFd> {
    match fd {
        0 => io::stdin().as_fd().try_clone_to_owned(),
        1 => io::stdout().as_fd().try_clone_to_owned(),
        fd => inherited(fd),
    }
}
