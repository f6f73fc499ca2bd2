//! The forward form, which is backward-data too: tiles through all places of a filter, or filters past tiles that stay.

use std::ops::Range;

use rayon::prelude::*;

use super::filter::{self, OfFilter};
use super::matrices::{PLACES, SIDE};
use super::result::{ToFinished, ToLogit, ToResult};
use super::target::{PartBuffer, Target, find};
use super::transform::{Part, Places, len, stride};
use super::{Filter, Group, SMALL_FILTER, TILES, Winograd, tiles_at_a_time, together};
use crate::epilogue::Epilogue;
use crate::product::Product;
use crate::scratch::{Shared, with_room};
use crate::simd::run_on;

impl Winograd<'_> {
    /// Convolves the channels of all `sources`, which follow one another, into those of all `targets`.
    pub fn convolve(&self, sources: &[Part], filter: Filter, targets: &mut [PartBuffer]) {
        assert_eq!(sources.iter().map(|part| part.channels).sum::<usize>(), filter.inputs);
        assert_eq!(targets.iter().map(|part| part.channels).sum::<usize>(), filter.outputs);
        assert_eq!(filter.panels.len(), crate::panels::len(filter.outputs, filter.inputs, filter::TAPS));
        sources.iter().for_each(|part| self.check_part(part));
        targets.iter().for_each(|part| self.check(part.values.len(), part.channels, part.halved));
        let targets: Vec<Target> = targets.iter_mut().map(PartBuffer::target).collect();
        let output = Output { targets: &targets, then: None };
        if is_small(&filter) {
            let mut places = self.pool.take(PLACES * filter.inputs * filter.outputs);
            self.places_of_filter(filter, &mut places);
            self.by_tiles(sources, &places, [filter.inputs, filter.outputs], output);
            self.pool.give(places);
        } else {
            self.by_panels(sources, filter, output);
        }
    }

    /// `G g G^T` for all panels: `[group][place][input][panel of the group][16]`.
    pub(super) fn places_of_filter(&self, filter: Filter, places: &mut [f32]) {
        assert_eq!(places.len(), PLACES * filter.inputs * filter.outputs);
        let groups = self.groups(filter.outputs);
        let all = Shared::new(places);
        (0..groups.len() * SIDE).into_par_iter().for_each(|task| {
            let (group, row) = (groups[task / SIDE], task % SIDE);
            let offset = (group.panel * PLACES + row * SIDE * group.count) * 16 * filter.inputs;
            // SAFETY: rows of groups are disjoint parts of the buffer.
            run_on(self.isa, of_filter(filter, group, row, unsafe { all.get().add(offset) }));
        });
    }

    /// Every task takes some tiles through all places and all filters, which lie as [`Self::places_of_filter`] puts them.
    pub(super) fn by_tiles(&self, sources: &[Part], filter: &[f32], [inputs, outputs]: [usize; 2], output: Output) {
        assert_eq!(filter.len(), PLACES * inputs * outputs);
        let groups = self.groups(outputs);
        let zeros = vec![0.0; inputs];
        let block = tiles_at_a_time(self.isa, inputs, outputs, self.grid.tiles());
        (0..self.grid.tiles().div_ceil(block)).into_par_iter().for_each(|task| {
            let tiles = self.range(task, block);
            let rows = tiles.len();
            with_room(len(rows, inputs) + len(rows, 32), |room| {
                let (map, result) = room.split_at_mut(len(rows, inputs));
                self.fill(sources, &zeros, tiles.clone(), map);
                for group in &groups {
                    let width = group.count * 16;
                    for place in 0..PLACES {
                        let right = (group.panel * PLACES + place * group.count) * 16 * inputs;
                        // SAFETY: offsets stay inside the buffers, whose lengths are made for them.
                        let (left, right, out) = unsafe {
                            let left = map.as_ptr().add(place * stride(rows, inputs));
                            (left, filter.as_ptr().add(right), result.as_mut_ptr().add(place * stride(rows, width)))
                        };
                        run_on(self.isa, Product::plain(left, rows, inputs, right, group.count, out));
                    }
                    self.write(output, *group, tiles.clone(), result);
                }
            });
        });
    }

    /// Some tiles after the other; every task takes one group of panels through all places of these tiles.
    pub(super) fn by_panels(&self, sources: &[Part], filter: Filter, output: Output) {
        let groups = self.groups(filter.outputs);
        for block in 0..self.grid.tiles().div_ceil(TILES) {
            let tiles = self.range(block, TILES);
            let rows = tiles.len();
            let map = self.places_of(sources, filter.inputs, tiles.clone());
            groups.par_chunks(together(self.isa, groups.len(), filter.inputs, rows)).for_each(|groups| {
                let (of_row_len, result_len) = (SIDE * filter.inputs * 32, len(rows, 32));
                with_room(groups.len() * (of_row_len + result_len), |room| {
                    let (of_row, result) = room.split_at_mut(groups.len() * of_row_len);
                    for row in 0..SIDE {
                        for (group, of_row) in groups.iter().zip(of_row.chunks_exact_mut(of_row_len)) {
                            run_on(self.isa, of_filter(filter, *group, row, of_row.as_mut_ptr()));
                        }
                        for (column, place) in (row * SIDE..(row + 1) * SIDE).enumerate() {
                            let left = map[place * stride(rows, filter.inputs)..].as_ptr();
                            let parts = of_row.chunks_exact(of_row_len).zip(result.chunks_exact_mut(result_len));
                            for (group, (of_row, result)) in groups.iter().zip(parts) {
                                let (inner, vectors, out_row) = (filter.inputs, group.count, group.count * 16);
                                let right = of_row[column * inner * out_row..].as_ptr();
                                let out = result[place * stride(rows, out_row)..].as_mut_ptr();
                                run_on(self.isa, Product::plain(left, rows, inner, right, vectors, out));
                            }
                        }
                    }
                    for (group, result) in groups.iter().zip(result.chunks_exact_mut(result_len)) {
                        self.write(output, *group, tiles.clone(), result);
                    }
                });
            });
            self.pool.give(map);
        }
    }

    fn write(&self, output: Output, group: Group, tiles: Range<usize>, places: &mut [f32]) {
        let width = group.count * 16;
        for n in 0..group.count {
            let channel = (group.panel + n) * 16;
            let (part, channel) = if output.then.is_some() { (output.targets[0].part(), channel) } else { find(output.targets, channel) };
            // SAFETY: `n` is a vector of the group.
            let first = unsafe { places.as_mut_ptr().add(n * 16) };
            let places = Places { first, stride: stride(tiles.len(), width), row: width };
            let result = ToResult { grid: self.grid, part, tiles: tiles.clone(), channel, places };
            match output.then {
                None => run_on(self.isa, result),
                Some(Then { finish, logit: None }) => run_on(self.isa, ToFinished { result, finish }),
                Some(Then { finish, logit: Some(Logit { weights, bias }) }) => {
                    let bias = (channel == 0).then_some(bias);
                    run_on(self.isa, ToLogit { result, finish, channels: weights.len(), weights, bias });
                }
            }
        }
    }
}

/// Where results go, and what is done to them.
#[derive(Clone, Copy)]
pub(super) struct Output<'a> {
    pub targets: &'a [Target],
    /// With this there is one target, which is not halved.
    pub then: Option<Then<'a>>,
}

/// What is done to results before they are written.
#[derive(Clone, Copy)]
pub(super) struct Then<'a> {
    pub finish: Epilogue<'a>,
    /// Only small filters: their tasks have all channels of a tile, one after the other.
    pub logit: Option<Logit<'a>>,
}

/// A 1x1 convolution with one output that reads the result and nothing else does.
#[derive(Clone, Copy)]
pub struct Logit<'a> {
    /// One for each channel.
    pub weights: &'a [f32],
    /// Added to every sum.
    pub bias: f32,
}

/// Whether all places of a filter stay near while tiles pass by.
pub(super) fn is_small(filter: &Filter) -> bool {
    filter.inputs * filter.outputs <= SMALL_FILTER
}

fn of_filter(filter: Filter, group: Group, row: usize, out: *mut f32) -> OfFilter {
    OfFilter { panels: filter.panels, inputs: filter.inputs, panel: group.panel, count: group.count, row, turned: filter.turned, out }
}
