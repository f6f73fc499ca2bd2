//! The whole road in one command, on two images that Python packages carry: strokes, training, ONNX, nuclei, scores.
//!
//! `cargo run --release --example quickstart` takes about eight minutes on two cores; `--only slide` or `--only fluorescence` half of it.

mod figures;
mod fluorescence;
mod pictures;
mod road;
mod slide;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::{Parser, ValueEnum};
use infer::runtime;
use road::{Part, say};
use support::Result;
use support::console::{self, Console};

/// From strokes to nuclei in about eight minutes: trains on a fluorescence image and on a slide, and shows what comes out.
#[derive(Parser)]
pub struct Settings {
    /// Walk only one of the two roads.
    #[arg(long)]
    only: Option<Only>,
    /// Minutes of training for each.
    #[arg(long, default_value_t = 3.5, value_parser = minutes)]
    minutes: f64,
    /// Folder for everything that is written.
    #[arg(long, default_value = "quickstart")]
    out: PathBuf,
    /// Seed of every random draw.
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Only {
    Fluorescence,
    Slide,
}

fn minutes(text: &str) -> Result<f64, String> {
    text.parse().ok().filter(|minutes| (0.1..=600.0).contains(minutes)).ok_or_else(|| "expected 0.1 to 600 minutes".into())
}

fn main() -> ExitCode {
    console::start_logging(0, true);
    console::exit(run(&Settings::parse()))
}

fn run(settings: &Settings) -> Result<()> {
    let since = Instant::now();
    let progress = Console::new();
    let part = |name: &str| Part { folder: settings.out.join(name), settings, progress: &progress };
    install_runtime(since)?;
    let mut figures = Vec::new();
    if settings.only != Some(Only::Slide) {
        figures.push(fluorescence::run(&part("fluorescence"), since)?);
    }
    if settings.only != Some(Only::Fluorescence) {
        figures.push(slide::run(&part("slide"), since)?);
    }
    println!("\n{}", figures::table(&figures));
    println!("Pictures, models and nuclei are in {}; try what `infer segment` says of a slide of your own.", settings.out.display());
    Ok(())
}

/// ONNX Runtime is not linked: it is looked for, and fetched where it is missing.
fn install_runtime(since: Instant) -> Result<()> {
    if runtime::load(None).is_err() {
        say(since, "ONNX Runtime is not there yet: fetching it and OpenSlide with pip, pinned and checked (once)");
        for installed in runtime::install(None, None)? {
            println!("  {}", installed.path.display());
        }
    }
    runtime::load(None)
}
