//! `data.json`: what a run is trained on, for its report.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::validation::describe;
use crate::config::RunConfig;
use crate::data::{Dataset, Split};

/// The data of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataSummary {
    /// The folder.
    pub folder: String,
    /// What the best checkpoint is chosen by.
    pub validated_on: String,
    /// Training, validation and test images, as far as there are any.
    pub splits: Vec<SplitSummary>,
    /// `width x height` and how many images have it.
    pub sizes: BTreeMap<String, usize>,
}

/// The images of a split.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SplitSummary {
    /// Its name.
    pub split: String,
    /// Images.
    pub images: usize,
    /// Images with instance labels.
    pub with_labels: usize,
    /// Pixels of all images.
    pub pixels: u64,
    /// Background pixels with a stroke.
    pub background: u64,
    /// Nucleus pixels with a stroke.
    pub foreground: u64,
}

impl DataSummary {
    /// Counts what is in memory.
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
            validated_on: describe(config.data.validation).1.into(),
            splits: Split::ALL.iter().map(split).filter(|split| split.images > 0).collect(),
            sizes,
        }
    }
}
