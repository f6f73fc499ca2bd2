//! Parity reference: a test image and the trained network's probabilities for it, stored beside the weights.
//!
//! An exporter that contains no training code compares its own network with these probabilities after each export.

use std::sync::Arc;

use models::weights::{Array, Weights};
use support::Result;

use crate::data::RgbImage;
use crate::network::Network;
use crate::network::kernels::Cpu;
use crate::predict::probabilities;

/// Name of the test image in the checkpoint, `H W 3`, values 0 to 255.
pub const IMAGE: &str = "witness.image";
/// Name of the nucleus probabilities in the checkpoint, `H W`.
pub const PROBABILITY: &str = "witness.probability";
/// Width of the test image in pixels, rounded up to the network's stride.
const WIDTH: usize = 128;
/// Height of the test image in pixels, rounded up to the network's stride.
const HEIGHT: usize = 96;

/// Returns both arrays. The image covers the whole range of values: discs on a ramp, with noise that is a function of the position.
pub fn arrays(network: &Network) -> Result<Weights> {
    let stride = network.graph().stride();
    let (width, height) = (WIDTH.next_multiple_of(stride), HEIGHT.next_multiple_of(stride));
    let image =
        RgbImage { width, height, data: (0..3 * width * height).map(|i| pixel_value(i / 3 % width, i / 3 / width, i % 3)).collect() };
    // Exporters compare to three digits, which bf16 feature maps do not have. The weights are f32 in any case, so the processor computes
    // the reference.
    let exact = if network.kernels().is_exact() { None } else { Some(on_cpu(network)?) };
    let probability = probabilities(exact.as_ref().unwrap_or(network), &image)?;
    let pixels = image.data.iter().map(|&v| f32::from(v)).collect();
    Ok(Weights::from([
        (IMAGE.to_owned(), Array::new([height, width, 3], pixels)),
        (PROBABILITY.to_owned(), Array::new([height, width], probability.data)),
    ]))
}

fn on_cpu(network: &Network) -> Result<Network> {
    Network::new(network.graph().clone(), &network.weights()?, Arc::new(Cpu::default()))
}

/// Returns the value of a pixel of the test image.
fn pixel_value(x: usize, y: usize, channel: usize) -> u8 {
    let in_disc = (x % 32).abs_diff(16).pow(2) + (y % 32).abs_diff(16).pow(2) < 90;
    let noise = (x * 7919 + y * 104_729 + channel * 1_299_709) % 31;
    let background = if in_disc { 60 + 20 * channel } else { 120 + x / 2 + y / 4 };
    (background + noise).min(255) as u8
}
