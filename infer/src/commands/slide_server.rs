//! `infer slide-server`: the child process in which OpenSlide runs.

use std::path::PathBuf;

use clap::Args;
use support::{Result, signals};

#[derive(Args)]
pub struct SlideServerArgs {
    /// Slide to read
    slide: PathBuf,
    /// OpenSlide library
    #[arg(long, value_name = "LIB")]
    openslide: Option<PathBuf>,
}

/// Serves until stdin ends. Signals of the terminal are ignored, because they are meant for the parent process.
pub fn run(args: &SlideServerArgs) -> Result<()> {
    signals::leave_to_parent()?;
    slides::openslide::serve(&args.slide, args.openslide.as_deref(), &mut std::io::stdin().lock(), &mut std::io::stdout().lock())
}
