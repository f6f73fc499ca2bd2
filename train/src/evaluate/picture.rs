//! Overlay picture of a sample: image, scribbles, pseudo-labels, predicted and true nuclei side by side.

use std::path::Path;

use models::decode::{Decoding, instances};
use models::plane::Plane;
use support::Result;
use support::durable;

use crate::data::image_file::png_of_rgb;
use crate::data::{RgbImage, Sample};
use crate::overlay::{Layers, panels};
use crate::predict::quantised;
use crate::scribble::UNLABELLED;

/// Writes the picture of [`render`] as PNG.
pub fn write(path: &Path, sample: &Sample, pseudo: Option<&Plane<u8>>, probabilities: &Plane<f32>, decoding: &Decoding) -> Result<()> {
    durable::write(path, &png_of_rgb(&render(sample, pseudo, probabilities, decoding))?)
}

/// Draws one panel for each layer that the sample has; predicted nuclei are decoded from `probabilities`, which are quantised first as
/// in the exported graph.
pub fn render(sample: &Sample, pseudo: Option<&Plane<u8>>, probabilities: &Plane<f32>, decoding: &Decoding) -> RgbImage {
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
