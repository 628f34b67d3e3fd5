//! Where the comparisons of whole programs are made: namespaces and a disk of their own, the peers beside us.
//!
//! Everything is in mount, network and process namespaces of its own; whatever happens, nothing of it stays. Files of all sides lie on
//! a journaled ext4 in a file.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::bench::Worker;
use crate::process::{Show, run as run_program};
use crate::workspace::Workspace;
use crate::{Failure, apt};

const MINUTE: Duration = Duration::from_secs(60);

/// A comparison that is to be made.
pub(crate) struct House<'a> {
    /// Its name: `bench NAME`.
    pub(crate) name: &'a str,
    pub(crate) packages: &'a [&'a str],
    /// What cargo builds, the words of a command each.
    pub(crate) builds: &'a [&'a [&'a str]],
    /// Size of the disk, as truncate(1) takes it.
    pub(crate) size: &'a str,
}

/// A program of ours beside its peers, ready to be measured.
pub(crate) struct Peers {
    pub(crate) ours: Worker,
    pub(crate) theirs: Worker,
    /// Our command line with roots of its own.
    pub(crate) cli: String,
    pub(crate) podman: String,
    /// Debian's own client, which brings BuildKit's.
    pub(crate) docker: String,
    here: String,
}

impl House<'_> {
    /// The folder that the disk is mounted on.
    pub(crate) fn place(&self, workspace: &Workspace) -> PathBuf {
        workspace.target.join(format!("bench-{}", self.name))
    }

    /// Builds, makes the namespaces, and runs `bench NAME --inside WORDS` in them.
    pub(crate) fn enter(&self, workspace: &Workspace, words: &[impl AsRef<OsStr>]) -> Result<bool, Failure> {
        for wish in apt::wishes(workspace, self.packages) {
            println!("{wish}");
        }
        println!("building with the profile release");
        for build in self.builds {
            let log = workspace.log("bench-build");
            let ended = run_program(workspace.cargo(build), MINUTE * 40, &log, Show::Nothing)?;
            if !ended.success() {
                return Err(format!("build: {}\n{}", ended.reason(), ended.last(40)).into());
            }
        }
        let place = self.place(workspace);
        fs::create_dir_all(&place)?;
        let script = "place=$1 disk=$2 size=$3; shift 3; rm -f \"$disk\" && truncate -s \"$size\" \"$disk\" && \
            mkfs.ext4 -q -F -E lazy_itable_init=0,lazy_journal_init=0 \"$disk\" && mount -o loop \"$disk\" \"$place\" && \
            losetup --direct-io=on \"$(findmnt -no SOURCE \"$place\")\"; rm -f \"$disk\" && ip link set lo up && \
            echo 1 > /proc/sys/net/ipv4/ip_forward && exec \"$@\"";
        let mut again = Command::new("unshare");
        // the first process of its own numbers: with it, everything ends that was started
        again.args(["--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]);
        again.args(["--propagation", "private", "sh", "-c", script, "sh"]);
        again.arg(&place).arg(place.with_extension("ext4")).arg(self.size);
        again.arg(std::env::current_exe()?).args(["bench", self.name, "--inside"]).args(words);
        let ended =
            run_program(again, MINUTE * 60, &workspace.log(&format!("bench-{}", self.name)), Show::All)?;
        Ok(ended.success())
    }
}

impl Peers {
    /// Starts both workers. The peers' has an empty `/run`, and not the second hierarchy of a hybrid host, which crun
    /// and podman of Debian refuse.
    pub(crate) fn start(workspace: &Workspace, place: &Path) -> Result<Self, Failure> {
        let here = place.to_str().ok_or("the target folder is not UTF-8")?.to_owned();
        fs::write(
            place.join("containers.conf"),
            "[containers]\ndefault_ulimits = [\"nofile=20000:20000\", \"nproc=32768:32768\"]\n\
             [engine]\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"file\"\nruntime = \"crun\"\n\
             [network]\nnetwork_backend = \"netavark\"\n",
        )?;
        let setup = format!(
            "mount -t tmpfs run /run; umount /sys/fs/cgroup/unified 2> /dev/null; mkdir -p /run/lock; \
             export CONTAINERS_CONF={here}/containers.conf TMPDIR={here}"
        );
        let mut ours = Worker::start(place, None)?;
        ours.shell(&format!("mkdir -p {here}/run && mount -t tmpfs run {here}/run"))?;
        let program = workspace.target.join("release/dunnage");
        Ok(Self {
            ours,
            theirs: Worker::start(place, Some(&setup))?,
            cli: format!("{} --root {here}/dunnage --run-root {here}/run/dunnage", program.display()),
            podman: format!(
                "podman --root {here}/podman --runroot {here}/podman-run --network-config-dir {here}/podman-nets"
            ),
            docker: format!("/usr/bin/docker -H unix://{here}/docker.sock"),
            here,
        })
    }

    /// The worker of a side.
    pub(crate) fn worker(&mut self, peer: bool) -> &mut Worker {
        if peer { &mut self.theirs } else { &mut self.ours }
    }

    /// Starts a process that goes on, with its output in `LOG.log`, and waits until a command succeeds.
    pub(crate) fn serve(&mut self, command: &str, log: &str, ready: &str) -> Result<(), Failure> {
        let here = &self.here;
        self.theirs.shell(&format!(
            "setsid {command} > {here}/{log}.log 2>&1 < /dev/null & \
             for i in $(seq 400); do {ready} > /dev/null 2>&1 && exit 0; sleep 0.05; done; tail -3 {here}/{log}.log >&2; exit 1"
        ))?;
        Ok(())
    }

    /// Starts Debian's dockerd with further options.
    pub(crate) fn start_docker(&mut self, options: &str) -> Result<(), Failure> {
        let (here, docker) = (self.here.clone(), self.docker.clone());
        self.serve(
            &format!(
                "dockerd --data-root {here}/docker --exec-root {here}/docker-run --pidfile {here}/docker.pid \
                 -H unix://{here}/docker.sock --storage-driver overlay2 --exec-opt native.cgroupdriver=cgroupfs {options}"
            ),
            "dockerd",
            &format!("{docker} version"),
        )
    }

    /// Makes `root.tar`, a root of busybox.
    pub(crate) fn make_root(&mut self) -> Result<(), Failure> {
        let root = format!("{}/root", self.here);
        self.ours.shell(&format!(
            "mkdir -p {root}/bin {root}/etc {root}/proc {root}/sys {root}/dev {root}/tmp && cp /bin/busybox {root}/bin/ && \
             for applet in $(/bin/busybox --list); do \
             [ $applet = busybox ] || ln -sf busybox {root}/bin/$applet; done; tar -C {root} -cf {root}.tar ."
        ))?;
        Ok(())
    }
}
