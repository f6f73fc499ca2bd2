//! Batch normalisation over `[pixel][channel]`, fused with what is added behind it and the ReLU that follows.

mod backward;

use rayon::prelude::*;

use super::epilogue::Activation;
use super::scratch::Shared;
use super::simd::{F32x16, Isa, Work, run_on};
pub use backward::{ActivationMask, Point, backward, line};

/// Pixels that one task handles: a fixed number, so that sums do not depend on the number of threads.
const PIXELS_PER_TASK: usize = 2048;
/// Pixels summed in f32 before they join the f64 totals; what is handled at a time stays in the first-level cache.
const PIXELS_PER_F32_SUM: usize = 64;

/// Two values for each of sixteen (or one) channels of a pixel, to be summed over pixels.
trait Pair: Sync {
    /// Of channels `c..c + 16`, whose values begin at `at`.
    unsafe fn lanes<L: F32x16>(&self, at: usize, c: usize) -> [L; 2];
    /// Of one channel.
    fn one(&self, at: usize, c: usize) -> [f32; 2];
}

/// Sums of some pixels.
struct Part<'a, P> {
    pair: &'a P,
    pixels: std::ops::Range<usize>,
    channels: usize,
    total: &'a mut [Vec<f64>; 2],
}

impl<P: Pair> Work for Part<'_, P> {
    #[inline(always)]
    unsafe fn run<L: F32x16>(self) {
        let whole = self.channels / 16 * 16;
        for from in self.pixels.clone().step_by(PIXELS_PER_F32_SUM) {
            let pixels = from..(from + PIXELS_PER_F32_SUM).min(self.pixels.end);
            for c in (0..whole).step_by(16) {
                // SAFETY: pixels and channels are inside the maps that the pair holds.
                let sums = unsafe {
                    let mut sums = [L::zero(); 2];
                    for pixel in pixels.clone() {
                        let values = self.pair.lanes::<L>(pixel * self.channels + c, c);
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
                let values = pixels.clone().map(|pixel| self.pair.one(pixel * self.channels + c, c));
                let sums = values.fold([0.0f32; 2], |sum, v| [sum[0] + v[0], sum[1] + v[1]]);
                self.total[0][c] += f64::from(sums[0]);
                self.total[1][c] += f64::from(sums[1]);
            }
        }
    }
}

fn sum_pairs(isa: Isa, pixels: usize, channels: usize, pair: &impl Pair) -> [Vec<f64>; 2] {
    let tasks: Vec<[Vec<f64>; 2]> = (0..pixels.div_ceil(PIXELS_PER_TASK))
        .into_par_iter()
        .map(|task| {
            let pixels = task * PIXELS_PER_TASK..((task + 1) * PIXELS_PER_TASK).min(pixels);
            let mut total = [vec![0.0f64; channels], vec![0.0f64; channels]];
            run_on(isa, Part { pair, pixels, channels, total: &mut total });
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

/// Deviations from a shift, and their squares.
struct Deviation<'a> {
    x: &'a [f32],
    shift: &'a [f32],
}

impl Pair for Deviation<'_> {
    #[inline(always)]
    unsafe fn lanes<L: F32x16>(&self, at: usize, c: usize) -> [L; 2] {
        // SAFETY: sixteen channels of a pixel.
        unsafe {
            let d = L::load(self.x.as_ptr().add(at)).minus(L::load(self.shift.as_ptr().add(c)));
            [d, d.times(d)]
        }
    }
    fn one(&self, at: usize, c: usize) -> [f32; 2] {
        let d = self.x[at] - self.shift[c];
        [d, d * d]
    }
}

/// Mean and biased variance of each channel.
pub fn moments(isa: Isa, x: &[f32], channels: usize) -> (Vec<f64>, Vec<f64>) {
    let count = (x.len() / channels) as f64;
    // Sums of squares are taken around the first pixel, or a mean far from zero would eat the variance's digits.
    let shift = &x[..channels];
    let [sum, squares] = sum_pairs(isa, x.len() / channels, channels, &Deviation { x, shift });
    let mean: Vec<f64> = sum.iter().zip(shift).map(|(sum, s)| sum / count + f64::from(*s)).collect();
    let variance = sum.iter().zip(&squares).map(|(sum, square)| (square / count - (sum / count).powi(2)).max(0.0)).collect();
    (mean, variance)
}

/// Something computed for every value of a map, given its place and its channel.
trait Each: Sync {
    unsafe fn lanes<L: F32x16>(&self, at: usize, c: usize);
    unsafe fn one(&self, at: usize, c: usize);
}

struct Some16<'a, E> {
    each: &'a E,
    pixels: std::ops::Range<usize>,
    channels: usize,
}

impl<E: Each> Work for Some16<'_, E> {
    #[inline(always)]
    unsafe fn run<L: F32x16>(self) {
        let whole = self.channels / 16 * 16;
        for pixel in self.pixels {
            let at = pixel * self.channels;
            // SAFETY: pixels and channels are inside the maps; tasks have different pixels.
            unsafe {
                for c in (0..whole).step_by(16) {
                    self.each.lanes::<L>(at + c, c);
                }
                for c in whole..self.channels {
                    self.each.one(at + c, c);
                }
            }
        }
    }
}

fn for_each(isa: Isa, pixels: usize, channels: usize, each: &impl Each) {
    (0..pixels.div_ceil(PIXELS_PER_TASK)).into_par_iter().for_each(|task| {
        let pixels = task * PIXELS_PER_TASK..((task + 1) * PIXELS_PER_TASK).min(pixels);
        run_on(isa, Some16 { each, pixels, channels });
    });
}

struct Affine<'a, const PLUS: bool> {
    x: &'a [f32],
    plus: &'a [f32],
    gain: &'a [f32],
    offset: &'a [f32],
    /// What values are cut off to.
    low: f32,
    high: f32,
    y: Shared,
}

impl<const PLUS: bool> Each for Affine<'_, PLUS> {
    #[inline(always)]
    unsafe fn lanes<L: F32x16>(&self, at: usize, c: usize) {
        // SAFETY: all maps have the same shape; sixteen channels of a pixel.
        unsafe {
            let (x, gain) = (L::load(self.x.as_ptr().add(at)), L::load(self.gain.as_ptr().add(c)));
            let mut y = L::load(self.offset.as_ptr().add(c)).plus_product(x, gain);
            if PLUS {
                y = y.plus(L::load(self.plus.as_ptr().add(at)));
            }
            y.larger(L::splat(&raw const self.low)).smaller(L::splat(&raw const self.high)).store(self.y.get().add(at));
        }
    }
    unsafe fn one(&self, at: usize, c: usize) {
        let y = self.x[at] * self.gain[c] + self.offset[c] + if PLUS { self.plus[at] } else { 0.0 };
        // SAFETY: as above.
        unsafe { *self.y.get().add(at) = y.max(self.low).min(self.high) };
    }
}

/// `x * gain + offset + plus` per channel, then the activation.
pub fn affine(isa: Isa, x: &[f32], plus: Option<&[f32]>, [gain, offset]: [&[f32]; 2], activation: Activation, y: &mut [f32]) {
    let channels = gain.len();
    assert!(x.len() == y.len() && plus.is_none_or(|plus| plus.len() == x.len()) && offset.len() == channels);
    let [low, high] = activation.range();
    let (pixels, y) = (x.len() / channels, Shared::new(y));
    match plus {
        Some(plus) => for_each(isa, pixels, channels, &Affine::<true> { x, plus, gain, offset, low, high, y }),
        None => for_each(isa, pixels, channels, &Affine::<false> { x, plus: &[], gain, offset, low, high, y }),
    }
}
