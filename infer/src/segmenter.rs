//! A network ready to run.

use models::Result;

/// A network that gives probabilities for windows of any size that is a multiple of its stride.
pub trait Network: Send {
    /// `images`: `batch * height * width * 3` bytes, B H W C. Returns `batch * height * width` values `round(255 p)`.
    fn quantised(&mut self, images: &[u8], batch: usize, height: usize, width: usize) -> Result<Vec<u8>>;
}
