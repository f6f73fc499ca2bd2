//! A convolution with a single channel of output: dot products along the channels of each window.

use rayon::prelude::*;

use crate::Shape;
use crate::halo_rows::HaloRows;
use crate::simd::{F32x16, Isa, Work, run_on};

/// A square filter with one output, stride 1, zero padding `kernel / 2`.
pub struct Single<'a> {
    /// Side, odd.
    pub kernel: usize,
    /// `[tap][channel]`; channels are a multiple of 16.
    pub weights: &'a [f32],
    /// Added to every sum.
    pub bias: f32,
}

impl Single<'_> {
    /// One value for each pixel of `x`, which has the shape and a margin.
    pub fn convolve(&self, isa: Isa, x: &[f32], shape: Shape, margin: HaloRows, out: &mut [f32]) {
        let Shape { batch, height, width, channels } = shape;
        assert!(channels.is_multiple_of(16) && self.kernel % 2 == 1 && self.weights.len() == self.kernel * self.kernel * channels);
        margin.check(batch);
        assert!(x.len() == batch * margin.rows(height) * width * channels && out.len() == batch * height * width);
        out.par_chunks_mut(width).enumerate().for_each(|(row, out)| {
            run_on(isa, Row { single: self, x, shape, margin, index: row, out });
        });
    }
}

/// One row of results; `index` counts over all images.
struct Row<'a> {
    single: &'a Single<'a>,
    x: &'a [f32],
    shape: Shape,
    margin: HaloRows,
    index: usize,
    out: &'a mut [f32],
}

impl Row<'_> {
    /// The sum at `column` over the taps of each kernel row in `rows` that lie inside.
    #[inline(always)]
    unsafe fn at<L: F32x16>(&self, column: usize, columns: std::ops::Range<usize>, rows: std::ops::Range<usize>) -> f32 {
        let Shape { height, width, channels, .. } = self.shape;
        let (kernel, half) = (self.single.kernel, self.single.kernel / 2);
        let (image, y) = (self.index / height, self.index % height + self.margin.above);
        let height = self.margin.rows(height);
        // SAFETY: `rows` and `columns` are those whose taps are inside the map.
        unsafe {
            let mut sum = L::zero();
            for i in rows {
                let first = ((image * height + y + i - half) * width + column + columns.start - half) * channels;
                let (from, weight) =
                    (self.x.as_ptr().add(first), self.single.weights.as_ptr().add((i * kernel + columns.start) * channels));
                for k in (0..columns.len() * channels).step_by(16) {
                    sum = sum.plus_product(L::load(from.add(k)), L::load(weight.add(k)));
                }
            }
            sum.sum() + self.single.bias
        }
    }
}

impl Work for Row<'_> {
    #[inline(always)]
    unsafe fn run<L: F32x16>(self) {
        let Shape { height, width, .. } = self.shape;
        let (kernel, half) = (self.single.kernel, self.single.kernel / 2);
        let inside = |at: usize, size: usize| half.saturating_sub(at)..kernel.min(size + half - at);
        let rows = inside(self.index % height + self.margin.above, self.margin.rows(height));
        for column in 0..width {
            // SAFETY: taps outside are left out.
            self.out[column] = unsafe { self.at::<L>(column, inside(column, width), rows.clone()) };
        }
    }
}
