//! Runs a further program in a container that any runtime of this suite has made, as another user and with one more variable.
//!
//! `cargo run -p container-runtime --example exec -- /run/dunnage-oci ID /bin/id` (needs root)

use std::process::ExitCode;

use container_runtime::{ContainerId, Error, Exec, ExecUser, Runtime, describe};

fn run(root: &str, id: &str, program: &[String]) -> Result<i32, Error> {
    let runtime = Runtime::new(root);
    let id = ContainerId::new(id)?;
    println!("{id} is {}", runtime.state(&id)?.status);
    let mut exec = Exec::new(program.iter().cloned());
    exec.user = Some(ExecUser { uid: 65534, gid: Some(65534) });
    exec.env = vec!["VISITOR=yes".to_owned()];
    exec.no_new_privs = true;
    // it has joined the namespaces and the control group when this returns, and its program runs
    let mut process = runtime.exec(&id, exec)?;
    process.wait()
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [root, id, program @ ..] = words.as_slice() else {
        eprintln!("usage: exec STATE-DIRECTORY ID PROGRAM [ARGUMENTS]");
        return ExitCode::from(2);
    };
    match run(root, id, program) {
        Ok(code) => ExitCode::from(u8::try_from(code).unwrap_or(1)),
        Err(error) => {
            eprintln!("{}", describe(&error));
            ExitCode::from(125)
        }
    }
}
