//! Backward-weight with bf16 operands: for each tap, a matrix product of the transposed input and the output gradient, summed over
//! positions.
//!
//! The sum is divided into splits (split-K) by shapes alone; each split has sums of its own, which are added in ascending order.

use std::ops::Range;

use rayon::prelude::*;

use super::convolution::Bf16Convolution;
use super::layout::Layout;
use super::micro_kernel::{Accumulators, Block, RIGHT_TILE, STEP, TILE};
use super::packed_filter::{ColumnGroups, interleave};
use super::{Bf16Buffer, SharedBf16, transpose};
use crate::panels::{self, WIDTH};
use crate::scratch::{Buffer, SharedMut};
use crate::simd::vectorised;
use crate::winograd::Part;

/// Number of steps of 32 positions whose left and right tiles stay in the L2 cache while all taps are multiplied.
const CHUNK: usize = 32;
/// Desired number of blocks of the filter x splits of the sum, so that all cores have work.
const TASKS: usize = 32;

/// Packed operands of some steps.
struct Operands {
    /// Range of steps of 32 positions.
    steps: Range<usize>,
    /// Transposed input from the first step on, `[pixel phase][channel][padded position]`.
    left: Bf16Buffer,
    /// Stride of the rows of `left`, in padded positions.
    left_row: usize,
    /// Output gradient as right tiles.
    right: Bf16Buffer,
    /// Pixel phase and offset at which each tap reads in `left`.
    taps: Vec<(usize, isize)>,
}

/// Division of the work into blocks and splits, which depends on shapes alone.
#[derive(Clone, Copy)]
struct Plan {
    layout: Layout,
    groups: ColumnGroups,
    steps: usize,
    /// Number of blocks of the filter, 32 input x 32 output channels.
    blocks: usize,
    /// Number of splits of the sum.
    splits: usize,
}

impl Plan {
    /// Returns the steps of some splits.
    fn steps_of_splits(&self, splits: Range<usize>) -> Range<usize> {
        let chunks = self.steps.div_ceil(CHUNK);
        splits.start * chunks / self.splits * CHUNK..(splits.end * chunks / self.splits * CHUNK).min(self.steps)
    }
}

impl Bf16Convolution<'_> {
    /// Returns the gradient of the filter, packed as `[panel][tap][input][16]`, from the input of the convolution and the gradient at its
    /// output, `dy`, `B H' W' O`.
    pub fn weight_gradient(&self, parts: &[Part], dy: &[f32]) -> Buffer {
        let (height, width) = self.geometry.output();
        assert_eq!(parts.iter().map(|part| part.channels).sum::<usize>(), self.inputs);
        assert_eq!(dy.len(), self.geometry.batch * height * width * self.outputs);
        let plan = self.plan();
        let len = panels::len(self.outputs, self.inputs, self.geometry.taps());
        let mut sums: Vec<Buffer> = (0..plan.splits).map(|_| self.pool.zeros(len)).collect();
        let targets: Vec<SharedMut> = sums.iter_mut().map(|sum| SharedMut::new(sum)).collect();
        let concurrent = self.concurrent_splits(&plan);
        for first in (0..plan.splits).step_by(concurrent) {
            let splits = first..(first + concurrent).min(plan.splits);
            let operands = self.pack_operands(&plan, parts, dy, plan.steps_of_splits(splits.clone()));
            (0..splits.len() * plan.blocks).into_par_iter().for_each_init(Vec::new, |own, task| {
                let (split, block) = (first + task / plan.blocks, task % plan.blocks);
                let (rows, group) = (block / plan.groups.count(), block % plan.groups.count());
                self.accumulate_block(&operands, plan.groups.tiles(group), rows, group, plan.steps_of_splits(split..split + 1), own);
                self.store_block(plan.groups, rows, group, own, targets[split]);
            });
            operands.left.give(self.scratch);
            operands.right.give(self.scratch);
        }
        self.reduce_splits(sums)
    }

    /// Divides the work.
    fn plan(&self) -> Plan {
        let (layout, groups) = (Layout::of(self.geometry), ColumnGroups { columns: self.outputs });
        let blocks = self.inputs.div_ceil(2 * TILE) * groups.count();
        let steps = layout.positions().div_ceil(STEP);
        Plan { layout, groups, steps, blocks, splits: (TASKS / blocks).clamp(1, steps.div_ceil(CHUNK)) }
    }

    /// Returns the number of splits whose operands are in memory at the same time: as many as fit the workspace, but enough for all
    /// threads. Results do not depend on the number, because each sum lies within one split.
    fn concurrent_splits(&self, plan: &Plan) -> usize {
        let threads = rayon::current_num_threads();
        let channels = plan.layout.stride.pow(2) * transpose::rows(self.inputs) + self.outputs.next_multiple_of(TILE);
        let bytes = 2 * channels * STEP * plan.steps.div_ceil(plan.splits);
        let least = (2 * threads).div_ceil(plan.blocks);
        (self.workspace_bytes / bytes).clamp(least, least.max(plan.splits)).next_multiple_of(threads.div_ceil(plan.blocks))
    }

    /// Packs the operands of some steps.
    fn pack_operands(&self, plan: &Plan, parts: &[Part], dy: &[f32], steps: Range<usize>) -> Operands {
        let layout = &plan.layout;
        let window = layout.padded_range(steps.start * STEP..steps.end * STEP);
        let copy = layout.padded_copy(self.scratch, parts, window.clone());
        let left = transpose::transpose(self.scratch, layout.stride, window.len(), &copy, self.inputs);
        copy.give(self.scratch);
        let right = self.pack_gradient(plan, dy, steps.clone());
        let (kernel, padding) = (self.geometry.kernel, (self.geometry.kernel / 2) as isize);
        let tap = |t: usize| layout.transposed_offset((t / kernel) as isize - padding, (t % kernel) as isize - padding);
        Operands { steps, left, left_row: window.len(), right, taps: (0..self.geometry.taps()).map(tap).collect() }
    }

    /// Packs the output gradients of some steps as right tiles, in pairs of positions, with zeros in gaps.
    fn pack_gradient(&self, plan: &Plan, dy: &[f32], steps: Range<usize>) -> Bf16Buffer {
        let (groups, count) = (plan.groups, steps.len());
        let mut pairs = Bf16Buffer::take(self.scratch, groups.len(count));
        let target = SharedBf16::new(&mut pairs);
        let (height, width) = self.geometry.output();
        (0..count).into_par_iter().for_each(|step| {
            let mut pixels = [None; STEP];
            for (to, place) in pixels.iter_mut().zip(plan.layout.pixels((steps.start + step) * STEP)) {
                *to = place.map(|[image, y, x]| ((image * height + y) * width + x) * self.outputs);
            }
            for panel in 0..self.outputs.div_ceil(WIDTH) {
                let (group, tiles) = (panel / 2, groups.tiles(panel / 2));
                let from = ColumnGroups::offset(group, count) + (step * tiles + panel % 2) * RIGHT_TILE;
                // SAFETY: each task packs one step, disjoint parts of the buffer.
                let tile = unsafe { target.part(from, RIGHT_TILE) };
                let lanes = WIDTH.min(self.outputs - panel * WIDTH);
                vectorised(
                    #[inline(always)]
                    || {
                        let row = |pixel: Option<usize>| {
                            let mut values = [0.0; WIDTH];
                            if let Some(pixel) = pixel {
                                values[..lanes].copy_from_slice(&dy[pixel + panel * WIDTH..][..lanes]);
                            }
                            values
                        };
                        for (to, pixels) in tile.chunks_exact_mut(STEP).zip(pixels.chunks_exact(2)) {
                            interleave(&row(pixels[0]), &row(pixels[1]), to);
                        }
                    },
                );
            }
        });
        pairs
    }

    /// Adds the sums of all splits in ascending order.
    fn reduce_splits(&self, mut sums: Vec<Buffer>) -> Buffer {
        let mut total = sums.remove(0);
        for split in sums {
            total.par_chunks_mut(1 << 14).zip(split.par_chunks(1 << 14)).for_each(|(total, split)| {
                total.iter_mut().zip(split).for_each(|(sum, value)| *sum += value);
            });
            self.pool.give(split);
        }
        total
    }

    /// Computes the sums of 32 input channels x one group of output channels, for every tap, over some steps.
    fn accumulate_block(
        &self,
        operands: &Operands,
        tiles: usize,
        rows: usize,
        group: usize,
        range: Range<usize>,
        sums: &mut Vec<Accumulators>,
    ) {
        let Operands { steps, left, left_row, right, taps } = operands;
        sums.clear();
        sums.resize(taps.len(), Accumulators::ZERO);
        self.isa.with_tile_configuration(|| {
            for from in range.clone().step_by(CHUNK) {
                let step = from - steps.start;
                let right = right[ColumnGroups::offset(group, steps.len()) + step * tiles * RIGHT_TILE..].as_ptr();
                for ((phase, offset), sums) in taps.iter().zip(sums.iter_mut()) {
                    let channel = phase * transpose::rows(self.inputs) + rows * 2 * TILE;
                    let block = Block {
                        left: left[channel * left_row + step * STEP..].as_ptr(),
                        left_row: *left_row,
                        runs: &[*offset],
                        steps: CHUNK.min(range.end - from),
                        rows: (self.inputs - rows * 2 * TILE).div_ceil(TILE).min(2),
                        right,
                        columns: tiles,
                        add: true,
                    };
                    // SAFETY: `Layout::padded_range` covers the last step under every tap, and rows are padded to whole tiles.
                    unsafe { self.isa.run(&block, sums) };
                }
            }
        });
    }

    /// Stores the sums of a block into the panels of a split.
    fn store_block(&self, groups: ColumnGroups, rows: usize, group: usize, sums: &[Accumulators], target: SharedMut) {
        for (tap, sums) in sums.iter().enumerate() {
            for (row, sums) in sums.0.iter().enumerate().take(self.inputs - rows * 2 * TILE) {
                for tile in 0..groups.tiles(group) {
                    let lanes = WIDTH.min(groups.width(group) - tile * WIDTH);
                    let at = ((group * 2 + tile) * self.geometry.taps() + tap) * self.inputs + rows * 2 * TILE + row;
                    // SAFETY: the row of the panel lies inside the buffer and belongs to this task.
                    let to = unsafe { std::slice::from_raw_parts_mut(target.get().add(at * WIDTH), lanes) };
                    to.copy_from_slice(&sums[tile * TILE..][..lanes]);
                }
            }
        }
    }
}
