//! `bench image`: what images cost, beside podman, docker, containerd, skopeo, umoci and GNU tar, round by round.
//!
//! Everything lies on a journaled ext4 in a file, mounted in a mount namespace of its own, and both registries listen on
//! loopback of a network namespace of its own; all processes are in a namespace, too: whatever happens, nothing of it stays. Before every measurement
//! the file system is synced, so that nobody pays for what another has written.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::bench::Worker;
use crate::bench_layers::{layers, own_layers};
use crate::bench_sides::{Options, Side, interleave, time};
use crate::bench_table::print_comparisons;
use crate::process::{Show, run as run_program};
use crate::workspace::Workspace;
use crate::{Failure, apt};

const MINUTE: Duration = Duration::from_secs(60);
const PACKAGES: [&str; 12] = [
    "busybox-static",
    "buildah",
    "conmon",
    "crun",
    "docker-registry",
    "docker.io",
    "e2fsprogs",
    "iproute2",
    "podman",
    "skopeo",
    "tar",
    "umoci",
];
const CHANGES: [&str; 2] = ["diff of 19,000 files", "commit of 19,000 files"];
const SOURCE: &str = "127.0.0.1:5000";
const SINK: &str = "127.0.0.1:5001";

/// The command. Without `--inside` it only makes the namespaces and calls itself.
pub(crate) fn run(options: &[&str]) -> Result<bool, Failure> {
    let Options { rounds, inside, only, archive } = Options::read("image", options, 5, 2)?;
    let workspace = Workspace::find()?;
    let place = workspace.target.join("bench-image");
    if inside {
        return measure(&workspace, &place, rounds, &only, &archive);
    }
    for wish in apt::wishes(&workspace, &PACKAGES) {
        println!("{wish}");
    }
    println!("building with the profile release");
    for words in [
        &["build", "--release", "-p", "dunnage", "-p", "container-runtime"][..],
        &["build", "--release", "-p", "container-image", "--examples"],
    ] {
        let ended =
            run_program(workspace.cargo(words), MINUTE * 40, &workspace.log("bench-build"), Show::Nothing)?;
        if !ended.success() {
            return Err(format!("build: {}\n{}", ended.reason(), ended.last(40)).into());
        }
    }
    fs::create_dir_all(&place)?;
    let disk = workspace.target.join("bench-image.ext4");
    let script = "rm -f \"$2\" && truncate -s 24G \"$2\" && \
        mkfs.ext4 -q -F -E lazy_itable_init=0,lazy_journal_init=0 \"$2\" && mount -o loop \"$2\" \"$1\" && \
        losetup --direct-io=on \"$(findmnt -no SOURCE \"$1\")\"; \
        rm -f \"$2\" && ip link set lo up && \"$3\" bench image --inside --rounds \"$4\" --only \"$5\" --archive \"$6\"";
    let mut again = Command::new("unshare");
    // the first process of its own numbers: with it, everything ends that was started
    again.args(["--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]);
    again.args(["--propagation", "private", "sh", "-c", script, "sh"]);
    again.arg(&place).arg(&disk).arg(std::env::current_exe()?).arg(rounds.to_string()).arg(only);
    again.arg(if archive.is_empty() { PathBuf::new() } else { fs::canonicalize(archive)? });
    let ended = run_program(again, MINUTE * 60, &workspace.log("bench-image"), Show::All)?;
    Ok(ended.success())
}

fn measure(
    workspace: &Workspace,
    place: &Path,
    rounds: u32,
    only: &str,
    archive: &str,
) -> Result<bool, Failure> {
    let here = place.to_str().ok_or("the target folder is not UTF-8")?;
    let release = workspace.target.join("release");
    let program = |name: &str| release.join(name).display().to_string();
    let cli = format!("{} --root {here}/dunnage --run-root {here}/dunnage-run", program("dunnage"));
    let (unpack, limits) = (program("examples/unpack"), program("examples/limits"));
    let mut ours = Worker::start(place, None)?;
    let setup = format!(
        "mount -t tmpfs run /run; umount /sys/fs/cgroup/unified 2> /dev/null; mkdir -p /run/lock; \
         export CONTAINERS_CONF={here}/containers.conf TMPDIR={here}"
    );
    fs::write(
        place.join("containers.conf"),
        "[containers]\ndefault_ulimits = [\"nofile=20000:20000\", \"nproc=32768:32768\"]\n\
         [engine]\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"file\"\nruntime = \"crun\"\n",
    )?;
    let mut peers = Worker::start(place, Some(&setup))?;
    let podman = format!("podman --root {here}/podman --runroot {here}/podman-run");
    let docker = format!("docker -H unix://{here}/docker.sock");
    let ctr = format!("ctr -a {here}/docker-run/containerd/containerd.sock");

    println!("making the image");
    if archive.is_empty() {
        layers(place)?;
    } else {
        own_layers(place, Path::new(archive))?;
    }
    let background =
        |command: &str, log: &str| format!("setsid {command} > {here}/{log}.log 2>&1 < /dev/null &");
    for (port, name) in [("5000", "source"), ("5001", "sink")] {
        fs::write(
            place.join(format!("{name}.yml")),
            format!(
                "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {here}/{name}}}}}\n\
                 http: {{addr: '127.0.0.1:{port}'}}\n"
            ),
        )?;
        let serve = background(&format!("docker-registry serve {here}/{name}.yml"), name);
        peers.shell(&format!("{serve} for i in $(seq 200); do bash -c '< /dev/tcp/127.0.0.1/{port}' 2> /dev/null && exit 0; sleep 0.05; done; exit 1"))?;
    }
    let daemon = background(
        &format!(
            "dockerd --data-root {here}/docker --exec-root {here}/docker-run --pidfile {here}/docker.pid \
             -H unix://{here}/docker.sock --storage-driver overlay2 --exec-opt native.cgroupdriver=cgroupfs \
             --iptables=false --bridge=none --insecure-registry {SOURCE} --insecure-registry {SINK}"
        ),
        "dockerd",
    );
    let has_docker = peers
        .shell(&format!("{daemon} for i in $(seq 400); do {docker} version > /dev/null 2>&1 && exit 0; sleep 0.05; done; tail -3 {here}/dockerd.log >&2; exit 1"));
    if let Err(failure) = &has_docker {
        println!("without docker: {failure}");
    }
    let has_docker = has_docker.is_ok();
    let image = format!("{SOURCE}/bench:1");
    peers.shell(&format!(
        "skopeo copy -q --dest-tls-verify=false docker-archive:{here}/image.tar docker://{image}"
    ))?;
    peers
        .shell(&format!("skopeo copy -q --src-tls-verify=false docker://{image} oci:{here}/layout:bench"))?;
    peers.shell(&format!("rm {here}/image.tar; sync"))?;

    let side = |name, peer, before: String, work: String| Side { name, peer, before, work };
    let mut pulls = vec![
        side("dunnage", false, format!("{cli} rmi -f {image}"), format!("{cli} pull -q {image}")),
        side(
            "podman",
            true,
            format!("{podman} rmi -f {image}"),
            format!("{podman} pull -q --tls-verify=false {image}"),
        ),
    ];
    if has_docker {
        pulls.push(side(
            "docker",
            true,
            format!("{docker} rmi -f {image}"),
            format!("{docker} pull -q {image}"),
        ));
        pulls.push(side(
            "ctr",
            true,
            format!("{ctr} images rm --sync {image}; {ctr} content prune references"),
            format!("{ctr} images pull --plain-http {image}"),
        ));
    }
    let unpacks = [
        side(
            "dunnage",
            false,
            format!("rm -rf {here}/u1"),
            format!("{unpack} {here}/layout bench {here}/u1"),
        ),
        side(
            "umoci",
            true,
            format!("rm -rf {here}/u2"),
            format!("umoci unpack --image {here}/layout:bench {here}/u2"),
        ),
        side(
            "tar, plain",
            true,
            format!("rm -rf {here}/u3; mkdir {here}/u3"),
            format!(
                "for i in $(seq $(ls {here}/layer*.tar | wc -l)); do tar --numeric-owner -C {here}/u3 -xf {here}/layer$i.tar; done"
            ),
        ),
    ];
    let empty = format!("rm -rf {here}/sink/docker");
    let target = |name: &str| format!("{SINK}/{name}:1");
    let mut pushes = vec![
        side(
            "dunnage",
            false,
            format!("{empty}; {cli} tag {image} {}", target("ours")),
            format!("{cli} push -q {}", target("ours")),
        ),
        side(
            "skopeo",
            true,
            empty.clone(),
            format!(
                "skopeo copy -q --dest-tls-verify=false oci:{here}/layout:bench docker://{}",
                target("skopeo")
            ),
        ),
        side(
            "podman",
            true,
            empty.clone(),
            format!("{podman} push -q --tls-verify=false {image} {}", target("podman")),
        ),
    ];
    let mut saves = vec![
        side("dunnage", false, format!("rm -f {here}/s1"), format!("{cli} save -o {here}/s1 {image}")),
        side(
            "skopeo",
            true,
            format!("rm -f {here}/s2"),
            format!("skopeo copy -q oci:{here}/layout:bench oci-archive:{here}/s2:bench"),
        ),
        side("podman", true, format!("rm -f {here}/s3"), format!("{podman} save -q -o {here}/s3 {image}")),
    ];
    let mut loads = vec![
        side(
            "dunnage",
            false,
            format!("{cli} rmi -f {image} {}", target("ours")),
            format!("{cli} load -q -i {here}/s1"),
        ),
        side(
            "skopeo",
            true,
            format!("rm -rf {here}/l2"),
            format!("skopeo copy -q oci-archive:{here}/s2:bench oci:{here}/l2:bench"),
        ),
        side("podman", true, format!("{podman} rmi -f {image}"), format!("{podman} load -q -i {here}/s3")),
    ];
    if has_docker {
        pushes.push(side(
            "docker",
            true,
            format!("{empty}; {docker} tag {image} {}", target("docker")),
            format!("{docker} push -q {}", target("docker")),
        ));
        saves.push(side(
            "docker",
            true,
            format!("rm -f {here}/s4"),
            format!("{docker} save -o {here}/s4 {image}"),
        ));
        loads.push(side(
            "docker",
            true,
            format!("{docker} rmi -f {image}"),
            format!("{docker} load -q -i {here}/s4"),
        ));
    }
    // new files: overlayfs syncs every file that it copies up, which would measure the disk for minutes
    let change = "/bin/busybox cp -a /small /changed";
    let make = |engine: &str| {
        format!("run --name changed --network none {image} {change} && {engine} inspect changed")
    };
    let mut diffs = vec![
        side("dunnage", false, String::new(), format!("{cli} diff changed")),
        side("podman", true, String::new(), format!("{podman} diff changed")),
    ];
    let mut commits = vec![
        side("dunnage", false, format!("{cli} rmi -f new:1"), format!("{cli} commit changed new:1")),
        side("podman", true, format!("{podman} rmi -f new:1"), format!("{podman} commit -q changed new:1")),
    ];
    if has_docker {
        diffs.push(side("docker", true, String::new(), format!("{docker} diff changed")));
        commits.push(side(
            "docker",
            true,
            format!("{docker} rmi -f new:1"),
            format!("{docker} commit changed new:1"),
        ));
    }
    let bounds = [
        side("inflate", false, String::new(), format!("{limits} inflate {here}/layout/blobs/sha256/*")),
        side("sha256 of the plain", false, String::new(), format!("{limits} hash {here}/layer*.tar")),
        side(
            "write of the plain",
            false,
            format!("rm -f {here}/w"),
            format!("{limits} write {here}/w {here}/layer*.tar"),
        ),
    ];

    let mut comparisons = Vec::new();
    let mut say = |title: &str, sides: &[Side], aims: &[f64], ours: &mut Worker, peers: &mut Worker| {
        if title.contains(only) {
            let run = |side: &Side| time(side, true, ours, peers);
            comparisons.push(interleave(title, sides, aims, rounds, |side| side.name, run));
        }
    };
    say("pull to a root", &pulls, &[0.25, 0.25, 0.25], &mut ours, &mut peers);
    say("unpack a layout", &unpacks, &[0.2, 9.0], &mut ours, &mut peers);
    // whoever was not measured before needs the image for what follows
    for side in &pulls {
        let worker = if side.peer { &mut peers } else { &mut ours };
        worker.shell(&side.work)?;
    }
    say("push", &pushes, &[1.0, 1.0, 1.0], &mut ours, &mut peers);
    say("save", &saves, &[1.0, 1.0, 1.0], &mut ours, &mut peers);
    say("load", &loads, &[1.0, 1.0, 1.0], &mut ours, &mut peers);
    // what is changed lies in the image made here
    let changes = archive.is_empty() && CHANGES.iter().any(|title| title.contains(only));
    if changes {
        ours.shell(&format!("{cli} {}", make(&cli)))?;
        peers.shell(&format!("{podman} {}", make(&podman)))?;
        if has_docker {
            peers.shell(&format!("{docker} {}", make(&docker)))?;
        }
    }
    if changes {
        say(CHANGES[0], &diffs, &[0.2, 0.2], &mut ours, &mut peers);
        say(CHANGES[1], &commits, &[0.25, 0.25], &mut ours, &mut peers);
    }
    say("limits, one core", &bounds, &[9.0, 9.0], &mut ours, &mut peers);
    println!("\nfile system: ext4 with a journal, in a file by loop");
    print_comparisons(&comparisons);
    Ok(comparisons.iter().all(|comparison| comparison.error.is_none()))
}
