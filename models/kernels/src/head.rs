//! Convolution with a single output channel, such as the segmentation head: a dot product along the channels of each window.

use rayon::prelude::*;

use crate::Shape;
use crate::halo_rows::HaloRows;
use crate::simd::{F32x16, Isa, SimdKernel, run_on};

/// A square convolution with one output channel, stride 1 and zero padding `kernel / 2`.
pub struct SingleOutputConv<'a> {
    /// Side of the kernel, odd.
    pub kernel: usize,
    /// Weights, `[tap][channel]`; channels are a multiple of 16.
    pub weights: &'a [f32],
    /// Bias.
    pub bias: f32,
}

impl SingleOutputConv<'_> {
    /// Convolves `x`, `B H W C` (`shape`) with halo rows, into `out`, `B H W`.
    ///
    /// A sum runs in sixteen lanes over the taps inside the feature map and their channels; the lanes are added last.
    pub fn convolve(&self, isa: Isa, x: &[f32], shape: Shape, halo: HaloRows, out: &mut [f32]) {
        let Shape { batch, height, width, channels } = shape;
        assert!(channels.is_multiple_of(16) && self.kernel % 2 == 1 && self.weights.len() == self.kernel * self.kernel * channels);
        halo.check(batch);
        assert!(x.len() == batch * halo.rows(height) * width * channels && out.len() == batch * height * width);
        out.par_chunks_mut(width).enumerate().for_each(|(row, out)| {
            run_on(isa, OutputRow { conv: self, x, shape, halo, index: row, out });
        });
    }
}

/// One output row; `index` counts the rows of all images.
struct OutputRow<'a> {
    conv: &'a SingleOutputConv<'a>,
    x: &'a [f32],
    shape: Shape,
    halo: HaloRows,
    index: usize,
    out: &'a mut [f32],
}

impl OutputRow<'_> {
    /// Computes the value at `column` from the kernel rows `rows` and kernel columns `columns`, which lie inside the feature map.
    #[inline(always)]
    unsafe fn at<L: F32x16>(&self, column: usize, columns: std::ops::Range<usize>, rows: std::ops::Range<usize>) -> f32 {
        let Shape { height, width, channels, .. } = self.shape;
        let (kernel, half) = (self.conv.kernel, self.conv.kernel / 2);
        let (image, y) = (self.index / height, self.index % height + self.halo.above);
        let height = self.halo.rows(height);
        // SAFETY: all taps of `rows` and `columns` read pixels inside the feature map.
        unsafe {
            let mut sum = L::zero();
            for i in rows {
                let first = ((image * height + y + i - half) * width + column + columns.start - half) * channels;
                let (from, weight) = (self.x.as_ptr().add(first), self.conv.weights.as_ptr().add((i * kernel + columns.start) * channels));
                for k in (0..columns.len() * channels).step_by(16) {
                    sum = sum.plus_product(L::load(from.add(k)), L::load(weight.add(k)));
                }
            }
            sum.sum() + self.conv.bias
        }
    }
}

impl SimdKernel for OutputRow<'_> {
    #[inline(always)]
    unsafe fn run<L: F32x16>(self) {
        let Shape { height, width, .. } = self.shape;
        let (kernel, half) = (self.conv.kernel, self.conv.kernel / 2);
        let inside = |at: usize, size: usize| half.saturating_sub(at)..kernel.min(size + half - at);
        let rows = inside(self.index % height + self.halo.above, self.halo.rows(height));
        for column in 0..width {
            // SAFETY: `inside` drops the taps outside the feature map.
            self.out[column] = unsafe { self.at::<L>(column, inside(column, width), rows.clone()) };
        }
    }
}
