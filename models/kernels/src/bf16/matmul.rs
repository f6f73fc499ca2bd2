//! Matrix product of a padded copy and a packed filter, with the results stored to the pixels of their positions.

use rayon::prelude::*;

use super::Bf16Buffer;
use super::convolution::Bf16Convolution;
use super::layout::Layout;
use super::micro_kernel::{Accumulators, Block, TILE};
use super::packed_filter::{ColumnGroups, TapRun, steps};
use crate::scratch::SharedMut;

/// Bytes of a padded copy that stay in the L2 cache while the groups of the filter are multiplied.
const CHUNK_BYTES: usize = 512 << 10;

/// Number of positions that a task clears.
const CLEARED: usize = 1024;

/// Destination of sums: a feature map with a part of the output channels.
pub struct Target {
    /// Values, `B H W C`.
    pub values: SharedMut,
    /// Channels, `C`.
    pub channels: usize,
}

/// Pixels of the destination that positions are stored to: every `stride`th, from `first` on.
pub struct OutputGrid {
    /// Rows of the destination.
    pub height: usize,
    /// Columns of the destination.
    pub width: usize,
    /// Distance of the pixels in rows and columns.
    pub stride: usize,
    /// First row and column.
    pub first: [usize; 2],
}

impl OutputGrid {
    /// Returns the index of the pixel of a position, or none outside the destination.
    fn index(&self, [image, y, x]: [usize; 3]) -> Option<usize> {
        let (y, x) = (y * self.stride + self.first[0], x * self.stride + self.first[1]);
        (y < self.height && x < self.width).then(|| (image * self.height + y) * self.width + x)
    }
}

impl Bf16Convolution<'_> {
    /// Computes all blocks of 32 positions x 32 output channels. A task takes one chunk of positions and one group of channels.
    #[expect(clippy::too_many_arguments, reason = "two matrices and their layouts, and the destination")]
    pub(super) fn matmul(
        &self,
        layout: &Layout,
        source: &Bf16Buffer,
        channels: usize,
        runs: &[TapRun],
        filter: &Bf16Buffer,
        pixels: &OutputGrid,
        targets: &[Target],
    ) {
        let groups = ColumnGroups { columns: targets.iter().map(|target| target.channels).sum() };
        let (left_row, rows) = (layout.stride * channels, 2 * TILE);
        let steps = steps(runs[0].taps.len() * channels);
        let offsets: Vec<isize> = runs.iter().map(|run| run.offset).collect();
        assert_eq!(filter.len, groups.len(steps * runs.len()));
        let blocks = layout.positions().div_ceil(rows);
        let chunk = (CHUNK_BYTES / (2 * left_row * rows)).clamp(4, 64);
        (0..blocks.div_ceil(chunk) * groups.count()).into_par_iter().for_each(|task| {
            let (chunk_index, group) = (task / groups.count(), task % groups.count());
            let mut sums = Accumulators::ZERO;
            self.isa.with_tile_configuration(|| {
                for block in chunk_index * chunk..((chunk_index + 1) * chunk).min(blocks) {
                    let left = source[block * rows * left_row..].as_ptr();
                    let right = filter[ColumnGroups::offset(group, steps * runs.len())..].as_ptr();
                    let columns = groups.tiles(group);
                    let operands = Block { left, left_row, runs: &offsets, steps, rows: 2, right, columns, add: false };
                    // SAFETY: `Layout::padded_positions` covers all values that the last block reads, and the filter's length was
                    // asserted.
                    unsafe { self.isa.run(&operands, &mut sums) };
                    for (sums, position) in sums.0.iter().zip(layout.pixels(block * rows)) {
                        if let Some(pixel) = position.and_then(|pixel| pixels.index(pixel)) {
                            store(targets, pixel, group * 2 * TILE, &sums[..groups.width(group)]);
                        }
                    }
                }
            });
        });
    }
}

/// Stores values to a pixel of the targets, whose channels are concatenated, from `channel` on.
fn store(targets: &[Target], pixel: usize, mut channel: usize, mut values: &[f32]) {
    for target in targets {
        if values.is_empty() {
            return;
        }
        if channel >= target.channels {
            channel -= target.channels;
            continue;
        }
        let (own, rest) = values.split_at(values.len().min(target.channels - channel));
        // SAFETY: the pixel lies inside the feature map, and each of its channels is written by one task.
        let to = unsafe { std::slice::from_raw_parts_mut(target.values.get().add(pixel * target.channels + channel), own.len()) };
        to.copy_from_slice(own);
        (channel, values) = (0, rest);
    }
}

/// Stores zeros to the pixels of a phase that no tap reads.
pub fn clear(layout: &Layout, pixels: &OutputGrid, targets: &[Target]) {
    for target in targets {
        (0..layout.positions().div_ceil(CLEARED)).into_par_iter().for_each(|task| {
            for pixel in layout.pixels(task * CLEARED).take(CLEARED).flatten().filter_map(|pixel| pixels.index(pixel)) {
                // SAFETY: the pixel lies inside the feature map and belongs to this task.
                unsafe { std::slice::from_raw_parts_mut(target.values.get().add(pixel * target.channels), target.channels) }.fill(0.0);
            }
        });
    }
}
