//! Forward and backward-data: for every output position, the values that its window reads times the filter.

use models::graph::Conv;
use rayon::prelude::*;

use super::block::{Block, Sums, TILE};
use super::filter::{Groups, Run, pack, steps};
use super::layout::Layout;
use super::{Halves, Unit};
use crate::geometry::Geometry;
use crate::maps::{self, Shape};
use crate::panels;
use crate::scratch::{Buffer, Pool, Shared};
use crate::winograd::{Part, PartBuffer};

/// A convolution with bf16 operands.
pub struct Bf16Convolution<'a> {
    /// What multiplies, from [`Unit::available`].
    pub unit: Unit,
    /// Where large buffers come from.
    pub pool: &'a Pool,
    /// Sizes.
    pub geometry: Geometry,
    /// Channels read.
    pub inputs: usize,
    /// Channels written.
    pub outputs: usize,
}

/// Fewer channels than this, read or written, stay f32: the first layer, the head, and pixels narrower than a tile.
const FEWEST: usize = TILE;

/// Whether bf16 does this convolution: 1x1 and 3x3, stride 1 or 2, from and to at least 16 channels, without bias.
pub fn pays(conv: &Conv) -> bool {
    conv.inputs >= FEWEST && conv.outputs >= FEWEST && matches!(conv.kernel, 1 | 3) && matches!(conv.stride, 1 | 2) && !conv.bias
}

/// Bytes of a padded copy that stay in the second-level cache while groups of filters pass by.
const CHUNK_BYTES: usize = 512 << 10;

/// Positions that a task clears.
const CLEARED: usize = 1024;

/// Where sums go: some channels of a map.
struct Target {
    values: Shared,
    channels: usize,
}

/// The grid of pixels that positions are written to: every `stride`th from `(y, x)` on.
struct Pixels {
    height: usize,
    width: usize,
    stride: usize,
    first: [usize; 2],
}

impl Pixels {
    fn index(&self, [image, y, x]: [usize; 3]) -> Option<usize> {
        let (y, x) = (y * self.stride + self.first[0], x * self.stride + self.first[1]);
        (y < self.height && x < self.width).then(|| (image * self.height + y) * self.width + x)
    }
}

impl Bf16Convolution<'_> {
    /// Convolves the channels of all `parts`, which follow one another; `panels` is `[panel][tap][input][16]`, `out`
    /// `[pixel][outputs]`.
    pub fn convolve(&self, parts: &[Part], weights: &[f32], out: &mut [f32]) {
        let layout = Layout::of(self.geometry);
        let (height, width) = self.geometry.output();
        assert_eq!(parts.iter().map(|part| part.channels).sum::<usize>(), self.inputs);
        assert_eq!(out.len(), self.geometry.batch * height * width * self.outputs);
        let (kernel, padding) = (self.geometry.kernel, (self.geometry.kernel / 2) as isize);
        let row = |ty: usize| Run {
            offset: layout.offset(self.inputs, ty as isize - padding, -padding),
            taps: (ty * kernel..(ty + 1) * kernel).collect(),
        };
        let runs: Vec<Run> = (0..kernel).map(row).collect();
        let source = layout.copy(self.pool, parts);
        let filter = pack(self.pool, weights, self.inputs, self.geometry.taps(), self.outputs, &runs);
        let pixels = Pixels { height, width, stride: 1, first: [0, 0] };
        let targets = [Target { values: Shared::new(out), channels: self.outputs }];
        self.product(&layout, &source, self.inputs, &runs, &filter, &pixels, &targets);
        self.pool.give(filter.buffer);
        self.pool.give(source.buffer);
    }

    /// The gradient at the map that was read, from that at the result, `dy`. Every part of `targets` is written; of a halved one
    /// a pixel is the sum of 2x2.
    pub fn data_gradient(&self, dy: &[f32], weights: &[f32], targets: &mut [PartBuffer]) {
        assert_eq!(targets.iter().map(|part| part.channels).sum::<usize>(), self.inputs);
        let Geometry { batch, height, width, stride, .. } = self.geometry;
        let mut upsampled: Vec<Option<Buffer>> =
            targets.iter().map(|part| part.halved.then(|| self.pool.take(batch * height * width * part.channels))).collect();
        let mut whole = Vec::new();
        for (part, buffer) in targets.iter_mut().zip(&mut upsampled) {
            let values = buffer.as_deref_mut().unwrap_or(part.values);
            assert_eq!(values.len(), batch * height * width * part.channels);
            whole.push(Target { values: Shared::new(values), channels: part.channels });
        }
        let layout = Layout::of(self.geometry).of_output();
        let source = layout.copy(self.pool, &[Part { values: dy, channels: self.outputs, halved: false }]);
        let mut transposed = self.pool.take(panels::len(self.inputs, self.outputs, self.geometry.taps()));
        panels::transpose(weights, self.outputs, self.inputs, self.geometry.taps(), &mut transposed);
        for first in (0..stride * stride).map(|class| [class / stride, class % stride]) {
            let (runs, pixels) = (self.turned(&layout, first), Pixels { height, width, stride, first });
            if runs.is_empty() {
                clear(&layout, &pixels, &whole);
                continue;
            }
            let filter = pack(self.pool, &transposed, self.outputs, self.geometry.taps(), self.inputs, &runs);
            self.product(&layout, &source, self.outputs, &runs, &filter, &pixels, &whole);
            self.pool.give(filter.buffer);
        }
        self.pool.give(transposed);
        self.pool.give(source.buffer);
        for (part, buffer) in targets.iter_mut().zip(upsampled) {
            let Some(buffer) = buffer else { continue };
            let half = Shape { batch, height: height / 2, width: width / 2, channels: part.channels };
            let sums = maps::upsample_backward(self.pool, &buffer, half);
            part.values.copy_from_slice(&sums);
            self.pool.give(sums);
            self.pool.give(buffer);
        }
    }

    /// Runs of the filter for input pixels `(stride i + cy, stride j + cx)`: tap `ty` brings them to output row
    /// `(stride i + cy + padding - ty) / stride`, where that is whole.
    fn turned(&self, layout: &Layout, [cy, cx]: [usize; 2]) -> Vec<Run> {
        let Geometry { kernel, stride, .. } = self.geometry;
        let shift = |c: usize, tap: usize| {
            let distance = (c + kernel / 2) as isize - tap as isize;
            (distance.rem_euclid(stride as isize) == 0).then(|| distance.div_euclid(stride as isize))
        };
        // Columns of output pixels in ascending order are taps in descending order.
        let columns: Vec<(usize, isize)> = (0..kernel).rev().filter_map(|tx| Some((tx, shift(cx, tx)?))).collect();
        let Some(&(_, first)) = columns.first() else { return Vec::new() };
        let run = |(ty, dy): (usize, isize)| Run {
            offset: layout.offset(self.outputs, dy, first),
            taps: columns.iter().map(|(tx, _)| ty * kernel + tx).collect(),
        };
        (0..kernel).rev().filter_map(|ty| Some((ty, shift(cy, ty)?))).map(run).collect()
    }

    /// Blocks of 32 positions and 32 columns, chunk by chunk of positions and group by group of columns.
    #[expect(clippy::too_many_arguments, reason = "two matrices, and where they are read and written")]
    fn product(
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
fn clear(layout: &Layout, pixels: &Pixels, targets: &[Target]) {
    for target in targets {
        (0..layout.positions().div_ceil(CLEARED)).into_par_iter().for_each(|task| {
            for pixel in layout.pixels(task * CLEARED).take(CLEARED).flatten().filter_map(|place| pixels.index(place)) {
                // SAFETY: the pixel is inside the map and belongs to this task.
                unsafe { std::slice::from_raw_parts_mut(target.values.get().add(pixel * target.channels), target.channels) }.fill(0.0);
            }
        });
    }
}
