//! The whole slide made small: what the overlay shows and what tissue is looked for in.

use support::Result;

use super::{Rgb, ScaledSlide, Slide};
use crate::resample::{Piece, resample};
use crate::scaled::Scale;

/// Rows made at once.
const STRIP: usize = 16;

/// The slide at `size` columns and rows, from the coarsest level that is no coarser.
///
/// Pixels are means over their area and do not depend on how a run is cut.
pub fn read(slide: &dyn Slide, scale: &Scale, size: [usize; 2]) -> Result<Rgb> {
    let small = ScaledSlide::new(slide, scale.shrunk(slide, size));
    let mut data = Vec::with_capacity(size[0] * size[1] * 3);
    for y in (0..size[1]).step_by(STRIP) {
        data.extend(small.read(0, y, size[0], STRIP.min(size[1] - y))?.data);
    }
    Ok(Rgb { width: size[0], height: size[1], data })
}

/// A picture made smaller still.
pub fn shrink(picture: &Rgb, size: [usize; 2]) -> Rgb {
    let source = [picture.width, picture.height];
    let factor = [0, 1].map(|i| source[i] as f64 / size[i] as f64);
    let piece = Piece { pixels: picture, origin: [0; 2], source: source.map(|side| side as u64) };
    resample(&piece, factor, [0; 2], size[0], size[1])
}

/// Columns and rows of `image` made smaller by `factor`.
pub fn size_of(image: [usize; 2], factor: f64) -> [usize; 2] {
    image.map(|side| ((side as f64 / factor).round() as usize).clamp(1, side))
}
