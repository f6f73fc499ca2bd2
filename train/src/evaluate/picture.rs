//! Overlay pictures of samples.

use std::path::Path;

use models::decode::{Decoding, instances};
use models::plane::Plane;
use support::Result;
use support::artifact;

use super::quantised;
use crate::data::image_file::png_of_rgb;
use crate::data::{RgbImage, Sample};
use crate::overlay::{Layers, panels};
use crate::scribble::UNLABELLED;

/// Writes image, scribbles, pseudo-labels, predicted (as `decoding` cuts them) and true nuclei of a sample side by side as PNG.
pub fn write(path: &Path, sample: &Sample, pseudo: Option<&Plane<u8>>, probabilities: &Plane<f32>, decoding: &Decoding) -> Result<()> {
    artifact::write(path, &png_of_rgb(&of(sample, pseudo, probabilities, decoding))?)
}

/// The picture that [`write()`] writes.
pub fn of(sample: &Sample, pseudo: Option<&Plane<u8>>, probabilities: &Plane<f32>, decoding: &Decoding) -> RgbImage {
    let predicted = instances(&quantised(probabilities), decoding);
    let scribbled = sample.scribble.data.iter().any(|&value| value != UNLABELLED);
    let layers = Layers {
        image: &sample.image,
        scribble: scribbled.then_some(&sample.scribble),
        pseudo,
        prediction: Some(&predicted),
        truth: sample.labels.as_ref(),
    };
    panels(&layers)
}
