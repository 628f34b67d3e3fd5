//! An OCI runtime in fifty lines: runs a bundle's container to its end, and passes signals and the exit code on.
//!
//! `cargo run -p container-runtime --example fifty -- /run/fifty BUNDLE ID` (needs root)

use std::path::Path;
use std::process::ExitCode;

use container_runtime::{ContainerId, Create, Error, Running, Runtime, Signals, describe};
use rustix::event::{PollFd, PollFlags, poll};

fn attend(signals: &mut Signals, container: &mut Running) -> Result<i32, Error> {
    use std::os::fd::AsFd as _;
    loop {
        let process = container.as_fd();
        let mut ready = [PollFd::new(&*signals, PollFlags::IN), PollFd::new(&process, PollFlags::IN)];
        // interrupted or not, what there is to do is looked at below
        let _ = poll(&mut ready, None);
        let ended = !ready[1].revents().is_empty();
        while let Some(signal) = signals.next() {
            if signal.number() != libc::SIGCHLD {
                container.signal(signal)?;
            }
        }
        if ended {
            return container.wait();
        }
    }
}

fn run(root: &str, bundle: &str, id: &str) -> Result<i32, Error> {
    let runtime = Runtime::new(root);
    let id = ContainerId::new(id)?;
    // from here on signals are the container's
    let mut signals = Signals::block().map_err(|source| Error::Process {
        operation: "receive signals of",
        pid: 0,
        source,
    })?;
    let mut container = runtime.create(&id, Create::new(Path::new(bundle)))?.start()?;
    let code = attend(&mut signals, &mut container);
    container.delete()?;
    code
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [root, bundle, id] = words.as_slice() else {
        eprintln!("usage: fifty STATE-DIRECTORY BUNDLE ID");
        return ExitCode::from(2);
    };
    match run(root, bundle, id) {
        Ok(code) => ExitCode::from(u8::try_from(code).unwrap_or(1)),
        Err(error) => {
            eprintln!("{}", describe(&error));
            ExitCode::from(125)
        }
    }
}
