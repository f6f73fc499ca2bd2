//! A filter as right tiles: for every group of 32 output channels the runs of taps that its blocks read.

use rayon::prelude::*;

use super::block::{RIGHT_TILE, STEP, TILE};
use super::{Halves, SharedHalves, round};
use crate::panels::WIDTH;
use crate::scratch::Pool;
use crate::simd::vectorised;

/// Taps whose source pixels lie side by side.
pub struct Run {
    /// Where position 0 reads in the padded copy.
    pub offset: isize,
    /// The taps, in the order of their pixels.
    pub taps: Vec<usize>,
}

/// Columns of a matrix in groups of 32; the last may have one tile only.
#[derive(Clone, Copy)]
pub struct Groups {
    /// Columns of all groups.
    pub columns: usize,
}

impl Groups {
    /// Number of groups.
    pub fn count(self) -> usize {
        self.columns.div_ceil(2 * TILE)
    }

    /// Tiles of a group.
    pub fn tiles(self, group: usize) -> usize {
        self.width(group).div_ceil(TILE)
    }

    /// Columns of a group.
    pub fn width(self, group: usize) -> usize {
        (self.columns - group * 2 * TILE).min(2 * TILE)
    }

    /// Where a group begins in a right matrix of so many steps.
    pub fn offset(group: usize, steps: usize) -> usize {
        group * 2 * steps * RIGHT_TILE
    }

    /// Values of a right matrix of so many steps.
    pub fn len(self, steps: usize) -> usize {
        self.columns.div_ceil(TILE) * steps * RIGHT_TILE
    }
}

/// Steps of a run of so many values.
pub fn steps(values: usize) -> usize {
    values.div_ceil(STEP)
}

/// Right tiles of the filter with these panels `[panel][tap][input][16]`; all runs are of one length. What a run reads beyond its
/// end meets zeros.
pub fn pack(pool: &Pool, panels: &[f32], inputs: usize, taps: usize, outputs: usize, runs: &[Run]) -> Halves {
    assert_eq!(panels.len(), crate::panels::len(outputs, inputs, taps));
    let (groups, values) = (Groups { columns: outputs }, runs[0].taps.len() * inputs);
    let all = steps(values) * runs.len();
    let mut packed = Halves::take(pool, groups.len(all));
    let target = SharedHalves::new(&mut packed);
    (0..groups.count() * runs.len()).into_par_iter().for_each(|task| {
        let (group, run) = (task / runs.len(), task % runs.len());
        let tiles = groups.tiles(group);
        let len = steps(values) * tiles * RIGHT_TILE;
        // SAFETY: every task has a run of a group of its own.
        let own = unsafe { target.part(Groups::offset(group, all) + run * len, len) };
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

/// A pair of rows of a right tile.
#[inline(always)]
pub fn interleave(even: &[f32; TILE], odd: &[f32; TILE], to: &mut [u16]) {
    for ((to, even), odd) in to.chunks_exact_mut(2).zip(even).zip(odd) {
        to[0] = round(*even);
        to[1] = round(*odd);
    }
}
