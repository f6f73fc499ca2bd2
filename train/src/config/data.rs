//! The `[data]` section: training data, augmentation, and the mapping of scribble files to classes.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Deserializer, Serialize};

use super::choice::choice;

choice! {
    /// Criterion by which the best checkpoint is selected.
    Validation {
        /// Scores against the complete masks of the validation images (the papers).
        Masks = "masks",
        /// Cross-entropy on the scribbles of the validation images, for data without masks.
        Scribbles = "scribbles",
        /// No selection: the last checkpoint is the best.
        None = "none",
    }
}

choice! {
    /// Kind of colour augmentation.
    ColourAugmentation {
        /// By the colours of each image: `brightness` for grey images, `stain_jitter` for colours on a bright background, else
        /// `colour_jitter`.
        Auto = "auto",
        /// Brightness and contrast, for fluorescence and bright-field images.
        Brightness = "brightness",
        /// Brightness, contrast, saturation and hue, for stained tissue.
        ColourJitter = "colour_jitter",
        /// Concentrations of hematoxylin and eosin.
        StainJitter = "stain_jitter",
    }
}

choice! {
    /// Treatment of images whose sides are not multiples of 32.
    Sides {
        /// Padding by reflection; results are cropped back, so that every pixel is scored.
        Pad = "pad",
        /// Cropping on the right and at the bottom; the pixels cut off are never scored (the published code).
        Crop = "crop",
    }
}

/// The `[data]` section.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataConfig {
    /// Data folder with `images/`, `scribbles/` and, optionally, `labels/` and `index.csv`; relative to the working directory.
    pub folder: PathBuf,
    /// Modality (column of `index.csv`) to which the images are restricted; `None` uses all images.
    pub modality: Option<String>,
    /// Channel of TIFF images of several channels, as a number from 1 or a name; `None` takes that of a nuclear stain (DAPI, Hoechst) by
    /// its OME name, else the first.
    #[serde(default, deserialize_with = "number_or_name", skip_serializing_if = "Option::is_none")]
    pub channel: Option<String>,
    /// Pixel size of the images in micrometres; recorded in the model card, because slides are resampled to it.
    pub microns_per_pixel: Option<f64>,
    /// Criterion by which the best checkpoint is selected.
    pub validation: Validation,
    /// Fraction of the training images that is held out for validation if `index.csv` names no validation images.
    pub validation_share: f64,
    /// Treatment of images whose sides are not multiples of 32.
    pub sides: Sides,
    /// Number of folds for cross-validation.
    pub folds: usize,
    /// Fold, counted from 0, that validates while the others train; `None` uses the splits of `index.csv`.
    pub fold: Option<usize>,
    /// Seed of the random assignment of images to folds.
    pub fold_seed: u64,
    /// Kind of colour augmentation.
    pub augment: ColourAugmentation,
    /// Limit of `|log2(gamma)|` of the gamma curves that are applied to half of the patches; 0 disables them (the papers).
    pub gamma: f64,
    /// Limit of the scale augmentation: factors of `1 +- zoom` (the papers: .1).
    pub zoom: f64,
    /// Mapping of the values in scribble files to classes.
    pub label_map: LabelMap,
    /// Reading of QuPath GeoJSON scribbles.
    pub geojson: GeoJsonConfig,
    /// Reading of `ImageJ` selections.
    pub imagej: ImageJConfig,
}

/// Reads a channel, which is a number or a name in TOML.
fn number_or_name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Channel {
        Number(u32),
        Name(String),
    }
    Ok(match Option::<Channel>::deserialize(deserializer)? {
        Some(Channel::Number(number)) => Some(number.to_string()),
        Some(Channel::Name(name)) => Some(name),
        None => None,
    })
}

/// Mapping of the values in scribble files to classes.
///
/// The mapping is always explicit, because 0 is background in some programs and unlabelled in others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LabelMap {
    /// Values of background strokes.
    pub background: Vec<u32>,
    /// Values of nucleus strokes.
    pub foreground: Vec<u32>,
    /// Values of pixels without a stroke.
    pub unlabelled: Vec<u32>,
}

/// The values that `train` writes: 0 background, 1 foreground, 250 unlabelled.
impl Default for LabelMap {
    fn default() -> Self {
        Self { background: vec![0], foreground: vec![1], unlabelled: vec![250] }
    }
}

impl LabelMap {
    /// Returns the scribble map's value for each value on disk.
    pub fn table(&self) -> BTreeMap<u32, u8> {
        use crate::scribble_values::{BACKGROUND, FOREGROUND, UNLABELLED};
        let pairs = [(&self.background, BACKGROUND), (&self.foreground, FOREGROUND), (&self.unlabelled, UNLABELLED)];
        pairs.into_iter().flat_map(|(values, class)| values.iter().map(move |&value| (value, class))).collect()
    }
}

/// Reading of scribbles drawn in QuPath.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GeoJsonConfig {
    /// Stroke width of lines and points, in pixels.
    pub stroke_width_px: f64,
    /// Class names of background.
    pub background: Vec<String>,
    /// Class names of nuclei.
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

/// Reading of `ImageJ` selections (`.roi`, or `.zip` from the ROI manager), whose class is given by their name or their group.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageJConfig {
    /// Stroke width in pixels of lines and points whose selection has none.
    pub stroke_width_px: f64,
    /// Names of background; a number may follow, as in `background-2`.
    pub background: Vec<String>,
    /// Names of nuclei; a number may follow.
    pub foreground: Vec<String>,
    /// Groups (1 to 255) of background, for selections whose name is not listed.
    pub background_groups: Vec<u8>,
    /// Groups (1 to 255) of nuclei, for selections whose name is not listed.
    pub foreground_groups: Vec<u8>,
}

/// The class names of [`GeoJsonConfig`], and no groups.
impl Default for ImageJConfig {
    fn default() -> Self {
        let GeoJsonConfig { stroke_width_px, background, foreground } = GeoJsonConfig::default();
        Self { stroke_width_px, background, foreground, background_groups: Vec::new(), foreground_groups: Vec::new() }
    }
}
