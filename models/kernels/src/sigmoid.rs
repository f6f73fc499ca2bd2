//! Sigmoid of logits, and quantisation of probabilities to bytes: the last operations of a segmentation network.

use rayon::prelude::*;

use crate::simd::{F32x16, Isa, SimdKernel, run_on, vectorised};

/// Number of values per task.
const TASK: usize = 1 << 14;
/// Bound of the exponent: beyond it, the sigmoid rounds to 1, or is within a few times the smallest normal f32 of 0.
const FAR: f32 = 87.0;
const LOG2_E: f32 = std::f32::consts::LOG2_E;
/// `ln 2` as a sum of two values, the first with so few bits that its whole multiples are exact (Cody and Waite).
const LN2: [f32; 2] = [0.693_359_4, -2.121_944_4e-4];
/// `1.5 * 2^23`: adding and subtracting this value rounds to a whole number.
const ROUNDING: f32 = 12_582_912.0;
/// Taylor coefficients of `exp`, `1 / k!`, from the seventh power down.
const TAYLOR: [f32; 8] = [1.0 / 5040.0, 1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0];

/// Replaces each logit `z` by `1 / (1 + exp(-z))`, within a few units in the last place. NaN stays NaN.
pub fn sigmoid(isa: Isa, values: &mut [f32]) {
    values.par_chunks_mut(TASK).for_each(|values| {
        let (whole, rest) = values.split_at_mut(values.len() / 16 * 16);
        run_on(isa, Sigmoid(whole));
        if !rest.is_empty() {
            let mut last = [0.0; 16];
            last[..rest.len()].copy_from_slice(rest);
            run_on(isa, Sigmoid(&mut last));
            rest.copy_from_slice(&last[..rest.len()]);
        }
    });
}

/// Sigmoid of values whose number is a multiple of sixteen.
struct Sigmoid<'a>(&'a mut [f32]);

impl SimdKernel for Sigmoid<'_> {
    #[inline(always)]
    unsafe fn run<L: F32x16>(self) {
        for values in self.0.chunks_exact_mut(16) {
            // SAFETY: chunks have sixteen values; the instruction set is the caller's contract.
            unsafe {
                let all = |value: f32| L::splat(&raw const value);
                let z = L::load(values.as_ptr());
                // `larger` replaces NaN by the bound; NaN is restored at the end.
                let x = L::zero().minus(z.larger(all(-FAR))).larger(all(-FAR));
                let n = x.times(all(LOG2_E)).plus(all(ROUNDING)).minus(all(ROUNDING));
                let r = x.minus_product(n, all(LN2[0])).minus_product(n, all(LN2[1]));
                let mut power = all(TAYLOR[0]);
                for factor in &TAYLOR[1..] {
                    power = all(*factor).plus_product(power, r);
                }
                let p = power.scaled(n).plus(all(1.0)).reciprocal();
                let is_nan = all(1.0).minus(all(1.0).where_equal(z, z));
                p.plus(all(f32::NAN).where_positive(is_nan)).store(values.as_mut_ptr());
            }
        }
    }
}

/// Quantises probabilities in 0..=1 to bytes: `round(255 p)`, ties to even.
pub fn quantise(probabilities: &[f32], out: &mut [u8]) {
    assert_eq!(probabilities.len(), out.len());
    out.par_chunks_mut(TASK).zip(probabilities.par_chunks(TASK)).for_each(|(out, probabilities)| {
        vectorised(|| out.iter_mut().zip(probabilities).for_each(|(q, p)| *q = (255.0 * p).round_ties_even() as u8));
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sigmoid_equals_that_of_f64_within_a_few_units_in_the_last_place() {
        let logits: Vec<f32> = (-3400..3400).map(|i| i as f32 * 0.0251).chain([0.0, -0.0, 1e-20, 85.9, -85.9]).collect();
        for isa in Isa::available() {
            let mut found = logits.clone();
            sigmoid(isa, &mut found);
            for (z, p) in logits.iter().zip(found) {
                let exact = 1.0 / (1.0 + (-f64::from(*z)).exp());
                assert!((f64::from(p) - exact).abs() <= 4e-7 * exact, "{isa:?}: sigmoid({z}) = {p}, expected {exact}");
            }
        }
    }

    #[test]
    fn extremes_stay_in_range_and_nan_stays_nan() {
        for isa in Isa::available() {
            let mut values = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 500.0, -500.0];
            sigmoid(isa, &mut values);
            assert!(values[0].is_nan() && values[1..].iter().all(|p| (0.0..=1.0).contains(p)), "{isa:?}: {values:?}");
            assert!(values[1] == 1.0 && values[2] < 1e-37);
        }
    }

    #[test]
    fn quantisation_rounds_ties_to_even() {
        let probabilities: Vec<f32> = (0..=1020).map(|i| i as f32 / 1020.0).collect();
        let mut out = vec![0; probabilities.len()];
        quantise(&probabilities, &mut out);
        for (p, q) in probabilities.iter().zip(out) {
            assert_eq!(f32::from(q), (255.0 * p).round_ties_even(), "{p}");
        }
    }
}
