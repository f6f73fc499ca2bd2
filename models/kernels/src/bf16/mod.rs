//! Convolutions with bf16 operands and f32 accumulation: feature maps and filters are rounded to bf16 when a convolution reads them,
//! everything else stays f32.
//!
//! bf16 is the upper half of an f32. Products of two bf16 values are exact in f32; sums run in f32, in an order that depends on shapes and
//! the instruction set alone, so that results have the same bits for any number of threads.
//!
//! Forward pass, backward-data and backward-weight are matrix products whose left rows are read in place from a padded copy of the feature
//! map (`layout.rs`), in blocks of 32 x 32 accumulators (`micro_kernel.rs`), with the best [`Bf16Isa`] of the processor.

#[cfg(target_arch = "x86_64")]
mod amx;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "x86_64")]
mod avx512_bf16;
#[cfg(target_arch = "x86_64")]
mod avx512_f32;
mod convolution;
mod isa;
mod layout;
mod matmul;
mod micro_kernel;
mod packed_filter;
mod transpose;
mod weight_gradient;

pub use convolution::{Bf16Convolution, WORKSPACE_BYTES, pays};
pub use isa::Bf16Isa;

use std::ops::{Deref, DerefMut};

use crate::scratch::{Buffer, Pool};

/// Rounds to the nearest bf16, ties to even. NaN stays NaN.
#[inline(always)]
pub fn round(value: f32) -> u16 {
    let bits = value.to_bits();
    let rounded = bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16;
    (if value.is_nan() { bits >> 16 | 0x40 } else { rounded }) as u16
}

/// Converts a bf16 to f32, exactly.
#[inline(always)]
pub fn widen(value: u16) -> f32 {
    f32::from_bits(u32::from(value) << 16)
}

/// Buffer of bf16 values in the f32 memory of a pool.
struct Bf16Buffer {
    buffer: Buffer,
    len: usize,
}

impl Bf16Buffer {
    /// Takes a buffer of `len` bf16 values with arbitrary contents from a pool.
    fn take(pool: &Pool, len: usize) -> Self {
        Self { buffer: pool.take(len.div_ceil(2)), len }
    }

    /// Returns the buffer to its pool.
    fn give(self, pool: &Pool) {
        pool.give(self.buffer);
    }
}

impl Deref for Bf16Buffer {
    type Target = [u16];
    fn deref(&self) -> &[u16] {
        // SAFETY: the buffer holds at least `len` values of two bytes, and every bit pattern is a valid u16.
        unsafe { std::slice::from_raw_parts(self.buffer.as_ptr().cast(), self.len) }
    }
}

impl DerefMut for Bf16Buffer {
    fn deref_mut(&mut self) -> &mut [u16] {
        // SAFETY: as above, and every bit pattern is a valid f32, too.
        unsafe { std::slice::from_raw_parts_mut(self.buffer.as_mut_ptr().cast(), self.len) }
    }
}

/// Pointer to bf16 values that several tasks write at the same time, each to values of its own.
#[derive(Clone, Copy)]
struct SharedBf16(*mut u16);
// SAFETY: the code that creates a `SharedBf16` guarantees that tasks write different values.
unsafe impl Send for SharedBf16 {}
// SAFETY: as above.
unsafe impl Sync for SharedBf16 {}

impl SharedBf16 {
    fn new(values: &mut [u16]) -> Self {
        Self(values.as_mut_ptr())
    }

    /// Returns the values `from..from + len`.
    ///
    /// # Safety
    /// The values must lie inside the slice, and no other task may use them.
    unsafe fn part<'a>(self, from: usize, len: usize) -> &'a mut [u16] {
        // SAFETY: the caller's contract.
        unsafe { std::slice::from_raw_parts_mut(self.0.add(from), len) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_is_to_nearest_with_ties_to_even() {
        for (value, expected) in [(1.0, 0x3f80), (-2.0, 0xc000), (0.0, 0), (f32::INFINITY, 0x7f80), (f32::MAX, 0x7f80)] {
            assert_eq!(round(value), expected, "{value}");
        }
        let between = |low: u16, sixteenths: u32| f32::from_bits((u32::from(low) << 16) + (sixteenths << 12));
        for (low, sixteenths, expected) in [(0x3f80, 8, 0x3f80), (0x3f81, 8, 0x3f82), (0x3f80, 9, 0x3f81), (0x3f81, 7, 0x3f81)] {
            assert_eq!(round(between(low, sixteenths)), expected);
        }
        assert!(widen(round(f32::NAN)).is_nan() && widen(round(f32::from_bits(0x7f80_0001))).is_nan());
    }
}
