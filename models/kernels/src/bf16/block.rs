//! Blocks of sums: up to 32 rows and 32 columns of a matrix product of bf16 values, in f32.

use crate::simd::vectorised;

/// Rows and columns of a tile; a block has one or two tiles each way.
pub const TILE: usize = 16;
/// bf16 values of a row of a left tile: what one step adds to the sums.
pub const STEP: usize = 32;
/// bf16 values in a right tile: `[pair of rows][column][2]`.
pub const RIGHT_TILE: usize = STEP * TILE;

/// Sums of a block, `[row][column]`, 32 of each whatever is used.
#[derive(Clone)]
#[repr(C, align(64))]
pub struct Sums(pub [[f32; 2 * TILE]; 2 * TILE]);

impl Sums {
    /// No sums yet.
    pub const ZERO: Self = Self([[0.0; 2 * TILE]; 2 * TILE]);
}

/// `sums (+)= left * right`, summed over runs of steps of 32.
#[derive(Clone, Copy)]
pub struct Block<'a> {
    /// Where the first row begins.
    pub left: *const u16,
    /// Values from one row to the next.
    pub left_row: usize,
    /// Where each run begins in a row.
    pub runs: &'a [isize],
    /// Steps of a run, one behind the other in the row.
    pub steps: usize,
    /// Tiles of rows: 1 or 2.
    pub rows: usize,
    /// `[run][step][tile of columns][16 pairs][16 columns][2]`.
    pub right: *const u16,
    /// Tiles of columns: 1 or 2.
    pub columns: usize,
    /// Whether old sums stay.
    pub add: bool,
}

/// Something that computes blocks. All do the same: products are exact, sums are f32; only the order inside a step may differ.
pub trait Product {
    /// Computes a block.
    ///
    /// # Safety
    /// The processor must be able to; every row of every step must be inside the left matrix, and all tiles inside the right one.
    unsafe fn run(block: &Block, sums: &mut Sums);
}

/// Plain Rust, and the meaning of the others.
pub struct Plain;

impl Product for Plain {
    unsafe fn run(block: &Block, sums: &mut Sums) {
        vectorised(
            #[inline(always)]
            || {
                for row in (0..block.rows * TILE).step_by(4) {
                    for column in 0..block.columns {
                        // SAFETY: the caller's promise.
                        unsafe { four_rows(block, row, column, sums) };
                    }
                }
            },
        );
    }
}

#[inline(always)]
unsafe fn four_rows(block: &Block, row: usize, column: usize, sums: &mut Sums) {
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
                // SAFETY: the caller's promise; tiles are made of u16.
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
