//! Batch normalisation (Ioffe, Szegedy, ICML 2015) of feature maps `[pixel][channel]`, fused with residual addition and activation.
//!
//! Statistics are summed over all pixels of the batch: 64 pixels at a time in f32, then in f64, then over tasks of a fixed number of
//! pixels in ascending order. Results have the same bits for any number of threads.

mod backward;

use rayon::prelude::*;

use super::scratch::SharedMut;
use crate::epilogue::Activation;
use crate::simd::{F32x16, Isa, SimdKernel, run_on};
pub use backward::{ActivationMask, ForwardPass, backward, gain_and_offset};

/// Number of pixels per task: fixed, so that sums do not depend on the number of threads.
const PIXELS_PER_TASK: usize = 2048;
/// Number of pixels that are summed in f32 before they are added to the f64 totals; their values fit the L1 cache.
const PIXELS_PER_F32_SUM: usize = 64;

/// Two values for each channel of a pixel that are summed over pixels.
trait PairReduction: Sync {
    /// Returns both values for the channels `c..c + 16`, stored from index `at` on.
    ///
    /// # Safety
    /// The processor must have the instruction set of `L`; sixteen channels must follow.
    unsafe fn vector<L: F32x16>(&self, at: usize, c: usize) -> [L; 2];
    /// Returns both values for channel `c`, stored at index `at`.
    fn scalar(&self, at: usize, c: usize) -> [f32; 2];
}

/// Sums of a [`PairReduction`] over some pixels.
struct PartialSums<'a, P> {
    reduction: &'a P,
    pixels: std::ops::Range<usize>,
    channels: usize,
    total: &'a mut [Vec<f64>; 2],
}

impl<P: PairReduction> SimdKernel for PartialSums<'_, P> {
    #[inline(always)]
    unsafe fn run<L: F32x16>(self) {
        let whole = self.channels / 16 * 16;
        for from in self.pixels.clone().step_by(PIXELS_PER_F32_SUM) {
            let pixels = from..(from + PIXELS_PER_F32_SUM).min(self.pixels.end);
            for c in (0..whole).step_by(16) {
                // SAFETY: pixels and channels lie inside the feature maps of the reduction.
                let sums = unsafe {
                    let mut sums = [L::zero(); 2];
                    for pixel in pixels.clone() {
                        let values = self.reduction.vector::<L>(pixel * self.channels + c, c);
                        sums = [sums[0].plus(values[0]), sums[1].plus(values[1])];
                    }
                    let mut out = [[0.0f32; 16]; 2];
                    sums[0].store(out[0].as_mut_ptr());
                    sums[1].store(out[1].as_mut_ptr());
                    out
                };
                for (total, sums) in self.total.iter_mut().zip(sums) {
                    total[c..c + 16].iter_mut().zip(sums).for_each(|(total, sum)| *total += f64::from(sum));
                }
            }
            for c in whole..self.channels {
                let values = pixels.clone().map(|pixel| self.reduction.scalar(pixel * self.channels + c, c));
                let sums = values.fold([0.0f32; 2], |sum, v| [sum[0] + v[0], sum[1] + v[1]]);
                self.total[0][c] += f64::from(sums[0]);
                self.total[1][c] += f64::from(sums[1]);
            }
        }
    }
}

/// Sums both values of a reduction over all pixels, for each channel.
fn reduce_pairs(isa: Isa, pixels: usize, channels: usize, reduction: &impl PairReduction) -> [Vec<f64>; 2] {
    let tasks: Vec<[Vec<f64>; 2]> = (0..pixels.div_ceil(PIXELS_PER_TASK))
        .into_par_iter()
        .map(|task| {
            let pixels = task * PIXELS_PER_TASK..((task + 1) * PIXELS_PER_TASK).min(pixels);
            let mut total = [vec![0.0f64; channels], vec![0.0f64; channels]];
            run_on(isa, PartialSums { reduction, pixels, channels, total: &mut total });
            total
        })
        .collect();
    let mut sum = [vec![0.0; channels], vec![0.0; channels]];
    for task in tasks {
        for (sum, part) in sum.iter_mut().zip(task) {
            sum.iter_mut().zip(part).for_each(|(s, v)| *s += v);
        }
    }
    sum
}

/// Deviation of each value from the shift of its channel, and the square of the deviation.
struct Deviations<'a> {
    x: &'a [f32],
    shift: &'a [f32],
}

impl PairReduction for Deviations<'_> {
    #[inline(always)]
    unsafe fn vector<L: F32x16>(&self, at: usize, c: usize) -> [L; 2] {
        // SAFETY: the caller's contract: sixteen channels of a pixel.
        unsafe {
            let d = L::load(self.x.as_ptr().add(at)).minus(L::load(self.shift.as_ptr().add(c)));
            [d, d.times(d)]
        }
    }
    fn scalar(&self, at: usize, c: usize) -> [f32; 2] {
        let d = self.x[at] - self.shift[c];
        [d, d * d]
    }
}

/// Returns the mean and the biased variance of each channel over all pixels.
pub fn moments(isa: Isa, x: &[f32], channels: usize) -> (Vec<f64>, Vec<f64>) {
    let count = (x.len() / channels) as f64;
    // Deviations are taken from the first pixel, because a mean far from zero would cancel the digits of the variance.
    let shift = &x[..channels];
    let [sum, squares] = reduce_pairs(isa, x.len() / channels, channels, &Deviations { x, shift });
    let mean: Vec<f64> = sum.iter().zip(shift).map(|(sum, s)| sum / count + f64::from(*s)).collect();
    let variance = sum.iter().zip(&squares).map(|(sum, square)| (square / count - (sum / count).powi(2)).max(0.0)).collect();
    (mean, variance)
}

/// Operation on each value of a feature map, given its index `at` and its channel `c`.
trait Elementwise: Sync {
    /// Computes the channels `c..c + 16`, stored from index `at` on.
    ///
    /// # Safety
    /// The processor must have the instruction set of `L`; sixteen channels must follow, and no other task may write them.
    unsafe fn vector<L: F32x16>(&self, at: usize, c: usize);
    /// Computes channel `c`, stored at index `at`.
    ///
    /// # Safety
    /// No other task may write the value.
    unsafe fn scalar(&self, at: usize, c: usize);
}

/// An [`Elementwise`] operation on some pixels.
struct ElementwiseTask<'a, E> {
    operation: &'a E,
    pixels: std::ops::Range<usize>,
    channels: usize,
}

impl<E: Elementwise> SimdKernel for ElementwiseTask<'_, E> {
    #[inline(always)]
    unsafe fn run<L: F32x16>(self) {
        let whole = self.channels / 16 * 16;
        for pixel in self.pixels {
            let at = pixel * self.channels;
            // SAFETY: pixels and channels lie inside the feature maps; tasks have different pixels.
            unsafe {
                for c in (0..whole).step_by(16) {
                    self.operation.vector::<L>(at + c, c);
                }
                for c in whole..self.channels {
                    self.operation.scalar(at + c, c);
                }
            }
        }
    }
}

/// Applies an operation to all pixels.
fn apply(isa: Isa, pixels: usize, channels: usize, operation: &impl Elementwise) {
    (0..pixels.div_ceil(PIXELS_PER_TASK)).into_par_iter().for_each(|task| {
        let pixels = task * PIXELS_PER_TASK..((task + 1) * PIXELS_PER_TASK).min(pixels);
        run_on(isa, ElementwiseTask { operation, pixels, channels });
    });
}

/// `y = clamp(x * gain + offset + residual, low, high)`.
struct Affine<'a, const RESIDUAL: bool> {
    x: &'a [f32],
    residual: &'a [f32],
    gain: &'a [f32],
    offset: &'a [f32],
    /// Bounds of the activation.
    low: f32,
    high: f32,
    y: SharedMut,
}

impl<const RESIDUAL: bool> Elementwise for Affine<'_, RESIDUAL> {
    #[inline(always)]
    unsafe fn vector<L: F32x16>(&self, at: usize, c: usize) {
        // SAFETY: all feature maps have the same shape; the caller guarantees sixteen channels of a pixel.
        unsafe {
            let (x, gain) = (L::load(self.x.as_ptr().add(at)), L::load(self.gain.as_ptr().add(c)));
            let mut y = L::load(self.offset.as_ptr().add(c)).plus_product(x, gain);
            if RESIDUAL {
                y = y.plus(L::load(self.residual.as_ptr().add(at)));
            }
            y.larger(L::splat(&raw const self.low)).smaller(L::splat(&raw const self.high)).store(self.y.get().add(at));
        }
    }
    unsafe fn scalar(&self, at: usize, c: usize) {
        let y = self.x[at] * self.gain[c] + self.offset[c] + if RESIDUAL { self.residual[at] } else { 0.0 };
        // SAFETY: as above.
        unsafe { *self.y.get().add(at) = y.max(self.low).min(self.high) };
    }
}

/// Applies a folded normalisation: `y = activation(x * gain + offset + residual)`, with `gain` and `offset` for each channel.
pub fn affine(isa: Isa, x: &[f32], residual: Option<&[f32]>, [gain, offset]: [&[f32]; 2], activation: Activation, y: &mut [f32]) {
    let channels = gain.len();
    assert!(x.len() == y.len() && residual.is_none_or(|residual| residual.len() == x.len()) && offset.len() == channels);
    let [low, high] = activation.range();
    let (pixels, y) = (x.len() / channels, SharedMut::new(y));
    match residual {
        Some(residual) => apply(isa, pixels, channels, &Affine::<true> { x, residual, gain, offset, low, high, y }),
        None => apply(isa, pixels, channels, &Affine::<false> { x, residual: &[], gain, offset, low, high, y }),
    }
}
