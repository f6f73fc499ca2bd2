//! `train evaluate`: every score of a trained network on labelled images.

use std::path::{Path, PathBuf};

use models::decode::Decoding;
use models::{Context, Result};

use super::views::averaged_probabilities;
use super::{picture, quantised};
use crate::checkpoint;
use crate::config::{DeviceChoice, RunConfig, Views, choice};
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
    /// Where to run: auto, cpu or cuda.
    #[arg(long, default_value = "auto", value_parser = choice::parse::<DeviceChoice>)]
    device: DeviceChoice,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Runs the command; what it returns goes to stdout.
pub fn run(arguments: &EvaluateArgs) -> Result<String> {
    let (network, mut config) = open(&arguments.run, arguments.device)?;
    config.evaluation.views = arguments.views.unwrap_or(config.evaluation.views);
    let dataset = Dataset::load_labelled(&arguments.data, arguments.split, arguments.modality.as_deref(), &config.data)?;
    let samples: Vec<&Sample> = dataset.samples.iter().collect();
    let table = in_pool(config.run.threads, || score(&network, &samples, &config, arguments.overlays.as_deref()))?;
    if arguments.json { Ok(serde_json::to_string_pretty(&table)? + "\n") } else { Ok(table.to_text()) }
}

/// The network of a run's folder or of a checkpoint file.
pub fn open(run: &Path, device: DeviceChoice) -> Result<(Network, RunConfig)> {
    let path = if run.is_dir() { run.join("best.safetensors") } else { run.to_owned() };
    checkpoint::network(&path, &device::kernels(device)?).hint(|| "give the folder of a run, or a checkpoint that `train fit` wrote")
}

/// Scores samples that have labels, decoded as slides are; `config` gives the views, the papers' clip and the seed of intervals.
pub fn score(network: &Network, samples: &[&Sample], config: &RunConfig, overlays: Option<&Path>) -> Result<ScoreTable> {
    let decoding = Decoding::default();
    let level = decoding.first_foreground_level();
    let clip = Some(config.evaluation.paper_clip).filter(|&clip| clip > 0);
    let mut images = Vec::new();
    for sample in samples {
        let Some(labels) = &sample.labels else { continue };
        let prediction = averaged_probabilities(network, &sample.image, config.evaluation.views)?;
        let mask = quantised(&prediction).map(|&p| p >= level);
        images.push((sample.id.clone(), Scores::of_mask(labels, &mask, &decoding, clip)));
        if let Some(folder) = overlays {
            picture::write(&folder.join(format!("{}.png", sample.id)), sample, None, &prediction)?;
        }
    }
    Ok(ScoreTable::new(images, config.run.seed))
}
