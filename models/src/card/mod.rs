//! The model card: description, training data, use and measurements of a model, stored as JSON in the metadata of the ONNX file.

use serde::{Deserialize, Serialize};

use crate::colour::ColourStatistics;
use crate::decode::Decoding;
use support::{Context, Result, bail};

mod check;
mod form;
mod parity;

pub use check::MICRONS_PER_PIXEL;
pub use form::{Form, Precision, Target};
pub use parity::Parity;

/// Version of the card's format that this program writes. Versions from 1 to this one can be read.
pub const FORMAT_VERSION: u32 = 2;
/// Metadata key of the card in an ONNX file.
pub const METADATA_KEY: &str = "model_card";

/// Model card: all facts that are needed to run a model correctly.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelCard {
    /// [`FORMAT_VERSION`] of the program that wrote the card.
    pub format_version: u32,
    /// Name of the model.
    pub name: String,
    /// Version of the model, as its makers count; `None` if they do not.
    #[serde(default)]
    pub version: Option<String>,
    /// Names and colours of class 0, 1, …
    pub classes: Vec<Class>,
    /// Scale of the training images; `None` if unknown, and slides are then read at their own scale.
    pub microns_per_pixel: Option<f64>,
    /// Contents of the images and meaning of their bytes.
    #[serde(default)]
    pub images: Images,
    /// Normalisation of u8 values to the network's input.
    pub normalisation: Normalisation,
    /// Stride in pixels; heights and widths of tiles are multiples of it.
    pub stride: usize,
    /// Theoretical receptive field: pixels around a tile that its values can depend on, the halo of `--halo exact`.
    pub reach_px: usize,
    /// Measured halo, which is the default; `None` if there were no images at export.
    pub effective_reach: Option<EffectiveReach>,
    /// Conversion of probabilities into nuclei.
    pub decoding: Decoding,
    /// Target runtime and arithmetic, and the difference to the plain graph.
    #[serde(default)]
    pub form: Form,
    /// Origin of the weights.
    pub training: Training,
    /// Licence of the weights.
    pub licence: String,
    /// Purposes that the model is meant for, and those it is not.
    pub intended_use: String,
    /// Images on which the model is known to fail or was never tried.
    #[serde(default)]
    pub limits: Option<String>,
    /// Program and version that wrote the file.
    pub written_by: String,
}

/// A class of pixels.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Class {
    /// Name in outputs.
    pub name: String,
    /// Display colour: red, green, blue.
    pub colour: [u8; 3],
}

/// Properties of a model's images. The network takes 8 bits per channel, red first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Images {
    /// `brightfield`, `fluorescence`, ...
    pub modality: Option<String>,
    /// `H&E`, `DAPI`, ...
    pub stain: Option<String>,
    /// Order of the channels; this project writes `RGB` only.
    pub channel_order: String,
    /// Treatment of colour profiles; this project ignores them in training and on slides.
    pub icc_profile: String,
}

impl Default for Images {
    fn default() -> Self {
        Self { modality: None, stain: None, channel_order: "RGB".into(), icc_profile: "ignored".into() }
    }
}

/// Normalisation `(v / 255 - mean) / std` of each channel, red first.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Normalisation {
    /// Mean of each channel.
    pub mean: [f32; 3],
    /// Standard deviation of each channel.
    pub std: [f32; 3],
}

impl Normalisation {
    /// Statistics of `ImageNet`, which pretrained encoders were trained with.
    pub const IMAGENET: Self = Self { mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] };
}

/// Effective receptive field: the smallest halo with which tiles agree with the whole image, measured on real tiles.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EffectiveReach {
    /// Halo in pixels, a multiple of the stride.
    pub px: usize,
    /// Largest expected change of a probability in any tile, 1 / 255; the measured change is at most half of this.
    pub tolerance: f64,
    /// Largest measured change of a probability at `px`.
    pub max_change: f64,
    /// Fraction of mask pixels that differ at `px`.
    pub flipped_share: f64,
    /// Measurements at all tested halos, ascending.
    pub curve: Vec<HaloFigures>,
    /// Number of measured tiles.
    pub tiles: usize,
    /// Side of the compared cores in pixels.
    pub core_px: usize,
}

/// Difference to the whole image with one halo.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HaloFigures {
    /// Halo in pixels.
    pub px: usize,
    /// Largest change of a probability.
    pub max_change: f64,
    /// Fraction of mask pixels that differ.
    pub flipped_share: f64,
}

/// Summary of the training run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Training {
    /// The run's configuration as TOML.
    pub config: String,
    /// Number of optimiser steps.
    pub iterations: u64,
    /// Number of training images.
    pub images: usize,
    /// Fraction of training pixels that were labelled.
    pub labelled_share: f64,
    /// Colours of the training images; `None` in older checkpoints and if no image is stained.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub colours: Option<ColourStatistics>,
    /// Origin of the encoder's pretrained weights; `None` for training from scratch.
    pub encoder_weights: Option<String>,
    /// SHA-256 of `config`; empty in cards of version 1.
    #[serde(default)]
    pub config_sha256: String,
    /// Scores with the data that they were measured on.
    pub metrics: Vec<Metric>,
    /// SHA-256 of the checkpoint.
    pub checkpoint_sha256: String,
}

/// One score.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metric {
    /// Name, such as `iou` or `mdice`.
    pub name: String,
    /// Value.
    pub value: f64,
    /// 95 % confidence interval (bootstrap over images); `None` if not computed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<[f64; 2]>,
    /// Data set that the score was measured on.
    pub measured_on: String,
}

impl ModelCard {
    /// Parses the JSON text of a card.
    ///
    /// # Errors
    /// Another format version (checked before all other fields), text that is no card, or a value outside of its range
    /// ([`ModelCard::check`]).
    pub fn from_json(text: &str) -> Result<Self> {
        #[derive(Deserialize)]
        struct Version {
            format_version: u32,
        }
        let Version { format_version } = serde_json::from_str(text).doing(|| "parsing the model card")?;
        if !(1..=FORMAT_VERSION).contains(&format_version) {
            bail!("the model card has format version {format_version}, expected 1 to {FORMAT_VERSION}"; hint: "export the checkpoint again with this version of the program, or use the version that wrote it");
        }
        let card: Self = serde_json::from_str(text).doing(|| "parsing the model card")?;
        card.check().hint(|| "export the checkpoint again with values in these ranges")?;
        Ok(card)
    }

    /// Writes the card as JSON with fields in declaration order.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("a card has no map with non-string keys")
    }

    /// Returns the default halo in pixels: the measured one, or else the exact one.
    pub fn default_halo_px(&self) -> usize {
        self.effective_reach.as_ref().map_or(self.reach_px, |reach| reach.px)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_format_version_is_refused_before_other_fields_are_parsed() {
        let error = ModelCard::from_json(r#"{"format_version": 9, "anything": 1}"#).unwrap_err();
        assert!(error.to_string().contains("version 9") && error.hint_text().is_some(), "{error}");
    }
}
