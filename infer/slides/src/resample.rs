//! Resampling on one grid for the whole slide: an output pixel depends on its global coordinates only, not on the requested region.

use super::Rgb;

/// Filter taps of one output coordinate: source coordinates and their weights, which sum to 1.
struct Taps {
    /// First source coordinate, not yet clamped to the image.
    first: i64,
    weights: Vec<f32>,
}

/// Returns the taps of output coordinate `at`; one output pixel spans `factor` source pixels.
///
/// Downsampling averages the span `[at factor, (at + 1) factor)` by area; upsampling interpolates linearly between pixel centres.
fn taps(at: u64, factor: f64) -> Taps {
    if factor >= 1.0 {
        let (from, to) = (at as f64 * factor, (at + 1) as f64 * factor);
        let (first, end) = (from.floor() as i64, to.ceil() as i64);
        let covered = |i: i64| (to.min(i as f64 + 1.0) - from.max(i as f64)).max(0.0);
        return Taps { first, weights: (first..end).map(|i| (covered(i) / factor) as f32).collect() };
    }
    let centre = (at as f64 + 0.5) * factor - 0.5;
    let fraction = (centre - centre.floor()) as f32;
    Taps { first: centre.floor() as i64, weights: vec![1.0 - fraction, fraction] }
}

/// Returns the source coordinates `[first, end)` that the output coordinates `at..at + count` read, clamped to `0..limit`.
pub fn source_span(at: u64, count: usize, factor: f64, limit: u64) -> (i64, i64) {
    let (first, last) = (taps(at, factor), taps(at + count as u64 - 1, factor));
    let end = last.first + last.weights.len() as i64;
    (first.first.clamp(0, limit as i64 - 1), end.clamp(1, limit as i64))
}

/// Rectangle of the source image, with its position and the size of the source.
pub struct Piece<'a> {
    /// Pixels, which contain all of [`source_span`] along both axes.
    pub pixels: &'a Rgb,
    /// Column and row of the first pixel of the rectangle in the source.
    pub origin: [i64; 2],
    /// Columns and rows of the whole source, whose border is repeated outside.
    pub source: [u64; 2],
}

/// Computes `width * height` output pixels from column `x` and row `y` of the output grid; `factor` is the number of source pixels per output
/// pixel along x and y.
pub fn resample(piece: &Piece<'_>, factor: [f64; 2], [x, y]: [u64; 2], width: usize, height: usize) -> Rgb {
    let columns: Vec<Taps> = (x..x + width as u64).map(|at| taps(at, factor[0])).collect();
    let index = |at: i64, axis: usize| (at.clamp(0, piece.source[axis] as i64 - 1) - piece.origin[axis]) as usize;
    let row_of = |source_row: i64| -> Vec<f32> {
        let row = piece.pixels.row(index(source_row, 1));
        let mut sums = Vec::with_capacity(width * 3);
        for tap in &columns {
            let mut sum = [0f32; 3];
            for (i, weight) in tap.weights.iter().enumerate() {
                let at = index(tap.first + i as i64, 0) * 3;
                (0..3).for_each(|c| sum[c] += weight * f32::from(row[at + c]));
            }
            sums.extend(sum);
        }
        sums
    };
    let mut rows = RowCache { kept: Vec::new() };
    let mut data = Vec::with_capacity(width * height * 3);
    for at in y..y + height as u64 {
        let tap = taps(at, factor[1]);
        let mut sums = vec![0f32; width * 3];
        for (i, &weight) in tap.weights.iter().enumerate() {
            let row = rows.get(tap.first + i as i64, row_of);
            sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += weight * value);
        }
        data.extend(sums.iter().map(|sum| sum.round_ties_even().clamp(0.0, 255.0) as u8));
        rows.drop_before(tap.first);
    }
    Rgb { width, height, data }
}

/// Source rows that are already resampled along x. Consecutive output rows have at most two source rows in common.
struct RowCache {
    kept: Vec<(i64, Vec<f32>)>,
}

impl RowCache {
    /// Returns a source row, computed by `make` if it is not cached.
    fn get(&mut self, row: i64, make: impl Fn(i64) -> Vec<f32>) -> &[f32] {
        let found = self.kept.iter().position(|(kept, _)| *kept == row);
        let at = found.unwrap_or_else(|| {
            self.kept.push((row, make(row)));
            self.kept.len() - 1
        });
        &self.kept[at].1
    }

    /// Drops source rows up to row `first`.
    fn drop_before(&mut self, first: i64) {
        self.kept.retain(|(row, _)| *row > first);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(width: usize, height: usize) -> Rgb {
        let data = (0..width * height * 3).map(|i| (i as u32).wrapping_mul(2_654_435_761).rotate_left(9) as u8).collect();
        Rgb { width, height, data }
    }

    fn whole(pixels: &Rgb) -> Piece<'_> {
        Piece { pixels, origin: [0, 0], source: [pixels.width as u64, pixels.height as u64] }
    }

    #[test]
    fn halving_returns_the_mean_of_four_pixels() {
        let pixels = noise(8, 6);
        let half = resample(&whole(&pixels), [2.0, 2.0], [0, 0], 4, 3);
        for (x, y) in [(0, 0), (3, 2), (1, 1)] {
            let sum = |c: usize| (0..4).map(|i| f32::from(pixels.at(2 * x + i % 2, 2 * y + i / 2)[c])).sum::<f32>();
            assert_eq!(half.at(x, y), std::array::from_fn(|c| (sum(c) / 4.0).round_ties_even() as u8));
        }
    }

    #[test]
    fn a_region_has_the_same_pixels_as_the_whole_image() {
        let pixels = noise(61, 47);
        for factor in [0.4, 0.93, 1.013, 1.7, 2.0, 3.31] {
            let (width, height) = ((61.0 / factor) as usize, (47.0 / factor) as usize);
            let all = resample(&whole(&pixels), [factor; 2], [0, 0], width, height);
            let (x, y) = (width / 3, height / 2);
            let (w, h) = (width - x, height - y - 1);
            let (left, right) = source_span(x as u64, w, factor, 61);
            let (top, bottom) = source_span(y as u64, h, factor, 47);
            let mut cut = Rgb::filled((right - left) as usize, (bottom - top) as usize, [0; 3]);
            cut.paste(&pixels, -left, -top);
            let piece = Piece { pixels: &cut, origin: [left, top], source: [61, 47] };
            let part = resample(&piece, [factor; 2], [x as u64, y as u64], w, h);
            for row in 0..h {
                assert_eq!(part.row(row), &all.row(y + row)[x * 3..(x + w) * 3], "factor {factor}");
            }
        }
    }
}
