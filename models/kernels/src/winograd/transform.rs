//! From maps to places, and from places to maps; sixteen channels at a time.
//!
//! Places lie as `[place][tile][channel]`, so that each of the 36 is a matrix of tiles by channels.

use std::ops::Range;

use super::matrices::{PLACES, SIDE, STEP, of_gradient, of_map, to_result};
use crate::lanes::{Lanes, Work};

/// Images of one size, cut into tiles of 4x4.
#[derive(Clone, Copy, Debug)]
pub struct Grid {
    /// Images.
    pub batch: usize,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
}

impl Grid {
    /// Tiles of all images; those at the far borders may reach over.
    pub fn tiles(&self) -> usize {
        self.batch * self.height.div_ceil(STEP) * self.width.div_ceil(STEP)
    }

    /// Image, row and column of a tile's first pixel.
    fn origin(&self, tile: usize) -> (usize, usize, usize) {
        let (rows, columns) = (self.height.div_ceil(STEP), self.width.div_ceil(STEP));
        (tile / (rows * columns), tile / columns % rows * STEP, tile % columns * STEP)
    }
}

/// A map whose channels are some of those that a convolution reads.
#[derive(Clone, Copy)]
pub struct Part<'a> {
    /// `[image][row][column][channel]`.
    pub values: &'a [f32],
    /// A multiple of 16.
    pub channels: usize,
    /// Whether each pixel stands for 2x2 (nearest upsampling by two).
    pub halved: bool,
}

/// A map that a convolution writes, like [`Part`]; a pixel of a halved one is the sum of 2x2.
#[derive(Clone, Copy)]
pub struct PartMut {
    /// First value.
    pub values: *mut f32,
    /// A multiple of 16.
    pub channels: usize,
    /// Whether 2x2 pixels are added into one.
    pub halved: bool,
}

/// Index of a pixel's first value.
#[inline(always)]
fn at(grid: &Grid, channels: usize, halved: bool, [image, y, x]: [usize; 3]) -> usize {
    let half = usize::from(halved);
    ((image * (grid.height >> half) + (y >> half)) * (grid.width >> half) + (x >> half)) * channels
}

/// `N x N` pixels from `(y, x)` on, where `zeros` stands for those outside.
#[inline(always)]
fn pixels<const N: usize>(grid: &Grid, part: &Part, zeros: *const f32, tile: usize, before: usize) -> [[*const f32; N]; N] {
    let mut table = [[zeros; N]; N];
    if tile >= grid.tiles() {
        return table;
    }
    let (image, y0, x0) = grid.origin(tile);
    for (i, row) in table.iter_mut().enumerate() {
        let y = (y0 + i).wrapping_sub(before);
        for (j, pixel) in row.iter_mut().enumerate() {
            let x = (x0 + j).wrapping_sub(before);
            if y < grid.height && x < grid.width {
                *pixel = part.values[at(grid, part.channels, part.halved, [image, y, x])..].as_ptr();
            }
        }
    }
    table
}

/// Where places go, or come from.
#[derive(Clone, Copy)]
pub struct Places {
    /// First value of the first tile.
    pub first: *mut f32,
    /// Values from one place to the next.
    pub stride: usize,
    /// Values from one tile to the next.
    pub row: usize,
}

/// `B^T d B` for every tile and channel of a part.
pub struct OfMap<'a> {
    pub grid: Grid,
    pub part: Part<'a>,
    /// May end past the last tile: those are zeros.
    pub tiles: Range<usize>,
    /// As many zeros as the part has channels.
    pub zeros: &'a [f32],
    pub places: Places,
}

impl Work for OfMap<'_> {
    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        for (row, tile) in self.tiles.clone().enumerate() {
            let table = pixels::<SIDE>(&self.grid, &self.part, self.zeros.as_ptr(), tile, 1);
            for c in (0..self.part.channels).step_by(16) {
                // SAFETY: table entries hold `channels` values, places have room for `tiles` rows (see `Room` in the caller).
                unsafe {
                    let out = self.places.first.add(row * self.places.row + c);
                    let mut half = [[L::zero(); SIDE]; SIDE];
                    for x in 0..SIDE {
                        let mut column = [L::zero(); SIDE];
                        for y in 0..SIDE {
                            column[y] = L::load(table[y][x].add(c));
                        }
                        let column = of_map(column);
                        for y in 0..SIDE {
                            half[y][x] = column[y];
                        }
                    }
                    for y in 0..SIDE {
                        let values = of_map(half[y]);
                        for x in 0..SIDE {
                            values[x].store(out.add((y * SIDE + x) * self.places.stride));
                        }
                    }
                }
            }
        }
    }
}

/// `A dY A^T` for every tile and some channels of a gradient.
pub struct OfGradient<'a> {
    pub grid: Grid,
    pub part: Part<'a>,
    /// May end past the last tile: those are zeros.
    pub tiles: Range<usize>,
    /// First channel and number of channels, multiples of 16.
    pub channels: Range<usize>,
    pub zeros: &'a [f32],
    pub places: Places,
}

impl Work for OfGradient<'_> {
    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        for (row, tile) in self.tiles.clone().enumerate() {
            let table = pixels::<STEP>(&self.grid, &self.part, self.zeros.as_ptr(), tile, 0);
            for c in self.channels.clone().step_by(16) {
                // SAFETY: as in `OfMap`.
                unsafe {
                    let out = self.places.first.add(row * self.places.row + c - self.channels.start);
                    let mut half = [[L::zero(); STEP]; SIDE];
                    for x in 0..STEP {
                        let mut column = [L::zero(); STEP];
                        for y in 0..STEP {
                            column[y] = L::load(table[y][x].add(c));
                        }
                        let column = of_gradient(column);
                        for y in 0..SIDE {
                            half[y][x] = column[y];
                        }
                    }
                    for y in 0..SIDE {
                        let values = of_gradient(half[y]);
                        for x in 0..SIDE {
                            values[x].store(out.add((y * SIDE + x) * self.places.stride));
                        }
                    }
                }
            }
        }
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
    unsafe fn run<L: Lanes>(self) {
        for (row, tile) in self.tiles.clone().enumerate().take_while(|(_, tile)| *tile < self.grid.tiles()) {
            // SAFETY: places hold `PLACES` times `tiles` rows; pixels are inside the map, and each tile belongs to one task.
            unsafe {
                let from = self.places.first.add(row * self.places.row);
                let mut half = [[L::zero(); SIDE]; STEP];
                for x in 0..SIDE {
                    let mut column = [L::zero(); SIDE];
                    for y in 0..SIDE {
                        column[y] = L::load(from.add((y * SIDE + x) * self.places.stride));
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
                self.store(tile, values);
            }
        }
    }
}

impl ToResult {
    #[inline(always)]
    unsafe fn store<L: Lanes>(&self, tile: usize, values: [[L; STEP]; STEP]) {
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
                    value.store(self.part.values.add(pixel + self.channel));
                }
            }
        }
    }
}

/// Values of places for so many tiles and channels: rows of places are moved by a cache line each, or all 36 would fall into
/// the same sets of the first-level cache.
pub fn stride(tiles: usize, channels: usize) -> usize {
    tiles * channels + 16
}

/// Values for all places.
pub fn len(tiles: usize, channels: usize) -> usize {
    PLACES * stride(tiles, channels)
}
