//! Everything that must hold, in one run that ends.

use std::fs;
use std::time::{Duration, Instant};

use crate::process::{Ended, Show, adopt_orphans, end_strays, run as run_program};
use crate::tally::Tally;
use crate::workspace::Workspace;
use crate::{Failure, apt, bench_counts, stories, vm_test};

const MINUTE: Duration = Duration::from_secs(60);
/// What the whole may take; `.ci/run` ends it a little later.
const WHOLE: Duration = Duration::from_secs(52 * 60);

/// What the tests call. Without one of them some tests are skipped, and say so.
const PACKAGES: [&str; 21] = [
    "gcc",
    "libc6-dev",
    "bind9-dnsutils",
    "bsdutils",
    "conmon",
    "containerd",
    "docker-compose",
    "docker-registry",
    "docker.io",
    "iproute2",
    "mount",
    "nftables",
    "openssl",
    "podman",
    "procps",
    "skopeo",
    "strace",
    "tar",
    "umoci",
    "util-linux",
    "zstd",
];
/// The crates of the first floor, which stand alone.
const LEAVES: [&str; 7] = [
    "container-ns",
    "container-cgroup",
    "container-image",
    "container-net",
    "container-volume",
    "dockerfile-parser",
    "compose-model",
];

struct Run {
    workspace: Workspace,
    tally: Tally,
    begin: Instant,
}

/// The command.
pub(crate) fn run() -> Result<bool, Failure> {
    let mut run = Run { workspace: Workspace::find()?, tally: Tally::default(), begin: Instant::now() };
    let mut packages = PACKAGES.to_vec();
    packages.extend(vm_test::PACKAGES);
    packages.extend(bench_counts::PACKAGES);
    packages.extend(stories::PACKAGES);
    let without = apt::wishes(&run.workspace, &packages);
    run.tally.check("packages", if without.is_empty() { Ok(()) } else { Err(without.join("; ")) });
    // after the installation, which may start services of the machine
    adopt_orphans();
    run.nextest();
    run.doc_tests();
    run.stories();
    run.vm();
    run.counts();
    run.check("clippy", &["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]);
    for leaf in LEAVES {
        run.check(&format!("{leaf} alone"), &["check", "-p", leaf, "--no-default-features"]);
    }
    run.check("doc", &["doc", "--workspace", "--no-deps"]);
    run.check("fmt", &["fmt", "--all", "--check"]);
    let fine = run.tally.close();
    Ok(fine)
}

impl Run {
    /// A command of cargo, in its own time and what is left of the whole; then nothing of it is left.
    fn step(&self, name: &str, args: &[&str], limit: Duration, show: Show) -> Result<Ended, String> {
        let left = WHOLE.saturating_sub(self.begin.elapsed());
        if left.is_zero() {
            return Err("no time was left".to_owned());
        }
        println!("[{:>4} s] cargo {}", self.begin.elapsed().as_secs(), args.join(" "));
        let mut command = self.workspace.cargo(args);
        if name == "doc" {
            command.env("RUSTDOCFLAGS", "-D warnings");
        }
        let log = self.workspace.log(&name.replace(' ', "-"));
        let ended = run_program(command, limit.min(left), &log, show).map_err(|failure| failure.to_string());
        let strays = end_strays();
        if !strays.is_empty() {
            println!("  left behind, and ended: {}", strays.join(", "));
        }
        ended
    }

    /// A step that holds or does not.
    fn check(&mut self, name: &str, args: &[&str]) {
        let outcome = self.step(name, args, MINUTE * 8, Show::Nothing).and_then(|ended| {
            if ended.success() {
                return Ok(());
            }
            println!("{}", ended.last(60));
            Err(ended.reason())
        });
        self.tally.check(name, outcome);
    }

    fn nextest(&mut self) {
        let known = self.step("nextest-version", &["nextest", "--version"], MINUTE, Show::Nothing);
        if !known.is_ok_and(|ended| ended.success()) {
            self.install_nextest();
        }
        let build = ["nextest", "run", "--workspace", "--no-run"];
        let outcome = self.step("nextest-build", &build, MINUTE * 20, Show::Nothing);
        let outcome = outcome.and_then(|ended| {
            if ended.success() {
                return Ok(());
            }
            println!("{}", ended.last(80));
            Err(ended.reason())
        });
        let built = outcome.is_ok();
        self.tally.check("build", outcome);
        if !built {
            return;
        }
        // nextest keeps its store in the workspace, wherever the target folder is
        let report = self.workspace.root.join("target/nextest/default/junit.xml");
        let _ = fs::remove_file(&report);
        let words = ["nextest", "run", "--workspace", "--no-fail-fast"];
        let outcome = self.step("nextest", &words, MINUTE * 15, Show::All);
        let counted = Tally::of_junit(&fs::read_to_string(&report).unwrap_or_default());
        let silent = counted.failures.is_empty();
        println!("  tests: {}", counted.line());
        self.tally.add(counted);
        match outcome {
            Ok(ended) if ended.success() => {
                for _ in 0..not_run(&ended.text) {
                    self.tally.skip("a test marked `ignore`");
                }
            }
            // failures that the report names are counted already
            Ok(ended) if silent || ended.late => self.tally.fail(format!("nextest: {}", ended.reason())),
            Ok(_) => {}
            Err(why) => self.tally.fail(format!("nextest: {why}")),
        }
    }

    /// Compiled for a quick build rather than a quick program.
    fn install_nextest(&mut self) {
        let left = WHOLE.saturating_sub(self.begin.elapsed()).min(MINUTE * 18);
        println!("[{:>4} s] cargo install --locked cargo-nextest", self.begin.elapsed().as_secs());
        let mut command = self.workspace.cargo(&["install", "--locked", "cargo-nextest"]);
        // outside the workspace, whose settings are not meant for it
        command.current_dir("/");
        for (key, value) in [("OPT_LEVEL", "1"), ("LTO", "off"), ("CODEGEN_UNITS", "16"), ("DEBUG", "0")] {
            command.env(format!("CARGO_PROFILE_RELEASE_{key}"), value);
        }
        command.env("CARGO_TARGET_DIR", self.workspace.target.join("nextest-build"));
        let ended = run_program(command, left, &self.workspace.log("nextest-install"), Show::Nothing);
        let outcome = match ended {
            Ok(ended) if ended.success() => Ok(()),
            Ok(ended) => Err(format!("{}\n{}", ended.reason(), ended.last(15))),
            Err(failure) => Err(failure.to_string()),
        };
        if outcome.is_err() {
            self.tally.check("installation of cargo-nextest", outcome);
        }
    }

    fn doc_tests(&mut self) {
        let words = ["test", "--doc", "--workspace", "--no-fail-fast"];
        match self.step("doc-tests", &words, MINUTE * 8, Show::Nothing) {
            Ok(ended) => {
                let counted = Tally::of_harness("doc test", &ended.text);
                println!("  doc tests: {}", counted.line());
                if !ended.success() {
                    println!("{}", ended.last(80));
                }
                if !ended.success() && counted.failures.is_empty() {
                    self.tally.fail(format!("doc tests: {}", ended.reason()));
                }
                self.tally.add(counted);
            }
            Err(why) => self.tally.fail(format!("doc tests: {why}")),
        }
    }

    /// The programs are those that the tests were built with.
    fn stories(&mut self) {
        println!("[{:>4} s] stories", self.begin.elapsed().as_secs());
        match stories::tally(&self.workspace, &[]) {
            Ok(counted) => self.tally.add(counted),
            Err(failure) => self.tally.fail(format!("stories: {failure}")),
        }
        end_strays();
    }

    /// Of hot paths, whose instructions are kept.
    fn counts(&mut self) {
        println!("[{:>4} s] bench counts", self.begin.elapsed().as_secs());
        match bench_counts::tally(&self.workspace) {
            Ok(counted) => self.tally.add(counted),
            Err(failure) => self.tally.fail(format!("bench counts: {failure}")),
        }
    }

    fn vm(&mut self) {
        println!("[{:>4} s] vm-test", self.begin.elapsed().as_secs());
        let left = WHOLE.saturating_sub(self.begin.elapsed()).min(vm_test::LIMIT);
        match vm_test::tally(&self.workspace, vm_test::Build::Workspace, &[], left) {
            Ok(counted) => self.tally.add(counted),
            Err(failure) => self.tally.fail(format!("vm-test: {failure}")),
        }
        end_strays();
    }
}

/// How many tests nextest did not run, by its last line: `Summary [ 1.0s] 5 tests run: 5 passed, 2 skipped`.
fn not_run(text: &str) -> u64 {
    let summary = text.lines().rfind(|line| line.contains("Summary [")).unwrap_or("");
    let before = summary.split(" skipped").next().filter(|before| *before != summary);
    before.and_then(|before| before.rsplit(' ').next()?.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::not_run;

    #[test]
    fn tests_that_nextest_leaves_out_are_counted() {
        assert_eq!(not_run("x\n     Summary [   1.2s] 5 tests run: 5 passed (1 slow), 12 skipped\n"), 12);
        assert_eq!(not_run("     Summary [   1.2s] 5 tests run: 5 passed\n"), 0);
    }
}
