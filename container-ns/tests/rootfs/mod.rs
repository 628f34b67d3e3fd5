//! A root file system made from busybox, and running things in it.
#![allow(dead_code, reason = "each test file uses its part")]

use std::fs;
use std::io::{Read, Seek, SeekFrom};
use std::os::fd::OwnedFd;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use container_ns::{Child, Root, Sandbox, Stdio};

const BUSYBOX: [&str; 2] = ["/bin/busybox", "/usr/bin/busybox"];

/// A directory with busybox and links to it; gone when dropped.
pub(crate) struct Rootfs(tempfile::TempDir);

/// Whether the test may run as it must; says why not.
pub(crate) fn able() -> bool {
    let status = fs::read_to_string("/proc/thread-self/status").unwrap();
    if !status.lines().any(|line| line.starts_with("Uid:\t0\t")) {
        eprintln!("skipped: needs root");
        return false;
    }
    if !BUSYBOX.iter().any(|path| Path::new(path).exists()) {
        eprintln!("skipped: needs busybox");
        return false;
    }
    true
}

impl Rootfs {
    pub(crate) fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("dntns").tempdir_in("/tmp").unwrap();
        // readable by ids of a user namespace
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(dir.path(), mode).unwrap();
        for name in ["bin", "etc", "proc", "sys", "dev", "tmp", "root"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        let busybox = BUSYBOX.iter().find(|path| Path::new(path).exists()).unwrap();
        fs::copy(busybox, dir.path().join("bin/busybox")).unwrap();
        for applet in [
            "sh",
            "cat",
            "ls",
            "id",
            "echo",
            "stat",
            "mount",
            "grep",
            "hostname",
            "touch",
            "mkdir",
            "readlink",
            "pwd",
            "env",
            "true",
            "false",
            "sleep",
            "ip",
            "tty",
            "dd",
            "rm",
            "head",
            "ps",
            "kill",
            "wc",
            "sort",
            "ln",
            "dnsdomainname",
            "chmod",
            "chown",
            "mknod",
            "unshare",
            "sysctl",
            "su",
            "stty",
            "test",
            "umount",
            "ulimit",
            "nice",
            "taskset",
            "cut",
        ] {
            symlink("busybox", dir.path().join("bin").join(applet)).unwrap();
        }
        fs::write(
            dir.path().join("etc/passwd"),
            "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/:/bin/sh\n",
        )
        .unwrap();
        Self(dir)
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn join(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    /// A default container in it that runs a shell script.
    pub(crate) fn container(&self, script: &str) -> Sandbox {
        let mut sandbox = Sandbox::container(Root::Path(self.path().to_owned()), ["/bin/sh", "-c", script]);
        sandbox.stdin = Stdio::Null;
        sandbox
    }
}

/// What a process wrote, and how it ended.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) text: String,
    pub(crate) status: ExitStatus,
}

/// An empty file in memory, twice: to be written by a child, and to be read here.
pub(crate) fn sink() -> (OwnedFd, fs::File) {
    let file = tempfile::tempfile().unwrap();
    (file.try_clone().unwrap().into(), file)
}

/// Catches stdout and stderr of a sandbox.
pub(crate) fn catch(sandbox: &mut Sandbox) -> fs::File {
    let (out, file) = sink();
    sandbox.stderr = Stdio::Descriptor(out.try_clone().unwrap());
    sandbox.stdout = Stdio::Descriptor(out);
    file
}

pub(crate) fn read(mut file: fs::File) -> String {
    file.seek(SeekFrom::Start(0)).unwrap();
    let mut text = String::new();
    file.read_to_string(&mut text).unwrap();
    text
}

/// Waits, but not for ever.
pub(crate) fn wait(child: &mut Child) -> ExitStatus {
    // no unsafe in tests: the pidfd is polled by somebody who can
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        assert!(Instant::now() < deadline, "process {} does not end", child.pid());
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Runs to the end.
pub(crate) fn run(mut sandbox: Sandbox) -> Output {
    let file = catch(&mut sandbox);
    let mut child =
        sandbox.compile().unwrap().run().unwrap_or_else(|error| panic!("{error}: {:?}", error.errno()));
    let status = wait(&mut child);
    Output { text: read(file), status }
}

/// Runs to the end, must succeed; what it wrote, trimmed.
pub(crate) fn output(sandbox: Sandbox) -> String {
    let output = run(sandbox);
    assert!(output.status.success(), "{output:?}");
    output.text.trim().to_owned()
}

/// A process that does not outlive the test.
pub(crate) struct Killed(pub(crate) Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.signal(9);
        let _ = self.0.wait();
    }
}
