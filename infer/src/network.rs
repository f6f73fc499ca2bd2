//! Interface of a network that computes probabilities, as the pipeline, golden tiles and measurements use it.

#[cfg(doc)]
use support::ErrorKind;
use support::Result;

use crate::tile::Windows;

/// A network on u8 images whose height and width are multiples of the card's stride.
pub trait Network: Send {
    /// Computes `batch * height * width` probabilities as `round(255 p)` of images `B H W C`, `batch * height * width * 3` bytes.
    ///
    /// # Errors
    /// An error of the kind [`ErrorKind::OutOfMemory`] makes the pipeline go on with smaller batches.
    fn quantised(&mut self, images: &[u8], batch: usize, height: usize, width: usize) -> Result<Vec<u8>>;

    /// Returns the constraints on the windows of a larger image.
    fn windows(&self) -> Windows {
        Windows::OneSize
    }
}
