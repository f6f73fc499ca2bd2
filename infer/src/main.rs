//! `infer`: every nucleus of a whole slide from one ONNX file.
//!
//! Exit codes: 0 done, 1 error, 2 wrong usage, 3 done but more than 5 % of a slide could not be read, 129, 130 or 143 stopped by
//! SIGHUP, SIGINT or SIGTERM.

#![warn(clippy::print_stdout, clippy::print_stderr)]

mod commands;

use std::process::ExitCode;

use clap::Parser;
use support::verbosity::Verbosity;
use support::{console, signals};

/// Find every nucleus of a whole slide with one ONNX file
///
/// Results go to files and, with --json, to stdout; everything else goes to stderr. Exit codes: 0 done, 1 error, 2 wrong usage, 3 done but
/// more than 5 % of a slide could not be read, 129, 130 or 143 stopped by a signal.
#[derive(Parser)]
#[command(name = "infer", version = provenance::VERSION, propagate_version = true)]
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
    console::exit_with(signals::prepare_process().and_then(|()| cli.command.run()))
}
