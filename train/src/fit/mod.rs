//! A training run from its configuration to its last checkpoint (`train fit`).

mod averages;
mod batches;
mod calibration;
mod min_area;
mod plan;
mod prefetch;
mod ranks;
mod state;
mod validation;

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use support::console::Progress as ProgressReport;
use support::durable::{self, FolderLock};
use support::{Result, bail};

use crate::checkpoint::Progress;
use crate::config::RunConfig;
use crate::data::Dataset;
use crate::network::device;
use crate::network::device::Rank;
use crate::report;
use crate::run_folder::{DataSummary, RunFolder};
use crate::step::{Losses, Stage};
use crate::thread_pool::in_pool;
use batches::Batches;
use plan::Plan;
use prefetch::Prefetch;
use ranks::{OtherRanks, RunContext, StepTask, contrast_rng};
use state::State;

/// Result of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// Number of optimiser steps done.
    pub iterations: u64,
    /// Training time in seconds over all sessions.
    pub seconds: f64,
    /// Validation score of the initial weights, if they were those of a whole network.
    pub start: Option<f64>,
    /// Best validation score and its iteration; `None` without validation images.
    pub best: Option<(f64, u64)>,
    /// True if the run was stopped before its end; the run resumes from `last.safetensors`.
    pub stopped: bool,
    /// Fraction of the steps' time spent waiting for batches.
    pub wait_fraction: f64,
}

/// Trains by `config` and writes `config.toml`, `last.safetensors`, `best.safetensors`, `log.csv`, `overlays/` and `report.html` to the
/// folder `out`.
///
/// With `resume`, the run continues from `last.safetensors` in `out`; on the CPU its results equal those of an uninterrupted run bit for
/// bit. When `stop` becomes true, the run saves its state and ends after the current step or the current image of a validation.
pub fn fit(config: &RunConfig, out: &Path, resume: bool, report: &dyn ProgressReport, stop: &AtomicBool) -> Result<Outcome> {
    fit_on(config, out, resume, report, stop, || device::ranks(&config.run))
}

/// Trains as [`fit`] on the ranks that `ranks` returns, which is called after the data is loaded. The number of ranks divides `run.batch`.
pub fn fit_on(
    config: &RunConfig,
    out: &Path,
    resume: bool,
    report: &dyn ProgressReport,
    stop: &AtomicBool,
    ranks: impl FnOnce() -> Result<Vec<Rank>> + Send,
) -> Result<Outcome> {
    config.check()?;
    let dataset = Dataset::load(config)?;
    let _lock = FolderLock::exclusive(out)?;
    durable::remove_unfinished(out)?;
    let files = RunFolder::prepare(out, config, resume)?;
    durable::write(&files.data, &serde_json::to_vec_pretty(&DataSummary::of(config, &dataset))?)?;
    in_pool(config.run.threads, || run(config, &dataset, &files, resume, report, stop, ranks()?))
}

fn run(
    config: &RunConfig,
    dataset: &Dataset,
    files: &RunFolder,
    resume: bool,
    report: &dyn ProgressReport,
    stop: &AtomicBool,
    mut ranks: Vec<Rank>,
) -> Result<Outcome> {
    let Rank { kernels, communicator: group } = ranks.remove(0);
    let mut state = State::new(config, dataset, resume, &kernels)?;
    state.log_data();
    if resume {
        state.resume(files)?;
    }
    state.open_events(files)?;
    let plan = Plan::of(config, state.training.len());
    let batches = Batches::new(config, dataset, &state.training);
    let batches_by_rank: Vec<Batches> = (0..group.size()).map(|rank| batches.for_rank(rank, group.size())).collect();
    let (stopped, wait_fraction) = std::thread::scope(|scope| {
        let run = RunContext { config, plan: &plan, dataset, stop };
        let others = OtherRanks::start(scope, run, (&state.trainer, group.clone()), ranks, &batches_by_rank[1..])?;
        state.trainer.join(group.clone());
        let mut prefetch = Prefetch::new(scope, &batches_by_rank[0], kernels, config.run.prefetch, config.run.threads)?;
        let stopped = all_steps(run, &batches, (&mut prefetch, &others), &mut state, files, report);
        others.end(stopped).map(|stopped| (stopped, prefetch.wait_fraction()))
    })?;
    report.end();
    tracing::info!("steps waited for data for {:.2} % of their time", 100.0 * wait_fraction);
    if !stopped {
        state.write_overlays(files)?;
        report::write(&files.path)?;
    }
    let Progress { iteration: iterations, seconds, start, best, .. } = state.progress;
    Ok(Outcome { iterations, seconds, start, best, stopped, wait_fraction })
}

/// Makes all steps, and the updates, validations and saves between them; returns true if the run was stopped before its end.
fn all_steps(
    run: RunContext,
    batches: &Batches,
    (prefetch, others): (&mut Prefetch, &OtherRanks),
    state: &mut State,
    files: &RunFolder,
    report: &dyn ProgressReport,
) -> Result<bool> {
    let RunContext { config, plan, stop, .. } = run;
    let mut clock = Clock { session_start: Instant::now(), earlier_seconds: state.progress.seconds, saved: Instant::now() };
    let mut stopped = !state.score_start(stop)?;
    if stopped {
        state.save(files)?;
    }
    report.begin("training", plan.iterations, "it");
    // The work due after a step precedes the next step, so that a run which was stopped during this work repeats it on resume.
    while !stopped {
        let iteration = state.progress.iteration;
        let over = plan.is_over(iteration, state.progress.seconds);
        stopped =
            plan.updates_averages(iteration) && state.progress.averaged != iteration && !state.update_averages(batches, run, others)?;
        let validation_due = (over || plan.validates(iteration)) && state.progress.validated != iteration;
        stopped = stopped || (validation_due && !state.validate(batches, files, stop)?) || (!over && stop.load(Ordering::Relaxed));
        if stopped || over || validation_due || clock.saved.elapsed().as_secs_f64() > 60.0 * config.run.save_minutes {
            state.save(files)?;
            clock.saved = Instant::now();
        }
        if stopped || over {
            break;
        }
        let start = Instant::now();
        step(config, plan, (prefetch, others), state, &clock, report)?;
        prefetch.add_step_time(start.elapsed());
    }
    Ok(stopped)
}

/// Times of a session.
struct Clock {
    session_start: Instant,
    /// Training time of the earlier sessions in seconds.
    earlier_seconds: f64,
    /// Time of the last save.
    saved: Instant,
}

/// Makes one optimiser step and logs its losses.
fn step(
    config: &RunConfig,
    plan: &Plan,
    (prefetch, others): (&mut Prefetch, &OtherRanks),
    state: &mut State,
    clock: &Clock,
    report: &dyn ProgressReport,
) -> Result<()> {
    let (iteration, seconds) = (state.progress.iteration, state.progress.seconds);
    let stage = if plan.is_warm_up(iteration, seconds) { Stage::WarmUp } else { Stage::Full };
    let factor = plan.learning_rate_factor(iteration, seconds);
    others.start_step(&StepTask { iteration, stage, factor, averages: state.averages.clone(), updates: state.progress.updates });
    let batch = prefetch.get(iteration, plan, &state.averages, state.progress.updates)?;
    let losses = state.trainer.step(&batch, stage, factor, &mut contrast_rng(config, iteration, 0))?;
    if !losses.total.is_finite() {
        bail!("the loss is {} after {} iterations", losses.total, iteration + 1; hint: "lower the learning rates: --set optimizer.lr_decoder=1e-3 --set optimizer.lr_encoder=1e-4");
    }
    state.progress.iteration += 1;
    state.session_steps += 1;
    state.progress.seconds = clock.earlier_seconds + clock.session_start.elapsed().as_secs_f64();
    state.log.push(state.progress.iteration, state.progress.seconds, stage, factor, &losses);
    report.at(state.progress.iteration, &progress_note(&losses, state, config, clock.session_start.elapsed().as_secs_f64()));
    Ok(())
}

/// Formats the losses and the speed of a session: `loss 0.710, scribble 0.500, pseudo 0.200, r1 0.010, 5.1 images/s, best 0.830`.
fn progress_note(losses: &Losses, state: &State, config: &RunConfig, session_seconds: f64) -> String {
    let mut parts = vec![format!("loss {:.3}", losses.total), format!("scribble {:.3}", losses.scribble)];
    if losses.pseudo != 0.0 {
        parts.push(format!("pseudo {:.3}", losses.pseudo));
    }
    parts.extend(losses.contrast.iter().map(|(head, value)| format!("{head} {value:.3}")));
    let images = state.session_steps as f64 * config.run.batch as f64;
    parts.push(format!("{:.1} images/s", images / session_seconds.max(1e-9)));
    if let Some((score, _)) = state.progress.best {
        parts.push(format!("best {score:.3}"));
    }
    parts.join(", ")
}
