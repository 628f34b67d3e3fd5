//! The examples do what they say.

use std::process::{Command, Stdio};

#[test]
fn the_sandboxed_example_keeps_its_program_in() {
    let exe = std::env::current_exe().unwrap();
    let example = exe.parent().unwrap().with_file_name("examples").join("sandboxed");
    if !example.exists() || !std::path::Path::new("/bin/busybox").exists() {
        eprintln!("skipped: the examples are not built, or there is no /bin/busybox");
        return;
    }
    let script =
        "id -u; ls -d /proc/[0-9]*; touch /x 2>&1; touch /tmp/x && ls /tmp; ip link | grep -c ^; exit 5";
    let mut command = Command::new(example);
    command.args(["/bin/busybox", "sh", "-c", script]).stdin(Stdio::null());
    let output = command.output().unwrap();
    let (said, plan) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(5), "{said}{plan}");
    let lines: Vec<&str> = said.lines().collect();
    // the shell is number 1, ls another
    assert_eq!((lines[0], lines[1]), ("65534", "/proc/1"), "{said}");
    assert!(said.contains("touch: /x: Read-only file system\nx\n"), "{said}");
    assert!(said.ends_with("\n2\n"), "loopback alone: {said}");
    assert!(plan.contains("seccomp") && plan.contains("execute: /bin/busybox"), "{plan}");
}
