//! The gradient of the filters: for each tap, products of source pixels and output gradients, summed over pixels.

use rayon::prelude::*;

use super::{Depthwise, Reads};
use crate::geometry::Geometry;
use crate::scratch::Buffer;
use crate::simd::{F32x16, Work, run_on};

/// Tasks that sum: a fixed number, so that sums do not depend on the number of threads.
const PARTS: usize = 32;
/// Columns summed in f32 before they join the f64 totals.
const COLUMNS_PER_F32_SUM: usize = 64;

pub fn weight_gradient(depthwise: &Depthwise, x: &[f32], dy: &[f32]) -> Buffer {
    let Geometry { batch, height, width, stride, .. } = depthwise.geometry;
    let ((rows, columns), channels) = (depthwise.geometry.output(), depthwise.channels);
    assert!(x.len() == batch * height * width * channels && dy.len() == batch * rows * columns * channels);
    let reads: Vec<Reads> = (0..columns).map(|at| Reads::forward(at * stride, width)).collect();
    let all = batch * rows;
    let parts: Vec<Vec<f64>> = (0..PARTS)
        .into_par_iter()
        .map(|part| {
            let mut total = vec![0.0; 9 * channels];
            for row in part * all / PARTS..(part + 1) * all / PARTS {
                let image = &x[row / rows * height * width * channels..][..height * width * channels];
                let dy = &dy[row * columns * channels..][..columns * channels];
                let rows = Reads::forward(row % rows * stride, height);
                run_on(depthwise.isa, Row { image, dy, width, channels, rows, columns: &reads, total: &mut total });
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

/// What one row of gradients adds.
struct Row<'a> {
    image: &'a [f32],
    dy: &'a [f32],
    width: usize,
    channels: usize,
    rows: Reads,
    columns: &'a [Reads],
    /// `[tap][channel]`.
    total: &'a mut [f64],
}

impl Work for Row<'_> {
    #[inline(always)]
    unsafe fn run<L: F32x16>(self) {
        let whole = self.channels / 16 * 16;
        for from in (0..self.columns.len()).step_by(COLUMNS_PER_F32_SUM) {
            let columns = from..(from + COLUMNS_PER_F32_SUM).min(self.columns.len());
            for c in (0..whole).step_by(16) {
                // SAFETY: taps read rows and columns inside the image.
                let sums = unsafe { self.sixteen::<L>(c, columns.clone()) };
                for (tap, sums) in sums.iter().enumerate() {
                    let total = &mut self.total[tap * self.channels + c..][..16];
                    total.iter_mut().zip(sums).for_each(|(total, sum)| *total += f64::from(*sum));
                }
            }
            for c in whole..self.channels {
                for column in columns.clone() {
                    let reads = &self.columns[column];
                    for (i, j) in (0..self.rows.count).flat_map(|i| (0..reads.count).map(move |j| (i, j))) {
                        let pixel = self.rows.source[i] * self.width + reads.source[j];
                        let product = self.image[pixel * self.channels + c] * self.dy[column * self.channels + c];
                        self.total[(3 * self.rows.tap[i] + reads.tap[j]) * self.channels + c] += f64::from(product);
                    }
                }
            }
        }
    }
}

impl Row<'_> {
    /// The sums of nine taps for channels `c..c + 16` over some columns.
    #[inline(always)]
    unsafe fn sixteen<L: F32x16>(&self, c: usize, columns: std::ops::Range<usize>) -> [[f32; 16]; 9] {
        // SAFETY: as in `run`.
        unsafe {
            let (mut sums, mut edges) = ([L::zero(); 9], [[0.0f32; 16]; 9]);
            for column in columns {
                let (reads, dy) = (&self.columns[column], L::load(self.dy.as_ptr().add(column * self.channels + c)));
                let at =
                    |i: usize, j: usize| self.image.as_ptr().add((self.rows.source[i] * self.width + reads.source[j]) * self.channels + c);
                if self.rows.count == 3 && reads.count == 3 {
                    for i in 0..3 {
                        for j in 0..3 {
                            sums[3 * i + j] = sums[3 * i + j].plus_product(L::load(at(i, j)), dy);
                        }
                    }
                } else {
                    for (i, j) in (0..self.rows.count).flat_map(|i| (0..reads.count).map(move |j| (i, j))) {
                        let sum = edges[3 * self.rows.tap[i] + reads.tap[j]].as_mut_ptr();
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
