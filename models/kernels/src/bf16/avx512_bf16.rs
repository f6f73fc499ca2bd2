//! Micro-kernel for the dot products of AVX-512-BF16 (`vdpbf16ps`).

use std::arch::x86_64::{__m512, __m512bh, __m512i, _mm512_dpbf16_ps, _mm512_loadu_ps, _mm512_loadu_si512};
use std::arch::x86_64::{_mm512_set1_epi32, _mm512_setzero_ps, _mm512_storeu_ps};

use super::micro_kernel::{Accumulators, Block, MicroKernel, RIGHT_TILE, STEP, TILE};

/// AVX-512-BF16 micro-kernel: register blocks of 8 rows x 32 columns.
pub struct Avx512Bf16;

/// Rows of a register block.
const ROWS: usize = 8;

/// Reports whether the processor has AVX-512-BF16.
pub fn is_available() -> bool {
    is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bf16")
}

impl MicroKernel for Avx512Bf16 {
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
#[target_feature(enable = "avx512f,avx512bf16")]
unsafe fn rows<const N: usize>(block: &Block, row: usize, sums: &mut Accumulators) {
    // SAFETY: the caller's contract: the operands have the sizes that `Block` states. Integer and bf16 vectors have the same layout.
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
        let mut right = block.right;
        for run in block.runs {
            let mut left = block.left.offset(*run).add(row * block.left_row);
            for _ in 0..block.steps {
                for pair in 0..STEP / 2 {
                    let mut b = [std::mem::transmute::<__m512i, __m512bh>(_mm512_set1_epi32(0)); N];
                    for n in 0..N {
                        b[n] = std::mem::transmute::<__m512i, __m512bh>(_mm512_loadu_si512(right.add(n * RIGHT_TILE + pair * STEP).cast()));
                    }
                    for m in 0..ROWS {
                        let values = left.add(m * block.left_row + 2 * pair).cast::<i32>().read_unaligned();
                        let a = std::mem::transmute::<__m512i, __m512bh>(_mm512_set1_epi32(values));
                        for n in 0..N {
                            own[m][n] = _mm512_dpbf16_ps(own[m][n], a, b[n]);
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
