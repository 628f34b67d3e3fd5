//! Programs that know credentials: `docker-credential-NAME`.

use std::io::{self, Read, Write};
use std::process::{Command, Stdio};

use container_engine::{Credential, Helper};

/// An answer may have so many bytes.
const MAX_ANSWER: u64 = 64 << 10;

/// Runs them as the person's own programs, found by `PATH`.
pub(crate) struct Programs;

impl Helper for Programs {
    fn find(&self, program: &str, registry: &str) -> io::Result<Option<Credential>> {
        // the name comes from a file that others may have written
        if program.is_empty()
            || !program.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
        {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "that is no name of such a program"));
        }
        // Docker's helpers know the Hub by this address
        let server = if registry == "docker.io" { "https://index.docker.io/v1/" } else { registry };
        let mut child = Command::new(format!("docker-credential-{program}"))
            .arg("get")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()?;
        if let Some(mut input) = child.stdin.take() {
            // a program that does not read its question answers what it likes
            let _ = input.write_all(server.as_bytes());
        }
        let mut answer = String::new();
        let read =
            child.stdout.take().map_or(Ok(0), |output| output.take(MAX_ANSWER).read_to_string(&mut answer));
        let status = child.wait()?;
        read?;
        if status.success() {
            let no_answer =
                || io::Error::new(io::ErrorKind::InvalidData, "its answer has no name and secret");
            return Credential::of_helper(&answer).ok_or_else(no_answer).map(Some);
        }
        // the protocol's words for somebody it does not know; anything else is a failure
        if answer.contains("credentials not found") {
            return Ok(None);
        }
        Err(io::Error::other(format!("it ended with {status}")))
    }
}
