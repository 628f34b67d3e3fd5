use std::path::PathBuf;

use container_runtime::{Console, Create};

use super::{Args, Context, Failure, preserved, write_pid_file};

/// Flags that `create` and `run` share.
#[derive(Default)]
pub(crate) struct Flags {
    pub(crate) bundle: PathBuf,
    pub(crate) console_socket: Option<PathBuf>,
    pub(crate) pid_file: Option<PathBuf>,
    pub(crate) preserve_fds: u32,
    pub(crate) no_new_keyring: bool,
    pub(crate) no_pivot: bool,
}

impl Flags {
    pub(crate) fn new() -> Self {
        Self { bundle: PathBuf::from("."), ..Self::default() }
    }

    /// Takes a flag if it is one of these.
    pub(crate) fn take(&mut self, flag: &str, args: &mut Args) -> Result<bool, Failure> {
        match flag {
            "b" | "bundle" => self.bundle = args.path()?,
            "console-socket" => self.console_socket = Some(args.path()?),
            "pid-file" => self.pid_file = Some(args.path()?),
            "preserve-fds" => self.preserve_fds = args.parse("a number of descriptors")?,
            "no-new-keyring" => self.no_new_keyring = args.switch()?,
            "no-pivot" => self.no_pivot = args.switch()?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    pub(crate) fn options(&self) -> Result<Create<'static>, Failure> {
        let mut create = Create::new(&self.bundle);
        create.preserved = preserved(self.preserve_fds)?;
        create.new_keyring = !self.no_new_keyring;
        create.no_pivot = self.no_pivot;
        if let Some(path) = &self.console_socket {
            create.console = Console::Socket(path.clone());
        }
        Ok(create)
    }
}

/// `create [FLAGS] ID`
pub(crate) fn run(context: &Context, mut args: Args) -> Result<i32, Failure> {
    let mut flags = Flags::new();
    while let Some(flag) = args.flag()? {
        if !flags.take(&flag, &mut args)? {
            return args.unknown();
        }
    }
    let id = context.id(&mut args)?;
    args.end()?;
    let created = context.runtime.create(&id, flags.options()?)?;
    if let Some(path) = &flags.pid_file
        && let Err(error) = write_pid_file(path, created.pid())
    {
        // dropping what was created undoes it
        drop(created);
        return Err(error);
    }
    created.leave();
    Ok(0)
}
