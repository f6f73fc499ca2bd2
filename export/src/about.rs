//! What a card says that no run can know: a TOML file from whoever answers for the model.

use std::path::Path;

use models::card::ModelCard;
use serde::Deserialize;
use support::{Context, Result, artifact};

/// Larger than any description.
const MAX_BYTES: u64 = 1 << 20;

/// Everything may be left out; what is given replaces what the run said.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct About {
    /// The model's name.
    pub name: Option<String>,
    /// The model's version.
    pub version: Option<String>,
    /// `brightfield`, `fluorescence`, ...
    pub modality: Option<String>,
    /// `H&E`, `DAPI`, ...
    pub stain: Option<String>,
    /// The scale of the training images.
    pub microns_per_pixel: Option<f64>,
    /// The licence of the weights.
    pub licence: Option<String>,
    /// What the model is for, and what not.
    pub intended_use: Option<String>,
    /// Where it is known to fail or was never tried.
    pub limits: Option<String>,
}

impl About {
    /// Reads the file; unknown keys are named.
    pub fn read(path: &Path) -> Result<Self> {
        let doing = || format!("reading {}", path.display());
        let text = String::from_utf8(artifact::read(path, MAX_BYTES)?).doing(doing)?;
        toml::from_str(&text)
            .doing(doing)
            .hint(|| "known keys: name, version, modality, stain, microns_per_pixel, licence, intended_use, limits")
    }

    /// Writes what is given over the card.
    pub fn apply(self, card: &mut ModelCard) {
        let Self { name, version, modality, stain, microns_per_pixel, licence, intended_use, limits } = self;
        name.into_iter().for_each(|name| card.name = name);
        licence.into_iter().for_each(|licence| card.licence = licence);
        intended_use.into_iter().for_each(|text| card.intended_use = text);
        card.version = version.or(card.version.take());
        card.images.modality = modality.or(card.images.modality.take());
        card.images.stain = stain.or(card.images.stain.take());
        card.microns_per_pixel = microns_per_pixel.or(card.microns_per_pixel);
        card.limits = limits.or(card.limits.take());
    }
}
