//! Maximum pooling, forward and backward, on `[image][row][column][channel]`.

use rayon::prelude::*;

use super::halo_rows::HaloRows;
use super::maps::Shape;
use super::scratch::{Buffer, Pool, Shared};
use super::simd::{F32x16, Isa, Work, run_on};

/// Maximum over 3x3, stride 2, padding 1.
pub fn max_pool(isa: Isa, pool: &Pool, x: &[f32], shape: Shape) -> Buffer {
    let (rows, columns) = (shape.height.div_ceil(2), shape.width.div_ceil(2));
    let mut out = pool.take(shape.batch * rows * columns * shape.channels);
    max_pool_piece(isa, x, shape, HaloRows::NONE, &mut out);
    out
}

/// The same of a piece of a map, of `shape` without its margin.
pub fn max_pool_piece(isa: Isa, x: &[f32], shape: Shape, margin: HaloRows, out: &mut [f32]) {
    let (rows, columns) = (shape.height.div_ceil(2), shape.width.div_ceil(2));
    margin.check(shape.batch);
    assert_eq!(x.len(), shape.batch * margin.rows(shape.height) * shape.width * shape.channels);
    assert_eq!(out.len(), shape.batch * rows * columns * shape.channels);
    let rows_of_out = out.par_chunks_mut(columns * shape.channels).enumerate();
    rows_of_out.for_each(|(row, out)| run_on(isa, BestRow { x, shape, margin, row, out }));
}

/// One row of pooled pixels; `row` counts over all images.
struct BestRow<'a> {
    x: &'a [f32],
    shape: Shape,
    margin: HaloRows,
    row: usize,
    out: &'a mut [f32],
}

impl Work for BestRow<'_> {
    #[inline(always)]
    unsafe fn run<L: F32x16>(self) {
        let channels = self.shape.channels;
        for (column, out) in self.out.chunks_exact_mut(channels).enumerate() {
            for c in (0..channels / 16 * 16).step_by(16) {
                // SAFETY: pixels of windows are inside the map, with sixteen channels from there on.
                unsafe {
                    let low = f32::NEG_INFINITY;
                    let mut best = L::splat(&raw const low);
                    for_window(self.shape, self.margin, self.row, column, |pixel| {
                        best = best.larger(L::load(self.x.as_ptr().add(pixel * channels + c)));
                    });
                    best.store(out.as_mut_ptr().add(c));
                }
            }
            for c in channels / 16 * 16..channels {
                let mut best = f32::NEG_INFINITY;
                for_window(self.shape, self.margin, self.row, column, |pixel| best = best.max(self.x[pixel * channels + c]));
                out[c] = best;
            }
        }
    }
}

/// Calls `f` with the index of each input pixel in the window of an output pixel; `row` counts over all images.
#[inline(always)]
fn for_window(shape: Shape, margin: HaloRows, row: usize, column: usize, mut f: impl FnMut(usize)) {
    let rows = shape.height.div_ceil(2);
    let (image, y) = (row / rows, 2 * (row % rows) + margin.above);
    let height = margin.rows(shape.height);
    for sy in y.saturating_sub(1)..(y + 2).min(height) {
        for sx in (2 * column).saturating_sub(1)..(2 * column + 2).min(shape.width) {
            f((image * height + sy) * shape.width + sx);
        }
    }
}

/// Each gradient goes to the first maximum of its window.
pub fn max_pool_backward(isa: Isa, pool: &Pool, x: &[f32], y: &[f32], dy: &[f32], shape: Shape) -> Buffer {
    let rows = shape.height.div_ceil(2);
    assert!(x.len() == shape.len() && y.len() == shape.batch * rows * shape.width.div_ceil(2) * shape.channels && dy.len() == y.len());
    let mut dx = pool.zeros(shape.len());
    let target = Shared::new(&mut dx);
    // Windows of neighbouring rows overlap in one row of the input: first the even rows, then the odd ones.
    for parity in 0..2 {
        (0..shape.batch * rows).into_par_iter().filter(|row| row % rows % 2 == parity).for_each(|row| {
            run_on(isa, PoolRow { x, y, dy, shape, row, dx: target });
        });
    }
    dx
}

/// Gradients of one row of pooled pixels; `row` counts over all images.
struct PoolRow<'a> {
    x: &'a [f32],
    y: &'a [f32],
    dy: &'a [f32],
    shape: Shape,
    row: usize,
    dx: Shared,
}

impl Work for PoolRow<'_> {
    #[inline(always)]
    unsafe fn run<L: F32x16>(self) {
        let channels = self.shape.channels;
        let columns = self.shape.width.div_ceil(2);
        for column in 0..columns {
            let at = (self.row * columns + column) * channels;
            for c in (0..channels / 16 * 16).step_by(16) {
                // SAFETY: pixels of windows are inside the map; no other task of this pass writes these rows.
                unsafe {
                    let best = L::load(self.y.as_ptr().add(at + c));
                    let mut open = L::load(self.dy.as_ptr().add(at + c));
                    for_window(self.shape, HaloRows::NONE, self.row, column, |pixel| {
                        let target = self.dx.get().add(pixel * channels + c);
                        let hit = open.where_equal(L::load(self.x.as_ptr().add(pixel * channels + c)), best);
                        L::load(target).plus(hit).store(target);
                        open = open.minus(hit);
                    });
                }
            }
            for c in channels / 16 * 16..channels {
                let mut open = self.dy[at + c];
                for_window(self.shape, HaloRows::NONE, self.row, column, |pixel| {
                    if self.x[pixel * channels + c] == self.y[at + c] {
                        // SAFETY: as above.
                        unsafe { *self.dx.get().add(pixel * channels + c) += open };
                        open = 0.0;
                    }
                });
            }
        }
    }
}
