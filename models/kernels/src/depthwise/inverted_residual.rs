//! The block of `MobileNetV2` at once (Sandler et al., CVPR 2018): a 1x1 convolution to many channels, a 3x3 convolution of each of them,
//! a 1x1 convolution back to few. Of the many channels only three rows of some columns exist at a time, in the second-level cache:
//! the block waits for memory as the few channels do. Every value is the same sum as in the three convolutions one after the other.

use std::ops::Range;

use rayon::prelude::*;

use super::{Reads, Row};
use crate::epilogue::Epilogue;
use crate::geometry::Geometry;
use crate::pointwise::{Pixels, Pointwise, used};
use crate::scratch::{Shared, with_room};
use crate::simd::{Isa, run_on};

/// Three convolutions, of which the first may be left out.
pub struct InvertedResidual<'a> {
    /// Instruction set.
    pub isa: Isa,
    /// Sizes of the 3x3 convolution, whose input is as large as the block's; one image.
    pub geometry: Geometry,
    /// To the many channels, a multiple of 16; without it the 3x3 convolution reads the block's input.
    pub expand: Option<Pointwise<'a>>,
    /// Of the 3x3 convolution, `[tap][channel]`.
    pub weights: &'a [f32],
    /// What follows the 3x3 convolution; nothing is added.
    pub finish: Epilogue<'a>,
    /// To the result.
    pub project: Pointwise<'a>,
}

/// Rows of results that a task has at least: above and below them a row of many channels is made twice.
const ROWS: usize = 16;

/// Columns of results whose rows of many channels (`channels`, at this stride) stay in half of the second-level cache: four rows of
/// the source's columns, or seven of half as many.
fn columns_at_a_time(isa: Isa, channels: usize, stride: usize, columns: usize) -> usize {
    let most = isa.second_level_cache() / 2 / (4 * channels * (3 * stride + 1));
    columns.div_ceil(columns.div_ceil(most.max(12)))
}

/// Whether the three are worth running at once: their weights have to stay in the cache, too.
pub fn pays(isa: Isa, expand: Option<[usize; 2]>, project: [usize; 2]) -> bool {
    let weights = expand.map_or(0, |[inputs, outputs]| inputs * outputs) + project[0] * project[1];
    let is_whole = expand.is_none_or(|[_, outputs]| outputs.is_multiple_of(16)) && project.iter().all(|n| n.is_multiple_of(16));
    is_whole && 4 * weights <= isa.second_level_cache() / 2
}

impl InvertedResidual<'_> {
    /// Channels of the 3x3 convolution.
    fn channels(&self) -> usize {
        self.project.inputs
    }

    /// The block of `x`, `[row][column][channel]`.
    pub fn run(&self, x: &[f32], out: &mut [f32]) {
        let Geometry { batch, height, width, kernel, stride, margin } = self.geometry;
        let ((rows, columns), inputs) = (self.geometry.output(), self.expand.map_or(self.channels(), |expand| expand.inputs));
        assert!(batch == 1 && kernel == 3 && self.weights.len() == 9 * self.channels() && self.finish.plus.is_none());
        assert!(self.expand.is_none_or(|expand| expand.outputs == self.channels() && expand.finish.plus.is_none()));
        assert!(x.len() == margin.rows(height) * width * inputs && out.len() == rows * columns * self.project.outputs);
        self.expand.inspect(|expand| expand.finish.check(expand.outputs, 0));
        self.finish.check(self.channels(), 0);
        self.project.finish.check(self.project.outputs, out.len());
        let wide = columns_at_a_time(self.isa, self.channels(), stride, columns);
        let across = columns.div_ceil(wide);
        // Values do not depend on where tasks begin and end.
        let high = rows.div_ceil((4 * rayon::current_num_threads()).div_ceil(across)).max(ROWS);
        let of_convs = [self.expand.map_or(0, |expand| used(expand.panels, expand.inputs)), used(self.project.panels, self.channels())];
        let target = Shared::new(out);
        (0..rows.div_ceil(high) * across).into_par_iter().for_each(|task| {
            let (row, column) = (task / across * high, task % across * wide);
            let (rows, columns) = (row..(row + high).min(rows), column..(column + wide).min(columns));
            Task { block: self, x, inputs, used: of_convs, rows, columns, target }.run();
        });
    }
}

/// Some rows and columns of the result.
struct Task<'a> {
    block: &'a InvertedResidual<'a>,
    x: &'a [f32],
    /// Values of a pixel of `x`.
    inputs: usize,
    /// Channels that the first and the last convolution sum.
    used: [usize; 2],
    rows: Range<usize>,
    columns: Range<usize>,
    target: Shared,
}

impl Task<'_> {
    fn run(&self) {
        let Geometry { height, width, stride, margin, .. } = self.block.geometry;
        let channels = self.block.channels();
        // Columns of the source that the results read: all of them where they are read in place.
        let around = (self.columns.start * stride).saturating_sub(1)..((self.columns.end - 1) * stride + 2).min(width);
        let source = if self.block.expand.is_some() { around } else { 0..width };
        let reads: Vec<Reads> = self.columns.clone().map(|at| Reads::forward(at * stride, width).less(source.start)).collect();
        let ring = if self.block.expand.is_some() { 3 * source.len() * channels } else { 0 };
        with_room(ring + reads.len() * channels, |room| {
            let (ring, line) = room.split_at_mut(ring);
            let mut next = 0;
            for row in self.rows.clone() {
                let mut rows = Reads::forward(row * stride + margin.above, margin.rows(height));
                if let Some(expand) = &self.block.expand {
                    for i in 0..rows.count {
                        let row = rows.source[i];
                        if row >= next {
                            self.expand(expand, row, &source, &mut ring[row % 3 * source.len() * channels..][..source.len() * channels]);
                            next = row + 1;
                        }
                        rows.source[i] = row % 3;
                    }
                    self.convolve(ring, source.len(), rows, &reads, line);
                } else {
                    self.convolve(self.x, width, rows, &reads, line);
                }
                self.project(row, line);
            }
        });
    }

    /// A row of the source's columns with many channels.
    fn expand(&self, expand: &Pointwise, row: usize, columns: &Range<usize>, out: &mut [f32]) {
        let first = row * self.block.geometry.width + columns.start;
        let source = &self.x[first * self.inputs..][..columns.len() * self.inputs];
        let pixels = Pixels { conv: *expand, used: self.used[0], source, count: columns.len(), at: 0, out: out.as_mut_ptr() };
        run_on(self.block.isa, pixels);
    }

    /// A row of the 3x3 convolution's results.
    fn convolve(&self, image: &[f32], width: usize, rows: Reads, columns: &[Reads], line: &mut [f32]) {
        let InvertedResidual { isa, weights, finish, .. } = *self.block;
        let channels = self.block.channels();
        run_on(isa, Row { image, width, weights, rows, columns, channels, finish, at: 0, target: Shared::new(line) });
    }

    /// A row of the block's results.
    fn project(&self, row: usize, line: &[f32]) {
        let (_, width) = self.block.geometry.output();
        let conv = self.block.project;
        let at = (row * width + self.columns.start) * conv.outputs;
        let out = self.target.get();
        run_on(self.block.isa, Pixels { conv, used: self.used[1], source: line, count: self.columns.len(), at, out });
    }
}
