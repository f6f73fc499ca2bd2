//! One run, described: everything that decides what `train fit` does. TOML, in named profiles, every key checked.

pub mod choice;
mod commented;
mod data;
mod difference;
mod layers;
mod limits;
mod method;
mod optimizer;
mod profile;

use std::path::PathBuf;

use models::decode::Decoding;
use models::unet::UNetConfig;
use serde::{Deserialize, Serialize};

use choice::choice;
pub use data::{ColourChange, DataConfig, GeoJsonConfig, ImageJConfig, LabelMap, Sides, Validation};
pub use method::{
    BlockRule, ContrastTerm, EmaStart, LabelSource, MaxPerClass, Method, MethodConfig, PairRule, Reduction, Scope, Unbounded,
};
pub use optimizer::{Group, OptimizerConfig, Schedule};
pub use profile::{IMAGENET, Profile};

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
    /// How predictions are made and scored.
    pub evaluation: EvaluationConfig,
    /// How long, how large, where.
    pub run: RunSettings,
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
    /// Views of an image over which predictions are averaged, when validating and evaluating.
    Views {
        /// The image as it is.
        One = "one",
        /// And flipped each way and both ways: 4 predictions.
        Flips = "flips",
        /// And each of them turned by 90 degrees: 8 predictions.
        All = "all",
    }
}

impl Views {
    /// How many predictions are averaged.
    pub fn count(self) -> usize {
        match self {
            Self::One => 1,
            Self::Flips => 4,
            Self::All => 8,
        }
    }
}

/// The `[evaluation]` section.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvaluationConfig {
    /// Views of an image over which predictions are averaged.
    pub views: Views,
    /// Whether touching nuclei are cut apart: in scores, overlays and the model card, so on slides too.
    pub split_touching: bool,
    /// A pixel belongs to a nucleus above this probability; part of the model card.
    pub threshold: f64,
    /// Whether `threshold` and `min_area_px` are fitted to the masks of the validation images: the best checkpoint and its card get the
    /// values of highest `IoU`, and of highest F1 and AJI. Without masks `threshold` is fitted to the images ([`crate::alignment`]).
    pub calibrate: bool,
    /// Components with fewer pixels are no nuclei; as `split_touching`, part of the model card.
    pub min_area_px: usize,
    /// For `mdice_paper` only: ids above this become it (the published code for DSB2018: 255); 0 leaves them.
    pub paper_clip: u32,
}

impl EvaluationConfig {
    /// How probabilities become nuclei.
    pub fn decoding(&self) -> Decoding {
        let decoding = if self.split_touching { Decoding::splitting() } else { Decoding::default() };
        Decoding { threshold: self.threshold, min_area_px: self.min_area_px, ..decoding }
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

choice! {
    /// What feature maps and multiplications are in; weights, sums and statistics are f32 or wider in any case.
    Precision {
        /// bf16 on an NVIDIA GPU that multiplies it (compute capability 8.0), else f32.
        Auto = "auto",
        /// f32.
        F32 = "f32",
        /// bf16.
        Bf16 = "bf16",
    }
}

choice! {
    /// Which program computes the network.
    KernelChoice {
        /// The fast one of the device.
        Fast = "fast",
        /// The one that says what the fast ones have to compute; slow, f32, on any device.
        Reference = "reference",
    }
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
    /// GPUs that share every batch; their gradients are averaged.
    pub devices: usize,
    /// What feature maps are in.
    pub precision: Precision,
    /// Which program computes the network.
    pub kernels: KernelChoice,
    /// On a GPU, take only algorithms that give the same bits in every run.
    pub deterministic: bool,
    /// Batches that are made ahead of the step; 0 makes each when its step needs it. Results do not depend on it.
    pub prefetch: usize,
    /// Distance of two validations; 0 for one at the end.
    pub validate_every: u64,
    /// Minutes between two saves of `last.safetensors`; every validation saves too.
    pub save_minutes: f64,
    /// Training batches over which `BatchNorm` statistics are measured anew before every evaluation; 0 keeps the running averages.
    pub recalibrate_batches: usize,
    /// Number of overlay pictures.
    pub overlays: usize,
    /// Whether losses, scores and overlays are also written for TensorBoard.
    pub tensorboard: bool,
    /// Weights to start from (safetensors), or [`IMAGENET`]; names that are missing start at random. In a file `""` is none: a profile
    /// may have some.
    #[serde(with = "path_or_empty")]
    pub init: Option<PathBuf>,
}

/// A path that may be missing as one that may be empty.
mod path_or_empty {
    use std::path::{Path, PathBuf};

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[expect(clippy::ref_option, reason = "serde gives the field as it is")]
    pub fn serialize<S: Serializer>(path: &Option<PathBuf>, serializer: S) -> Result<S::Ok, S::Error> {
        path.as_deref().unwrap_or(Path::new("")).serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<PathBuf>, D::Error> {
        Ok(Some(PathBuf::deserialize(deserializer)?).filter(|path| !path.as_os_str().is_empty()))
    }
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
