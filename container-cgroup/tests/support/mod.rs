//! A group with a shell in it, removed whatever happens.
#![allow(dead_code, unreachable_pub, unsafe_code)]

use std::io::{Read as _, Write as _};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use container_cgroup::{Group, GroupPath, Hierarchy, Limits};
use rustix::event::{PollFd, PollFlags, Timespec};

pub const PATIENCE: Duration = Duration::from_secs(20);

/// The host's hierarchies whose lines in `mountinfo` satisfy `wanted`; none if there are none.
pub fn part_of_host(wanted: impl Fn(&str) -> bool) -> Option<Hierarchy> {
    let text = std::fs::read_to_string("/proc/thread-self/mountinfo").expect("mountinfo");
    let lines: Vec<&str> = text.lines().filter(|line| wanted(line)).collect();
    Hierarchy::from_mountinfo(lines.join("\n").as_bytes(), Path::new("")).ok()
}

pub fn unified_only() -> Option<Hierarchy> {
    part_of_host(|line| line.contains(" - cgroup2 "))
}

pub fn legacy_only() -> Option<Hierarchy> {
    part_of_host(|line| line.contains(" - cgroup "))
}

pub fn path(name: &str) -> GroupPath {
    GroupPath::new(format!("/dnt-cg-{}-{name}/leaf", std::process::id())).expect("a path")
}

pub struct Case {
    pub group: Group,
    children: Vec<u32>,
}

impl Case {
    pub fn new(hierarchy: &Hierarchy, name: &str, limits: &Limits) -> Self {
        let group = Group::create(hierarchy, &path(name), limits).unwrap_or_else(|error| {
            remove_parent(hierarchy, &path(name));
            panic!("create {name}: {error}: {:?}", std::error::Error::source(&error))
        });
        Self { group, children: Vec::new() }
    }

    /// Starts a shell in the group by the descriptors of `join`.
    pub fn shell(&mut self, script: &str) -> Child {
        let join = self.group.join().expect("join");
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let unified = join.unified.map(|directory| {
            let flags = rustix::fs::OFlags::WRONLY | rustix::fs::OFlags::CLOEXEC;
            rustix::fs::openat(&directory, "cgroup.procs", flags, rustix::fs::Mode::empty()).expect("procs")
        });
        let files: Vec<_> = join.tasks.into_iter().chain(unified).collect();
        // SAFETY: the closure only writes a constant to open descriptors, which is async-signal-safe.
        unsafe {
            command.pre_exec(move || {
                for file in &files {
                    rustix::io::write(file, b"0")?;
                }
                Ok(())
            });
        }
        let child = command.spawn().expect("a shell");
        self.children.push(child.id());
        child
    }
}

impl Drop for Case {
    fn drop(&mut self) {
        let _ = self.group.kill(PATIENCE);
        for child in &self.children {
            if let Some(pid) = rustix::process::Pid::from_raw(child.cast_signed()) {
                let _ = rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::empty());
            }
        }
        let _ = self.group.remove(PATIENCE);
        remove_parent(self.group.hierarchy(), self.group.path());
    }
}

fn remove_parent(hierarchy: &Hierarchy, path: &GroupPath) {
    if let Ok(parent) = Group::open(hierarchy, &path.parent().expect("a parent")) {
        let _ = parent.remove(PATIENCE);
    }
}

pub fn say(child: &mut Child, line: &str) {
    let stdin = child.stdin.as_mut().expect("stdin");
    stdin.write_all(line.as_bytes()).expect("write to the child");
}

/// Waits for a line on the child's stdout; none if it does not come in time.
pub fn hear(child: &mut Child, patience: Duration) -> Option<String> {
    let stdout = child.stdout.as_mut().expect("stdout");
    let mut line = Vec::new();
    while readable(&*stdout, patience) {
        let mut byte = [0];
        match stdout.read(&mut byte).expect("read from the child") {
            0 => break,
            _ if byte[0] == b'\n' => return Some(String::from_utf8_lossy(&line).into_owned()),
            _ => line.push(byte[0]),
        }
    }
    None
}

pub fn readable(fd: impl AsFd, patience: Duration) -> bool {
    let timeout =
        Timespec { tv_sec: patience.as_secs().cast_signed(), tv_nsec: i64::from(patience.subsec_nanos()) };
    rustix::event::poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&timeout)).expect("poll") > 0
}

/// Waits for the child with all it said, in bounded time.
pub fn end(mut child: Child) -> (Option<i32>, String, String) {
    drop(child.stdin.take());
    let (mut out, mut err) = (String::new(), String::new());
    let pid = rustix::process::Pid::from_raw(child.id().cast_signed()).expect("a pid");
    let pidfd = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).expect("pidfd");
    assert!(readable(&pidfd, PATIENCE), "the child does not end");
    let _ = child.stdout.take().map(|mut pipe| pipe.read_to_string(&mut out));
    let _ = child.stderr.take().map(|mut pipe| pipe.read_to_string(&mut err));
    (child.wait().expect("wait").code(), out, err)
}
