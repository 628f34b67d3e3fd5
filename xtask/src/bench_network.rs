//! `bench network`: what networks and volumes cost, beside podman with netavark, docker, `ip` and `cp`, round by round.
//!
//! Everything is in mount, network and process namespaces of its own, whatever happens nothing of it stays. Files lie on a journaled
//! ext4 in a file, the run roots on a tmpfs.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::bench::Worker;
use crate::bench_sides::{Options, Side, interleave, time};
use crate::bench_table::print_comparisons;
use crate::process::{Show, run as run_program};
use crate::workspace::Workspace;
use crate::{Failure, apt};

const MINUTE: Duration = Duration::from_secs(60);
const PACKAGES: [&str; 8] =
    ["busybox-static", "crun", "docker.io", "e2fsprogs", "iperf3", "iproute2", "netavark", "podman"];

/// The command. Without `--inside` it only makes the namespaces and calls itself.
pub(crate) fn run(options: &[&str]) -> Result<bool, Failure> {
    let Options { rounds, inside, only, .. } = Options::read("network", options, 7, 3)?;
    let workspace = Workspace::find()?;
    let place = workspace.target.join("bench-network");
    if inside {
        return measure(&workspace, &place, rounds, &only);
    }
    for wish in apt::wishes(&workspace, &PACKAGES) {
        println!("{wish}");
    }
    println!("building with the profile release");
    let words = ["build", "--release", "-p", "dunnage", "-p", "container-runtime"];
    let ended =
        run_program(workspace.cargo(&words), MINUTE * 40, &workspace.log("bench-build"), Show::Nothing)?;
    if !ended.success() {
        return Err(format!("build: {}\n{}", ended.reason(), ended.last(40)).into());
    }
    fs::create_dir_all(&place)?;
    let disk = workspace.target.join("bench-network.ext4");
    let script = "rm -f \"$2\" && truncate -s 8G \"$2\" && \
        mkfs.ext4 -q -F -E lazy_itable_init=0,lazy_journal_init=0 \"$2\" && mount -o loop \"$2\" \"$1\"; \
        rm -f \"$2\" && ip link set lo up && echo 1 > /proc/sys/net/ipv4/ip_forward && \
        \"$3\" bench network --inside --rounds \"$4\" --only \"$5\"";
    let mut again = Command::new("unshare");
    again.args(["--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]);
    again.args(["--propagation", "private", "sh", "-c", script, "sh"]);
    again.arg(&place).arg(&disk).arg(std::env::current_exe()?).arg(rounds.to_string()).arg(only);
    let ended = run_program(again, MINUTE * 30, &workspace.log("bench-network"), Show::All)?;
    Ok(ended.success())
}

fn measure(workspace: &Workspace, place: &Path, rounds: u32, only: &str) -> Result<bool, Failure> {
    let here = place.to_str().ok_or("the target folder is not UTF-8")?;
    let program = workspace.target.join("release/dunnage").display().to_string();
    let cli = format!("{program} --root {here}/dunnage --run-root {here}/run/dunnage");
    let mut ours = Worker::start(place, None)?;
    ours.shell(&format!("mkdir -p {here}/run && mount -t tmpfs run {here}/run"))?;
    fs::write(
        place.join("containers.conf"),
        "[containers]\ndefault_ulimits = [\"nofile=20000:20000\", \"nproc=32768:32768\"]\n\
         [engine]\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"file\"\nruntime = \"crun\"\n\
         [network]\nnetwork_backend = \"netavark\"\n",
    )?;
    let setup = format!(
        "mount -t tmpfs run /run; umount /sys/fs/cgroup/unified 2> /dev/null; mkdir -p /run/lock; \
         export CONTAINERS_CONF={here}/containers.conf"
    );
    let mut peers = Worker::start(place, Some(&setup))?;
    let podman = format!(
        "podman --root {here}/podman --runroot {here}/podman-run --network-config-dir {here}/podman-nets"
    );
    let docker = format!("docker -H unix://{here}/docker.sock");
    let root = format!("{here}/root");
    ours.shell(&format!(
        "mkdir -p {root}/bin {root}/etc {root}/proc {root}/sys {root}/dev {root}/tmp && cp /bin/busybox {root}/bin/ && \
         ln -sf busybox {root}/bin/sleep && ln -sf busybox {root}/bin/true && tar -C {root} -cf {here}/root.tar ."
    ))?;
    let mut wishes = Vec::new();
    ours.shell(&format!("{cli} import {here}/root.tar bench && {cli} run -d --name c bench sleep 100000"))?;
    if let Err(failure) = peers.shell(&format!(
        "{podman} import {here}/root.tar bench > /dev/null && {podman} network create --disable-dns base > /dev/null && \
         {podman} run -d --network base --name c localhost/bench:latest sleep 100000 > /dev/null"
    )) {
        wishes.push(format!("podman is not measured: {failure}"));
    }
    let dockerd = format!(
        "setsid dockerd --data-root {here}/docker --exec-root {here}/docker-run --pidfile {here}/docker.pid \
         -H unix://{here}/docker.sock --storage-driver overlay2 --exec-opt native.cgroupdriver=cgroupfs \
         > {here}/docker.log 2>&1 < /dev/null & \
         for i in $(seq 200); do {docker} version > /dev/null 2>&1 && break; sleep 0.1; done; \
         {docker} import {here}/root.tar bench > /dev/null && {docker} run -d --name c bench sleep 100000 > /dev/null"
    );
    if let Err(failure) = peers.shell(&dockerd) {
        wishes.push(format!("docker is not measured: {failure}"));
    }
    let life = |cli: &str, more: &str| {
        format!(
            "{cli} network create{more} n > /dev/null && {cli} network connect n c > /dev/null && \
             {cli} network disconnect n c > /dev/null && {cli} network rm n > /dev/null"
        )
    };
    let side = |name, peer, work: String| Side { name, peer, before: String::new(), work };
    let mut engines = vec![side("dunnage", false, life(&cli, ""))];
    let mut aims = Vec::new();
    if !wishes.iter().any(|wish| wish.starts_with("podman")) {
        engines.push(side("podman, netavark", true, life(&podman, " --disable-dns")));
        aims.push(0.2);
    }
    if !wishes.iter().any(|wish| wish.starts_with("docker")) {
        engines.push(side("docker", true, life(&docker, "")));
        aims.push(0.2);
    }
    let all = vec![
        ("network life", engines, aims),
        ("2 GB between two", throughput(&cli, here, &mut ours)?, vec![1.03]),
        ("20,000 files", files(&cli, here, &mut ours)?, vec![1.0]),
    ];
    let mut comparisons = Vec::new();
    for (title, sides, aims) in all.into_iter().filter(|(title, _, _)| title.contains(only)) {
        let run = |side: &Side| time(side, false, &mut ours, &mut peers);
        comparisons.push(interleave(title, &sides, &aims, rounds, |side| side.name, run));
    }
    println!();
    print_comparisons(&comparisons);
    for wish in &wishes {
        println!("{wish}");
    }
    let _ = ours.shell(&format!("{cli} rm -f $({cli} ps -aq)"));
    Ok(comparisons.iter().all(|comparison| comparison.error.is_none()))
}

/// Two containers of ours, and two namespaces at a bridge that `ip` made.
fn throughput(cli: &str, here: &str, ours: &mut Worker) -> Result<Vec<Side>, Failure> {
    let enter = |name: &str| format!("nsenter --net=/proc/$(cat {here}/{name}.pid)/ns/net");
    ours.shell(&format!(
        "{cli} network create pair > /dev/null && for name in a b; do \
           {cli} run -d --name $name --network pair bench sleep 100000 > /dev/null; \
           {cli} inspect -f '{{{{.State.Pid}}}}' $name > {here}/$name.pid; done; \
         ip link add plain type bridge && ip link set plain up && n=1 && for name in x y; do \
           setsid unshare --net sleep 100000 > /dev/null 2>&1 < /dev/null & pid=$!; echo $pid > {here}/$name.pid; \
           while [ \"$(readlink /proc/$pid/ns/net)\" = \"$(readlink /proc/self/ns/net)\" ]; do sleep 0.01; done; \
           ip link add plain-$name type veth peer name eth0 netns $pid && ip link set plain-$name master plain up; \
           nsenter --net=/proc/$pid/ns/net sh -c \"ip link set lo up; ip link set eth0 up; ip addr add 10.250.0.$n/24 dev eth0\"; \
           n=$((n + 1)); done"
    ))?;
    for name in ["b", "y"] {
        ours.shell(&format!("setsid {} iperf3 -s -D > /dev/null 2>&1 < /dev/null", enter(name)))?;
    }
    let send = |from: &str, to: &str| format!("{} iperf3 -n 2G -c {to} > /dev/null", enter(from));
    let address = format!("$({} ip -4 -o addr show eth0 | sed 's/.*inet \\([0-9.]*\\).*/\\1/')", enter("b"));
    let side = |name, work| Side { name, peer: false, before: String::new(), work };
    Ok(vec![side("dunnage", send("a", &address)), side("plain veth, bridge", send("x", "10.250.0.2"))])
}

/// Twenty thousand small files in directories of a hundred.
fn files(cli: &str, here: &str, ours: &mut Worker) -> Result<Vec<Side>, Failure> {
    ours.shell(&format!(
        "{cli} volume create many > /dev/null && cd {here}/dunnage/volumes/many/_data && \
         for d in $(seq 200); do mkdir $d; for f in $(seq 100); do echo $d $f > $d/$f; done; done; sync"
    ))?;
    let from = format!("{here}/dunnage/volumes/many/_data");
    Ok(vec![
        Side {
            name: "dunnage",
            peer: false,
            before: format!("{cli} volume rm copy; sync"),
            work: format!("{cli} volume clone many copy > /dev/null && sync"),
        },
        Side {
            name: "cp -a",
            peer: false,
            before: format!("rm -rf {here}/copy; sync"),
            work: format!("cp -a {from} {here}/copy && sync"),
        },
    ])
}
