//! Backward-weight: `dW = G^T [sum over tiles (B^T d B) * (A dY A^T)] G`, the forward form read backwards.

use std::ops::Range;

use rayon::prelude::*;

use super::filter::{TAPS, ToFilter};
use super::matrices::{PLACES, SIDE};
use super::transform::{OfGradient, Part, Places, len, stride};
use super::{Group, SMALL_FILTER, TILES, Winograd, tiles_at_a_time, together};
use crate::product::Outer;
use crate::scratch::{Buffer, Shared, with_room};
use crate::simd::run_on;

impl Winograd<'_> {
    /// The gradient of the filter as panels, from the maps that were convolved and the gradient at the result.
    pub fn weight_gradient(&self, sources: &[Part], gradient: Part) -> Buffer {
        let inputs = sources.iter().map(|part| part.channels).sum::<usize>();
        sources.iter().chain([&gradient]).for_each(|part| self.check(part.values.len(), part.channels, part.halved));
        let mut out = self.pool.take(crate::panels::len(gradient.channels, inputs, TAPS));
        if inputs * gradient.channels <= SMALL_FILTER {
            self.sums_by_tiles(sources, inputs, gradient, &mut out);
        } else {
            self.sums_by_panels(sources, inputs, gradient, &mut out);
        }
        out
    }

    /// Every task sums over some of the tiles; the sums of all tasks are added in order.
    fn sums_by_tiles(&self, sources: &[Part], inputs: usize, gradient: Part, out: &mut [f32]) {
        let groups = self.groups(gradient.channels);
        let size = PLACES * inputs * gradient.channels;
        let block = tiles_at_a_time(self.isa, inputs, gradient.channels, self.grid.tiles());
        let blocks = self.grid.tiles().div_ceil(block);
        let parts = if size > 1 << 16 { 8 } else { 32 }.min(blocks);
        let zeros = vec![0.0; inputs.max(gradient.channels)];
        let sums: Vec<Buffer> = (0..parts)
            .into_par_iter()
            .map(|part| {
                let mut sum = self.pool.take(size);
                let mine = part * blocks / parts..(part + 1) * blocks / parts;
                for task in mine.clone() {
                    self.add_tiles(sources, &zeros, gradient, self.range(task, block), &groups, task > mine.start, &mut sum);
                }
                sum
            })
            .collect();
        let mut total = self.pool.take(size);
        total.par_chunks_mut(1 << 13).enumerate().for_each(|(chunk, total)| {
            let from = chunk << 13;
            total.copy_from_slice(&sums[0][from..from + total.len()]);
            for sum in &sums[1..] {
                total.iter_mut().zip(&sum[from..]).for_each(|(total, value)| *total += value);
            }
        });
        let target = Shared::new(out);
        groups.par_iter().for_each(|group| {
            for row in 0..SIDE {
                let from = (group.panel * PLACES + row * SIDE * group.count) * 16 * inputs;
                self.to_filter(total[from..].as_ptr(), inputs, *group, row, row == 0, target);
            }
        });
        sums.into_iter().chain([total]).for_each(|buffer| self.pool.give(buffer));
    }

    #[expect(clippy::too_many_arguments, reason = "what one task sums, and where")]
    fn add_tiles(
        &self,
        sources: &[Part],
        zeros: &[f32],
        gradient: Part,
        tiles: Range<usize>,
        groups: &[Group],
        add: bool,
        sum: &mut [f32],
    ) {
        let inputs = sources.iter().map(|part| part.channels).sum::<usize>();
        let rows = tiles.len();
        with_room(len(rows, inputs) + len(rows, 32), |room| {
            let (map, of_gradient) = room.split_at_mut(len(rows, inputs));
            self.fill(sources, zeros, tiles.clone(), map);
            for group in groups {
                self.gradient_places(gradient, zeros, *group, tiles.clone(), of_gradient);
                let width = group.count * 16;
                for place in 0..PLACES {
                    let target = (group.panel * PLACES + place * group.count) * 16 * inputs;
                    let out = sum[target..target + width * inputs].as_mut_ptr();
                    let (left, right) = (map[place * stride(rows, inputs)..].as_ptr(), of_gradient[place * stride(rows, width)..].as_ptr());
                    run_on(self.isa, Outer { left, rows, columns: inputs, right, right_row: width, vectors: group.count, add, out });
                }
            }
        });
    }

    fn gradient_places(&self, part: Part, zeros: &[f32], group: Group, tiles: Range<usize>, room: &mut [f32]) {
        let width = group.count * 16;
        assert!(room.len() >= len(tiles.len(), width));
        let places = Places { first: room.as_mut_ptr(), stride: stride(tiles.len(), width), row: width };
        let channels = group.panel * 16..group.panel * 16 + width;
        run_on(self.isa, OfGradient { grid: self.grid, part, tiles, channels, zeros, places });
    }

    /// Some tiles after the other; every task takes one group of panels through all places of these tiles.
    fn sums_by_panels(&self, sources: &[Part], inputs: usize, gradient: Part, out: &mut [f32]) {
        let groups = self.groups(gradient.channels);
        let zeros = vec![0.0; inputs.max(gradient.channels)];
        let target = Shared::new(out);
        for block in 0..self.grid.tiles().div_ceil(TILES) {
            let tiles = self.range(block, TILES);
            let rows = tiles.len();
            let map = self.places_of(sources, inputs, tiles.clone());
            groups.par_chunks(together(self.isa, groups.len(), inputs, rows)).for_each(|groups| {
                let (of_gradient_len, of_row_len) = (len(rows, 32), SIDE * inputs * 32);
                with_room(groups.len() * (of_gradient_len + of_row_len), |room| {
                    let (of_gradient, of_row) = room.split_at_mut(groups.len() * of_gradient_len);
                    for (group, room) in groups.iter().zip(of_gradient.chunks_exact_mut(of_gradient_len)) {
                        self.gradient_places(gradient, &zeros, *group, tiles.clone(), room);
                    }
                    for row in 0..SIDE {
                        for (column, place) in (row * SIDE..(row + 1) * SIDE).enumerate() {
                            let left = map[place * stride(rows, inputs)..].as_ptr();
                            let parts = of_gradient.chunks_exact(of_gradient_len).zip(of_row.chunks_exact_mut(of_row_len));
                            for (group, (of_gradient, of_row)) in groups.iter().zip(parts) {
                                let (columns, vectors, right_row) = (inputs, group.count, group.count * 16);
                                let right = of_gradient[place * stride(rows, right_row)..].as_ptr();
                                let out = of_row[column * inputs * right_row..][..inputs * right_row].as_mut_ptr();
                                run_on(self.isa, Outer { left, rows, columns, right, right_row, vectors, add: false, out });
                            }
                        }
                        for (group, of_row) in groups.iter().zip(of_row.chunks_exact(of_row_len)) {
                            self.to_filter(of_row.as_ptr(), inputs, *group, row, block == 0 && row == 0, target);
                        }
                    }
                });
            });
            self.pool.give(map);
        }
    }

    fn to_filter(&self, places: *const f32, inputs: usize, group: Group, row: usize, first: bool, target: Shared) {
        // SAFETY: groups own different panels.
        let out = unsafe { target.get().add(group.panel * TAPS * inputs * 16) };
        run_on(self.isa, ToFilter { places, inputs, count: group.count, row, first, out });
    }
}
