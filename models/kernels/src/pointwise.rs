//! 1x1 convolutions of pixels that lie side by side, finished while their sums are in registers.

use std::marker::PhantomData;

use super::epilogue::Epilogue;
use super::panels::{self, WIDTH};
use super::simd::{F32x16, Work};

/// A 1x1 convolution with its weights, and what comes after it.
#[derive(Clone, Copy)]
pub struct Pointwise<'a> {
    /// `[panel][input][16]`, see [`panels`].
    pub panels: &'a [f32],
    /// Values of a pixel of the source.
    pub inputs: usize,
    /// Values of a pixel of the result, a multiple of 16.
    pub outputs: usize,
    /// What comes after it.
    pub finish: Epilogue<'a>,
}

/// Values of a pixel before the first behind which all weights are zero: channels that only fill a pixel up are not read.
pub fn used(panels: &[f32], inputs: usize) -> usize {
    let rows = panels.chunks_exact(WIDTH).enumerate().filter(|(_, row)| row.iter().any(|v| *v != 0.0));
    rows.map(|(i, _)| i % inputs + 1).max().unwrap_or(0)
}

/// [`Pointwise`] of some pixels.
pub(crate) struct Pixels<'a> {
    pub conv: Pointwise<'a>,
    /// Values of a pixel that are summed, the first ones; the others have no weight.
    pub used: usize,
    /// `count` pixels of `conv.inputs` values each.
    pub source: &'a [f32],
    pub count: usize,
    /// Where the first pixel's result begins in `out`.
    pub at: usize,
    /// Room for the pixels' results from `at` on.
    pub out: *mut f32,
}

impl Work for Pixels<'_> {
    #[inline(always)]
    unsafe fn run<L: F32x16>(self) {
        let Pointwise { panels, inputs, outputs, .. } = self.conv;
        assert!(outputs.is_multiple_of(WIDTH) && self.used <= inputs && self.source.len() >= self.count * inputs);
        assert_eq!(panels.len(), panels::len(outputs, inputs, 1));
        let panels = outputs / WIDTH;
        // SAFETY: lengths were checked; `out` has room, which is the caller's promise.
        unsafe {
            let mut panel = 0;
            while L::WIDE && panel + 2 <= panels {
                Panels::<L, 2>(&self, panel, PhantomData).all::<12>();
                panel += 2;
            }
            while panel < panels {
                if L::WIDE {
                    Panels::<L, 1>(&self, panel, PhantomData).all::<12>();
                } else {
                    Panels::<L, 1>(&self, panel, PhantomData).all::<6>();
                }
                panel += 1;
            }
        }
    }
}

/// `N` panels from one of them on.
struct Panels<'a, L, const N: usize>(&'a Pixels<'a>, usize, PhantomData<L>);

impl<L: F32x16, const N: usize> Panels<'_, L, N> {
    /// All pixels, `M` at a time; the last ones once more where they do not come out even, with the same results.
    #[inline(always)]
    unsafe fn all<const M: usize>(&self) {
        let count = self.0.count;
        // SAFETY: pixels stay below `count`.
        unsafe {
            for pixel in (0..count / M).map(|block| block * M) {
                self.block::<M>(pixel);
            }
            if count >= M && !count.is_multiple_of(M) {
                self.block::<M>(count - M);
            }
            for pixel in if count < M { 0..count } else { 0..0 } {
                self.block::<1>(pixel);
            }
        }
    }

    #[inline(always)]
    unsafe fn block<const M: usize>(&self, pixel: usize) {
        let Pixels { conv, used, source, at, out, .. } = *self.0;
        let panel_len = conv.inputs * WIDTH;
        // SAFETY: `Pixels::run` checked the lengths; pixels are below `count`.
        unsafe {
            let from = source.as_ptr().add(pixel * conv.inputs);
            let weights = conv.panels.as_ptr().add(self.1 * panel_len);
            let mut sums = [[L::zero(); N]; M];
            for k in 0..used {
                let mut b = [L::zero(); N];
                for n in 0..N {
                    b[n] = L::load(weights.add(n * panel_len + k * WIDTH));
                }
                for m in 0..M {
                    let a = L::splat(from.add(m * conv.inputs + k));
                    for n in 0..N {
                        sums[m][n] = sums[m][n].plus_product(a, b[n]);
                    }
                }
            }
            for m in 0..M {
                for n in 0..N {
                    let channel = (self.1 + n) * WIDTH;
                    let at = at + (pixel + m) * conv.outputs + channel;
                    conv.finish.lanes(sums[m][n], channel, at).store(out.add(at));
                }
            }
        }
    }
}
