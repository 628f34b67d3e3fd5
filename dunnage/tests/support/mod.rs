//! An engine of its own for each test: directories, and a network namespace that stands for the host.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// No command of a test takes longer.
const PATIENCE: Duration = Duration::from_secs(60);

pub struct Host {
    directory: tempfile::TempDir,
    holder: Child,
}

impl Host {
    /// None, said aloud, if this machine lacks what containers need.
    pub fn new() -> Option<Self> {
        if !rustix_is_root() {
            eprintln!("skipped: containers need root here");
            return None;
        }
        if !Path::new("/bin/busybox").exists() {
            eprintln!("skipped: busybox-static is not installed");
            return None;
        }
        let holder = Command::new("unshare")
            .args(["--net", "sh", "-c", "ip link set lo up && echo ready && exec sleep 3600"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut host = Self { directory: tempfile::Builder::new().prefix("dnt").tempdir().unwrap(), holder };
        let mut ready = [0; 6];
        host.holder.stdout.take().unwrap().read_exact(&mut ready).unwrap();
        Some(host)
    }

    /// The same, with the image `bb` of busybox imported.
    pub fn with_image() -> Option<Self> {
        let host = Self::new()?;
        let archive = host.archive();
        host.ok(&["import", "-c", r#"CMD ["sh"]"#, archive.to_str().unwrap(), "bb"]);
        Some(host)
    }

    /// An archive of a root file system with busybox.
    pub fn archive(&self) -> PathBuf {
        let root = self.directory.path().join("rootfs");
        for directory in ["bin", "etc", "tmp", "root", "proc", "sys", "dev"] {
            fs::create_dir_all(root.join(directory)).unwrap();
        }
        fs::copy("/bin/busybox", root.join("bin/busybox")).unwrap();
        let applets = "sh ls cat echo true false sleep ps ip wget httpd nc ping id env mount hostname kill stat head yes dd \
                       grep touch mkdir rm nslookup stty tty chmod ln";
        for applet in applets.split_whitespace() {
            std::os::unix::fs::symlink("busybox", root.join("bin").join(applet)).unwrap();
        }
        fs::write(root.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\nweb:x:33:44::/var/www:/bin/sh\n")
            .unwrap();
        fs::write(root.join("etc/group"), "root:x:0:\nweb:x:44:\nextra:x:55:web\n").unwrap();
        let archive = self.directory.path().join("rootfs.tar");
        let packed =
            Command::new("tar").arg("-C").arg(&root).arg("-cf").arg(&archive).arg(".").status().unwrap();
        assert!(packed.success());
        archive
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn run_root(&self) -> PathBuf {
        self.path("run")
    }

    /// A command of `dunnage` that is not started yet.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = self.inside(env!("CARGO_BIN_EXE_dunnage"));
        command.arg("--root").arg(self.path("root")).arg("--run-root").arg(self.run_root()).args(args);
        command
    }

    /// Any program on this test's host.
    pub fn inside(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--net=/proc/{}/ns/net", self.holder.id()))
            .arg("--")
            .arg(program)
            .stdin(Stdio::null());
        command
    }

    pub fn output(&self, args: &[&str]) -> Output {
        finish(self.command(args), PATIENCE)
    }

    /// Standard output of a command that must succeed.
    pub fn ok(&self, args: &[&str]) -> String {
        let output = self.output(args);
        let error = String::from_utf8_lossy(&output.stderr);
        let shown = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "dunnage {args:?}: {}: {shown}{error}", output.status);
        shown
    }

    /// Exit code and standard error of a command that must fail.
    pub fn fails(&self, args: &[&str]) -> (i32, String) {
        let output = self.output(args);
        assert!(!output.status.success(), "dunnage {args:?} succeeded");
        (output.status.code().unwrap_or(-1), String::from_utf8_lossy(&output.stderr).into_owned())
    }

    /// Standard output of another program on this test's host.
    pub fn program(&self, program: &str, args: &[&str]) -> String {
        let mut command = self.inside(program);
        command.args(args);
        let output = finish(command, PATIENCE);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{program} {args:?}: {}: {error}", output.status);
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Removes every container, and shows that nothing is left anywhere.
    pub fn leaves_nothing(&self) {
        let ids = self.ok(&["ps", "-aq", "--no-trunc"]);
        let ids: Vec<&str> = ids.lines().collect();
        if !ids.is_empty() {
            self.ok(&[["rm", "-f", "-v"].as_slice(), &ids].concat());
        }
        assert_eq!(self.ok(&["system", "check"]).trim(), "clean");
        assert_eq!(self.traces(), Vec::<String>::new());
    }

    /// Everything of containers that this engine's parts of the kernel and its directories still show.
    pub fn traces(&self) -> Vec<String> {
        let mut traces = Vec::new();
        let own = self.directory.path().to_str().unwrap();
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        traces.extend(mounts.lines().filter(|line| line.contains(own)).map(str::to_owned));
        for group in self.cgroups() {
            traces.push(format!("control group {}", group.display()));
        }
        let links = self.program("ip", &["-o", "link"]);
        traces.extend(links.lines().filter(|line| line.contains(": dv")).map(str::to_owned));
        let rules = self.program("nft", &["list", "ruleset"]);
        // an element that belongs to a container has its id in a comment
        let tagged = |line: &&str| line.contains("comment \"") && line.contains("/dv");
        traces.extend(rules.lines().filter(tagged).map(str::to_owned));
        for directory in ["containers", "oci", "locks"] {
            let entries = fs::read_dir(self.run_root().join(directory)).into_iter().flatten().flatten();
            traces.extend(entries.map(|entry| entry.path().display().to_string()));
        }
        let entries = fs::read_dir(self.path("root/containers")).into_iter().flatten().flatten();
        traces.extend(entries.map(|entry| entry.path().display().to_string()));
        traces
    }

    /// The control groups of this engine's containers, in any hierarchy.
    fn cgroups(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let parent = self.cgroup_parent();
        let mounts = fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten().map(|entry| entry.path());
        for mount in mounts.chain([PathBuf::from("/sys/fs/cgroup")]) {
            let entries = fs::read_dir(mount.join(&parent)).into_iter().flatten().flatten();
            found.extend(entries.map(|entry| entry.path()).filter(|path| path.is_dir()));
            // with the last container the group above goes too
            if !self.path("root/containers").read_dir().is_ok_and(|mut entries| entries.next().is_some()) {
                found.extend(Some(mount.join(&parent)).filter(|path| path.exists()));
            }
        }
        found
    }

    fn cgroup_parent(&self) -> String {
        let root = self.path("root");
        let digest = container_engine::Digest::of(root.as_os_str().as_encoded_bytes());
        format!("dunnage-{}", digest.short())
    }

    /// The number of the monitor of the container that was started last, if one runs.
    pub fn a_monitor(&self) -> Option<i32> {
        let entries = fs::read_dir(self.run_root().join("containers")).ok()?.flatten();
        let newest =
            entries.max_by_key(|entry| entry.metadata().and_then(|metadata| metadata.modified()).ok())?;
        fs::read_to_string(newest.path().join("monitor.pid")).ok()?.trim().parse().ok()
    }
}

/// Asks over and over until the answer is there; the time is only a bound.
pub fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(begin.elapsed() < PATIENCE, "never: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let ids = self.output(&["ps", "-aq", "--no-trunc"]);
        let ids = String::from_utf8_lossy(&ids.stdout).into_owned();
        let ids: Vec<&str> = ids.lines().collect();
        if !ids.is_empty() {
            self.output(&[["rm", "-f", "-v"].as_slice(), &ids].concat());
        }
        self.output(&["system", "check", "--repair"]);
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

/// Runs a command to its end, and kills it when it takes too long.
pub fn finish(mut command: Command, patience: Duration) -> Output {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let drain = |stream: Option<Box<dyn Read + Send>>| {
        thread::spawn(move || {
            let mut bytes = Vec::new();
            if let Some(mut stream) = stream {
                let _ = stream.read_to_end(&mut bytes);
            }
            bytes
        })
    };
    let stdout = drain(child.stdout.take().map(|stream| Box::new(stream) as Box<dyn Read + Send>));
    let stderr = drain(child.stderr.take().map(|stream| Box::new(stream) as Box<dyn Read + Send>));
    let begin = Instant::now();
    let status = loop {
        match child.try_wait().unwrap() {
            Some(status) => break status,
            None if begin.elapsed() > patience => {
                let _ = child.kill();
                let status = child.wait().unwrap();
                eprintln!("{command:?} did not end in {patience:?}");
                break status;
            }
            None => thread::sleep(Duration::from_millis(3)),
        }
    };
    Output { status, stdout: stdout.join().unwrap(), stderr: stderr.join().unwrap() }
}

fn rustix_is_root() -> bool {
    fs::read_to_string("/proc/self/status")
        .is_ok_and(|status| status.lines().any(|line| line.starts_with("Uid:\t0\t0")))
}
