//! Gradient of the filter: for each tap, channels of the map times output gradients, summed over positions.

use std::ops::Range;

use rayon::prelude::*;

use super::block::{Block, RIGHT_TILE, STEP, Sums, TILE};
use super::convolution::Bf16Convolution;
use super::filter::{Groups, interleave};
use super::layout::Layout;
use super::{Halves, SharedHalves, transposed};
use crate::lanes::vectorised;
use crate::panels::{self, WIDTH};
use crate::scratch::{Buffer, Shared};
use crate::winograd::Part;

/// Steps of positions whose left and right rows stay in the second-level cache while taps pass by.
const CHUNK: usize = 32;
/// Blocks of filter and parts of the positions that there should be together, so that all cores have work.
const TASKS: usize = 32;

/// What all tasks read.
struct Operands<'a> {
    layout: Layout,
    left: &'a Halves,
    right: &'a Halves,
    groups: Groups,
    steps: usize,
    /// Where each tap reads in the transposed copy, without the channel.
    taps: Vec<(usize, isize)>,
}

impl Bf16Convolution<'_> {
    /// The gradient as panels, from what was read and the gradient at the result.
    pub fn weight_gradient(&self, parts: &[Part], dy: &[f32]) -> Buffer {
        let layout = Layout::of(self.geometry);
        let (height, width) = self.geometry.output();
        assert_eq!(parts.iter().map(|part| part.channels).sum::<usize>(), self.inputs);
        assert_eq!(dy.len(), self.geometry.batch * height * width * self.outputs);
        let copy = layout.copy(self.pool, parts);
        let left = transposed::transpose(self.pool, &layout, &copy, self.inputs);
        copy.give(self.pool);
        let right = self.pairs(&layout, dy);
        let (kernel, padding) = (self.geometry.kernel, (self.geometry.kernel / 2) as isize);
        let tap = |t: usize| layout.transposed_offset((t / kernel) as isize - padding, (t % kernel) as isize - padding);
        let operands = Operands {
            layout,
            left: &left,
            right: &right,
            groups: Groups { columns: self.outputs },
            steps: layout.positions().div_ceil(STEP),
            taps: (0..self.geometry.taps()).map(tap).collect(),
        };
        let sum = self.sum(&operands);
        left.give(self.pool);
        right.give(self.pool);
        sum
    }

    /// Output gradients as right tiles, pairs of positions; zeros in gaps.
    fn pairs(&self, layout: &Layout, dy: &[f32]) -> Halves {
        let (groups, steps) = (Groups { columns: self.outputs }, layout.positions().div_ceil(STEP));
        let mut pairs = Halves::take(self.pool, groups.len(steps));
        let target = SharedHalves::new(&mut pairs);
        let (height, width) = self.geometry.output();
        (0..steps).into_par_iter().for_each(|step| {
            let mut pixels = [None; STEP];
            for (to, place) in pixels.iter_mut().zip(layout.pixels(step * STEP)) {
                *to = place.map(|[image, y, x]| ((image * height + y) * width + x) * self.outputs);
            }
            for panel in 0..self.outputs.div_ceil(WIDTH) {
                let (group, tiles) = (panel / 2, groups.tiles(panel / 2));
                let from = Groups::offset(group, steps) + (step * tiles + panel % 2) * RIGHT_TILE;
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

    /// Blocks of the filter, over parts of the positions that are added up in their order.
    fn sum(&self, operands: &Operands) -> Buffer {
        let blocks = self.inputs.div_ceil(2 * TILE) * operands.groups.count();
        let chunks = operands.steps.div_ceil(CHUNK);
        let parts = (TASKS / blocks).clamp(1, chunks);
        let len = panels::len(self.outputs, self.inputs, operands.taps.len());
        let mut sums: Vec<Buffer> = (0..parts).map(|_| self.pool.zeros(len)).collect();
        let targets: Vec<Shared> = sums.iter_mut().map(|sum| Shared::new(sum)).collect();
        (0..parts * blocks).into_par_iter().for_each_init(Vec::new, |own, task| {
            let (part, block) = (task / blocks, task % blocks);
            let range = part * chunks / parts * CHUNK..((part + 1) * chunks / parts * CHUNK).min(operands.steps);
            let (rows, group) = (block / operands.groups.count(), block % operands.groups.count());
            self.block(operands, rows, group, range, own);
            self.write(operands, rows, group, own, targets[part]);
        });
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
    fn block(&self, operands: &Operands, rows: usize, group: usize, range: Range<usize>, sums: &mut Vec<Sums>) {
        let Operands { layout, left, right, groups, steps, taps } = operands;
        sums.clear();
        sums.resize(taps.len(), Sums::ZERO);
        let tiles = groups.tiles(group);
        self.unit.prepared(|| {
            for from in range.clone().step_by(CHUNK) {
                let right = right[Groups::offset(group, *steps) + from * tiles * RIGHT_TILE..].as_ptr();
                for ((kind, offset), sums) in taps.iter().zip(sums.iter_mut()) {
                    let channel = kind * transposed::rows(self.inputs) + rows * 2 * TILE;
                    let block = Block {
                        left: left[channel * layout.all() + from * STEP..].as_ptr(),
                        left_row: layout.all(),
                        runs: &[*offset],
                        steps: CHUNK.min(range.end - from),
                        rows: (self.inputs - rows * 2 * TILE).div_ceil(TILE).min(2),
                        right,
                        columns: tiles,
                        add: true,
                    };
                    // SAFETY: `Layout::all` covers the last step under every tap, and rows were filled up to 32.
                    unsafe { self.unit.run(&block, sums) };
                }
            }
        });
    }

    /// Writes sums to their places in the panels.
    fn write(&self, operands: &Operands, rows: usize, group: usize, sums: &[Sums], target: Shared) {
        for (tap, sums) in sums.iter().enumerate() {
            for (row, sums) in sums.0.iter().enumerate().take(self.inputs - rows * 2 * TILE) {
                for tile in 0..operands.groups.tiles(group) {
                    let lanes = WIDTH.min(operands.groups.width(group) - tile * WIDTH);
                    let at = ((group * 2 + tile) * operands.taps.len() + tap) * self.inputs + rows * 2 * TILE + row;
                    // SAFETY: the row of a panel is inside the buffer and belongs to this task.
                    let to = unsafe { std::slice::from_raw_parts_mut(target.get().add(at * WIDTH), lanes) };
                    to.copy_from_slice(&sums[tile * TILE..][..lanes]);
                }
            }
        }
    }
}
