//! Imaging modality, classified by the colours of an image into the three clusters that the papers' k-means finds in DSB2018.

use super::image_file::RgbImage;
use crate::config::ColourAugmentation;

/// Mean of `max - min` over red, green and blue above which an image counts as coloured, of 255.
const MIN_COLOUR_RANGE: f64 = 0.5;
/// Median grey value above which the background counts as bright.
const MIN_BRIGHT_GREY: u8 = 128;
/// Median grey value up to which a coloured image counts as bright signal on a dark background, because stained tissue is rarely so dark.
const MAX_DARK_GREY: u8 = 64;

/// Classifies an image: `histopathology` if coloured, else `brightfield` if its background is bright, else `fluorescence`.
pub fn modality(image: &RgbImage) -> &'static str {
    let pixels = image.data.as_chunks::<3>().0;
    let spread: u64 = pixels.iter().map(|[r, g, b]| u64::from(*r.max(g).max(b) - *r.min(g).min(b))).sum();
    if spread as f64 > MIN_COLOUR_RANGE * pixels.len() as f64 {
        return "histopathology";
    }
    if median_grey(pixels) > MIN_BRIGHT_GREY { "brightfield" } else { "fluorescence" }
}

impl ColourAugmentation {
    /// Resolves `auto` for an image; other values stay.
    ///
    /// Grey images get `Brightness`. Coloured images get `StainJitter` on a bright background, because such colours are absorbed by stained
    /// tissue, and `ColourJitter` on a dark background.
    #[must_use]
    pub fn of(self, image: &RgbImage) -> Self {
        if self != Self::Auto {
            self
        } else if modality(image) != "histopathology" {
            Self::Brightness
        } else if median_grey(image.data.as_chunks::<3>().0) > MAX_DARK_GREY {
            Self::StainJitter
        } else {
            Self::ColourJitter
        }
    }
}

/// Returns the median over pixels of the channel mean, rounded down.
fn median_grey(pixels: &[[u8; 3]]) -> u8 {
    let mut histogram = [0usize; 256];
    pixels.iter().for_each(|[r, g, b]| histogram[(usize::from(*r) + usize::from(*g) + usize::from(*b)) / 3] += 1);
    let mut seen = 0;
    let median = histogram.iter().position(|n| {
        seen += n;
        2 * seen > pixels.len()
    });
    median.map_or(0, |grey| u8::try_from(grey).unwrap_or(u8::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colour_takes_precedence_over_the_brightness_of_the_background() {
        let of = |data: Vec<u8>| modality(&RgbImage::new(data.len() / 3, 1, data).unwrap());
        assert_eq!(of(vec![200, 90, 160, 240, 240, 240]), "histopathology");
        assert_eq!(of(vec![200, 200, 200, 220, 220, 220, 10, 10, 10]), "brightfield");
        assert_eq!(of(vec![20, 20, 20, 20, 20, 20, 250, 250, 250]), "fluorescence");
        // A range of 1 in one of three pixels is a mean of 1/3, below the limit; in both of two pixels the mean is above.
        assert_eq!(of(vec![20, 20, 21, 20, 20, 20, 20, 20, 20]), "fluorescence");
        assert_eq!(of(vec![20, 20, 21, 20, 20, 21]), "histopathology");
        assert_eq!(of(vec![129; 3]), "brightfield");
        assert_eq!(of(vec![128; 3]), "fluorescence");
    }

    #[test]
    fn stain_jitter_needs_colours_on_a_bright_background() {
        let of = |data: Vec<u8>| ColourAugmentation::Auto.of(&RgbImage::new(data.len() / 3, 1, data).unwrap());
        assert_eq!(of(vec![200, 90, 160, 240, 240, 240]), ColourAugmentation::StainJitter);
        assert_eq!(of(vec![80, 30, 90, 100, 50, 110, 20, 10, 60]), ColourAugmentation::StainJitter);
        assert_eq!(of(vec![0, 0, 200, 0, 0, 10, 0, 0, 0]), ColourAugmentation::ColourJitter);
        assert_eq!(of(vec![200; 3]), ColourAugmentation::Brightness);
        assert_eq!(of(vec![20; 3]), ColourAugmentation::Brightness);
        let stained = RgbImage::new(1, 1, vec![200, 90, 160]).unwrap();
        assert_eq!(ColourAugmentation::ColourJitter.of(&stained), ColourAugmentation::ColourJitter);
    }
}
