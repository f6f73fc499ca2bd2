//! Cross-validation: methods compared over folds, one run each, tabulated beside the published scores (`train folds`).
//!
//! `OUT/METHOD/fold-K/` (`fold-K-seed-S` with several seeds) is the folder of a run, finished once it holds `scores.json`. An interrupted
//! call resumes when repeated.

mod curves;
mod differences;
mod papers;
mod series;
mod table;

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use serde::{Deserialize, Serialize};
use support::console::Progress;
use support::{Context, Result, bail};

use crate::config::{Method, RunConfig};
use crate::data::{Folder, Split};
use crate::evaluate::Evaluation;
use crate::fit::Outcome;
use crate::scored_run::scored_run;

pub use differences::PairedDifference;
pub use series::Series;
pub use table::{Table, TableLine, TableScore};

/// Options of [`run`].
#[derive(Clone, Debug)]
pub struct FoldsOptions {
    /// Configuration of all runs; `method.name`, `data.fold` and `run.seed` are set for each run.
    pub config: RunConfig,
    /// Folder for runs and tables.
    pub out: PathBuf,
    /// Methods to compare.
    pub methods: Vec<Method>,
    /// Folds, counted from 0; empty for all.
    pub folds: Vec<usize>,
    /// Seeds with which every fold is run; empty for `run.seed`.
    pub seeds: Vec<u64>,
    /// Folders of earlier calls, whose finished runs are included in the table and in the differences.
    pub beside: Vec<PathBuf>,
    /// Training time in minutes that is divided equally among all runs; `None` leaves `run.minutes`.
    pub budget_minutes: Option<f64>,
}

/// Scores of a finished run on the test images.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FoldScores {
    /// Method.
    pub method: Method,
    /// Fold, the part of the images that validated.
    pub fold: usize,
    /// `run.seed`.
    #[serde(default)]
    pub seed: u64,
    /// Number of optimiser steps done.
    pub iterations: u64,
    /// Training time in seconds.
    pub seconds: f64,
    /// Scores of the test images.
    pub test: Evaluation,
}

/// Makes all unfinished runs, and writes `table.md`, `table.csv`, `table.json`, `loss.svg` and `validation.svg` after each; `None` if
/// stopped.
pub fn run(options: &FoldsOptions, report: &dyn Progress, stop: &AtomicBool) -> Result<Option<Table>> {
    let config = &options.config;
    let jobs = jobs(options)?;
    let beside = options.beside.iter().map(|folder| Series::read(folder)).collect::<Result<Vec<_>>>()?;
    let table = |finished: &[FoldScores]| Table::new(finished, &beside, config.data.modality.as_deref(), config.run.seed);
    let mut finished: Vec<FoldScores> = Vec::new();
    for (n, (out, config)) in jobs.iter().enumerate() {
        tracing::info!("run {} of {}: {}", n + 1, jobs.len(), out.display());
        match one(out, config, report, stop).doing(|| format!("training in {}", out.display()))? {
            Some(scores) => finished.push(scores),
            None => return Ok(None),
        }
        table(&finished).write(&options.out)?;
        curves::write(&finished, &jobs, &options.out)?;
    }
    Ok(Some(table(&finished)))
}

/// Lists folder and configuration of all runs. All methods of a seed and fold precede the next fold, so that an unfinished table
/// compares the methods on the same folds.
fn jobs(options: &FoldsOptions) -> Result<Vec<(PathBuf, RunConfig)>> {
    let base = &options.config;
    let usable = usable_folds(base)?;
    let folds = if options.folds.is_empty() { (0..usable).collect() } else { options.folds.clone() };
    if let Some(fold) = folds.iter().find(|fold| **fold >= usable) {
        bail!("--folds: there is no fold {fold}: data.folds = {} gives the folds 0 to {}", base.data.folds, usable - 1; hint: "choose among these, or set data.folds");
    }
    let seeds: Vec<Option<u64>> = if options.seeds.is_empty() { vec![None] } else { options.seeds.iter().copied().map(Some).collect() };
    let mut jobs = Vec::new();
    for seed in seeds {
        for &fold in &folds {
            for &method in &options.methods {
                let name = seed.map_or_else(|| format!("fold-{fold}"), |seed| format!("fold-{fold}-seed-{seed}"));
                let mut config = base.clone();
                (config.method.name, config.data.fold, config.run.seed) = (method, Some(fold), seed.unwrap_or(base.run.seed));
                jobs.push((options.out.join(method.name()).join(name), config));
            }
        }
    }
    let minutes_per_run = options.budget_minutes.map(|minutes| minutes / jobs.len() as f64);
    for (_, config) in &mut jobs {
        config.run.minutes = minutes_per_run.or(config.run.minutes);
        config.check()?;
    }
    Ok(jobs)
}

/// Returns the number of folds that can validate: one less than `data.folds` unless the index names test images, because then one part
/// is the test set.
fn usable_folds(config: &RunConfig) -> Result<usize> {
    let folder = Folder::open(&config.data.folder)?;
    let of_modality = |id: &str| config.data.modality.is_none() || folder.modality(id) == config.data.modality.as_deref();
    let tests_are_named = folder.index.iter().flatten().any(|(id, row)| row.split == Some(Split::Test) && of_modality(id));
    Ok(if tests_are_named { config.data.folds } else { config.data.folds - 1 })
}

/// Makes and scores one run; `None` if stopped.
fn one(out: &Path, config: &RunConfig, report: &dyn Progress, stop: &AtomicBool) -> Result<Option<FoldScores>> {
    let fold = config.data.fold.expect("every run of this command has a fold");
    let scores = |outcome: Outcome, test| FoldScores {
        method: config.method.name,
        fold,
        seed: config.run.seed,
        iterations: outcome.iterations,
        seconds: outcome.seconds,
        test,
    };
    scored_run(out, config, scores, report, stop)
}
