//! Real engines drive `dunnage-oci` in runc's place: podman, containerd with `ctr`, and dockerd with the docker client.
//!
//! Each lives in mount, network and pid namespaces of its own, its directories on a tmpfs there and `/etc`, `/opt` and `/var/lib` behind an overlay,
//! so that whatever it leaves behind, and every process of it, goes with the namespaces. Its control groups lie below one of the test's.

mod support;

use std::fmt::Write as _;
use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use support::{PROGRAM, World, finish_within, text};

/// How long an engine may take for all it is asked.
const ENGINE: Duration = Duration::from_secs(90);

/// A command, the exit code it must have, and what it must say.
type Ask<'a> = (&'a str, i32, &'a str);

/// Whether all programs are there; says which is not.
fn have(programs: &[&str]) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    for program in programs {
        let mut places = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
        if !places.any(|place| place.join(program).exists()) {
            eprintln!("skipped: no {program} here");
            return false;
        }
    }
    true
}

/// Lets a shell prepare the engine, ask everything in order, and end it; then compares the answers.
fn drive(world: &World, prepare: &str, asks: &[Ask<'_>], end: &str) {
    let answers = world.path("answers");
    fs::create_dir(&answers).expect("a directory");
    let mut script = format!(
        "export PATH=$PATH:/usr/sbin:/sbin\n\
         mount --make-rprivate / || exit 90\n\
         umount /sys/fs/cgroup/unified 2>/dev/null\n\
         ip link set lo up\n\
         D={engine}; N={name}; OCI={PROGRAM}; S={answers}\n\
         mkdir -p $D && mount -t tmpfs tmpfs $D && mount -t tmpfs tmpfs /run && mount -t tmpfs tmpfs /dev/shm || exit 91\n\
         for d in etc opt var/lib; do mkdir -p $D/up/$d $D/work/$d\n\
           mount -t overlay -o lowerdir=/$d,upperdir=$D/up/$d,workdir=$D/work/$d overlay /$d || exit 92; done\n\
         export TMPDIR=$D HOME=$D\n\
         until_true() {{ i=0; until \"$@\"; do i=$((i+1)); [ $i -lt 200 ] || return 1; sleep 0.1; done; }}\n\
         {{ {prepare}\n }} >$S/prepare 2>&1 </dev/null || exit 93\n",
        engine = world.path("engine").display(),
        name = world.name,
        answers = answers.display(),
    );
    for (number, (command, ..)) in asks.iter().enumerate() {
        fs::write(answers.join(format!("{number}.sh")), command).expect("a file");
        let _ = writeln!(
            script,
            "( . $S/{number}.sh ) >$S/{number}.out 2>$S/{number}.err </dev/null; echo $? >$S/{number}.code"
        );
    }
    script.push_str(end);
    let path = world.path("script");
    fs::write(&path, &script).expect("a file");
    let mut command = Command::new("unshare");
    command.args(["-m", "-n", "-p", "-f", "--mount-proc", "--kill-child", "sh"]).arg(&path);
    // the engines' long-lived processes hold no pipe of this test
    let log = fs::File::create(world.path("log")).expect("a file");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    let ended = finish_within(command.spawn().expect("unshare"), ENGINE);
    let read = |path: std::path::PathBuf| text(&fs::read(path).unwrap_or_default());
    let prepared = || read(answers.join("prepare")) + &read(world.path("log"));
    assert!(ended.status.success(), "{}: {}", ended.status, prepared());
    let mut wrong = String::new();
    for (number, (command, code, said)) in asks.iter().enumerate() {
        let of = |kind: &str| read(answers.join(format!("{number}.{kind}")));
        let (got, out, err) = (of("code"), of("out"), of("err"));
        let fits = out.contains(said) || err.contains(said);
        if got.trim() != code.to_string() || !fits {
            let _ =
                writeln!(wrong, "{command}\n  wanted {code} {said:?}, got {} {out:?} {err:?}", got.trim());
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

/// A root file system of busybox at `$D/img`.
const IMAGE: &str = "mkdir -p $D/img/bin && cp $(command -v busybox) $D/img/bin/busybox || return 1\n\
    for a in sh cat echo sleep true id hostname ls grep stty kill env mkdir; do ln -s busybox $D/img/bin/$a; done\n";

/// What a container says of its terminal's size, which engines set some time after its start.
const SIZE: &str = "i=0; until stty size 2>/dev/null | grep 33; do i=$((i+1)); [ $i -lt 200 ] || exit 1; sleep 0.05; done; [ -t 0 ] && echo terminal";

/// A program that ends with 3 at SIGTERM.
const STAYS: &str = "trap \"exit 3\" TERM; echo up; while :; do sleep 1 & wait $!; done";

#[test]
fn podman_runs_containers_through_their_whole_life() {
    if !have(&["podman", "conmon", "busybox", "script", "unshare"]) {
        return;
    }
    let Some(world) = World::new("podman") else { return };
    let prepare = format!(
        "{IMAGE}\
         cat >$D/containers.conf <<E\n[containers]\ndefault_ulimits = [\"nofile=1024:1024\", \"nproc=1024:1024\"]\nlog_driver = \"k8s-file\"\n\
         [engine]\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"file\"\nE\n\
         cat >$D/storage.conf <<E\n[storage]\ndriver = \"vfs\"\ngraphroot = \"$D/root\"\nrunroot = \"$D/runroot\"\nE\n\
         export CONTAINERS_CONF=$D/containers.conf CONTAINERS_STORAGE_CONF=$D/storage.conf\n\
         echo '{{\"default\":[{{\"type\":\"insecureAcceptAnything\"}}]}}' >$D/policy.json\n\
         mkdir -p /etc/containers && cp $D/policy.json /etc/containers/policy.json\n\
         pod() {{ podman --runtime $OCI --tmpdir $D/tmp \"$@\"; }}\n\
         go() {{ pod run --network none --cgroup-parent /$N \"$@\"; }}\n\
         tar -C $D/img -c . | pod import - dnt/box"
    );
    let terminal = format!(
        "script -qec \"stty rows 33 cols 99; podman --runtime $OCI --tmpdir $D/tmp exec -it one sh -c '{SIZE}'\" /dev/null"
    );
    let run_terminal = format!(
        "script -qec \"stty rows 33 cols 99; podman --runtime $OCI --tmpdir $D/tmp run --rm -it --network none \
         --cgroup-parent /$N dnt/box sh -c '{SIZE}; exit 4'\" /dev/null"
    );
    let start = format!(
        "go -d --name one --memory 64m --health-cmd 'cat /etc/hostname' dnt/box sh -c '{STAYS}' && until_true sh -c \
         \"podman --runtime $OCI --tmpdir $D/tmp logs one | grep up\""
    );
    let limit =
        "pod exec one cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null";
    let asks: &[Ask<'_>] = &[
        ("go --rm dnt/box echo hello", 0, "hello"),
        ("go --rm dnt/box sh -c 'exit 7'", 7, ""),
        ("go --rm dnt/box nosuch", 127, "no such file or directory"),
        ("go --rm dnt/box /bin", 126, "permission denied"),
        (&start, 0, "up"),
        ("pod exec one id", 0, "uid=0"),
        ("pod exec -u 5:6 -w /bin -e A=b one sh -c 'id; echo $PWD $A'", 0, "/bin b"),
        ("pod exec one sh -c 'exit 5'", 5, ""),
        ("pod exec one nosuch", 127, ""),
        // without a cgroup namespace, as podman has it on version 1, the own group is all that is seen
        (&format!("{limit} | grep 67108864"), 0, "67108864"),
        ("pod healthcheck run one", 0, ""),
        ("pod pause one && pod inspect -f '{{.State.Status}}' one", 0, "paused"),
        ("pod exec one true", 255, ""),
        ("pod unpause one && pod inspect -f '{{.State.Status}}' one", 0, "running"),
        (&format!("pod update --memory 32m one && {limit} | grep 33554432"), 0, "33554432"),
        ("pod top one", 0, "sh"),
        ("pod stats --no-stream one", 0, "one"),
        (&terminal, 0, "terminal"),
        (&run_terminal, 4, "33 99"),
        ("pod stop -t 20 one && pod wait one", 0, "3"),
        ("pod start one && pod kill -s KILL one && pod wait one", 0, "137"),
        ("pod start one && pod rm -f -t 0 one && pod ps -aq", 0, "one"),
        ("go --rm --privileged dnt/box cat /proc/self/status | grep Seccomp:", 0, "0"),
        (
            "go --rm --read-only --tmpfs /t:rw --user 5 --cap-drop all dnt/box sh -c 'mkdir /x'",
            1,
            "Read-only",
        ),
        (
            "pod run --rm --cgroup-parent /$N --pid host --ipc host --uts host --network host dnt/box echo shared",
            0,
            "shared",
        ),
    ];
    drive(&world, &prepare, asks, "pod rm -fa -t 0 >/dev/null 2>&1\nexit 0\n");
}

#[test]
fn containerd_runs_tasks_through_its_runc_shim() {
    if !have(&["containerd", "containerd-shim-runc-v2", "ctr", "busybox", "script", "unshare", "tar"]) {
        return;
    }
    let Some(world) = World::new("ctr") else { return };
    // without an image: `ctr run --rootfs` takes a directory
    let prepare = format!(
        "{IMAGE}\
         cat >$D/config.toml <<E\nversion = 2\nroot = \"$D/root\"\nstate = \"$D/state\"\n\
         disabled_plugins = [\"io.containerd.grpc.v1.cri\", \"io.containerd.snapshotter.v1.btrfs\", \
         \"io.containerd.snapshotter.v1.zfs\", \"io.containerd.snapshotter.v1.aufs\"]\n\
         [grpc]\naddress = \"$D/c.sock\"\n[ttrpc]\naddress = \"$D/c.sock.ttrpc\"\nE\n\
         containerd -c $D/config.toml >$D/log 2>&1 &\nENGINE=$!\n\
         task() {{ ctr -a $D/c.sock -n $N \"$@\"; }}\n\
         FLAGS=\"--runtime io.containerd.runc.v2 --runc-binary $OCI --env PATH=/bin --rootfs $D/img\"\n\
         go() {{ task run --runtime io.containerd.runc.v2 --runc-binary $OCI --env PATH=/bin \"$@\"; }}\n\
         until_true task version"
    );
    let terminal = format!(
        "script -qec \"stty rows 33 cols 99; ctr -a $D/c.sock -n $N run -t --rm $FLAGS four sh -c '{SIZE}'\" /dev/null"
    );
    let start = format!("go -d --rootfs $D/img five sh -c '{STAYS}' && task task ls");
    let asks: &[Ask<'_>] = &[
        ("go --rm --rootfs $D/img one echo hello", 0, "hello"),
        ("go --rm --rootfs $D/img two sh -c 'exit 7'", 7, ""),
        ("go --rm --rootfs $D/img three nosuch", 1, "no such file or directory"),
        (&terminal, 0, "terminal"),
        (&start, 0, "RUNNING"),
        ("task task exec --exec-id a five id", 0, "uid=0"),
        ("task task exec --exec-id b five sh -c 'exit 5'", 5, ""),
        ("task task exec --exec-id c five nosuch", 1, "no such file or directory"),
        ("task task pause five && task task ls", 0, "PAUSED"),
        ("task task resume five && task task ls", 0, "RUNNING"),
        ("task task metrics five", 0, "memory"),
        ("task task ps five", 0, "PID"),
        (
            "task task kill five && until_true sh -c \"ctr -a $D/c.sock -n $N task ls | grep STOPPED\"",
            0,
            "STOPPED",
        ),
        ("task task rm five", 0, "exit code 3"),
        ("task c rm five && task c ls -q", 0, ""),
    ];
    drive(&world, &prepare, asks, "kill $ENGINE; wait $ENGINE\nexit 0\n");
}

#[test]
fn dockerd_runs_containers_with_it_as_an_added_runtime() {
    if !have(&["dockerd", "docker", "containerd", "containerd-shim-runc-v2", "busybox", "unshare", "tar"]) {
        return;
    }
    let Some(world) = World::new("dockerd") else { return };
    let prepare = format!(
        "{IMAGE}\
         dockerd --data-root $D/data --exec-root $D/exec --pidfile $D/pid -H unix://$D/s --storage-driver vfs \
         --exec-opt native.cgroupdriver=cgroupfs --cgroup-parent /$N --bridge none --iptables=false --ip-forward=false \
         --ip-masq=false --add-runtime dunnage=$OCI >$D/log 2>&1 &\nENGINE=$!\n\
         export DOCKER_HOST=unix://$D/s\n\
         go() {{ docker run --runtime dunnage --network none \"$@\"; }}\n\
         until_true docker version || {{ cat $D/log; return 1; }}\n\
         tar -C $D/img -c . | docker import - dnt/box"
    );
    let start = format!(
        "go -d --name one --memory 64m --health-cmd 'cat /etc/hostname' --health-interval 1s dnt/box sh -c '{STAYS}' && \
         until_true sh -c 'docker logs one | grep up'"
    );
    let limit = "docker exec one cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null";
    let asks: &[Ask<'_>] = &[
        ("go --rm dnt/box echo hello", 0, "hello"),
        ("go --rm dnt/box sh -c 'exit 7'", 7, ""),
        ("go --rm dnt/box nosuch", 127, "no such file or directory"),
        ("go --rm dnt/box /bin", 126, "permission denied"),
        (&start, 0, "up"),
        ("docker exec one id", 0, "uid=0"),
        ("docker exec one sh -c 'exit 5'", 5, ""),
        (&format!("{limit} | grep 67108864"), 0, "67108864"),
        ("docker pause one && docker ps --format '{{.Status}}'", 0, "Paused"),
        ("docker unpause one && docker inspect -f '{{.State.Status}}' one", 0, "running"),
        (
            &format!("docker update --memory 32m --memory-swap 64m one && {limit} | grep 33554432"),
            0,
            "33554432",
        ),
        ("docker top one", 0, "sh -c"),
        ("docker stats --no-stream one", 0, "32MiB"),
        (
            "until_true sh -c 'docker inspect -f \"{{.State.Health.Status}}\" one | grep ^healthy'",
            0,
            "healthy",
        ),
        ("docker stop -t 20 one && docker wait one", 0, "3"),
        ("docker start one && docker restart -t 20 one && docker rm -f one && docker ps -aq", 0, "one"),
        ("go --rm --init dnt/box echo with-init", 0, "with-init"),
        ("go --rm --privileged dnt/box cat /proc/self/status | grep Seccomp:", 0, "0"),
        (
            "go --rm --read-only --tmpfs /t --user 5:6 --cap-drop ALL --security-opt no-new-privileges dnt/box mkdir /x",
            1,
            "Read-only",
        ),
        (
            "go --rm --pids-limit 20 --ulimit nofile=64:64 --cpus 0.5 --sysctl net.ipv4.ip_forward=1 dnt/box cat \
             /proc/sys/net/ipv4/ip_forward",
            0,
            "1",
        ),
        (
            "docker run --rm --runtime dunnage --pid host --ipc host --uts host --network host dnt/box echo shared",
            0,
            "shared",
        ),
    ];
    drive(
        &world,
        &prepare,
        asks,
        "docker rm -f $(docker ps -aq) >/dev/null 2>&1\nkill $ENGINE; wait $ENGINE\nexit 0\n",
    );
}
