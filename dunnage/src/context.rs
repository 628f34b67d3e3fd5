use std::fmt::Display;
use std::io::{self, Write};
use std::path::PathBuf;

use clap::Args;
use container_engine::{Config, Engine};

/// Where the engine keeps its state.
#[derive(Debug, Clone, Args)]
pub(crate) struct Roots {
    /// What outlives a reboot: images, containers, volumes
    #[arg(long, global = true, default_value = "/var/lib/dunnage", value_name = "DIR")]
    root: PathBuf,
    /// What does not: sockets, locks, leases
    #[arg(long, global = true, default_value = "/run/dunnage", value_name = "DIR")]
    run_root: PathBuf,
}

impl Roots {
    /// Where the API is served.
    pub(crate) fn socket(&self) -> PathBuf {
        self.run_root.join(container_engine::API_SOCKET)
    }

    pub(crate) async fn engine(&self) -> Result<Engine, Failure> {
        let own = std::env::current_exe()?;
        let absolute = |path: &PathBuf| std::path::absolute(path);
        let (root, run_root) = (absolute(&self.root)?, absolute(&self.run_root)?);
        let text = |path: &PathBuf| path.to_string_lossy().into_owned();
        let reaper = vec![
            text(&own),
            "--root".to_owned(),
            text(&root),
            "--run-root".to_owned(),
            text(&run_root),
            "reap".to_owned(),
        ];
        let monitor = own.with_file_name("dunnage-oci");
        Ok(Engine::open(Config { root, run_root, monitor, reaper: Some(reaper) }).await?)
    }
}

/// Why a command did not do what it was asked for.
#[derive(Debug)]
pub(crate) struct Failure {
    message: String,
    code: u8,
}

impl Failure {
    pub(crate) fn new(message: impl Display) -> Self {
        // a name in it may come from a container
        let shown = |c: char| if c.is_control() && c != '\n' { '\u{fffd}' } else { c };
        Self { message: message.to_string().chars().map(shown).collect(), code: 1 }
    }

    pub(crate) fn with_code(self, code: u8) -> Self {
        Self { code, ..self }
    }

    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    pub(crate) fn code(&self) -> u8 {
        self.code
    }

    pub(crate) fn print(&self) {
        if !self.message.is_empty() {
            // standard error that is closed is nobody to tell
            let _ = writeln!(io::stderr(), "dunnage: {}", self.message);
        }
    }
}

impl From<container_engine::Error> for Failure {
    fn from(error: container_engine::Error) -> Self {
        Self::new(container_engine::describe(&error))
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::new(error)
    }
}

impl From<serde_json::Error> for Failure {
    fn from(error: serde_json::Error) -> Self {
        Self::new(error)
    }
}

/// Prints lines to standard output. A reader that went away ends the program quietly, as a pipe does.
pub(crate) fn print(text: impl Display) -> Result<(), Failure> {
    let mut output = io::stdout().lock();
    match writeln!(output, "{text}").and_then(|()| output.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(Failure::new("").with_code(141)),
        result => Ok(result?),
    }
}

/// Does something for each name, says what failed of it, and fails if anything did.
pub(crate) async fn each<F>(names: &[String], work: impl Fn(String) -> F) -> Result<u8, Failure>
where
    F: Future<Output = Result<String, Failure>>,
{
    let mut code = 0;
    for name in names {
        match work(name.clone()).await {
            Ok(line) => print(line)?,
            Err(failure) => {
                failure.print();
                code = 1;
            }
        }
    }
    Ok(code)
}
