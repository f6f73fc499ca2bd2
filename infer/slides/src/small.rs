//! Thumbnail of the whole slide, for the overlay and for tissue detection.

use support::Result;

use super::{Rgb, ScaledSlide, Slide};
use crate::resample::{Piece, resample};
use crate::scaled::Scale;

/// Number of rows of the thumbnail that are read per step, which bounds memory.
const ROWS_PER_READ: usize = 16;

/// Reads the slide at `size` columns and rows, from the coarsest level that is not coarser.
///
/// Pixels are means over their area and do not depend on windows and shards.
pub fn read(slide: &dyn Slide, scale: &Scale, size: [usize; 2]) -> Result<Rgb> {
    let small = ScaledSlide::new(slide, scale.shrunk(slide, size));
    let mut data = Vec::with_capacity(size[0] * size[1] * 3);
    for y in (0..size[1]).step_by(ROWS_PER_READ) {
        data.extend(small.read(0, y, size[0], ROWS_PER_READ.min(size[1] - y))?.data);
    }
    Ok(Rgb { width: size[0], height: size[1], data })
}

/// Reduces an image to `size` columns and rows by area averaging.
pub fn shrink(picture: &Rgb, size: [usize; 2]) -> Rgb {
    let source = [picture.width, picture.height];
    let factor = [0, 1].map(|i| source[i] as f64 / size[i] as f64);
    let piece = Piece { pixels: picture, origin: [0; 2], source: source.map(|side| side as u64) };
    resample(&piece, factor, [0; 2], size[0], size[1])
}

/// Returns the columns and rows of `image` reduced by `factor`, at least 1 each.
pub fn size_of(image: [usize; 2], factor: f64) -> [usize; 2] {
    image.map(|side| ((side as f64 / factor).round() as usize).clamp(1, side))
}
