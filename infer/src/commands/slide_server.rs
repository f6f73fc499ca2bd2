//! `infer slide-server`: the child process in which OpenSlide runs.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use support::Result;

#[derive(Args)]
pub struct SlideServerArgs {
    /// Slide to read
    slide: PathBuf,
    /// OpenSlide library
    #[arg(long, value_name = "LIB")]
    openslide: Option<PathBuf>,
}

/// Serves until stdin ends. SIGINT is ignored, because an interrupt in a terminal is meant for the parent process.
pub fn run(args: &SlideServerArgs) -> Result<()> {
    signal_hook::flag::register(signal_hook::consts::SIGINT, Arc::default())?;
    slides::openslide::serve(&args.slide, args.openslide.as_deref(), &mut std::io::stdin().lock(), &mut std::io::stdout().lock())
}
