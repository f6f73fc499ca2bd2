//! Forward pass of [`Im2col`] over blocks of padded rows.
//!
//! In a row block of the image with zero padding, the windows of neighbouring output pixels are overlapping rows of a matrix, at a distance
//! of `stride * inputs` values. The matrix product reads them in place, so that no window is copied.

use rayon::prelude::*;

use super::gemm::Gemm;
use super::panels::{self, WIDTH};
use super::scratch::{Buffer, SharedMut, with_scratch};
use crate::epilogue::Epilogue;
use crate::im2col::Im2col;
use crate::simd::{run_on, vectorised};

/// Number of output rows per task, all of which read one row block.
const ROWS_PER_TASK: usize = 8;
/// Number of output pixels whose results fit the L1 cache; a multiple of the register block of the matrix product.
const PIXELS_PER_BLOCK: usize = 96;

/// Sizes of the row block of input that a task reads.
struct RowBlock {
    /// Number of zeros before the first pixel of a row.
    left: usize,
    /// Number of values of a row: pixels, zero padding at both ends, and the values that the last, partial register block reads.
    row: usize,
    /// Number of rows.
    rows: usize,
}

impl Im2col<'_> {
    /// Convolves `x`, `B H W I`, into `out`, `B H' W' O`, and applies the epilogue.
    ///
    /// `panels` is `[panel][tap][input][16]`. Every sum runs over the taps in order, for each tap over the input channels.
    pub fn convolve(&self, x: &[f32], panels: &[f32], epilogue: Epilogue, out: &mut [f32]) {
        let g = self.geometry;
        let (rows, columns) = g.output();
        let source_rows = g.halo.rows(g.height);
        g.halo.check(g.batch);
        assert_eq!((x.len(), out.len()), (g.batch * source_rows * g.width * self.inputs, g.batch * rows * columns * self.outputs));
        epilogue.check(self.outputs, out.len());
        let filter = self.interleaved_panels(panels);
        let target = SharedMut::new(out);
        let (row_block, tasks) = (self.row_block(), rows.div_ceil(ROWS_PER_TASK));
        (0..g.batch * tasks).into_par_iter().for_each(|task| {
            let (image, first) = (task / tasks, task % tasks * ROWS_PER_TASK);
            with_scratch(row_block.row * row_block.rows + PIXELS_PER_BLOCK * 2 * WIDTH, |scratch| {
                let (values, result) = scratch.split_at_mut(row_block.row * row_block.rows);
                self.fill_row_block(&x[image * source_rows * g.width * self.inputs..], first, &row_block, values);
                for row in first..(first + ROWS_PER_TASK).min(rows) {
                    let from = &values[(row - first) * g.stride * row_block.row..];
                    self.convolve_row(from, &row_block, &filter, result, (image * rows + row) * columns, epilogue, target);
                }
            });
        });
        self.pool.give(filter);
    }

    /// Interleaves the panels of each group as the matrix product reads them: `[group][tap][input][panel of the group][16]`.
    fn interleaved_panels(&self, panels: &[f32]) -> Buffer {
        let values = self.geometry.taps() * self.inputs;
        assert_eq!(panels.len(), panels::len(self.outputs, self.inputs, self.geometry.taps()));
        let mut filter = self.pool.take(values * self.outputs);
        for (channel, vectors) in self.groups() {
            for n in 0..vectors {
                let panel = &panels[(channel / WIDTH + n) * values * WIDTH..][..values * WIDTH];
                for (k, from) in panel.chunks_exact(WIDTH).enumerate() {
                    filter[channel * values + (k * vectors + n) * WIDTH..][..WIDTH].copy_from_slice(from);
                }
            }
        }
        filter
    }

    /// Returns the sizes of the row block of a task.
    fn row_block(&self) -> RowBlock {
        let g = self.geometry;
        let (padding, columns) = (g.kernel / 2, g.output().1.next_multiple_of(4));
        let read = (columns - 1) * g.stride + g.kernel;
        RowBlock {
            left: padding * self.inputs,
            row: read.max(g.width + 2 * padding) * self.inputs,
            rows: (ROWS_PER_TASK - 1) * g.stride + g.kernel,
        }
    }

    /// Copies the padded rows of one image into a row block, from row `first * stride - padding` on.
    fn fill_row_block(&self, image: &[f32], first: usize, row_block: &RowBlock, values: &mut [f32]) {
        let g = self.geometry;
        let len = g.width * self.inputs;
        for (i, row) in values.chunks_exact_mut(row_block.row).enumerate() {
            match (first * g.stride + i + g.halo.above).wrapping_sub(g.kernel / 2) {
                y if y < g.halo.rows(g.height) => {
                    row[..row_block.left].fill(0.0);
                    row[row_block.left..row_block.left + len].copy_from_slice(&image[y * len..][..len]);
                    row[row_block.left + len..].fill(0.0);
                }
                _ => row.fill(0.0),
            }
        }
    }

    /// Computes the output row whose first pixel is `pixel` from the rows of the row block that its windows cover, which begin at `from`.
    #[expect(clippy::too_many_arguments, reason = "source, filter, scratch memory and destination of one row")]
    fn convolve_row(
        &self,
        from: &[f32],
        row_block: &RowBlock,
        filter: &[f32],
        result: &mut [f32],
        pixel: usize,
        epilogue: Epilogue,
        target: SharedMut,
    ) {
        let g = self.geometry;
        let (step, inner, columns) = (g.stride * self.inputs, g.kernel * self.inputs, g.output().1);
        for first in (0..columns).step_by(PIXELS_PER_BLOCK) {
            let count = PIXELS_PER_BLOCK.min(columns - first);
            for (channel, vectors) in self.groups() {
                let (left, out) = (from[first * step..].as_ptr(), result.as_mut_ptr());
                let right = filter[channel * g.kernel * inner..].as_ptr();
                let plain = Gemm::contiguous(left, count.next_multiple_of(4), inner, right, vectors, out);
                run_on(self.isa, Gemm { left_row: step, segments: g.kernel, left_segment: row_block.row, ..plain });
                vectorised(|| {
                    for (i, values) in result.chunks_exact(vectors * WIDTH).take(count).enumerate() {
                        let at = (pixel + first + i) * self.outputs + channel;
                        // SAFETY: the pixel lies inside the output and belongs to this task.
                        let to = unsafe { std::slice::from_raw_parts_mut(target.get().add(at), vectors * WIDTH) };
                        epilogue.apply_scalars(values, channel, at, to);
                    }
                });
            }
        }
    }
}
