//! `fuzz`: every target under libFuzzer, for a share of the time each, and what came of it.
//!
//! cargo-fuzz builds them with the nightly toolchain and its address sanitizer. What is found stays in `fuzz/corpus`, which is not kept in the
//! repository; `fuzz/artifacts` has what made a target panic.

use std::fs;
use std::process::Command;
use std::time::Duration;

use crate::Failure;
use crate::process::{Show, run as run_program};
use crate::workspace::Workspace;

const MINUTE: Duration = Duration::from_secs(60);
/// libFuzzer's own limits: a run that takes longer, or more memory, is a finding.
const LIMITS: [&str; 3] = ["-timeout=20", "-rss_limit_mb=2048", "-max_len=8192"];

/// Where cargo-fuzz puts what it builds, in the target folder.
const BUILT: &str = "x86_64-unknown-linux-gnu/release";

/// The command: `[--minutes N] [TARGET...]`, ten minutes in all if nothing is said.
pub(crate) fn run(words: &[&str]) -> Result<bool, Failure> {
    let (mut minutes, mut wanted) = (10, Vec::new());
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match *word {
            "--minutes" => minutes = words.next().ok_or("--minutes wants a number")?.parse()?,
            option if option.starts_with('-') => return Err(format!("fuzz: {option:?} is not known").into()),
            target => wanted.push(target),
        }
    }
    let workspace = Workspace::find()?;
    install(&workspace)?;
    println!("building the targets");
    let log = workspace.log("fuzz-build");
    let built = run_program(cargo_fuzz(&workspace), MINUTE * 40, &log, Show::Nothing)?;
    if !built.success() {
        return Err(format!("cargo fuzz build: {}\n{}", built.reason(), built.last(40)).into());
    }
    let targets = targets(&workspace, &wanted)?;
    let seconds = (minutes * 60 / targets.len() as u64).max(5);
    println!("{} targets, {seconds} s each", targets.len());
    println!(
        "{:<24} {:>12} {:>9} {:>8} {:>8} {:>7} {:>7}",
        "target", "executions", "a second", "edges", "features", "corpus", "MB"
    );
    let mut findings = Vec::new();
    for target in &targets {
        let told = one(&workspace, target, seconds)?;
        println!("{target:<24} {}", told.line);
        findings.extend(told.finding.map(|finding| format!("{target}: {finding}")));
    }
    for finding in &findings {
        println!("FOUND {finding}");
    }
    println!("{} targets, {} findings", targets.len(), findings.len());
    Ok(findings.is_empty())
}

struct Told {
    line: String,
    finding: Option<String>,
}

/// Runs one target over its corpus and its seeds.
fn one(workspace: &Workspace, target: &str, seconds: u64) -> Result<Told, Failure> {
    let corpus = format!("fuzz/corpus/{target}");
    let artifacts = format!("fuzz/artifacts/{target}/");
    fs::create_dir_all(workspace.root.join(&corpus))?;
    fs::create_dir_all(workspace.root.join(&artifacts))?;
    gather(workspace, target)?;
    // the program itself: `cargo fuzz run` would build it anew whenever a source has changed meanwhile
    let mut command = Command::new(workspace.target.join(BUILT).join(target));
    command.arg(&corpus).args(LIMITS).arg(format!("-max_total_time={seconds}"));
    command.args(["-print_final_stats=1".to_owned(), format!("-artifact_prefix={artifacts}")]);
    let dictionary = format!("fuzz/dictionaries/{}.dict", target.split('_').next().unwrap_or(target));
    if workspace.root.join(&dictionary).is_file() {
        command.arg(format!("-dict={dictionary}"));
    }
    command.current_dir(&workspace.root).env("ASAN_OPTIONS", "detect_odr_violation=0");
    let log = workspace.log(&format!("fuzz-{target}"));
    let ended = run_program(command, Duration::from_secs(seconds) + MINUTE * 3, &log, Show::Nothing)?;
    let last = |label: &str| -> String {
        let line = ended.text.lines().rev().find_map(|line| line.split_once(label));
        let word = line.and_then(|(_, rest)| rest.split_whitespace().next());
        word.unwrap_or("-").split('/').next().unwrap_or("-").to_owned()
    };
    let line = format!(
        "{:>12} {:>9} {:>8} {:>8} {:>7} {:>7}",
        last("stat::number_of_executed_units:"),
        last("stat::average_exec_per_sec:"),
        last(" cov: "),
        last(" ft: "),
        last(" corp: "),
        last("stat::peak_rss_mb:"),
    );
    let finding = (!ended.success()).then(|| {
        let what = ended.text.lines().find(|line| line.contains("panicked at") || line.contains("ERROR: "));
        let file = ended.text.lines().find_map(|line| line.split_once("Test unit written to "));
        let file = file.map_or("no file", |(_, file)| file);
        format!(
            "{}; again with: cargo +nightly fuzz run --features libfuzzer {target} {file}",
            what.unwrap_or(&ended.reason()).trim()
        )
    });
    Ok(Told { line, finding })
}

/// The crates' own cases, and what `fuzz/seeds` has, become part of the corpus.
fn gather(workspace: &Workspace, target: &str) -> Result<(), Failure> {
    let mut folders = vec![(workspace.root.join("fuzz/seeds").join(target), None)];
    let table = fs::read_to_string(workspace.root.join("fuzz/src/lib.rs"))?;
    let line = table.lines().find(|line| line.trim_start().starts_with(&format!("{target} =")));
    let quoted: Vec<&str> = line.unwrap_or_default().split('"').skip(1).step_by(2).collect();
    if let [folder, file] = quoted.as_slice()
        && !folder.is_empty()
    {
        folders.push((workspace.root.join(folder), Some(*file)));
    }
    let corpus = workspace.root.join("fuzz/corpus").join(target);
    for (folder, file) in folders {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = file.map_or(entry.path(), |file| entry.path().join(file));
            let name = format!("seed-{}", entry.file_name().to_string_lossy());
            if path.is_file() && !corpus.join(&name).exists() {
                fs::copy(path, corpus.join(name))?;
            }
        }
    }
    Ok(())
}

fn targets(workspace: &Workspace, wanted: &[&str]) -> Result<Vec<String>, Failure> {
    let mut found: Vec<String> = fs::read_dir(workspace.root.join("fuzz/fuzz_targets"))?
        .flatten()
        .filter_map(|entry| Some(entry.path().file_stem()?.to_str()?.to_owned()))
        .filter(|name| wanted.is_empty() || wanted.contains(&name.as_str()))
        .collect();
    found.sort();
    if let Some(unknown) = wanted.iter().find(|name| !found.iter().any(|target| target == *name)) {
        return Err(format!("fuzz: there is no target {unknown:?} in fuzz/fuzz_targets").into());
    }
    Ok(found)
}

/// What builds all targets.
fn cargo_fuzz(workspace: &Workspace) -> Command {
    let mut command = Command::new("cargo");
    command.args(["+nightly", "fuzz", "build", "--features", "libfuzzer"]);
    command.current_dir(&workspace.root).env("CARGO_TERM_COLOR", "never");
    // the toolchain that started us is not the one that is meant
    for name in ["RUSTUP_TOOLCHAIN", "CARGO", "RUSTC", "CARGO_MANIFEST_DIR", "CARGO_MANIFEST_PATH"] {
        command.env_remove(name);
    }
    command
}

/// cargo-fuzz, where it is missing; the nightly toolchain must be there.
fn install(workspace: &Workspace) -> Result<(), Failure> {
    let mut nightly = Command::new("cargo");
    nightly.args(["+nightly", "--version"]);
    let known = run_program(nightly, MINUTE, &workspace.log("nightly"), Show::Nothing)?;
    if !known.success() {
        return Err("the nightly toolchain is missing: `rustup toolchain install nightly`; `cargo xtask test` runs each target without".into());
    }
    let mut fuzz = Command::new("cargo");
    fuzz.args(["fuzz", "--version"]);
    if run_program(fuzz, MINUTE, &workspace.log("fuzz-version"), Show::Nothing)?.success() {
        return Ok(());
    }
    println!("installing cargo-fuzz");
    let mut command = workspace.cargo(&["install", "--locked", "cargo-fuzz"]);
    command.current_dir("/");
    let ended = run_program(command, MINUTE * 15, &workspace.log("fuzz-install"), Show::Nothing)?;
    if ended.success() {
        return Ok(());
    }
    Err(format!("cargo install cargo-fuzz: {}\n{}", ended.reason(), ended.last(15)).into())
}
