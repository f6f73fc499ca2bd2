//! Backward pass of batch normalisation with a fused residual addition and activation.

use super::{Elementwise, PairReduction, apply, reduce_pairs};
use crate::scratch::SharedMut;
use crate::simd::{F32x16, Isa};

/// Gradients at the parameters of a normalisation, one value for each channel.
pub struct Gradients {
    /// Gradient at the scale.
    pub dscale: Vec<f32>,
    /// Gradient at the shift.
    pub dshift: Vec<f32>,
}

/// Mask of the activation after a normalisation: the gradient passes where `0 < activation input < ceiling`.
#[derive(Clone, Copy)]
pub enum ActivationMask<'a> {
    /// No activation: every gradient passes.
    None,
    /// Activation directly after the normalisation, with its ceiling (infinite for ReLU). The activation's input is recomputed from `x`,
    /// because recomputing is cheaper than reading the output.
    FromInput(f32),
    /// Activation after a residual addition: its output, which is positive and below the ceiling at the same positions as its input, and
    /// its ceiling.
    FromOutput(&'a [f32], f32),
}

/// Folds a normalisation into `[gain, offset]`, such that `x * gain + offset = (x - mean) * inverse_std * scale + shift`.
pub fn gain_and_offset(scale: &[f32], shift: &[f32], mean: &[f64], inverse_std: &[f64]) -> [Vec<f32>; 2] {
    let gain: Vec<f64> = inverse_std.iter().zip(scale).map(|(i, s)| i * f64::from(*s)).collect();
    let offset = gain.iter().zip(shift).zip(mean).map(|((g, s), m)| (f64::from(*s) - g * m) as f32).collect();
    [gain.into_iter().map(|g| g as f32).collect(), offset]
}

/// Operands of the forward pass of a normalisation, which the backward pass reads.
pub struct ForwardPass<'a> {
    /// Input of the normalisation, `[pixel][channel]`.
    pub x: &'a [f32],
    /// Mask of the fused activation.
    pub mask: ActivationMask<'a>,
    /// Scale of each channel (gamma of the paper).
    pub scale: &'a [f32],
    /// Shift of each channel (beta of the paper).
    pub shift: &'a [f32],
    /// Mean of each channel, as used by the forward pass.
    pub mean: &'a [f64],
    /// `1 / sqrt(variance + eps)` of each channel, as used by the forward pass.
    pub inverse_std: &'a [f64],
    /// True if mean and variance are those of the batch, so that gradients flow through them; false for running statistics.
    pub batch_statistics: bool,
}

/// Computes the gradients of batch normalisation (Ioffe, Szegedy, ICML 2015, section 3), through the fused activation.
///
/// With `d = dy` masked by the activation and `n` pixels: `dshift = sum d`, `dscale = sum d (x - mean) inverse_std`, and
/// `dx = scale inverse_std (d - dshift / n - (x - mean) inverse_std dscale / n)`; without batch statistics `dx = scale inverse_std d`.
/// `dx` is overwritten. `dresidual` is overwritten by `d`, the gradient at the residual.
pub fn backward(isa: Isa, forward: &ForwardPass, dy: &[f32], dx: &mut [f32], dresidual: Option<&mut [f32]>) -> Gradients {
    assert!(dx.len() == forward.x.len() && dy.len() == dx.len());
    assert!(dresidual.as_ref().is_none_or(|dresidual| dresidual.len() == dx.len()));
    match (forward.mask, dresidual) {
        (ActivationMask::None, None) => backward_masked::<NO_MASK, false>(isa, forward, &[], dy, dx, &mut []),
        (ActivationMask::None, Some(dresidual)) => backward_masked::<NO_MASK, true>(isa, forward, &[], dy, dx, dresidual),
        (ActivationMask::FromInput(_), None) => backward_masked::<FROM_INPUT, false>(isa, forward, &[], dy, dx, &mut []),
        (ActivationMask::FromInput(_), Some(dresidual)) => backward_masked::<FROM_INPUT, true>(isa, forward, &[], dy, dx, dresidual),
        (ActivationMask::FromOutput(y, _), None) => backward_masked::<FROM_OUTPUT, false>(isa, forward, y, dy, dx, &mut []),
        (ActivationMask::FromOutput(y, _), Some(dresidual)) => backward_masked::<FROM_OUTPUT, true>(isa, forward, y, dy, dx, dresidual),
    }
}

/// Variants of [`ActivationMask`] as const parameters, so that the loops are compiled for each.
const NO_MASK: u8 = 0;
const FROM_INPUT: u8 = 1;
const FROM_OUTPUT: u8 = 2;

/// `dx = gain (d - a - (x - mean) b)`, with `d = dy` masked by the activation.
struct InputGradient<'a, const MASK: u8, const RESIDUAL: bool> {
    x: &'a [f32],
    y: &'a [f32],
    dy: &'a [f32],
    mean: Vec<f32>,
    gain: Vec<f32>,
    offset: Vec<f32>,
    a: Vec<f32>,
    b: Vec<f32>,
    ceiling: f32,
    dx: SharedMut,
    dresidual: SharedMut,
}

fn backward_masked<const MASK: u8, const RESIDUAL: bool>(
    isa: Isa,
    forward: &ForwardPass,
    y: &[f32],
    dy: &[f32],
    dx: &mut [f32],
    dresidual: &mut [f32],
) -> Gradients {
    let channels = forward.scale.len();
    let pixels = forward.x.len() / channels;
    assert!(MASK != FROM_OUTPUT || y.len() == forward.x.len());
    let [gain, offset] = gain_and_offset(forward.scale, forward.shift, forward.mean, forward.inverse_std);
    let mean = forward.mean.iter().map(|v| *v as f32).collect();
    let (dx, dresidual) = (SharedMut::new(dx), SharedMut::new(dresidual));
    let ceiling = match forward.mask {
        ActivationMask::None => f32::INFINITY,
        ActivationMask::FromInput(ceiling) | ActivationMask::FromOutput(_, ceiling) => ceiling,
    };
    let (a, b) = (vec![0.0; channels], vec![0.0; channels]);
    let mut gain_and_offset = InputGradient::<MASK, RESIDUAL> { x: forward.x, y, dy, mean, gain, offset, a, b, ceiling, dx, dresidual };
    let [sum_dy, sum_dy_x] = reduce_pairs(isa, pixels, channels, &gain_and_offset);
    let dscale: Vec<f64> = sum_dy_x.iter().zip(forward.inverse_std).map(|(s, i)| s * i).collect();
    if forward.batch_statistics {
        let count = pixels as f64;
        for c in 0..channels {
            gain_and_offset.a[c] = (sum_dy[c] / count) as f32;
            gain_and_offset.b[c] = (dscale[c] * forward.inverse_std[c] / count) as f32;
        }
    }
    apply(isa, pixels, channels, &gain_and_offset);
    Gradients { dscale: dscale.iter().map(|v| *v as f32).collect(), dshift: sum_dy.iter().map(|v| *v as f32).collect() }
}

impl<const MASK: u8, const RESIDUAL: bool> InputGradient<'_, MASK, RESIDUAL> {
    /// Returns `d` for the channels `c..c + 16`, stored from index `at` on.
    #[inline(always)]
    unsafe fn masked_gradient<L: F32x16>(&self, at: usize, c: usize) -> L {
        // SAFETY: the caller's contract: sixteen channels of a pixel.
        unsafe {
            let d = L::load(self.dy.as_ptr().add(at));
            match MASK {
                FROM_INPUT => {
                    // The same operations as in the forward pass, so that the bits agree.
                    let (x, gain) = (L::load(self.x.as_ptr().add(at)), L::load(self.gain.as_ptr().add(c)));
                    self.pass_where(d, L::load(self.offset.as_ptr().add(c)).plus_product(x, gain))
                }
                FROM_OUTPUT => self.pass_where(d, L::load(self.y.as_ptr().add(at))),
                _ => d,
            }
        }
    }

    /// Selects `d` in lanes in which `0 < value < ceiling`, otherwise 0. With an infinite ceiling, `value * (ceiling - value)` is infinite
    /// with the sign of the value, or NaN at 0, and so positive exactly where the value is.
    #[inline(always)]
    unsafe fn pass_where<L: F32x16>(&self, d: L, value: L) -> L {
        // SAFETY: arithmetic only; the instruction set is the caller's contract.
        unsafe { d.where_positive(value.times(L::splat(&raw const self.ceiling).minus(value))) }
    }

    /// Returns `d` for channel `c`, stored at index `at`.
    fn masked_gradient_scalar(&self, at: usize, c: usize) -> f32 {
        let value = match MASK {
            FROM_INPUT => self.x[at] * self.gain[c] + self.offset[c],
            FROM_OUTPUT => self.y[at],
            _ => return self.dy[at],
        };
        if value > 0.0 && value < self.ceiling { self.dy[at] } else { 0.0 }
    }
}

impl<const MASK: u8, const RESIDUAL: bool> PairReduction for InputGradient<'_, MASK, RESIDUAL> {
    #[inline(always)]
    unsafe fn vector<L: F32x16>(&self, at: usize, c: usize) -> [L; 2] {
        // SAFETY: the caller's contract: sixteen channels of a pixel.
        unsafe {
            let d = self.masked_gradient::<L>(at, c);
            [d, d.times(L::load(self.x.as_ptr().add(at)).minus(L::load(self.mean.as_ptr().add(c))))]
        }
    }
    fn scalar(&self, at: usize, c: usize) -> [f32; 2] {
        let d = self.masked_gradient_scalar(at, c);
        [d, d * (self.x[at] - self.mean[c])]
    }
}

impl<const MASK: u8, const RESIDUAL: bool> Elementwise for InputGradient<'_, MASK, RESIDUAL> {
    #[inline(always)]
    unsafe fn vector<L: F32x16>(&self, at: usize, c: usize) {
        // SAFETY: the caller's contract: sixteen channels of a pixel that belongs to this task.
        unsafe {
            let of = |values: &[f32]| L::load(values.as_ptr().add(c));
            let d = self.masked_gradient::<L>(at, c);
            if RESIDUAL {
                d.store(self.dresidual.get().add(at));
            }
            let deviation = L::load(self.x.as_ptr().add(at)).minus(of(&self.mean));
            of(&self.gain).times(d.minus(of(&self.a)).minus_product(deviation, of(&self.b))).store(self.dx.get().add(at));
        }
    }
    unsafe fn scalar(&self, at: usize, c: usize) {
        let d = self.masked_gradient_scalar(at, c);
        // SAFETY: as above.
        unsafe {
            if RESIDUAL {
                *self.dresidual.get().add(at) = d;
            }
            *self.dx.get().add(at) = self.gain[c] * (d - self.a[c] - (self.x[at] - self.mean[c]) * self.b[c]);
        }
    }
}
