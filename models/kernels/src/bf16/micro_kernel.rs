//! Micro-kernel of the bf16 matrix product: a block of up to 32 x 32 f32 accumulators, and its portable implementation.

use crate::simd::vectorised;

/// Rows and columns of a tile of accumulators; a block has one or two tiles in each direction.
pub const TILE: usize = 16;
/// bf16 values in a row of a left tile, the length of the dot products that one step adds.
pub const STEP: usize = 32;
/// bf16 values in a right tile, `[pair of rows][column][2]` (the VNNI layout).
pub const RIGHT_TILE: usize = STEP * TILE;

/// Accumulators of a block, `[row][column]`, always 32 x 32; smaller blocks use the first tiles.
#[derive(Clone)]
#[repr(C, align(64))]
pub struct Accumulators(pub [[f32; 2 * TILE]; 2 * TILE]);

impl Accumulators {
    /// Accumulators of zeros.
    pub const ZERO: Self = Self([[0.0; 2 * TILE]; 2 * TILE]);
}

/// Operands of a block, `sums (+)= left * right`, summed over runs of steps of 32 values.
#[derive(Clone, Copy)]
pub struct Block<'a> {
    /// First row of the left matrix.
    pub left: *const u16,
    /// Stride of the rows of the left matrix, in values.
    pub left_row: usize,
    /// Offset in a row at which each run begins, in values.
    pub runs: &'a [isize],
    /// Number of contiguous steps of a run.
    pub steps: usize,
    /// Number of tiles of rows: 1 or 2.
    pub rows: usize,
    /// Packed right matrix, `[run][step][tile of columns][16 pairs][16 columns][2]`.
    pub right: *const u16,
    /// Number of tiles of columns: 1 or 2.
    pub columns: usize,
    /// Adds to the accumulators if true; overwrites them otherwise.
    pub add: bool,
}

/// Implementation of the micro-kernel for one instruction set. Products are exact and sums are f32; implementations differ only in the
/// order of summation inside a step.
pub trait MicroKernel {
    /// Computes a block.
    ///
    /// # Safety
    /// The processor must have the instruction set. Every row of every step must lie inside the left matrix, and all tiles inside the right
    /// matrix.
    unsafe fn run(block: &Block, sums: &mut Accumulators);
}

/// Portable micro-kernel in plain Rust; the reference for the others.
pub struct Plain;

impl MicroKernel for Plain {
    unsafe fn run(block: &Block, sums: &mut Accumulators) {
        vectorised(
            #[inline(always)]
            || {
                for row in (0..block.rows * TILE).step_by(4) {
                    for column in 0..block.columns {
                        // SAFETY: the caller's contract.
                        unsafe { four_rows(block, row, column, sums) };
                    }
                }
            },
        );
    }
}

/// Computes four rows of one tile of columns.
///
/// # Safety
/// As for [`MicroKernel::run`].
#[inline(always)]
unsafe fn four_rows(block: &Block, row: usize, column: usize, sums: &mut Accumulators) {
    let mut own = [[0.0f32; TILE]; 4];
    if block.add {
        for (own, sums) in own.iter_mut().zip(&sums.0[row..]) {
            own.copy_from_slice(&sums[column * TILE..][..TILE]);
        }
    }
    let mut right = block.right.wrapping_add(column * RIGHT_TILE).cast::<[u16; 2 * TILE]>();
    for run in block.runs {
        let mut left = block.left.wrapping_offset(*run).wrapping_add(row * block.left_row);
        for _ in 0..block.steps {
            for pair in 0..STEP / 2 {
                // SAFETY: the caller's contract; a right tile is an array of u16.
                let values = unsafe { *right.add(pair) };
                let even: [f32; TILE] = std::array::from_fn(|n| super::widen(values[2 * n]));
                let odd: [f32; TILE] = std::array::from_fn(|n| super::widen(values[2 * n + 1]));
                for (m, own) in own.iter_mut().enumerate() {
                    let at = left.wrapping_add(m * block.left_row + 2 * pair);
                    // SAFETY: as above.
                    let (a, b) = unsafe { (super::widen(*at), super::widen(*at.add(1))) };
                    own.iter_mut().zip(even.iter().zip(&odd)).for_each(|(sum, (even, odd))| *sum = (*sum + a * even) + b * odd);
                }
            }
            left = left.wrapping_add(STEP);
            right = right.wrapping_add(block.columns * STEP / 2);
        }
    }
    for (own, sums) in own.iter().zip(&mut sums.0[row..]) {
        sums[column * TILE..][..TILE].copy_from_slice(own);
    }
}
