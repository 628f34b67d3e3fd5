//! `dunnage`: a container engine in one small binary, which needs no daemon.
#![forbid(unsafe_code)]

mod api;
mod bars;
mod command;
mod context;
mod helper;
mod human;
mod listing;
mod steps;
mod table;
mod template;
mod terminal;

use std::process::ExitCode;

use clap::Parser;

use command::Command;
use context::Roots;

/// A container engine that needs no daemon.
#[derive(Debug, Parser)]
#[command(name = "dunnage", version, max_term_width = 100, disable_help_subcommand = true)]
struct Line {
    #[command(flatten)]
    roots: Roots,
    #[command(subcommand)]
    command: Command,
}

fn main() -> ExitCode {
    let line = match Line::try_parse() {
        Ok(line) => line,
        Err(error) => {
            let wrong = error.use_stderr();
            // a closed terminal is nobody to tell
            let _ = error.print();
            return ExitCode::from(if wrong { 125 } else { 0 });
        }
    };
    let outcome = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(context::Failure::from)
        .and_then(|runtime| {
            let outcome = runtime.block_on(command::run(line.roots, line.command));
            // a thread that waits for input on the terminal must not keep the program
            runtime.shutdown_background();
            outcome
        });
    match outcome {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            failure.print();
            ExitCode::from(failure.code())
        }
    }
}
