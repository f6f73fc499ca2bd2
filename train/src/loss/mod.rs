//! The terms of the loss: one term, one file, one equation. Each returns its value and its gradient at the network's outputs.

mod blocks;
mod contrast;
mod cross_entropy;
mod pairs;
mod sigmoid;

pub use blocks::{block_labels, scribbled_blocks};
pub use contrast::{Contrast, ContrastValue, Sampling, contrast_of_maps};
pub use cross_entropy::cross_entropy;

use candle_core::Tensor;

/// The label of a pixel that no term reads: what scribble maps call unlabelled.
pub const IGNORE: u8 = crate::scribble::UNLABELLED;

/// A term of the loss: its value, and its gradient at what it was computed from.
pub struct Term {
    /// The value.
    pub value: f64,
    /// Gradient, of the shape of the input.
    pub gradient: Tensor,
}
