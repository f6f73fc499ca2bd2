//! `train fit`

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use clap::Args;
use support::console::Console;
use support::{Context, Result};
use train::config::RunConfig;
use train::fit::{Outcome, fit};

use super::arguments::ConfigArgs;
use crate::interrupt::Completion;

#[derive(Args)]
pub struct FitArgs {
    /// Configuration of the run (TOML) [default: all values from the profile]
    config: Option<PathBuf>,
    /// Write the run to this folder
    #[arg(short, long, value_name = "DIR")]
    out: PathBuf,
    #[command(flatten)]
    values: ConfigArgs,
    /// Continue the run in the folder
    #[arg(long)]
    resume: bool,
    /// Start from the best weights of another run, with its configuration unless one is given; report the gain in score
    #[arg(long, value_name = "RUN", conflicts_with = "resume")]
    from: Option<PathBuf>,
    /// Write losses, scores and overlays for TensorBoard too, as --set run.tensorboard=true
    #[arg(long)]
    tensorboard: bool,
    /// Train on auto, cpu or cuda, as --set run.device=... [default: run.device]
    #[arg(long)]
    device: Option<String>,
}

impl FitArgs {
    /// Configuration of the run: the given file, else that of the run to continue or to start from, else the profile's.
    fn config(&self) -> Result<RunConfig> {
        let mut sets = self.values.sets.clone();
        sets.extend(self.device.iter().map(|device| format!("run.device={device}")));
        sets.extend(self.tensorboard.then(|| "run.tensorboard=true".to_owned()));
        let earlier = self.from.as_ref().or(self.resume.then_some(&self.out)).map(|run| run.join("config.toml"));
        let mut config = match self.config.as_ref().or(earlier.as_ref()) {
            Some(path) => RunConfig::load(path, self.values.profile, &sets)?,
            None => RunConfig::from_toml("", self.values.profile, &sets)?,
        };
        if let Some(run) = &self.from {
            config.run.init = Some(run.join("best.safetensors"));
        }
        Ok(config)
    }
}

pub fn run(args: &FitArgs, stop: &AtomicBool) -> Result<Completion> {
    let config = args.config()?;
    let outcome = fit(&config, &args.out, args.resume, &Console::new(), stop).doing(|| format!("training in {}", args.out.display()))?;
    if outcome.stopped {
        tracing::warn!("stopped after {} iterations; continue with --resume", outcome.iterations);
        return Ok(Completion::Interrupted);
    }
    tracing::info!("{}; wrote {}", summary(&outcome), args.out.display());
    Ok(Completion::Finished)
}

/// `1000 iterations in 812 s, best score 0.8312 after 900 iterations (0.7500 at the start, gain +0.0812)`
fn summary(outcome: &Outcome) -> String {
    let Outcome { iterations, seconds, start, best, .. } = outcome;
    let done = format!("{iterations} iterations in {seconds:.0} s");
    match (best, start) {
        (Some((best, at)), Some(start)) => {
            format!("{done}, best score {best:.4} after {at} iterations ({start:.4} at the start, gain {:+.4})", best - start)
        }
        (Some((best, at)), None) => format!("{done}, best score {best:.4} after {at} iterations"),
        (None, _) => done,
    }
}
