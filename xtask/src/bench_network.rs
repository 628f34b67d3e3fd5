//! `bench network`: what networks and volumes cost, beside podman with netavark, docker, `ip` and `cp`, round by round.
//!
//! Everything is in mount, network and process namespaces of its own, whatever happens nothing of it stays. Files lie on a journaled
//! ext4 in a file, the run roots on a tmpfs.

use crate::Failure;
use crate::bench::Worker;
use crate::bench_house::{House, Peers};
use crate::bench_sides::{Options, Rounds, Side};
use crate::workspace::Workspace;

const PACKAGES: [&str; 8] =
    ["busybox-static", "crun", "docker.io", "e2fsprogs", "iperf3", "iproute2", "netavark", "podman"];

const HOUSE: House<'_> = House {
    name: "network",
    packages: &PACKAGES,
    builds: &[&["build", "--release", "-p", "dunnage", "-p", "container-runtime"]],
    size: "8G",
};

/// The command. Without `--inside` it only makes the namespaces and calls itself.
pub(crate) fn run(words: &[&str]) -> Result<bool, Failure> {
    let options = Options::read("network", words, 7, 3)?;
    let workspace = Workspace::find()?;
    if options.inside { measure(&workspace, options) } else { HOUSE.enter(&workspace, &options.words()?) }
}

fn measure(workspace: &Workspace, options: Options) -> Result<bool, Failure> {
    let place = HOUSE.place(workspace);
    let here = place.to_str().ok_or("the target folder is not UTF-8")?;
    let mut peers = Peers::start(workspace, &place)?;
    let (cli, podman, docker) = (peers.cli.clone(), peers.podman.clone(), peers.docker.clone());
    peers.make_root()?;
    peers.ours.shell(&format!(
        "{cli} import {here}/root.tar bench && {cli} run -d --name box bench sleep 100000"
    ))?;
    let has_podman = peers.theirs.shell(&format!(
        "{podman} import {here}/root.tar bench > /dev/null && {podman} network create --disable-dns base > /dev/null && \
         {podman} run -d --network base --name box localhost/bench:latest sleep 100000 > /dev/null"
    ));
    let has_docker = peers.start_docker("").and_then(|()| {
        peers.theirs.shell(&format!(
            "{docker} import {here}/root.tar bench > /dev/null && {docker} run -d --name box bench sleep 100000 > /dev/null"
        ))
    });
    for (peer, outcome) in [("podman", &has_podman), ("docker", &has_docker)] {
        if let Err(failure) = outcome {
            println!("{peer} is not measured: {failure}");
        }
    }
    let life = |cli: &str, more: &str| {
        format!(
            "{cli} network create{more} nn > /dev/null && {cli} network connect nn box > /dev/null && \
             {cli} network disconnect nn box > /dev/null && {cli} network rm nn > /dev/null"
        )
    };
    let side = |name, peer, work: String| Side { name, peer, before: String::new(), work };
    let mut engines = vec![side("dunnage", false, life(&cli, ""))];
    let mut aims = Vec::new();
    if has_podman.is_ok() {
        engines.push(side("podman, netavark", true, life(&podman, " --disable-dns")));
        aims.push(0.2);
    }
    if has_docker.is_ok() {
        engines.push(side("docker", true, life(&docker, "")));
        aims.push(0.2);
    }
    let all = [
        ("network life", engines, aims),
        ("2 GB between two", throughput(&cli, here, &mut peers.ours)?, vec![1.03]),
        ("20,000 files", files(&cli, here, &mut peers.ours)?, vec![1.0]),
    ];
    let mut rounds = Rounds::new(options);
    for (title, sides, aims) in &all {
        rounds.compare(title, sides, aims, false, &mut peers);
    }
    let _ = peers.ours.shell(&format!("{cli} rm -f $({cli} ps -aq)"));
    rounds.close(workspace, "network")
}

/// Two containers of ours, and two namespaces at a bridge that `ip` made.
fn throughput(cli: &str, here: &str, ours: &mut Worker) -> Result<Vec<Side>, Failure> {
    let enter = |name: &str| format!("nsenter --net=/proc/$(cat {here}/{name}.pid)/ns/net");
    ours.shell(&format!(
        "{cli} network create pair > /dev/null && for name in aa bb; do \
           {cli} run -d --name $name --network pair bench sleep 100000 > /dev/null; \
           {cli} inspect -f '{{{{.State.Pid}}}}' $name > {here}/$name.pid; done; \
         ip link add plain type bridge && ip link set plain up && n=1 && for name in x y; do \
           setsid unshare --net sleep 100000 > /dev/null 2>&1 < /dev/null & pid=$!; echo $pid > {here}/$name.pid; \
           while [ \"$(readlink /proc/$pid/ns/net)\" = \"$(readlink /proc/self/ns/net)\" ]; do sleep 0.01; done; \
           ip link add plain-$name type veth peer name eth0 netns $pid && ip link set plain-$name master plain up; \
           nsenter --net=/proc/$pid/ns/net sh -c \"ip link set lo up; ip link set eth0 up; ip addr add 10.250.0.$n/24 dev eth0\"; \
           n=$((n + 1)); done"
    ))?;
    for name in ["bb", "y"] {
        ours.shell(&format!("setsid {} iperf3 -s -D > /dev/null 2>&1 < /dev/null", enter(name)))?;
    }
    let send = |from: &str, to: &str| format!("{} iperf3 -n 2G -c {to} > /dev/null", enter(from));
    let address = format!("$({} ip -4 -o addr show eth0 | sed 's/.*inet \\([0-9.]*\\).*/\\1/')", enter("bb"));
    let side = |name, work| Side { name, peer: false, before: String::new(), work };
    Ok(vec![side("dunnage", send("aa", &address)), side("plain veth, bridge", send("x", "10.250.0.2"))])
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
