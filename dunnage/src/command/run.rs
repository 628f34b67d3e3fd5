use std::io::{IsTerminal, Write};

use clap::Args;
use container_engine::{Engine, RemoveOptions};

use crate::command::options::ContainerArgs;
use crate::command::pull::ensure;
use crate::context::{Failure, Roots, print};
use crate::terminal::{Join, Left, join};

#[derive(Debug, Args)]
pub(crate) struct Run {
    /// Run it in the background, and print its id
    #[arg(short, long)]
    detach: bool,
    /// Do not pass signals on to it
    #[arg(long)]
    no_sig_proxy: bool,
    #[command(flatten)]
    container: ContainerArgs,
}

impl Run {
    pub(crate) async fn run(self, roots: &Roots) -> Result<u8, Failure> {
        self.start(roots).await.map_err(|failure| match failure.code() {
            // what Docker gives for everything that went wrong before the command ran
            1 => failure.with_code(125),
            _ => failure,
        })
    }

    async fn start(self, roots: &Roots) -> Result<u8, Failure> {
        let args = &self.container;
        if args.tty && args.interactive && !self.detach && !std::io::stdin().is_terminal() {
            return Err(Failure::new("the input device is not a TTY"));
        }
        let engine = roots.engine().await?;
        let options = args.options()?;
        ensure(&engine, args.image(), args.pull).await?;
        let id = engine.create_container(options).await?;
        if let Err(failure) = write_id(args, &id) {
            engine.remove_container(&id, RemoveOptions { force: true, volumes: true }).await?;
            return Err(failure);
        }
        if self.detach {
            return match engine.start(&id).await {
                Ok(()) => print(&id).map(|()| 0),
                Err(error) => Err(failed(&engine, &id, error, args.rm).await),
            };
        }
        let attachment = match engine.start_attached(&id).await {
            Ok(attachment) => attachment,
            Err(error) => return Err(failed(&engine, &id, error, args.rm).await),
        };
        let how = Join { input: args.interactive, tty: args.tty, proxy: !self.no_sig_proxy };
        let code = match join(attachment, &how).await? {
            Left::Detached => return Ok(0),
            Left::Exited(code) => code,
            Left::Closed => engine.wait(&id).await?.code as u8,
        };
        if args.rm {
            remove(&engine, &id).await?;
        }
        Ok(code)
    }
}

/// What is left of a container that did not start goes if it was to; the failure with the code that Docker gives for it.
pub(crate) async fn failed(engine: &Engine, id: &str, error: container_engine::Error, rm: bool) -> Failure {
    let code = error.exit_code();
    if rm && let Err(failure) = remove(engine, id).await {
        failure.print();
    }
    Failure::from(error).with_code(code)
}

/// Removes a container that has ended; its monitor may be on its way out, and somebody else faster.
pub(crate) async fn remove(engine: &Engine, id: &str) -> Result<(), Failure> {
    if engine.container(id).await.is_ok() {
        // the last thing a monitor does is to let go of the lock
        let waited = engine.wait(id).await;
        match waited {
            Ok(_) | Err(container_engine::Error::ContainerMissing(_)) => {}
            Err(error) => return Err(error.into()),
        }
        match engine.remove_container(id, RemoveOptions { force: false, volumes: true }).await {
            Ok(()) | Err(container_engine::Error::ContainerMissing(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Writes the id where it was asked for.
pub(crate) fn write_id(args: &ContainerArgs, id: &str) -> Result<(), Failure> {
    let Some(path) = &args.cidfile else { return Ok(()) };
    std::fs::File::create_new(path)
        .and_then(|mut file| file.write_all(id.as_bytes()))
        .map_err(|error| Failure::new(format!("cidfile {}: {error}", path.display())))
}
