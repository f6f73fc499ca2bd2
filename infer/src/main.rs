//! `infer`: every nucleus of a whole slide from one ONNX file.
//!
//! Exit codes: 0 done, 1 error, 2 wrong usage, 3 done but more than 5 % of a slide could not be read, 130 or 143 stopped by SIGINT or
//! SIGTERM.

mod commands;
mod interrupt;

use std::process::ExitCode;

use clap::Parser;
use support::console;
use support::verbosity::Verbosity;

/// Find every nucleus of a whole slide with one ONNX file
///
/// Results go to files and, with --json, to stdout; everything else goes to stderr. Exit codes: 0 done, 1 error, 2 wrong usage, 3 done but
/// more than 5 % of a slide could not be read, 130 or 143 stopped by a signal.
#[derive(Parser)]
#[command(name = "infer", version, propagate_version = true)]
struct Cli {
    #[command(flatten)]
    verbosity: Verbosity,
    #[command(subcommand)]
    command: commands::Command,
}

fn main() -> ExitCode {
    infer::runtime::disable_telemetry();
    let cli = Cli::parse();
    cli.verbosity.start_logging();
    infer::memory::return_large_blocks();
    cli.command.run().unwrap_or_else(|error| console::exit(Err(error)))
}
