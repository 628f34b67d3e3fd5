//! Debian packages that commands need.

use std::process::Command;
use std::time::{Duration, Instant};

use crate::Failure;
use crate::process::{Ended, Show, run};
use crate::workspace::Workspace;

/// What an installation may take with everything: lists, one more try.
const LIMIT: Duration = Duration::from_secs(8 * 60);
/// What trying packages one by one may take.
const SINGLY: Duration = Duration::from_secs(4 * 60);

/// Installs those packages that are missing. Idempotent.
pub(crate) fn needs(workspace: &Workspace, packages: &[&str]) -> Result<(), Failure> {
    let missing = missing(workspace, packages)?;
    if missing.is_empty() {
        return Ok(());
    }
    let list = missing.join(" ");
    if !rustix::process::geteuid().is_root() {
        return Err(format!("these packages are missing, and only root can install them: {list}").into());
    }
    println!("installing {list}");
    let end = Instant::now() + LIMIT;
    if !lists_are_there() {
        update(workspace, end)?;
    }
    let mut ended = install(workspace, &missing, end)?;
    if !ended.success() {
        println!("apt-get install: {}; once more with fresh lists", ended.reason());
        update(workspace, end)?;
        ended = install(workspace, &missing, end)?;
    }
    if !ended.success() {
        return Err(format!("apt-get install {list}: {}\n{}", ended.reason(), ended.last(15)).into());
    }
    Ok(())
}

/// As [`needs`], but one package that cannot be had does not take the others along: what is wrong, a line each.
pub(crate) fn wishes(workspace: &Workspace, packages: &[&str]) -> Vec<String> {
    let Err(failure) = needs(workspace, packages) else { return Vec::new() };
    let Ok(missing) = missing(workspace, packages) else { return vec![failure.to_string()] };
    if !rustix::process::geteuid().is_root() {
        return vec![failure.to_string()];
    }
    let end = Instant::now() + SINGLY;
    let without = missing.into_iter().filter(|package| {
        let ended = install(workspace, &[package], end);
        !ended.is_ok_and(|ended| ended.success())
    });
    without.map(|package| format!("{package} cannot be installed")).collect()
}

fn missing<'a>(workspace: &Workspace, packages: &[&'a str]) -> Result<Vec<&'a str>, Failure> {
    let mut query = Command::new("dpkg-query");
    query.args(["-W", "-f", "${db:Status-Status} ${Package}\n"]).args(packages);
    // packages it does not know are an exit code and a line of their own
    let ended = run(query, Duration::from_secs(60), &workspace.log("dpkg-query"), Show::Nothing)?;
    if ended.code == Some(127) {
        return Err("no dpkg-query here: the packages are Debian's, and so must be the machine".into());
    }
    let there = |package: &str| ended.text.lines().any(|line| line == format!("installed {package}"));
    Ok(packages.iter().copied().filter(|package| !there(package)).collect())
}

fn lists_are_there() -> bool {
    let entries = std::fs::read_dir("/var/lib/apt/lists").into_iter().flatten().filter_map(Result::ok);
    entries.into_iter().any(|entry| entry.file_name().to_string_lossy().contains("_Packages"))
}

fn update(workspace: &Workspace, end: Instant) -> Result<(), Failure> {
    // one repository of many that does not answer is no reason to stop: the installation decides
    let left = end.saturating_duration_since(Instant::now());
    let ended = run(apt(&["update"]), left, &workspace.log("apt-update"), Show::Nothing)?;
    if !ended.success() {
        println!("apt-get update: {}", ended.reason());
    }
    Ok(())
}

fn install(workspace: &Workspace, packages: &[&str], end: Instant) -> Result<Ended, Failure> {
    let words = [&["install", "-y", "--no-install-recommends"], packages].concat();
    let left = end.saturating_duration_since(Instant::now());
    run(apt(&words), left, &workspace.log("apt"), Show::Nothing)
}

/// A command of `apt-get` that asks nothing and waits for nothing for long.
pub(crate) fn apt(args: &[&str]) -> Command {
    let mut command = Command::new("apt-get");
    command.args(["-q", "-o", "DPkg::Lock::Timeout=120", "-o", "Acquire::Retries=2"]);
    command.args(["-o", "Acquire::http::Timeout=30", "-o", "Acquire::https::Timeout=30"]).args(args);
    command.env("DEBIAN_FRONTEND", "noninteractive").env("LC_ALL", "C.UTF-8");
    command
}
