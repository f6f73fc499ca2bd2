//! Softplus and its derivative over a block of similarities, sixteen values at a time.

use kernels::Isa;
use kernels::simd::{F32x16, SimdKernel, run_on};

/// Returns the sum of `softplus(sign * s)` over the block, and replaces every `s` by `factor * sign * sigmoid(sign * s)`.
///
/// The element at `skip` does not count and gets slope 0, because a vector is not its own pair.
pub fn softplus_and_slope(isa: Isa, block: &mut [f32], sign: f32, factor: f32, skip: Option<usize>) -> f64 {
    let removed = skip.map(|i| (i, softplus(f64::from(sign * block[i]))));
    let mut sum = 0.0;
    let (whole, rest) = block.split_at_mut(block.len() / LANES * LANES);
    run_on(isa, Slopes { values: whole, sign, scale: sign * factor, sum: &mut sum });
    for value in rest {
        let s = f64::from(sign * *value);
        sum += softplus(s);
        *value = (f64::from(sign * factor) / (1.0 + (-s).exp())) as f32;
    }
    match removed {
        Some((i, value)) => {
            block[i] = 0.0;
            sum - value
        }
        None => sum,
    }
}

fn softplus(s: f64) -> f64 {
    s.max(0.0) + (-s.abs()).exp().ln_1p()
}

/// Number of f32 values in a SIMD register.
const LANES: usize = 16;
/// Number of factors in [1, 2] that each lane multiplies before a logarithm is taken; their product fits f32.
const FACTORS: usize = 64;

/// SIMD kernel of [`softplus_and_slope`].
struct Slopes<'a> {
    /// Similarities, replaced by slopes; their number is a multiple of sixteen.
    values: &'a mut [f32],
    sign: f32,
    scale: f32,
    sum: &'a mut f64,
}

impl SimdKernel for Slopes<'_> {
    #[inline(always)]
    unsafe fn run<L: F32x16>(self) {
        // SAFETY: chunks have sixteen values.
        unsafe {
            let (zero, one) = (L::zero(), splat::<L>(1.0));
            let (sign, scale) = (splat::<L>(self.sign), splat::<L>(self.scale));
            for part in self.values.chunks_mut(FACTORS * LANES) {
                let mut linear = zero;
                // The lane keeps the product of the factors 1 + e, less 1, because next to 1 a small e would lose its digits.
                let mut excess = zero;
                for chunk in part.chunks_exact_mut(LANES) {
                    let s = sign.times(L::load(chunk.as_ptr()));
                    let e = exp_of_negative(zero.minus(s.larger(zero.minus(s))));
                    linear = linear.plus(s.larger(zero));
                    excess = excess.plus(e.plus_product(excess, e));
                    // The numerator of the sigmoid is 1 for positive s, else e.
                    let numerator = e.plus(one.minus(e).where_positive(s));
                    scale.times(numerator).times(one.plus(e).reciprocal()).store(chunk.as_mut_ptr());
                }
                *self.sum += total(linear, excess);
            }
        }
    }
}

/// Returns the sum of the linear parts and of the logarithms of the products.
#[inline(always)]
unsafe fn total<L: F32x16>(linear: L, excess: L) -> f64 {
    let (mut sums, mut products) = ([0.0f32; LANES], [0.0f32; LANES]);
    // SAFETY: both have room for sixteen values.
    unsafe {
        linear.store(sums.as_mut_ptr());
        excess.store(products.as_mut_ptr());
    }
    let mut total: f64 = sums.iter().map(|v| f64::from(*v)).sum();
    // The product of eight lanes with 64 factors up to 2 stays below 2^512.
    for products in products.chunks_exact(LANES / 2) {
        total += products.iter().fold(0.0f64, |product, v| product + f64::from(*v) + product * f64::from(*v)).ln_1p();
    }
    total
}

#[inline(always)]
unsafe fn splat<L: F32x16>(value: f32) -> L {
    // SAFETY: the reference is valid.
    unsafe { L::splat(&raw const value) }
}

/// Computes `exp(x)` for `x <= 0` as 2^n times a polynomial of degree 6 in the remainder; the relative error is below 3e-7 for `x >= -87`,
/// and smaller `x` are clamped to -87.
#[inline(always)]
unsafe fn exp_of_negative<L: F32x16>(x: L) -> L {
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    const ROUND: f32 = 12_582_912.0; // 1.5 * 2^23: adding it rounds to a whole number
    const TERMS: [f32; 6] = [1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0];
    // SAFETY: arithmetic only.
    unsafe {
        let x = x.larger(splat(-87.0));
        let n = splat::<L>(ROUND).plus_product(x, splat(std::f32::consts::LOG2_E)).minus(splat(ROUND));
        let r = x.minus_product(n, splat(LN2_HIGH)).minus_product(n, splat(LN2_LOW));
        let mut sum = splat::<L>(1.0 / 720.0);
        for term in TERMS {
            sum = splat::<L>(term).plus_product(sum, r);
        }
        sum.scaled(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Exp<'a>(&'a mut [f32; LANES]);

    impl SimdKernel for Exp<'_> {
        #[inline(always)]
        unsafe fn run<L: F32x16>(self) {
            // SAFETY: sixteen values.
            unsafe { exp_of_negative(L::load(self.0.as_ptr())).store(self.0.as_mut_ptr()) }
        }
    }

    #[test]
    fn the_exponential_is_within_its_stated_error() {
        for isa in Isa::available() {
            for i in 0..=8_700 {
                let x = -(i as f32) / 100.0;
                let mut values = [x; LANES];
                run_on(isa, Exp(&mut values));
                let exact = f64::from(x).exp();
                assert!(values.iter().all(|v| (f64::from(*v) - exact).abs() <= 3e-7 * exact), "{x} {isa:?}");
            }
        }
    }

    #[test]
    fn sums_and_slopes_equal_the_formulas() {
        for isa in Isa::available() {
            for n in [1, 15, 16, 1000, 2500] {
                for sign in [1.0f32, -1.0] {
                    let s: Vec<f32> = (0..n).map(|i| (i as f32 * 0.37).sin() * 11.0).collect();
                    let mut row = s.clone();
                    let skip = (n > 3).then_some(3);
                    let sum = softplus_and_slope(isa, &mut row, sign, 0.5, skip);
                    let used = || s.iter().enumerate().filter(|(i, _)| Some(*i) != skip);
                    let exact: f64 = used().map(|(_, s)| softplus(f64::from(sign * s))).sum();
                    assert!((sum - exact).abs() <= 2e-6 * exact.max(1.0), "{sum} {exact}");
                    for (i, s) in used() {
                        let slope = 0.5 * f64::from(sign) / (1.0 + (-f64::from(sign * s)).exp());
                        assert!((f64::from(row[i]) - slope).abs() < 1e-6, "{} {slope}", row[i]);
                    }
                }
            }
        }
    }

    #[test]
    fn many_equal_similarities_do_not_overflow() {
        for isa in Isa::available() {
            let sum = softplus_and_slope(isa, &mut vec![0.0; 4096], 1.0, 1.0, None);
            assert!((sum - 4096.0 * 2f64.ln()).abs() < 1e-3, "{sum}");
        }
    }
}
