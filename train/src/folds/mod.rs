//! `train folds`: methods side by side over cross-validation folds, one run each, and their table beside the papers' figures.
//!
//! `OUT/METHOD/fold-K/` (`fold-K-seed-S` with `--seeds`) is a run like any other; `scores.json` there says that it is finished. A
//! command that was stopped goes on where it was when it is given again.

mod curves;
mod differences;
mod papers;
mod series;
mod table;

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use serde::{Deserialize, Serialize};
use support::console::Progress;
use support::{Context, Result, artifact, bail};

use crate::config::{Method, Profile, RunConfig, choice};
use crate::data::{Dataset, Folder, Sample, Split};
use crate::evaluate::command::{Evaluation, open, score};
use crate::fit::{self, Outcome, in_pool};

pub use differences::PairedDifference;
pub use series::Series;
pub use table::Table;

/// Arguments of `train folds`.
#[derive(Clone, Debug, clap::Args)]
pub struct FoldsArgs {
    /// Configuration of the runs (TOML); method and fold are set by this command
    pub config: PathBuf,
    /// Folder for runs and tables
    #[arg(short, long)]
    pub out: PathBuf,
    /// Values for what the configuration leaves out: default, scratch, paper, `paper_monuseg`
    #[arg(long, default_value = "default", value_parser = choice::parse::<Profile>)]
    pub profile: Profile,
    /// Methods to compare: pce, s2l, r1, r4, both, full
    #[arg(long, value_delimiter = ',', value_parser = choice::parse::<Method>, default_value = "pce,s2l,r1,r4,both,full")]
    pub methods: Vec<Method>,
    /// Folds to run, counted from 0; all by default
    #[arg(long, value_delimiter = ',')]
    pub folds: Vec<usize>,
    /// Seeds to run every fold with (`run.seed`); the configuration's own by default
    #[arg(long, value_delimiter = ',')]
    pub seeds: Vec<u64>,
    /// Folder of an earlier call, whose runs stand in the table too, and which leads are also measured over; may be repeated
    #[arg(long, value_name = "DIR")]
    pub beside: Vec<PathBuf>,
    /// Training time of all runs together; each gets the same share
    #[arg(long, value_name = "MINUTES")]
    pub budget_minutes: Option<f64>,
    /// Set one value, as in `--set run.iterations=2000`; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub sets: Vec<String>,
}

/// What a finished run scored on the test images.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FoldScores {
    /// The method.
    pub method: Method,
    /// The part that validated.
    pub fold: usize,
    /// Its `run.seed`.
    #[serde(default)]
    pub seed: u64,
    /// Steps done.
    pub iterations: u64,
    /// Seconds of training.
    pub seconds: f64,
    /// Scores of the test images.
    pub test: Evaluation,
}

/// Runs what is not finished yet and writes `table.md`, `table.csv`, `table.json`, `loss.svg` and `validation.svg`; `None` if it was stopped.
pub fn run(arguments: &FoldsArgs, report: &dyn Progress, stop: &AtomicBool) -> Result<Option<Table>> {
    let base = RunConfig::load(&arguments.config, arguments.profile, &arguments.sets)?;
    let jobs = jobs(arguments, &base)?;
    let beside = arguments.beside.iter().map(|folder| Series::read(folder)).collect::<Result<Vec<_>>>()?;
    let table = |finished: &[FoldScores]| Table::new(finished, &beside, base.data.modality.as_deref(), base.run.seed);
    let mut finished: Vec<FoldScores> = Vec::new();
    for (n, (out, config)) in jobs.iter().enumerate() {
        tracing::info!("run {} of {}: {}", n + 1, jobs.len(), out.display());
        match one(out, config, report, stop).doing(|| format!("training in {}", out.display()))? {
            Some(scores) => finished.push(scores),
            None => return Ok(None),
        }
        table(&finished).write(&arguments.out)?;
        curves::write(&finished, &jobs, &arguments.out)?;
    }
    Ok(Some(table(&finished)))
}

/// Folder and configuration of every run: all methods of a seed and fold before the next, so that a part of the table compares like
/// with like.
fn jobs(arguments: &FoldsArgs, base: &RunConfig) -> Result<Vec<(PathBuf, RunConfig)>> {
    let usable = usable_folds(base)?;
    let folds = if arguments.folds.is_empty() { (0..usable).collect() } else { arguments.folds.clone() };
    if let Some(fold) = folds.iter().find(|fold| **fold >= usable) {
        bail!("--folds: there is no fold {fold}: data.folds = {} gives the folds 0 to {}", base.data.folds, usable - 1; hint: "choose among these, or set data.folds");
    }
    let seeds: Vec<Option<u64>> = if arguments.seeds.is_empty() { vec![None] } else { arguments.seeds.iter().copied().map(Some).collect() };
    let mut jobs = Vec::new();
    for seed in seeds {
        for &fold in &folds {
            for &method in &arguments.methods {
                let name = seed.map_or_else(|| format!("fold-{fold}"), |seed| format!("fold-{fold}-seed-{seed}"));
                let mut config = base.clone();
                (config.method.name, config.data.fold, config.run.seed) = (method, Some(fold), seed.unwrap_or(base.run.seed));
                jobs.push((arguments.out.join(method.name()).join(name), config));
            }
        }
    }
    let share = arguments.budget_minutes.map(|minutes| minutes / jobs.len() as f64);
    for (_, config) in &mut jobs {
        config.run.minutes = share.or(config.run.minutes);
        config.check()?;
    }
    Ok(jobs)
}

/// How many folds can validate: one fewer than there are parts where no image is named a test image.
fn usable_folds(config: &RunConfig) -> Result<usize> {
    let folder = Folder::open(&config.data.folder)?;
    let of_modality = |id: &str| config.data.modality.is_none() || folder.modality(id) == config.data.modality.as_deref();
    let tests_are_named = folder.index.iter().flatten().any(|(id, row)| row.split == Some(Split::Test) && of_modality(id));
    Ok(if tests_are_named { config.data.folds } else { config.data.folds - 1 })
}

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

/// Trains in `out` and scores the best network on the test images, once: `scores.json`, what `summary` makes of it, says that the run
/// is finished, and is read instead the next time. `None` if the run was stopped.
pub(crate) fn scored_run<T: Serialize + serde::de::DeserializeOwned>(
    out: &Path,
    config: &RunConfig,
    summary: impl FnOnce(Outcome, Evaluation) -> T,
    report: &dyn Progress,
    stop: &AtomicBool,
) -> Result<Option<T>> {
    let path = out.join("scores.json");
    if path.exists() {
        let differences = RunConfig::load(&out.join("config.toml"), Profile::Scratch, &[] as &[&str])?.differences(config);
        if !differences.is_empty() {
            bail!("a finished run is here with another configuration: {}", differences.join("; "); hint: "give the same configuration, or another folder with --out");
        }
        let bytes = artifact::read(&path, 1 << 30)?;
        let scores = serde_json::from_slice(&bytes).doing(|| format!("reading {}", path.display()));
        return scores.hint(|| "delete the file: the run is scored again").map(Some);
    }
    let resume = out.join("last.safetensors").exists();
    let outcome = fit::fit(config, out, resume, report, stop)?;
    if outcome.stopped {
        return Ok(None);
    }
    let (network, config) = open(out, config.run.device)?;
    let dataset = Dataset::load_labelled(&config.data.folder, Some(Split::Test), config.data.modality.as_deref(), &config.data)?;
    let samples: Vec<&Sample> = dataset.samples.iter().collect();
    let test = in_pool(config.run.threads, || score(&network, &samples, &config, None))?;
    let scores = summary(outcome, test);
    artifact::write(&path, &serde_json::to_vec_pretty(&scores)?)?;
    Ok(Some(scores))
}
