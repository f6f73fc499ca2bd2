//! A training run followed by the scores of its best network on the test images, done at most once per folder.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use serde::Serialize;
use serde::de::DeserializeOwned;
use support::console::Progress;
use support::{Context, Result, bail, durable};

use crate::checkpoint::open_network;
use crate::config::{Profile, RunConfig};
use crate::data::{Dataset, Sample, Split};
use crate::evaluate::{Evaluation, score};
use crate::fit::{Outcome, fit};
use crate::run_folder::RunFolder;
use crate::thread_pool::in_pool;

/// Largest `scores.json` that is read, in bytes.
pub(crate) const MAX_SCORES_BYTES: u64 = 1 << 30;

/// Trains in `out`, or resumes the run there, scores the best network on the test images, and writes the result of `summary` to
/// `scores.json`. A finished run is not repeated: its `scores.json` is read. `None` if the run was stopped.
///
/// # Errors
/// A finished run in `out` with another configuration.
pub(crate) fn scored_run<T: Serialize + DeserializeOwned>(
    out: &Path,
    config: &RunConfig,
    summary: impl FnOnce(Outcome, Evaluation) -> T,
    report: &dyn Progress,
    stop: &AtomicBool,
) -> Result<Option<T>> {
    let path = out.join("scores.json");
    let files = RunFolder::at(out);
    if path.exists() {
        let differences = RunConfig::load(&files.config, Profile::Scratch, &[] as &[&str])?.differences(config);
        if !differences.is_empty() {
            bail!("the folder holds a finished run with another configuration: {}", differences.join("; "); hint: "give the same configuration, or another folder with --out");
        }
        let bytes = durable::read(&path, MAX_SCORES_BYTES)?;
        let scores = serde_json::from_slice(&bytes).doing(|| format!("reading {}", path.display()));
        return scores.hint(|| "delete the file, and the run is scored again").map(Some);
    }
    let outcome = fit(config, out, files.last.exists(), report, stop)?;
    if outcome.stopped {
        return Ok(None);
    }
    let (network, config) = open_network(out, config.run.device)?;
    let dataset = Dataset::load_labelled(&config.data.folder, Some(Split::Test), config.data.modality.as_deref(), &config.data)?;
    let samples: Vec<&Sample> = dataset.samples.iter().collect();
    let test = in_pool(config.run.threads, || score(&network, &samples, &config, None))?;
    let scores = summary(outcome, test);
    durable::write(&path, &serde_json::to_vec_pretty(&scores)?)?;
    Ok(Some(scores))
}
