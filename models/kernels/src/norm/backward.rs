//! Gradients of batch normalisation, through the activation behind it.

use super::{Each, Pair, for_each, sum_pairs};
use crate::scratch::Shared;
use crate::simd::{F32x16, Isa};

/// What the backward pass gives.
pub struct Gradients {
    /// At the scale.
    pub dscale: Vec<f32>,
    /// At the shift.
    pub dshift: Vec<f32>,
}

/// What decides which gradients pass.
#[derive(Clone, Copy)]
pub enum ActivationMask<'a> {
    /// No activation: all of them.
    Open,
    /// An activation of the result, which is computed again: that is cheaper than reading it. Below its ceiling gradients pass.
    Own(f32),
    /// An activation behind the addition of something else: its output is this, then its ceiling.
    Output(&'a [f32], f32),
}

/// `gain` and `offset` such that `x * gain + offset` is the normalisation of `x`.
pub fn line(scale: &[f32], shift: &[f32], mean: &[f64], inverse_std: &[f64]) -> [Vec<f32>; 2] {
    let gain: Vec<f64> = inverse_std.iter().zip(scale).map(|(i, s)| i * f64::from(*s)).collect();
    let offset = gain.iter().zip(shift).zip(mean).map(|((g, s), m)| (f64::from(*s) - g * m) as f32).collect();
    [gain.into_iter().map(|g| g as f32).collect(), offset]
}

/// Where a normalisation stood in the forward pass.
pub struct Point<'a> {
    /// Its input.
    pub x: &'a [f32],
    /// What is fused behind it.
    pub gate: ActivationMask<'a>,
    /// Scale of each channel.
    pub scale: &'a [f32],
    /// Shift of each channel.
    pub shift: &'a [f32],
    /// Mean that was used.
    pub mean: &'a [f64],
    /// 1 / sqrt(variance + eps) that was used.
    pub inverse_std: &'a [f64],
    /// Whether mean and variance were the batch's own, so that gradients flow through them.
    pub batch_statistics: bool,
}

/// Gradients of batch normalisation (Ioffe, Szegedy, 2015, section 3), through the fused ReLU. `dx` is overwritten, and so is
/// `dplus` by the gradient behind the ReLU, which an added map gets.
pub fn backward(isa: Isa, point: &Point, dy: &[f32], dx: &mut [f32], dplus: Option<&mut [f32]>) -> Gradients {
    assert!(dx.len() == point.x.len() && dy.len() == dx.len());
    assert!(dplus.as_ref().is_none_or(|dplus| dplus.len() == dx.len()));
    match (point.gate, dplus) {
        (ActivationMask::Open, None) => through::<OPEN, false>(isa, point, &[], dy, dx, &mut []),
        (ActivationMask::Open, Some(dplus)) => through::<OPEN, true>(isa, point, &[], dy, dx, dplus),
        (ActivationMask::Own(_), None) => through::<OWN, false>(isa, point, &[], dy, dx, &mut []),
        (ActivationMask::Own(_), Some(dplus)) => through::<OWN, true>(isa, point, &[], dy, dx, dplus),
        (ActivationMask::Output(y, _), None) => through::<OUTPUT, false>(isa, point, y, dy, dx, &mut []),
        (ActivationMask::Output(y, _), Some(dplus)) => through::<OUTPUT, true>(isa, point, y, dy, dx, dplus),
    }
}

/// Kinds of [`ActivationMask`], for code that is compiled for each.
const OPEN: u8 = 0;
const OWN: u8 = 1;
const OUTPUT: u8 = 2;

/// `dx = gain (d - a - (x - mean) b)`, where `d` is `dy` behind the activation.
struct Line<'a, const GATE: u8, const PLUS: bool> {
    x: &'a [f32],
    y: &'a [f32],
    dy: &'a [f32],
    mean: Vec<f32>,
    gain: Vec<f32>,
    offset: Vec<f32>,
    a: Vec<f32>,
    b: Vec<f32>,
    ceiling: f32,
    dx: Shared,
    dplus: Shared,
}

fn through<const GATE: u8, const PLUS: bool>(
    isa: Isa,
    point: &Point,
    y: &[f32],
    dy: &[f32],
    dx: &mut [f32],
    dplus: &mut [f32],
) -> Gradients {
    let channels = point.scale.len();
    let pixels = point.x.len() / channels;
    assert!(GATE != OUTPUT || y.len() == point.x.len());
    let [gain, offset] = line(point.scale, point.shift, point.mean, point.inverse_std);
    let mean = point.mean.iter().map(|v| *v as f32).collect();
    let (dx, dplus) = (Shared::new(dx), Shared::new(dplus));
    let ceiling = match point.gate {
        ActivationMask::Open => f32::INFINITY,
        ActivationMask::Own(ceiling) | ActivationMask::Output(_, ceiling) => ceiling,
    };
    let (a, b) = (vec![0.0; channels], vec![0.0; channels]);
    let mut line = Line::<GATE, PLUS> { x: point.x, y, dy, mean, gain, offset, a, b, ceiling, dx, dplus };
    let [sum_dy, sum_dy_x] = sum_pairs(isa, pixels, channels, &line);
    let dscale: Vec<f64> = sum_dy_x.iter().zip(point.inverse_std).map(|(s, i)| s * i).collect();
    if point.batch_statistics {
        let count = pixels as f64;
        for c in 0..channels {
            line.a[c] = (sum_dy[c] / count) as f32;
            line.b[c] = (dscale[c] * point.inverse_std[c] / count) as f32;
        }
    }
    for_each(isa, pixels, channels, &line);
    Gradients { dscale: dscale.iter().map(|v| *v as f32).collect(), dshift: sum_dy.iter().map(|v| *v as f32).collect() }
}

impl<const GATE: u8, const PLUS: bool> Line<'_, GATE, PLUS> {
    #[inline(always)]
    unsafe fn behind<L: F32x16>(&self, at: usize, c: usize) -> L {
        // SAFETY: sixteen channels of a pixel.
        unsafe {
            let d = L::load(self.dy.as_ptr().add(at));
            match GATE {
                OWN => {
                    // As in the forward pass, to the last bit.
                    let (x, gain) = (L::load(self.x.as_ptr().add(at)), L::load(self.gain.as_ptr().add(c)));
                    self.passing(d, L::load(self.offset.as_ptr().add(c)).plus_product(x, gain))
                }
                OUTPUT => self.passing(d, L::load(self.y.as_ptr().add(at))),
                _ => d,
            }
        }
    }

    /// `d` where `0 < value < ceiling`, else 0. Without a ceiling the product is infinite or, at 0, NaN: positive where the value is.
    #[inline(always)]
    unsafe fn passing<L: F32x16>(&self, d: L, value: L) -> L {
        // SAFETY: the instruction set is the caller's.
        unsafe { d.where_positive(value.times(L::splat(&raw const self.ceiling).minus(value))) }
    }

    fn behind_one(&self, at: usize, c: usize) -> f32 {
        let value = match GATE {
            OWN => self.x[at] * self.gain[c] + self.offset[c],
            OUTPUT => self.y[at],
            _ => return self.dy[at],
        };
        if value > 0.0 && value < self.ceiling { self.dy[at] } else { 0.0 }
    }
}

impl<const GATE: u8, const PLUS: bool> Pair for Line<'_, GATE, PLUS> {
    #[inline(always)]
    unsafe fn lanes<L: F32x16>(&self, at: usize, c: usize) -> [L; 2] {
        // SAFETY: sixteen channels of a pixel.
        unsafe {
            let d = self.behind::<L>(at, c);
            [d, d.times(L::load(self.x.as_ptr().add(at)).minus(L::load(self.mean.as_ptr().add(c))))]
        }
    }
    fn one(&self, at: usize, c: usize) -> [f32; 2] {
        let d = self.behind_one(at, c);
        [d, d * (self.x[at] - self.mean[c])]
    }
}

impl<const GATE: u8, const PLUS: bool> Each for Line<'_, GATE, PLUS> {
    #[inline(always)]
    unsafe fn lanes<L: F32x16>(&self, at: usize, c: usize) {
        // SAFETY: sixteen channels of a pixel; tasks have different pixels.
        unsafe {
            let of = |values: &[f32]| L::load(values.as_ptr().add(c));
            let d = self.behind::<L>(at, c);
            if PLUS {
                d.store(self.dplus.get().add(at));
            }
            let deviation = L::load(self.x.as_ptr().add(at)).minus(of(&self.mean));
            of(&self.gain).times(d.minus(of(&self.a)).minus_product(deviation, of(&self.b))).store(self.dx.get().add(at));
        }
    }
    unsafe fn one(&self, at: usize, c: usize) {
        let d = self.behind_one(at, c);
        // SAFETY: as above.
        unsafe {
            if PLUS {
                *self.dplus.get().add(at) = d;
            }
            *self.dx.get().add(at) = self.gain[c] * (d - self.a[c] - (self.x[at] - self.mean[c]) * self.b[c]);
        }
    }
}
