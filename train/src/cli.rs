//! The command line of `train`. Exit codes: 0 done, 1 error, 2 wrong usage, 130 or 143 stopped by a signal after saving.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use clap::{Args, Parser, Subcommand};
use support::console::{self, Console};
use support::{Context, Result};

use crate::config::{Profile, RunConfig, choice};
use crate::{
    check::CheckArgs, compare, evaluate, export_scribbles, fit, folds, import, init, label_budget, make_scribbles, pretrained, report,
    suggest,
};

/// Trains a nucleus segmentation network from scribbles.
#[derive(Parser)]
#[command(version, about, arg_required_else_help = true)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// More messages; twice for all.
    #[arg(short, long, action = clap::ArgAction::Count, global = true)]
    verbose: u8,
    /// Only warnings and errors.
    #[arg(short, long, global = true)]
    quiet: bool,
}

#[derive(Subcommand)]
enum Command {
    /// Write a commented configuration for a data folder.
    Init(init::InitArgs),
    /// Train a network.
    Fit(FitArgs),
    /// Train methods side by side over cross-validation folds, and write their table.
    Folds(folds::FoldsArgs),
    /// Train with fewer and more labels, and plot the scores against the share of labelled pixels.
    LabelBudget(label_budget::LabelBudgetArgs),
    /// Look at a data folder through a configuration; train nothing.
    Check(CheckArgs),
    /// Make scribbles from instance labels: skeletons by ratio, or simulated strokes.
    Scribble(make_scribbles::ScribbleArgs),
    /// Say where more strokes would help most: maps and a ranked list of regions for QuPath.
    Suggest(suggest::SuggestArgs),
    /// Write the report of a run anew (`report.html`).
    Report(report::ReportArgs),
    /// Write scribbles of any kind as GeoJSON, to go on drawing in QuPath.
    ExportScribbles(export_scribbles::ExportArgs),
    /// Score a trained network on images with instance labels.
    Evaluate(evaluate::command::EvaluateArgs),
    /// Set trained networks side by side on labelled images: scores, differences, curves, and pictures like the paper's figure 2.
    Compare(compare::CompareArgs),
    /// Turn a PyTorch state dict (.pth, .pt) into safetensors, to start from it or to export it.
    Import(import::ImportArgs),
    /// Fetch the pretrained weights of an encoder, to start from them.
    Weights(pretrained::WeightsArgs),
    #[command(hide = true, about = "What `import` runs in a process of its own")]
    ReadPth(import::ImportArgs),
}

/// Arguments of `train fit`.
#[derive(Args)]
struct FitArgs {
    /// Configuration of the run (TOML); without one, the profile's values.
    config: Option<PathBuf>,
    /// Folder of the run.
    #[arg(short, long)]
    out: PathBuf,
    /// Values to start from where the configuration says nothing: default, scratch, paper or `paper_monuseg`.
    #[arg(long, default_value = "default", value_parser = choice::parse::<Profile>)]
    profile: Profile,
    /// Set one value, as in `--set run.iterations=2000`; may be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    sets: Vec<String>,
    /// Go on with the run in this folder.
    #[arg(long)]
    resume: bool,
    /// Start from the best weights of another run, with its configuration where none is given; the gain is printed.
    #[arg(long, value_name = "RUN", conflicts_with = "resume")]
    from: Option<PathBuf>,
    /// Write losses, scores and overlays for TensorBoard, too; the same as `--set run.tensorboard=true`.
    #[arg(long)]
    tensorboard: bool,
    /// Where to train: auto, cpu or cuda; the same as `--set run.device=...`.
    #[arg(long)]
    device: Option<String>,
}

/// Runs the program.
pub fn run(arguments: Arguments) -> ExitCode {
    console::start_logging(arguments.verbose, arguments.quiet);
    let result = match arguments.command {
        Command::Fit(arguments) => return until_signal(|stop| run_fit(&arguments, stop)),
        Command::Folds(arguments) => return until_signal(|stop| run_folds(&arguments, stop)),
        Command::LabelBudget(arguments) => return until_signal(|stop| run_label_budget(&arguments, stop)),
        Command::Init(arguments) => init::run(&arguments),
        Command::Check(arguments) => check(&arguments),
        Command::Scribble(arguments) => make_scribbles::run(&arguments),
        Command::Suggest(arguments) => suggest::run(&arguments),
        Command::Report(arguments) => report::run(&arguments),
        Command::ExportScribbles(arguments) => export_scribbles::run(&arguments),
        Command::Evaluate(arguments) => evaluate::command::run(&arguments),
        Command::Compare(arguments) => compare::run(&arguments),
        Command::Import(arguments) => import::run(&arguments),
        Command::Weights(arguments) => pretrained::run(&arguments),
        Command::ReadPth(arguments) => import::read_pth(&arguments),
    };
    console::exit(result.map(|text| print!("{text}")))
}

/// Prints the audit; an unsound one is an error.
fn check(arguments: &CheckArgs) -> Result<String> {
    let audit = crate::check::run(arguments)?;
    print!("{}", audit.to_text());
    if audit.is_sound() { Ok(String::new()) } else { support::bail!("{} problems: training would not start", audit.problems.len()) }
}

/// Runs `work`, which returns `false` when it was stopped; a signal stops it, and is then the exit code.
fn until_signal(work: impl FnOnce(&AtomicBool) -> Result<bool>) -> ExitCode {
    let signal = Arc::new(AtomicUsize::new(0));
    let stop = Arc::new(AtomicBool::new(false));
    match listen(&signal, &stop).and_then(|()| work(&stop)) {
        Ok(false) => ExitCode::from(128 + signal.load(Ordering::Relaxed) as u8),
        result => console::exit(result.map(|_| ())),
    }
}

fn run_folds(arguments: &folds::FoldsArgs, stop: &AtomicBool) -> Result<bool> {
    let Some(table) = folds::run(arguments, &Console::new(), stop)? else {
        tracing::warn!("stopped; the same command goes on from here");
        return Ok(false);
    };
    print!("{}", table.to_markdown());
    Ok(true)
}

fn run_label_budget(arguments: &label_budget::LabelBudgetArgs, stop: &AtomicBool) -> Result<bool> {
    let Some(text) = label_budget::run(arguments, &Console::new(), stop)? else {
        tracing::warn!("stopped; the same command goes on from here");
        return Ok(false);
    };
    print!("{text}");
    Ok(true)
}

/// A first signal asks the run to save itself and end; a second one ends the program at once.
fn listen(signal: &Arc<AtomicUsize>, stop: &Arc<AtomicBool>) -> Result<()> {
    for number in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register_conditional_shutdown(number, 128 + number, stop.clone())?;
        signal_hook::flag::register(number, stop.clone())?;
        signal_hook::flag::register_usize(number, signal.clone(), number as usize)?;
    }
    Ok(())
}

fn run_fit(arguments: &FitArgs, stop: &AtomicBool) -> Result<bool> {
    let mut sets = arguments.sets.clone();
    sets.extend(arguments.device.iter().map(|device| format!("run.device={device}")));
    sets.extend(arguments.tensorboard.then(|| "run.tensorboard=true".to_owned()));
    let before = arguments.from.as_ref().or(arguments.resume.then_some(&arguments.out)).map(|run| run.join("config.toml"));
    let mut config = match arguments.config.as_ref().or(before.as_ref()) {
        Some(path) => RunConfig::load(path, arguments.profile, &sets)?,
        None => RunConfig::from_toml("", arguments.profile, &sets)?,
    };
    if let Some(run) = &arguments.from {
        config.run.init = Some(run.join("best.safetensors"));
    }
    let outcome = fit::fit(&config, &arguments.out, arguments.resume, &Console::new(), stop)
        .doing(|| format!("training in {}", arguments.out.display()))?;
    if outcome.stopped {
        tracing::warn!("stopped after {} iterations; go on with --resume", outcome.iterations);
        return Ok(false);
    }
    let best = outcome.best.map_or_else(String::new, |(score, at)| format!(", best score {score:.4} after {at}"));
    let gain = outcome
        .start
        .zip(outcome.best)
        .map_or_else(String::new, |(start, (best, _))| format!(" ({start:.4} at the start, gain {:+.4})", best - start));
    tracing::info!("{} iterations in {:.0} s{best}{gain}; wrote {}", outcome.iterations, outcome.seconds, arguments.out.display());
    Ok(true)
}
