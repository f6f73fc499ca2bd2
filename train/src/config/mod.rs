//! Configuration of a training run: TOML sections, named profiles, command-line overrides, and the check of every key and value.

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
pub use data::{ColourAugmentation, DataConfig, GeoJsonConfig, ImageJConfig, LabelMap, Sides, Validation};
pub use method::{
    BlockRule, ContrastTerm, EmaStart, LabelSource, MaxPerClass, Method, MethodConfig, PairRule, Reduction, Scope, Unbounded,
};
pub use optimizer::{Group, OptimizerConfig, Schedule};
pub use profile::{IMAGENET, Profile};

/// Complete configuration of a training run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunConfig {
    /// Data set, augmentation and label mapping.
    pub data: DataConfig,
    /// Architecture of the network.
    pub network: UNetConfig,
    /// Loss terms and pseudo-labels.
    pub method: MethodConfig,
    /// Optimiser and learning rates.
    pub optimizer: OptimizerConfig,
    /// Inference and scoring.
    pub evaluation: EvaluationConfig,
    /// Length, batch size, device and files of the run.
    pub run: RunSettings,
}

choice! {
    /// Unit of `iterations`, `warmup_iterations`, `ema_period` and `validate_every`.
    Count {
        /// Optimiser steps.
        Iterations = "iterations",
        /// Passes over the training images, the last partial batch included (the papers).
        Epochs = "epochs",
    }
}

choice! {
    /// Test-time augmentation: views of an image over which predictions are averaged in validation and evaluation.
    Views {
        /// The image itself.
        One = "one",
        /// The image and its horizontal, vertical and double flip: 4 predictions.
        Flips = "flips",
        /// The four flips and their rotations by 90 degrees: 8 predictions.
        All = "all",
    }
}

impl Views {
    /// Returns the number of predictions that are averaged.
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
    /// Test-time augmentation.
    pub views: Views,
    /// Splits touching nuclei in scores and overlays, and on slides, because the model card records the setting.
    pub split_touching: bool,
    /// Foreground probability above which a pixel belongs to a nucleus, 0 to 1; recorded in the model card.
    pub threshold: f64,
    /// Fits `threshold` and `min_area_px` to the masks of the validation images and records the fitted values in the best checkpoint's
    /// card.
    ///
    /// The fitted threshold has the highest `IoU`, the fitted area the highest F1 and AJI. Without masks, `threshold` is fitted to the
    /// edges of the images ([`crate::alignment`]).
    pub calibrate: bool,
    /// Smallest area of a nucleus in pixels; smaller components are dropped. Recorded in the model card.
    pub min_area_px: usize,
    /// Largest instance id in `mdice_paper`, to which larger ids are clipped; 0 disables clipping. The published code for DSB2018 has 255.
    pub paper_clip: u32,
}

impl EvaluationConfig {
    /// Returns the decoding of probabilities into instances.
    pub fn decoding(&self) -> Decoding {
        let decoding = if self.split_touching { Decoding::splitting() } else { Decoding::default() };
        Decoding { threshold: self.threshold, min_area_px: self.min_area_px, ..decoding }
    }
}

choice! {
    /// Device that runs the network.
    DeviceChoice {
        /// An NVIDIA GPU if the program was built with CUDA and a GPU is present, else the CPU.
        Auto = "auto",
        /// The CPU.
        Cpu = "cpu",
        /// An NVIDIA GPU; its absence is an error.
        Cuda = "cuda",
    }
}

choice! {
    /// Number format of feature maps and of the operands of multiplications. Weights, sums and statistics are always f32 or wider.
    Precision {
        /// bf16 on an NVIDIA GPU with bf16 arithmetic (compute capability 8.0 or higher), else f32.
        Auto = "auto",
        /// 32-bit IEEE 754.
        F32 = "f32",
        /// bfloat16.
        Bf16 = "bf16",
    }
}

choice! {
    /// Implementation of the network's operations.
    KernelChoice {
        /// The optimised kernels of the device.
        Fast = "fast",
        /// The reference implementation that the optimised kernels are tested against: slow, f32, on any device.
        Reference = "reference",
    }
}

/// The `[run]` section.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunSettings {
    /// Seed of all random numbers, at most `i64::MAX`.
    pub seed: u64,
    /// Unit of lengths and periods.
    pub count: Count,
    /// Length of the run, in the unit of `count`.
    pub iterations: u64,
    /// Time limit in minutes; `None` is no limit. The learning-rate schedule follows the limit, time or iterations, that is nearer to its
    /// end.
    pub minutes: Option<f64>,
    /// Images per batch.
    pub batch: usize,
    /// Side of the square crops in pixels, a multiple of the network's stride (32).
    pub crop: usize,
    /// Number of worker threads; 0 is one per core.
    pub threads: usize,
    /// Device that runs the network.
    pub device: DeviceChoice,
    /// Number of GPUs that each batch is divided among; their gradients are averaged. A divisor of `batch`.
    pub devices: usize,
    /// Number format of feature maps.
    pub precision: Precision,
    /// Implementation of the network's operations.
    pub kernels: KernelChoice,
    /// Restricts GPUs to algorithms whose results are bitwise reproducible.
    pub deterministic: bool,
    /// Number of batches prepared ahead of the optimiser step, at most 64; 0 prepares each batch on demand. Results do not depend on the
    /// number.
    pub prefetch: usize,
    /// Interval between validations, in the unit of `count`; 0 validates once, at the end.
    pub validate_every: u64,
    /// Interval in minutes at which `last.safetensors` is saved, in addition to the save at each validation.
    pub save_minutes: f64,
    /// Number of training batches from which `BatchNorm` statistics are recomputed before each evaluation; 0 keeps the running averages.
    pub recalibrate_batches: usize,
    /// Number of validation images that are drawn as overlays.
    pub overlays: usize,
    /// Writes losses, scores and overlays for TensorBoard.
    pub tensorboard: bool,
    /// Initial weights: a safetensors file, or [`IMAGENET`]; parameters that the file lacks start at random.
    ///
    /// In TOML `""` stands for `None`, so that a file can override a profile's value.
    #[serde(with = "path_or_empty")]
    pub init: Option<PathBuf>,
}

/// Serde adapter that writes an absent path as an empty string.
mod path_or_empty {
    use std::path::{Path, PathBuf};

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[expect(clippy::ref_option, reason = "serde passes a reference to the field")]
    pub fn serialize<S: Serializer>(path: &Option<PathBuf>, serializer: S) -> Result<S::Ok, S::Error> {
        path.as_deref().unwrap_or(Path::new("")).serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<PathBuf>, D::Error> {
        Ok(Some(PathBuf::deserialize(deserializer)?).filter(|path| !path.as_os_str().is_empty()))
    }
}

impl RunConfig {
    /// Converts lengths and periods from epochs to iterations, for a training set of `images` images.
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
