use std::ffi::OsString;
use std::process::Command;

use super::{Args, Context, Failure, print, print_json};

/// `ps [-f table|json] ID [PS OPTIONS]`
pub(crate) fn run(context: &Context, mut args: Args) -> Result<i32, Failure> {
    let mut format = "table".to_owned();
    while let Some(flag) = args.flag()? {
        match flag.as_str() {
            "f" | "format" => format = args.value()?,
            _ => return args.unknown(),
        }
    }
    let id = context.id(&mut args)?;
    let pids = context.runtime.processes(&id)?;
    if format == "json" {
        return print_json(&pids, false);
    }
    if format != "table" {
        return Err(Failure::usage(format!("format {format:?} is neither table nor json")));
    }
    let mut options = args.rest();
    if options.is_empty() {
        options.push(OsString::from("-ef"));
    }
    let output = Command::new("ps").args(&options).output().map_err(Failure::io("run ps"))?;
    if !output.status.success() {
        return Err(Failure::usage(format!("ps: {}", String::from_utf8_lossy(&output.stderr).trim())));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let mut lines = text.lines();
    let head = lines.next().unwrap_or_default();
    let column = head.split_whitespace().position(|word| word == "PID");
    let column = column.ok_or_else(|| Failure::usage("ps printed no PID column"))?;
    let mut shown = format!("{head}\n");
    for line in lines {
        let pid = line.split_whitespace().nth(column).and_then(|word| word.parse().ok());
        if pid.is_some_and(|pid| pids.contains(&pid)) {
            shown.push_str(line);
            shown.push('\n');
        }
    }
    print(&shown)
}
