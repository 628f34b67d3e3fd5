//! The tests of cgroups, namespaces and the runtime on cgroup v2 alone, whatever this host has.

use std::time::Duration;

use crate::process::{adopt_orphans, end_strays};
use crate::tally::Tally;
use crate::vm::{Kernel, boot};
use crate::vm_image::{Suite, make};
use crate::workspace::Workspace;
use crate::{Failure, apt};

pub(crate) const PACKAGES: [&str; 7] =
    ["busybox-static", "qemu-system-x86", "cpio", "kmod", "binutils", "e2fsprogs", "strace"];
const CRATES: [&str; 3] = ["container-cgroup", "container-ns", "container-runtime"];
pub(crate) const LIMIT: Duration = Duration::from_secs(12 * 60);
/// What a test program may take there.
const SUITE: u64 = 240;

/// Tests that cannot work in the machine, and why: package, test, reason.
const ELSEWHERE: [(&str, &str, &str); 3] = [
    (
        "container-runtime",
        "a_mount_at_the_root_makes_the_root_and_no_mount_on_the_host",
        "Linux before 6.5 takes no comma in an option of overlay",
    ),
    (
        "container-runtime",
        "a_network_device_moves_in_with_its_addresses_and_its_new_name",
        "the ip of busybox there cannot name both ends of a veth pair",
    ),
    (
        "container-ns",
        "an_id_mapped_bind_shifts_owners",
        "it uses /dev/shm, and tmpfs takes no id-mapped mount before Linux 6.3",
    ),
];

/// What is built: all, as `cargo xtask test` has it already, or what is needed.
#[derive(Clone, Copy)]
pub(crate) enum Build {
    Workspace,
    Alone,
}

/// The command; `only` are a part of a test program's name, and parts of the names of tests.
pub(crate) fn run(only: &[&str]) -> Result<bool, Failure> {
    adopt_orphans();
    let tally = tally(&Workspace::find()?, Build::Alone, only, LIMIT)?;
    end_strays();
    Ok(tally.close())
}

/// Builds, boots and counts, within a limit.
pub(crate) fn tally(
    workspace: &Workspace,
    build: Build,
    only: &[&str],
    limit: Duration,
) -> Result<Tally, Failure> {
    let mut tally = Tally::default();
    if std::env::consts::ARCH != "x86_64" {
        tally.skip("vm-test: the machine is made for x86_64");
        return Ok(tally);
    }
    apt::needs(workspace, &PACKAGES)?;
    let kernel = Kernel::fetch(workspace)?;
    let mut words = vec!["test", "--no-run"];
    match build {
        Build::Workspace => words.push("--workspace"),
        Build::Alone => words.extend(CRATES.iter().flat_map(|name| ["-p", name])),
    }
    let built = workspace.build(&words, Duration::from_secs(20 * 60))?;
    let (suite, tests) = only
        .split_first()
        .map_or(("", String::new()), |(suite, tests)| (*suite, format!(" {}", tests.join(" "))));
    let wanted = |suite_of: &Suite<'_>| suite_of.name.contains(suite);
    let ours = || built.iter().filter(|program| CRATES.contains(&program.package.as_str()));
    let suites: Vec<Suite<'_>> = ours()
        .filter(|program| program.test)
        .map(|program| {
            let without = ELSEWHERE.iter().filter(|(package, ..)| *package == program.package);
            let without: Vec<String> = without.map(|(_, test, _)| format!(" --skip {test}")).collect();
            Suite {
                name: format!("{}::{}", program.package, program.name),
                program,
                seconds: SUITE,
                arguments: format!("--test-threads 1 --nocapture{}{tests}", without.concat()),
            }
        })
        .filter(wanted)
        .collect();
    let programs: Vec<_> = ours().filter(|program| !program.test).collect();
    let image = make(workspace, &kernel, &suites, &programs)?;
    println!("booting Linux {} under emulation, with {} test programs", kernel.version, suites.len());
    let ended = boot(workspace, &kernel, &image, limit)?;
    let text = ended.text.replace('\r', "");
    for note in text.lines().filter_map(|line| line.strip_prefix("@@note ")) {
        println!("  {note}");
    }
    for suite in &suites {
        let counted = of_suite(&suite.name, &text);
        println!("  {}: {}", suite.name, counted.line());
        tally.add(counted);
    }
    for (package, test, reason) in ELSEWHERE.iter().filter(|_| only.is_empty()) {
        tally.skip(format!("vm {package} {test}: {reason}"));
    }
    if ended.late || !text.contains("@@over") {
        tally.fail(format!("vm: {}; its console ends with\n{}", ended.reason(), ended.last(25)));
    }
    println!(
        "  the machine ran for {} s; all it said is in {}",
        ended.took.as_secs(),
        workspace.log("vm").display()
    );
    Ok(tally)
}

/// What one test program did; what it said is shown if anything failed.
fn of_suite(name: &str, console: &str) -> Tally {
    let mut tally = Tally::default();
    let Some((_, said)) = console.split_once(&format!("@@begin {name}\n")) else {
        tally.fail(format!("vm {name}: was not begun"));
        return tally;
    };
    let Some((said, rest)) = said.split_once(&format!("@@end {name} ")) else {
        tally.fail(format!("vm {name}: did not end"));
        return tally;
    };
    let code = rest.lines().next().unwrap_or("").trim();
    tally = Tally::of_harness(&format!("vm {name}"), said);
    if code != "0" && tally.failures.is_empty() {
        tally.fail(format!("vm {name}: exit code {code} (143 is its limit of {SUITE} s)"));
    }
    let again = rest.lines().find_map(|line| line.strip_prefix(&format!("@@again {name} 0 ")));
    if let Some(again) = again.filter(|again| again.split(' ').count() == tally.failures.len()) {
        println!("  flaky, passed at the second time: {again}");
        tally.passed += tally.failures.drain(..).count() as u64;
    }
    if !tally.failures.is_empty() {
        println!("---- {name}, exit code {code}\n{}\n----", said.trim());
    }
    tally
}
