//! The examples do what they say.

mod support;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use container_cgroup::{Group, Hierarchy, Limits};
use support::{PATIENCE, path};

fn example(name: &str) -> Option<PathBuf> {
    let exe = std::env::current_exe().expect("this program");
    let found = exe.parent().expect("a directory").with_file_name("examples").join(name);
    if found.exists() {
        return Some(found);
    }
    eprintln!("skipped: the examples are not built");
    None
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn the_limited_example_bounds_its_command_and_passes_its_code_on() {
    let Some(example) = example("limited") else { return };
    let mut command = Command::new(&example);
    command.args(["64m", "0.5", "/bin/sh", "-c", "cat /proc/self/cgroup; exit 5"]).stdin(Stdio::null());
    let output = command.output().expect("the example");
    let said = text(&output);
    assert_eq!(output.status.code(), Some(5), "{said}");
    assert!(
        said.contains("/limited-")
            && said.contains("processor ")
            && said.contains("killed for want of memory: 0"),
        "{said}"
    );
    let output =
        Command::new(&example).args(["x", "1", "true"]).stdin(Stdio::null()).output().expect("the example");
    assert_eq!(output.status.code(), Some(125), "{}", text(&output));
}

/// A group and a shell in it, which go away whatever happens.
struct Inhabited(Group, std::process::Child);

impl Drop for Inhabited {
    fn drop(&mut self) {
        let _ = self.1.kill();
        let _ = self.1.wait();
        let _ = self.0.remove(PATIENCE);
    }
}

#[test]
fn the_pressure_example_follows_a_group_until_it_is_empty() {
    let Some(example) = example("pressure") else { return };
    let path = path("follow");
    let hierarchy = Hierarchy::of_host().expect("cgroups");
    let group = match Group::create(&hierarchy, &path, &Limits::default()) {
        Ok(group) => group,
        Err(error) => return eprintln!("skipped: {error}"),
    };
    let mut shell = Command::new("/bin/cat");
    let shell = shell.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().expect("cat");
    let mut inside = Inhabited(group, shell);
    inside.0.add(inside.1.id().cast_signed()).expect("add");
    let mut command = Command::new(example);
    let mut follower =
        command.args([path.as_str(), "1"]).stdout(Stdio::piped()).spawn().expect("the example");
    // it has looked once when it has said something
    let mut said = String::new();
    let mut out = std::io::BufReader::new(follower.stdout.take().expect("stdout"));
    std::io::BufRead::read_line(&mut out, &mut said).expect("a line");
    assert!(said.starts_with("memory "), "{said}");
    let mut stdin = inside.1.stdin.take().expect("stdin");
    let _ = stdin.write_all(b"\n");
    drop(stdin);
    inside.1.wait().expect("cat ends");
    std::io::Read::read_to_string(&mut out, &mut said).expect("the rest");
    assert!(follower.wait().expect("wait").success() && said.ends_with("empty\n"), "{said}");
    drop(inside);
    let parent: container_cgroup::GroupPath =
        path.as_str().trim_end_matches("/leaf").parse().expect("a path");
    let _ = Group::open(&hierarchy, &parent).and_then(|group| group.remove(PATIENCE));
}
