//! Pointwise (1x1) convolution of a few contiguous pixels, with the epilogue applied in registers: the first and last layer of an inverted
//! residual block.

use std::marker::PhantomData;

use super::panels::{self, WIDTH};
use crate::epilogue::Epilogue;
use crate::simd::{F32x16, SimdKernel};

/// A 1x1 convolution: `out[p][o] = epilogue(sum over channels i of source[p][i] * weight[o][i])`, summed in ascending order of `i`.
#[derive(Clone, Copy)]
pub struct Pointwise<'a> {
    /// Packed weights, `[panel][input][16]`, see [`panels`].
    pub panels: &'a [f32],
    /// Number of values in a source pixel, padding included.
    pub inputs: usize,
    /// Number of values in an output pixel, a multiple of 16.
    pub outputs: usize,
    /// Operations on every output pixel.
    pub epilogue: Epilogue<'a>,
}

/// Returns the number of leading input channels up to the last one with a nonzero weight, so that padding channels need not be read.
pub fn used_inputs(panels: &[f32], inputs: usize) -> usize {
    let rows = panels.chunks_exact(WIDTH).enumerate().filter(|(_, row)| row.iter().any(|v| *v != 0.0));
    rows.map(|(i, _)| i % inputs + 1).max().unwrap_or(0)
}

/// A [`Pointwise`] convolution of some contiguous pixels.
pub(crate) struct PixelBlock<'a> {
    pub conv: Pointwise<'a>,
    /// Number of leading channels of a source pixel that are summed, see [`used_inputs`].
    pub used_inputs: usize,
    /// `[pixel][conv.inputs]`, `count` pixels.
    pub source: &'a [f32],
    pub count: usize,
    /// Index in `out` of the first pixel's first value.
    pub at: usize,
    /// Output, which must have room for `count` pixels from `at` on.
    pub out: *mut f32,
}

impl SimdKernel for PixelBlock<'_> {
    #[inline(always)]
    unsafe fn run<L: F32x16>(self) {
        let Pointwise { panels, inputs, outputs, .. } = self.conv;
        assert!(outputs.is_multiple_of(WIDTH) && self.used_inputs <= inputs && self.source.len() >= self.count * inputs);
        assert_eq!(panels.len(), panels::len(outputs, inputs, 1));
        let panels = outputs / WIDTH;
        // SAFETY: lengths were checked; the caller guarantees the room in `out`.
        unsafe {
            let mut panel = 0;
            while L::WIDE && panel + 2 <= panels {
                PanelBlock::<L, 2>(&self, panel, PhantomData).all_pixels::<12>();
                panel += 2;
            }
            while panel < panels {
                if L::WIDE {
                    PanelBlock::<L, 1>(&self, panel, PhantomData).all_pixels::<12>();
                } else {
                    PanelBlock::<L, 1>(&self, panel, PhantomData).all_pixels::<6>();
                }
                panel += 1;
            }
        }
    }
}

/// `N` panels, from the panel of the second field on.
struct PanelBlock<'a, L, const N: usize>(&'a PixelBlock<'a>, usize, PhantomData<L>);

impl<L: F32x16, const N: usize> PanelBlock<'_, L, N> {
    /// Computes all pixels in register blocks of `M`. A last, partial block is moved back to `M` whole pixels, some of which are computed
    /// twice with the same results.
    #[inline(always)]
    unsafe fn all_pixels<const M: usize>(&self) {
        let count = self.0.count;
        // SAFETY: pixels stay below `count`.
        unsafe {
            for pixel in (0..count / M).map(|block| block * M) {
                self.micro_kernel::<M>(pixel);
            }
            if count >= M && !count.is_multiple_of(M) {
                self.micro_kernel::<M>(count - M);
            }
            for pixel in if count < M { 0..count } else { 0..0 } {
                self.micro_kernel::<1>(pixel);
            }
        }
    }

    /// Computes `M` pixels x `N` panels in registers and stores them through the epilogue.
    #[inline(always)]
    unsafe fn micro_kernel<const M: usize>(&self, pixel: usize) {
        let PixelBlock { conv, used_inputs, source, at, out, .. } = *self.0;
        let panel_len = conv.inputs * WIDTH;
        // SAFETY: `PixelBlock::run` checked the lengths; pixels are below `count`.
        unsafe {
            let from = source.as_ptr().add(pixel * conv.inputs);
            let weights = conv.panels.as_ptr().add(self.1 * panel_len);
            let mut sums = [[L::zero(); N]; M];
            for k in 0..used_inputs {
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
                    conv.epilogue.apply_vector(sums[m][n], channel, at).store(out.add(at));
                }
            }
        }
    }
}
