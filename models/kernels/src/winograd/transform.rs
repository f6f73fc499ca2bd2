//! From maps and gradients to places; as many channels at a time as a register has.
//!
//! Places lie as `[place][tile][channel]`, so that each of the 36 is a matrix of tiles by channels.

use std::ops::Range;

use super::matrices::{PLACES, SIDE, STEP, of_gradient, of_map};
use crate::halo_rows::HaloRows;
use crate::simd::{F32x16, Work};

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
    pub(super) fn origin(&self, tile: usize) -> (usize, usize, usize) {
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
    /// Rows of its own around those of the grid.
    pub margin: HaloRows,
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
pub fn at(grid: &Grid, channels: usize, halved: bool, [image, y, x]: [usize; 3]) -> usize {
    let half = usize::from(halved);
    ((image * (grid.height >> half) + (y >> half)) * (grid.width >> half) + (x >> half)) * channels
}

/// `N x N` pixels from `before` above and left of a tile's first on, where `zeros` stands for those outside.
#[inline(always)]
fn pixels<const N: usize>(grid: &Grid, part: &Part, zeros: *const f32, tile: usize, before: usize) -> [[*const f32; N]; N] {
    if tile >= grid.tiles() {
        return [[zeros; N]; N];
    }
    let (image, y0, x0) = grid.origin(tile);
    let half = usize::from(part.halved);
    let HaloRows { above, below } = part.margin;
    let (height, width) = ((grid.height >> half) + above + below, grid.width >> half);
    let columns = offsets::<N>(x0, before, grid.width, half, 0, part.channels);
    let rows = offsets::<N>(y0 + (above << half), before, height << half, half, image * height, width * part.channels);
    let first = part.values.as_ptr();
    let is_inside = rows.iter().chain(&columns).all(|&offset| offset != OUTSIDE);
    debug_assert!(!is_inside || rows[N - 1] + columns[N - 1] + part.channels <= part.values.len());
    let mut table = [[zeros; N]; N];
    for i in 0..N {
        for j in 0..N {
            if is_inside || (rows[i] != OUTSIDE && columns[j] != OUTSIDE) {
                table[i][j] = first.wrapping_add(rows[i] + columns[j]);
            }
        }
    }
    table
}

/// Stands for the offset of what lies outside of a map.
const OUTSIDE: usize = usize::MAX;

/// Offsets of `N` rows (or columns) of `size`, from `before` before `from` on; a halved map has one for every two.
#[inline(always)]
fn offsets<const N: usize>(from: usize, before: usize, size: usize, half: usize, first: usize, step: usize) -> [usize; N] {
    let mut offsets = [OUTSIDE; N];
    for (i, offset) in offsets.iter_mut().enumerate() {
        let at = (from + i).wrapping_sub(before);
        if at < size {
            *offset = (first + (at >> half)) * step;
        }
    }
    offsets
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
    unsafe fn run<L: F32x16>(self) {
        for (row, tile) in self.tiles.clone().enumerate() {
            let table = pixels::<SIDE>(&self.grid, &self.part, self.zeros.as_ptr(), tile, 1);
            for c in (0..self.part.channels).step_by(L::Part::WIDTH) {
                // SAFETY: table entries hold `channels` values, places have room for `tiles` rows (see `Room` in the caller).
                unsafe {
                    let out = self.places.first.add(row * self.places.row + c);
                    let half = if self.part.halved { columns::<L::Part>(&table, c, true) } else { columns::<L::Part>(&table, c, false) };
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

/// `B^T d` of some channels. In a halved map the pixels 1 and 2 of a tile are the same, and 3 and 4.
///
/// # Safety
/// Table entries hold `L::WIDTH` values from `c` on.
#[inline(always)]
unsafe fn columns<L: F32x16>(table: &[[*const f32; SIDE]; SIDE], c: usize, is_halved: bool) -> [[L; SIDE]; SIDE] {
    // SAFETY: the caller's promise.
    unsafe {
        let mut half = [[L::zero(); SIDE]; SIDE];
        for x in 0..SIDE {
            let is_same = is_halved && x > 0 && x % 2 == 0;
            let mut column = [L::zero(); SIDE];
            if is_same {
                for y in 0..SIDE {
                    half[y][x] = half[y][x - 1];
                }
                continue;
            }
            for y in 0..SIDE {
                column[y] = if is_halved && y > 0 && y % 2 == 0 { column[y - 1] } else { L::load(table[y][x].add(c)) };
            }
            let column = of_map(column);
            for y in 0..SIDE {
                half[y][x] = column[y];
            }
        }
        half
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
    unsafe fn run<L: F32x16>(self) {
        for (row, tile) in self.tiles.clone().enumerate() {
            let table = pixels::<STEP>(&self.grid, &self.part, self.zeros.as_ptr(), tile, 0);
            for c in self.channels.clone().step_by(L::Part::WIDTH) {
                // SAFETY: as in `OfMap`.
                unsafe {
                    let out = self.places.first.add(row * self.places.row + c - self.channels.start);
                    let mut half = [[L::Part::zero(); STEP]; SIDE];
                    for x in 0..STEP {
                        let mut column = [L::Part::zero(); STEP];
                        for y in 0..STEP {
                            column[y] = L::Part::load(table[y][x].add(c));
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

/// Values of places for so many tiles and channels: rows of places are moved by a cache line each, or all 36 would fall into
/// the same sets of the first-level cache.
pub fn stride(tiles: usize, channels: usize) -> usize {
    tiles * channels + 16
}

/// Values for all places.
pub fn len(tiles: usize, channels: usize) -> usize {
    PLACES * stride(tiles, channels)
}
