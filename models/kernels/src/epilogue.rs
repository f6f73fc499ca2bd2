//! What follows a convolution and is done while its result is still in registers or in the first-level cache.

use crate::simd::F32x16;

/// What cuts off values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Activation {
    /// Nothing.
    #[default]
    None,
    /// `max(., 0)`.
    Relu,
    /// `min(max(., 0), 6)`.
    Relu6,
}

impl Activation {
    /// What values are cut off to: lowest and highest.
    pub fn range(self) -> [f32; 2] {
        match self {
            Self::None => [f32::NEG_INFINITY, f32::INFINITY],
            Self::Relu => [0.0, f32::INFINITY],
            Self::Relu6 => [0.0, 6.0],
        }
    }

    /// Of one value; a NaN stays one.
    pub fn of(self, value: f32) -> f32 {
        let [low, high] = self.range();
        if value < low {
            low
        } else if value > high {
            high
        } else {
            value
        }
    }

    /// Of sixteen values; a NaN stays one, which is why the constant comes first.
    ///
    /// # Safety
    /// The instruction set of `L`.
    #[inline(always)]
    pub(crate) unsafe fn lanes<L: F32x16>(self, value: L) -> L {
        const SIX: f32 = 6.0;
        // SAFETY: the caller's promise.
        unsafe {
            match self {
                Self::None => value,
                Self::Relu => L::zero().larger(value),
                Self::Relu6 => L::splat(&SIX).smaller(L::zero().larger(value)),
            }
        }
    }
}

/// A bias, a map that is added, an activation: each where there is one, in this order.
#[derive(Clone, Copy, Default)]
pub struct Epilogue<'a> {
    /// One value for each output channel.
    pub bias: Option<&'a [f32]>,
    /// A map of the shape of the result.
    pub plus: Option<&'a [f32]>,
    /// What comes last.
    pub activation: Activation,
}

impl Epilogue<'_> {
    /// # Panics
    /// If lengths are not those of a result of `len` values with `outputs` channels.
    pub fn check(&self, outputs: usize, len: usize) {
        assert!(self.bias.is_none_or(|bias| bias.len() == outputs), "a bias for {outputs} channels");
        assert!(self.plus.is_none_or(|plus| plus.len() == len), "a map of {len} values");
    }

    /// Sixteen finished values: channels from `channel` on, at value `at` of the result.
    ///
    /// # Safety
    /// The instruction set of `L`; lengths as [`Epilogue::check`] wants them, and sixteen values from there on.
    #[inline(always)]
    pub(crate) unsafe fn lanes<L: F32x16>(&self, mut value: L, channel: usize, at: usize) -> L {
        // SAFETY: the caller's promise.
        unsafe {
            if let Some(bias) = self.bias {
                value = value.plus(L::load(bias.as_ptr().add(channel)));
            }
            if let Some(plus) = self.plus {
                value = value.plus(L::load(plus.as_ptr().add(at)));
            }
            self.activation.lanes(value)
        }
    }

    /// Finished values of some channels of one pixel, from `channel` on, at value `at` of the result.
    #[inline(always)]
    pub(crate) fn write(&self, sums: &[f32], channel: usize, at: usize, out: &mut [f32]) {
        out.copy_from_slice(&sums[..out.len()]);
        if let Some(bias) = self.bias {
            out.iter_mut().zip(&bias[channel..]).for_each(|(out, bias)| *out += bias);
        }
        if let Some(plus) = self.plus {
            out.iter_mut().zip(&plus[at..]).for_each(|(out, plus)| *out += plus);
        }
        if self.activation != Activation::None {
            out.iter_mut().for_each(|out| *out = self.activation.of(*out));
        }
    }
}
