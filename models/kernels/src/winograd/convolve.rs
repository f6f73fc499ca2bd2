//! Winograd convolution, forward and (with a transposed, rotated filter) backward-data.
//!
//! Small filters are transformed once and stay in cache while tasks loop over tiles. Large filters are transformed by panel, while a block
//! of transformed tiles stays in cache. Both orders compute each output as one sum over input channels in ascending order.

use std::ops::Range;

use rayon::prelude::*;

use super::filter_transform::{self, FilterTransform};
use super::input_transform::{Coefficients, Part, coefficient_stride, domain_len};
use super::matrices::{COEFFICIENTS, INPUT_TILE};
use super::output_transform::{EpilogueTransform, LogitTransform, OutputTransform};
use super::target::{PartBuffer, Target, find};
use super::{Filter, PanelGroup, SMALL_FILTER, TILES_PER_BLOCK, Winograd, groups_per_task, tiles_per_task};
use crate::epilogue::Epilogue;
use crate::gemm::Gemm;
use crate::scratch::{SharedMut, with_scratch};
use crate::simd::run_on;

impl Winograd<'_> {
    /// Convolves the concatenated channels of `sources` into the concatenated channels of `targets`.
    pub fn convolve(&self, sources: &[Part], filter: Filter, targets: &mut [PartBuffer]) {
        assert_eq!(sources.iter().map(|part| part.channels).sum::<usize>(), filter.inputs);
        assert_eq!(targets.iter().map(|part| part.channels).sum::<usize>(), filter.outputs);
        assert_eq!(filter.panels.len(), crate::panels::len(filter.outputs, filter.inputs, filter_transform::TAPS));
        sources.iter().for_each(|part| self.check_part(part));
        targets.iter().for_each(|part| self.check(part.values.len(), part.channels, part.halved));
        let targets: Vec<Target> = targets.iter_mut().map(PartBuffer::target).collect();
        let output = Output { targets: &targets, post_ops: None };
        if is_small(&filter) {
            let mut coefficients = self.pool.take(COEFFICIENTS * filter.inputs * filter.outputs);
            self.transform_filter(filter, &mut coefficients);
            self.convolve_by_tiles(sources, &coefficients, [filter.inputs, filter.outputs], output);
            self.pool.give(coefficients);
        } else {
            self.convolve_by_panels(sources, filter, output);
        }
    }

    /// Computes `U = G g G^T` for all panels: `[group][coefficient][input][panel of the group][16]`.
    pub(super) fn transform_filter(&self, filter: Filter, coefficients: &mut [f32]) {
        assert_eq!(coefficients.len(), COEFFICIENTS * filter.inputs * filter.outputs);
        let groups = self.groups(filter.outputs);
        let all = SharedMut::new(coefficients);
        (0..groups.len() * INPUT_TILE).into_par_iter().for_each(|task| {
            let (group, row) = (groups[task / INPUT_TILE], task % INPUT_TILE);
            let offset = (group.panel * COEFFICIENTS + row * INPUT_TILE * group.count) * 16 * filter.inputs;
            // SAFETY: each task writes one row of coefficients of one group, disjoint parts of the buffer.
            run_on(self.isa, filter_row_transform(filter, group, row, unsafe { all.get().add(offset) }));
        });
    }

    /// Convolves with a small filter, transformed by [`Self::transform_filter`]: each task computes all output channels of some tiles.
    pub(super) fn convolve_by_tiles(&self, sources: &[Part], filter: &[f32], [inputs, outputs]: [usize; 2], output: Output) {
        assert_eq!(filter.len(), COEFFICIENTS * inputs * outputs);
        let groups = self.groups(outputs);
        let zeros = vec![0.0; inputs];
        let block = tiles_per_task(self.isa, inputs, outputs, self.grid.tiles());
        (0..self.grid.tiles().div_ceil(block)).into_par_iter().for_each(|task| {
            let tiles = self.range(task, block);
            let rows = tiles.len();
            with_scratch(domain_len(rows, inputs) + domain_len(rows, 32), |scratch| {
                let (input, products) = scratch.split_at_mut(domain_len(rows, inputs));
                self.transform_input_into(sources, &zeros, tiles.clone(), input);
                for group in &groups {
                    let width = group.count * 16;
                    for coefficient in 0..COEFFICIENTS {
                        let right = (group.panel * COEFFICIENTS + coefficient * group.count) * 16 * inputs;
                        // SAFETY: the coefficient and the group lie inside the buffers, which hold all of them.
                        let (left, right, out) = unsafe {
                            let left = input.as_ptr().add(coefficient * coefficient_stride(rows, inputs));
                            (left, filter.as_ptr().add(right), products.as_mut_ptr().add(coefficient * coefficient_stride(rows, width)))
                        };
                        run_on(self.isa, Gemm::contiguous(left, rows, inputs, right, group.count, out));
                    }
                    self.transform_output(output, *group, tiles.clone(), products);
                }
            });
        });
    }

    /// Convolves with a large filter, one block of tiles after the other: each task transforms some panel groups of the filter, row by row
    /// of coefficients, and computes their output channels for the whole block.
    pub(super) fn convolve_by_panels(&self, sources: &[Part], filter: Filter, output: Output) {
        let groups = self.groups(filter.outputs);
        for block in 0..self.grid.tiles().div_ceil(TILES_PER_BLOCK) {
            let tiles = self.range(block, TILES_PER_BLOCK);
            let rows = tiles.len();
            let input = self.transform_input(sources, filter.inputs, tiles.clone());
            groups.par_chunks(groups_per_task(self.isa, groups.len(), filter.inputs, rows)).for_each(|groups| {
                let (filter_row_len, products_len) = (INPUT_TILE * filter.inputs * 32, domain_len(rows, 32));
                with_scratch(groups.len() * (filter_row_len + products_len), |scratch| {
                    let (filter_row, products) = scratch.split_at_mut(groups.len() * filter_row_len);
                    for row in 0..INPUT_TILE {
                        for (group, filter_row) in groups.iter().zip(filter_row.chunks_exact_mut(filter_row_len)) {
                            run_on(self.isa, filter_row_transform(filter, *group, row, filter_row.as_mut_ptr()));
                        }
                        for (column, coefficient) in (row * INPUT_TILE..(row + 1) * INPUT_TILE).enumerate() {
                            let left = input[coefficient * coefficient_stride(rows, filter.inputs)..].as_ptr();
                            let parts = filter_row.chunks_exact(filter_row_len).zip(products.chunks_exact_mut(products_len));
                            for (group, (filter_row, products)) in groups.iter().zip(parts) {
                                let (inner, vectors, out_row) = (filter.inputs, group.count, group.count * 16);
                                let right = filter_row[column * inner * out_row..].as_ptr();
                                let out = products[coefficient * coefficient_stride(rows, out_row)..].as_mut_ptr();
                                run_on(self.isa, Gemm::contiguous(left, rows, inner, right, vectors, out));
                            }
                        }
                    }
                    for (group, products) in groups.iter().zip(products.chunks_exact_mut(products_len)) {
                        self.transform_output(output, *group, tiles.clone(), products);
                    }
                });
            });
            self.pool.give(input);
        }
    }

    /// Transforms the products of one panel group into the output, with the post-operations.
    fn transform_output(&self, output: Output, group: PanelGroup, tiles: Range<usize>, products: &mut [f32]) {
        let width = group.count * 16;
        for n in 0..group.count {
            let channel = (group.panel + n) * 16;
            let (part, channel) =
                if output.post_ops.is_some() { (output.targets[0].part(), channel) } else { find(output.targets, channel) };
            // SAFETY: `n` is a panel of the group, so its vector lies inside the products.
            let first = unsafe { products.as_mut_ptr().add(n * 16) };
            let coefficients = Coefficients { first, stride: coefficient_stride(tiles.len(), width), row: width };
            let transform = OutputTransform { grid: self.grid, part, tiles: tiles.clone(), channel, coefficients };
            match output.post_ops {
                None => run_on(self.isa, transform),
                Some(PostOps { epilogue, logit: None }) => run_on(self.isa, EpilogueTransform { transform, epilogue }),
                Some(PostOps { epilogue, logit: Some(Logit { weights, bias }) }) => {
                    let bias = (channel == 0).then_some(bias);
                    run_on(self.isa, LogitTransform { transform, epilogue, channels: weights.len(), weights, bias });
                }
            }
        }
    }
}

/// Destination of a convolution, with its post-operations.
#[derive(Clone, Copy)]
pub(super) struct Output<'a> {
    /// Destinations, whose channels are concatenated.
    pub targets: &'a [Target],
    /// Post-operations; they need a single target at full resolution.
    pub post_ops: Option<PostOps<'a>>,
}

/// Operations on results before they are stored.
#[derive(Clone, Copy)]
pub(super) struct PostOps<'a> {
    /// Bias, residual and activation.
    pub epilogue: Epilogue<'a>,
    /// Fused logit; needs a small filter, whose tasks compute all channels of a tile one after the other.
    pub logit: Option<Logit<'a>>,
}

/// A fused 1x1 convolution with one output channel that is the only reader of the result, which is never stored.
#[derive(Clone, Copy)]
pub struct Logit<'a> {
    /// Weight of each channel.
    pub weights: &'a [f32],
    /// Bias.
    pub bias: f32,
}

/// Reports whether the transformed filter is small enough to stay in cache.
pub(super) fn is_small(filter: &Filter) -> bool {
    filter.inputs * filter.outputs <= SMALL_FILTER
}

/// Returns the kernel that transforms one row of coefficients of a panel group into `out`.
fn filter_row_transform(filter: Filter, group: PanelGroup, row: usize, out: *mut f32) -> FilterTransform {
    FilterTransform {
        panels: filter.panels,
        inputs: filter.inputs,
        panel: group.panel,
        count: group.count,
        row,
        rotated: filter.rotated,
        out,
    }
}
