use std::fmt::Write as _;

use super::{Args, Context, Failure, print, print_json};

/// `list [-f table|json] [-q]`
pub(crate) fn run(context: &Context, mut args: Args) -> Result<i32, Failure> {
    let (mut format, mut quiet) = ("table".to_owned(), false);
    while let Some(flag) = args.flag()? {
        match flag.as_str() {
            "f" | "format" => format = args.value()?,
            "q" | "quiet" => quiet = args.switch()?,
            _ => return args.unknown(),
        }
    }
    args.end()?;
    let states = context.runtime.list()?;
    if quiet {
        return print(&states.iter().fold(String::new(), |text, state| text + &state.id + "\n"));
    }
    match format.as_str() {
        "json" => print_json(&states, false),
        "table" => {
            let mut rows = vec![["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"].map(str::to_owned)];
            rows.extend(states.into_iter().map(|state| {
                let bundle = state.bundle.display().to_string();
                [
                    state.id,
                    state.pid.to_string(),
                    state.status.to_string(),
                    bundle,
                    state.created,
                    "root".to_owned(),
                ]
            }));
            let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(String::len).max();
            let widths: Vec<usize> = (0..6).map(|column| width(column).unwrap_or(0)).collect();
            let mut text = String::new();
            for row in &rows {
                let mut line = String::new();
                for (cell, width) in row.iter().zip(&widths) {
                    let _ = write!(line, "{cell:<width$}   ");
                }
                text.push_str(line.trim_end());
                text.push('\n');
            }
            print(&text)
        }
        other => Err(Failure::usage(format!("format {other:?} is neither table nor json"))),
    }
}
