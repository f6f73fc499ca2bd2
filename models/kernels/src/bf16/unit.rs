//! What multiplies: the best that the processor has and that passes a test.

use super::block::{Block, Plain, Product, RIGHT_TILE, STEP, Sums, TILE};
use super::{round, widen};

/// Something that multiplies bf16 values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// The tile instructions of AMX.
    #[cfg(target_arch = "x86_64")]
    Amx,
    /// The vector instruction of AVX-512-BF16.
    #[cfg(target_arch = "x86_64")]
    Avx512Bf16,
    /// The f32 vector instructions of AVX-512, after widening.
    #[cfg(target_arch = "x86_64")]
    Avx512,
    /// Plain Rust, which widens to f32.
    Plain,
}

impl Unit {
    /// Everything that this processor has, best first.
    pub fn available() -> Vec<Self> {
        let mut found = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            if super::amx::is_there() {
                found.push(Unit::Amx);
            }
            let dot = super::avx512::is_there().then_some(Unit::Avx512Bf16);
            let widened = super::widened::is_there().then_some(Unit::Avx512);
            found.extend(if has_slow_dot_products() { [widened, dot] } else { [dot, widened] }.into_iter().flatten());
        }
        found.push(Unit::Plain);
        found
    }

    /// The best of [`Unit::available`] that computes what plain Rust does, and those before it that do not.
    pub fn best() -> (Self, Vec<Self>) {
        let mut wrong = Vec::new();
        for unit in Self::available() {
            if unit.is_right() {
                return (unit, wrong);
            }
            wrong.push(unit);
        }
        (Unit::Plain, wrong)
    }

    /// What it is called.
    pub fn name(self) -> &'static str {
        match self {
            #[cfg(target_arch = "x86_64")]
            Unit::Amx => "AMX",
            #[cfg(target_arch = "x86_64")]
            Unit::Avx512Bf16 => "AVX-512-BF16",
            #[cfg(target_arch = "x86_64")]
            Unit::Avx512 => "AVX-512, widened to f32",
            Unit::Plain => "plain code",
        }
    }

    /// Does `work`, which computes blocks, with whatever they need set up on this thread.
    pub(super) fn prepared<T>(self, work: impl FnOnce() -> T) -> T {
        match self {
            // SAFETY: units come from `Unit::available`.
            #[cfg(target_arch = "x86_64")]
            Unit::Amx => unsafe { super::amx::with_tiles(work) },
            _ => work(),
        }
    }

    /// Computes a block.
    ///
    /// # Safety
    /// As [`Product::run`] says; inside [`Unit::prepared`], and the unit must come from [`Unit::available`].
    #[inline(always)]
    pub(super) unsafe fn run(self, block: &Block, sums: &mut Sums) {
        // SAFETY: the caller's promise.
        unsafe {
            match self {
                #[cfg(target_arch = "x86_64")]
                Unit::Amx => super::amx::Amx::run(block, sums),
                #[cfg(target_arch = "x86_64")]
                Unit::Avx512Bf16 => super::avx512::Avx512Bf16::run(block, sums),
                #[cfg(target_arch = "x86_64")]
                Unit::Avx512 => super::widened::Avx512::run(block, sums),
                Unit::Plain => Plain::run(block, sums),
            }
        }
    }

    /// Compares blocks of every size with sums in f64. What f32 sums may differ by is about 1e-6 of the sum of magnitudes.
    pub fn is_right(self) -> bool {
        const STEPS: usize = 3;
        // Two runs in rows that overlap, as those of a convolution do.
        let (left_row, runs) = (40, [3isize, 50]);
        let mut state = 1u64;
        let left = numbers(&mut state, left_row * 2 * TILE + 50 + STEPS * STEP);
        let right = numbers(&mut state, runs.len() * STEPS * 2 * RIGHT_TILE);
        let sizes = [(2, 2), (2, 1), (1, 2), (1, 1)];
        sizes.iter().all(|&(rows, columns)| {
            let (left, right) = (left.as_ptr(), right.as_ptr());
            let block = Block { left, left_row, runs: &runs, steps: STEPS, rows, right, columns, add: false };
            let mut sums = Sums::ZERO;
            // SAFETY: the matrices were made for the largest of the sizes.
            self.prepared(|| unsafe {
                self.run(&block, &mut sums);
                self.run(&Block { add: true, ..block }, &mut sums);
            });
            (0..rows * TILE).all(|row| (0..columns * TILE).all(|column| is_close(sums.0[row][column], &block, row, column)))
        })
    }
}

/// Whether `vdpbf16ps` does half as many multiplications a second as f32 instructions, as was measured on Sapphire Rapids: taken
/// to be so on all processors of this maker, whatever it measures at the moment, so that the choice is the same in every run.
#[cfg(target_arch = "x86_64")]
fn has_slow_dot_products() -> bool {
    let maker = std::arch::x86_64::__cpuid(0);
    [maker.ebx, maker.edx, maker.ecx].map(u32::to_le_bytes).as_flattened() == b"GenuineIntel"
}

/// Some bf16 values between -1 and 1.
fn numbers(state: &mut u64, count: usize) -> Vec<u16> {
    let next = || {
        *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        round((*state >> 40) as f32 / (1 << 23) as f32 - 1.0)
    };
    std::iter::repeat_with(next).take(count).collect()
}

/// Whether a sum is twice that of a block's row and column.
fn is_close(found: f32, block: &Block, row: usize, column: usize) -> bool {
    let (mut sum, mut magnitude) = (0.0, 0.0);
    for (r, run) in block.runs.iter().enumerate() {
        for k in 0..block.steps * STEP {
            let tile = (r * block.steps + k / STEP) * block.columns + column / TILE;
            // SAFETY: as in `Unit::is_right`.
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
    fn every_unit_multiplies_as_stated() {
        for unit in Unit::available() {
            assert!(unit.is_right(), "{unit:?}");
        }
        #[cfg(target_arch = "x86_64")]
        for unit in [Unit::Amx, Unit::Avx512Bf16, Unit::Avx512] {
            if !Unit::available().contains(&unit) {
                eprintln!("SKIPPED: this processor has no {}", unit.name());
            }
        }
    }
}
