//! Tissue detection: grid tiles with pixels that differ from the light background, in a reduced image of the slide.

use super::Tissue;
use slides::Rgb;

/// Reduction of the image along each axis, in pixels at the model's scale per pixel.
pub const SHRINK: f64 = 16.0;
/// Least value of every channel of the background; slides without such pixels are analysed as a whole.
const MIN_LIGHT: u8 = 180;
/// Least fraction of light pixels on a slide with a light background.
const MIN_LIGHT_FRACTION: f64 = 0.01;
/// Least median of the brightest channel of an image of transmitted light; dense stained tissue has about 150, fluorescence less than 60.
const MIN_MEDIAN: u8 = 100;
/// Maximum difference of every channel between a background pixel and the background colour.
const MAX_DIFFERENCE: u8 = 8;

/// Returns grid tiles with a pixel that is not background, and their neighbours; `None` if the slide has no light background.
///
/// `overview` is the slide reduced by [`SHRINK`], `image` its size at the model's scale, `unscanned` the colour of parts that were not scanned.
pub fn tissue(overview: &Rgb, image: [usize; 2], unscanned: [u8; 3]) -> Option<Tissue> {
    let glass = glass(overview)?;
    let is_close = |pixel: &[u8], to: [u8; 3]| (0..3).all(|c| pixel[c].abs_diff(to[c]) <= MAX_DIFFERENCE);
    let unscanned = if unscanned.iter().all(|&v| v >= MIN_LIGHT) { unscanned } else { glass };
    let mut tissue = Tissue::uniform(image, false);
    for (i, pixel) in overview.data.chunks_exact(3).enumerate() {
        if !is_close(pixel, glass) && !is_close(pixel, unscanned) {
            let (x, y) = (i % overview.width, i / overview.width);
            let span = |at: usize, size: usize, side: usize| at * side / size..((at + 1) * side).div_ceil(size);
            tissue.add(span(x, overview.width, image[0]), span(y, overview.height, image[1]));
        }
    }
    Some(tissue.dilated())
}

/// Reports whether an image is one of transmitted light: the median of the brightest channel of its pixels is at least `MIN_MEDIAN`.
pub fn is_light(overview: &Rgb) -> bool {
    let mut brightest: Vec<u8> = overview.data.chunks_exact(3).map(|pixel| pixel[0].max(pixel[1]).max(pixel[2])).collect();
    let middle = brightest.len() / 2;
    brightest.is_empty() || *brightest.select_nth_unstable(middle).1 >= MIN_MEDIAN
}

/// Returns the colour of glass: the most frequent value of each channel among light pixels.
fn glass(overview: &Rgb) -> Option<[u8; 3]> {
    let mut counts = [[0u64; 256]; 3];
    for pixel in overview.data.chunks_exact(3).filter(|pixel| pixel.iter().all(|&v| v >= MIN_LIGHT)) {
        (0..3).for_each(|c| counts[c][usize::from(pixel[c])] += 1);
    }
    let light_pixels: u64 = counts[0].iter().sum();
    let most = |counts: &[u64; 256]| (0..=255u8).max_by_key(|&v| counts[usize::from(v)]).unwrap_or(255);
    (light_pixels as f64 >= MIN_LIGHT_FRACTION * (overview.width * overview.height) as f64).then(|| counts.each_ref().map(most))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_stained_pixel_on_glass_marks_its_tile_and_neighbours_and_dark_slides_have_no_detection() {
        let mut overview = Rgb::filled(100, 60, [236, 238, 233]);
        overview.paste(&Rgb::filled(1, 1, [226, 238, 233]), 50, 30);
        let detected = tissue(&overview, [1600, 960], [255; 3]).unwrap();
        // Pixel (800, 480) lies in grid tile (6, 3).
        assert_eq!(detected.area_px(), 9 * 128 * 128);
        assert!(detected.any(800..801, 480..481) && !detected.any(0..5 * 128, 0..960));
        overview.paste(&Rgb::filled(20, 60, [255; 3]), 0, 0);
        assert_eq!(tissue(&overview, [1600, 960], [255; 3]), Some(detected), "parts that were not scanned are not tissue");
        assert!(is_light(&overview) && !is_light(&Rgb::filled(100, 60, [3; 3])) && is_light(&Rgb::filled(9, 9, [120, 60, 140])));
        assert_eq!(tissue(&Rgb::filled(100, 60, [3; 3]), [1600, 960], [255; 3]), None);
    }
}
