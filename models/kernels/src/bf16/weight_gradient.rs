//! Gradient of the filter: for each tap, channels of the map times output gradients, summed over positions.

use std::ops::Range;

use rayon::prelude::*;

use super::block::{Block, RIGHT_TILE, STEP, Sums, TILE};
use super::convolution::Bf16Convolution;
use super::filter::{Groups, interleave};
use super::layout::Layout;
use super::{Halves, SharedHalves, transposed};
use crate::panels::{self, WIDTH};
use crate::scratch::{Buffer, Shared};
use crate::simd::vectorised;
use crate::winograd::Part;

/// Steps of positions whose left and right rows stay in the second-level cache while taps pass by.
const CHUNK: usize = 32;
/// Blocks of filter and parts of the positions that there should be together, so that all cores have work.
const TASKS: usize = 32;

/// What the tasks of some steps read.
struct Operands {
    /// Steps of 32 positions.
    steps: Range<usize>,
    /// `[row and column modulo stride][channel][padded position]` from the first step on.
    left: Halves,
    /// Padded positions of a row of `left`.
    left_row: usize,
    right: Halves,
    /// Where each tap reads in `left`, without the channel.
    taps: Vec<(usize, isize)>,
}

/// How the sums are divided; depends on shapes alone.
#[derive(Clone, Copy)]
struct Plan {
    layout: Layout,
    groups: Groups,
    steps: usize,
    /// Blocks of the filter.
    blocks: usize,
    /// Parts of the steps, each with sums of its own, which are added up in their order.
    parts: usize,
}

impl Plan {
    /// Steps of some parts.
    fn steps_of(&self, parts: Range<usize>) -> Range<usize> {
        let chunks = self.steps.div_ceil(CHUNK);
        parts.start * chunks / self.parts * CHUNK..(parts.end * chunks / self.parts * CHUNK).min(self.steps)
    }
}

impl Bf16Convolution<'_> {
    /// The gradient as panels, from what was read and the gradient at the result.
    pub fn weight_gradient(&self, parts: &[Part], dy: &[f32]) -> Buffer {
        let (height, width) = self.geometry.output();
        assert_eq!(parts.iter().map(|part| part.channels).sum::<usize>(), self.inputs);
        assert_eq!(dy.len(), self.geometry.batch * height * width * self.outputs);
        let plan = self.plan();
        let len = panels::len(self.outputs, self.inputs, self.geometry.taps());
        let mut sums: Vec<Buffer> = (0..plan.parts).map(|_| self.pool.zeros(len)).collect();
        let targets: Vec<Shared> = sums.iter_mut().map(|sum| Shared::new(sum)).collect();
        let together = self.parts_together(&plan);
        for first in (0..plan.parts).step_by(together) {
            let some = first..(first + together).min(plan.parts);
            let operands = self.operands(&plan, parts, dy, plan.steps_of(some.clone()));
            (0..some.len() * plan.blocks).into_par_iter().for_each_init(Vec::new, |own, task| {
                let (part, block) = (first + task / plan.blocks, task % plan.blocks);
                let (rows, group) = (block / plan.groups.count(), block % plan.groups.count());
                self.block(&operands, plan.groups.tiles(group), rows, group, plan.steps_of(part..part + 1), own);
                self.write(plan.groups, rows, group, own, targets[part]);
            });
            operands.left.give(self.scratch);
            operands.right.give(self.scratch);
        }
        self.total(sums)
    }

    fn plan(&self) -> Plan {
        let (layout, groups) = (Layout::of(self.geometry), Groups { columns: self.outputs });
        let blocks = self.inputs.div_ceil(2 * TILE) * groups.count();
        let steps = layout.positions().div_ceil(STEP);
        Plan { layout, groups, steps, blocks, parts: (TASKS / blocks).clamp(1, steps.div_ceil(CHUNK)) }
    }

    /// Parts whose operands lie in memory at the same time: few, but work for all threads. Every sum stays within its part, so
    /// that results do not depend on it.
    fn parts_together(&self, plan: &Plan) -> usize {
        let threads = rayon::current_num_threads();
        let channels = plan.layout.stride.pow(2) * transposed::rows(self.inputs) + self.outputs.next_multiple_of(TILE);
        let bytes = 2 * channels * STEP * plan.steps.div_ceil(plan.parts);
        let least = (2 * threads).div_ceil(plan.blocks);
        (self.room / bytes).clamp(least, least.max(plan.parts)).next_multiple_of(threads.div_ceil(plan.blocks))
    }

    /// What some steps read.
    fn operands(&self, plan: &Plan, parts: &[Part], dy: &[f32], steps: Range<usize>) -> Operands {
        let layout = &plan.layout;
        let window = layout.window(steps.start * STEP..steps.end * STEP);
        let copy = layout.copy(self.scratch, parts, window.clone());
        let left = transposed::transpose(self.scratch, layout.stride, window.len(), &copy, self.inputs);
        copy.give(self.scratch);
        let right = self.pairs(plan, dy, steps.clone());
        let (kernel, padding) = (self.geometry.kernel, (self.geometry.kernel / 2) as isize);
        let tap = |t: usize| layout.transposed_offset((t / kernel) as isize - padding, (t % kernel) as isize - padding);
        Operands { steps, left, left_row: window.len(), right, taps: (0..self.geometry.taps()).map(tap).collect() }
    }

    /// Output gradients of some steps as right tiles, pairs of positions; zeros in gaps.
    fn pairs(&self, plan: &Plan, dy: &[f32], steps: Range<usize>) -> Halves {
        let (groups, count) = (plan.groups, steps.len());
        let mut pairs = Halves::take(self.scratch, groups.len(count));
        let target = SharedHalves::new(&mut pairs);
        let (height, width) = self.geometry.output();
        (0..count).into_par_iter().for_each(|step| {
            let mut pixels = [None; STEP];
            for (to, place) in pixels.iter_mut().zip(plan.layout.pixels((steps.start + step) * STEP)) {
                *to = place.map(|[image, y, x]| ((image * height + y) * width + x) * self.outputs);
            }
            for panel in 0..self.outputs.div_ceil(WIDTH) {
                let (group, tiles) = (panel / 2, groups.tiles(panel / 2));
                let from = Groups::offset(group, count) + (step * tiles + panel % 2) * RIGHT_TILE;
                // SAFETY: every task has a step of its own.
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

    /// The sum of all parts, in their order.
    fn total(&self, mut sums: Vec<Buffer>) -> Buffer {
        let mut total = sums.remove(0);
        for part in sums {
            total.par_chunks_mut(1 << 14).zip(part.par_chunks(1 << 14)).for_each(|(total, part)| {
                total.iter_mut().zip(part).for_each(|(sum, value)| *sum += value);
            });
            self.pool.give(part);
        }
        total
    }

    /// Sums of 32 channels read and a group of channels written, for every tap, over some steps.
    fn block(&self, operands: &Operands, tiles: usize, rows: usize, group: usize, range: Range<usize>, sums: &mut Vec<Sums>) {
        let Operands { steps, left, left_row, right, taps } = operands;
        sums.clear();
        sums.resize(taps.len(), Sums::ZERO);
        self.unit.prepared(|| {
            for from in range.clone().step_by(CHUNK) {
                let step = from - steps.start;
                let right = right[Groups::offset(group, steps.len()) + step * tiles * RIGHT_TILE..].as_ptr();
                for ((kind, offset), sums) in taps.iter().zip(sums.iter_mut()) {
                    let channel = kind * transposed::rows(self.inputs) + rows * 2 * TILE;
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
                    // SAFETY: `Layout::window` covers the last step under every tap, and rows were filled up to whole tiles.
                    unsafe { self.unit.run(&block, sums) };
                }
            }
        });
    }

    /// Writes sums to their places in the panels.
    fn write(&self, groups: Groups, rows: usize, group: usize, sums: &[Sums], target: Shared) {
        for (tap, sums) in sums.iter().enumerate() {
            for (row, sums) in sums.0.iter().enumerate().take(self.inputs - rows * 2 * TILE) {
                for tile in 0..groups.tiles(group) {
                    let lanes = WIDTH.min(groups.width(group) - tile * WIDTH);
                    let at = ((group * 2 + tile) * self.geometry.taps() + tap) * self.inputs + rows * 2 * TILE + row;
                    // SAFETY: the row of a panel is inside the buffer and belongs to this task.
                    let to = unsafe { std::slice::from_raw_parts_mut(target.get().add(at * WIDTH), lanes) };
                    to.copy_from_slice(&sums[tile * TILE..][..lanes]);
                }
            }
        }
    }
}
