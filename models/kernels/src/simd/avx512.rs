//! The vector of sixteen f32 on AVX-512: one 512-bit register.

use std::arch::x86_64::{
    __m512, _CMP_EQ_OQ, _CMP_GT_OQ, _mm512_add_ps, _mm512_cmp_ps_mask, _mm512_fmadd_ps, _mm512_fnmadd_ps, _mm512_loadu_ps,
    _mm512_maskz_mov_ps, _mm512_max_ps, _mm512_min_ps, _mm512_mul_ps, _mm512_rcp14_ps, _mm512_reduce_add_ps, _mm512_scalef_ps,
    _mm512_set1_ps, _mm512_setzero_ps, _mm512_storeu_ps, _mm512_sub_ps,
};

use super::F32x16;

/// Vector of sixteen f32: one 512-bit register.
#[derive(Clone, Copy)]
pub struct Avx512(pub(crate) __m512);

impl F32x16 for Avx512 {
    const WIDTH: usize = 16;
    const WIDE: bool = true;
    type Register = Self;
    #[inline(always)]
    unsafe fn zero() -> Self {
        // SAFETY: the contract of `F32x16`.
        Self(unsafe { _mm512_setzero_ps() })
    }
    #[inline(always)]
    unsafe fn splat(p: *const f32) -> Self {
        // SAFETY: the contract of `F32x16`.
        Self(unsafe { _mm512_set1_ps(*p) })
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> Self {
        // SAFETY: the contract of `F32x16`.
        Self(unsafe { _mm512_loadu_ps(p) })
    }
    #[inline(always)]
    unsafe fn store(self, p: *mut f32) {
        // SAFETY: the contract of `F32x16`.
        unsafe { _mm512_storeu_ps(p, self.0) }
    }
    #[inline(always)]
    unsafe fn plus_product(self, a: Self, b: Self) -> Self {
        // SAFETY: the contract of `F32x16`.
        Self(unsafe { _mm512_fmadd_ps(a.0, b.0, self.0) })
    }
    #[inline(always)]
    unsafe fn minus_product(self, a: Self, b: Self) -> Self {
        // SAFETY: the contract of `F32x16`.
        Self(unsafe { _mm512_fnmadd_ps(a.0, b.0, self.0) })
    }
    #[inline(always)]
    unsafe fn plus(self, other: Self) -> Self {
        // SAFETY: the contract of `F32x16`.
        Self(unsafe { _mm512_add_ps(self.0, other.0) })
    }
    #[inline(always)]
    unsafe fn minus(self, other: Self) -> Self {
        // SAFETY: the contract of `F32x16`.
        Self(unsafe { _mm512_sub_ps(self.0, other.0) })
    }
    #[inline(always)]
    unsafe fn times(self, other: Self) -> Self {
        // SAFETY: the contract of `F32x16`.
        Self(unsafe { _mm512_mul_ps(self.0, other.0) })
    }
    #[inline(always)]
    unsafe fn reciprocal(self) -> Self {
        // SAFETY: the contract of `F32x16`.
        unsafe {
            // One Newton-Raphson step doubles the 14 bits of the estimate.
            let estimate = _mm512_rcp14_ps(self.0);
            Self(_mm512_mul_ps(estimate, _mm512_fnmadd_ps(self.0, estimate, _mm512_set1_ps(2.0))))
        }
    }
    #[inline(always)]
    unsafe fn scaled(self, n: Self) -> Self {
        // SAFETY: the contract of `F32x16`.
        Self(unsafe { _mm512_scalef_ps(self.0, n.0) })
    }
    #[inline(always)]
    unsafe fn sum(self) -> f32 {
        // SAFETY: the contract of `F32x16`.
        unsafe { _mm512_reduce_add_ps(self.0) }
    }
    #[inline(always)]
    unsafe fn larger(self, other: Self) -> Self {
        // SAFETY: the contract of `F32x16`.
        Self(unsafe { _mm512_max_ps(self.0, other.0) })
    }
    #[inline(always)]
    unsafe fn smaller(self, other: Self) -> Self {
        // SAFETY: the contract of `F32x16`.
        Self(unsafe { _mm512_min_ps(self.0, other.0) })
    }
    #[inline(always)]
    unsafe fn where_positive(self, test: Self) -> Self {
        // SAFETY: the contract of `F32x16`.
        unsafe { Self(_mm512_maskz_mov_ps(_mm512_cmp_ps_mask::<_CMP_GT_OQ>(test.0, _mm512_setzero_ps()), self.0)) }
    }
    #[inline(always)]
    unsafe fn where_equal(self, a: Self, b: Self) -> Self {
        // SAFETY: the contract of `F32x16`.
        unsafe { Self(_mm512_maskz_mov_ps(_mm512_cmp_ps_mask::<_CMP_EQ_OQ>(a.0, b.0), self.0)) }
    }
}
