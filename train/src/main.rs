//! `train`: from strokes on a few images to a checkpoint.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    train::cli::run(train::cli::Arguments::parse())
}
