//! Winograd output transform `Y = A^T M A` of the products `M = U * V`, alone, with the epilogue, and with a fused logit.

use std::ops::Range;

use super::input_transform::{Coefficients, Grid, PartMut, pixel_offset};
use super::matrices::{INPUT_TILE, OUTPUT_TILE, output_transform};
use crate::epilogue::Epilogue;
use crate::simd::{F32x16, SimdKernel};

/// Computes `A^T m A` of one tile for one register of channels, from `channel` on.
///
/// # Safety
/// Every coefficient must have row `row`, with `L::WIDTH` values from `channel` on.
#[inline(always)]
unsafe fn output_tile<L: F32x16>(coefficients: &Coefficients, row: usize, channel: usize) -> [[L; OUTPUT_TILE]; OUTPUT_TILE] {
    // SAFETY: the caller's contract.
    unsafe {
        let from = coefficients.first.add(row * coefficients.row + channel);
        let mut half = [[L::zero(); INPUT_TILE]; OUTPUT_TILE];
        for x in 0..INPUT_TILE {
            let mut column = [L::zero(); INPUT_TILE];
            for y in 0..INPUT_TILE {
                column[y] = L::load(from.add((y * INPUT_TILE + x) * coefficients.stride));
            }
            let column = output_transform(column);
            for y in 0..OUTPUT_TILE {
                half[y][x] = column[y];
            }
        }
        let mut values = [[L::zero(); OUTPUT_TILE]; OUTPUT_TILE];
        for y in 0..OUTPUT_TILE {
            values[y] = output_transform(half[y]);
        }
        values
    }
}

/// Output transform of some tiles and sixteen channels.
pub struct OutputTransform {
    pub grid: Grid,
    pub part: PartMut,
    pub tiles: Range<usize>,
    /// First of sixteen channels of the destination.
    pub channel: usize,
    pub coefficients: Coefficients,
}

impl SimdKernel for OutputTransform {
    #[inline(always)]
    unsafe fn run<L: F32x16>(self) {
        for (row, tile) in self.tiles.clone().enumerate().take_while(|(_, tile)| *tile < self.grid.tiles()) {
            for c in (0..16).step_by(L::Register::WIDTH) {
                // SAFETY: every coefficient has a row for each tile; pixels lie inside the feature map, and each tile belongs to one task.
                unsafe { self.store(tile, self.channel + c, output_tile::<L::Register>(&self.coefficients, row, c)) };
            }
        }
    }
}

impl OutputTransform {
    /// Stores the pixels of a tile that lie inside the feature map; sums 2x2 of them for a halved destination.
    ///
    /// # Safety
    /// The tile must belong to the calling task, and the destination must have `L::WIDTH` channels from `channel` on.
    #[inline(always)]
    unsafe fn store<L: F32x16>(&self, tile: usize, channel: usize, values: [[L; OUTPUT_TILE]; OUTPUT_TILE]) {
        let (image, y0, x0) = self.grid.origin(tile);
        let step = if self.part.halved { 2 } else { 1 };
        for y in (0..OUTPUT_TILE).step_by(step).take_while(|y| y0 + y < self.grid.height) {
            for x in (0..OUTPUT_TILE).step_by(step).take_while(|x| x0 + x < self.grid.width) {
                let pixel = pixel_offset(&self.grid, self.part.channels, self.part.halved, [image, y0 + y, x0 + x]);
                // SAFETY: the pixel lies inside the feature map; the rest is the caller's contract.
                unsafe {
                    let value = if self.part.halved {
                        values[y][x].plus(values[y][x + 1]).plus(values[y + 1][x].plus(values[y + 1][x + 1]))
                    } else {
                        values[y][x]
                    };
                    value.store(self.part.values.add(pixel + channel));
                }
            }
        }
    }
}

/// Output transform with the epilogue, for a destination at full resolution.
pub struct EpilogueTransform<'a> {
    pub transform: OutputTransform,
    pub epilogue: Epilogue<'a>,
}

impl SimdKernel for EpilogueTransform<'_> {
    #[inline(always)]
    unsafe fn run<L: F32x16>(self) {
        let OutputTransform { grid, part, ref tiles, channel, ref coefficients } = self.transform;
        for (row, tile) in tiles.clone().enumerate().take_while(|(_, tile)| *tile < grid.tiles()) {
            let (image, y0, x0) = grid.origin(tile);
            for channel in (channel..channel + 16).step_by(L::Register::WIDTH) {
                // SAFETY: as in `OutputTransform`; a residual has the shape of the feature map.
                unsafe {
                    let values = output_tile::<L::Register>(coefficients, row, channel - self.transform.channel);
                    for (y, values) in values.iter().enumerate().take_while(|(y, _)| y0 + y < grid.height) {
                        for (x, value) in values.iter().enumerate().take_while(|(x, _)| x0 + x < grid.width) {
                            let pixel = pixel_offset(&grid, part.channels, false, [image, y0 + y, x0 + x]) + channel;
                            self.epilogue.apply_vector(*value, channel, pixel).store(part.values.add(pixel));
                        }
                    }
                }
            }
        }
    }
}

/// Output transform with the epilogue and a fused 1x1 convolution with one output channel, of which only the sums are stored.
pub struct LogitTransform<'a> {
    pub transform: OutputTransform,
    pub epilogue: Epilogue<'a>,
    /// Channels of the feature map that is not stored.
    pub channels: usize,
    /// Weight of each channel.
    pub weights: &'a [f32],
    /// Bias of a first vector of channels, which overwrites the destination; `None` adds to the sums of earlier vectors.
    pub bias: Option<f32>,
}

impl SimdKernel for LogitTransform<'_> {
    #[inline(always)]
    unsafe fn run<L: F32x16>(self) {
        let OutputTransform { grid, part, ref tiles, channel, ref coefficients } = self.transform;
        for (row, tile) in tiles.clone().enumerate().take_while(|(_, tile)| *tile < grid.tiles()) {
            let (image, y0, x0) = grid.origin(tile);
            // SAFETY: as in `OutputTransform`; the destination has one value for each pixel.
            unsafe {
                let weights = L::load(self.weights.as_ptr().add(channel));
                let values = output_tile::<L>(coefficients, row, 0);
                for (y, values) in values.iter().enumerate().take_while(|(y, _)| y0 + y < grid.height) {
                    for (x, value) in values.iter().enumerate().take_while(|(x, _)| x0 + x < grid.width) {
                        let pixel = pixel_offset(&grid, 1, false, [image, y0 + y, x0 + x]);
                        let value = self.epilogue.apply_vector(*value, channel, pixel * self.channels + channel);
                        let out = part.values.add(pixel);
                        *out = self.bias.unwrap_or(*out) + value.times(weights).sum();
                    }
                }
            }
        }
    }
}
