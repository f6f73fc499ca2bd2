//! Micro-kernel for the dot products of AVX-512-BF16 (`vdpbf16ps`).

use std::arch::x86_64::{__m512bh, __m512i, _mm512_dpbf16_ps, _mm512_loadu_si512, _mm512_set1_epi32};

use super::avx512::{ROWS, RowKernel, load, store};
use super::micro_kernel::{Accumulators, Block, RIGHT_TILE, STEP};
use crate::simd::Avx512;

/// AVX-512-BF16 micro-kernel: register blocks of 8 rows x 32 columns.
pub struct Avx512Bf16;

/// Reports whether the processor has AVX-512-BF16.
pub fn is_available() -> bool {
    is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bf16")
}

impl RowKernel for Avx512Bf16 {
    #[target_feature(enable = "avx512f,avx512bf16")]
    unsafe fn rows<const N: usize>(block: &Block, row: usize, sums: &mut Accumulators) {
        // SAFETY: the caller's contract: the operands have the sizes that `Block` states. Integer and bf16 vectors have the same layout.
        unsafe {
            let mut own: [[Avx512; N]; ROWS] = load(block, row, sums);
            let mut right = block.right;
            for run in block.runs {
                let mut left = block.left.offset(*run).add(row * block.left_row);
                for _ in 0..block.steps {
                    for pair in 0..STEP / 2 {
                        let mut b = [std::mem::transmute::<__m512i, __m512bh>(_mm512_set1_epi32(0)); N];
                        for n in 0..N {
                            b[n] = std::mem::transmute::<__m512i, __m512bh>(_mm512_loadu_si512(
                                right.add(n * RIGHT_TILE + pair * STEP).cast(),
                            ));
                        }
                        for m in 0..ROWS {
                            let values = left.add(m * block.left_row + 2 * pair).cast::<i32>().read_unaligned();
                            let a = std::mem::transmute::<__m512i, __m512bh>(_mm512_set1_epi32(values));
                            for n in 0..N {
                                own[m][n].0 = _mm512_dpbf16_ps(own[m][n].0, a, b[n]);
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
