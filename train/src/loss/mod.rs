//! Terms of the loss, one equation per file. Each returns its value and its gradient at the network's outputs.

mod blocks;
mod contrast;
mod cross_entropy;
mod pairs;
mod sigmoid;

pub use blocks::{block_labels, scribbled_blocks};
pub use contrast::{Contrast, ContrastValue, Sampling, contrast_of_features, contrast_on};
pub use cross_entropy::{cross_entropies, cross_entropy};

use candle_core::{Result, Tensor};

/// Label of unlabelled pixels, which no term of the loss reads.
pub const IGNORE: u8 = crate::scribble::UNLABELLED;

/// Term of the loss: its value, and its gradient at the input.
pub struct Term {
    /// Value of the term, without the weight.
    pub value: f64,
    /// Gradient, in the shape of the input.
    pub gradient: Tensor,
}

/// Value of a loss that may still be computed asynchronously on the device.
pub enum LossValue {
    /// Number in host memory.
    Host(f64),
    /// Scalar (f64) on the device.
    Device(Tensor),
    /// Weighted sum of values.
    WeightedSum(Vec<(f64, LossValue)>),
}

impl LossValue {
    /// Returns the value; waits for the device.
    pub fn read(&self) -> Result<f64> {
        match self {
            Self::Host(value) => Ok(*value),
            Self::Device(value) => value.to_scalar(),
            Self::WeightedSum(parts) => parts.iter().try_fold(0.0, |sum, (weight, part)| Ok(sum + weight * part.read()?)),
        }
    }
}
