//! Recovery of a 3x3 convolution of an upsampled feature map from the two equivalent forms that exported files use instead.
//!
//! A 3x3 kernel (k0, k1, k2) along one axis becomes the 4x4 kernel (k2, k1 + k2, k0 + k1, k0) of a transposed convolution, or its even and
//! odd taps as 2x2 convolutions, one for each phase of the output pixels. The 3x3 kernel is recovered because its Winograd convolution needs
//! fewer multiplications than either form.

use support::{Result, bail};

/// Tolerance of k1 as recovered from both sums, as a fraction of the largest weight; every sum was rounded to f32 once.
const ROUNDING: f64 = 1e-5;

/// Recovers `O I 3 3` from the weights `I O 4 4` of a transposed convolution.
///
/// # Errors
/// A kernel that is not made from a 3x3 kernel.
pub fn from_transposed(kernel: &[f32], inputs: usize, outputs: usize) -> Result<Vec<f32>> {
    let mut weight = vec![0.0; outputs * inputs * 9];
    for (pair, kernel) in kernel.chunks_exact(16).enumerate() {
        let (input, output) = (pair / outputs, pair % outputs);
        weight[(output * inputs + input) * 9..][..9].copy_from_slice(&recover_3x3(kernel)?);
    }
    Ok(weight)
}

/// Recovers `O I 3 3` from four kernels `O I 2 2`, one per phase (row and column modulo 2) of the output pixels, in raster order.
///
/// # Errors
/// Kernels that are not made from a 3x3 kernel.
pub fn from_phases(phases: [&[f32]; 4], inputs: usize, outputs: usize) -> Result<Vec<f32>> {
    /// Positions of the two taps of a phase along one axis of the 4x4 kernel.
    const TAPS: [[usize; 2]; 2] = [[3, 1], [2, 0]];
    let mut weight = vec![0.0; outputs * inputs * 9];
    for (pair, weight) in weight.chunks_exact_mut(9).enumerate() {
        let mut kernel = [0.0; 16];
        for (phase, taps) in phases.iter().enumerate() {
            for (i, value) in taps[4 * pair..][..4].iter().enumerate() {
                kernel[4 * TAPS[phase / 2][i / 2] + TAPS[phase % 2][i % 2]] = *value;
            }
        }
        weight.copy_from_slice(&recover_3x3(&kernel)?);
    }
    Ok(weight)
}

/// Recovers the 3x3 kernel from a 4x4 kernel, in f64 and rounded once.
fn recover_3x3(kernel: &[f32]) -> Result<[f32; 9]> {
    let largest = kernel.iter().fold(0.0_f64, |most, v| most.max(f64::from(*v).abs()));
    let (mut rows, mut all) = ([0.0; 12], [0.0; 9]);
    for column in 0..4 {
        let three = recover_taps([0, 1, 2, 3].map(|row| f64::from(kernel[4 * row + column])), largest)?;
        (0..3).for_each(|row| rows[4 * row + column] = three[row]);
    }
    for row in 0..3 {
        let four = [0, 1, 2, 3].map(|column| rows[4 * row + column]);
        all[3 * row..][..3].copy_from_slice(&recover_taps(four, largest)?);
    }
    Ok(all.map(|value| value as f32))
}

/// Recovers (k0, k1, k2) from (k2, k1 + k2, k0 + k1, k0).
fn recover_taps([a, b, c, d]: [f64; 4], largest: f64) -> Result<[f64; 3]> {
    let (from_b, from_c) = (b - a, c - d);
    let difference = (from_b - from_c).abs();
    if difference > ROUNDING * largest || difference.is_nan() {
        bail!("its kernel is not that of an upsampled feature map");
    }
    Ok([d, f64::midpoint(from_b, from_c), a])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Taps of the 3x3 kernel that are summed in each tap of the 4x4 kernel, along one axis.
    const TAPS: [&[usize]; 4] = [&[2], &[1, 2], &[0, 1], &[0]];

    #[test]
    fn the_3x3_kernel_is_recovered_from_both_forms() {
        let k: Vec<f32> = (0..9).map(|i| ((i * i * 7 + 3) % 11) as f32 / 7.0 - 0.6).collect();
        let four: Vec<f32> = TAPS
            .iter()
            .flat_map(|rows| TAPS.iter().map(|columns| rows.iter().flat_map(|i| columns.iter().map(|j| k[3 * *i + *j])).sum::<f32>()))
            .collect();
        let close = |found: Vec<f32>| found.iter().zip(&k).all(|(a, b)| (a - b).abs() < 1e-6);
        assert!(close(from_transposed(&four, 1, 1).unwrap()));
        let phase = |row: usize, column: usize| {
            let taps = |parity: usize| [[3, 1], [2, 0]][parity];
            taps(row).into_iter().flat_map(|i: usize| taps(column).map(|j| four[4 * i + j])).collect::<Vec<_>>()
        };
        let phases = [phase(0, 0), phase(0, 1), phase(1, 0), phase(1, 1)];
        assert!(close(from_phases(phases.each_ref().map(Vec::as_slice), 1, 1).unwrap()));
    }

    #[test]
    fn a_kernel_that_is_not_of_an_upsampled_feature_map_is_an_error() {
        // The 4x4 kernel of all ones is made from the 3x3 kernel with ones at its corners.
        let mut four = [1.0_f32; 16];
        assert_eq!(from_transposed(&four, 1, 1).unwrap(), [1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 1.0]);
        four[5] = 1.5;
        assert!(from_transposed(&four, 1, 1).is_err());
        four[5] = f32::NAN;
        assert!(from_transposed(&four, 1, 1).is_err());
    }
}
