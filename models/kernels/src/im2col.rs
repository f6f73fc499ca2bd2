//! Convolutions of few channels, such as the first of a network. Forward: `strips.rs`. The gradient of the filter: each output pixel's
//! window is copied into one row, and the rows are multiplied with the gradients as one matrix.

use std::ops::Range;

use models::graph::Conv;
use rayon::prelude::*;

use super::geometry::Geometry;
use super::panels::WIDTH;
use super::product::Outer;
use super::scratch::{Buffer, Pool, with_room};
use super::simd::{Isa, run_on};

/// A convolution of few channels.
pub struct Im2col<'a> {
    /// Instruction set.
    pub isa: Isa,
    /// Where large buffers come from.
    pub pool: &'a Pool,
    /// Sizes.
    pub geometry: Geometry,
    /// Channels read.
    pub inputs: usize,
    /// Channels written, a multiple of 16.
    pub outputs: usize,
}

/// Output pixels whose windows stay in the second-level cache.
const BLOCK: usize = 96;
/// Tasks that sum a gradient: a fixed number, so that sums do not depend on the number of threads.
const PARTS: usize = 16;

/// Whether a convolution reads so few channels that a window is better copied than looked up.
pub fn pays(conv: &Conv) -> bool {
    conv.inputs < WIDTH && conv.kernel > 1 && conv.outputs.is_multiple_of(WIDTH) && !conv.bias
}

impl Im2col<'_> {
    /// Values in a window, and in its row, whose length is a multiple of four.
    fn window(&self) -> (usize, usize) {
        let values = self.geometry.taps() * self.inputs;
        (values, values.next_multiple_of(4))
    }

    fn pixels(&self) -> usize {
        let (rows, columns) = self.geometry.output();
        self.geometry.batch * rows * columns
    }

    /// Channels of each pair of panels: first channel, and how many vectors.
    pub(super) fn groups(&self) -> Vec<(usize, usize)> {
        let together = if self.isa == Isa::Plain { 1 } else { 2 };
        (0..self.outputs / WIDTH).step_by(together).map(|panel| (panel * WIDTH, together.min(self.outputs / WIDTH - panel))).collect()
    }

    /// The gradient of the filter as panels.
    pub fn weight_gradient(&self, x: &[f32], dy: &[f32]) -> Buffer {
        let (values, row) = self.window();
        assert_eq!(dy.len(), self.pixels() * self.outputs);
        let blocks = self.pixels() / BLOCK;
        let sums: Vec<Buffer> = (0..PARTS)
            .into_par_iter()
            .map(|part| {
                let mut sum = self.pool.zeros(row * self.outputs);
                for block in part * blocks / PARTS..(part + 1) * blocks / PARTS {
                    self.add(x, dy, block * BLOCK..(block + 1) * BLOCK, &mut sum);
                }
                if part == PARTS - 1 {
                    self.add(x, dy, blocks * BLOCK..self.pixels(), &mut sum);
                }
                sum
            })
            .collect();
        let mut out = self.pool.take(super::panels::len(self.outputs, self.inputs, self.geometry.taps()));
        for (channel, vectors) in self.groups() {
            for n in 0..vectors {
                let panel = &mut out[(channel / WIDTH + n) * values * WIDTH..][..values * WIDTH];
                for (k, to) in panel.chunks_exact_mut(WIDTH).enumerate() {
                    let from = channel * row + (k * vectors + n) * WIDTH;
                    for (lane, to) in to.iter_mut().enumerate() {
                        *to = sums.iter().map(|sum| sum[from + lane]).sum();
                    }
                }
            }
        }
        sums.into_iter().for_each(|sum| self.pool.give(sum));
        out
    }

    /// Adds the products of some windows and gradients, `[group][window][16 or 32]`.
    fn add(&self, x: &[f32], dy: &[f32], pixels: Range<usize>, sum: &mut [f32]) {
        let (_, row) = self.window();
        with_room(BLOCK * row, |windows| {
            self.fill(x, pixels.clone(), windows);
            for (channel, vectors) in self.groups() {
                let out = sum[channel * row..].as_mut_ptr();
                let right = dy.get(pixels.start * self.outputs + channel..).map_or(std::ptr::null(), <[f32]>::as_ptr);
                let (left, rows, right_row) = (windows.as_ptr(), pixels.len(), self.outputs);
                run_on(self.isa, Outer { left, rows, columns: row, right, right_row, vectors, add: true, out });
            }
        });
    }

    /// Windows of some output pixels, row by row, zeros outside the image and behind the last value.
    fn fill(&self, x: &[f32], pixels: Range<usize>, windows: &mut [f32]) {
        let Geometry { height, width, kernel, stride, .. } = self.geometry;
        let (rows, columns) = self.geometry.output();
        let (values, row) = self.window();
        let padding = kernel / 2;
        for (pixel, window) in pixels.zip(windows.chunks_exact_mut(row)) {
            let (image, y, x0) = (pixel / (rows * columns), pixel / columns % rows * stride, pixel % columns * stride);
            let inside = x0 >= padding && x0 - padding + kernel <= width;
            for (i, line) in window[..values].chunks_exact_mut(kernel * self.inputs).enumerate() {
                let source_y = (y + i).wrapping_sub(padding);
                if source_y >= height {
                    line.fill(0.0);
                    continue;
                }
                let from = &x[(image * height + source_y) * width * self.inputs..][..width * self.inputs];
                if inside {
                    line.copy_from_slice(&from[(x0 - padding) * self.inputs..][..kernel * self.inputs]);
                } else {
                    for (j, to) in line.chunks_exact_mut(self.inputs).enumerate() {
                        match (x0 + j).wrapping_sub(padding) {
                            source_x if source_x < width => to.copy_from_slice(&from[source_x * self.inputs..][..self.inputs]),
                            _ => to.fill(0.0),
                        }
                    }
                }
            }
            window[values..].fill(0.0);
        }
    }
}
