//! The terms of the loss: one term, one file, one equation. Each returns its value and its gradient at the network's outputs.

mod blocks;
mod contrast;
mod cross_entropy;
mod pairs;
mod sigmoid;

pub use blocks::{block_labels, scribbled_blocks};
pub use contrast::{Contrast, ContrastValue, Sampling, contrast_of_features, contrast_on};
pub use cross_entropy::{cross_entropies, cross_entropy};

use candle_core::{Result, Tensor};

/// The label of a pixel that no term reads: what scribble maps call unlabelled.
pub const IGNORE: u8 = crate::scribble::UNLABELLED;

/// A term of the loss: its value, and its gradient at what it was computed from.
pub struct Term {
    /// The value.
    pub value: f64,
    /// Gradient, of the shape of the input.
    pub gradient: Tensor,
}

/// A value that may still be on its way from the device.
pub enum LossValue {
    /// It is here.
    Host(f64),
    /// It is a scalar (f64) of the device.
    Device(Tensor),
    /// A weighted sum.
    WeightedSum(Vec<(f64, LossValue)>),
}

impl LossValue {
    /// The value; waits for the device.
    pub fn read(&self) -> Result<f64> {
        match self {
            Self::Host(value) => Ok(*value),
            Self::Device(value) => value.to_scalar(),
            Self::WeightedSum(parts) => parts.iter().try_fold(0.0, |sum, (weight, part)| Ok(sum + weight * part.read()?)),
        }
    }
}
