//! A run from its configuration to its last checkpoint.

mod batches;
mod files;
mod plan;
mod state;
mod validation;

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use models::console::Progress as Report;
use models::{Result, bail};

use crate::config::RunConfig;
use crate::data::Dataset;
use crate::rng::Draw;
use crate::step::{Losses, Stage};
use batches::Batches;
use files::Files;
use plan::Plan;
use state::State;

/// What came of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// Steps done.
    pub iterations: u64,
    /// Seconds spent, over all sittings.
    pub seconds: f64,
    /// Best validation score and the iteration it was reached in; none without validation images.
    pub best: Option<(f64, u64)>,
    /// Whether the run was stopped from outside before its end; `last.safetensors` goes on from there.
    pub stopped: bool,
}

/// Trains what `config` describes and leaves `config.toml`, `last.safetensors`, `best.safetensors`, `log.csv` and `overlays/` in `out`.
///
/// With `resume`, goes on from `last.safetensors` there to the same bits (on the CPU) as if it had never stopped. When `stop`
/// becomes true, the run saves itself and ends after the step it is in.
pub fn fit(config: &RunConfig, out: &Path, resume: bool, report: &dyn Report, stop: &AtomicBool) -> Result<Outcome> {
    config.check()?;
    let dataset = Dataset::load(config)?;
    let files = Files::open(out, config, resume)?;
    in_pool(config.run.threads, || run(config, &dataset, &files, resume, report, stop))
}

/// Runs `work` on `threads` threads; 0 for one per core.
pub fn in_pool<T: Send>(threads: usize, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build()?;
    pool.install(work)
}

fn run(config: &RunConfig, dataset: &Dataset, files: &Files, resume: bool, report: &dyn Report, stop: &AtomicBool) -> Result<Outcome> {
    let mut state = State::new(config, dataset)?;
    if resume {
        state.resume(files)?;
    }
    let plan = Plan::of(config, state.training.len());
    let batches = Batches::new(config, dataset, &state.training);
    if plan.validates(state.progress.iteration) && state.progress.validated != state.progress.iteration {
        state.validate(&batches, files)?;
    }
    let start = Instant::now();
    let before = state.progress.seconds;
    let mut stopped = false;
    report.begin("training", plan.iterations, "it");
    while !plan.is_over(state.progress.iteration, state.progress.seconds) {
        let iteration = state.progress.iteration;
        let stage = if plan.warms_up(iteration, state.progress.seconds) { Stage::WarmUp } else { Stage::Full };
        let factor = plan.learning_rate_factor(iteration, state.progress.seconds);
        let batch = batches.get(iteration, &state.averages, state.progress.updates)?;
        let mut draw = Draw::new(config.run.seed, "contrast", 0, iteration, 0);
        let losses = state.trainer.step(&batch, stage, factor, &mut draw)?;
        if !losses.total.is_finite() {
            bail!("the loss is {} after {} iterations", losses.total, iteration + 1; hint: "lower the learning rates: --set optimizer.lr_decoder=1e-3 --set optimizer.lr_encoder=1e-4");
        }
        state.progress.iteration += 1;
        state.steps_here += 1;
        state.progress.seconds = before + start.elapsed().as_secs_f64();
        state.log.push(&state.progress, stage, factor, &losses);
        report.at(state.progress.iteration, &note(&losses, &state, config, start.elapsed().as_secs_f64()));
        if plan.updates_averages(state.progress.iteration) {
            state.update_averages(&batches)?;
        }
        stopped = stop.load(Ordering::Relaxed);
        let over = plan.is_over(state.progress.iteration, state.progress.seconds);
        if !stopped && (over || plan.validates(state.progress.iteration)) {
            state.validate(&batches, files)?;
        }
        if stopped || over || plan.validates(state.progress.iteration) {
            state.save(files)?;
        }
        if stopped {
            break;
        }
    }
    report.end();
    if !stopped {
        state.finish(files)?;
    }
    let progress = &state.progress;
    Ok(Outcome { iterations: progress.iteration, seconds: progress.seconds, best: progress.best, stopped })
}

/// `loss .71 = scribble .5 + pseudo .2 + r1 .01, 5.1 images/s, best .83`.
fn note(losses: &Losses, state: &State, config: &RunConfig, seconds: f64) -> String {
    let mut parts = vec![format!("loss {:.3}", losses.total), format!("scribble {:.3}", losses.scribble)];
    if losses.pseudo != 0.0 {
        parts.push(format!("pseudo {:.3}", losses.pseudo));
    }
    parts.extend(losses.contrast.iter().map(|(head, value)| format!("{head} {value:.3}")));
    let images = state.steps_here as f64 * config.run.batch as f64;
    parts.push(format!("{:.1} images/s", images / seconds.max(1e-9)));
    if let Some((score, _)) = state.progress.best {
        parts.push(format!("best {score:.3}"));
    }
    parts.join(", ")
}
