//! The examples do what they say.

mod support;

use std::path::PathBuf;
use std::process::{Command, Stdio};

use support::{World, eventually, finish, text};

fn example(name: &str) -> Option<PathBuf> {
    let exe = std::env::current_exe().expect("this program");
    let found = exe.parent().expect("a directory").with_file_name("examples").join(name);
    if found.exists() {
        return Some(found);
    }
    eprintln!("skipped: the examples are not built");
    None
}

#[test]
fn the_fifty_line_runtime_runs_a_bundle_and_the_other_joins_it() {
    let (Some(fifty), Some(exec)) = (example("fifty"), example("exec")) else { return };
    let Some(world) = World::new("examples") else { return };
    world.write(&world.config("trap 'exit 7' TERM; echo up; while :; do sleep 100 & wait $!; done"));
    let out = world.path("out");
    let mut command = Command::new(fifty);
    command.arg(world.runtime.root()).arg(world.bundle()).arg("e").stdin(Stdio::null());
    let runtime = command.stdout(std::fs::File::create(&out).expect("a file")).stderr(Stdio::piped());
    let runtime = runtime.spawn().expect("the example");
    eventually(&out, |said| said == "up\n");
    let mut command = Command::new(exec);
    command.arg(world.runtime.root()).args(["e", "/bin/sh", "-c", "id -u; hostname; echo $VISITOR; exit 4"]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let output = finish(command.spawn().expect("the example"));
    assert_eq!(text(&output.stdout), "e is running\n65534\ninside\nyes\n", "{}", text(&output.stderr));
    assert_eq!(output.status.code(), Some(4));
    let pid = rustix::process::Pid::from_raw(runtime.id().cast_signed()).expect("a pid");
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("kill");
    let output = finish(runtime);
    assert_eq!(output.status.code(), Some(7), "{}", text(&output.stderr));
    assert!(world.runtime.list().expect("list").is_empty());
}
