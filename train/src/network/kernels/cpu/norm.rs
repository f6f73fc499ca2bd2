//! Batch normalisation over `[pixel][channel]`, fused with the ReLU that follows it.

use rayon::prelude::*;

use super::lanes::vectorised;

/// Rows of pixels that one task sums: a fixed number, so that sums do not depend on the number of threads.
const PIXELS_PER_TASK: usize = 2048;
/// Pixels summed in f32 before they join the f64 totals.
const PIXELS_PER_F32_SUM: usize = 64;

/// Mean and biased variance of each channel.
pub fn moments(x: &[f32], channels: usize) -> (Vec<f64>, Vec<f64>) {
    let count = (x.len() / channels) as f64;
    // Sums of squares are taken around the first pixel, or a mean far from zero would eat the variance's digits.
    let shift = x[..channels].to_vec();
    let sums = sum_pairs(x.len() / channels, channels, |pixel, first, second| {
        let row = &x[pixel * channels..][..channels];
        for (((a, b), v), s) in first.iter_mut().zip(second.iter_mut()).zip(row).zip(&shift) {
            let d = v - s;
            *a += d;
            *b += d * d;
        }
    });
    let mean: Vec<f64> = sums.0.iter().zip(&shift).map(|(sum, s)| sum / count + f64::from(*s)).collect();
    let variance = sums.0.iter().zip(&sums.1).map(|(sum, square)| (square / count - (sum / count).powi(2)).max(0.0)).collect();
    (mean, variance)
}

/// Two per-channel sums over all pixels; `add` adds one pixel to f32 partial sums.
fn sum_pairs(pixels: usize, channels: usize, add: impl Fn(usize, &mut [f32], &mut [f32]) + Sync) -> (Vec<f64>, Vec<f64>) {
    let tasks: Vec<(Vec<f64>, Vec<f64>)> = (0..pixels.div_ceil(PIXELS_PER_TASK))
        .into_par_iter()
        .map(|task| {
            let (from, to) = (task * PIXELS_PER_TASK, ((task + 1) * PIXELS_PER_TASK).min(pixels));
            let mut total = (vec![0.0f64; channels], vec![0.0f64; channels]);
            let mut part = (vec![0.0f32; channels], vec![0.0f32; channels]);
            for block in (from..to).step_by(PIXELS_PER_F32_SUM) {
                part.0.fill(0.0);
                part.1.fill(0.0);
                vectorised(|| {
                    for pixel in block..(block + PIXELS_PER_F32_SUM).min(to) {
                        add(pixel, &mut part.0, &mut part.1);
                    }
                });
                total.0.iter_mut().zip(&part.0).for_each(|(t, p)| *t += f64::from(*p));
                total.1.iter_mut().zip(&part.1).for_each(|(t, p)| *t += f64::from(*p));
            }
            total
        })
        .collect();
    tasks.into_iter().fold((vec![0.0; channels], vec![0.0; channels]), |mut sum, task| {
        sum.0.iter_mut().zip(task.0).for_each(|(s, v)| *s += v);
        sum.1.iter_mut().zip(task.1).for_each(|(s, v)| *s += v);
        sum
    })
}

/// `x * gain + offset` per channel, then `max(., 0)` if `relu`.
pub fn affine(x: &[f32], gain: &[f32], offset: &[f32], relu: bool) -> Vec<f32> {
    let channels = gain.len();
    let low = if relu { 0.0 } else { f32::NEG_INFINITY };
    let mut y = vec![0.0; x.len()];
    y.par_chunks_mut(PIXELS_PER_TASK * channels).zip(x.par_chunks(PIXELS_PER_TASK * channels)).for_each(|(y, x)| {
        vectorised(|| {
            for (y, x) in y.chunks_exact_mut(channels).zip(x.chunks_exact(channels)) {
                for (((y, x), g), o) in y.iter_mut().zip(x).zip(gain).zip(offset) {
                    *y = (x * g + o).max(low);
                }
            }
        });
    });
    y
}

/// What the backward pass gives.
pub struct Gradients {
    /// At the input.
    pub dx: Vec<f32>,
    /// At the scale.
    pub dscale: Vec<f32>,
    /// At the shift.
    pub dshift: Vec<f32>,
}

/// Where a normalisation stood in the forward pass.
pub struct Point<'a> {
    /// Its input.
    pub x: &'a [f32],
    /// Its output after the ReLU, if it is fused with one.
    pub relu_output: Option<&'a [f32]>,
    /// Gradient at the output.
    pub dy: &'a [f32],
    /// Scale of each channel.
    pub scale: &'a [f32],
    /// Mean that was used.
    pub mean: &'a [f64],
    /// 1 / sqrt(variance + eps) that was used.
    pub inverse_std: &'a [f64],
    /// Whether mean and variance were the batch's own, so that gradients flow through them.
    pub batch_statistics: bool,
}

/// Gradients of batch normalisation (Ioffe, Szegedy, 2015, section 3), through the fused ReLU.
pub fn backward(point: &Point) -> Gradients {
    let channels = point.scale.len();
    let pixels = point.x.len() / channels;
    let mean: Vec<f32> = point.mean.iter().map(|v| *v as f32).collect();
    let ones = vec![1.0f32; channels];
    let (sum_dy, sum_dy_x) = sum_pairs(pixels, channels, |pixel, first, second| {
        let i = pixel * channels;
        let (x, dy, mean) = (&point.x[i..][..channels], &point.dy[i..][..channels], &mean[..channels]);
        let open = point.relu_output.map_or(&ones[..], |y| &y[i..][..channels]);
        let (first, second) = (&mut first[..channels], &mut second[..channels]);
        for c in 0..channels {
            let d = if open[c] > 0.0 { dy[c] } else { 0.0 };
            first[c] += d;
            second[c] += d * (x[c] - mean[c]);
        }
    });
    let count = pixels as f64;
    let dscale: Vec<f64> = sum_dy_x.iter().zip(point.inverse_std).map(|(s, i)| s * i).collect();
    // dx = gain (dy - a - (x - mean) b), with a and b zero when the statistics were constants.
    let of = |c: usize| if point.batch_statistics { (sum_dy[c] / count, dscale[c] * point.inverse_std[c] / count) } else { (0.0, 0.0) };
    let gain: Vec<f32> = (0..channels).map(|c| (f64::from(point.scale[c]) * point.inverse_std[c]) as f32).collect();
    let a: Vec<f32> = (0..channels).map(|c| of(c).0 as f32).collect();
    let b: Vec<f32> = (0..channels).map(|c| of(c).1 as f32).collect();
    let mut dx = vec![0.0; point.x.len()];
    let through_relu = |d: f32, y: f32| if y > 0.0 { d } else { 0.0 };
    dx.par_chunks_mut(PIXELS_PER_TASK * channels).enumerate().for_each(|(task, dx)| {
        vectorised(|| {
            for (pixel, dx) in dx.chunks_exact_mut(channels).enumerate() {
                let i = (task * PIXELS_PER_TASK + pixel) * channels;
                let (x, dy) = (&point.x[i..][..channels], &point.dy[i..][..channels]);
                // Without a ReLU every gradient passes, as if its output were positive.
                let open = point.relu_output.map_or(&ones[..], |y| &y[i..][..channels]);
                for c in 0..channels {
                    dx[c] = gain[c] * (through_relu(dy[c], open[c]) - a[c] - (x[c] - mean[c]) * b[c]);
                }
            }
        });
    });
    Gradients { dx, dscale: dscale.iter().map(|v| *v as f32).collect(), dshift: sum_dy.iter().map(|v| *v as f32).collect() }
}
