//! All steps in one command, on two images that Python packages contain: strokes, training, ONNX export, nuclei, scores.
//!
//! `cargo run --release --example quickstart` takes about eight minutes on two cores; `--only slide` or `--only fluorescence` takes half.

mod figures;
mod fluorescence;
mod part;
mod pictures;
mod slide;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::{Parser, ValueEnum};
use infer::runtime;
use part::{Part, announce};
use support::Result;
use support::console::{self, Console};

/// Train on a fluorescence image and on a slide, find nuclei with the models and print their scores; about eight minutes.
#[derive(Parser)]
pub struct Settings {
    /// Run only one of the two parts.
    #[arg(long)]
    only: Option<Only>,
    /// Duration of training for each part, in minutes.
    #[arg(long, default_value_t = 3.5, value_parser = minutes)]
    minutes: f64,
    /// Folder of all output files.
    #[arg(long, default_value = "quickstart")]
    out: PathBuf,
    /// Seed of all random numbers.
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
    runtime::disable_telemetry();
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
    println!("Pictures, models and nuclei are in {}; next, run `infer segment` on a slide of your own.", settings.out.display());
    Ok(())
}

/// Loads ONNX Runtime, and downloads it first if it is missing.
fn install_runtime(since: Instant) -> Result<()> {
    if runtime::load(None).is_err() {
        announce(since, "ONNX Runtime is not installed: downloading it and OpenSlide once with pip (pinned versions, hashes checked)");
        for installed in runtime::install(None, None)? {
            println!("  {}", installed.path.display());
        }
    }
    runtime::load(None)
}
