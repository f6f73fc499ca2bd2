//! The `[data]` section: what is trained on, and what the values in scribble files mean.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::choice::choice;

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
        /// Each image by its own colours: grey ones in brightness, coloured ones on a bright ground in their stains, others in colour.
        Auto = "auto",
        /// Brightness and contrast (fluorescence, bright-field).
        Brightness = "brightness",
        /// Brightness, contrast, saturation and hue (stained tissue).
        ColourJitter = "colour_jitter",
        /// Amounts of hematoxylin and eosin.
        StainJitter = "stain_jitter",
    }
}

choice! {
    /// What becomes of images whose sides are no multiples of 32.
    Sides {
        /// They are continued by reflection, and results cut back: every pixel is scored.
        Pad = "pad",
        /// The right and lower rest is cut off and never scored (the published code).
        Crop = "crop",
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
    /// What becomes of images whose sides are no multiples of 32.
    pub sides: Sides,
    /// Number of parts for cross-validation.
    pub folds: usize,
    /// Validate on this part (from 0) and train on the others, instead of the splits of `index.csv`.
    pub fold: Option<usize>,
    /// Seed by which images are dealt into parts.
    pub fold_seed: u64,
    /// How colours are varied.
    pub augment: ColourChange,
    /// Half of the patches are changed by `v^gamma`, `log2(gamma)` uniform up to this on both sides; 0 leaves all as they are (the papers).
    pub gamma: f64,
    /// Patches are enlarged or shrunk by up to this share (the papers: .1).
    pub zoom: f64,
    /// What the values in scribble files mean.
    pub label_map: LabelMap,
    /// How QuPath GeoJSON scribbles are read.
    pub geojson: GeoJsonConfig,
    /// How `ImageJ` selections are read.
    pub imagej: ImageJConfig,
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

/// How selections of `ImageJ` (`.roi`, or `.zip` from the ROI manager) are read. Names and groups are all that tells classes apart there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageJConfig {
    /// Width of lines and points whose selection gives none, in pixels.
    pub stroke_width_px: f64,
    /// Names that mean background; a number may follow, as in `background-2`.
    pub background: Vec<String>,
    /// Names that mean nucleus.
    pub foreground: Vec<String>,
    /// Groups (1 to 255) that mean background, for selections whose name says nothing.
    pub background_groups: Vec<u8>,
    /// Groups that mean nucleus.
    pub foreground_groups: Vec<u8>,
}

/// Names as in QuPath; no group means anything until it is said.
impl Default for ImageJConfig {
    fn default() -> Self {
        let GeoJsonConfig { stroke_width_px, background, foreground } = GeoJsonConfig::default();
        Self { stroke_width_px, background, foreground, background_groups: Vec::new(), foreground_groups: Vec::new() }
    }
}
