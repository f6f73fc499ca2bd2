//! Elementwise and layout operations on feature maps `B H W C`: addition, activation, upsampling, concatenation, conversion to and from
//! `B C H W`.

use rayon::prelude::*;

use super::scratch::{Buffer, Pool, SharedMut};
use crate::simd::vectorised;

/// Number of values per task.
const TASK: usize = 1 << 16;

/// Shape of a feature map `B H W C`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Images, `B`.
    pub batch: usize,
    /// Rows, `H`.
    pub height: usize,
    /// Columns, `W`.
    pub width: usize,
    /// Channels, `C`.
    pub channels: usize,
}

impl Shape {
    /// Returns the number of values, `B H W C`.
    #[expect(clippy::len_without_is_empty, reason = "a shape is no collection")]
    pub fn len(&self) -> usize {
        self.batch * self.height * self.width * self.channels
    }
}

/// Applies `f` to each pair of values of two feature maps of the same shape.
pub fn zip(pool: &Pool, a: &[f32], b: &[f32], f: impl Fn(f32, f32) -> f32 + Sync) -> Buffer {
    let mut out = pool.take(a.len());
    out.par_chunks_mut(TASK).zip(a.par_chunks(TASK).zip(b.par_chunks(TASK))).for_each(|(out, (a, b))| {
        vectorised(|| out.iter_mut().zip(a).zip(b).for_each(|((out, a), b)| *out = f(*a, *b)));
    });
    out
}

/// Applies `f` to each value.
pub fn map(pool: &Pool, a: &[f32], f: impl Fn(f32) -> f32 + Sync) -> Buffer {
    let mut out = pool.take(a.len());
    out.par_chunks_mut(TASK).zip(a.par_chunks(TASK)).for_each(|(out, a)| out.iter_mut().zip(a).for_each(|(out, a)| *out = f(*a)));
    out
}

/// Upsamples by two with nearest neighbours: `B H W C` (`shape`) to `B 2H 2W C`.
pub fn upsample(pool: &Pool, x: &[f32], shape: Shape) -> Buffer {
    let row_len = shape.width * shape.channels;
    let mut out = pool.take(4 * shape.len());
    out.par_chunks_mut(4 * row_len).zip(x.par_chunks(row_len)).for_each(|(out, row)| {
        let (first, second) = out.split_at_mut(2 * row_len);
        for (to, from) in first.chunks_exact_mut(2 * shape.channels).zip(row.chunks_exact(shape.channels)) {
            to[..shape.channels].copy_from_slice(from);
            to[shape.channels..].copy_from_slice(from);
        }
        second.copy_from_slice(first);
    });
    out
}

/// Gradient of [`upsample`]: `B 2H 2W C` to `B H W C` (`shape`), the sum of each 2x2 block.
pub fn upsample_backward(pool: &Pool, dy: &[f32], shape: Shape) -> Buffer {
    let mut dx = pool.take(shape.len());
    sum_blocks(dy, shape, &mut dx);
    dx
}

/// Sums each 2x2 block of `dy`, `B 2H 2W C`, into a pixel of `dx`, `B H W C` (`shape`).
pub fn sum_blocks(dy: &[f32], shape: Shape, dx: &mut [f32]) {
    assert_eq!((dx.len(), dy.len()), (shape.len(), 4 * shape.len()));
    let row_len = shape.width * shape.channels;
    dx.par_chunks_mut(row_len).zip(dy.par_chunks(4 * row_len)).for_each(|(dx, rows)| {
        let (first, second) = rows.split_at(2 * row_len);
        let c = shape.channels;
        for (x, dx) in dx.chunks_exact_mut(c).enumerate() {
            let (a, b) = (&first[2 * x * c..][..2 * c], &second[2 * x * c..][..2 * c]);
            let ((left, right), (low_left, low_right)) = (a.split_at(c), b.split_at(c));
            for i in 0..c {
                dx[i] = (left[i] + right[i]) + (low_left[i] + low_right[i]);
            }
        }
    });
}

/// Concatenates the channels of two feature maps, those of `a` first.
pub fn concat(pool: &Pool, a: &[f32], a_channels: usize, b: &[f32], b_channels: usize) -> Buffer {
    let channels = a_channels + b_channels;
    let pixels = a.len() / a_channels;
    let mut out = pool.take(pixels * channels);
    out.par_chunks_mut(1024 * channels).enumerate().for_each(|(task, out)| {
        for (i, out) in out.chunks_exact_mut(channels).enumerate() {
            let pixel = task * 1024 + i;
            out[..a_channels].copy_from_slice(&a[pixel * a_channels..][..a_channels]);
            out[a_channels..].copy_from_slice(&b[pixel * b_channels..][..b_channels]);
        }
    });
    out
}

/// Concatenates the channels of all feature maps, each given with its number of channels.
pub fn concat_all(pool: &Pool, maps: &[(&[f32], usize)]) -> Buffer {
    let channels: usize = maps.iter().map(|(_, channels)| channels).sum();
    let mut out = pool.take(maps[0].0.len() / maps[0].1 * channels);
    out.par_chunks_mut(1024 * channels).enumerate().for_each(|(task, out)| {
        for (i, mut out) in out.chunks_exact_mut(channels).enumerate() {
            for &(values, channels) in maps {
                let (part, rest) = out.split_at_mut(channels);
                part.copy_from_slice(&values[(task * 1024 + i) * channels..][..channels]);
                out = rest;
            }
        }
    });
    out
}

/// Splits the channels of `y`: the inverse, and the gradient, of [`concat()`].
pub fn split(pool: &Pool, y: &[f32], a_channels: usize, b_channels: usize) -> (Buffer, Buffer) {
    let take = |from: usize, count: usize| {
        let mut out = pool.take(y.len() / (a_channels + b_channels) * count);
        out.par_chunks_mut(1024 * count).zip(y.par_chunks(1024 * (a_channels + b_channels))).for_each(|(out, y)| {
            for (out, y) in out.chunks_exact_mut(count).zip(y.chunks_exact(a_channels + b_channels)) {
                out.copy_from_slice(&y[from..from + count]);
            }
        });
        out
    };
    (take(0, a_channels), take(a_channels, b_channels))
}

/// Sums each channel over all pixels in f64, pixel by pixel: the gradient at a bias.
pub fn sum_over_pixels(dy: &[f32], channels: usize) -> Vec<f32> {
    let mut sums = vec![0.0f64; channels];
    for pixel in dy.chunks_exact(channels) {
        sums.iter_mut().zip(pixel).for_each(|(sum, v)| *sum += f64::from(*v));
    }
    sums.into_iter().map(|sum| sum as f32).collect()
}

/// Copies a feature map into a buffer of the pool.
pub fn copy(pool: &Pool, x: &[f32]) -> Buffer {
    let mut out = pool.take(x.len());
    out.par_chunks_mut(TASK).zip(x.par_chunks(TASK)).for_each(|(out, x)| out.copy_from_slice(x));
    out
}

/// Number of pixels per task of a layout conversion.
const PIXELS_PER_TASK: usize = 256;

/// Converts `B C H W` to `B H W C`, where `pixels = H W`.
pub fn channels_last(pool: &Pool, x: &[f32], batch: usize, channels: usize, pixels: usize) -> Buffer {
    assert_eq!(x.len(), batch * channels * pixels);
    let mut out = pool.take(x.len());
    out.par_chunks_mut(pixels * channels).zip(x.par_chunks(pixels * channels)).for_each(|(out, x)| {
        out.par_chunks_mut(PIXELS_PER_TASK * channels).enumerate().for_each(|(block, out)| {
            for (c, plane) in x.chunks_exact(pixels).enumerate() {
                let values = &plane[block * PIXELS_PER_TASK..][..out.len() / channels];
                out[c..].iter_mut().step_by(channels).zip(values).for_each(|(to, from)| *to = *from);
            }
        });
    });
    out
}

/// Converts `B H W C` to `B C H W`, where `pixels = H W`.
pub fn channels_first(x: &[f32], batch: usize, channels: usize, pixels: usize) -> Vec<f32> {
    assert_eq!(x.len(), batch * channels * pixels);
    let mut out = vec![0.0; x.len()];
    let target = SharedMut::new(&mut out);
    let blocks = pixels.div_ceil(PIXELS_PER_TASK);
    (0..batch * blocks).into_par_iter().for_each(|task| {
        let (image, from) = (task / blocks, task % blocks * PIXELS_PER_TASK);
        let count = PIXELS_PER_TASK.min(pixels - from);
        let values = &x[(image * pixels + from) * channels..][..count * channels];
        for c in 0..channels {
            // SAFETY: the pixels lie inside the plane, and each task writes pixels of its own.
            let block = unsafe { std::slice::from_raw_parts_mut(target.get().add((image * channels + c) * pixels + from), count) };
            block.iter_mut().zip(values[c..].iter().step_by(channels)).for_each(|(to, from)| *to = *from);
        }
    });
    out
}
