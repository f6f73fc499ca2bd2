//! 3x3 convolutions of each channel by itself (the depthwise part of Sandler et al., CVPR 2018): little arithmetic, so that each map is
//! read and written once.

mod inverted_residual;
mod weight_gradient;

use std::ops::Range;

use rayon::prelude::*;

use crate::epilogue::Epilogue;
use crate::geometry::Geometry;
use crate::scratch::{Buffer, Pool, Shared};
use crate::simd::{F32x16, Isa, Work, run_on};
pub use inverted_residual::{InvertedResidual, pays};

/// A 3x3 filter for each channel, zero padding 1. Weights are `[tap][channel]`.
pub struct Depthwise<'a> {
    /// Instruction set.
    pub isa: Isa,
    /// Where buffers come from.
    pub pool: &'a Pool,
    /// Sizes; the kernel is 3.
    pub geometry: Geometry,
    /// Channels in and out.
    pub channels: usize,
}

/// `C 1 3 3` (9 `taps`) to `[tap][channel]`, or back with `taps` and `channels` exchanged.
pub fn transposed(weight: &[f32], channels: usize, taps: usize) -> Vec<f32> {
    assert_eq!(weight.len(), channels * taps);
    (0..taps).flat_map(|tap| (0..channels).map(move |c| weight[c * taps + tap])).collect()
}

/// Which of three taps read which row (or column) of the source, by ascending row; up to three.
#[derive(Clone, Copy, Default)]
struct Reads {
    tap: [usize; 3],
    source: [usize; 3],
    count: usize,
}

impl Reads {
    fn of(pairs: impl Iterator<Item = (usize, usize)>) -> Self {
        let mut reads = Self::default();
        for (tap, source) in pairs {
            (reads.tap[reads.count], reads.source[reads.count]) = (tap, source);
            reads.count += 1;
        }
        reads
    }

    /// For an output whose middle tap reads row `middle` of `size`.
    fn forward(middle: usize, size: usize) -> Self {
        Self::of((0..3).map(|tap| (tap, (middle + tap).wrapping_sub(1))).filter(|&(_, source)| source < size))
    }

    /// The same where the first row that is there is row `first`.
    fn less(mut self, first: usize) -> Self {
        self.source[..self.count].iter_mut().for_each(|source| *source -= first);
        self
    }

    /// The gradients, of `size` rows, to which input row `at` contributed.
    fn backward(at: usize, stride: usize, size: usize) -> Self {
        let twice = |tap: usize| (tap, (at + 1).wrapping_sub(tap));
        let reached = (0..3).rev().map(twice).filter(|&(_, source)| source.is_multiple_of(stride) && source / stride < size);
        Self::of(reached.map(|(tap, source)| (tap, source / stride)))
    }
}

impl Depthwise<'_> {
    /// The convolution of `x`, finished.
    pub fn convolve(&self, x: &[f32], weights: &[f32], finish: Epilogue, out: &mut [f32]) {
        let Geometry { batch, height, width, stride, margin, .. } = self.geometry;
        let (rows, columns) = self.geometry.output();
        let source_rows = margin.rows(height);
        margin.check(batch);
        assert!(x.len() == batch * source_rows * width * self.channels && out.len() == batch * rows * columns * self.channels);
        let reads = [(0..rows, margin.above, source_rows), (0..columns, 0, width)]
            .map(|(range, above, size)| range.map(|at| Reads::forward(at * stride + above, size)).collect());
        self.apply(x, [source_rows, width], weights, &reads, finish, out);
    }

    /// The gradient at the input.
    pub fn data_gradient(&self, dy: &[f32], weights: &[f32], dx: &mut [f32]) {
        let Geometry { batch, height, width, stride, .. } = self.geometry;
        let (rows, columns) = self.geometry.output();
        assert!(dx.len() == batch * height * width * self.channels && dy.len() == batch * rows * columns * self.channels);
        let reads =
            [(0..height, rows), (0..width, columns)].map(|(range, size)| range.map(|at| Reads::backward(at, stride, size)).collect());
        self.apply(dy, [rows, columns], weights, &reads, Epilogue::default(), dx);
    }

    fn apply(&self, from: &[f32], extents: [usize; 2], weights: &[f32], reads: &[Vec<Reads>; 2], finish: Epilogue, to: &mut [f32]) {
        assert!(self.geometry.kernel == 3 && weights.len() == 9 * self.channels);
        finish.check(self.channels, to.len());
        let [rows, columns] = reads;
        let len = columns.len() * self.channels;
        let target = Shared::new(to);
        (0..self.geometry.batch * rows.len()).into_par_iter().for_each(|row| {
            let image = &from[row / rows.len() * extents[0] * extents[1] * self.channels..][..extents[0] * extents[1] * self.channels];
            let rows = rows[row % rows.len()];
            run_on(
                self.isa,
                Row { image, width: extents[1], weights, rows, columns, channels: self.channels, finish, at: row * len, target },
            );
        });
    }

    /// The gradient of the weights, `[tap][channel]`.
    pub fn weight_gradient(&self, x: &[f32], dy: &[f32]) -> Buffer {
        weight_gradient::weight_gradient(self, x, dy)
    }
}

/// Values of three rows that are read, and of one that is written, which stay near while channels pass by.
const NEAR: usize = 24 << 10;

/// One row of results.
struct Row<'a> {
    image: &'a [f32],
    /// Columns of the image.
    width: usize,
    weights: &'a [f32],
    rows: Reads,
    columns: &'a [Reads],
    channels: usize,
    finish: Epilogue<'a>,
    /// Where the row begins in the result.
    at: usize,
    target: Shared,
}

impl Work for Row<'_> {
    #[inline(always)]
    unsafe fn run<L: F32x16>(self) {
        let (whole, count) = (self.channels / 16 * 16, self.columns.len());
        let step = (NEAR / (4 * self.channels)).max(8);
        // SAFETY: taps read rows and columns inside the image; tasks write different rows.
        unsafe {
            for first in (0..count).step_by(step) {
                let columns = first..(first + step).min(count);
                for c in (0..whole).step_by(L::Part::WIDTH) {
                    self.some::<L::Part>(c, columns.clone());
                }
            }
            for c in whole..self.channels {
                self.one(c);
            }
        }
    }
}

impl Row<'_> {
    /// Channels `c..c + L::WIDTH` of some columns.
    #[inline(always)]
    unsafe fn some<L: F32x16>(&self, c: usize, columns: Range<usize>) {
        let mut filter = None;
        for column in columns {
            let reads = &self.columns[column];
            let at = self.at + column * self.channels + c;
            // SAFETY: as in `run`.
            unsafe {
                let sum = if self.rows.count == 3 && reads.count == 3 {
                    let filter = *filter.get_or_insert_with(|| self.filter::<L>(reads, c));
                    self.whole(filter, reads.source[0], c)
                } else {
                    self.partial(reads, c)
                };
                self.finish.lanes(sum, c, at).store(self.target.get().add(at));
            }
        }
    }

    /// The weights in the order in which whole windows meet them.
    #[inline(always)]
    unsafe fn filter<L: F32x16>(&self, columns: &Reads, c: usize) -> [L; 9] {
        // SAFETY: nine times `channels` weights.
        std::array::from_fn(|i| unsafe { self.weight(self.rows.tap[i / 3], columns.tap[i % 3], c) })
    }

    #[inline(always)]
    unsafe fn weight<L: F32x16>(&self, row: usize, column: usize, c: usize) -> L {
        // SAFETY: as above.
        unsafe { L::load(self.weights.as_ptr().add((3 * row + column) * self.channels + c)) }
    }

    /// Three rows of three pixels side by side.
    #[inline(always)]
    unsafe fn whole<L: F32x16>(&self, filter: [L; 9], first: usize, c: usize) -> L {
        // SAFETY: as in `run`; a sum for each row, so that they do not wait for each other.
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

    #[inline(always)]
    unsafe fn partial<L: F32x16>(&self, columns: &Reads, c: usize) -> L {
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

    /// One channel of all columns.
    unsafe fn one(&self, c: usize) {
        for (column, reads) in self.columns.iter().enumerate() {
            let mut sum = 0.0;
            for i in 0..self.rows.count {
                for j in 0..reads.count {
                    let pixel = self.rows.source[i] * self.width + reads.source[j];
                    sum += self.image[pixel * self.channels + c] * self.weights[(3 * self.rows.tap[i] + reads.tap[j]) * self.channels + c];
                }
            }
            let at = self.at + column * self.channels + c;
            // SAFETY: inside the result, in this task's row.
            self.finish.write(&[sum], c, at, unsafe { std::slice::from_raw_parts_mut(self.target.get().add(at), 1) });
        }
    }
}
