//! Softplus and its slope over a block of similarities, in a form that the compiler turns into vectors.

/// Sum of `softplus(sign * s)` over the block, and every `s` replaced by the slope `sign * sigmoid(sign * s)` times `factor`.
///
/// With `skip`, that one element counts nothing and gets slope 0 (a vector is not its own pair).
pub fn softplus_and_slope(row: &mut [f32], sign: f32, factor: f32, skip: Option<usize>) -> f64 {
    let removed = skip.map(|i| {
        let value = softplus(f64::from(sign * row[i]));
        (i, value)
    });
    let sum = dispatch(row, sign, sign * factor);
    match removed {
        Some((i, value)) => {
            row[i] = 0.0;
            sum - value
        }
        None => sum,
    }
}

fn softplus(s: f64) -> f64 {
    s.max(0.0) + (-s.abs()).exp().ln_1p()
}

fn dispatch(row: &mut [f32], sign: f32, scale: f32) -> f64 {
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512dq") {
            // SAFETY: the features were just detected.
            return unsafe { avx512(row, sign, scale) };
        }
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            // SAFETY: the features were just detected.
            return unsafe { avx2(row, sign, scale) };
        }
    }
    block(row, sign, scale)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512dq")]
fn avx512(row: &mut [f32], sign: f32, scale: f32) -> f64 {
    block(row, sign, scale)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn avx2(row: &mut [f32], sign: f32, scale: f32) -> f64 {
    block(row, sign, scale)
}

/// Sums per lane run over at most this many values before a logarithm is taken: a product of 64 factors in [1, 2] fits f32.
const FACTORS: usize = 64;
const LANES: usize = 16;

#[inline(always)]
fn block(row: &mut [f32], sign: f32, scale: f32) -> f64 {
    let mut total = 0.0f64;
    for part in row.chunks_mut(FACTORS * LANES) {
        let mut linear = [0.0f32; LANES];
        // Product of the factors 1 + e, less 1: next to 1 a small e would lose its digits.
        let mut excess = [0.0f32; LANES];
        let mut chunks = part.chunks_exact_mut(LANES);
        for lane in &mut chunks {
            for i in 0..LANES {
                let s = sign * lane[i];
                let e = exp_of_negative(-s.abs());
                linear[i] += s.max(0.0);
                excess[i] += e + excess[i] * e;
                lane[i] = scale * (if s >= 0.0 { 1.0 } else { e }) / (1.0 + e);
            }
        }
        for value in chunks.into_remainder() {
            let s = sign * *value;
            let e = exp_of_negative(-s.abs());
            total += f64::from(s.max(0.0)) + f64::from(e).ln_1p();
            *value = scale * (if s >= 0.0 { 1.0 } else { e }) / (1.0 + e);
        }
        for i in 0..LANES {
            total += f64::from(linear[i]) + f64::from(excess[i]).ln_1p();
        }
    }
    total
}

/// `exp(x)` for `x <= 0`: 2^n times a polynomial of degree 6 in the remainder; relative error below 3e-7, 0 below -87.
#[inline(always)]
fn exp_of_negative(x: f32) -> f32 {
    const LOG2_E: f32 = std::f32::consts::LOG2_E;
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    const ROUND: f32 = 12_582_912.0; // 1.5 * 2^23: adding it rounds to a whole number
    let x = x.max(-87.0);
    let n = (x * LOG2_E + ROUND) - ROUND;
    let r = x - n * LN2_HIGH - n * LN2_LOW;
    let p = 1.0 + r * (1.0 + r * (0.5 + r * (1.0 / 6.0 + r * (1.0 / 24.0 + r * (1.0 / 120.0 + r * (1.0 / 720.0))))));
    p * f32::from_bits(((n as i32 + 127) << 23) as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exponential_is_within_its_stated_error() {
        for i in 0..=8_700 {
            let x = -(i as f32) / 100.0;
            let exact = f64::from(x).exp();
            assert!((f64::from(exp_of_negative(x)) - exact).abs() <= 3e-7 * exact, "{x}");
        }
    }

    #[test]
    fn sums_and_slopes_equal_the_formulas() {
        for n in [1, 15, 16, 1000, 2500] {
            for sign in [1.0f32, -1.0] {
                let s: Vec<f32> = (0..n).map(|i| (i as f32 * 0.37).sin() * 11.0).collect();
                let mut row = s.clone();
                let skip = (n > 3).then_some(3);
                let sum = softplus_and_slope(&mut row, sign, 0.5, skip);
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
