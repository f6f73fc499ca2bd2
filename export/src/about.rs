//! The `--about` file: entries of the model card that come from the people responsible for the model, as TOML.

use std::path::Path;

use models::card::ModelCard;
use serde::Deserialize;
use support::{Context, Result, durable};

/// Largest accepted file size.
const MAX_BYTES: u64 = 1 << 20;

/// Entries of the model card, all optional; a present one replaces that of the checkpoint.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct About {
    /// Name of the model.
    pub name: Option<String>,
    /// Version of the model.
    pub version: Option<String>,
    /// `brightfield`, `fluorescence`, ...
    pub modality: Option<String>,
    /// `H&E`, `DAPI`, ...
    pub stain: Option<String>,
    /// Scale of the training images.
    pub microns_per_pixel: Option<f64>,
    /// Licence of the weights.
    pub licence: Option<String>,
    /// Purposes that the model is meant for, and those it is not.
    pub intended_use: Option<String>,
    /// Images on which the model is known to fail or was never tried.
    pub limits: Option<String>,
}

impl About {
    /// Reads the file.
    ///
    /// # Errors
    /// A file that cannot be read, is no TOML, or has an unknown key; the error names the file and the key.
    pub fn read(path: &Path) -> Result<Self> {
        let doing = || format!("reading {}", path.display());
        let text = String::from_utf8(durable::read(path, MAX_BYTES)?).doing(doing)?;
        toml::from_str(&text)
            .doing(doing)
            .hint(|| "known keys: name, version, modality, stain, microns_per_pixel, licence, intended_use, limits")
    }

    /// Overwrites the card's entries by those that are present.
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
