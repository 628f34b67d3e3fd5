//! `bench image`: what images cost, beside podman, docker, containerd, skopeo, umoci and GNU tar, round by round.
//!
//! Everything lies on a journaled ext4 in a file, mounted in a mount namespace of its own, and both registries listen on
//! loopback of a network namespace of its own; all processes are in a namespace, too: whatever happens, nothing of it stays. Before every measurement
//! the file system is synced, so that nobody pays for what another has written.

use std::fs;
use std::path::Path;

use crate::Failure;
use crate::bench_house::{House, Peers};
use crate::bench_layers::{layers, own_layers};
use crate::bench_sides::{Options, Rounds, Side};
use crate::workspace::Workspace;

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

const HOUSE: House<'_> = House {
    name: "image",
    packages: &PACKAGES,
    builds: &[
        &["build", "--release", "-p", "dunnage", "-p", "container-runtime"],
        &["build", "--release", "-p", "container-image", "--examples"],
    ],
    size: "24G",
};

/// The command. Without `--inside` it only makes the namespaces and calls itself.
pub(crate) fn run(words: &[&str]) -> Result<bool, Failure> {
    let options = Options::read("image", words, 5, 2)?;
    let workspace = Workspace::find()?;
    if options.inside { measure(&workspace, options) } else { HOUSE.enter(&workspace, &options.words()?) }
}

fn measure(workspace: &Workspace, options: Options) -> Result<bool, Failure> {
    let place = HOUSE.place(workspace);
    let here = place.to_str().ok_or("the target folder is not UTF-8")?;
    let example = |name: &str| workspace.target.join("release/examples").join(name).display().to_string();
    let (unpack, limits) = (example("unpack"), example("limits"));
    let mut peers = Peers::start(workspace, &place)?;
    let (cli, podman, docker) = (peers.cli.clone(), peers.podman.clone(), peers.docker.clone());
    let ctr = format!("ctr -a {here}/docker-run/containerd/containerd.sock");

    println!("making the image");
    let archive = options.archive.clone();
    if archive.is_empty() {
        layers(&place)?;
    } else {
        own_layers(&place, Path::new(&archive))?;
    }
    for (port, name) in [("5000", "source"), ("5001", "sink")] {
        fs::write(
            place.join(format!("{name}.yml")),
            format!(
                "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {here}/{name}}}}}\n\
                 http: {{addr: '127.0.0.1:{port}'}}\n"
            ),
        )?;
        let ready = format!("bash -c '< /dev/tcp/127.0.0.1/{port}'");
        peers.serve(&format!("docker-registry serve {here}/{name}.yml"), name, &ready)?;
    }
    let has_docker = peers.start_docker(&format!(
        "--iptables=false --bridge=none --insecure-registry {SOURCE} --insecure-registry {SINK}"
    ));
    if let Err(failure) = &has_docker {
        println!("without docker: {failure}");
    }
    let has_docker = has_docker.is_ok();
    let image = format!("{SOURCE}/bench:1");
    peers.theirs.shell(&format!(
        "skopeo copy -q --dest-tls-verify=false docker-archive:{here}/image.tar docker://{image}"
    ))?;
    peers
        .theirs
        .shell(&format!("skopeo copy -q --src-tls-verify=false docker://{image} oci:{here}/layout:bench"))?;
    peers.theirs.shell(&format!("rm {here}/image.tar; sync"))?;

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

    let mut rounds = Rounds::new(options);
    rounds.compare("pull to a root", &pulls, &[0.25, 0.25, 0.25], true, &mut peers);
    rounds.compare("unpack a layout", &unpacks, &[0.2, 9.0], true, &mut peers);
    // whoever was not measured before needs the image for what follows
    for side in &pulls {
        peers.worker(side.peer).shell(&side.work)?;
    }
    rounds.compare("push", &pushes, &[1.0, 1.0, 1.0], true, &mut peers);
    rounds.compare("save", &saves, &[1.0, 1.0, 1.0], true, &mut peers);
    rounds.compare("load", &loads, &[1.0, 1.0, 1.0], true, &mut peers);
    // what is changed lies in the image made here
    if archive.is_empty() && CHANGES.iter().any(|title| rounds.wants(title)) {
        peers.ours.shell(&format!("{cli} {}", make(&cli)))?;
        peers.theirs.shell(&format!("{podman} {}", make(&podman)))?;
        if has_docker {
            peers.theirs.shell(&format!("{docker} {}", make(&docker)))?;
        }
        rounds.compare(CHANGES[0], &diffs, &[0.2, 0.2], true, &mut peers);
        rounds.compare(CHANGES[1], &commits, &[0.25, 0.25], true, &mut peers);
    }
    rounds.compare("limits, one core", &bounds, &[9.0, 9.0], true, &mut peers);
    rounds.close(workspace, "image")
}
