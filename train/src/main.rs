//! `train`: from strokes on a few images to a checkpoint.
//!
//! Exit codes: 0 done, 1 error, 2 wrong usage, 129, 130 or 143 stopped by SIGHUP, SIGINT or SIGTERM after saving.

#![warn(clippy::print_stdout, clippy::print_stderr)]

mod commands;
mod interrupt;

use std::process::ExitCode;

use clap::Parser;
use support::verbosity::Verbosity;
use support::{console, signals};

/// Train a nucleus segmentation network from scribbles
///
/// Results go to files and stdout, messages to stderr. Exit codes: 0 done, 1 error, 2 wrong usage, 129, 130 or 143 stopped by a signal
/// after saving.
#[derive(Parser)]
#[command(version = provenance::VERSION, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: commands::Command,
    #[command(flatten)]
    verbosity: Verbosity,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    cli.verbosity.start_logging();
    signals::prepare_process().map_or_else(|error| console::exit(Err(error)), |()| cli.command.run())
}
