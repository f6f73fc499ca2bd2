//! Micro-kernel for the f32 instructions of AVX-512 on operands widened from bf16, for processors on which `vdpbf16ps` is slow or missing.

use std::arch::x86_64::{__m512i, _mm256_loadu_si256, _mm512_and_si512, _mm512_castsi512_ps, _mm512_cvtepu16_epi32};
use std::arch::x86_64::{_mm512_loadu_si512, _mm512_set1_epi32, _mm512_slli_epi32, _mm512_store_ps};

use super::avx512::{ROWS, RowKernel, load, store};
use super::micro_kernel::{Accumulators, Block, RIGHT_TILE, STEP, TILE};
use crate::simd::{Avx512, F32x16};

/// AVX-512 micro-kernel: register blocks of 8 rows x 32 columns.
pub struct Avx512F32;

/// Left values of a register block in one step, widened to f32.
#[repr(C, align(64))]
struct Left([[f32; STEP]; ROWS]);

/// Reports whether the processor has AVX-512F.
pub fn is_available() -> bool {
    is_x86_feature_detected!("avx512f")
}

impl RowKernel for Avx512F32 {
    #[target_feature(enable = "avx512f,avx2")]
    unsafe fn rows<const N: usize>(block: &Block, row: usize, sums: &mut Accumulators) {
        // SAFETY: the caller's contract: the operands have the sizes that `Block` states.
        unsafe {
            let mut own: [[Avx512; N]; ROWS] = load(block, row, sums);
            let mut widened = Left([[0.0; STEP]; ROWS]);
            let mut right = block.right;
            for run in block.runs {
                let mut left = block.left.offset(*run).add(row * block.left_row);
                for _ in 0..block.steps {
                    widen(left, block.left_row, &mut widened);
                    for pair in 0..STEP / 2 {
                        let (mut even, mut odd) = ([Avx512::zero(); N], [Avx512::zero(); N]);
                        for n in 0..N {
                            (even[n], odd[n]) = split(_mm512_loadu_si512(right.add(n * RIGHT_TILE + pair * STEP).cast()));
                        }
                        for m in 0..ROWS {
                            let [a, b] = [2 * pair, 2 * pair + 1].map(|at| Avx512::splat(&raw const widened.0[m][at]));
                            for n in 0..N {
                                own[m][n] = own[m][n].plus_product(a, even[n]).plus_product(b, odd[n]);
                            }
                        }
                    }
                    left = left.add(STEP);
                    right = right.add(N * RIGHT_TILE);
                }
            }
            store(own, row, sums);
        }
    }
}

/// Widens the left values of one step.
///
/// # Safety
/// [`ROWS`] rows of [`STEP`] values must follow `left` at stride `left_row`.
#[target_feature(enable = "avx512f,avx2")]
unsafe fn widen(left: *const u16, left_row: usize, widened: &mut Left) {
    for (m, to) in widened.0.iter_mut().enumerate() {
        for half in 0..2 {
            // SAFETY: the caller's contract; rows of `Left` are whole cache lines, so aligned stores are allowed.
            unsafe {
                let values = _mm512_cvtepu16_epi32(_mm256_loadu_si256(left.add(m * left_row + half * TILE).cast()));
                _mm512_store_ps(to.as_mut_ptr().add(half * TILE), _mm512_castsi512_ps(_mm512_slli_epi32::<16>(values)));
            }
        }
    }
}

/// Widens the even and the odd values of sixteen pairs.
#[target_feature(enable = "avx512f")]
fn split(pairs: __m512i) -> (Avx512, Avx512) {
    let upper = _mm512_set1_epi32(0xffff_0000_u32 as i32);
    (Avx512(_mm512_castsi512_ps(_mm512_slli_epi32::<16>(pairs))), Avx512(_mm512_castsi512_ps(_mm512_and_si512(pairs, upper))))
}
