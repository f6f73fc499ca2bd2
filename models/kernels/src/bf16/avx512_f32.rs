//! Micro-kernel for the f32 instructions of AVX-512 on operands widened from bf16, for processors on which `vdpbf16ps` is slow or missing.

use std::arch::x86_64::{__m512, __m512i, _mm256_loadu_si256, _mm512_and_si512, _mm512_castsi512_ps, _mm512_cvtepu16_epi32};
use std::arch::x86_64::{_mm512_fmadd_ps, _mm512_loadu_ps, _mm512_loadu_si512, _mm512_set1_epi32, _mm512_set1_ps};
use std::arch::x86_64::{_mm512_setzero_ps, _mm512_slli_epi32, _mm512_store_ps, _mm512_storeu_ps};

use super::micro_kernel::{Accumulators, Block, MicroKernel, RIGHT_TILE, STEP, TILE};

/// AVX-512 micro-kernel: register blocks of 8 rows x 32 columns.
pub struct Avx512;

/// Rows of a register block.
const ROWS: usize = 8;

/// Left values of a register block in one step, widened to f32.
#[repr(C, align(64))]
struct Left([[f32; STEP]; ROWS]);

/// Reports whether the processor has AVX-512F.
pub fn is_available() -> bool {
    is_x86_feature_detected!("avx512f")
}

impl MicroKernel for Avx512 {
    unsafe fn run(block: &Block, sums: &mut Accumulators) {
        for row in (0..block.rows * TILE).step_by(ROWS) {
            // SAFETY: the caller's contract.
            unsafe {
                match block.columns {
                    2 => rows::<2>(block, row, sums),
                    _ => rows::<1>(block, row, sums),
                }
            }
        }
    }
}

/// Computes [`ROWS`] rows x `N` tiles of columns in registers.
///
/// # Safety
/// As for [`MicroKernel::run`].
#[target_feature(enable = "avx512f,avx2")]
unsafe fn rows<const N: usize>(block: &Block, row: usize, sums: &mut Accumulators) {
    // SAFETY: the caller's contract: the operands have the sizes that `Block` states.
    unsafe {
        let target: *mut f32 = sums.0.as_mut_ptr().add(row).cast();
        let mut own: [[__m512; N]; ROWS] = [[_mm512_setzero_ps(); N]; ROWS];
        if block.add {
            for m in 0..ROWS {
                for n in 0..N {
                    own[m][n] = _mm512_loadu_ps(target.add(m * 2 * TILE + n * TILE));
                }
            }
        }
        let mut widened = Left([[0.0; STEP]; ROWS]);
        let mut right = block.right;
        for run in block.runs {
            let mut left = block.left.offset(*run).add(row * block.left_row);
            for _ in 0..block.steps {
                widen(left, block.left_row, &mut widened);
                for pair in 0..STEP / 2 {
                    let (mut even, mut odd) = ([_mm512_setzero_ps(); N], [_mm512_setzero_ps(); N]);
                    for n in 0..N {
                        (even[n], odd[n]) = split(_mm512_loadu_si512(right.add(n * RIGHT_TILE + pair * STEP).cast()));
                    }
                    for m in 0..ROWS {
                        let (a, b) = (_mm512_set1_ps(widened.0[m][2 * pair]), _mm512_set1_ps(widened.0[m][2 * pair + 1]));
                        for n in 0..N {
                            own[m][n] = _mm512_fmadd_ps(b, odd[n], _mm512_fmadd_ps(a, even[n], own[m][n]));
                        }
                    }
                }
                left = left.add(STEP);
                right = right.add(N * RIGHT_TILE);
            }
        }
        for m in 0..ROWS {
            for n in 0..N {
                _mm512_storeu_ps(target.add(m * 2 * TILE + n * TILE), own[m][n]);
            }
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
fn split(pairs: __m512i) -> (__m512, __m512) {
    let upper = _mm512_set1_epi32(0xffff_0000_u32 as i32);
    (_mm512_castsi512_ps(_mm512_slli_epi32::<16>(pairs)), _mm512_castsi512_ps(_mm512_and_si512(pairs, upper)))
}
