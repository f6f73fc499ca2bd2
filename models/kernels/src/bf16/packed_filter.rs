//! Filters packed as right tiles: for every group of 32 output channels, the runs of taps that a block reads.

use rayon::prelude::*;

use super::micro_kernel::{RIGHT_TILE, STEP, TILE};
use super::{Bf16Buffer, SharedBf16, round};
use crate::panels::WIDTH;
use crate::scratch::Pool;
use crate::simd::vectorised;

/// Taps whose source pixels are contiguous in the padded copy.
pub struct TapRun {
    /// Offset in the padded copy at which position 0 reads, in values.
    pub offset: isize,
    /// Taps, in the order of their pixels.
    pub taps: Vec<usize>,
}

/// Columns of a right matrix in groups of 32, two tiles; the last group may have a single tile.
#[derive(Clone, Copy)]
pub struct ColumnGroups {
    /// Number of columns of all groups.
    pub columns: usize,
}

impl ColumnGroups {
    /// Returns the number of groups.
    pub fn count(self) -> usize {
        self.columns.div_ceil(2 * TILE)
    }

    /// Returns the number of tiles of a group.
    pub fn tiles(self, group: usize) -> usize {
        self.width(group).div_ceil(TILE)
    }

    /// Returns the number of columns of a group.
    pub fn width(self, group: usize) -> usize {
        (self.columns - group * 2 * TILE).min(2 * TILE)
    }

    /// Returns the index at which a group begins in a right matrix of `steps` steps.
    pub fn offset(group: usize, steps: usize) -> usize {
        group * 2 * steps * RIGHT_TILE
    }

    /// Returns the number of values of a right matrix of `steps` steps.
    pub fn len(self, steps: usize) -> usize {
        self.columns.div_ceil(TILE) * steps * RIGHT_TILE
    }
}

/// Returns the number of steps of a run of `values` values.
pub fn steps(values: usize) -> usize {
    values.div_ceil(STEP)
}

/// Packs the panels `[panel][tap][input][16]` of a filter as right tiles, rounded to bf16.
///
/// All runs have the same number of taps. The last step of a run is filled up with zeros, which cancel the values that the left matrix
/// reads beyond the run.
pub fn pack(pool: &Pool, panels: &[f32], inputs: usize, taps: usize, outputs: usize, runs: &[TapRun]) -> Bf16Buffer {
    assert_eq!(panels.len(), crate::panels::len(outputs, inputs, taps));
    let (groups, values) = (ColumnGroups { columns: outputs }, runs[0].taps.len() * inputs);
    let all = steps(values) * runs.len();
    let mut packed = Bf16Buffer::take(pool, groups.len(all));
    let target = SharedBf16::new(&mut packed);
    (0..groups.count() * runs.len()).into_par_iter().for_each(|task| {
        let (group, run) = (task / runs.len(), task % runs.len());
        let tiles = groups.tiles(group);
        let len = steps(values) * tiles * RIGHT_TILE;
        // SAFETY: each task packs one run of one group, disjoint parts of the buffer.
        let own = unsafe { target.part(ColumnGroups::offset(group, all) + run * len, len) };
        for (index, tile) in own.chunks_exact_mut(RIGHT_TILE).enumerate() {
            let (step, panel) = (index / tiles, group * 2 + index % tiles);
            vectorised(
                #[inline(always)]
                || {
                    for (pair, to) in tile.chunks_exact_mut(STEP).enumerate() {
                        let row = |k: usize| -> [f32; WIDTH] {
                            if k >= values {
                                return [0.0; WIDTH];
                            }
                            let at = (panel * taps + runs[run].taps[k / inputs]) * inputs + k % inputs;
                            *panels[at * WIDTH..].first_chunk().expect("panels hold whole rows")
                        };
                        let k = step * STEP + 2 * pair;
                        interleave(&row(k), &row(k + 1), to);
                    }
                },
            );
        }
    });
    packed
}

/// Packs a pair of rows of a right tile.
#[inline(always)]
pub fn interleave(even: &[f32; TILE], odd: &[f32; TILE], to: &mut [u16]) {
    for ((to, even), odd) in to.chunks_exact_mut(2).zip(even).zip(odd) {
        to[0] = round(*even);
        to[1] = round(*odd);
    }
}
