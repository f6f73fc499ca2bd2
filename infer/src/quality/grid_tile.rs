//! Measures of one grid tile. All sums are of integers, so that the order of summation does not matter.

use std::ops::Range;
use std::sync::LazyLock;

use models::colour::{ColourStatistics, ColourSum, of_grid_tile};

use super::PixelStrip;

/// Least variance of grey values for a focus value: a standard deviation of 5 levels. Flatter tiles show nothing that could be in focus.
const MIN_VARIANCE: f64 = 25.0;

/// Quality measures of a grid tile.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Measures {
    /// Mean entropy of the probabilities in bits: 0 for probabilities 0 and 1, 1 for probability 0.5.
    pub entropy: f64,
    /// Variance of the Laplacian over the variance of the grey values: 0.1 to 3 in focus, below 0.06 blurred; `None` for a flat tile.
    pub focus: Option<f64>,
    /// Stain distance: deviation from the colours of the training images, in standard deviations; `None` with hardly any stain, or without
    /// colour statistics on the model card.
    pub stain: Option<f64>,
}

impl Measures {
    /// Returns the pixel of the quality map: `255 entropy`, `64 focus`, `16 stain`, each clamped to 1..=255; 0 for unknown values.
    pub fn bytes(&self) -> [u8; 3] {
        let byte = |value: Option<f64>, times: f64| value.map_or(0, |value| (value * times).round().clamp(1.0, 255.0) as u8);
        [byte(Some(self.entropy), 255.0), byte(self.focus, 64.0), byte(self.stain, 16.0)]
    }
}

/// Entropy of the probability `v / 255` in units of 2^-20 bits.
static ENTROPY: LazyLock<[u64; 256]> = LazyLock::new(|| {
    let part = |p: f64| if p > 0.0 { -p * p.log2() } else { 0.0 };
    std::array::from_fn(|v| ((part(v as f64 / 255.0) + part(1.0 - v as f64 / 255.0)) * f64::from(1 << 20)).round() as u64)
});

/// Returns the mean entropy in bits of probabilities `round(255 p)`; 0 without probabilities.
pub fn mean_entropy(probabilities: &[u8]) -> f64 {
    let sum: u64 = probabilities.iter().map(|&v| ENTROPY[usize::from(v)]).sum();
    sum as f64 / f64::from(1 << 20) / probabilities.len().max(1) as f64
}

/// Measures the grid tile at some columns of a strip of `width` columns.
pub(super) fn measure(strip: &PixelStrip, width: usize, columns: Range<usize>, trained_on: Option<&ColourStatistics>) -> Measures {
    let (mut entropy, mut stained) = (0, ColourSum::default());
    let mut grey: Vec<Vec<i64>> = Vec::with_capacity(models::colour::GRID_TILE);
    let rows = strip.probabilities.chunks_exact(width).zip(strip.colours.chunks_exact(3 * width));
    for (probabilities, colours) in rows {
        entropy += probabilities[columns.clone()].iter().map(|&v| ENTROPY[usize::from(v)]).sum::<u64>();
        let pixels = &colours[3 * columns.start..3 * columns.end];
        stained.add_stained(pixels);
        grey.push(pixels.as_chunks::<3>().0.iter().copied().map(luminance).collect());
    }
    let pixels = (grey.len() * columns.len()) as u64;
    Measures {
        entropy: entropy as f64 / f64::from(1 << 20) / pixels.max(1) as f64,
        focus: focus(&grey),
        stain: trained_on.and_then(|trained_on| Some(trained_on.distance(of_grid_tile(&stained, pixels)?))),
    }
}

/// Returns the luminance of ITU-R BT.601, with weights in 256ths.
fn luminance([r, g, b]: [u8; 3]) -> i64 {
    (77 * i64::from(r) + 150 * i64::from(g) + 29 * i64::from(b)) / 256
}

/// Returns the variance of the Laplacian (Pech-Pacheco et al. 2000) of inner pixels, divided by the variance of grey values, so that the
/// value does not depend on contrast.
fn focus(grey: &[Vec<i64>]) -> Option<f64> {
    let (mut values, mut edges) = (Variance::default(), Variance::default());
    grey.iter().flatten().for_each(|&v| values.add(v));
    for rows in grey.windows(3) {
        for (x, row) in rows[1].windows(3).enumerate() {
            edges.add(4 * row[1] - row[0] - row[2] - rows[0][x + 1] - rows[2][x + 1]);
        }
    }
    let variance = values.get().filter(|&variance| variance >= MIN_VARIANCE)?;
    Some(edges.get()? / variance)
}

/// Running sums of a variance.
#[derive(Default)]
struct Variance {
    count: i64,
    sum: i64,
    squares: i64,
}

impl Variance {
    fn add(&mut self, value: i64) {
        (self.count, self.sum, self.squares) = (self.count + 1, self.sum + value, self.squares + value * value);
    }

    /// Returns the variance; `None` without values.
    fn get(&self) -> Option<f64> {
        let n = self.count as f64;
        (self.count > 0).then(|| self.squares as f64 / n - (self.sum as f64 / n).powi(2))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strip(width: usize, height: usize, pixel: impl Fn(usize, usize) -> u8) -> PixelStrip {
        let values: Vec<u8> = (0..width * height).map(|i| pixel(i % width, i / width)).collect();
        PixelStrip { y: 0, colours: values.iter().flat_map(|&v| [v; 3]).collect(), probabilities: values }
    }

    #[test]
    fn entropy_and_focus_follow_their_formulas() {
        // With stripes two pixels wide, every inner Laplacian is ±(b - a), and the variance of grey values is a quarter of (b - a)².
        let stripes = strip(64, 32, |x, _| if x / 2 % 2 == 0 { 0 } else { 255 });
        let measures = measure(&stripes, 64, 0..64, None);
        assert!((measures.focus.unwrap() - 4.0).abs() < 0.02 && measures.entropy == 0.0 && measures.stain.is_none(), "{measures:?}");
        let half = measure(&strip(40, 9, |_, _| 128), 40, 8..40, None);
        assert!((half.entropy - 1.0).abs() < 1e-4 && half.focus.is_none());
        assert_eq!(half.bytes(), [255, 0, 0]);
        // The Laplacian of a ramp is 0.
        let ramp = measure(&strip(64, 64, |x, y| (x + y) as u8), 64, 0..64, None);
        assert!(ramp.focus.unwrap() < 1e-9);
    }

    #[test]
    fn small_tiles_at_the_border_have_finite_measures() {
        for (width, height) in [(1, 1), (2, 9), (3, 3)] {
            let measures = measure(&strip(width, height, |x, y| (97 * x + 31 * y) as u8), width, 0..width, None);
            assert!(measures.focus.is_none_or(f64::is_finite) && measures.entropy <= 1.0);
        }
    }
}
