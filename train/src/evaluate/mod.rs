//! Scores of a trained network on labelled images (`train evaluate`).

pub mod picture;

use std::path::{Path, PathBuf};

use models::decode::Decoding;
use serde::{Deserialize, Serialize};
use support::Result;
use support::durable::OutputFolder;

use crate::checkpoint;
use crate::config::{DeviceChoice, EvaluationConfig, RunConfig, Views};
use crate::data::image_file::png_of_rgb;
use crate::data::{Dataset, Folder, Sample, Split};
use crate::metrics::Scores;
use crate::metrics::summary::ScoreTable;
use crate::network::Network;
use crate::predict::views::averaged_probabilities;
use crate::predict::{Predictor, quantised};
use crate::thread_pool::in_pool;

/// Options of [`evaluate`]; `None` takes the value of the run's configuration, for `split`, `modality` and `overlays` no restriction or
/// no output.
#[derive(Clone, Debug)]
pub struct EvaluateOptions {
    /// Only images of this split.
    pub split: Option<Split>,
    /// Only images of this modality.
    pub modality: Option<String>,
    /// Folder for an overlay of every image.
    pub overlays: Option<PathBuf>,
    /// Views over which predictions are averaged.
    pub views: Option<Views>,
    /// Split touching nuclei.
    pub split_touching: Option<bool>,
    /// Probability above which a pixel belongs to a nucleus.
    pub threshold: Option<f64>,
    /// Area in pixels below which a component is dropped.
    pub min_area_px: Option<usize>,
    /// Device of the network.
    pub device: DeviceChoice,
}

/// Scores of images, with the decoding that they were computed with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// Views over which predictions were averaged.
    pub views: Views,
    /// True if touching nuclei were split.
    pub split_touching: bool,
    /// Scores per image, their means and intervals.
    #[serde(flatten)]
    pub table: ScoreTable,
    /// Scores of the same predictions without splitting; `None` unless `split_touching`.
    pub without_splitting: Option<ScoreTable>,
}

impl Evaluation {
    /// Formats the scores as tables for a terminal.
    pub fn to_text(&self) -> String {
        let decoding = if self.split_touching { "touching nuclei split" } else { "touching nuclei not split" };
        let without = self.without_splitting.as_ref().map_or_else(String::new, |table| format!("\nwithout splitting\n{}", table.to_text()));
        format!("{decoding}, views: {}\n{}{without}", self.views, self.table.to_text())
    }
}

/// Scores the network of `run`, a run's folder or a checkpoint, on the images with labels in the data folder `data`.
pub fn evaluate(run: &Path, data: &Path, options: &EvaluateOptions) -> Result<Evaluation> {
    let (network, mut config) = checkpoint::open_network(run, options.device)?;
    config.evaluation.views = options.views.unwrap_or(config.evaluation.views);
    config.evaluation.split_touching = options.split_touching.unwrap_or(config.evaluation.split_touching);
    config.evaluation.threshold = options.threshold.unwrap_or(config.evaluation.threshold);
    config.evaluation.min_area_px = options.min_area_px.unwrap_or(config.evaluation.min_area_px);
    let dataset = Dataset::load_labelled(data, options.split, options.modality.as_deref(), &config.data)?;
    let samples: Vec<&Sample> = dataset.samples.iter().collect();
    let [images, scribbles, labels] = Folder::parts(data);
    let open = |path: &PathBuf| OutputFolder::open(path, "train evaluate", &[run, &images, &scribbles, &labels]);
    let mut overlays = options.overlays.as_ref().map(open).transpose()?;
    if let Some(folder) = &overlays {
        samples.iter().try_for_each(|sample| folder.check(&picture::name(sample)))?;
    }
    in_pool(config.run.threads, || score(&network, &samples, &config, overlays.as_mut()))
}

/// Scores the samples that have labels. `config` gives the decoding, which is that of slides, the views, the papers' clip of ids and the
/// seed of the bootstrap intervals. With `split_touching` the same predictions are also scored without splitting.
pub fn score(network: &Network, samples: &[&Sample], config: &RunConfig, mut overlays: Option<&mut OutputFolder>) -> Result<Evaluation> {
    let EvaluationConfig { views, split_touching, paper_clip, .. } = config.evaluation;
    let decoding = config.evaluation.decoding();
    let level = decoding.first_foreground_level();
    let clip = Some(paper_clip).filter(|&clip| clip > 0);
    let (mut decoded, mut unsplit) = (Vec::new(), Vec::new());
    let mut predictor = Predictor::new(network)?;
    for sample in samples {
        let Some(labels) = &sample.labels else { continue };
        let prediction = averaged_probabilities(&mut predictor, &sample.image, views)?;
        let mask = quantised(&prediction).map(|&p| p >= level);
        decoded.push((sample.id.clone(), Scores::of_mask(labels, &mask, &decoding, clip)));
        if split_touching {
            unsplit.push((sample.id.clone(), Scores::of_mask(labels, &mask, &Decoding { split: None, ..decoding.clone() }, clip)));
        }
        if let Some(folder) = &mut overlays {
            folder.write(&picture::name(sample), &png_of_rgb(&picture::render(sample, None, &prediction, &decoding))?)?;
        }
    }
    let without_splitting = split_touching.then(|| ScoreTable::new(unsplit, config.run.seed));
    Ok(Evaluation { views, split_touching, table: ScoreTable::new(decoded, config.run.seed), without_splitting })
}
