//! One run, described: everything that decides what `train fit` does. TOML, in two profiles, every key checked.

pub mod choice;
mod commented;
mod layers;
mod limits;
mod method;
mod profile;

use std::collections::BTreeMap;
use std::path::PathBuf;

use models::unet::UNetConfig;
use serde::{Deserialize, Serialize};

use choice::choice;
pub use method::{
    BlockRule, ContrastTerm, EmaStart, LabelSource, MaxPerClass, Method, MethodConfig, PairRule, Reduction, Scope, Unbounded,
};
pub use profile::Profile;

/// Everything that decides what a run does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunConfig {
    /// What is trained on.
    pub data: DataConfig,
    /// The network.
    pub network: UNetConfig,
    /// The losses.
    pub method: MethodConfig,
    /// How the weights move.
    pub optimizer: OptimizerConfig,
    /// How long, how large, where.
    pub run: RunSettings,
}

choice! {
    /// What the best checkpoint is chosen by.
    Validation {
        /// Full masks of the validation images (the papers).
        Masks = "masks",
        /// Cross-entropy on the validation images' scribbles: all that users without masks have.
        Scribbles = "scribbles",
        /// Nothing: the last checkpoint is the best.
        None = "none",
    }
}

choice! {
    /// How colours are varied.
    ColourChange {
        /// Brightness and contrast (fluorescence, bright-field).
        Brightness = "brightness",
        /// Brightness, contrast, saturation and hue (stained tissue).
        ColourJitter = "colour_jitter",
    }
}

choice! {
    /// How the learning rate moves.
    Schedule {
        /// It does not (the published code).
        Constant = "constant",
        /// Half a cosine from 1 to 0.
        Cosine = "cosine",
        /// `(1 - done)^0.9`.
        Poly = "poly",
    }
}

choice! {
    /// What `iterations`, `warmup_iterations`, `ema_period` and `validate_every` count.
    Count {
        /// Optimiser steps.
        Iterations = "iterations",
        /// Passes over the training images, the last partial batch included (the papers).
        Epochs = "epochs",
    }
}

choice! {
    /// Where the network runs.
    DeviceChoice {
        /// An NVIDIA GPU if this program was built for one and one is there, else the processor.
        Auto = "auto",
        /// The processor.
        Cpu = "cpu",
        /// An NVIDIA GPU; an error if there is none.
        Cuda = "cuda",
    }
}

/// The `[data]` section.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataConfig {
    /// The folder with `images/`, `scribbles/` and, where there are any, `labels/` and `index.csv`; relative to the working folder.
    pub folder: PathBuf,
    /// Only images of this modality (column of `index.csv`).
    pub modality: Option<String>,
    /// The images' scale; goes into the model card, where slides are matched to it.
    pub microns_per_pixel: Option<f64>,
    /// What the best checkpoint is chosen by.
    pub validation: Validation,
    /// The share of training images held out where `index.csv` names no validation images.
    pub validation_share: f64,
    /// How colours are varied.
    pub augment: ColourChange,
    /// What the values in scribble files mean.
    pub label_map: LabelMap,
    /// How QuPath GeoJSON scribbles are read.
    pub geojson: GeoJsonConfig,
}

/// What the values in scribble files mean. 0 is background in some programs and unlabelled in others, so there is no guessing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LabelMap {
    /// Values of background strokes.
    pub background: Vec<u32>,
    /// Values of nucleus strokes.
    pub foreground: Vec<u32>,
    /// Values where nothing was drawn.
    pub unlabelled: Vec<u32>,
}

/// 0 background, 1 foreground, 250 unlabelled: the values that this program writes.
impl Default for LabelMap {
    fn default() -> Self {
        Self { background: vec![0], foreground: vec![1], unlabelled: vec![250] }
    }
}

impl LabelMap {
    /// Our value for each value on disk.
    pub fn table(&self) -> BTreeMap<u32, u8> {
        use crate::scribble::{BACKGROUND, FOREGROUND, UNLABELLED};
        let pairs = [(&self.background, BACKGROUND), (&self.foreground, FOREGROUND), (&self.unlabelled, UNLABELLED)];
        pairs.into_iter().flat_map(|(values, ours)| values.iter().map(move |&value| (value, ours))).collect()
    }
}

/// How scribbles drawn in QuPath are read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GeoJsonConfig {
    /// Width that lines and points are drawn with, in pixels.
    pub stroke_width_px: f64,
    /// Class names that mean background.
    pub background: Vec<String>,
    /// Class names that mean nucleus.
    pub foreground: Vec<String>,
}

impl Default for GeoJsonConfig {
    fn default() -> Self {
        let names = |list: &[&str]| list.iter().map(ToString::to_string).collect();
        Self {
            stroke_width_px: 3.0,
            background: names(&["background", "negative"]),
            foreground: names(&["nucleus", "nuclei", "foreground", "positive"]),
        }
    }
}

/// The `[optimizer]` section: `RAdam` with decoupled decay.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OptimizerConfig {
    /// Learning rate of the encoder.
    pub lr_encoder: f64,
    /// Learning rate of the decoder.
    pub lr_decoder: f64,
    /// Learning rate of the segmentation head and the projection heads.
    pub lr_head: f64,
    /// Decoupled weight decay, on every parameter.
    pub weight_decay: f64,
    /// How the learning rate moves.
    pub schedule: Schedule,
}

/// The `[run]` section.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunSettings {
    /// Seed of every random draw.
    pub seed: u64,
    /// What lengths and periods count.
    pub count: Count,
    /// Length of the run.
    pub iterations: u64,
    /// Stop after this time even if not all iterations are done; the schedule follows whichever is nearer its end.
    pub minutes: Option<f64>,
    /// Images in a batch.
    pub batch: usize,
    /// Side of the square crops, a multiple of 32.
    pub crop: usize,
    /// Worker threads; 0 for one per core.
    pub threads: usize,
    /// Where the network runs.
    pub device: DeviceChoice,
    /// Distance of two validations; 0 for one at the end.
    pub validate_every: u64,
    /// Training batches over which `BatchNorm` statistics are measured anew before every evaluation; 0 keeps the running averages.
    pub recalibrate_batches: usize,
    /// Number of overlay pictures.
    pub overlays: usize,
    /// Weights to start from (safetensors); names that are missing start at random.
    pub init: Option<PathBuf>,
}

impl RunConfig {
    /// The run with lengths and periods in optimiser steps, for a training set of `images` images.
    #[must_use]
    pub fn in_iterations(mut self, images: usize) -> Self {
        if self.run.count == Count::Epochs {
            let per_epoch = images.div_ceil(self.run.batch).max(1) as u64;
            for length in
                [&mut self.run.iterations, &mut self.run.validate_every, &mut self.method.warmup_iterations, &mut self.method.ema_period]
            {
                *length *= per_epoch;
            }
            self.run.count = Count::Iterations;
        }
        self
    }
}
