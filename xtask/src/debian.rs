//! A root of Debian packages, as an archive.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::Failure;
use crate::process::{Show, run as run_program};
use crate::workspace::Workspace;

/// What this takes of the machine's own packages.
pub(crate) const PACKAGES: [&str; 2] = ["mmdebstrap", "debian-archive-keyring"];

/// Makes the archive of a root with some packages by mmdebstrap, unless it is there. Under a temporary name until it is whole.
pub(crate) fn root(workspace: &Workspace, archive: &Path, packages: &str) -> Result<(), Failure> {
    if archive.exists() {
        println!("the Debian root of an earlier run is there: {}", archive.display());
        return Ok(());
    }
    let half = archive.with_extension("half.tar");
    let mirror = mirror();
    println!("from {mirror}, with {packages}");
    let mut command = Command::new("mmdebstrap");
    command.args(["--variant=apt", "--include", packages, "--format=tar", "--components=main"]);
    command.arg("--aptopt=Acquire::Languages \"none\"").arg("--aptopt=Acquire::Retries \"2\"");
    command.args(["--dpkgopt=path-exclude=/usr/share/doc/*", "--dpkgopt=path-exclude=/usr/share/man/*"]);
    command.args(["--dpkgopt=path-exclude=/usr/share/locale/*", "bookworm"]).arg(&half).arg(&mirror);
    let log = workspace.log("mmdebstrap");
    let ended = run_program(command, Duration::from_secs(15 * 60), &log, Show::Nothing)?;
    if !ended.success() {
        let _ = fs::remove_file(&half);
        return Err(format!("mmdebstrap: {}\n{}", ended.reason(), ended.last(30)).into());
    }
    fs::rename(half, archive)?;
    Ok(())
}

/// The mirror this host takes Debian from: by HTTP, as a fresh root trusts no authority of ours.
fn mirror() -> String {
    let mut files = vec![PathBuf::from("/etc/apt/sources.list")];
    let more = fs::read_dir("/etc/apt/sources.list.d").into_iter().flatten().filter_map(Result::ok);
    files.extend(more.map(|entry| entry.path()));
    let text: String =
        files.iter().filter_map(|file| fs::read_to_string(file).ok()).collect::<Vec<_>>().join("\n");
    let words = text.lines().filter(|line| line.starts_with("deb ") || line.starts_with("URIs:"));
    let uri = words
        .flat_map(str::split_whitespace)
        .find(|word| word.starts_with("http://") && word.trim_end_matches('/').ends_with("/debian"));
    uri.unwrap_or("http://deb.debian.org/debian").to_owned()
}
