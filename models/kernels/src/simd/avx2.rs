//! The vector of sixteen f32 on AVX2 with FMA: two 256-bit registers, and one of them as a vector of eight.

use std::arch::x86_64::{
    __m256, _CMP_EQ_OQ, _CMP_GT_OQ, _mm256_add_epi32, _mm256_add_ps, _mm256_and_ps, _mm256_broadcast_ss, _mm256_castsi256_ps,
    _mm256_cmp_ps, _mm256_cvtps_epi32, _mm256_div_ps, _mm256_fmadd_ps, _mm256_fnmadd_ps, _mm256_loadu_ps, _mm256_max_ps, _mm256_min_ps,
    _mm256_mul_ps, _mm256_set1_epi32, _mm256_set1_ps, _mm256_setzero_ps, _mm256_slli_epi32, _mm256_storeu_ps, _mm256_sub_ps,
};

use super::{F32x16, Plain};

/// Vector of eight f32: one 256-bit register.
#[derive(Clone, Copy)]
pub struct Avx2Half(__m256);

impl F32x16 for Avx2Half {
    const WIDTH: usize = 8;
    const WIDE: bool = false;
    type Register = Self;
    #[inline(always)]
    unsafe fn zero() -> Self {
        // SAFETY: the contract of `F32x16`.
        unsafe { Self(_mm256_setzero_ps()) }
    }
    #[inline(always)]
    unsafe fn splat(p: *const f32) -> Self {
        // SAFETY: the contract of `F32x16`.
        unsafe { Self(_mm256_broadcast_ss(&*p)) }
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> Self {
        // SAFETY: the contract of `F32x16`.
        unsafe { Self(_mm256_loadu_ps(p)) }
    }
    #[inline(always)]
    unsafe fn store(self, p: *mut f32) {
        // SAFETY: the contract of `F32x16`.
        unsafe { _mm256_storeu_ps(p, self.0) }
    }
    #[inline(always)]
    unsafe fn plus_product(self, a: Self, b: Self) -> Self {
        // SAFETY: the contract of `F32x16`.
        unsafe { Self(_mm256_fmadd_ps(a.0, b.0, self.0)) }
    }
    #[inline(always)]
    unsafe fn minus_product(self, a: Self, b: Self) -> Self {
        // SAFETY: the contract of `F32x16`.
        unsafe { Self(_mm256_fnmadd_ps(a.0, b.0, self.0)) }
    }
    #[inline(always)]
    unsafe fn plus(self, other: Self) -> Self {
        // SAFETY: the contract of `F32x16`.
        unsafe { Self(_mm256_add_ps(self.0, other.0)) }
    }
    #[inline(always)]
    unsafe fn minus(self, other: Self) -> Self {
        // SAFETY: the contract of `F32x16`.
        unsafe { Self(_mm256_sub_ps(self.0, other.0)) }
    }
    #[inline(always)]
    unsafe fn times(self, other: Self) -> Self {
        // SAFETY: the contract of `F32x16`.
        unsafe { Self(_mm256_mul_ps(self.0, other.0)) }
    }
    #[inline(always)]
    unsafe fn reciprocal(self) -> Self {
        // SAFETY: the contract of `F32x16`.
        unsafe { Self(_mm256_div_ps(_mm256_set1_ps(1.0), self.0)) }
    }
    #[inline(always)]
    unsafe fn scaled(self, n: Self) -> Self {
        // SAFETY: the contract of `F32x16`.
        unsafe {
            let power = _mm256_slli_epi32::<23>(_mm256_add_epi32(_mm256_cvtps_epi32(n.0), _mm256_set1_epi32(127)));
            Self(_mm256_mul_ps(self.0, _mm256_castsi256_ps(power)))
        }
    }
    #[inline(always)]
    unsafe fn sum(self) -> f32 {
        let mut values = [0.0; 16];
        // SAFETY: the contract of `F32x16`.
        unsafe {
            self.store(values.as_mut_ptr());
            Plain::load(values.as_ptr()).sum()
        }
    }
    #[inline(always)]
    unsafe fn larger(self, other: Self) -> Self {
        // SAFETY: the contract of `F32x16`.
        unsafe { Self(_mm256_max_ps(self.0, other.0)) }
    }
    #[inline(always)]
    unsafe fn smaller(self, other: Self) -> Self {
        // SAFETY: the contract of `F32x16`.
        unsafe { Self(_mm256_min_ps(self.0, other.0)) }
    }
    #[inline(always)]
    unsafe fn where_positive(self, test: Self) -> Self {
        // SAFETY: the contract of `F32x16`.
        unsafe { Self(_mm256_and_ps(self.0, _mm256_cmp_ps::<_CMP_GT_OQ>(test.0, _mm256_setzero_ps()))) }
    }
    #[inline(always)]
    unsafe fn where_equal(self, a: Self, b: Self) -> Self {
        // SAFETY: the contract of `F32x16`.
        unsafe { Self(_mm256_and_ps(self.0, _mm256_cmp_ps::<_CMP_EQ_OQ>(a.0, b.0))) }
    }
}

/// Vector of sixteen f32: two 256-bit registers.
#[derive(Clone, Copy)]
pub struct Avx2(Avx2Half, Avx2Half);

impl F32x16 for Avx2 {
    const WIDTH: usize = 16;
    const WIDE: bool = false;
    type Register = Avx2Half;
    #[inline(always)]
    unsafe fn zero() -> Self {
        // SAFETY: the contract of `F32x16`.
        unsafe { Self(Avx2Half::zero(), Avx2Half::zero()) }
    }
    #[inline(always)]
    unsafe fn splat(p: *const f32) -> Self {
        // SAFETY: the contract of `F32x16`.
        let v = unsafe { Avx2Half::splat(p) };
        Self(v, v)
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> Self {
        // SAFETY: the contract of `F32x16`.
        unsafe { Self(Avx2Half::load(p), Avx2Half::load(p.add(8))) }
    }
    #[inline(always)]
    unsafe fn store(self, p: *mut f32) {
        // SAFETY: the contract of `F32x16`.
        unsafe {
            self.0.store(p);
            self.1.store(p.add(8));
        }
    }
    #[inline(always)]
    unsafe fn plus_product(self, a: Self, b: Self) -> Self {
        // SAFETY: the contract of `F32x16`.
        unsafe { Self(self.0.plus_product(a.0, b.0), self.1.plus_product(a.1, b.1)) }
    }
    #[inline(always)]
    unsafe fn minus_product(self, a: Self, b: Self) -> Self {
        // SAFETY: the contract of `F32x16`.
        unsafe { Self(self.0.minus_product(a.0, b.0), self.1.minus_product(a.1, b.1)) }
    }
    #[inline(always)]
    unsafe fn plus(self, other: Self) -> Self {
        // SAFETY: the contract of `F32x16`.
        unsafe { Self(self.0.plus(other.0), self.1.plus(other.1)) }
    }
    #[inline(always)]
    unsafe fn minus(self, other: Self) -> Self {
        // SAFETY: the contract of `F32x16`.
        unsafe { Self(self.0.minus(other.0), self.1.minus(other.1)) }
    }
    #[inline(always)]
    unsafe fn times(self, other: Self) -> Self {
        // SAFETY: the contract of `F32x16`.
        unsafe { Self(self.0.times(other.0), self.1.times(other.1)) }
    }
    #[inline(always)]
    unsafe fn reciprocal(self) -> Self {
        // SAFETY: the contract of `F32x16`.
        unsafe { Self(self.0.reciprocal(), self.1.reciprocal()) }
    }
    #[inline(always)]
    unsafe fn scaled(self, n: Self) -> Self {
        // SAFETY: the contract of `F32x16`.
        unsafe { Self(self.0.scaled(n.0), self.1.scaled(n.1)) }
    }
    #[inline(always)]
    unsafe fn sum(self) -> f32 {
        let mut values = [0.0; 16];
        // SAFETY: the contract of `F32x16`.
        unsafe {
            self.store(values.as_mut_ptr());
            Plain::load(values.as_ptr()).sum()
        }
    }
    #[inline(always)]
    unsafe fn larger(self, other: Self) -> Self {
        // SAFETY: the contract of `F32x16`.
        unsafe { Self(self.0.larger(other.0), self.1.larger(other.1)) }
    }
    #[inline(always)]
    unsafe fn smaller(self, other: Self) -> Self {
        // SAFETY: the contract of `F32x16`.
        unsafe { Self(self.0.smaller(other.0), self.1.smaller(other.1)) }
    }
    #[inline(always)]
    unsafe fn where_positive(self, test: Self) -> Self {
        // SAFETY: the contract of `F32x16`.
        unsafe { Self(self.0.where_positive(test.0), self.1.where_positive(test.1)) }
    }
    #[inline(always)]
    unsafe fn where_equal(self, a: Self, b: Self) -> Self {
        // SAFETY: the contract of `F32x16`.
        unsafe { Self(self.0.where_equal(a.0, b.0), self.1.where_equal(a.1, b.1)) }
    }
}
