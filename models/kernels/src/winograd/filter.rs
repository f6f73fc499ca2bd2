//! From weights to places and back, a row of six places at a time.

use super::matrices::{G, SIDE, of_filter, of_filter_row, to_filter};
use crate::simd::{F32x16, Work};

/// Taps of a 3x3 filter.
pub const TAPS: usize = 9;

/// Row `row` of `G g G^T` for `count` panels of sixteen output channels: `[place of the row][input][panel of the group][16]`.
pub struct OfFilter<'a> {
    /// `[panel][tap][input][16]`.
    pub panels: &'a [f32],
    pub inputs: usize,
    /// First panel and how many.
    pub panel: usize,
    pub count: usize,
    pub row: usize,
    /// Whether the filter is turned by half a turn, as backward-data needs it.
    pub turned: bool,
    /// Room for `6 * inputs * count * 16` values.
    pub out: *mut f32,
}

impl Work for OfFilter<'_> {
    #[inline(always)]
    unsafe fn run<L: F32x16>(self) {
        let width = self.count * 16;
        for n in 0..self.count {
            let panel = &self.panels[(self.panel + n) * TAPS * self.inputs * 16..][..TAPS * self.inputs * 16];
            for i in 0..self.inputs {
                // SAFETY: indices stay inside the panel; `out` has the stated length.
                unsafe {
                    let mut taps = [L::zero(); 3];
                    for b in 0..3 {
                        let mut column = [L::zero(); 3];
                        for a in 0..3 {
                            let tap = if self.turned { TAPS - 1 - (3 * a + b) } else { 3 * a + b };
                            column[a] = L::load(panel.as_ptr().add((tap * self.inputs + i) * 16));
                        }
                        taps[b] = of_filter_row(self.row, column);
                    }
                    let values = of_filter(taps);
                    for j in 0..SIDE {
                        values[j].store(self.out.add((j * self.inputs + i) * width + n * 16));
                    }
                }
            }
        }
    }
}

/// Adds to `G^T dU G` what row `row` of the places contributes.
pub struct ToFilter {
    /// `[place of the row][input][panel of the group][16]`.
    pub places: *const f32,
    pub inputs: usize,
    pub count: usize,
    pub row: usize,
    /// Whether nothing was added before, and old values are garbage.
    pub first: bool,
    /// First value of the first panel, `[panel][tap][input][16]`.
    pub out: *mut f32,
}

impl Work for ToFilter {
    #[inline(always)]
    unsafe fn run<L: F32x16>(self) {
        let width = self.count * 16;
        let factors = G[self.row];
        for n in 0..self.count {
            for i in 0..self.inputs {
                // SAFETY: lengths are those that the fields state.
                unsafe {
                    let mut values = [L::zero(); SIDE];
                    for j in 0..SIDE {
                        values[j] = L::load(self.places.add((j * self.inputs + i) * width + n * 16));
                    }
                    let taps = to_filter(values);
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
