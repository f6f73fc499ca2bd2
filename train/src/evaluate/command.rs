//! `train evaluate`: every score of a trained network on labelled images.

use std::path::{Path, PathBuf};

use models::decode::Decoding;
use serde::{Deserialize, Serialize};
use support::{Context, Result};

use super::views::averaged_probabilities;
use super::{picture, quantised};
use crate::checkpoint;
use crate::config::{DeviceChoice, EvaluationConfig, RunConfig, Views, choice};
use crate::data::{Dataset, Sample, Split};
use crate::fit::in_pool;
use crate::metrics::Scores;
use crate::metrics::summary::ScoreTable;
use crate::network::{Network, device};

/// Arguments of `train evaluate`.
#[derive(Clone, Debug, clap::Args)]
pub struct EvaluateArgs {
    /// Folder of a run (its best.safetensors is taken) or a checkpoint.
    run: PathBuf,
    /// Folder with images/ and labels/.
    data: PathBuf,
    /// Only images of this split: train, val or test.
    #[arg(long, value_parser = choice::parse::<Split>)]
    split: Option<Split>,
    /// Only images of this modality.
    #[arg(long)]
    modality: Option<String>,
    /// Write an overlay of every image to this folder.
    #[arg(long)]
    overlays: Option<PathBuf>,
    /// Average predictions over views of each image: one, flips, all; by default as in the run's configuration.
    #[arg(long, value_parser = choice::parse::<Views>)]
    views: Option<Views>,
    /// Whether touching nuclei are cut apart; by default as in the run's configuration.
    #[arg(long, value_name = "true|false")]
    split_touching: Option<bool>,
    /// A pixel belongs to a nucleus above this probability; by default as in the run's configuration, or as it was fitted.
    #[arg(long, value_name = "P", value_parser = probability)]
    threshold: Option<f64>,
    /// Components with fewer pixels are no nuclei; by default as in the run's configuration.
    #[arg(long, value_name = "PIXELS")]
    min_area_px: Option<usize>,
    /// Where to run: auto, cpu or cuda.
    #[arg(long, default_value = "auto", value_parser = choice::parse::<DeviceChoice>)]
    device: DeviceChoice,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

fn probability(text: &str) -> std::result::Result<f64, String> {
    let value = text.parse().ok().filter(|p| (0.0..1.0).contains(p));
    value.ok_or_else(|| format!("expected a probability from 0 to below 1, found {text:?}"))
}

/// Runs the command; what it returns goes to stdout.
pub fn run(arguments: &EvaluateArgs) -> Result<String> {
    let (network, mut config) = open(&arguments.run, arguments.device)?;
    config.evaluation.views = arguments.views.unwrap_or(config.evaluation.views);
    config.evaluation.split_touching = arguments.split_touching.unwrap_or(config.evaluation.split_touching);
    config.evaluation.threshold = arguments.threshold.unwrap_or(config.evaluation.threshold);
    config.evaluation.min_area_px = arguments.min_area_px.unwrap_or(config.evaluation.min_area_px);
    let dataset = Dataset::load_labelled(&arguments.data, arguments.split, arguments.modality.as_deref(), &config.data)?;
    let samples: Vec<&Sample> = dataset.samples.iter().collect();
    let scored = in_pool(config.run.threads, || score(&network, &samples, &config, arguments.overlays.as_deref()))?;
    if arguments.json { Ok(serde_json::to_string_pretty(&scored)? + "\n") } else { Ok(scored.to_text()) }
}

/// Scores of images, and how nuclei were decoded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// Views over which predictions were averaged.
    pub views: Views,
    /// Whether touching nuclei were cut apart.
    pub split_touching: bool,
    /// The scores.
    #[serde(flatten)]
    pub table: ScoreTable,
    /// The scores of the same predictions without cutting; `None` if nothing was cut.
    pub without_splitting: Option<ScoreTable>,
}

impl Evaluation {
    /// The tables as text for people.
    pub fn to_text(&self) -> String {
        let how = if self.split_touching { "touching nuclei cut apart" } else { "touching nuclei not cut apart" };
        let without = self.without_splitting.as_ref().map_or_else(String::new, |table| format!("\nwithout cutting\n{}", table.to_text()));
        format!("{how}, views: {}\n{}{without}", self.views, self.table.to_text())
    }
}

/// The network of a run's folder or of a checkpoint file.
pub fn open(run: &Path, device: DeviceChoice) -> Result<(Network, RunConfig)> {
    let path = if run.is_dir() { run.join("best.safetensors") } else { run.to_owned() };
    checkpoint::network(&path, &device::kernels(device)?).hint(|| "give the folder of a run, or a checkpoint that `train fit` wrote")
}

/// Scores samples that have labels, decoded as slides are; `config` gives the decoding, the views, the papers' clip and the seed of
/// intervals. Where touching nuclei are cut apart, the same predictions are scored without that too.
pub fn score(network: &Network, samples: &[&Sample], config: &RunConfig, overlays: Option<&Path>) -> Result<Evaluation> {
    let EvaluationConfig { views, split_touching, paper_clip, .. } = config.evaluation;
    let decoding = config.evaluation.decoding();
    let level = decoding.first_foreground_level();
    let clip = Some(paper_clip).filter(|&clip| clip > 0);
    let (mut images, mut whole) = (Vec::new(), Vec::new());
    for sample in samples {
        let Some(labels) = &sample.labels else { continue };
        let prediction = averaged_probabilities(network, &sample.image, views)?;
        let mask = quantised(&prediction).map(|&p| p >= level);
        images.push((sample.id.clone(), Scores::of_mask(labels, &mask, &decoding, clip)));
        if split_touching {
            whole.push((sample.id.clone(), Scores::of_mask(labels, &mask, &Decoding { split: None, ..decoding.clone() }, clip)));
        }
        if let Some(folder) = overlays {
            picture::write(&folder.join(format!("{}.png", sample.id)), sample, None, &prediction, &decoding)?;
        }
    }
    let without_splitting = split_touching.then(|| ScoreTable::new(whole, config.run.seed));
    Ok(Evaluation { views, split_touching, table: ScoreTable::new(images, config.run.seed), without_splitting })
}
