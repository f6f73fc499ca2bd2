//! A run from its configuration to its last checkpoint.

mod averages;
mod batches;
mod calibration;
mod files;
mod least_area;
mod plan;
mod prefetch;
mod ranks;
mod state;
mod summary;
mod validation;

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use support::console::Progress as Report;
use support::{Result, bail};

use crate::checkpoint::Progress;
use crate::config::RunConfig;
use crate::data::Dataset;
use crate::network::device;
use crate::network::device::Rank;
use crate::step::{Losses, Stage};
use batches::Batches;
pub use files::Files;
use plan::Plan;
use prefetch::Prefetch;
use ranks::{Others, Shared, contrast_draw};
use state::State;
pub use summary::DataSummary;
pub use validation::{Fitted, Level};

/// What came of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// Steps done.
    pub iterations: u64,
    /// Seconds spent, over all sittings.
    pub seconds: f64,
    /// Validation score of the weights that the run started from, if they were a whole network's.
    pub start: Option<f64>,
    /// Best validation score and the iteration it was reached in; none without validation images.
    pub best: Option<(f64, u64)>,
    /// Whether the run was stopped from outside before its end; `last.safetensors` goes on from there.
    pub stopped: bool,
    /// Share of the steps' time in which they waited for their batch.
    pub waited: f64,
}

/// Trains what `config` describes and leaves `config.toml`, `last.safetensors`, `best.safetensors`, `log.csv`, `overlays/`
/// and `report.html` in `out`.
///
/// With `resume`, goes on from `last.safetensors` there to the same bits (on the CPU) as if it had never stopped. When `stop`
/// becomes true, the run saves itself and ends after the step or the image it is at.
pub fn fit(config: &RunConfig, out: &Path, resume: bool, report: &dyn Report, stop: &AtomicBool) -> Result<Outcome> {
    fit_on(config, out, resume, report, stop, || device::ranks(&config.run))
}

/// [`fit`] on these ranks, which are asked for once the data is there: one, or as many as divide `run.batch`.
pub fn fit_on(
    config: &RunConfig,
    out: &Path,
    resume: bool,
    report: &dyn Report,
    stop: &AtomicBool,
    ranks: impl FnOnce() -> Result<Vec<Rank>> + Send,
) -> Result<Outcome> {
    config.check()?;
    let dataset = Dataset::load(config)?;
    let files = Files::open(out, config, resume)?;
    support::artifact::write(&files.data, &serde_json::to_vec_pretty(&DataSummary::of(config, &dataset))?)?;
    in_pool(config.run.threads, || run(config, &dataset, &files, resume, report, stop, ranks()?))
}

/// Runs `work` on `threads` threads; 0 for one per core.
pub fn in_pool<T: Send>(threads: usize, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build()?;
    pool.install(work)
}

fn run(
    config: &RunConfig,
    dataset: &Dataset,
    files: &Files,
    resume: bool,
    report: &dyn Report,
    stop: &AtomicBool,
    mut ranks: Vec<Rank>,
) -> Result<Outcome> {
    let Rank { kernels, communicator: group } = ranks.remove(0);
    let mut state = State::new(config, dataset, resume, &kernels)?;
    if resume {
        state.resume(files)?;
    }
    state.open_board(files)?;
    let plan = Plan::of(config, state.training.len());
    let batches = Batches::new(config, dataset, &state.training);
    let shares: Vec<Batches> = (0..group.size()).map(|rank| batches.share(rank, group.size())).collect();
    let (stopped, waited) = std::thread::scope(|scope| {
        let shared = Shared { config, plan: &plan, dataset, stop };
        let others = Others::start(scope, shared, (&state.trainer, group.clone()), ranks, &shares[1..])?;
        state.trainer.join(group.clone());
        let mut ahead = Prefetch::new(scope, &shares[0], kernels, config.run.prefetch, config.run.threads)?;
        let stopped = all_steps(shared, &batches, (&mut ahead, &others), &mut state, files, report);
        others.end(stopped).map(|stopped| (stopped, ahead.waited_share()))
    })?;
    report.end();
    tracing::info!("steps waited for data for {:.2} % of their time", 100.0 * waited);
    if !stopped {
        state.finish(files)?;
        if let Some(folder) = files.report.parent() {
            crate::report::write(folder)?;
        }
    }
    let Progress { iteration: iterations, seconds, start, best, .. } = state.progress;
    Ok(Outcome { iterations, seconds, start, best, stopped, waited })
}

/// Every step, and what is due between them; whether the run was stopped from outside.
fn all_steps(
    shared: Shared,
    batches: &Batches,
    (ahead, others): (&mut Prefetch, &Others),
    state: &mut State,
    files: &Files,
    report: &dyn Report,
) -> Result<bool> {
    let Shared { config, plan, stop, .. } = shared;
    let mut clock = Clock { began: Instant::now(), before: state.progress.seconds, saved: Instant::now() };
    let mut stopped = !state.score_start(stop)?;
    if stopped {
        state.save(files)?;
    }
    report.begin("training", plan.iterations, "it");
    // Between two steps: first what is due after the last one, which a run that was stopped there makes up for.
    while !stopped {
        let iteration = state.progress.iteration;
        let over = plan.is_over(iteration, state.progress.seconds);
        stopped =
            plan.updates_averages(iteration) && state.progress.averaged != iteration && !state.update_averages(batches, shared, others)?;
        let due = (over || plan.validates(iteration)) && state.progress.validated != iteration;
        stopped = stopped || (due && !state.validate(batches, files, stop)?) || (!over && stop.load(Ordering::Relaxed));
        if stopped || over || due || clock.saved.elapsed().as_secs_f64() > 60.0 * config.run.save_minutes {
            state.save(files)?;
            clock.saved = Instant::now();
        }
        if stopped || over {
            break;
        }
        let start = Instant::now();
        step(config, plan, (ahead, others), state, &clock, report)?;
        ahead.step_took(start.elapsed());
    }
    Ok(stopped)
}

/// When this sitting began, how long the earlier ones took, and when the run was last saved.
struct Clock {
    began: Instant,
    before: f64,
    saved: Instant,
}

/// One step of the optimiser, and its line in the log.
fn step(
    config: &RunConfig,
    plan: &Plan,
    (ahead, others): (&mut Prefetch, &Others),
    state: &mut State,
    clock: &Clock,
    report: &dyn Report,
) -> Result<()> {
    let (iteration, seconds) = (state.progress.iteration, state.progress.seconds);
    let stage = if plan.warms_up(iteration, seconds) { Stage::WarmUp } else { Stage::Full };
    let factor = plan.learning_rate_factor(iteration, seconds);
    others.step(&ranks::Step { iteration, stage, factor, averages: state.averages.clone(), updates: state.progress.updates });
    let batch = ahead.get(iteration, plan, &state.averages, state.progress.updates)?;
    let losses = state.trainer.step(&batch, stage, factor, &mut contrast_draw(config, iteration, 0))?;
    if !losses.total.is_finite() {
        bail!("the loss is {} after {} iterations", losses.total, iteration + 1; hint: "lower the learning rates: --set optimizer.lr_decoder=1e-3 --set optimizer.lr_encoder=1e-4");
    }
    state.progress.iteration += 1;
    state.steps_here += 1;
    state.progress.seconds = clock.before + clock.began.elapsed().as_secs_f64();
    state.log.push(&state.progress, stage, factor, &losses);
    report.at(state.progress.iteration, &note(&losses, state, config, clock.began.elapsed().as_secs_f64()));
    Ok(())
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
