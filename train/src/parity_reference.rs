//! What the trained network says of one image, kept with its weights.
//!
//! An exporter that runs no training code can so compare what it wrote with what was trained, each time.

use std::sync::Arc;

use models::weights::{Array, Weights};
use support::Result;

use crate::data::RgbImage;
use crate::network::Network;
use crate::network::kernels::Cpu;
use crate::predict::probabilities;

/// The image, `H W 3`, values 0 to 255.
pub const IMAGE: &str = "witness.image";
/// Probabilities of nucleus, `H W`.
pub const PROBABILITY: &str = "witness.probability";
const WIDTH: usize = 128;
const HEIGHT: usize = 96;

/// Both arrays, of an image with all kinds of values: discs on a slope, with noise that follows from the position.
pub fn arrays(network: &Network) -> Result<Weights> {
    let stride = network.graph().stride();
    let (width, height) = (WIDTH.next_multiple_of(stride), HEIGHT.next_multiple_of(stride));
    let image = RgbImage { width, height, data: (0..3 * width * height).map(|i| value(i / 3 % width, i / 3 / width, i % 3)).collect() };
    // Exporters compare to three digits; maps in bf16 have fewer. The weights are f32 in any case.
    let exact = if network.kernels().is_exact() { None } else { Some(on_processor(network)?) };
    let probability = probabilities(exact.as_ref().unwrap_or(network), &image)?;
    let pixels = image.data.iter().map(|&v| f32::from(v)).collect();
    Ok(Weights::from([
        (IMAGE.to_owned(), Array::new([height, width, 3], pixels)),
        (PROBABILITY.to_owned(), Array::new([height, width], probability.data)),
    ]))
}

fn on_processor(network: &Network) -> Result<Network> {
    Network::new(network.graph().clone(), &network.weights()?, Arc::new(Cpu::default()))
}

fn value(x: usize, y: usize, channel: usize) -> u8 {
    let in_disc = (x % 32).abs_diff(16).pow(2) + (y % 32).abs_diff(16).pow(2) < 90;
    let noise = (x * 7919 + y * 104_729 + channel * 1_299_709) % 31;
    let ground = if in_disc { 60 + 20 * channel } else { 120 + x / 2 + y / 4 };
    (ground + noise).min(255) as u8
}
