//! `bench counts`: the instructions that hot paths take, under callgrind, beside those that `benches/counts.txt` keeps.
//!
//! Instructions are the same on an idle and on a busy machine, so a change of a few in a hundred can be seen, and fails. They hang on
//! the compiler, on valgrind, and on what the processor has; where those differ from the file's, nothing is compared.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::process::{Show, run as run_program};
use crate::tally::Tally;
use crate::workspace::Workspace;
use crate::{Failure, apt};

const MINUTE: Duration = Duration::from_secs(60);
pub(crate) const PACKAGES: [&str; 2] = ["tar", "valgrind"];
/// How much more than before a path may take, in thousandths.
const TOLERANCE: u64 = 30;
/// Runs beside the first: what it takes to get ready cancels out.
const RUNS: u64 = 2;

/// The command.
pub(crate) fn run(options: &[&str]) -> Result<bool, Failure> {
    let workspace = Workspace::find()?;
    apt::needs(&workspace, &PACKAGES)?;
    match options {
        [] => Ok(tally(&workspace)?.close()),
        ["--update"] => update(&workspace),
        other => Err(format!("bench counts: {other:?} is not known").into()),
    }
}

/// Compares each path that the file has, as one check.
pub(crate) fn tally(workspace: &Workspace) -> Result<Tally, Failure> {
    let mut tally = Tally::default();
    let text = fs::read_to_string(workspace.root.join(FILE))?;
    let (head, lines) = text.split_once('\n').ok_or("benches/counts.txt is empty")?;
    let here = conditions(workspace)?;
    if head != here {
        tally.skip(format!("counts: benches/counts.txt is of {head}, this machine has {here}"));
        return Ok(tally);
    }
    let program = built(workspace)?;
    for line in lines.lines() {
        let (name, before) =
            line.split_once(' ').ok_or_else(|| format!("{FILE}: {line:?} is no path and number"))?;
        let before: u64 = before.trim().parse()?;
        let outcome = instructions(workspace, &program, name).map_err(|failure| failure.to_string()).and_then(|now| {
            let change = percent(now, before);
            println!("{name:<20} {now:>13} instructions, {change:+.2} %");
            if now * 1000 > before * (1000 + TOLERANCE) {
                return Err(format!("{now} instructions, {change:.1} % more than {before}: mend it, or `cargo xtask bench counts --update` with a reason"));
            }
            Ok(())
        });
        tally.check(&format!("count of {name}"), outcome);
    }
    Ok(tally)
}

const FILE: &str = "benches/counts.txt";

/// Counts anew all paths that valgrind can run.
fn update(workspace: &Workspace) -> Result<bool, Failure> {
    let program = built(workspace)?;
    let mut list = Command::new(&program);
    list.arg("--list");
    let names = run_program(list, MINUTE, &workspace.log("counts-list"), Show::Nothing)?.text;
    let mut text = conditions(workspace)? + "\n";
    for name in names.lines() {
        match instructions(workspace, &program, name) {
            Ok(count) => {
                println!("{name:<20} {count:>13}");
                writeln!(text, "{name} {count}")?;
            }
            Err(failure) => println!("{name:<20} {failure}"),
        }
    }
    fs::write(workspace.root.join(FILE), text)?;
    Ok(true)
}

fn built(workspace: &Workspace) -> Result<std::path::PathBuf, Failure> {
    let words = ["build", "--release", "-p", "benches", "--bin", "count"];
    let built = workspace.build(&words, MINUTE * 20)?;
    let program =
        built.into_iter().find(|program| program.name == "count").ok_or("cargo built no `count`")?;
    Ok(program.path)
}

/// What the counts hang on.
fn conditions(workspace: &Workspace) -> Result<String, Failure> {
    let said = |program: &str, option: &str| -> Result<String, Failure> {
        let mut command = Command::new(program);
        command.arg(option);
        let ended = run_program(command, MINUTE, &workspace.log("counts-version"), Show::Nothing)?;
        Ok(ended.text.trim().to_owned())
    };
    let avx2 = fs::read_to_string("/proc/cpuinfo")?.contains(" avx2 ");
    Ok(format!(
        "{}, {}, {}{}",
        said("rustc", "--version")?,
        said("valgrind", "--version")?,
        std::env::consts::ARCH,
        if avx2 { " with AVX2" } else { "" }
    ))
}

#[expect(clippy::cast_precision_loss, reason = "a figure to read")]
fn percent(now: u64, before: u64) -> f64 {
    (now as f64 / before as f64 - 1.0) * 100.0
}

/// Instructions of one run.
fn instructions(workspace: &Workspace, program: &Path, name: &str) -> Result<u64, Failure> {
    let of = |times: u64| -> Result<u64, Failure> {
        let mut command = Command::new("valgrind");
        command
            .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
            .arg(program)
            .args([name, &times.to_string()]);
        command.env("RUST_BACKTRACE", "0");
        let ended = run_program(command, MINUTE * 3, &workspace.log("counts"), Show::Nothing)?;
        if !ended.success() {
            let said = ended.text.lines().find(|line| line.contains("message:")).unwrap_or("").to_owned();
            return Err(format!("cannot be counted: {} {said}", ended.reason()).into());
        }
        let line = ended.text.lines().find_map(|line| line.split_once("Collected :"));
        Ok(line.ok_or("callgrind counted nothing")?.1.trim().parse()?)
    };
    Ok((of(1 + RUNS)? - of(1)?) / RUNS)
}
