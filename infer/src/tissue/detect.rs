//! More than bare glass: what differs from the light background of the slide made small.

use super::Tissue;
use slides::Rgb;

/// Pixels at the model's scale to one pixel of the picture, along each axis.
pub const SHRINK: f64 = 16.0;
/// Background is at least this light in every channel; slides without such pixels are analysed as a whole.
const LIGHT: u8 = 180;
/// And at least this share of the slide is.
const LEAST_SHARE: f64 = 0.01;
/// A pixel whose channels are all this close to the background is background.
const CLOSE: u8 = 8;

/// Cells with a pixel that is not background, and their neighbours; `None`: the slide has no light background.
///
/// `picture` is the slide made smaller by [`SHRINK`]; `nothing` is the colour of what was not scanned.
pub fn tissue(picture: &Rgb, image: [usize; 2], nothing: [u8; 3]) -> Option<Tissue> {
    let glass = glass(picture)?;
    let close = |pixel: &[u8], to: [u8; 3]| (0..3).all(|c| pixel[c].abs_diff(to[c]) <= CLOSE);
    let nothing = if nothing.iter().all(|&v| v >= LIGHT) { nothing } else { glass };
    let mut tissue = Tissue::uniform(image, false);
    for (i, pixel) in picture.data.chunks_exact(3).enumerate() {
        if !close(pixel, glass) && !close(pixel, nothing) {
            let (x, y) = (i % picture.width, i / picture.width);
            let span = |at: usize, size: usize, side: usize| at * side / size..((at + 1) * side).div_ceil(size);
            tissue.add(span(x, picture.width, image[0]), span(y, picture.height, image[1]));
        }
    }
    Some(tissue.widened())
}

/// The most frequent value of each channel among light pixels.
fn glass(picture: &Rgb) -> Option<[u8; 3]> {
    let mut counts = [[0u64; 256]; 3];
    for pixel in picture.data.chunks_exact(3).filter(|pixel| pixel.iter().all(|&v| v >= LIGHT)) {
        (0..3).for_each(|c| counts[c][usize::from(pixel[c])] += 1);
    }
    let light: u64 = counts[0].iter().sum();
    let most = |counts: &[u64; 256]| (0..=255u8).max_by_key(|&v| counts[usize::from(v)]).unwrap_or(255);
    (light as f64 >= LEAST_SHARE * (picture.width * picture.height) as f64).then(|| counts.each_ref().map(most))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stain_on_glass_is_found_with_its_neighbours_and_dark_slides_are_left_alone() {
        let mut picture = Rgb::filled(100, 60, [236, 238, 233]);
        picture.paste(&Rgb::filled(1, 1, [226, 238, 233]), 50, 30);
        let found = tissue(&picture, [1600, 960], [255; 3]).unwrap();
        // Pixel 800, 480 lies in cell 6, 3.
        assert_eq!(found.area_px(), 9 * 128 * 128);
        assert!(found.any(800..801, 480..481) && !found.any(0..5 * 128, 0..960));
        picture.paste(&Rgb::filled(20, 60, [255; 3]), 0, 0);
        assert_eq!(tissue(&picture, [1600, 960], [255; 3]), Some(found), "what was not scanned is no tissue");
        assert_eq!(tissue(&Rgb::filled(100, 60, [3; 3]), [1600, 960], [255; 3]), None);
    }
}
