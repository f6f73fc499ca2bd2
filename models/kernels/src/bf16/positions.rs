//! Blocks of all positions of a padded copy, and where their sums go.

use rayon::prelude::*;

use super::Halves;
use super::block::{Block, Sums, TILE};
use super::convolution::Bf16Convolution;
use super::filter::{Groups, Run, steps};
use super::layout::Layout;
use crate::scratch::Shared;

/// Bytes of a padded copy that stay in the second-level cache while groups of filters pass by.
const CHUNK_BYTES: usize = 512 << 10;

/// Positions that a task clears.
const CLEARED: usize = 1024;

/// Where sums go: some channels of a map.
pub struct Target {
    /// The first value.
    pub values: Shared,
    /// Its channels.
    pub channels: usize,
}

/// The grid of pixels that positions are written to: every `stride`th from `(y, x)` on.
pub struct Pixels {
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// Distance.
    pub stride: usize,
    /// The first row and column.
    pub first: [usize; 2],
}

impl Pixels {
    fn index(&self, [image, y, x]: [usize; 3]) -> Option<usize> {
        let (y, x) = (y * self.stride + self.first[0], x * self.stride + self.first[1]);
        (y < self.height && x < self.width).then(|| (image * self.height + y) * self.width + x)
    }
}

impl Bf16Convolution<'_> {
    /// Blocks of 32 positions and 32 columns, chunk by chunk of positions and group by group of columns.
    #[expect(clippy::too_many_arguments, reason = "two matrices, and where they are read and written")]
    pub(super) fn product(
        &self,
        layout: &Layout,
        source: &Halves,
        channels: usize,
        runs: &[Run],
        filter: &Halves,
        pixels: &Pixels,
        targets: &[Target],
    ) {
        let groups = Groups { columns: targets.iter().map(|target| target.channels).sum() };
        let (left_row, rows) = (layout.stride * channels, 2 * TILE);
        let steps = steps(runs[0].taps.len() * channels);
        let offsets: Vec<isize> = runs.iter().map(|run| run.offset).collect();
        assert_eq!(filter.len, groups.len(steps * runs.len()));
        let blocks = layout.positions().div_ceil(rows);
        let chunk = (CHUNK_BYTES / (2 * left_row * rows)).clamp(4, 64);
        (0..blocks.div_ceil(chunk) * groups.count()).into_par_iter().for_each(|task| {
            let (chunk_index, group) = (task / groups.count(), task % groups.count());
            let mut sums = Sums::ZERO;
            self.unit.prepared(|| {
                for block in chunk_index * chunk..((chunk_index + 1) * chunk).min(blocks) {
                    let left = source[block * rows * left_row..].as_ptr();
                    let right = filter[Groups::offset(group, steps * runs.len())..].as_ptr();
                    let columns = groups.tiles(group);
                    let block_of = Block { left, left_row, runs: &offsets, steps, rows: 2, right, columns, add: false };
                    // SAFETY: `Layout::all` covers what positions of the last block read, and the filter's size was asserted.
                    unsafe { self.unit.run(&block_of, &mut sums) };
                    for (sums, place) in sums.0.iter().zip(layout.pixels(block * rows)) {
                        if let Some(pixel) = place.and_then(|place| pixels.index(place)) {
                            write(targets, pixel, group * 2 * TILE, &sums[..groups.width(group)]);
                        }
                    }
                }
            });
        });
    }
}

/// Writes values to a pixel of the targets, whose channels follow one another, from a channel on.
fn write(targets: &[Target], pixel: usize, mut channel: usize, mut values: &[f32]) {
    for target in targets {
        if values.is_empty() {
            return;
        }
        if channel >= target.channels {
            channel -= target.channels;
            continue;
        }
        let (own, rest) = values.split_at(values.len().min(target.channels - channel));
        // SAFETY: the pixel is inside the map; each of its channels is written by one task.
        let to = unsafe { std::slice::from_raw_parts_mut(target.values.get().add(pixel * target.channels + channel), own.len()) };
        to.copy_from_slice(own);
        (channel, values) = (0, rest);
    }
}

/// Zeros where no tap reads.
pub fn clear(layout: &Layout, pixels: &Pixels, targets: &[Target]) {
    for target in targets {
        (0..layout.positions().div_ceil(CLEARED)).into_par_iter().for_each(|task| {
            for pixel in layout.pixels(task * CLEARED).take(CLEARED).flatten().filter_map(|place| pixels.index(place)) {
                // SAFETY: the pixel is inside the map and belongs to this task.
                unsafe { std::slice::from_raw_parts_mut(target.values.get().add(pixel * target.channels), target.channels) }.fill(0.0);
            }
        });
    }
}
