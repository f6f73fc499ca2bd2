//! From places to maps, with what follows a convolution.

use std::ops::Range;

use super::matrices::{SIDE, STEP, to_result};
use super::transform::{Grid, PartMut, Places, at};
use crate::epilogue::Epilogue;
use crate::simd::{F32x16, Work};

/// `A^T m A` of one tile and some channels, from `channel` of the places on.
///
/// # Safety
/// Places hold `PLACES` times the tile's row.
#[inline(always)]
unsafe fn results<L: F32x16>(places: &Places, row: usize, channel: usize) -> [[L; STEP]; STEP] {
    // SAFETY: the caller's promise.
    unsafe {
        let from = places.first.add(row * places.row + channel);
        let mut half = [[L::zero(); SIDE]; STEP];
        for x in 0..SIDE {
            let mut column = [L::zero(); SIDE];
            for y in 0..SIDE {
                column[y] = L::load(from.add((y * SIDE + x) * places.stride));
            }
            let column = to_result(column);
            for y in 0..STEP {
                half[y][x] = column[y];
            }
        }
        let mut values = [[L::zero(); STEP]; STEP];
        for y in 0..STEP {
            values[y] = to_result(half[y]);
        }
        values
    }
}

/// `A^T m A` for every tile and sixteen channels.
pub struct ToResult {
    pub grid: Grid,
    pub part: PartMut,
    pub tiles: Range<usize>,
    /// First of sixteen channels of the part.
    pub channel: usize,
    pub places: Places,
}

impl Work for ToResult {
    #[inline(always)]
    unsafe fn run<L: F32x16>(self) {
        for (row, tile) in self.tiles.clone().enumerate().take_while(|(_, tile)| *tile < self.grid.tiles()) {
            for c in (0..16).step_by(L::Part::WIDTH) {
                // SAFETY: places hold `PLACES` times `tiles` rows; pixels are inside the map, and each tile belongs to one task.
                unsafe { self.store(tile, self.channel + c, results::<L::Part>(&self.places, row, c)) };
            }
        }
    }
}

impl ToResult {
    #[inline(always)]
    unsafe fn store<L: F32x16>(&self, tile: usize, channel: usize, values: [[L; STEP]; STEP]) {
        let (image, y0, x0) = self.grid.origin(tile);
        let step = if self.part.halved { 2 } else { 1 };
        for y in (0..STEP).step_by(step).take_while(|y| y0 + y < self.grid.height) {
            for x in (0..STEP).step_by(step).take_while(|x| x0 + x < self.grid.width) {
                let pixel = at(&self.grid, self.part.channels, self.part.halved, [image, y0 + y, x0 + x]);
                // SAFETY: the pixel lies inside the map.
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

/// The same into a map that is not halved, finished.
pub struct ToFinished<'a> {
    pub result: ToResult,
    pub finish: Epilogue<'a>,
}

impl Work for ToFinished<'_> {
    #[inline(always)]
    unsafe fn run<L: F32x16>(self) {
        let ToResult { grid, part, ref tiles, channel, ref places } = self.result;
        for (row, tile) in tiles.clone().enumerate().take_while(|(_, tile)| *tile < grid.tiles()) {
            let (image, y0, x0) = grid.origin(tile);
            for channel in (channel..channel + 16).step_by(L::Part::WIDTH) {
                // SAFETY: as in `ToResult`; the finish has a value for each value of the map.
                unsafe {
                    let values = results::<L::Part>(places, row, channel - self.result.channel);
                    for (y, values) in values.iter().enumerate().take_while(|(y, _)| y0 + y < grid.height) {
                        for (x, value) in values.iter().enumerate().take_while(|(x, _)| x0 + x < grid.width) {
                            let pixel = at(&grid, part.channels, false, [image, y0 + y, x0 + x]) + channel;
                            self.finish.lanes(*value, channel, pixel).store(part.values.add(pixel));
                        }
                    }
                }
            }
        }
    }
}

/// The same, finished, and multiplied with the weights of a 1x1 convolution with one output, of which only the sums are written.
pub struct ToLogit<'a> {
    pub result: ToResult,
    pub finish: Epilogue<'a>,
    /// Channels of the map that is not written.
    pub channels: usize,
    /// One weight for each of them.
    pub weights: &'a [f32],
    /// Added to every sum; `None` adds to what is there.
    pub bias: Option<f32>,
}

impl Work for ToLogit<'_> {
    #[inline(always)]
    unsafe fn run<L: F32x16>(self) {
        let ToResult { grid, part, ref tiles, channel, ref places } = self.result;
        for (row, tile) in tiles.clone().enumerate().take_while(|(_, tile)| *tile < grid.tiles()) {
            let (image, y0, x0) = grid.origin(tile);
            // SAFETY: as in `ToResult`; `part` has one value for each pixel.
            unsafe {
                let weights = L::load(self.weights.as_ptr().add(channel));
                let values = results::<L>(places, row, 0);
                for (y, values) in values.iter().enumerate().take_while(|(y, _)| y0 + y < grid.height) {
                    for (x, value) in values.iter().enumerate().take_while(|(x, _)| x0 + x < grid.width) {
                        let pixel = at(&grid, 1, false, [image, y0 + y, x0 + x]);
                        let value = self.finish.lanes(*value, channel, pixel * self.channels + channel);
                        let out = part.values.add(pixel);
                        *out = self.bias.unwrap_or(*out) + value.times(weights).sum();
                    }
                }
            }
        }
    }
}
