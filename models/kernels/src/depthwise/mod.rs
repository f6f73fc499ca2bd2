//! Depthwise 3x3 convolution (one filter for each channel), forward and backward, and the fused inverted residual block of `MobileNetV2`
//! (Sandler et al., CVPR 2018).
//!
//! A depthwise convolution is bound by memory, so each pass reads and writes a feature map once. Every sum runs in an order that depends on
//! shapes alone.

mod inverted_residual;
mod weight_gradient;

use std::ops::Range;

use rayon::prelude::*;

use crate::epilogue::Epilogue;
use crate::geometry::Geometry;
use crate::scratch::{Buffer, Pool, SharedMut};
use crate::simd::{F32x16, Isa, SimdKernel, run_on};
pub use inverted_residual::{InvertedResidual, pays};

/// A depthwise 3x3 convolution with zero padding 1: `y[p][c] = sum over taps t of x[p + t][c] * w[t][c]`. Weights are `[tap][channel]`.
pub struct Depthwise<'a> {
    /// Instruction set, from [`Isa::available`].
    pub isa: Isa,
    /// Pool of the weight gradient.
    pub pool: &'a Pool,
    /// Sizes; `kernel` must be 3.
    pub geometry: Geometry,
    /// Input and output channels, `C`.
    pub channels: usize,
}

/// Transposes weights `C 1 3 3` (9 `taps`) to `[tap][channel]`, or back if `taps` and `channels` are exchanged.
pub fn transposed(weight: &[f32], channels: usize, taps: usize) -> Vec<f32> {
    assert_eq!(weight.len(), channels * taps);
    (0..taps).flat_map(|tap| (0..channels).map(move |c| weight[c * taps + tap])).collect()
}

/// The taps of one axis that lie inside the source, with the row (or column) that each reads, in ascending order of rows.
#[derive(Clone, Copy, Default)]
struct ValidTaps {
    tap: [usize; 3],
    source: [usize; 3],
    count: usize,
}

impl ValidTaps {
    /// Collects at most three pairs of tap and source row.
    fn of(pairs: impl Iterator<Item = (usize, usize)>) -> Self {
        let mut taps = Self::default();
        for (tap, source) in pairs {
            (taps.tap[taps.count], taps.source[taps.count]) = (tap, source);
            taps.count += 1;
        }
        taps
    }

    /// Returns the taps of an output whose middle tap reads row `middle` of `size`.
    fn forward(middle: usize, size: usize) -> Self {
        Self::of((0..3).map(|tap| (tap, (middle + tap).wrapping_sub(1))).filter(|&(_, source)| source < size))
    }

    /// Returns the same taps with rows relative to row `first`.
    fn relative_to(mut self, first: usize) -> Self {
        self.source[..self.count].iter_mut().for_each(|source| *source -= first);
        self
    }

    /// Returns the taps of input row `at` in backward-data: each reads one of the `size` gradient rows to which the input row contributed.
    fn backward(at: usize, stride: usize, size: usize) -> Self {
        let twice = |tap: usize| (tap, (at + 1).wrapping_sub(tap));
        let reached = (0..3).rev().map(twice).filter(|&(_, source)| source.is_multiple_of(stride) && source / stride < size);
        Self::of(reached.map(|(tap, source)| (tap, source / stride)))
    }
}

impl Depthwise<'_> {
    /// Convolves `x`, `B H W C`, into `out`, `B H' W' C`, and applies the epilogue.
    pub fn convolve(&self, x: &[f32], weights: &[f32], epilogue: Epilogue, out: &mut [f32]) {
        let Geometry { batch, height, width, stride, halo, .. } = self.geometry;
        let (rows, columns) = self.geometry.output();
        let source_rows = halo.rows(height);
        halo.check(batch);
        assert!(x.len() == batch * source_rows * width * self.channels && out.len() == batch * rows * columns * self.channels);
        let taps = [(0..rows, halo.above, source_rows), (0..columns, 0, width)]
            .map(|(range, above, size)| range.map(|at| ValidTaps::forward(at * stride + above, size)).collect());
        self.apply(x, [source_rows, width], weights, &taps, epilogue, out);
    }

    /// Computes the gradient at the input, `dx`, `B H W C`, from the gradient at the output, `dy`, `B H' W' C`.
    pub fn data_gradient(&self, dy: &[f32], weights: &[f32], dx: &mut [f32]) {
        let Geometry { batch, height, width, stride, .. } = self.geometry;
        let (rows, columns) = self.geometry.output();
        assert!(dx.len() == batch * height * width * self.channels && dy.len() == batch * rows * columns * self.channels);
        let taps =
            [(0..height, rows), (0..width, columns)].map(|(range, size)| range.map(|at| ValidTaps::backward(at, stride, size)).collect());
        self.apply(dy, [rows, columns], weights, &taps, Epilogue::default(), dx);
    }

    /// Computes `to`, one row per task, from the taps of each row and column (`taps`) in images of `extents` rows and columns.
    fn apply(&self, from: &[f32], extents: [usize; 2], weights: &[f32], taps: &[Vec<ValidTaps>; 2], epilogue: Epilogue, to: &mut [f32]) {
        assert!(self.geometry.kernel == 3 && weights.len() == 9 * self.channels);
        epilogue.check(self.channels, to.len());
        let [rows, columns] = taps;
        let len = columns.len() * self.channels;
        let target = SharedMut::new(to);
        (0..self.geometry.batch * rows.len()).into_par_iter().for_each(|row| {
            let image = &from[row / rows.len() * extents[0] * extents[1] * self.channels..][..extents[0] * extents[1] * self.channels];
            let rows = rows[row % rows.len()];
            run_on(
                self.isa,
                OutputRow { image, width: extents[1], weights, rows, columns, channels: self.channels, epilogue, at: row * len, target },
            );
        });
    }

    /// Returns the gradient of the weights, `[tap][channel]`, from the input `x` and the gradient at the output `dy`.
    pub fn weight_gradient(&self, x: &[f32], dy: &[f32]) -> Buffer {
        weight_gradient::weight_gradient(self, x, dy)
    }
}

/// Bytes of one row of a block of columns: three source rows and one output row of a block stay in cache while all its channels are
/// computed.
const ROW_BYTES: usize = 24 << 10;

/// One output row.
struct OutputRow<'a> {
    /// Source image, `[row][column][channel]`.
    image: &'a [f32],
    /// Columns of the source image.
    width: usize,
    weights: &'a [f32],
    rows: ValidTaps,
    columns: &'a [ValidTaps],
    channels: usize,
    epilogue: Epilogue<'a>,
    /// Index of the row's first value in the output.
    at: usize,
    target: SharedMut,
}

impl SimdKernel for OutputRow<'_> {
    #[inline(always)]
    unsafe fn run<L: F32x16>(self) {
        let (whole, count) = (self.channels / 16 * 16, self.columns.len());
        let step = (ROW_BYTES / (4 * self.channels)).max(8);
        // SAFETY: valid taps read rows and columns inside the image; tasks write different rows.
        unsafe {
            for first in (0..count).step_by(step) {
                let columns = first..(first + step).min(count);
                for c in (0..whole).step_by(L::Register::WIDTH) {
                    self.channel_block::<L::Register>(c, columns.clone());
                }
            }
            for c in whole..self.channels {
                self.scalar_channel(c);
            }
        }
    }
}

impl OutputRow<'_> {
    /// Computes the channels `c..c + L::WIDTH` of some columns.
    #[inline(always)]
    unsafe fn channel_block<L: F32x16>(&self, c: usize, columns: Range<usize>) {
        let mut filter = None;
        for column in columns {
            let taps = &self.columns[column];
            let at = self.at + column * self.channels + c;
            // SAFETY: as in `run`.
            unsafe {
                let sum = if self.rows.count == 3 && taps.count == 3 {
                    let filter = *filter.get_or_insert_with(|| self.filter::<L>(taps, c));
                    self.interior(filter, taps.source[0], c)
                } else {
                    self.border(taps, c)
                };
                self.epilogue.apply_vector(sum, c, at).store(self.target.get().add(at));
            }
        }
    }

    /// Loads the weights of a window without padding, in the order of its pixels.
    #[inline(always)]
    unsafe fn filter<L: F32x16>(&self, columns: &ValidTaps, c: usize) -> [L; 9] {
        // SAFETY: taps are below 9, and `apply` checks the length of the weights.
        std::array::from_fn(|i| unsafe { self.weight(self.rows.tap[i / 3], columns.tap[i % 3], c) })
    }

    /// Loads the weights of one tap.
    #[inline(always)]
    unsafe fn weight<L: F32x16>(&self, row: usize, column: usize, c: usize) -> L {
        // SAFETY: as above.
        unsafe { L::load(self.weights.as_ptr().add((3 * row + column) * self.channels + c)) }
    }

    /// Sums a window without padding, three rows of three adjacent pixels from column `first` on.
    #[inline(always)]
    unsafe fn interior<L: F32x16>(&self, filter: [L; 9], first: usize, c: usize) -> L {
        // SAFETY: as in `run`. Each row has its own accumulator, so that multiply-adds of different rows overlap.
        unsafe {
            let mut sums = [L::zero(); 3];
            for i in 0..3 {
                let from = self.image.as_ptr().add((self.rows.source[i] * self.width + first) * self.channels + c);
                for j in 0..3 {
                    sums[i] = sums[i].plus_product(L::load(from.add(j * self.channels)), filter[3 * i + j]);
                }
            }
            sums[0].plus(sums[1]).plus(sums[2])
        }
    }

    /// Sums a window at the border, whose taps in the padding are left out.
    #[inline(always)]
    unsafe fn border<L: F32x16>(&self, columns: &ValidTaps, c: usize) -> L {
        // SAFETY: as in `run`.
        unsafe {
            let mut sum = L::zero();
            for i in 0..self.rows.count {
                for j in 0..columns.count {
                    let pixel = self.rows.source[i] * self.width + columns.source[j];
                    let value = L::load(self.image.as_ptr().add(pixel * self.channels + c));
                    sum = sum.plus_product(value, self.weight(self.rows.tap[i], columns.tap[j], c));
                }
            }
            sum
        }
    }

    /// Computes one channel of all columns, for channels beyond the last whole vector.
    unsafe fn scalar_channel(&self, c: usize) {
        for (column, taps) in self.columns.iter().enumerate() {
            let mut sum = 0.0;
            for i in 0..self.rows.count {
                for j in 0..taps.count {
                    let pixel = self.rows.source[i] * self.width + taps.source[j];
                    sum += self.image[pixel * self.channels + c] * self.weights[(3 * self.rows.tap[i] + taps.tap[j]) * self.channels + c];
                }
            }
            let at = self.at + column * self.channels + c;
            // SAFETY: the value lies inside the output, in the row of this task.
            self.epilogue.apply_scalars(&[sum], c, at, unsafe { std::slice::from_raw_parts_mut(self.target.get().add(at), 1) });
        }
    }
}
