//! The forward pass of [`Im2col`]: some rows of the image with zeros around them are a matrix of windows as they lie, for windows of
//! neighbouring pixels overlap. Nothing is copied for single pixels.

use rayon::prelude::*;

use super::epilogue::Epilogue;
use super::im2col::Im2col;
use super::panels::{self, WIDTH};
use super::product::Product;
use super::scratch::{Buffer, Shared, with_room};
use super::simd::{run_on, vectorised};

/// Rows of results that a task makes from one strip.
const ROWS: usize = 8;
/// Pixels whose results stay in the first-level cache; a multiple of the blocks of products.
const PIXELS: usize = 96;

/// A strip's extents in values.
struct RowBlock {
    /// Zeros before the first pixel.
    left: usize,
    /// One row, zeros at both ends and what the last block of windows reads beyond.
    row: usize,
    rows: usize,
}

impl Im2col<'_> {
    /// `panels` is `[panel][tap][input][16]`, `out` `[pixel][outputs]`.
    pub fn convolve(&self, x: &[f32], panels: &[f32], finish: Epilogue, out: &mut [f32]) {
        let g = self.geometry;
        let (rows, columns) = g.output();
        let source_rows = g.margin.rows(g.height);
        g.margin.check(g.batch);
        assert_eq!((x.len(), out.len()), (g.batch * source_rows * g.width * self.inputs, g.batch * rows * columns * self.outputs));
        finish.check(self.outputs, out.len());
        let filter = self.grouped(panels);
        let target = Shared::new(out);
        let (strip, tasks) = (self.strip(), rows.div_ceil(ROWS));
        (0..g.batch * tasks).into_par_iter().for_each(|task| {
            let (image, first) = (task / tasks, task % tasks * ROWS);
            with_room(strip.row * strip.rows + PIXELS * 2 * WIDTH, |room| {
                let (values, result) = room.split_at_mut(strip.row * strip.rows);
                self.fill_strip(&x[image * source_rows * g.width * self.inputs..], first, &strip, values);
                for row in first..(first + ROWS).min(rows) {
                    let from = &values[(row - first) * g.stride * strip.row..];
                    self.row(from, &strip, &filter, result, (image * rows + row) * columns, finish, target);
                }
            });
        });
        self.pool.give(filter);
    }

    /// Panels side by side as products read them: `[group][tap][input][panel of the group][16]`.
    fn grouped(&self, panels: &[f32]) -> Buffer {
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

    fn strip(&self) -> RowBlock {
        let g = self.geometry;
        let (padding, columns) = (g.kernel / 2, g.output().1.next_multiple_of(4));
        let read = (columns - 1) * g.stride + g.kernel;
        RowBlock { left: padding * self.inputs, row: read.max(g.width + 2 * padding) * self.inputs, rows: (ROWS - 1) * g.stride + g.kernel }
    }

    /// Rows of one image from `first * stride - padding` on.
    fn fill_strip(&self, image: &[f32], first: usize, strip: &RowBlock, values: &mut [f32]) {
        let g = self.geometry;
        let len = g.width * self.inputs;
        for (i, row) in values.chunks_exact_mut(strip.row).enumerate() {
            match (first * g.stride + i + g.margin.above).wrapping_sub(g.kernel / 2) {
                y if y < g.margin.rows(g.height) => {
                    row[..strip.left].fill(0.0);
                    row[strip.left..strip.left + len].copy_from_slice(&image[y * len..][..len]);
                    row[strip.left + len..].fill(0.0);
                }
                _ => row.fill(0.0),
            }
        }
    }

    /// One row of results, whose first pixel is `pixel`, from the strip's rows that its windows cover.
    #[expect(clippy::too_many_arguments, reason = "what is read, what is multiplied, and where it goes")]
    fn row(&self, from: &[f32], strip: &RowBlock, filter: &[f32], result: &mut [f32], pixel: usize, finish: Epilogue, target: Shared) {
        let g = self.geometry;
        let (step, inner, columns) = (g.stride * self.inputs, g.kernel * self.inputs, g.output().1);
        for first in (0..columns).step_by(PIXELS) {
            let count = PIXELS.min(columns - first);
            for (channel, vectors) in self.groups() {
                let (left, out) = (from[first * step..].as_ptr(), result.as_mut_ptr());
                let right = filter[channel * g.kernel * inner..].as_ptr();
                let plain = Product::plain(left, count.next_multiple_of(4), inner, right, vectors, out);
                run_on(self.isa, Product { left_row: step, segments: g.kernel, left_segment: strip.row, ..plain });
                vectorised(|| {
                    for (i, values) in result.chunks_exact(vectors * WIDTH).take(count).enumerate() {
                        let at = (pixel + first + i) * self.outputs + channel;
                        // SAFETY: the pixel is inside the map and belongs to this task.
                        let to = unsafe { std::slice::from_raw_parts_mut(target.get().add(at), vectors * WIDTH) };
                        finish.write(values, channel, at, to);
                    }
                });
            }
        }
    }
}
