//! Parity: pixel-by-pixel comparison of two ways of computing a model's probabilities.

use serde::{Deserialize, Serialize};

use crate::decode::quantise;

/// Difference of two probability maps of the same size.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Parity {
    /// Number of compared pixels.
    pub pixels: usize,
    /// Largest difference of a probability.
    pub max_change: f64,
    /// Mean difference of a probability.
    pub mean_change: f64,
    /// Fraction of pixels that are nucleus in one map and background in the other.
    pub flipped_share: f64,
}

impl Parity {
    /// Compares quantised probabilities; `level` is the lowest one that counts as nucleus, see
    /// [`Decoding::first_foreground_level`](crate::decode::Decoding::first_foreground_level).
    ///
    /// # Panics
    /// The maps have different sizes.
    pub fn of_levels(expected: &[u8], found: &[u8], level: u8) -> Self {
        assert_eq!(expected.len(), found.len(), "maps of one size");
        let (mut max, mut sum, mut flipped) = (0, 0, 0);
        for (&a, &b) in expected.iter().zip(found) {
            let change = u64::from(a.abs_diff(b));
            max = max.max(change);
            sum += change;
            flipped += usize::from((a >= level) != (b >= level));
        }
        let pixels = expected.len().max(1) as f64;
        Self {
            pixels: expected.len(),
            max_change: max as f64 / 255.0,
            mean_change: sum as f64 / 255.0 / pixels,
            flipped_share: flipped as f64 / pixels,
        }
    }

    /// Compares probabilities in f32; `level` as in [`Parity::of_levels`].
    ///
    /// # Panics
    /// The maps have different sizes.
    pub fn of_probabilities(expected: &[f32], found: &[f32], level: u8) -> Self {
        assert_eq!(expected.len(), found.len(), "maps of one size");
        let changes = || found.iter().zip(expected).map(|(a, b)| f64::from((a - b).abs()));
        let flipped = found.iter().zip(expected).filter(|(a, b)| (quantise(**a) >= level) != (quantise(**b) >= level)).count();
        let pixels = found.len();
        Self {
            pixels,
            max_change: changes().fold(0.0, f64::max),
            mean_change: changes().sum::<f64>() / pixels as f64,
            flipped_share: flipped as f64 / pixels as f64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantised_maps_are_compared_pixel_by_pixel() {
        let parity = Parity::of_levels(&[0, 100, 127, 255], &[0, 100, 128, 204], 128);
        assert_eq!((parity.pixels, parity.flipped_share, parity.max_change), (4, 0.25, 0.2));
        assert!((parity.mean_change - 52.0 / 255.0 / 4.0).abs() < 1e-12);
    }

    #[test]
    fn probabilities_are_compared_before_and_their_classes_after_quantisation() {
        let parity = Parity::of_probabilities(&[0.0, 0.25, 0.498, 1.0], &[0.0, 0.25, 0.5, 0.75], 128);
        assert_eq!((parity.pixels, parity.flipped_share, parity.max_change), (4, 0.25, 0.25));
        assert!((parity.mean_change - 0.252 / 4.0).abs() < 1e-7);
    }
}
