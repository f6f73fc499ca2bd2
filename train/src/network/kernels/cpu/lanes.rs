//! Sixteen f32 side by side, on whatever the processor has.

/// Sixteen f32 values that are multiplied and added together.
///
/// # Safety
/// Every method needs the instruction set that the type stands for; pointers must be valid for 16 values.
pub trait Lanes: Copy {
    /// Whether there are 32 registers of 16 values, so that blocks of 12 x 2 sums stay in registers; else blocks of 4 x 1 do.
    const WIDE: bool;
    /// All zero.
    unsafe fn zero() -> Self;
    /// Sixteen copies of the value at `p`.
    unsafe fn splat(p: *const f32) -> Self;
    /// Sixteen values from `p` on, no alignment needed.
    unsafe fn load(p: *const f32) -> Self;
    /// Writes sixteen values from `p` on.
    unsafe fn store(self, p: *mut f32);
    /// `self + a * b`.
    unsafe fn plus_product(self, a: Self, b: Self) -> Self;
    /// `self - a * b`.
    unsafe fn minus_product(self, a: Self, b: Self) -> Self;
    /// `self + other`.
    unsafe fn plus(self, other: Self) -> Self;
    /// `self - other`.
    unsafe fn minus(self, other: Self) -> Self;
    /// `self * other`.
    unsafe fn times(self, other: Self) -> Self;
    /// `1 / self` for positive normal numbers, within two units in the last place.
    unsafe fn reciprocal(self) -> Self;
    /// `self * 2^n` for whole numbers `n` from -126 to 127.
    unsafe fn scaled(self, n: Self) -> Self;
    /// The larger of the two.
    unsafe fn larger(self, other: Self) -> Self;
    /// `self` where `test` is positive, else 0.
    unsafe fn where_positive(self, test: Self) -> Self;
    /// `self` where `a` equals `b`, else 0.
    unsafe fn where_equal(self, a: Self, b: Self) -> Self;
}

/// Work that is compiled once for each instruction set.
pub trait Work {
    /// The work itself, `inline(always)`.
    ///
    /// # Safety
    /// The processor must have the instruction set of `L`.
    unsafe fn run<L: Lanes>(self);
}

/// Does `work` with the instruction set `isa`, which must come from [`Isa::available`].
pub fn run_on<W: Work>(isa: Isa, work: W) {
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f")]
    unsafe fn avx512<W: Work>(work: W) {
        // SAFETY: the feature is on in this function.
        unsafe { work.run::<Avx512>() }
    }
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,fma")]
    unsafe fn avx2<W: Work>(work: W) {
        // SAFETY: the features are on in this function.
        unsafe { work.run::<Avx2>() }
    }
    match isa {
        // SAFETY: `isa` was found on this processor.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => unsafe { avx512(work) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => unsafe { avx2(work) },
        // SAFETY: plain Rust needs nothing.
        Isa::Plain => unsafe { work.run::<Plain>() },
    }
}

/// The instruction sets that kernels are compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isa {
    /// 512-bit vectors.
    #[cfg(target_arch = "x86_64")]
    Avx512,
    /// 256-bit vectors with fused multiply-add.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// What the compiler makes of plain Rust (NEON on ARM).
    Plain,
}

impl Isa {
    /// Everything that this processor can run, best first.
    pub fn available() -> Vec<Self> {
        let mut found = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx512f") {
                found.push(Isa::Avx512);
            }
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                found.push(Isa::Avx2);
            }
        }
        found.push(Isa::Plain);
        found
    }

    /// The best of [`Isa::available`].
    pub fn best() -> Self {
        Self::available()[0]
    }
}

/// Runs plain loops over values compiled for the best instruction set. Every element is computed in the same way in each, so
/// results are the same bits.
#[inline]
pub fn vectorised<T>(work: impl FnOnce() -> T) -> T {
    #[cfg(target_arch = "x86_64")]
    {
        #[target_feature(enable = "avx512f,avx512vl,avx512dq,avx512bw")]
        fn avx512<T>(work: impl FnOnce() -> T) -> T {
            work()
        }
        #[target_feature(enable = "avx2")]
        fn avx2<T>(work: impl FnOnce() -> T) -> T {
            work()
        }
        let all = is_x86_feature_detected!("avx512vl") && is_x86_feature_detected!("avx512dq") && is_x86_feature_detected!("avx512bw");
        if all && is_x86_feature_detected!("avx512f") {
            // SAFETY: the features were just detected.
            return unsafe { avx512(work) };
        }
        if is_x86_feature_detected!("avx2") {
            // SAFETY: the feature was just detected.
            return unsafe { avx2(work) };
        }
    }
    work()
}

/// Plain Rust.
#[derive(Clone, Copy)]
pub struct Plain([f32; 16]);

impl Plain {
    #[inline(always)]
    fn each(self, other: Self, f: impl Fn(f32, f32) -> f32) -> Self {
        Self(std::array::from_fn(|i| f(self.0[i], other.0[i])))
    }
}

impl Lanes for Plain {
    const WIDE: bool = false;
    #[inline(always)]
    unsafe fn zero() -> Self {
        Self([0.0; 16])
    }
    #[inline(always)]
    unsafe fn splat(p: *const f32) -> Self {
        Self([unsafe { *p }; 16])
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> Self {
        Self(unsafe { p.cast::<[f32; 16]>().read_unaligned() })
    }
    #[inline(always)]
    unsafe fn store(self, p: *mut f32) {
        unsafe { p.cast::<[f32; 16]>().write_unaligned(self.0) }
    }
    #[inline(always)]
    unsafe fn plus_product(mut self, a: Self, b: Self) -> Self {
        for i in 0..16 {
            // `mul_add` is a call into libm where the target has no fused instruction.
            self.0[i] = if cfg!(target_arch = "aarch64") { a.0[i].mul_add(b.0[i], self.0[i]) } else { a.0[i] * b.0[i] + self.0[i] };
        }
        self
    }
    #[inline(always)]
    unsafe fn minus_product(self, a: Self, b: Self) -> Self {
        let negative = Self(a.0.map(|v| -v));
        unsafe { self.plus_product(negative, b) }
    }
    #[inline(always)]
    unsafe fn plus(self, other: Self) -> Self {
        self.each(other, |a, b| a + b)
    }
    #[inline(always)]
    unsafe fn minus(self, other: Self) -> Self {
        self.each(other, |a, b| a - b)
    }
    #[inline(always)]
    unsafe fn times(self, other: Self) -> Self {
        self.each(other, |a, b| a * b)
    }
    #[inline(always)]
    unsafe fn reciprocal(self) -> Self {
        Self(self.0.map(|v| 1.0 / v))
    }
    #[inline(always)]
    unsafe fn scaled(self, n: Self) -> Self {
        self.each(n, |v, n| v * f32::from_bits(((n as i32 + 127) << 23) as u32))
    }
    #[inline(always)]
    unsafe fn larger(self, other: Self) -> Self {
        self.each(other, f32::max)
    }
    #[inline(always)]
    unsafe fn where_positive(self, test: Self) -> Self {
        self.each(test, |v, test| if test > 0.0 { v } else { 0.0 })
    }
    #[inline(always)]
    unsafe fn where_equal(self, a: Self, b: Self) -> Self {
        Self(std::array::from_fn(|i| if a.0[i] == b.0[i] { self.0[i] } else { 0.0 }))
    }
}

#[cfg(target_arch = "x86_64")]
pub use x86::{Avx2, Avx512};

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::{
        __m256, __m512, _CMP_EQ_OQ, _CMP_GT_OQ, _mm256_add_epi32, _mm256_add_ps, _mm256_and_ps, _mm256_broadcast_ss, _mm256_castsi256_ps,
        _mm256_cmp_ps, _mm256_cvtps_epi32, _mm256_div_ps, _mm256_fmadd_ps, _mm256_fnmadd_ps, _mm256_loadu_ps, _mm256_max_ps, _mm256_mul_ps,
        _mm256_set1_epi32, _mm256_set1_ps, _mm256_setzero_ps, _mm256_slli_epi32, _mm256_storeu_ps, _mm256_sub_ps, _mm512_add_ps,
        _mm512_cmp_ps_mask, _mm512_fmadd_ps, _mm512_fnmadd_ps, _mm512_loadu_ps, _mm512_maskz_mov_ps, _mm512_max_ps, _mm512_mul_ps,
        _mm512_rcp14_ps, _mm512_scalef_ps, _mm512_set1_ps, _mm512_setzero_ps, _mm512_storeu_ps, _mm512_sub_ps,
    };

    use super::Lanes;

    /// One 512-bit register.
    #[derive(Clone, Copy)]
    pub struct Avx512(__m512);

    impl Lanes for Avx512 {
        const WIDE: bool = true;
        #[inline(always)]
        unsafe fn zero() -> Self {
            Self(unsafe { _mm512_setzero_ps() })
        }
        #[inline(always)]
        unsafe fn splat(p: *const f32) -> Self {
            Self(unsafe { _mm512_set1_ps(*p) })
        }
        #[inline(always)]
        unsafe fn load(p: *const f32) -> Self {
            Self(unsafe { _mm512_loadu_ps(p) })
        }
        #[inline(always)]
        unsafe fn store(self, p: *mut f32) {
            unsafe { _mm512_storeu_ps(p, self.0) }
        }
        #[inline(always)]
        unsafe fn plus_product(self, a: Self, b: Self) -> Self {
            Self(unsafe { _mm512_fmadd_ps(a.0, b.0, self.0) })
        }
        #[inline(always)]
        unsafe fn minus_product(self, a: Self, b: Self) -> Self {
            Self(unsafe { _mm512_fnmadd_ps(a.0, b.0, self.0) })
        }
        #[inline(always)]
        unsafe fn plus(self, other: Self) -> Self {
            Self(unsafe { _mm512_add_ps(self.0, other.0) })
        }
        #[inline(always)]
        unsafe fn minus(self, other: Self) -> Self {
            Self(unsafe { _mm512_sub_ps(self.0, other.0) })
        }
        #[inline(always)]
        unsafe fn times(self, other: Self) -> Self {
            Self(unsafe { _mm512_mul_ps(self.0, other.0) })
        }
        #[inline(always)]
        unsafe fn reciprocal(self) -> Self {
            unsafe {
                // One step of Newton's method doubles the 14 bits of the estimate.
                let estimate = _mm512_rcp14_ps(self.0);
                Self(_mm512_mul_ps(estimate, _mm512_fnmadd_ps(self.0, estimate, _mm512_set1_ps(2.0))))
            }
        }
        #[inline(always)]
        unsafe fn scaled(self, n: Self) -> Self {
            Self(unsafe { _mm512_scalef_ps(self.0, n.0) })
        }
        #[inline(always)]
        unsafe fn larger(self, other: Self) -> Self {
            Self(unsafe { _mm512_max_ps(self.0, other.0) })
        }
        #[inline(always)]
        unsafe fn where_positive(self, test: Self) -> Self {
            unsafe { Self(_mm512_maskz_mov_ps(_mm512_cmp_ps_mask::<_CMP_GT_OQ>(test.0, _mm512_setzero_ps()), self.0)) }
        }
        #[inline(always)]
        unsafe fn where_equal(self, a: Self, b: Self) -> Self {
            unsafe { Self(_mm512_maskz_mov_ps(_mm512_cmp_ps_mask::<_CMP_EQ_OQ>(a.0, b.0), self.0)) }
        }
    }

    /// Two 256-bit registers.
    #[derive(Clone, Copy)]
    pub struct Avx2(__m256, __m256);

    impl Lanes for Avx2 {
        const WIDE: bool = false;
        #[inline(always)]
        unsafe fn zero() -> Self {
            unsafe { Self(_mm256_setzero_ps(), _mm256_setzero_ps()) }
        }
        #[inline(always)]
        unsafe fn splat(p: *const f32) -> Self {
            let v = unsafe { _mm256_broadcast_ss(&*p) };
            Self(v, v)
        }
        #[inline(always)]
        unsafe fn load(p: *const f32) -> Self {
            unsafe { Self(_mm256_loadu_ps(p), _mm256_loadu_ps(p.add(8))) }
        }
        #[inline(always)]
        unsafe fn store(self, p: *mut f32) {
            unsafe {
                _mm256_storeu_ps(p, self.0);
                _mm256_storeu_ps(p.add(8), self.1);
            }
        }
        #[inline(always)]
        unsafe fn plus_product(self, a: Self, b: Self) -> Self {
            unsafe { Self(_mm256_fmadd_ps(a.0, b.0, self.0), _mm256_fmadd_ps(a.1, b.1, self.1)) }
        }
        #[inline(always)]
        unsafe fn minus_product(self, a: Self, b: Self) -> Self {
            unsafe { Self(_mm256_fnmadd_ps(a.0, b.0, self.0), _mm256_fnmadd_ps(a.1, b.1, self.1)) }
        }
        #[inline(always)]
        unsafe fn plus(self, other: Self) -> Self {
            unsafe { Self(_mm256_add_ps(self.0, other.0), _mm256_add_ps(self.1, other.1)) }
        }
        #[inline(always)]
        unsafe fn minus(self, other: Self) -> Self {
            unsafe { Self(_mm256_sub_ps(self.0, other.0), _mm256_sub_ps(self.1, other.1)) }
        }
        #[inline(always)]
        unsafe fn times(self, other: Self) -> Self {
            unsafe { Self(_mm256_mul_ps(self.0, other.0), _mm256_mul_ps(self.1, other.1)) }
        }
        #[inline(always)]
        unsafe fn reciprocal(self) -> Self {
            unsafe {
                let one = _mm256_set1_ps(1.0);
                Self(_mm256_div_ps(one, self.0), _mm256_div_ps(one, self.1))
            }
        }
        #[inline(always)]
        unsafe fn scaled(self, n: Self) -> Self {
            unsafe {
                let power =
                    |n| _mm256_castsi256_ps(_mm256_slli_epi32::<23>(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127))));
                Self(_mm256_mul_ps(self.0, power(n.0)), _mm256_mul_ps(self.1, power(n.1)))
            }
        }
        #[inline(always)]
        unsafe fn larger(self, other: Self) -> Self {
            unsafe { Self(_mm256_max_ps(self.0, other.0), _mm256_max_ps(self.1, other.1)) }
        }
        #[inline(always)]
        unsafe fn where_positive(self, test: Self) -> Self {
            unsafe {
                let zero = _mm256_setzero_ps();
                let keep = |v, test| _mm256_and_ps(v, _mm256_cmp_ps::<_CMP_GT_OQ>(test, zero));
                Self(keep(self.0, test.0), keep(self.1, test.1))
            }
        }
        #[inline(always)]
        unsafe fn where_equal(self, a: Self, b: Self) -> Self {
            unsafe {
                let keep = |v, a, b| _mm256_and_ps(v, _mm256_cmp_ps::<_CMP_EQ_OQ>(a, b));
                Self(keep(self.0, a.0, b.0), keep(self.1, a.1, b.1))
            }
        }
    }
}
