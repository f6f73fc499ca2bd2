//! Overlay picture of a sample: image, scribbles, pseudo-labels, predicted and true nuclei side by side.

use models::decode::{Decoding, instances};
use models::plane::Plane;

use crate::data::{RgbImage, Sample};
use crate::overlay::{Layers, panels};
use crate::predict::quantised;
use crate::scribble::UNLABELLED;

/// Returns the file name of a sample's picture.
pub fn name(sample: &Sample) -> String {
    format!("{}.png", sample.id)
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
