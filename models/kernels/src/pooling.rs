//! Max pooling 3x3 with stride 2 and padding 1, forward and backward, on feature maps `B H W C`.

use rayon::prelude::*;

use super::maps::Shape;
use super::scratch::{Buffer, Pool, SharedMut};
use crate::halo_rows::HaloRows;
use crate::simd::{F32x16, Isa, SimdKernel, run_on};

/// Max pooling of a whole feature map: `B H W C` (`shape`) to `B ceil(H/2) ceil(W/2) C`.
pub fn max_pool(isa: Isa, pool: &Pool, x: &[f32], shape: Shape) -> Buffer {
    let (rows, columns) = (shape.height.div_ceil(2), shape.width.div_ceil(2));
    let mut out = pool.take(shape.batch * rows * columns * shape.channels);
    max_pool_row_block(isa, x, shape, HaloRows::NONE, &mut out);
    out
}

/// Max pooling of a row block with halo rows into `out`; `shape` is that of the block without its halo.
pub fn max_pool_row_block(isa: Isa, x: &[f32], shape: Shape, halo: HaloRows, out: &mut [f32]) {
    let (rows, columns) = (shape.height.div_ceil(2), shape.width.div_ceil(2));
    halo.check(shape.batch);
    assert_eq!(x.len(), shape.batch * halo.rows(shape.height) * shape.width * shape.channels);
    assert_eq!(out.len(), shape.batch * rows * columns * shape.channels);
    let rows_of_out = out.par_chunks_mut(columns * shape.channels).enumerate();
    rows_of_out.for_each(|(row, out)| run_on(isa, MaxPoolRow { x, shape, halo, row, out }));
}

/// One row of pooled pixels; `row` counts the output rows of all images.
struct MaxPoolRow<'a> {
    x: &'a [f32],
    shape: Shape,
    halo: HaloRows,
    row: usize,
    out: &'a mut [f32],
}

impl SimdKernel for MaxPoolRow<'_> {
    #[inline(always)]
    unsafe fn run<L: F32x16>(self) {
        let channels = self.shape.channels;
        for (column, out) in self.out.chunks_exact_mut(channels).enumerate() {
            for c in (0..channels / 16 * 16).step_by(16) {
                // SAFETY: the pixels of a window lie inside the feature map and have sixteen channels from `c` on.
                unsafe {
                    let low = f32::NEG_INFINITY;
                    let mut maximum = L::splat(&raw const low);
                    for_window(self.shape, self.halo, self.row, column, |pixel| {
                        maximum = maximum.larger(L::load(self.x.as_ptr().add(pixel * channels + c)));
                    });
                    maximum.store(out.as_mut_ptr().add(c));
                }
            }
            for c in channels / 16 * 16..channels {
                let mut maximum = f32::NEG_INFINITY;
                for_window(self.shape, self.halo, self.row, column, |pixel| maximum = maximum.max(self.x[pixel * channels + c]));
                out[c] = maximum;
            }
        }
    }
}

/// Calls `f` with the index of each input pixel in the window of an output pixel; `row` counts the output rows of all images.
#[inline(always)]
fn for_window(shape: Shape, halo: HaloRows, row: usize, column: usize, mut f: impl FnMut(usize)) {
    let rows = shape.height.div_ceil(2);
    let (image, y) = (row / rows, 2 * (row % rows) + halo.above);
    let height = halo.rows(shape.height);
    for sy in y.saturating_sub(1)..(y + 2).min(height) {
        for sx in (2 * column).saturating_sub(1)..(2 * column + 2).min(shape.width) {
            f((image * height + sy) * shape.width + sx);
        }
    }
}

/// Gradient of [`max_pool`]: each output gradient goes to the first maximum of its window, in row-major order.
pub fn max_pool_backward(isa: Isa, pool: &Pool, x: &[f32], y: &[f32], dy: &[f32], shape: Shape) -> Buffer {
    let rows = shape.height.div_ceil(2);
    assert!(x.len() == shape.len() && y.len() == shape.batch * rows * shape.width.div_ceil(2) * shape.channels && dy.len() == y.len());
    let mut dx = pool.zeros(shape.len());
    let target = SharedMut::new(&mut dx);
    // Windows of neighbouring output rows share one input row, so even and odd output rows run in two passes.
    for parity in 0..2 {
        (0..shape.batch * rows).into_par_iter().filter(|row| row % rows % 2 == parity).for_each(|row| {
            run_on(isa, MaxPoolBackwardRow { x, y, dy, shape, row, dx: target });
        });
    }
    dx
}

/// Gradients of one row of pooled pixels; `row` counts the output rows of all images.
struct MaxPoolBackwardRow<'a> {
    x: &'a [f32],
    y: &'a [f32],
    dy: &'a [f32],
    shape: Shape,
    row: usize,
    dx: SharedMut,
}

impl SimdKernel for MaxPoolBackwardRow<'_> {
    #[inline(always)]
    unsafe fn run<L: F32x16>(self) {
        let channels = self.shape.channels;
        let columns = self.shape.width.div_ceil(2);
        for column in 0..columns {
            let at = (self.row * columns + column) * channels;
            for c in (0..channels / 16 * 16).step_by(16) {
                // SAFETY: the pixels of a window lie inside the feature map, and no other task of this pass writes these rows.
                unsafe {
                    let maximum = L::load(self.y.as_ptr().add(at + c));
                    let mut unassigned = L::load(self.dy.as_ptr().add(at + c));
                    for_window(self.shape, HaloRows::NONE, self.row, column, |pixel| {
                        let target = self.dx.get().add(pixel * channels + c);
                        let hit = unassigned.where_equal(L::load(self.x.as_ptr().add(pixel * channels + c)), maximum);
                        L::load(target).plus(hit).store(target);
                        unassigned = unassigned.minus(hit);
                    });
                }
            }
            for c in channels / 16 * 16..channels {
                let mut unassigned = self.dy[at + c];
                for_window(self.shape, HaloRows::NONE, self.row, column, |pixel| {
                    if self.x[pixel * channels + c] == self.y[at + c] {
                        // SAFETY: as above.
                        unsafe { *self.dx.get().add(pixel * channels + c) += unassigned };
                        unassigned = 0.0;
                    }
                });
            }
        }
    }
}
