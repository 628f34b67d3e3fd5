//! Where errors go: stderr, and the file that `--log` names, in the form that containerd reads.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;

use container_runtime::{Timestamp, describe};

use super::Failure;

#[derive(Default)]
pub(crate) struct Log {
    file: Option<File>,
    json: bool,
    debug: bool,
}

impl Log {
    pub(crate) fn open(path: Option<&Path>, format: &str, debug: bool) -> Result<Self, Failure> {
        let json = match format {
            "text" => false,
            "json" => true,
            other => return Err(Failure::usage(format!("log format {other:?} is neither text nor json"))),
        };
        let open = |path: &Path| File::options().append(true).create(true).open(path);
        let file = path.map(open).transpose().map_err(Failure::io("open the log"))?;
        Ok(Self { file, json, debug })
    }

    pub(crate) fn warn(&self, error: &dyn std::error::Error) {
        self.line("warning", &describe(error));
    }

    pub(crate) fn error(&self, message: &str) {
        self.line("error", message);
        if self.file.is_some() {
            eprintln!("{message}");
        }
    }

    pub(crate) fn debug(&self, message: &str) {
        if self.debug {
            self.line("debug", message);
        }
    }

    fn line(&self, level: &str, message: &str) {
        let time = Timestamp::now();
        let line = if self.json {
            let json = serde_json::json!({"level": level, "msg": message, "time": time.to_string()});
            format!("{json}\n")
        } else {
            format!("time=\"{time}\" level={level} msg={message:?}\n")
        };
        match self.file.as_ref() {
            // one write a line: several processes append to one log
            Some(mut file) => drop(file.write_all(line.as_bytes())),
            None if self.json => eprint!("{line}"),
            None => eprintln!("dunnage-oci: {message}"),
        }
    }
}
