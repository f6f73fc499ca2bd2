//! Instruction sets of the bf16 micro-kernel, their selection, and the self-test that a set must pass.

use super::micro_kernel::{Accumulators, Block, MicroKernel, Plain, RIGHT_TILE, STEP, TILE};
use super::{round, widen};

/// Instruction set that multiplies bf16 values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bf16Isa {
    /// Tile instructions of AMX.
    #[cfg(target_arch = "x86_64")]
    Amx,
    /// Dot products of AVX-512-BF16.
    #[cfg(target_arch = "x86_64")]
    Avx512Bf16,
    /// f32 instructions of AVX-512, on widened operands.
    #[cfg(target_arch = "x86_64")]
    Avx512,
    /// Plain Rust, on operands widened to f32.
    Plain,
}

impl Bf16Isa {
    /// Returns the instruction sets of this processor, the fastest first.
    pub fn available() -> Vec<Self> {
        let mut found = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            if super::amx::is_available() {
                found.push(Bf16Isa::Amx);
            }
            let dot = super::avx512_bf16::is_available().then_some(Bf16Isa::Avx512Bf16);
            let widened = super::avx512_f32::is_available().then_some(Bf16Isa::Avx512);
            found.extend(if has_slow_dot_products() { [widened, dot] } else { [dot, widened] }.into_iter().flatten());
        }
        found.push(Bf16Isa::Plain);
        found
    }

    /// Returns the fastest of [`Bf16Isa::available`] that passes the self-test, and the faster ones that fail.
    pub fn best() -> (Self, Vec<Self>) {
        let mut wrong = Vec::new();
        for isa in Self::available() {
            if isa.passes_self_test() {
                return (isa, wrong);
            }
            wrong.push(isa);
        }
        (Bf16Isa::Plain, wrong)
    }

    /// Returns the name that reports show.
    pub fn name(self) -> &'static str {
        match self {
            #[cfg(target_arch = "x86_64")]
            Bf16Isa::Amx => "AMX",
            #[cfg(target_arch = "x86_64")]
            Bf16Isa::Avx512Bf16 => "AVX-512-BF16",
            #[cfg(target_arch = "x86_64")]
            Bf16Isa::Avx512 => "AVX-512, widened to f32",
            Bf16Isa::Plain => "plain code",
        }
    }

    /// Calls `work`, which computes blocks, with the tile registers of this thread configured if the instruction set has any.
    pub(super) fn with_tile_configuration<T>(self, work: impl FnOnce() -> T) -> T {
        match self {
            // SAFETY: `self` comes from `Bf16Isa::available`, which checked AMX.
            #[cfg(target_arch = "x86_64")]
            Bf16Isa::Amx => unsafe { super::amx::with_tiles(work) },
            _ => work(),
        }
    }

    /// Computes a block.
    ///
    /// # Safety
    /// As for [`MicroKernel::run`]. The call must be inside [`Bf16Isa::with_tile_configuration`], and `self` must come from
    /// [`Bf16Isa::available`].
    #[inline(always)]
    pub(super) unsafe fn run(self, block: &Block, sums: &mut Accumulators) {
        // SAFETY: the caller's contract.
        unsafe {
            match self {
                #[cfg(target_arch = "x86_64")]
                Bf16Isa::Amx => super::amx::Amx::run(block, sums),
                #[cfg(target_arch = "x86_64")]
                Bf16Isa::Avx512Bf16 => super::avx512_bf16::Avx512Bf16::run(block, sums),
                #[cfg(target_arch = "x86_64")]
                Bf16Isa::Avx512 => super::avx512_f32::Avx512F32::run(block, sums),
                Bf16Isa::Plain => Plain::run(block, sums),
            }
        }
    }

    /// Reports whether blocks of every size equal sums in f64, within 2e-6 of the sum of magnitudes (f32 rounding alone causes about 1e-6).
    pub fn passes_self_test(self) -> bool {
        const STEPS: usize = 3;
        // Two runs in overlapping rows, as in a convolution.
        let (left_row, runs) = (40, [3isize, 50]);
        let mut state = 1u64;
        let left = random_bf16(&mut state, left_row * 2 * TILE + 50 + STEPS * STEP);
        let right = random_bf16(&mut state, runs.len() * STEPS * 2 * RIGHT_TILE);
        let sizes = [(2, 2), (2, 1), (1, 2), (1, 1)];
        sizes.iter().all(|&(rows, columns)| {
            let (left, right) = (left.as_ptr(), right.as_ptr());
            let block = Block { left, left_row, runs: &runs, steps: STEPS, rows, right, columns, add: false };
            let mut sums = Accumulators::ZERO;
            // SAFETY: the matrices have the length of the largest size; the instruction set is available.
            self.with_tile_configuration(|| unsafe {
                self.run(&block, &mut sums);
                self.run(&Block { add: true, ..block }, &mut sums);
            });
            (0..rows * TILE).all(|row| (0..columns * TILE).all(|column| is_close(sums.0[row][column], &block, row, column)))
        })
    }
}

/// Reports whether `vdpbf16ps` has half the throughput of f32 instructions, as measured on Sapphire Rapids. All Intel processors are
/// assumed to be like that, instead of measuring at run time, so that every run makes the same choice.
#[cfg(target_arch = "x86_64")]
fn has_slow_dot_products() -> bool {
    let maker = std::arch::x86_64::__cpuid(0);
    [maker.ebx, maker.edx, maker.ecx].map(u32::to_le_bytes).as_flattened() == b"GenuineIntel"
}

/// Returns pseudo-random bf16 values between -1 and 1.
fn random_bf16(state: &mut u64, count: usize) -> Vec<u16> {
    let next = || {
        *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        round((*state >> 40) as f32 / (1 << 23) as f32 - 1.0)
    };
    std::iter::repeat_with(next).take(count).collect()
}

/// Reports whether an accumulator is close to twice the dot product of a block's row and column.
fn is_close(found: f32, block: &Block, row: usize, column: usize) -> bool {
    let (mut sum, mut magnitude) = (0.0, 0.0);
    for (r, run) in block.runs.iter().enumerate() {
        for k in 0..block.steps * STEP {
            let tile = (r * block.steps + k / STEP) * block.columns + column / TILE;
            // SAFETY: `Bf16Isa::passes_self_test` made the matrices for the largest block.
            let (a, b) = unsafe {
                let a = *block.left.offset(*run).add(row * block.left_row + k);
                (a, *block.right.add(tile * RIGHT_TILE + (k % STEP / 2 * TILE + column % TILE) * 2 + k % 2))
            };
            let product = 2.0 * f64::from(widen(a)) * f64::from(widen(b));
            (sum, magnitude) = (sum + product, magnitude + product.abs());
        }
    }
    (f64::from(found) - sum).abs() <= 2e-6 * magnitude
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_available_instruction_set_passes_its_self_test() {
        for isa in Bf16Isa::available() {
            assert!(isa.passes_self_test(), "{isa:?}");
        }
        #[cfg(target_arch = "x86_64")]
        for isa in [Bf16Isa::Amx, Bf16Isa::Avx512Bf16, Bf16Isa::Avx512] {
            if !Bf16Isa::available().contains(&isa) {
                eprintln!("SKIPPED: this processor has no {}", isa.name());
            }
        }
    }
}
