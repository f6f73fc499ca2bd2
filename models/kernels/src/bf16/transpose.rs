//! Transposed padded copy, `[channel][position]`, whose rows are the left rows of the weight gradient.

use rayon::prelude::*;

use super::micro_kernel::TILE;
use super::{Bf16Buffer, SharedBf16};
use crate::scratch::Pool;

/// Number of positions per task.
const POSITIONS_PER_TASK: usize = 64;

/// Transposes `all` padded positions, `[row phase][position][pixel][channel]` to `[pixel phase][channel][position]`. Channels are padded to
/// whole tiles of 16 with arbitrary values.
pub fn transpose(pool: &Pool, stride: usize, all: usize, copy: &[u16], channels: usize) -> Bf16Buffer {
    assert_eq!(copy.len(), stride * all * stride * channels);
    let mut transposed = Bf16Buffer::take(pool, stride * stride * rows(channels) * all);
    let target = SharedBf16::new(&mut transposed);
    let blocks = all.div_ceil(POSITIONS_PER_TASK);
    (0..stride * stride * blocks).into_par_iter().for_each(|task| {
        let (phase, from) = (task / blocks, task % blocks * POSITIONS_PER_TASK);
        let count = POSITIONS_PER_TASK.min(all - from);
        let (row, column) = (phase / stride, phase % stride);
        let source = &copy[((row * all + from) * stride + column) * channels..];
        for channel in 0..channels {
            // SAFETY: each task writes positions of its own, inside the buffer.
            let to = unsafe { target.part((phase * rows(channels) + channel) * all + from, count) };
            for (i, to) in to.iter_mut().enumerate() {
                *to = source[i * stride * channels + channel];
            }
        }
    });
    transposed
}

/// Returns the number of rows of the transposed copy, `channels` padded to whole tiles.
pub fn rows(channels: usize) -> usize {
    channels.next_multiple_of(TILE)
}
