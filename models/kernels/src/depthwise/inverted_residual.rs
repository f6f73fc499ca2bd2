//! Fused inverted residual block of `MobileNetV2` (Sandler et al., CVPR 2018): a 1x1 convolution that expands the channels, a depthwise 3x3
//! convolution, and a 1x1 convolution that projects to few channels.
//!
//! A task keeps three rows of expanded channels of some columns in a ring buffer in the L2 cache, so that main memory holds the narrow
//! feature maps only. Every value has the bits of the three convolutions run one after the other.

use std::ops::Range;

use rayon::prelude::*;

use super::{OutputRow, ValidTaps};
use crate::epilogue::Epilogue;
use crate::geometry::Geometry;
use crate::pointwise::{PixelBlock, Pointwise, used_inputs};
use crate::scratch::{SharedMut, with_scratch};
use crate::simd::{Isa, run_on};

/// An inverted residual block. The expansion may be absent, as in the first block of the network.
pub struct InvertedResidual<'a> {
    /// Instruction set, from [`Isa::available`].
    pub isa: Isa,
    /// Sizes of the depthwise convolution, with one image and a kernel of 3.
    pub geometry: Geometry,
    /// Expansion; its output channels are a multiple of 16. Without expansion, the depthwise convolution reads the input of the block.
    pub expand: Option<Pointwise<'a>>,
    /// Depthwise weights, `[tap][channel]`.
    pub weights: &'a [f32],
    /// Epilogue of the depthwise convolution, without a residual.
    pub epilogue: Epilogue<'a>,
    /// Projection; its epilogue may add the residual.
    pub project: Pointwise<'a>,
}

/// Least number of output rows per task, because the expanded rows above and below a task's rows are computed twice.
const MIN_ROWS_PER_TASK: usize = 16;

/// Returns the number of output columns per task whose expanded rows fit half of the L2 cache: three source rows of `stride` columns for
/// each output column, and one depthwise row.
fn columns_per_task(isa: Isa, channels: usize, stride: usize, columns: usize) -> usize {
    let most = isa.l2_bytes() / 2 / (4 * channels * (3 * stride + 1));
    columns.div_ceil(columns.div_ceil(most.max(12)))
}

/// Reports whether fusing is faster than three convolutions: channels are multiples of 16, and the weights of both 1x1 convolutions,
/// `[inputs, outputs]`, fit half of the L2 cache.
pub fn pays(isa: Isa, expand: Option<[usize; 2]>, project: [usize; 2]) -> bool {
    let weights = expand.map_or(0, |[inputs, outputs]| inputs * outputs) + project[0] * project[1];
    let is_whole = expand.is_none_or(|[_, outputs]| outputs.is_multiple_of(16)) && project.iter().all(|n| n.is_multiple_of(16));
    is_whole && 4 * weights <= isa.l2_bytes() / 2
}

impl InvertedResidual<'_> {
    /// Returns the number of expanded channels.
    fn channels(&self) -> usize {
        self.project.inputs
    }

    /// Runs the block on `x`, `[row][column][channel]` with halo rows, into `out`, `[row][column][channel]`.
    pub fn run(&self, x: &[f32], out: &mut [f32]) {
        let Geometry { batch, height, width, kernel, stride, halo } = self.geometry;
        let ((rows, columns), inputs) = (self.geometry.output(), self.expand.map_or(self.channels(), |expand| expand.inputs));
        assert!(batch == 1 && kernel == 3 && self.weights.len() == 9 * self.channels() && self.epilogue.residual.is_none());
        assert!(self.expand.is_none_or(|expand| expand.outputs == self.channels() && expand.epilogue.residual.is_none()));
        assert!(x.len() == halo.rows(height) * width * inputs && out.len() == rows * columns * self.project.outputs);
        self.expand.inspect(|expand| expand.epilogue.check(expand.outputs, 0));
        self.epilogue.check(self.channels(), 0);
        self.project.epilogue.check(self.project.outputs, out.len());
        let task_columns = columns_per_task(self.isa, self.channels(), stride, columns);
        let tasks_per_row = columns.div_ceil(task_columns);
        // The number of rows depends on the number of threads, but values do not depend on the bounds of tasks.
        let task_rows = rows.div_ceil((4 * rayon::current_num_threads()).div_ceil(tasks_per_row)).max(MIN_ROWS_PER_TASK);
        let used =
            [self.expand.map_or(0, |expand| used_inputs(expand.panels, expand.inputs)), used_inputs(self.project.panels, self.channels())];
        let target = SharedMut::new(out);
        (0..rows.div_ceil(task_rows) * tasks_per_row).into_par_iter().for_each(|task| {
            let (row, column) = (task / tasks_per_row * task_rows, task % tasks_per_row * task_columns);
            let (rows, columns) = (row..(row + task_rows).min(rows), column..(column + task_columns).min(columns));
            Task { block: self, x, inputs, used_inputs: used, rows, columns, target }.run();
        });
    }
}

/// Output rows and columns of one task.
struct Task<'a> {
    block: &'a InvertedResidual<'a>,
    x: &'a [f32],
    /// Number of values of a pixel of `x`.
    inputs: usize,
    /// Number of leading channels that expansion and projection sum, see [`used_inputs`].
    used_inputs: [usize; 2],
    rows: Range<usize>,
    columns: Range<usize>,
    target: SharedMut,
}

impl Task<'_> {
    /// Computes the task row by row: expands the source rows that are not yet in the ring buffer, convolves, projects.
    fn run(&self) {
        let Geometry { height, width, stride, halo, .. } = self.block.geometry;
        let channels = self.block.channels();
        // Source columns that the task expands; without expansion the whole source is read in place.
        let around = (self.columns.start * stride).saturating_sub(1)..((self.columns.end - 1) * stride + 2).min(width);
        let source = if self.block.expand.is_some() { around } else { 0..width };
        let taps: Vec<ValidTaps> =
            self.columns.clone().map(|at| ValidTaps::forward(at * stride, width).relative_to(source.start)).collect();
        let ring = if self.block.expand.is_some() { 3 * source.len() * channels } else { 0 };
        with_scratch(ring + taps.len() * channels, |scratch| {
            let (ring, depthwise_row) = scratch.split_at_mut(ring);
            let mut next = 0;
            for row in self.rows.clone() {
                let mut rows = ValidTaps::forward(row * stride + halo.above, halo.rows(height));
                if let Some(expand) = &self.block.expand {
                    for i in 0..rows.count {
                        let row = rows.source[i];
                        if row >= next {
                            self.expand(expand, row, &source, &mut ring[row % 3 * source.len() * channels..][..source.len() * channels]);
                            next = row + 1;
                        }
                        rows.source[i] = row % 3;
                    }
                    self.convolve(ring, source.len(), rows, &taps, depthwise_row);
                } else {
                    self.convolve(self.x, width, rows, &taps, depthwise_row);
                }
                self.project(row, depthwise_row);
            }
        });
    }

    /// Expands some columns of one source row into `out`.
    fn expand(&self, expand: &Pointwise, row: usize, columns: &Range<usize>, out: &mut [f32]) {
        let first = row * self.block.geometry.width + columns.start;
        let source = &self.x[first * self.inputs..][..columns.len() * self.inputs];
        let pixels =
            PixelBlock { conv: *expand, used_inputs: self.used_inputs[0], source, count: columns.len(), at: 0, out: out.as_mut_ptr() };
        run_on(self.block.isa, pixels);
    }

    /// Computes one row of the depthwise convolution.
    fn convolve(&self, image: &[f32], width: usize, rows: ValidTaps, columns: &[ValidTaps], depthwise_row: &mut [f32]) {
        let InvertedResidual { isa, weights, epilogue, .. } = *self.block;
        let channels = self.block.channels();
        run_on(isa, OutputRow { image, width, weights, rows, columns, channels, epilogue, at: 0, target: SharedMut::new(depthwise_row) });
    }

    /// Projects one depthwise row into the output.
    fn project(&self, row: usize, depthwise_row: &[f32]) {
        let (_, width) = self.block.geometry.output();
        let conv = self.block.project;
        let at = (row * width + self.columns.start) * conv.outputs;
        let out = self.target.get();
        run_on(
            self.block.isa,
            PixelBlock { conv, used_inputs: self.used_inputs[1], source: depthwise_row, count: self.columns.len(), at, out },
        );
    }
}
