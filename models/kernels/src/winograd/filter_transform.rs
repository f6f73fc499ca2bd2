//! Winograd filter transform `U = G g G^T` and its adjoint `dg = G^T dU G`, one row of six coefficients at a time.

use super::matrices::{G, INPUT_TILE, filter_gradient_transform, filter_transform, filter_transform_row};
use crate::simd::{F32x16, SimdKernel};

/// Number of taps of a 3x3 kernel.
pub const TAPS: usize = 9;

/// Transform of `count` panels to row `row` of `G g G^T`: `[coefficient of the row][input][panel of the group][16]`.
pub struct FilterTransform<'a> {
    /// Packed filter, `[panel][tap][input][16]`.
    pub panels: &'a [f32],
    pub inputs: usize,
    /// First panel and number of panels.
    pub panel: usize,
    pub count: usize,
    pub row: usize,
    /// Rotates the kernel by 180 degrees, as backward-data needs it.
    pub rotated: bool,
    /// Destination of `6 * inputs * count * 16` values.
    pub out: *mut f32,
}

impl SimdKernel for FilterTransform<'_> {
    #[inline(always)]
    unsafe fn run<L: F32x16>(self) {
        let width = self.count * 16;
        for n in 0..self.count {
            let panel = &self.panels[(self.panel + n) * TAPS * self.inputs * 16..][..TAPS * self.inputs * 16];
            for i in 0..self.inputs {
                // SAFETY: indexes stay inside the panel; `out` has the length that its field states.
                unsafe {
                    let mut taps = [L::zero(); 3];
                    for b in 0..3 {
                        let mut column = [L::zero(); 3];
                        for a in 0..3 {
                            let tap = if self.rotated { TAPS - 1 - (3 * a + b) } else { 3 * a + b };
                            column[a] = L::load(panel.as_ptr().add((tap * self.inputs + i) * 16));
                        }
                        taps[b] = filter_transform_row(self.row, column);
                    }
                    let values = filter_transform(taps);
                    for j in 0..INPUT_TILE {
                        values[j].store(self.out.add((j * self.inputs + i) * width + n * 16));
                    }
                }
            }
        }
    }
}

/// Adds the contribution of row `row` of the coefficients to `G^T dU G`.
pub struct FilterGradientTransform {
    /// Gradient `dU` of the row, `[coefficient of the row][input][panel of the group][16]`.
    pub coefficients: *const f32,
    pub inputs: usize,
    pub count: usize,
    pub row: usize,
    /// Overwrites the destination if true; adds to it otherwise.
    pub first: bool,
    /// First value of the first panel of the gradient, `[panel][tap][input][16]`.
    pub out: *mut f32,
}

impl SimdKernel for FilterGradientTransform {
    #[inline(always)]
    unsafe fn run<L: F32x16>(self) {
        let width = self.count * 16;
        let factors = G[self.row];
        for n in 0..self.count {
            for i in 0..self.inputs {
                // SAFETY: source and destination have the lengths that their fields state.
                unsafe {
                    let mut values = [L::zero(); INPUT_TILE];
                    for j in 0..INPUT_TILE {
                        values[j] = L::load(self.coefficients.add((j * self.inputs + i) * width + n * 16));
                    }
                    let taps = filter_gradient_transform(values);
                    for a in 0..3 {
                        let factor = L::splat(&raw const factors[a]);
                        for b in 0..3 {
                            let target = self.out.add(((n * TAPS + 3 * a + b) * self.inputs + i) * 16);
                            let old = if self.first { L::zero() } else { L::load(target) };
                            old.plus_product(factor, taps[b]).store(target);
                        }
                    }
                }
            }
        }
    }
}
