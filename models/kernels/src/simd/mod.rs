//! Sixteen f32 side by side, on whatever the processor has.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod plain;

#[cfg(target_arch = "x86_64")]
pub use avx2::Avx2;
#[cfg(target_arch = "x86_64")]
pub use avx512::Avx512;
pub use plain::Plain;

/// Sixteen f32 values that are multiplied and added together, or eight where a type says so.
///
/// # Safety
/// Every method needs the instruction set that the type stands for; pointers must be valid for `WIDTH` values.
#[expect(clippy::missing_safety_doc, clippy::return_self_not_must_use, reason = "said once, above; results are plainly used")]
pub trait F32x16: Copy {
    /// Values side by side: 16, or 8 in some [`F32x16::Part`].
    const WIDTH: usize;
    /// What fits into one register, for work on values by themselves that needs many of them at a time.
    type Part: F32x16;
    /// Whether there are 32 registers of 16 values, so that blocks of 12 x 2 sums stay in registers; else blocks of 6 x 1 do.
    const WIDE: bool;
    /// All zero.
    unsafe fn zero() -> Self;
    /// Copies of the value at `p`.
    unsafe fn splat(p: *const f32) -> Self;
    /// `WIDTH` values from `p` on, no alignment needed.
    unsafe fn load(p: *const f32) -> Self;
    /// Writes `WIDTH` values from `p` on.
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
    /// The sum of the values.
    unsafe fn sum(self) -> f32;
    /// The larger of the two; `other` where either is NaN.
    unsafe fn larger(self, other: Self) -> Self;
    /// The smaller of the two; `other` where either is NaN.
    unsafe fn smaller(self, other: Self) -> Self;
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
    unsafe fn run<L: F32x16>(self);
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

    /// As people call it.
    pub fn name(self) -> &'static str {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => "AVX-512",
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => "AVX2",
            Self::Plain if cfg!(target_arch = "aarch64") => "NEON",
            Self::Plain => "no vector unit in particular",
        }
    }

    /// Bytes of a second-level cache that work is cut for: servers with AVX-512 have 1 to 2 MiB, others as little as this.
    pub fn second_level_cache(self) -> usize {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => 2 << 20,
            _ => 512 << 10,
        }
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
