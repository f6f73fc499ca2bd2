//! Loading and storing of register blocks: the accumulators of a micro-kernel, which stay in registers while products are added.

use super::F32x16;

/// Loads a register block of `M` rows x `N` vectors from rows at stride `row` and vectors at stride `vector`, both in values.
///
/// # Safety
/// The processor must have the instruction set of `L`, and all vectors of the block must be readable.
#[inline(always)]
pub unsafe fn load_block<L: F32x16, const M: usize, const N: usize>(from: *const f32, row: usize, vector: usize) -> [[L; N]; M] {
    // SAFETY: the caller's contract.
    unsafe {
        let mut block = [[L::zero(); N]; M];
        for m in 0..M {
            for n in 0..N {
                block[m][n] = L::load(from.add(m * row + n * vector));
            }
        }
        block
    }
}

/// Stores a register block, with the layout of [`load_block`].
///
/// # Safety
/// The processor must have the instruction set of `L`, and all vectors of the block must be writable.
#[inline(always)]
pub unsafe fn store_block<L: F32x16, const M: usize, const N: usize>(block: [[L; N]; M], to: *mut f32, row: usize, vector: usize) {
    for m in 0..M {
        for n in 0..N {
            // SAFETY: the caller's contract.
            unsafe { block[m][n].store(to.add(m * row + n * vector)) };
        }
    }
}
