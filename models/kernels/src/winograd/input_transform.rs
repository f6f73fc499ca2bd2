//! Winograd input transform `V = B^T d B` and output-gradient transform `A dY A^T`, for one register of channels at a time.
//!
//! Coefficients are stored as `[coefficient][tile][channel]`, so that each of the 36 is a matrix of tiles x channels.

use std::ops::Range;

use super::matrices::{COEFFICIENTS, INPUT_TILE, OUTPUT_TILE, gradient_transform, input_transform};
use crate::halo_rows::HaloRows;
use crate::simd::{F32x16, SimdKernel};

/// Images of one size, divided into output tiles of 4x4 pixels.
#[derive(Clone, Copy, Debug)]
pub struct Grid {
    /// Images, `B`.
    pub batch: usize,
    /// Rows, `H`.
    pub height: usize,
    /// Columns, `W`.
    pub width: usize,
}

impl Grid {
    /// Returns the number of tiles of all images. Tiles at the right and lower borders may extend beyond the image.
    pub fn tiles(&self) -> usize {
        self.batch * self.height.div_ceil(OUTPUT_TILE) * self.width.div_ceil(OUTPUT_TILE)
    }

    /// Returns image, row and column of a tile's first output pixel.
    pub(super) fn origin(&self, tile: usize) -> (usize, usize, usize) {
        let (rows, columns) = (self.height.div_ceil(OUTPUT_TILE), self.width.div_ceil(OUTPUT_TILE));
        (tile / (rows * columns), tile / columns % rows * OUTPUT_TILE, tile % columns * OUTPUT_TILE)
    }
}

/// A source of a convolution: a feature map with a part of the input channels. Reading several sources replaces concatenating them.
#[derive(Clone, Copy)]
pub struct Part<'a> {
    /// Values, `B H W C`, with the halo rows.
    pub values: &'a [f32],
    /// Channels, a multiple of 16.
    pub channels: usize,
    /// True for a feature map of half the height and width, which is read as if upsampled by two with nearest neighbours.
    pub halved: bool,
    /// Halo rows around those of the grid, at the resolution of the feature map.
    pub halo: HaloRows,
}

/// A destination of a convolution, like [`Part`]; a pixel of a halved destination is the sum of 2x2 results.
#[derive(Clone, Copy)]
pub struct PartMut {
    /// First value of the feature map.
    pub values: *mut f32,
    /// Channels, a multiple of 16.
    pub channels: usize,
    /// True for a feature map of half the height and width, in which 2x2 results are summed into one pixel (the gradient of upsampling).
    pub halved: bool,
}

/// Returns the index of a pixel's first value.
#[inline(always)]
pub fn pixel_offset(grid: &Grid, channels: usize, halved: bool, [image, y, x]: [usize; 3]) -> usize {
    let half = usize::from(halved);
    ((image * (grid.height >> half) + (y >> half)) * (grid.width >> half) + (x >> half)) * channels
}

/// Returns pointers to `N x N` pixels, from the pixel that lies `before` rows above and columns left of the tile's first; pixels outside
/// the feature map point at `zeros`.
#[inline(always)]
fn tile_pointers<const N: usize>(grid: &Grid, part: &Part, zeros: *const f32, tile: usize, before: usize) -> [[*const f32; N]; N] {
    if tile >= grid.tiles() {
        return [[zeros; N]; N];
    }
    let (image, y0, x0) = grid.origin(tile);
    let half = usize::from(part.halved);
    let HaloRows { above, below } = part.halo;
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

/// Offset that stands for a row or column outside the feature map.
const OUTSIDE: usize = usize::MAX;

/// Returns the offsets of `N` rows (or columns), from `from - before` on, of a feature map with `size` of them; in a halved feature map two
/// rows share an offset.
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

/// View of transformed tiles, `[coefficient][tile][channel]`.
#[derive(Clone, Copy)]
pub struct Coefficients {
    /// First coefficient of the first tile.
    pub first: *mut f32,
    /// Stride of the coefficients, in values.
    pub stride: usize,
    /// Stride of the tiles, in values.
    pub row: usize,
}

/// Input transform `B^T d B` of some tiles and all channels of a source.
pub struct InputTransform<'a> {
    pub grid: Grid,
    pub part: Part<'a>,
    /// Tiles; those past the last are transformed as zeros.
    pub tiles: Range<usize>,
    /// A padding pixel: as many zeros as the source has channels.
    pub zeros: &'a [f32],
    pub coefficients: Coefficients,
}

impl SimdKernel for InputTransform<'_> {
    #[inline(always)]
    unsafe fn run<L: F32x16>(self) {
        for (row, tile) in self.tiles.clone().enumerate() {
            let table = tile_pointers::<INPUT_TILE>(&self.grid, &self.part, self.zeros.as_ptr(), tile, 1);
            for c in (0..self.part.channels).step_by(L::Register::WIDTH) {
                // SAFETY: table entries point at `channels` values; the caller's coefficients have a row for each tile.
                unsafe {
                    let out = self.coefficients.first.add(row * self.coefficients.row + c);
                    let half = if self.part.halved {
                        transform_columns::<L::Register>(&table, c, true)
                    } else {
                        transform_columns::<L::Register>(&table, c, false)
                    };
                    for y in 0..INPUT_TILE {
                        let values = input_transform(half[y]);
                        for x in 0..INPUT_TILE {
                            values[x].store(out.add((y * INPUT_TILE + x) * self.coefficients.stride));
                        }
                    }
                }
            }
        }
    }
}

/// Computes `B^T d` for one register of channels. In a halved feature map, rows (and columns) 1 and 2 of a tile are equal, and 3 and 4.
///
/// # Safety
/// Table entries must point at `L::WIDTH` values from `c` on.
#[inline(always)]
unsafe fn transform_columns<L: F32x16>(
    table: &[[*const f32; INPUT_TILE]; INPUT_TILE],
    c: usize,
    is_halved: bool,
) -> [[L; INPUT_TILE]; INPUT_TILE] {
    // SAFETY: the caller's contract.
    unsafe {
        let mut half = [[L::zero(); INPUT_TILE]; INPUT_TILE];
        for x in 0..INPUT_TILE {
            let is_same = is_halved && x > 0 && x % 2 == 0;
            let mut column = [L::zero(); INPUT_TILE];
            if is_same {
                for y in 0..INPUT_TILE {
                    half[y][x] = half[y][x - 1];
                }
                continue;
            }
            for y in 0..INPUT_TILE {
                column[y] = if is_halved && y > 0 && y % 2 == 0 { column[y - 1] } else { L::load(table[y][x].add(c)) };
            }
            let column = input_transform(column);
            for y in 0..INPUT_TILE {
                half[y][x] = column[y];
            }
        }
        half
    }
}

/// Output-gradient transform `A dY A^T` of some tiles and channels.
pub struct GradientTransform<'a> {
    pub grid: Grid,
    pub part: Part<'a>,
    /// Tiles; those past the last are transformed as zeros.
    pub tiles: Range<usize>,
    /// Channels; both ends are multiples of 16.
    pub channels: Range<usize>,
    pub zeros: &'a [f32],
    pub coefficients: Coefficients,
}

impl SimdKernel for GradientTransform<'_> {
    #[inline(always)]
    unsafe fn run<L: F32x16>(self) {
        for (row, tile) in self.tiles.clone().enumerate() {
            let table = tile_pointers::<OUTPUT_TILE>(&self.grid, &self.part, self.zeros.as_ptr(), tile, 0);
            for c in self.channels.clone().step_by(L::Register::WIDTH) {
                // SAFETY: as in `InputTransform`.
                unsafe {
                    let out = self.coefficients.first.add(row * self.coefficients.row + c - self.channels.start);
                    let mut half = [[L::Register::zero(); OUTPUT_TILE]; INPUT_TILE];
                    for x in 0..OUTPUT_TILE {
                        let mut column = [L::Register::zero(); OUTPUT_TILE];
                        for y in 0..OUTPUT_TILE {
                            column[y] = L::Register::load(table[y][x].add(c));
                        }
                        let column = gradient_transform(column);
                        for y in 0..INPUT_TILE {
                            half[y][x] = column[y];
                        }
                    }
                    for y in 0..INPUT_TILE {
                        let values = gradient_transform(half[y]);
                        for x in 0..INPUT_TILE {
                            values[x].store(out.add((y * INPUT_TILE + x) * self.coefficients.stride));
                        }
                    }
                }
            }
        }
    }
}

/// Returns the stride of the coefficients of some tiles, in values. A cache line of padding keeps the 36 coefficients of a tile from
/// mapping to the same sets of the L1 cache.
pub fn coefficient_stride(tiles: usize, channels: usize) -> usize {
    tiles * channels + 16
}

/// Returns the number of values of all coefficients of some tiles, padding included.
pub fn domain_len(tiles: usize, channels: usize) -> usize {
    COEFFICIENTS * coefficient_stride(tiles, channels)
}
