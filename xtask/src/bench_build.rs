//! `bench build`: a Dockerfile of ten steps over a context of 5,000 files, cold and with everything in the cache, beside
//! BuildKit and the classic builder of Debian's Docker, and buildah.

use crate::Failure;
use crate::bench_house::{House, Peers};
use crate::bench_sides::{Options, Rounds, Side};
use crate::workspace::Workspace;

const PACKAGES: [&str; 9] = [
    "buildah",
    "busybox-static",
    "conmon",
    "crun",
    "docker.io",
    "e2fsprogs",
    "iproute2",
    "netavark",
    "podman",
];
const HOUSE: House<'_> = House {
    name: "build",
    packages: &PACKAGES,
    builds: &[&["build", "--release", "-p", "dunnage", "-p", "container-runtime"]],
    size: "12G",
};

/// Ten steps, as they are common: settings, small commands, files copied before and after them.
const DOCKERFILE: &str = "\
FROM base
ENV APP=/app LANG=C.UTF-8
WORKDIR /app
COPY part0/ part0/
RUN echo one > /one
RUN mkdir -p /data && cp -r /app/part0 /data/
COPY . .
RUN find /app -type f | wc -l > /count
RUN rm -rf /data/part0
LABEL team=bench
CMD [\"cat\", \"/count\"]
";

/// The command. Without `--inside` it only makes the namespaces and calls itself.
pub(crate) fn run(words: &[&str]) -> Result<bool, Failure> {
    let options = Options::read("build", words, 7, 3)?;
    let workspace = Workspace::find()?;
    if options.inside { measure(&workspace, options) } else { HOUSE.enter(&workspace, &options.words()?) }
}

fn measure(workspace: &Workspace, options: Options) -> Result<bool, Failure> {
    let place = HOUSE.place(workspace);
    let here = place.to_str().ok_or("the target folder is not UTF-8")?;
    let mut peers = Peers::start(workspace, &place)?;
    let (cli, docker) = (peers.cli.clone(), peers.docker.clone());
    let buildah = format!("buildah --root {here}/podman --runroot {here}/podman-run");
    peers.make_root()?;
    let context = format!("{here}/context");
    peers.ours.shell(&format!(
        "mkdir {context} && cd {context} && for d in $(seq 0 49); do mkdir part$d; for f in $(seq 100); do \
         printf '%s\\n' file $d $f $((d * f)) > part$d/f$f; done; done"
    ))?;
    std::fs::write(place.join("context/Dockerfile"), DOCKERFILE)?;
    peers.ours.shell(&format!("{cli} import {here}/root.tar base"))?;
    let mut sides = vec![(
        "dunnage",
        false,
        format!("{cli} build -q -t built {context}"),
        format!("{cli} rmi -f built; {cli} builder prune -f"),
    )];
    match peers.start_docker("--iptables=false --bridge=none") {
        Ok(()) => {
            peers.theirs.shell(&format!("{docker} import {here}/root.tar base"))?;
            let build = format!("{docker} build --network none -q -t built {context}");
            let clean = format!("{docker} rmi -f built; {docker} image prune -f; {docker} builder prune -af");
            sides.push(("buildkit", true, format!("DOCKER_BUILDKIT=1 {build}"), clean.clone()));
            sides.push(("docker, classic", true, format!("DOCKER_BUILDKIT=0 {build}"), clean));
        }
        Err(failure) => println!("docker is not measured: {failure}"),
    }
    let imported = peers.theirs.shell(&format!(
        "c=$({buildah} from scratch) && {buildah} add -q $c {here}/root.tar / && {buildah} commit -q $c base && {buildah} rm $c"
    ));
    match imported {
        Ok(_) => sides.push((
            "buildah",
            true,
            format!("{buildah} build -q --layers --network none -t built {context}"),
            format!("{buildah} rmi -f built; {buildah} rmi --prune --force"),
        )),
        Err(failure) => println!("buildah is not measured: {failure}"),
    }
    let side = |name, peer, before: &str, work: &str| Side {
        name,
        peer,
        before: before.to_owned(),
        work: work.to_owned(),
    };
    let cold: Vec<Side> =
        sides.iter().map(|(name, peer, build, clean)| side(name, *peer, clean, build)).collect();
    let cached: Vec<Side> =
        sides.iter().map(|(name, peer, build, _)| side(name, *peer, build, build)).collect();
    let mut rounds = Rounds::new(options);
    rounds.compare("ten steps, cold", &cold, &[0.4, 0.4, 0.4], true, &mut peers);
    rounds.compare("ten steps, cached", &cached, &[0.25, 0.25, 0.25], false, &mut peers);
    rounds.close(workspace, "build")
}
