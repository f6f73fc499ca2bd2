//! Convolutions of bf16 operands with f32 sums: maps and filters are rounded when a convolution reads them, everything else
//! stays f32.
//!
//! bf16 is the upper half of an f32. Products of two are exact in f32; sums run in f32, in an order that depends on shapes
//! alone. Every pass is a matrix product whose left rows are read straight from a padded copy of the map (`layout.rs`), by blocks
//! of 32 x 32 sums (`block.rs`) on whatever [`Unit`] the processor has.

#[cfg(target_arch = "x86_64")]
mod amx;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod block;
mod convolution;
mod filter;
mod layout;
mod positions;
mod transposed;
mod unit;
mod weight_gradient;
#[cfg(target_arch = "x86_64")]
mod widened;

pub use convolution::{Bf16Convolution, ROOM, pays};
pub use unit::Unit;

use std::ops::{Deref, DerefMut};

use crate::scratch::{Buffer, Pool};

/// The nearest bf16, of two the even one; what is no number stays none.
#[inline(always)]
pub fn round(value: f32) -> u16 {
    let bits = value.to_bits();
    let rounded = bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16;
    (if value.is_nan() { bits >> 16 | 0x40 } else { rounded }) as u16
}

/// The value of a bf16.
#[inline(always)]
pub fn widen(value: u16) -> f32 {
    f32::from_bits(u32::from(value) << 16)
}

/// bf16 values in the memory of a pool.
struct Halves {
    buffer: Buffer,
    len: usize,
}

impl Halves {
    /// Room for `len` values with arbitrary contents.
    fn take(pool: &Pool, len: usize) -> Self {
        Self { buffer: pool.take(len.div_ceil(2)), len }
    }

    fn give(self, pool: &Pool) {
        pool.give(self.buffer);
    }
}

impl Deref for Halves {
    type Target = [u16];
    fn deref(&self) -> &[u16] {
        // SAFETY: the buffer has room for `len` values of two bytes, whose every pattern of bits is one.
        unsafe { std::slice::from_raw_parts(self.buffer.as_ptr().cast(), self.len) }
    }
}

impl DerefMut for Halves {
    fn deref_mut(&mut self) -> &mut [u16] {
        // SAFETY: as above; every pattern of bits is an f32 too.
        unsafe { std::slice::from_raw_parts_mut(self.buffer.as_mut_ptr().cast(), self.len) }
    }
}

/// A place for bf16 values that several tasks write to, each to values of its own.
#[derive(Clone, Copy)]
struct SharedHalves(*mut u16);
// SAFETY: whoever makes one promises that tasks write to different values.
unsafe impl Send for SharedHalves {}
// SAFETY: as above.
unsafe impl Sync for SharedHalves {}

impl SharedHalves {
    fn new(values: &mut [u16]) -> Self {
        Self(values.as_mut_ptr())
    }

    /// Some of the values.
    ///
    /// # Safety
    /// They lie inside the slice, and no other task uses them.
    unsafe fn part<'a>(self, from: usize, len: usize) -> &'a mut [u16] {
        // SAFETY: the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.0.add(from), len) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_is_to_the_nearest_and_of_two_to_the_even_one() {
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
