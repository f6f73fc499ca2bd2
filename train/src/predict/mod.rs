//! Foreground probabilities of whole images.

mod predictor;
pub mod views;

use candle_core::{DType, Device, Tensor};
use models::card::Normalisation;
use models::decode::quantise;
use models::plane::{Plane, reflect_101};
use support::Result;

use crate::data::RgbImage;
use crate::network::{Mode, Network};
pub use predictor::Predictor;

/// Computes the probability of nucleus for every pixel by the forward pass of training. The image is padded at the right and at the bottom by reflection to a multiple
/// of the network's stride, as slides are, and the result is cropped to the image.
pub fn probabilities(network: &Network, image: &RgbImage) -> Result<Plane<f32>> {
    let stride = network.graph().stride();
    let (width, height) = (image.width.next_multiple_of(stride), image.height.next_multiple_of(stride));
    let input = Tensor::from_vec(padded(image, width, height), (1, 3, height, width), &Device::Cpu)?;
    let tape = network.forward(&input, Mode::Eval)?;
    let logits = network.output(&tape)?.to_device(&Device::Cpu)?.to_dtype(DType::F32)?;
    let logits: Vec<f32> = logits.flatten_all()?.to_vec1()?;
    let (background, nucleus) = logits.split_at(width * height);
    let mut plane = Plane::filled(image.width, image.height, 0.0);
    for y in 0..image.height {
        let row = y * width..y * width + image.width;
        for ((p, z0), z1) in plane.row_mut(y).iter_mut().zip(&background[row.clone()]).zip(&nucleus[row]) {
            *p = 1.0 / (1.0 + (z0 - z1).exp());
        }
    }
    Ok(plane)
}

/// Quantises probabilities to `round(255 p)`, the output of the exported graph.
pub fn quantised(probabilities: &Plane<f32>) -> Plane<u8> {
    probabilities.map(|&p| quantise(p))
}

/// Returns the normalised image as `3 height width`, reflected beyond its right and lower borders.
fn padded(image: &RgbImage, width: usize, height: usize) -> Vec<f32> {
    let Normalisation { mean, std } = Normalisation::IMAGENET;
    let mut values = Vec::with_capacity(3 * width * height);
    for channel in 0..3 {
        let table: Vec<f32> = (0..256).map(|v| (v as f32 / 255.0 - mean[channel]) / std[channel]).collect();
        for y in 0..height {
            let row = reflect_101(y as isize, image.height) * image.width;
            values.extend((0..width).map(|x| table[image.data[3 * (row + reflect_101(x as isize, image.width)) + channel] as usize]));
        }
    }
    values
}
