//! Register blocks of the AVX-512 micro-kernels: division of a block into register blocks, and their accumulators.

use super::micro_kernel::{Accumulators, Block, MicroKernel, TILE};
use crate::simd::{Avx512, F32x16, load_block, store_block};

/// Rows of a register block; with 2 x 16 columns it takes 16 of the 32 registers.
pub const ROWS: usize = 8;

/// Micro-kernel that computes a block in register blocks of [`ROWS`] rows x one or two tiles of columns.
pub trait RowKernel {
    /// Computes the rows `row..row + ROWS` of `N` tiles of columns in registers.
    ///
    /// # Safety
    /// As for [`MicroKernel::run`].
    unsafe fn rows<const N: usize>(block: &Block, row: usize, sums: &mut Accumulators);
}

impl<K: RowKernel> MicroKernel for K {
    unsafe fn run(block: &Block, sums: &mut Accumulators) {
        for row in (0..block.rows * TILE).step_by(ROWS) {
            // SAFETY: the caller's contract.
            unsafe {
                match block.columns {
                    2 => K::rows::<2>(block, row, sums),
                    _ => K::rows::<1>(block, row, sums),
                }
            }
        }
    }
}

/// Loads the accumulators of a register block if the block adds to them; returns zeros otherwise.
///
/// # Safety
/// The processor must have AVX-512F. `row + ROWS` must not exceed the rows of the accumulators, and `N` must be 1 or 2.
#[inline(always)]
pub unsafe fn load<const N: usize>(block: &Block, row: usize, sums: &Accumulators) -> [[Avx512; N]; ROWS] {
    // SAFETY: the caller's contract.
    unsafe {
        let mut own = [[Avx512::zero(); N]; ROWS];
        if block.add {
            own = load_block(sums.0.as_ptr().add(row).cast(), 2 * TILE, TILE);
        }
        own
    }
}

/// Stores the accumulators of a register block.
///
/// # Safety
/// As for [`load`].
#[inline(always)]
pub unsafe fn store<const N: usize>(own: [[Avx512; N]; ROWS], row: usize, sums: &mut Accumulators) {
    // SAFETY: the caller's contract.
    unsafe { store_block(own, sums.0.as_mut_ptr().add(row).cast(), 2 * TILE, TILE) }
}
