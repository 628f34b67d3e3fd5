//! Where things are, and what cargo says it built.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::Failure;
use crate::process::{Show, run};

/// The repository and its target folder.
pub(crate) struct Workspace {
    pub(crate) root: PathBuf,
    pub(crate) target: PathBuf,
}

/// A program that cargo built.
pub(crate) struct Built {
    pub(crate) package: String,
    /// The name of the target within the package.
    pub(crate) name: String,
    pub(crate) path: PathBuf,
    /// It is a test program, not the binary itself.
    pub(crate) test: bool,
    /// The folder of the package, in which its tests expect to be run.
    pub(crate) folder: PathBuf,
}

impl Workspace {
    pub(crate) fn find() -> Result<Self, Failure> {
        let root =
            Path::new(env!("CARGO_MANIFEST_DIR")).parent().ok_or("xtask is in no workspace")?.to_owned();
        let target = match std::env::var_os("CARGO_TARGET_DIR") {
            Some(folder) => root.join(folder),
            None => root.join("target"),
        };
        Ok(Self { root, target })
    }

    /// A command of cargo, in the root.
    pub(crate) fn cargo(&self, args: &[&str]) -> Command {
        let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        command.args(args).current_dir(&self.root).env("CARGO_TERM_COLOR", "never");
        // set by the cargo that started us, and not meant for the one we start
        command.env_remove("CARGO_MANIFEST_DIR").env_remove("CARGO_MANIFEST_PATH");
        command
    }

    pub(crate) fn log(&self, name: &str) -> PathBuf {
        self.target.join("xtask").join(format!("{name}.log"))
    }

    /// Runs `cargo ... --message-format json` and reads which programs it made.
    pub(crate) fn build(&self, args: &[&str], limit: Duration) -> Result<Vec<Built>, Failure> {
        let mut command = self.cargo(args);
        command.args(["--message-format", "json-render-diagnostics"]);
        let ended = run(command, limit, &self.log("build"), Show::Nothing)?;
        if !ended.success() {
            return Err(format!("cargo {}: {}\n{}", args.join(" "), ended.reason(), ended.last(40)).into());
        }
        // messages are whole lines; the words to people between them are not JSON
        let messages = ended.text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        Ok(messages.filter_map(|message| built(&message)).collect())
    }
}

fn built(message: &Value) -> Option<Built> {
    let path = message["executable"].as_str()?;
    let manifest = Path::new(message["manifest_path"].as_str()?);
    let folder = manifest.parent()?.to_owned();
    Some(Built {
        package: folder.file_name()?.to_str()?.to_owned(),
        name: message["target"]["name"].as_str()?.to_owned(),
        path: path.into(),
        test: message["profile"]["test"].as_bool()?,
        folder,
    })
}
