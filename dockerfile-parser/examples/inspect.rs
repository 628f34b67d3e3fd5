//! Show a Dockerfile's tree, findings, shape and graph: `cargo run -p dockerfile-parser --example inspect -- FILE`.

use dockerfile_parser::{FormatOptions, LintOptions, parse};

fn main() -> std::io::Result<()> {
    let name = std::env::args().nth(1).unwrap_or_else(|| "Dockerfile".into());
    let file = parse(&std::fs::read(&name)?);
    print!("{}", file.ast());
    print!("{}", file.report_text(&name, &file.lint(&LintOptions::default())));
    print!("{}", file.format(&FormatOptions::default()));
    print!("{}", file.graph().to_dot());
    Ok(())
}
