//! `bench runtime`: whole processes beside their peers, round by round.
//!
//! Everything runs in a mount namespace with tmpfs where files are made, so that no side pays for the
//! disk, and in a network namespace, so that no bridge or rule of a peer stays on the host. The peers get one more of their own, in which `/run` is empty and the second hierarchy of a
//! hybrid host is gone, which crun and podman of Debian refuse.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::bench_report::keep;
use crate::bench_sides::{Options, interleave};
use crate::bench_table::print_comparisons;
use crate::process::{Show, run as run_program};
use crate::workspace::Workspace;
use crate::{Failure, apt};

const MINUTE: Duration = Duration::from_secs(60);
const PACKAGES: [&str; 11] = [
    "busybox-static",
    "conmon",
    "crun",
    "iproute2",
    "iptables",
    "netavark",
    "podman",
    "runc",
    "tar",
    "time",
    "util-linux",
];
/// A side that is slower than this is not measured but broken.
const ONE: Duration = Duration::from_secs(600);

/// A process that runs and times commands in its own namespace.
pub(crate) struct Worker {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

/// The command. Without `--inside` it only makes the namespace and calls itself.
pub(crate) fn run(words: &[&str]) -> Result<bool, Failure> {
    let options = Options::read("runtime", words, 30, 5)?;
    let workspace = Workspace::find()?;
    if options.inside {
        return measure(&workspace, &options);
    }
    apt::needs(&workspace, &PACKAGES)?;
    println!("building with the profile dist");
    let command =
        workspace.cargo(&["build", "--profile", "dist", "-p", "container-runtime", "-p", "dunnage"]);
    let ended = run_program(command, MINUTE * 30, &workspace.log("bench-build"), Show::Nothing)?;
    if !ended.success() {
        return Err(format!("build: {}\n{}", ended.reason(), ended.last(40)).into());
    }
    link_statically(&workspace)?;
    let folder = workspace.target.join("bench");
    fs::create_dir_all(&folder)?;
    let mut again = Command::new("unshare");
    again.args(["--mount", "--net", "--propagation", "private", "sh", "-c"]);
    again.args(["mount -t tmpfs bench \"$1\" && ip link set lo up && shift && exec \"$@\"", "sh"]);
    again
        .arg(&folder)
        .arg(std::env::current_exe()?)
        .args(["bench", "runtime", "--inside"])
        .args(options.words()?);
    let ended = run_program(again, MINUTE * 45, &workspace.log("bench"), Show::All)?;
    Ok(ended.success())
}

/// Reads a command a line, runs it, and answers how it went; until there is no more.
pub(crate) fn worker() -> Result<bool, Failure> {
    // what a command says matters only if it fails; a file, which nobody can hold us up with, and which goes with the tmpfs
    let said = format!("said-{}", std::process::id());
    for line in std::io::stdin().lines() {
        let words: Vec<String> = serde_json::from_str(&line?)?;
        let (program, args) = words.split_first().ok_or("an empty command")?;
        let mut command = Command::new(program);
        command.args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(fs::File::create(&said)?);
        let (code, nanoseconds) = timed(&mut command)?;
        let mut out = std::io::stdout().lock();
        writeln!(out, "{}", json!({"code": code, "ns": nanoseconds, "said": fs::read_to_string(&said)?}))?;
        out.flush()?;
    }
    Ok(true)
}

/// Exit code and nanoseconds of a command, which is ended when it takes too long. Who watches it is started before.
fn timed(command: &mut Command) -> Result<(Option<i32>, u64), Failure> {
    let (say, hear) = mpsc::channel::<u32>();
    let watch = thread::spawn(move || {
        let Ok(process) = hear.recv() else { return };
        if hear.recv_timeout(ONE) == Err(mpsc::RecvTimeoutError::Timeout) {
            // not waited for yet, so the number is its own
            let _ = Command::new("kill").args(["-9", &process.to_string()]).status();
        }
    });
    let begin = Instant::now();
    let mut child = command.spawn()?;
    say.send(child.id())?;
    let code = child.wait()?.code();
    let nanoseconds = u64::try_from(begin.elapsed().as_nanos())?;
    drop(say);
    watch.join().map_err(|_| "the thread that watches a command")?;
    Ok((code, nanoseconds))
}

impl Worker {
    pub(crate) fn start(place: &Path, setup: Option<&str>) -> Result<Self, Failure> {
        let own = std::env::current_exe()?;
        let mut command = match setup {
            None => Command::new(&own),
            Some(setup) => {
                let mut command = Command::new("unshare");
                let script = format!("{setup}; exec \"$0\" bench-worker");
                command.args(["--mount", "--propagation", "private", "sh", "-c", &script]).arg(&own);
                command
            }
        };
        if setup.is_none() {
            command.arg("bench-worker");
        }
        let mut child = command.current_dir(place).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let to = child.stdin.take().ok_or("a worker without input")?;
        let from = BufReader::new(child.stdout.take().ok_or("a worker without output")?);
        Ok(Self { child, to, from })
    }

    /// The same of a line for the shell.
    pub(crate) fn shell(&mut self, line: &str) -> Result<f64, Failure> {
        self.time(&["sh", "-c", line].map(str::to_owned))
    }

    /// Milliseconds of one run that must succeed.
    fn time(&mut self, words: &[String]) -> Result<f64, Failure> {
        writeln!(self.to, "{}", serde_json::to_string(words)?)?;
        let mut line = String::new();
        self.from.read_line(&mut line)?;
        let answer: Value = serde_json::from_str(&line)?;
        if answer["code"] != 0 {
            let said = answer["said"].as_str().unwrap_or("").trim();
            return Err(format!("{}: exit code {}: {said}", words.join(" "), answer["code"]).into());
        }
        Ok(answer["ns"].as_f64().ok_or("no time")? / 1e6)
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What is run, by whom.
struct Side {
    name: &'static str,
    peer: bool,
    words: Vec<String>,
}

fn words(text: &str) -> Vec<String> {
    text.split(' ').map(str::to_owned).collect()
}

fn measure(workspace: &Workspace, options: &Options) -> Result<bool, Failure> {
    let place = workspace.target.join("bench");
    let here = place.to_str().ok_or("the target folder is not UTF-8")?;
    let dist = workspace.target.join("dist");
    let oci = dist.join("dunnage-oci").display().to_string();
    let cli =
        format!("{} --root {here}/dunnage --run-root {here}/dunnage-run", dist.join("dunnage").display());
    bundle(&place)?;
    let config = place.join("containers.conf");
    fs::write(
        &config,
        "[containers]\ndefault_ulimits = [\"nofile=20000:20000\", \"nproc=32768:32768\"]\n\
         [engine]\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"file\"\nruntime = \"crun\"\n\
         [network]\nnetwork_backend = \"netavark\"\n",
    )?;
    let podman = format!(
        "env CONTAINERS_CONF={} podman --root {here}/podman --runroot {here}/podman-run",
        config.display()
    );
    let mut ours = Worker::start(&place, None)?;
    let mut peers = Worker::start(
        &place,
        Some("mount -t tmpfs run /run; umount /sys/fs/cgroup/unified 2> /dev/null; mkdir -p /run/lock"),
    )?;
    let side = |name, peer, text: String| Side { name, peer, words: words(&text) };
    let oci_of = |program: &str, root: &str| {
        format!("{program} --root {here}/{root} run --bundle {here}/bundle bench-{root}")
    };
    let runtimes = [
        side("dunnage-oci run", false, oci_of(&oci, "oci")),
        side("crun run", true, oci_of("crun", "crun")),
        side("runc run", true, oci_of("runc", "runc")),
    ];
    let archive = format!("{here}/root.tar");
    let tar = words(&format!("tar -C {here}/bundle/rootfs -cf {archive} ."));
    ours.time(&tar)?;
    ours.time(&words(&format!("{cli} import {archive} bench:latest")))?;
    peers.time(&words(&format!("{podman} import {archive} bench:latest")))?;
    let engines = |network: &str| {
        let tail = format!("run --rm{network} bench:latest /bin/true");
        [
            side("dunnage run", false, format!("{cli} {tail}")),
            side("podman run", true, format!("{podman} {tail}")),
        ]
    };

    let mut comparisons = Vec::new();
    for (title, sides, aims) in [
        ("oci run", &runtimes[..], &[0.5, 1.0][..]),
        ("run --rm --network none", &engines(" --network none")[..], &[0.15]),
        ("run --rm, default bridge", &engines("")[..], &[0.1]),
    ] {
        let time = |side: &Side| if side.peer { &mut peers } else { &mut ours }.time(&side.words);
        if title.contains(&options.only) {
            comparisons.push(interleave(title, sides, aims, options.rounds, |side| side.name, time));
        }
    }
    println!();
    print_comparisons(&comparisons);
    keep(workspace, "runtime", &comparisons)?;
    println!();
    for side in &runtimes[..2] {
        match peak(side, &place, if side.peer { &mut peers } else { &mut ours }) {
            Ok(kib) => println!("peak memory of {:<20} {kib:>7} KiB", side.name),
            Err(failure) => println!("peak memory of {}: {failure}", side.name),
        }
    }
    match monitor(&cli, &mut ours) {
        Ok((resident, private)) => {
            println!("a container's monitor: resident {resident} KiB, of that private {private} KiB");
        }
        Err(failure) => println!("a container's monitor: {failure}"),
    }
    let fine = comparisons.iter().all(|comparison| comparison.error.is_none());
    Ok(fine)
}

/// `dunnage-oci` as it is best installed: linked statically with musl, where that target is there. It starts
/// twice for each container, and a dynamic start costs as much as all mounts together.
fn link_statically(workspace: &Workspace) -> Result<(), Failure> {
    const TARGET: &str = "x86_64-unknown-linux-musl";
    let mut list = Command::new("rustup");
    list.args(["target", "list", "--installed"]);
    let known = run_program(list, MINUTE, &workspace.log("bench-targets"), Show::Nothing);
    if !known.is_ok_and(|ended| ended.text.contains(TARGET)) {
        println!("dunnage-oci is linked dynamically: `rustup target add {TARGET}` makes it start faster");
        return Ok(());
    }
    println!("building dunnage-oci for {TARGET}");
    let words =
        ["build", "--profile", "dist", "-p", "container-runtime", "--bin", "dunnage-oci", "--target", TARGET];
    let ended =
        run_program(workspace.cargo(&words), MINUTE * 20, &workspace.log("bench-musl"), Show::Nothing)?;
    if !ended.success() {
        return Err(format!("build for {TARGET}: {}\n{}", ended.reason(), ended.last(40)).into());
    }
    fs::copy(
        workspace.target.join(TARGET).join("dist/dunnage-oci"),
        workspace.target.join("dist/dunnage-oci"),
    )?;
    Ok(())
}

/// runc's own standard configuration, without a terminal, that runs busybox's `true`.
fn bundle(place: &Path) -> Result<(), Failure> {
    let folder = place.join("bundle");
    let rootfs = folder.join("rootfs");
    for name in ["bin", "proc", "sys", "dev", "tmp", "etc", "root"] {
        fs::create_dir_all(rootfs.join(name))?;
    }
    let busybox = ["/bin/busybox", "/usr/bin/busybox"].into_iter().find(|path| Path::new(path).exists());
    fs::copy(busybox.ok_or("no busybox")?, rootfs.join("bin/busybox"))?;
    for applet in ["true", "sh", "sleep"] {
        std::os::unix::fs::symlink("busybox", rootfs.join("bin").join(applet))?;
    }
    let status = Command::new("runc").args(["spec"]).current_dir(&folder).stdin(Stdio::null()).status()?;
    if !status.success() {
        return Err("runc spec failed".into());
    }
    let file = folder.join("config.json");
    let mut config: Value = serde_json::from_slice(&fs::read(&file)?)?;
    config["process"]["terminal"] = json!(false);
    config["process"]["args"] = json!(["/bin/true"]);
    // a limit above ours needs CAP_SYS_RESOURCE, which not every machine gives
    config["process"]["rlimits"] = json!([]);
    fs::write(file, serde_json::to_vec_pretty(&config)?)?;
    Ok(())
}

/// The largest resident set of a run, in KiB: the middle of five.
fn peak(side: &Side, place: &Path, worker: &mut Worker) -> Result<u64, Failure> {
    let file = place.join("peak");
    let mut command = words(&format!("time -f %M -o {}", file.display()));
    command.extend(side.words.iter().cloned());
    let mut all = Vec::new();
    for _ in 0..5 {
        worker.time(&command)?;
        all.push(fs::read_to_string(&file)?.trim().parse::<u64>()?);
    }
    all.sort_unstable();
    Ok(all[all.len() / 2])
}

/// Resident and private memory of the process beside a running container, in KiB.
fn monitor(cli: &str, worker: &mut Worker) -> Result<(u64, u64), Failure> {
    worker.time(&words(&format!("{cli} run -d --name bench --network none bench:latest /bin/sleep 600")))?;
    let found = (|| {
        let mut inspect = words(&format!("{cli} inspect bench"));
        let program = inspect.remove(0);
        let output = Command::new(program).args(inspect).stdin(Stdio::null()).output()?;
        let state: Value = serde_json::from_slice(&output.stdout)?;
        let pid =
            state[0]["State"]["Pid"].as_u64().filter(|pid| *pid > 0).ok_or("the container has no process")?;
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        let parent = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(1));
        let memory = fs::read_to_string(format!("/proc/{}/smaps_rollup", parent.ok_or("no parent")?))?;
        let of = |name: &str| -> u64 {
            let line = memory.lines().find(|line| line.starts_with(name));
            line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok()).unwrap_or(0)
        };
        Ok((of("Rss:"), of("Private_Clean:") + of("Private_Dirty:")))
    })();
    worker.time(&words(&format!("{cli} rm -f bench")))?;
    found
}
