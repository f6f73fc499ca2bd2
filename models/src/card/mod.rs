//! The model card: what a model is, what it was trained on and how it is to be used. It travels inside the ONNX file.

use serde::{Deserialize, Serialize};

use crate::colour::ColourStatistics;
use crate::decode::Decoding;
use support::{Context, Result, bail};

mod form;
mod parity;

pub use form::{Form, Precision, Target};
pub use parity::Parity;

/// The version of the card's format that this program writes; it reads all from 1 to this one.
pub const FORMAT_VERSION: u32 = 2;
/// The metadata key of the ONNX file under which the card stands, as JSON.
pub const METADATA_KEY: &str = "model_card";

/// Everything that is needed to run a model rightly.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelCard {
    /// [`FORMAT_VERSION`] of the program that wrote it.
    pub format_version: u32,
    /// The model's name.
    pub name: String,
    /// The model's own version, as its makers count; `None` where they do not.
    #[serde(default)]
    pub version: Option<String>,
    /// What class 0, 1, ... are called and how they are drawn.
    pub classes: Vec<Class>,
    /// The scale of the training images; `None` where it was not given: then slides are read at their own scale.
    pub microns_per_pixel: Option<f64>,
    /// What the images show and how their bytes are to be read.
    #[serde(default)]
    pub images: Images,
    /// How u8 values become the network's input.
    pub normalisation: Normalisation,
    /// Heights and widths are multiples of this.
    pub stride: usize,
    /// Pixels around a tile that its values can depend on: the halo of `--halo exact`.
    pub reach_px: usize,
    /// The measured halo, which is the default; `None` where no image was at hand at export.
    pub effective_reach: Option<EffectiveReach>,
    /// How probabilities become nuclei.
    pub decoding: Decoding,
    /// How the network was written for what runs it, and how far that moved its results.
    #[serde(default)]
    pub form: Form,
    /// Where the weights come from.
    pub training: Training,
    /// The licence of the weights.
    pub licence: String,
    /// What the model is for, and what not.
    pub intended_use: String,
    /// Where it is known to fail or was never tried.
    #[serde(default)]
    pub limits: Option<String>,
    /// Program and version that wrote the file.
    pub written_by: String,
}

/// A class and its colour.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Class {
    /// As it is called in outputs.
    pub name: String,
    /// Red, green, blue.
    pub colour: [u8; 3],
}

/// What a model's images are like. The network takes u8 values from 0 to 255, red first, 8 bits a channel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Images {
    /// `brightfield`, `fluorescence`, ...
    pub modality: Option<String>,
    /// `H&E`, `DAPI`, ...
    pub stain: Option<String>,
    /// Order of the channels; this project writes `RGB` only.
    pub channel_order: String,
    /// What is done with a slide's colour profile; this project ignores profiles, in training and on slides.
    pub icc_profile: String,
}

impl Default for Images {
    fn default() -> Self {
        Self { modality: None, stain: None, channel_order: "RGB".into(), icc_profile: "ignored".into() }
    }
}

/// `(v / 255 - mean) / std` per channel, red first.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Normalisation {
    /// Mean of each channel.
    pub mean: [f32; 3],
    /// Standard deviation of each channel.
    pub std: [f32; 3],
}

impl Normalisation {
    /// The statistics of `ImageNet`, with which pretrained encoders were trained.
    pub const IMAGENET: Self = Self { mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] };
}

/// The smallest halo at which tiles agree with the whole image, measured on real tiles.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EffectiveReach {
    /// Pixels, a multiple of the stride.
    pub px: usize,
    /// The largest change of a probability that is promised for any tile, 1 / 255; what was measured is at most half of it.
    pub tolerance: f64,
    /// The largest change seen at `px`.
    pub max_change: f64,
    /// The share of mask pixels that differ at `px`.
    pub flipped_share: f64,
    /// What was seen at every halo that was tried, smallest first.
    pub curve: Vec<HaloFigures>,
    /// Number of tiles, and their side in pixels.
    pub tiles: usize,
    /// Side of the cores that were compared.
    pub core_px: usize,
}

/// The largest probability change and the share of flipped mask pixels at one halo.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HaloFigures {
    /// Halo in pixels.
    pub px: usize,
    /// Largest change of a probability.
    pub max_change: f64,
    /// Share of mask pixels that differ.
    pub flipped_share: f64,
}

/// A summary of the run that made the weights.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Training {
    /// The run's configuration as TOML.
    pub config: String,
    /// Optimiser steps.
    pub iterations: u64,
    /// Training images.
    pub images: usize,
    /// Share of training pixels that were labelled.
    pub labelled_share: f64,
    /// What the colours of the training images are like; `None` in older checkpoints, and where no image is stained.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub colours: Option<ColourStatistics>,
    /// Where the encoder's weights came from; `None`: from scratch.
    pub encoder_weights: Option<String>,
    /// SHA-256 of `config`; empty in cards of version 1.
    #[serde(default)]
    pub config_sha256: String,
    /// Named scores, and what they were measured on.
    pub metrics: Vec<Metric>,
    /// SHA-256 of the checkpoint.
    pub checkpoint_sha256: String,
}

/// One score.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metric {
    /// `iou`, `mdice`, ...
    pub name: String,
    /// Its value.
    pub value: f64,
    /// Its 95 % interval (bootstrap over images), where it was computed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<[f64; 2]>,
    /// The data it was measured on.
    pub measured_on: String,
}

impl ModelCard {
    /// Parses the JSON text of a card; a newer format is refused by number before its fields are looked at.
    pub fn from_json(text: &str) -> Result<Self> {
        #[derive(Deserialize)]
        struct Version {
            format_version: u32,
        }
        let Version { format_version } = serde_json::from_str(text).doing(|| "parsing the model card")?;
        if !(1..=FORMAT_VERSION).contains(&format_version) {
            bail!("the model card has format version {format_version}, expected 1 to {FORMAT_VERSION}"; hint: "export the checkpoint again with this version of the program, or use the version that wrote it");
        }
        serde_json::from_str(text).doing(|| "parsing the model card")
    }

    /// The card as JSON, fields in declaration order.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("a card has no map with non-string keys")
    }

    /// The halo used unless the user asks for another.
    pub fn default_halo_px(&self) -> usize {
        self.effective_reach.as_ref().map_or(self.reach_px, |reach| reach.px)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_format_version_is_refused_by_number() {
        let error = ModelCard::from_json(r#"{"format_version": 9, "anything": 1}"#).unwrap_err();
        assert!(error.to_string().contains("version 9") && error.hint_text().is_some(), "{error}");
    }
}
