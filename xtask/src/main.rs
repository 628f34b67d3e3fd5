//! `cargo xtask COMMAND`: what the README and `.ci/run` call. Each command is a file; nothing here
//! waits without a limit, and nothing is asked of the terminal.
#![forbid(unsafe_code)]

mod apt;
mod bench;
mod bench_build;
mod bench_counts;
mod bench_house;
mod bench_image;
mod bench_layers;
mod bench_network;
mod bench_report;
mod bench_sides;
mod bench_table;
mod debian;
mod demo;
mod fuzz;
mod process;
mod stories;
mod tally;
mod test;
mod vm;
mod vm_image;
mod vm_test;
mod workspace;

use std::process::ExitCode;

/// What a command ends with when it cannot go on: said to the person as it is.
type Failure = Box<dyn std::error::Error>;

const USAGE: &str = "\
usage: cargo xtask COMMAND

  test           everything that must hold: tests, documentation, lints, and vm-test
  vm-test        the tests of cgroups and namespaces on a host with cgroup v2 alone, in an emulated machine
                 [PROGRAM [TEST...]]: only those whose names contain this
  demo           Flask and Redis in two containers on a network of their own, from nothing
  stories        the scripts of examples/stories, in engines of their own  [STORY...]
  fuzz           every target of fuzz/ under libFuzzer  [--minutes N, of all together] [TARGET...]
  bench          all that follow but counts, and one report in target/bench-report  [--quick] [--only WORD]
  bench runtime  dunnage-oci beside crun and runc, dunnage beside podman  [--rounds N] [--quick]
  bench image    pull, unpack, push, save, load, diff and commit beside podman, docker, ctr, skopeo and umoci
                 [--rounds N] [--quick] [--only WORD] [--archive FILE-OF-DOCKER-SAVE]
  bench network  networks, throughput and volumes beside podman, docker, a plain bridge and cp
                 [--rounds N] [--quick] [--only WORD]
  bench build    a Dockerfile of ten steps beside BuildKit, the classic builder and buildah
                 [--rounds N] [--quick] [--only WORD]
  bench counts   instructions of the hot paths, beside those in benches/counts.txt  [--update]";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let outcome = match words.as_slice() {
        ["test"] => test::run(),
        ["vm-test", only @ ..] => vm_test::run(only),
        ["stories", wanted @ ..] => stories::run(wanted),
        ["demo"] => demo::run(),
        ["fuzz", words @ ..] => fuzz::run(words),
        ["bench"] => bench_report::run(&[]),
        ["bench", options @ ..] if options[0].starts_with('-') => bench_report::run(options),
        ["bench", "runtime", options @ ..] => bench::run(options),
        ["bench", "build", options @ ..] => bench_build::run(options),
        ["bench", "counts", options @ ..] => bench_counts::run(options),
        ["bench", "image", options @ ..] => bench_image::run(options),
        ["bench", "network", options @ ..] => bench_network::run(options),
        ["bench-worker"] => bench::worker(),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(failure) => {
            eprintln!("xtask: {failure}");
            ExitCode::FAILURE
        }
    }
}
