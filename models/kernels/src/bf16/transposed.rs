//! A padded copy by channels: what the weight gradient reads as left rows.

use rayon::prelude::*;

use super::block::TILE;
use super::{Halves, SharedHalves};
use crate::scratch::Pool;

/// Positions that a task brings from one order to the other.
const STRIP: usize = 64;

/// So many padded positions, `[row modulo stride][position][pixel][channel]` to `[row and column modulo stride][channel][position]`;
/// channels are filled up to whole tiles of 16, those with arbitrary values.
pub fn transpose(pool: &Pool, stride: usize, all: usize, copy: &[u16], channels: usize) -> Halves {
    assert_eq!(copy.len(), stride * all * stride * channels);
    let mut transposed = Halves::take(pool, stride * stride * rows(channels) * all);
    let target = SharedHalves::new(&mut transposed);
    let strips = all.div_ceil(STRIP);
    (0..stride * stride * strips).into_par_iter().for_each(|task| {
        let (kind, from) = (task / strips, task % strips * STRIP);
        let count = STRIP.min(all - from);
        let (row, column) = (kind / stride, kind % stride);
        let source = &copy[((row * all + from) * stride + column) * channels..];
        for channel in 0..channels {
            // SAFETY: every task has positions of its own.
            let to = unsafe { target.part((kind * rows(channels) + channel) * all + from, count) };
            for (i, to) in to.iter_mut().enumerate() {
                *to = source[i * stride * channels + channel];
            }
        }
    });
    transposed
}

/// Rows for so many channels.
pub fn rows(channels: usize) -> usize {
    channels.next_multiple_of(TILE)
}
