//! Epilogue of a convolution: bias, residual addition and activation, applied while results are still in registers or in the L1 cache.

use crate::simd::F32x16;

/// Activation function.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Activation {
    /// Identity.
    #[default]
    None,
    /// `max(v, 0)`.
    Relu,
    /// `min(max(v, 0), 6)`, as in `MobileNetV2`.
    Relu6,
}

impl Activation {
    /// Returns the bounds that values are clamped to, `[low, high]`.
    pub fn range(self) -> [f32; 2] {
        match self {
            Self::None => [f32::NEG_INFINITY, f32::INFINITY],
            Self::Relu => [0.0, f32::INFINITY],
            Self::Relu6 => [0.0, 6.0],
        }
    }

    /// Applies the activation to one value. NaN stays NaN.
    pub fn apply(self, value: f32) -> f32 {
        let [low, high] = self.range();
        if value < low {
            low
        } else if value > high {
            high
        } else {
            value
        }
    }

    /// Applies the activation to a vector. NaN stays NaN, because `larger` and `smaller` return their second operand for it.
    ///
    /// # Safety
    /// The processor must have the instruction set of `L`.
    #[inline(always)]
    pub(crate) unsafe fn apply_vector<L: F32x16>(self, value: L) -> L {
        const SIX: f32 = 6.0;
        // SAFETY: the caller's contract.
        unsafe {
            match self {
                Self::None => value,
                Self::Relu => L::zero().larger(value),
                Self::Relu6 => L::splat(&SIX).smaller(L::zero().larger(value)),
            }
        }
    }
}

/// Operations on the results of a convolution, in this order: `activation(sum + bias + residual)`.
#[derive(Clone, Copy, Default)]
pub struct Epilogue<'a> {
    /// Bias, one value for each output channel; none by default.
    pub bias: Option<&'a [f32]>,
    /// Feature map of the shape of the result that is added; none by default.
    pub residual: Option<&'a [f32]>,
    /// Activation, applied last; the identity by default.
    pub activation: Activation,
}

impl Epilogue<'_> {
    /// Checks that bias and residual fit a result of `len` values with `outputs` channels.
    ///
    /// # Panics
    /// If a length does not fit.
    pub fn check(&self, outputs: usize, len: usize) {
        assert!(self.bias.is_none_or(|bias| bias.len() == outputs), "the bias needs {outputs} channels");
        assert!(self.residual.is_none_or(|residual| residual.len() == len), "the residual needs {len} values");
    }

    /// Applies the epilogue to a vector of sums: channels from `channel` on, stored from index `at` of the result on.
    ///
    /// # Safety
    /// The processor must have the instruction set of `L`. Lengths must be those of [`Epilogue::check`], with `L::WIDTH` values from
    /// `channel` and `at` on.
    #[inline(always)]
    pub(crate) unsafe fn apply_vector<L: F32x16>(&self, mut value: L, channel: usize, at: usize) -> L {
        // SAFETY: the caller's contract.
        unsafe {
            if let Some(bias) = self.bias {
                value = value.plus(L::load(bias.as_ptr().add(channel)));
            }
            if let Some(residual) = self.residual {
                value = value.plus(L::load(residual.as_ptr().add(at)));
            }
            self.activation.apply_vector(value)
        }
    }

    /// Applies the epilogue to the sums of `out.len()` channels of one pixel, from `channel` on, stored from index `at` of the result on.
    #[inline(always)]
    pub(crate) fn apply_scalars(&self, sums: &[f32], channel: usize, at: usize, out: &mut [f32]) {
        out.copy_from_slice(&sums[..out.len()]);
        if let Some(bias) = self.bias {
            out.iter_mut().zip(&bias[channel..]).for_each(|(out, bias)| *out += bias);
        }
        if let Some(residual) = self.residual {
            out.iter_mut().zip(&residual[at..]).for_each(|(out, residual)| *out += residual);
        }
        if self.activation != Activation::None {
            out.iter_mut().for_each(|out| *out = self.activation.apply(*out));
        }
    }
}
