//! SIMD vectors of sixteen f32 and run-time dispatch: kernels are generic over [`F32x16`], compiled once for each instruction set, and
//! selected by [`Isa`].

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod plain;
mod register_block;

#[cfg(target_arch = "x86_64")]
pub use avx2::Avx2;
#[cfg(target_arch = "x86_64")]
pub use avx512::Avx512;
pub use plain::Plain;
pub use register_block::{load_block, store_block};

/// SIMD vector of f32: sixteen lanes, or eight for the [`F32x16::Register`] of AVX2.
///
/// # Safety
/// The processor must have the instruction set of the type, and every pointer must be valid for `WIDTH` values (for one value in `splat`).
#[expect(clippy::missing_safety_doc, clippy::return_self_not_must_use, reason = "the trait documents safety once; results are always used")]
pub trait F32x16: Copy {
    /// Number of lanes: 16, or 8 for some [`F32x16::Register`].
    const WIDTH: usize;
    /// Vector that fits one register, for kernels such as the Winograd transforms that need many registers at a time.
    type Register: F32x16;
    /// True if 32 registers of 16 lanes exist, so that register blocks of 12 x 2 accumulators fit; otherwise blocks are 6 x 1.
    const WIDE: bool;
    /// Returns zeros.
    unsafe fn zero() -> Self;
    /// Broadcasts the value at `p` to all lanes.
    unsafe fn splat(p: *const f32) -> Self;
    /// Loads `WIDTH` values from `p` on, unaligned.
    unsafe fn load(p: *const f32) -> Self;
    /// Stores the lanes from `p` on, unaligned.
    unsafe fn store(self, p: *mut f32);
    /// Multiply-add `self + a * b`, fused (one rounding) on AVX-512, AVX2 and ARM.
    unsafe fn plus_product(self, a: Self, b: Self) -> Self;
    /// Negated multiply-add `self - a * b`, fused like [`F32x16::plus_product`].
    unsafe fn minus_product(self, a: Self, b: Self) -> Self;
    /// Adds, `self + other`.
    unsafe fn plus(self, other: Self) -> Self;
    /// Subtracts, `self - other`.
    unsafe fn minus(self, other: Self) -> Self;
    /// Multiplies, `self * other`.
    unsafe fn times(self, other: Self) -> Self;
    /// Returns `1 / self` for positive normal numbers, within two units in the last place.
    unsafe fn reciprocal(self) -> Self;
    /// Returns `self * 2^n` for whole numbers `n` from -126 to 127.
    unsafe fn scaled(self, n: Self) -> Self;
    /// Returns the horizontal sum of all lanes.
    unsafe fn sum(self) -> f32;
    /// Lane-wise maximum; `other` if either operand is NaN.
    unsafe fn larger(self, other: Self) -> Self;
    /// Lane-wise minimum; `other` if either operand is NaN.
    unsafe fn smaller(self, other: Self) -> Self;
    /// Selects `self` in lanes in which `test > 0`, otherwise 0.
    unsafe fn where_positive(self, test: Self) -> Self;
    /// Selects `self` in lanes in which `a == b`, otherwise 0.
    unsafe fn where_equal(self, a: Self, b: Self) -> Self;
}

/// Kernel that is compiled once for each instruction set and dispatched by [`run_on`].
pub trait SimdKernel {
    /// Runs the kernel with vectors `L`. Implementations are `inline(always)`, so that they are compiled with the features of the caller.
    ///
    /// # Safety
    /// The processor must have the instruction set of `L`.
    unsafe fn run<L: F32x16>(self);
}

/// Dispatches a kernel to the instruction set `isa`, which must come from [`Isa::available`].
pub fn run_on<K: SimdKernel>(isa: Isa, kernel: K) {
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f")]
    unsafe fn avx512<K: SimdKernel>(kernel: K) {
        // SAFETY: the feature is enabled in this function.
        unsafe { kernel.run::<Avx512>() }
    }
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,fma")]
    unsafe fn avx2<K: SimdKernel>(kernel: K) {
        // SAFETY: the features are enabled in this function.
        unsafe { kernel.run::<Avx2>() }
    }
    match isa {
        // SAFETY: `isa` comes from `Isa::available`, so the processor has the features.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => unsafe { avx512(kernel) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => unsafe { avx2(kernel) },
        // SAFETY: plain Rust needs no instruction set.
        Isa::Plain => unsafe { kernel.run::<Plain>() },
    }
}

/// Instruction set that the f32 kernels are compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isa {
    /// AVX-512F, vectors of 512 bits.
    #[cfg(target_arch = "x86_64")]
    Avx512,
    /// AVX2 and FMA, vectors of 256 bits.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// Plain Rust, vectorised by the compiler for the target (NEON on ARM).
    Plain,
}

impl Isa {
    /// Returns the instruction sets of this processor, the fastest first.
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

    /// Returns the name that reports show.
    pub fn name(self) -> &'static str {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => "AVX-512",
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => "AVX2",
            Self::Plain if cfg!(target_arch = "aarch64") => "NEON",
            Self::Plain => "plain code",
        }
    }

    /// Returns the size of the L2 cache in bytes that cache blocking assumes: 2 MiB for AVX-512, because servers with AVX-512 have 1 to
    /// 2 MiB for each core, and 512 KiB for all others. A constant, so that blocking does not depend on the machine.
    pub fn l2_bytes(self) -> usize {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => 2 << 20,
            _ => 512 << 10,
        }
    }

    /// Returns the fastest instruction set of this processor.
    pub fn best() -> Self {
        Self::available()[0]
    }
}

/// Runs `work`, plain elementwise loops, compiled for the widest vectors of this processor.
///
/// Results have the same bits on every instruction set, because each element is computed by the same operations and Rust never fuses or
/// reorders them.
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
