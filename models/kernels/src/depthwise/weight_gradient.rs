//! Gradient of depthwise filters: `dw[t][c] = sum over output pixels p of x[p + t][c] * dy[p][c]`.
//!
//! A fixed number of tasks sum rows: 64 columns at a time in f32, then in f64. Totals are added in ascending order.

use rayon::prelude::*;

use super::{Depthwise, ValidTaps};
use crate::geometry::Geometry;
use crate::scratch::Buffer;
use crate::simd::{F32x16, SimdKernel, run_on};

/// Number of partial sums: fixed, so that results do not depend on the number of threads.
const PARTS: usize = 32;
/// Number of columns that are summed in f32 before they are added to the f64 totals.
const COLUMNS_PER_F32_SUM: usize = 64;

/// Returns the gradient of the weights, `[tap][channel]`.
pub fn weight_gradient(depthwise: &Depthwise, x: &[f32], dy: &[f32]) -> Buffer {
    let Geometry { batch, height, width, stride, .. } = depthwise.geometry;
    let ((rows, columns), channels) = (depthwise.geometry.output(), depthwise.channels);
    assert!(x.len() == batch * height * width * channels && dy.len() == batch * rows * columns * channels);
    let taps: Vec<ValidTaps> = (0..columns).map(|at| ValidTaps::forward(at * stride, width)).collect();
    let all = batch * rows;
    let parts: Vec<Vec<f64>> = (0..PARTS)
        .into_par_iter()
        .map(|part| {
            let mut total = vec![0.0; 9 * channels];
            for row in part * all / PARTS..(part + 1) * all / PARTS {
                let image = &x[row / rows * height * width * channels..][..height * width * channels];
                let dy = &dy[row * columns * channels..][..columns * channels];
                let rows = ValidTaps::forward(row % rows * stride, height);
                run_on(depthwise.isa, GradientRow { image, dy, width, channels, rows, columns: &taps, total: &mut total });
            }
            total
        })
        .collect();
    let mut out = depthwise.pool.take(9 * channels);
    for (i, out) in out.iter_mut().enumerate() {
        *out = parts.iter().map(|part| part[i]).sum::<f64>() as f32;
    }
    out
}

/// One row of output gradients, whose products are added to the totals.
struct GradientRow<'a> {
    image: &'a [f32],
    dy: &'a [f32],
    width: usize,
    channels: usize,
    rows: ValidTaps,
    columns: &'a [ValidTaps],
    /// Totals, `[tap][channel]`.
    total: &'a mut [f64],
}

impl SimdKernel for GradientRow<'_> {
    #[inline(always)]
    unsafe fn run<L: F32x16>(self) {
        let whole = self.channels / 16 * 16;
        for from in (0..self.columns.len()).step_by(COLUMNS_PER_F32_SUM) {
            let columns = from..(from + COLUMNS_PER_F32_SUM).min(self.columns.len());
            for c in (0..whole).step_by(16) {
                // SAFETY: valid taps read rows and columns inside the image.
                let sums = unsafe { self.channel_block::<L>(c, columns.clone()) };
                for (tap, sums) in sums.iter().enumerate() {
                    let total = &mut self.total[tap * self.channels + c..][..16];
                    total.iter_mut().zip(sums).for_each(|(total, sum)| *total += f64::from(*sum));
                }
            }
            for c in whole..self.channels {
                for column in columns.clone() {
                    let taps = &self.columns[column];
                    for (i, j) in (0..self.rows.count).flat_map(|i| (0..taps.count).map(move |j| (i, j))) {
                        let pixel = self.rows.source[i] * self.width + taps.source[j];
                        let product = self.image[pixel * self.channels + c] * self.dy[column * self.channels + c];
                        self.total[(3 * self.rows.tap[i] + taps.tap[j]) * self.channels + c] += f64::from(product);
                    }
                }
            }
        }
    }
}

impl GradientRow<'_> {
    /// Returns the sums of all nine taps over some columns, for the channels `c..c + 16`.
    #[inline(always)]
    unsafe fn channel_block<L: F32x16>(&self, c: usize, columns: std::ops::Range<usize>) -> [[f32; 16]; 9] {
        // SAFETY: as in `run`.
        unsafe {
            let (mut sums, mut edges) = ([L::zero(); 9], [[0.0f32; 16]; 9]);
            for column in columns {
                let (taps, dy) = (&self.columns[column], L::load(self.dy.as_ptr().add(column * self.channels + c)));
                let at =
                    |i: usize, j: usize| self.image.as_ptr().add((self.rows.source[i] * self.width + taps.source[j]) * self.channels + c);
                if self.rows.count == 3 && taps.count == 3 {
                    for i in 0..3 {
                        for j in 0..3 {
                            sums[3 * i + j] = sums[3 * i + j].plus_product(L::load(at(i, j)), dy);
                        }
                    }
                } else {
                    for (i, j) in (0..self.rows.count).flat_map(|i| (0..taps.count).map(move |j| (i, j))) {
                        let sum = edges[3 * self.rows.tap[i] + taps.tap[j]].as_mut_ptr();
                        L::load(sum).plus_product(L::load(at(i, j)), dy).store(sum);
                    }
                }
            }
            for (sum, edge) in sums.iter().zip(&mut edges) {
                sum.plus(L::load(edge.as_ptr())).store(edge.as_mut_ptr());
            }
            edges
        }
    }
}
