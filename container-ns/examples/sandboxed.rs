//! Runs one program in a sandbox on the host's own root: as nobody, without a network, any other process or a capability, with a fresh `/tmp`,
//! the root file system read-only, and Docker's system call filter.
//!
//! `cargo run -p container-ns --example sandboxed -- sh -c 'id; ps; touch /x; ip addr'` (needs root)

use std::process::ExitCode;

use container_ns::{Capabilities, Filesystem, Mount, MountFlags, Namespaces, Root, Sandbox, Seccomp, User};

fn run(program: Vec<String>) -> Result<i32, container_ns::Error> {
    let mut sandbox = Sandbox::new(program);
    sandbox.namespaces = Namespaces::container();
    // the host's root, read-only; what is mounted below it stays as it is, so /proc and /tmp are made anew
    sandbox.root = Root::Path("/".into());
    sandbox.read_only_root = true;
    let strict = MountFlags::NO_SUID | MountFlags::NO_DEV | MountFlags::NO_EXEC;
    sandbox.mounts = vec![
        Mount::filesystem("/proc", Filesystem::new("proc"), strict),
        Mount::filesystem("/tmp", Filesystem::new("tmpfs").option("size", "16m"), strict),
    ];
    sandbox.env = vec!["PATH=/usr/sbin:/usr/bin:/sbin:/bin".into(), "HOME=/tmp".into()];
    sandbox.user = Some(User { uid: 65534, gid: 65534, ..User::default() });
    sandbox.capabilities = Some(Capabilities::default());
    sandbox.no_new_privs = true;
    sandbox.seccomp = Some(Seccomp::docker_default(container_ns::CapSet::EMPTY));
    sandbox.new_session = true;

    let plan = sandbox.compile()?;
    // everything is known before anything happens
    eprint!("{plan}");
    let status = plan.run()?.wait()?;
    Ok(status.code().unwrap_or(128))
}

fn main() -> ExitCode {
    let program: Vec<String> = std::env::args().skip(1).collect();
    if program.is_empty() {
        eprintln!("usage: sandboxed PROGRAM [ARGUMENTS]");
        return ExitCode::from(2);
    }
    match run(program) {
        Ok(code) => ExitCode::from(u8::try_from(code).unwrap_or(1)),
        Err(error) => {
            eprintln!("{error}: {:?}", error.errno());
            ExitCode::from(125)
        }
    }
}
