//! Bytes of images to the features that a network reads.

use kernels::{Buffer, Pool, Shape};
use rayon::prelude::*;

/// Pixels that one task handles.
const TASK: usize = 1 << 14;

/// `(v - mean) * scale` for `B H W 3`; the shape's further channels are 0.
pub fn normalised(pool: &Pool, images: &[u8], shape: Shape, mean: [f32; 3], scale: [f32; 3]) -> Buffer {
    assert_eq!(images.len() / 3 * shape.channels, shape.len());
    let mut out = pool.take(shape.len());
    out.par_chunks_mut(TASK * shape.channels).zip(images.par_chunks(TASK * 3)).for_each(|(out, pixels)| {
        for (out, pixel) in out.chunks_exact_mut(shape.channels).zip(pixels.chunks_exact(3)) {
            for c in 0..3 {
                out[c] = (f32::from(pixel[c]) - mean[c]) * scale[c];
            }
            out[3..].fill(0.0);
        }
    });
    out
}
