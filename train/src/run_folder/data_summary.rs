//! Summary of the data of a run for its report (`data.json`).

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};
use support::{Context, Result, durable};

use crate::config::{RunConfig, Validation};
use crate::data::{Dataset, Split};

/// Largest `data.json` that is read, in bytes.
const MAX_BYTES: u64 = 1 << 24;

/// Data of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataSummary {
    /// Data folder.
    pub folder: String,
    /// Labels on which the validation score is measured, `nothing` if there is no validation.
    pub validated_on: String,
    /// Training, validation and test images; splits without images are left out.
    pub splits: Vec<SplitSummary>,
    /// Number of images by size, `width x height`.
    pub sizes: BTreeMap<String, usize>,
}

/// Images of one split.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SplitSummary {
    /// Name of the split: train, val or test.
    pub split: String,
    /// Number of images.
    pub images: usize,
    /// Number of images with instance labels.
    pub with_labels: usize,
    /// Number of pixels of all images.
    pub pixels: u64,
    /// Number of pixels under background strokes.
    pub background: u64,
    /// Number of pixels under nucleus strokes.
    pub foreground: u64,
}

impl DataSummary {
    /// Summarises a data set in memory.
    pub fn of(config: &RunConfig, dataset: &Dataset) -> Self {
        let split = |split: &Split| {
            let counts = dataset.counts(*split);
            SplitSummary {
                split: split.name().into(),
                images: dataset.of(*split).count(),
                with_labels: dataset.of(*split).filter(|(_, sample)| sample.labels.is_some()).count(),
                pixels: counts.labelled() + counts.unlabelled,
                background: counts.background,
                foreground: counts.foreground,
            }
        };
        let mut sizes = BTreeMap::new();
        dataset.samples.iter().for_each(|sample| *sizes.entry(sample.image.size()).or_insert(0) += 1);
        Self {
            folder: config.data.folder.display().to_string(),
            validated_on: validation_metric(config.data.validation).1.into(),
            splits: Split::ALL.iter().map(split).filter(|split| split.images > 0).collect(),
            sizes,
        }
    }

    /// Reads `data.json`.
    pub fn read(path: &Path) -> Result<Self> {
        serde_json::from_slice(&durable::read(path, MAX_BYTES)?).doing(|| format!("reading {}", path.display()))
    }
}

/// Returns the name of the validation score and the labels on which the score is measured.
pub fn validation_metric(validation: Validation) -> (&'static str, &'static str) {
    match validation {
        Validation::Masks => ("iou", "full masks"),
        Validation::Scribbles => ("minus_scribble_cross_entropy", "held-out scribbles"),
        Validation::None => ("none", "nothing"),
    }
}
