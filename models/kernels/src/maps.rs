//! Operations without parameters on `[image][row][column][channel]`: sums, ReLU, pooling, upsampling, concatenation.

use rayon::prelude::*;

use super::scratch::{Buffer, Pool, Shared};
use super::simd::vectorised;

/// Values that one task handles.
const TASK: usize = 1 << 16;

/// Images, rows, columns, channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Images.
    pub batch: usize,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// Channels.
    pub channels: usize,
}

impl Shape {
    /// Number of values.
    #[expect(clippy::len_without_is_empty, reason = "a shape is no collection")]
    pub fn len(&self) -> usize {
        self.batch * self.height * self.width * self.channels
    }
}

/// `f(a, b)` for every pair of values.
pub fn zip(pool: &Pool, a: &[f32], b: &[f32], f: impl Fn(f32, f32) -> f32 + Sync) -> Buffer {
    let mut out = pool.take(a.len());
    out.par_chunks_mut(TASK).zip(a.par_chunks(TASK).zip(b.par_chunks(TASK))).for_each(|(out, (a, b))| {
        vectorised(|| out.iter_mut().zip(a).zip(b).for_each(|((out, a), b)| *out = f(*a, *b)));
    });
    out
}

/// `f(a)` for every value.
pub fn map(pool: &Pool, a: &[f32], f: impl Fn(f32) -> f32 + Sync) -> Buffer {
    let mut out = pool.take(a.len());
    out.par_chunks_mut(TASK).zip(a.par_chunks(TASK)).for_each(|(out, a)| out.iter_mut().zip(a).for_each(|(out, a)| *out = f(*a)));
    out
}

/// Each pixel becomes 2x2; `shape` is the input's.
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

/// Sum of each 2x2 block; `shape` is the result's.
pub fn upsample_backward(pool: &Pool, dy: &[f32], shape: Shape) -> Buffer {
    let mut dx = pool.take(shape.len());
    sum_blocks(dy, shape, &mut dx);
    dx
}

/// The same, written to `dx`.
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

/// Channels of `a`, then of `b`, for every pixel.
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

/// Channels of all maps, one behind the other, for every pixel; with how many channels each has.
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

/// The two parts of a concatenation.
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

/// Sum over pixels of each channel, in f64.
pub fn sum_over_pixels(dy: &[f32], channels: usize) -> Vec<f32> {
    let mut sums = vec![0.0f64; channels];
    for pixel in dy.chunks_exact(channels) {
        sums.iter_mut().zip(pixel).for_each(|(sum, v)| *sum += f64::from(*v));
    }
    sums.into_iter().map(|sum| sum as f32).collect()
}

/// The same values.
pub fn copy(pool: &Pool, x: &[f32]) -> Buffer {
    let mut out = pool.take(x.len());
    out.par_chunks_mut(TASK).zip(x.par_chunks(TASK)).for_each(|(out, x)| out.copy_from_slice(x));
    out
}

/// Pixels that a task brings from one order of channels to the other.
const STRIP: usize = 256;

/// `[image][channel][pixel]` to `[image][pixel][channel]`.
pub fn channels_last(pool: &Pool, x: &[f32], batch: usize, channels: usize, pixels: usize) -> Buffer {
    assert_eq!(x.len(), batch * channels * pixels);
    let mut out = pool.take(x.len());
    out.par_chunks_mut(pixels * channels).zip(x.par_chunks(pixels * channels)).for_each(|(out, x)| {
        out.par_chunks_mut(STRIP * channels).enumerate().for_each(|(strip, out)| {
            for (c, plane) in x.chunks_exact(pixels).enumerate() {
                let values = &plane[strip * STRIP..][..out.len() / channels];
                out[c..].iter_mut().step_by(channels).zip(values).for_each(|(to, from)| *to = *from);
            }
        });
    });
    out
}

/// `[image][pixel][channel]` to `[image][channel][pixel]`.
pub fn channels_first(x: &[f32], batch: usize, channels: usize, pixels: usize) -> Vec<f32> {
    assert_eq!(x.len(), batch * channels * pixels);
    let mut out = vec![0.0; x.len()];
    let target = Shared::new(&mut out);
    let strips = pixels.div_ceil(STRIP);
    (0..batch * strips).into_par_iter().for_each(|task| {
        let (image, from) = (task / strips, task % strips * STRIP);
        let count = STRIP.min(pixels - from);
        let values = &x[(image * pixels + from) * channels..][..count * channels];
        for c in 0..channels {
            // SAFETY: tasks write different strips of the planes.
            let strip = unsafe { std::slice::from_raw_parts_mut(target.get().add((image * channels + c) * pixels + from), count) };
            strip.iter_mut().zip(values[c..].iter().step_by(channels)).for_each(|(to, from)| *to = *from);
        }
    });
    out
}
