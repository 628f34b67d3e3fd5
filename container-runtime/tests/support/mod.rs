//! Bundles with busybox, in directories and control groups that go away whatever happens.
#![allow(dead_code, unreachable_pub)]

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use container_cgroup::{Group, GroupPath, Hierarchy};
use container_runtime::{ContainerId, Runtime};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde_json::{Value, json};

pub const PATIENCE: Duration = Duration::from_secs(20);
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_dunnage-oci");

const APPLETS: [&str; 34] = [
    "sh", "cat", "echo", "sleep", "true", "false", "id", "hostname", "mount", "touch", "ls", "head", "tail",
    "tr", "kill", "stty", "env", "pwd", "mknod", "ps", "grep", "yes", "readlink", "stat", "wc", "seq",
    "test", "rmdir", "dd", "nc", "ip", "mkdir", "tty", "nslookup",
];

/// One test's world.
pub struct World {
    pub directory: tempfile::TempDir,
    pub name: String,
    pub runtime: Runtime,
}

impl World {
    /// None, with a loud word, where there is no busybox.
    pub fn new(name: &str) -> Option<Self> {
        let busybox = ["/bin/busybox", "/usr/bin/busybox"].iter().find(|path| Path::new(path).exists());
        let Some(busybox) = busybox else {
            eprintln!("skipped: no busybox here (install busybox-static)");
            return None;
        };
        let directory = tempfile::Builder::new().prefix("dnt-rt").tempdir().expect("a directory");
        let rootfs = directory.path().join("bundle/rootfs");
        for name in ["bin", "proc", "dev", "sys", "tmp", "etc", "root", "data"] {
            fs::create_dir_all(rootfs.join(name)).expect("a root file system");
        }
        fs::copy(busybox, rootfs.join("bin/busybox")).expect("busybox");
        for applet in APPLETS {
            symlink("busybox", rootfs.join("bin").join(applet)).expect("an applet");
        }
        let runtime = Runtime::new(directory.path().join("run"));
        Some(Self { directory, name: format!("dnt-rt-{}-{name}", std::process::id()), runtime })
    }

    pub fn bundle(&self) -> PathBuf {
        self.directory.path().join("bundle")
    }

    pub fn rootfs(&self) -> PathBuf {
        self.bundle().join("rootfs")
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A configuration that runs a shell script.
    pub fn config(&self, script: &str) -> Value {
        let kinds = ["pid", "mount", "ipc", "uts", "network", "cgroup"];
        let caps = ["CAP_CHOWN", "CAP_KILL", "CAP_SETUID", "CAP_SETGID", "CAP_MKNOD", "CAP_NET_BIND_SERVICE"];
        json!({
            "ociVersion": "1.2.0",
            "root": {"path": "rootfs", "readonly": false},
            "hostname": "inside",
            "process": {
                "terminal": false, "user": {"uid": 0, "gid": 0}, "args": ["/bin/sh", "-c", script],
                "env": ["PATH=/bin", "TERM=xterm"], "cwd": "/", "noNewPrivileges": true,
                "capabilities": {"bounding": caps, "effective": caps, "permitted": caps},
            },
            "mounts": [
                {"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "noexec", "nodev"]},
                {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]},
                {"destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]},
                {"destination": "/dev/shm", "type": "tmpfs", "source": "shm", "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]},
                {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"]},
            ],
            "linux": {
                "cgroupsPath": format!("/{}/main", self.name),
                "namespaces": kinds.map(|kind| json!({"type": kind})),
                "maskedPaths": ["/proc/kcore", "/sys/firmware"],
                "readonlyPaths": ["/proc/sys", "/proc/sysrq-trigger"],
                "resources": {"devices": [{"allow": false, "access": "rwm"}], "pids": {"limit": 64}},
            },
        })
    }

    pub fn write(&self, config: &Value) {
        let path = self.bundle().join("config.json");
        fs::write(path, serde_json::to_vec(config).expect("json")).expect("config.json");
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(PROGRAM);
        command.arg("--root").arg(self.runtime.root()).args(args).current_dir(self.bundle());
        command
    }

    /// Runs the program to its end, in bounded time.
    pub fn oci(&self, args: &[&str]) -> Output {
        let mut command = self.command(args);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        finish(command.spawn().expect("dunnage-oci"))
    }

    /// As [`World::oci`], for commands that must succeed.
    pub fn ok(&self, args: &[&str]) -> String {
        let output = self.oci(args);
        assert!(output.status.success(), "{args:?}: {}: {}", output.status, text(&output.stderr));
        text(&output.stdout)
    }

    /// `create`, whose container keeps stdout: to a file, so that no pipe stays open.
    pub fn create(&self, id: &str, more: &[&str]) -> PathBuf {
        let path = self.path(&format!("{id}.out"));
        let file = fs::File::create(&path).expect("a file");
        let errors = self.path(&format!("{id}.err"));
        let mut args = vec!["create"];
        args.extend(more);
        args.push(id);
        let mut command = self.command(&args);
        command.stdin(Stdio::null()).stdout(file).stderr(fs::File::create(&errors).expect("a file"));
        let output = finish(command.spawn().expect("dunnage-oci"));
        let said = fs::read_to_string(&errors).expect("stderr");
        assert!(output.status.success(), "create: {}: {said}", output.status);
        path
    }

    pub fn state(&self, id: &str) -> Value {
        serde_json::from_str(&self.ok(&["state", id])).expect("json")
    }

    pub fn id(id: &str) -> ContainerId {
        ContainerId::new(id).expect("an id")
    }

    /// Waits until the process of a container has ended.
    pub fn wait_end(&self, id: &str) {
        let pid = self.state(id)["pid"].as_i64().expect("a pid");
        if let Some(pid) = Pid::from_raw(pid as i32)
            && let Ok(pidfd) = pidfd_open(pid, PidfdFlags::empty())
        {
            assert!(readable(&pidfd), "container {id} does not end");
        }
    }

    pub fn cgroup(&self) -> Option<Group> {
        let path = GroupPath::new(format!("/{}", self.name)).expect("a path");
        Group::open(&Hierarchy::of_host().expect("cgroups"), &path).ok()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if let Ok(entries) = fs::read_dir(self.runtime.root()) {
            for entry in entries.filter_map(Result::ok) {
                if let Ok(id) = ContainerId::new(entry.file_name().to_string_lossy()) {
                    let _ = self.runtime.delete(&id, true);
                }
            }
        }
        if let Some(group) = self.cgroup() {
            let _ = group.kill(PATIENCE);
            let _ = group.remove(PATIENCE);
        }
    }
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

pub fn readable(fd: impl std::os::fd::AsFd) -> bool {
    readable_within(fd, PATIENCE)
}

pub fn readable_within(fd: impl std::os::fd::AsFd, patience: Duration) -> bool {
    let timeout = Timespec { tv_sec: patience.as_secs().cast_signed(), tv_nsec: 0 };
    rustix::event::poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&timeout)).expect("poll") > 0
}

/// Waits for a child and all it says; kills it when it takes too long.
pub fn finish(child: Child) -> Output {
    finish_within(child, PATIENCE)
}

/// As [`finish`], with more or less patience.
pub fn finish_within(mut child: Child, patience: Duration) -> Output {
    let pid = Pid::from_raw(child.id().cast_signed()).expect("a pid");
    let pidfd = pidfd_open(pid, PidfdFlags::empty()).expect("pidfd");
    drop(child.stdin.take());
    // both pipes are drained while it runs
    let drain = |pipe: Option<Box<dyn std::io::Read + Send>>| {
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            if let Some(mut pipe) = pipe {
                let _ = pipe.read_to_end(&mut bytes);
            }
            bytes
        })
    };
    let out = drain(child.stdout.take().map(|pipe| Box::new(pipe) as _));
    let err = drain(child.stderr.take().map(|pipe| Box::new(pipe) as _));
    if !readable_within(&pidfd, patience) {
        let _ = child.kill();
        panic!("a command does not end: {}", text(&err.join().expect("stderr")));
    }
    let status = child.wait().expect("wait");
    Output { status, stdout: out.join().expect("stdout"), stderr: err.join().expect("stderr") }
}

/// Waits until a file holds what is wanted; gives its content. There is no event for another program's file, so it is read again and again.
pub fn eventually(path: &Path, wanted: impl Fn(&str) -> bool) -> String {
    let end = Instant::now() + PATIENCE;
    loop {
        let content = fs::read_to_string(path).unwrap_or_default();
        if wanted(&content) {
            return content;
        }
        assert!(Instant::now() < end, "{} stays {content:?}", path.display());
        std::thread::sleep(Duration::from_millis(5));
    }
}

pub fn say(child: &mut Child, line: &str) {
    child.stdin.as_mut().expect("stdin").write_all(line.as_bytes()).expect("write");
}

/// Puts this test's only process into namespaces of its own.
#[allow(unsafe_code)]
pub fn unshare(flags: rustix::thread::UnshareFlags) -> std::io::Result<()> {
    // SAFETY: descriptors are not unshared, which alone could surprise other code of this process.
    Ok(unsafe { rustix::thread::unshare_unsafe(flags) }?)
}

/// A view of this network namespace's interfaces at `/sys`, after [`unshare`] of mounts and network.
pub fn own_sysfs() {
    use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    mount_change("/", private).expect("private mounts");
    // cgroups stay where they are: only the class directory is covered
    let _ = mount("sysfs", "/sys/class/net", "sysfs", MountFlags::empty(), None);
}
