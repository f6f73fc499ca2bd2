//! Convolutions of few input channels, such as the first layer of a network, as matrix products over image windows (im2col).
//!
//! The forward pass, in `row_blocks.rs`, reads the windows in place from a block of padded rows. The gradient of the filter,
//! `dW = X^T dY`, copies each output pixel's window of `K K I` values into one row of `X`.

use std::ops::Range;

use models::graph::Conv;
use rayon::prelude::*;

use super::gemm::OuterGemm;
use super::geometry::Geometry;
use super::panels::WIDTH;
use super::scratch::{Buffer, Pool, with_scratch};
use crate::simd::{Isa, run_on};

/// A convolution of few input channels.
pub struct Im2col<'a> {
    /// Instruction set, from [`Isa::available`].
    pub isa: Isa,
    /// Pool of large buffers.
    pub pool: &'a Pool,
    /// Sizes.
    pub geometry: Geometry,
    /// Input channels.
    pub inputs: usize,
    /// Output channels, a multiple of 16.
    pub outputs: usize,
}

/// Number of output pixels per block, whose windows fit the L2 cache.
const PIXELS_PER_BLOCK: usize = 96;
/// Number of partial sums of a weight gradient: fixed, so that results do not depend on the number of threads.
const PARTS: usize = 16;

/// Reports whether im2col is faster than [`gather`](crate::gather) for a convolution: fewer than 16 input channels, no bias, and output
/// channels in whole panels.
pub fn pays(conv: &Conv) -> bool {
    conv.inputs < WIDTH && conv.kernel > 1 && conv.outputs.is_multiple_of(WIDTH) && !conv.bias
}

impl Im2col<'_> {
    /// Returns the number of values in a window, and that in its row, which is padded to a multiple of four.
    fn window(&self) -> (usize, usize) {
        let values = self.geometry.taps() * self.inputs;
        (values, values.next_multiple_of(4))
    }

    /// Returns the number of output pixels of all images.
    fn pixels(&self) -> usize {
        let (rows, columns) = self.geometry.output();
        self.geometry.batch * rows * columns
    }

    /// Returns the groups of panels that one matrix product computes: first channel and number of panels.
    pub(super) fn groups(&self) -> Vec<(usize, usize)> {
        let per_group = if self.isa == Isa::Plain { 1 } else { 2 };
        (0..self.outputs / WIDTH).step_by(per_group).map(|panel| (panel * WIDTH, per_group.min(self.outputs / WIDTH - panel))).collect()
    }

    /// Computes the gradient of the filter, packed as `[panel][tap][input][16]`, from the input `x` and the gradient at the output `dy`.
    ///
    /// Pixels are divided into a fixed number of partial sums, which are added in ascending order.
    pub fn weight_gradient(&self, x: &[f32], dy: &[f32]) -> Buffer {
        let (values, row) = self.window();
        assert_eq!(dy.len(), self.pixels() * self.outputs);
        let blocks = self.pixels() / PIXELS_PER_BLOCK;
        let sums: Vec<Buffer> = (0..PARTS)
            .into_par_iter()
            .map(|part| {
                let mut sum = self.pool.zeros(row * self.outputs);
                for block in part * blocks / PARTS..(part + 1) * blocks / PARTS {
                    self.accumulate(x, dy, block * PIXELS_PER_BLOCK..(block + 1) * PIXELS_PER_BLOCK, &mut sum);
                }
                if part == PARTS - 1 {
                    self.accumulate(x, dy, blocks * PIXELS_PER_BLOCK..self.pixels(), &mut sum);
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

    /// Adds the product of some windows and output gradients to `sum`, `[group of panels][window value][16 or 32]`.
    fn accumulate(&self, x: &[f32], dy: &[f32], pixels: Range<usize>, sum: &mut [f32]) {
        let (_, row) = self.window();
        with_scratch(PIXELS_PER_BLOCK * row, |windows| {
            self.copy_windows(x, pixels.clone(), windows);
            for (channel, vectors) in self.groups() {
                let out = sum[channel * row..].as_mut_ptr();
                let right = dy.get(pixels.start * self.outputs + channel..).map_or(std::ptr::null(), <[f32]>::as_ptr);
                let (left, rows, right_row) = (windows.as_ptr(), pixels.len(), self.outputs);
                run_on(self.isa, OuterGemm { left, rows, columns: row, right, right_row, vectors, add: true, out });
            }
        });
    }

    /// Copies the windows of some output pixels into rows, with zeros outside the image and after the last value of a row.
    fn copy_windows(&self, x: &[f32], pixels: Range<usize>, windows: &mut [f32]) {
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
