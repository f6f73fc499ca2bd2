//! How an image was made, told from its colours: the three groups into which the papers' k-means divides DSB2018.

use super::image_file::RgbImage;
use crate::config::ColourAugmentation;

/// Mean of `max - min` over red, green and blue above which an image is coloured (of 255).
const COLOURED: f64 = 0.5;
/// Median grey above which the ground is bright.
const BRIGHT: u8 = 128;
/// Median grey up to which a coloured image is light on a dark ground: stained tissue is rarely so dark.
const DARK: u8 = 64;

/// `histopathology`, `brightfield` or `fluorescence`: coloured; else with a bright ground; else dark.
pub fn modality(image: &RgbImage) -> &'static str {
    let pixels = image.data.as_chunks::<3>().0;
    let spread: u64 = pixels.iter().map(|[r, g, b]| u64::from(*r.max(g).max(b) - *r.min(g).min(b))).sum();
    if spread as f64 > COLOURED * pixels.len() as f64 {
        return "histopathology";
    }
    if median_grey(pixels) > BRIGHT { "brightfield" } else { "fluorescence" }
}

impl ColourAugmentation {
    /// What `auto` means for an image: stains vary where colours lie on a bright ground, as light that goes through stained tissue
    /// makes them; any hue where they lie on a dark one; of grey images the brightness. Anything else means itself.
    #[must_use]
    pub fn of(self, image: &RgbImage) -> Self {
        if self != Self::Auto {
            self
        } else if modality(image) != "histopathology" {
            Self::Brightness
        } else if median_grey(image.data.as_chunks::<3>().0) > DARK {
            Self::StainJitter
        } else {
            Self::ColourJitter
        }
    }
}

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
    fn colour_decides_first_then_the_ground() {
        let of = |data: Vec<u8>| modality(&RgbImage::new(data.len() / 3, 1, data).unwrap());
        assert_eq!(of(vec![200, 90, 160, 240, 240, 240]), "histopathology");
        assert_eq!(of(vec![200, 200, 200, 220, 220, 220, 10, 10, 10]), "brightfield");
        assert_eq!(of(vec![20, 20, 20, 20, 20, 20, 250, 250, 250]), "fluorescence");
        // One step of colour in three pixels is below the limit; in every pixel it is above.
        assert_eq!(of(vec![20, 20, 21, 20, 20, 20, 20, 20, 20]), "fluorescence");
        assert_eq!(of(vec![20, 20, 21, 20, 20, 21]), "histopathology");
        assert_eq!(of(vec![129; 3]), "brightfield");
        assert_eq!(of(vec![128; 3]), "fluorescence");
    }
    #[test]
    fn stains_vary_on_a_bright_ground_only() {
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
